//! A node with every part real: deployments, restarts with back-off, ends, refusals, and kills of every process of ours.

use std::collections::BTreeSet;

use harness::node::{Node, Part, is_true, stage};
use serde_json::{Value, json};

const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");

/// A container of busybox that runs a script.
fn container(node: &Node, name: &str, script: &str) -> Value {
    json!({"name": name, "image": node.image, "command": ["sh", "-c", script]})
}

/// Sleeps until it is told to end.
const SLEEPER: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

fn restarts(status: &Value) -> i64 {
    status["containerStatuses"][0]["restartCount"].as_i64().unwrap_or(-1)
}

/// Reasons of the events about a pod.
fn reasons(node: &Node, pod: &str) -> BTreeSet<String> {
    let path = format!("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name={pod}");
    let list = node.admin.get(&path).expect(200);
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items.iter().filter_map(|event| event["reason"].as_str()).map(str::to_owned).collect()
}

/// Waits for events: they are written when there is time.
fn told(node: &mut Node, pod: &str, wanted: &[&str]) {
    node.until(&format!("{pod} has the events {wanted:?}"), |node| {
        let told = reasons(node, pod);
        wanted.iter().all(|reason| told.contains(*reason))
    });
}

#[test]
fn a_deployment_becomes_available_and_heals() {
    stage("a_deployment_becomes_available_and_heals", KEELSON, |node| {
        let template = json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"terminationGracePeriodSeconds": 3, "containers": [container(node, "web", SLEEPER)]},
        });
        let deployment = json!({
            "metadata": {"name": "web"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template},
        });
        let _made = node.admin.post("/apis/apps/v1/namespaces/default/deployments", &deployment).expect(201);
        available(node, 3);
        let pods = node.pods();
        let addresses: BTreeSet<&str> =
            pods.iter().filter_map(|pod| pod["status"]["podIP"].as_str()).collect();
        assert_eq!(addresses.len(), 3, "each pod has an address of its own");
        let status = &pods[0]["status"];
        for condition in
            ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
        {
            assert!(is_true(status, condition), "{condition}: {status:#}");
        }
        assert_eq!((&status["phase"], &status["qosClass"]), (&json!("Running"), &json!("BestEffort")));
        assert_eq!(status["hostIP"], "127.0.0.1");
        let name = pods[0]["metadata"]["name"].as_str().expect("a name").to_owned();
        told(node, &name, &["Scheduled", "Pulled", "Created", "Started"]);
        node.kubectl(&format!("delete pod {name} --wait=true --timeout=60s"));
        available(node, 3);
        assert!(node.pods().iter().all(|pod| pod["metadata"]["name"] != name.as_str()));
        let node_object = node.admin.get(&format!("/api/v1/nodes/{}", harness::node::NODE)).expect(200);
        let status = &node_object["status"];
        assert!(
            status["nodeInfo"]["containerRuntimeVersion"].as_str().is_some_and(|text| text.contains("://"))
        );
        assert_eq!(status["daemonEndpoints"]["kubeletEndpoint"]["Port"], node.port);
        node.kubectl("scale deployment web --replicas=0");
        node.until("no pods are left", |node| node.pods().is_empty());
        assert!(node.processes().is_empty(), "{:?}", node.processes());
        node.kubectl("delete deployment web");
    });
}

fn available(node: &mut Node, replicas: i64) {
    node.until(&format!("{replicas} available"), |node| {
        let web = node.admin.get("/apis/apps/v1/namespaces/default/deployments/web").expect(200);
        web["status"]["availableReplicas"] == replicas && node.pods().len() as i64 == replicas
    });
}

#[test]
fn a_container_that_dies_is_restarted_later_and_later() {
    stage("a_container_that_dies_is_restarted_later_and_later", KEELSON, |node| {
        let script = "echo run; echo why > /dev/termination-log; sleep 1; exit 7";
        node.pod("flaky", json!({"containers": [container(node, "c", script)]}));
        let status = node.until_pod("flaky", "restarted once", |status| restarts(status) >= 1);
        assert_eq!(status["phase"], "Running", "{status:#}");
        let waiting = |status: &Value| status["containerStatuses"][0]["state"]["waiting"].clone();
        let status =
            node.until_pod("flaky", "backs off", |status| waiting(status)["reason"] == "CrashLoopBackOff");
        let message = waiting(&status)["message"].as_str().unwrap_or_default().to_owned();
        assert!(
            message.starts_with("back-off 10s restarting failed container=c pod=flaky_default("),
            "{message}"
        );
        let last = &status["containerStatuses"][0]["lastState"]["terminated"];
        assert_eq!(
            (&last["exitCode"], &last["reason"], &last["message"]),
            (&json!(7), &json!("Error"), &json!("why\n"))
        );
        assert!(!is_true(&status, "Ready"));
        let run = |status: &Value, end: &str| -> jiff::Timestamp {
            let last = &status["containerStatuses"][0]["lastState"]["terminated"][end];
            last.as_str().and_then(|time| time.parse().ok()).unwrap_or_else(|| panic!("{status:#}"))
        };
        let ended = run(&status, "finishedAt");
        let status = node.until_pod("flaky", "backs off longer", |status| {
            waiting(status)["message"].as_str().is_some_and(|text| text.starts_with("back-off 20s"))
        });
        assert_eq!(restarts(&status), 2);
        // In whole seconds.
        let waited = run(&status, "startedAt").duration_since(ended);
        assert!(waited.as_secs() >= 9, "it waited: {waited:?}");
        told(node, "flaky", &["BackOff"]);
    });
}

#[test]
fn pods_end_as_they_should() {
    stage("pods_end_as_they_should", KEELSON, |node| {
        let never = |containers: Vec<Value>| json!({"restartPolicy": "Never", "containers": containers});
        node.pod("good", never(vec![container(node, "c", "exit 0")]));
        node.pod("bad", never(vec![container(node, "c", "exit 3"), container(node, "d", "exit 0")]));
        let mut words = container(node, "c", "echo last words; exit 1");
        words["terminationMessagePolicy"] = "FallbackToLogsOnError".into();
        node.pod("words", never(vec![words]));
        let mut ordered = never(vec![container(node, "c", "test -e /v/one && test -e /v/two")]);
        let touching = |name: &str, script: &str| {
            let mut made = container(node, name, script);
            made["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
            made
        };
        ordered["initContainers"] =
            json!([touching("one", "touch /v/one"), touching("two", "test -e /v/one && touch /v/two")]);
        ordered["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
        ordered["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
        node.pod("ordered", ordered);
        let mut late = never(vec![container(node, "c", SLEEPER)]);
        late["activeDeadlineSeconds"] = 3.into();
        node.pod("late", late);
        let ends = |phase: &'static str| move |status: &Value| status["phase"] == phase;
        let good = node.until_pod("good", "succeeds", ends("Succeeded"));
        assert_eq!(good["containerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
        let bad = node.until_pod("bad", "fails", ends("Failed"));
        assert_eq!(bad["containerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
        let words = node.until_pod("words", "fails", ends("Failed"));
        assert_eq!(words["containerStatuses"][0]["state"]["terminated"]["message"], "last words\n");
        node.until_pod("ordered", "succeeds", ends("Succeeded"));
        let late = node.until_pod("late", "is over", ends("Failed"));
        assert_eq!(late["reason"], "DeadlineExceeded");
        graces(node);
        images(node);
    });
}

/// preStop runs before the signal, and SIGKILL comes after the grace.
fn graces(node: &mut Node) {
    let mut hooked = container(node, "c", SLEEPER);
    hooked["lifecycle"] =
        json!({"preStop": {"exec": {"command": ["sh", "-c", "sleep 1; echo stopped > /v/told"]}}});
    hooked["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    let folder = node.path("told");
    let volumes = json!([{"name": "v", "hostPath": {"path": folder, "type": "DirectoryOrCreate"}}]);
    node.pod("hooked", json!({"containers": [hooked], "volumes": volumes}));
    let deaf = json!({"terminationGracePeriodSeconds": 2, "containers": [container(node, "c", "trap '' TERM; while :; do sleep 0.1; done")]});
    node.pod("deaf", deaf);
    for name in ["hooked", "deaf"] {
        node.until_pod(name, "is ready", |status| is_true(status, "Ready"));
    }
    let begun = std::time::Instant::now();
    node.kubectl("delete pod hooked deaf --wait=true --timeout=60s");
    assert!(begun.elapsed().as_secs() >= 2, "the deaf one had its grace");
    let told = std::fs::read_to_string(folder.join("told")).unwrap_or_default();
    assert_eq!(told, "stopped\n");
}

fn images(node: &mut Node) {
    let with = |image: &str, policy: &str| json!({"containers": [{"name": "c", "image": image, "imagePullPolicy": policy}]});
    let absent = format!("{}/absent:1", node.registry.address);
    node.pod("absent", with(&absent, "IfNotPresent"));
    node.pod("never", with(&absent, "Never"));
    node.pod("invalid", with("No/Such Name", "Always"));
    for (name, reason) in
        [("absent", "ImagePullBackOff"), ("never", "ErrImageNeverPull"), ("invalid", "InvalidImageName")]
    {
        let status = node.until_pod(name, reason, |status| {
            status["containerStatuses"][0]["state"]["waiting"]["reason"] == reason
        });
        assert_eq!(status["phase"], "Pending");
    }
    told(node, "absent", &["Pulling", "Failed", "BackOff"]);
}

#[test]
fn kills_of_our_processes_change_nothing() {
    stage("kills_of_our_processes_change_nothing", KEELSON, |node| {
        let names: Vec<String> = (0..20).map(|number| format!("steady{number}")).collect();
        for name in &names {
            node.pod(
                name,
                json!({"terminationGracePeriodSeconds": 2, "containers": [container(node, "c", SLEEPER)]}),
            );
        }
        for name in &names {
            node.until_pod(name, "is ready", |status| is_true(status, "Ready"));
        }
        let before = first_processes(node);
        assert_eq!(before.len(), names.len(), "{before:?}");
        let alive = |node: &Node| {
            let now = first_processes(node);
            before.iter().filter(|process| now.contains(process)).count()
        };
        let all = names.len();
        for part in [Part::Kubelet, Part::Cri, Part::Scheduler, Part::Controllers] {
            node.kill(part);
            node.start(part);
            still(node, &names, &format!("{part:?}"));
            assert_eq!(alive(node), all, "{part:?} was killed");
        }
        let maps = "/api/v1/namespaces/default/configmaps";
        for number in 0..names.len() {
            let map = json!({"metadata": {"name": format!("written{number}")}});
            let _acknowledged = node.admin.post(maps, &map).expect(201);
        }
        node.server.kill();
        node.server.restart();
        for number in 0..names.len() {
            let _there = node.admin.get(&format!("{maps}/written{number}")).expect(200);
        }
        still(node, &names, "the API server");
        node.kill_keeper();
        still(node, &names, "the keeper");
        assert_eq!(alive(node), all, "the keeper was killed");
        // What was asked for while no kubelet was there is done when it is back.
        node.kill(Part::Kubelet);
        node.kubectl("delete pod steady0 --wait=false");
        node.kubectl("delete pod steady1 --force --grace-period=0");
        node.start(Part::Kubelet);
        node.until("two are gone", |node| alive(node) == names.len() - 2);
        node.until("the API knows", |node| node.get("steady0").is_null());
        let logs = node.path("log/pods");
        node.until("their logs are gone", |_| {
            std::fs::read_dir(&logs).is_ok_and(|entries| entries.count() == names.len() - 2)
        });
    });
}

/// Those that are process 1 of a PID namespace: one per container.
pub fn first_processes(node: &Node) -> Vec<(i32, String)> {
    let is_first = |pid: i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let inside = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        inside.is_some_and(|ids| ids.split_whitespace().count() > 1 && ids.ends_with("\t1"))
    };
    node.processes().into_iter().filter(|(pid, _)| is_first(*pid)).collect()
}

/// A new pod works, and the old ones are ready without a restart.
fn still(node: &mut Node, names: &[String], killed: &str) {
    let probe = "probe";
    node.pod(probe, json!({"restartPolicy": "Never", "containers": [container(node, "c", "exit 0")]}));
    node.until_pod(probe, &format!("runs after the kill of {killed}"), |status| {
        status["phase"] == "Succeeded"
    });
    node.kubectl("delete pod probe --wait=true --timeout=60s");
    for name in names {
        let status = node.until_pod(name, "is ready", |status| is_true(status, "Ready"));
        assert_eq!(restarts(&status), 0, "{name} after the kill of {killed}");
    }
}

#[test]
fn pods_come_and_go_while_the_kubelet_is_killed() {
    stage("pods_come_and_go_while_the_kubelet_is_killed", KEELSON, |node| {
        let template = json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [container(node, "web", SLEEPER)]},
        });
        let deployment = json!({
            "metadata": {"name": "web"},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": template},
        });
        let _made = node.admin.post("/apis/apps/v1/namespaces/default/deployments", &deployment).expect(201);
        for (round, replicas) in [12, 3, 14, 0, 10].into_iter().enumerate() {
            node.kubectl(&format!("scale deployment web --replicas={replicas}"));
            for wait in [150, 300, 450] {
                std::thread::sleep(std::time::Duration::from_millis(wait + 50 * round as u64));
                node.kill(Part::Kubelet);
                node.start(Part::Kubelet);
            }
            if replicas > 0 {
                available(node, replicas);
            }
            node.until("only what was asked for runs", |node| {
                let wanted = replicas as usize;
                node.pods().len() == wanted && first_processes(node).len() == wanted
            });
            for pod in node.pods() {
                assert_eq!(restarts(&pod["status"]), 0, "{:#}", pod["status"]);
            }
        }
        let asked = std::time::Instant::now();
        node.kubectl("scale deployment web --replicas=20");
        available(node, 20);
        eprintln!("ten more pods in {:?}", asked.elapsed());
    });
}
