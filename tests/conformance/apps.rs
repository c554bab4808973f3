//! Jobs, CronJobs, StatefulSets, DaemonSets, ReplicationControllers and disruption budgets, as their controllers act.

use serde_json::{Value, json};

use super::Behaviour;
use super::cluster::{Cluster, path, pod_spec, template};

pub(super) const ALL: &[Behaviour] = &[
    ("a Job ends when enough of its pods have succeeded", a_job_completes),
    ("a Job fails when its pods fail too often", a_job_fails),
    ("a Job that is suspended has no pods until it is resumed", a_job_is_suspended),
    ("an indexed Job gives every index a pod", an_indexed_job),
    ("a Job ends at once by the rule for a failure", a_job_fails_by_rule),
    ("an indexed Job counts failures per index", an_index_fails),
    ("an indexed Job has succeeded by its policy", a_job_succeeds_early),
    ("a Job that is managed by others is left alone", another_manages),
    ("a Job adopts and releases pods by its selector", a_job_adopts),
    ("a Job that is of no interest any more goes", a_job_goes_after_its_time),
    ("a CronJob starts Jobs one beside the other", a_cron_job_allows),
    ("a CronJob that forbids waits for the end", a_cron_job_forbids),
    ("a CronJob that replaces ends what runs", a_cron_job_replaces),
    ("a suspended CronJob starts nothing", a_cron_job_is_suspended),
    ("a ReplicationController keeps its pods, and scales", a_replication_controller),
    ("a ReplicationController that a quota holds back says so, until it does not", a_failure_condition),
    ("a ReplicationController adopts a pod and lets it go", a_controller_adopts),
    (
        "a StatefulSet makes its pods in order and takes them back in the opposite one",
        a_stateful_set_in_order,
    ),
    ("a StatefulSet's update goes from the last pod to the partition", a_stateful_set_updates),
    ("the claims of a StatefulSet go with pods that are too many, and with it", claims_go),
    ("a DaemonSet has a pod on every node that it wants", a_daemon_set),
    ("a budget says how many pods may go, and an eviction asks it", a_budget),
    ("budgets are listed and deleted over all namespaces", budgets_everywhere),
];

fn pods(cluster: &Cluster, namespace: &str) -> Vec<Value> {
    let all = cluster.items(&path("v1", namespace, "pods"));
    all.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect()
}

fn names(cluster: &Cluster, namespace: &str) -> Vec<String> {
    let mut names: Vec<String> = pods(cluster, namespace)
        .iter()
        .map(|pod| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    names.sort();
    names
}

fn run_to_end(cluster: &Cluster, namespace: &str, phase: &str) {
    for pod in pods(cluster, namespace) {
        if pod["status"]["phase"] == "Pending" {
            cluster.say(namespace, pod["metadata"]["name"].as_str().unwrap_or_default(), phase);
        }
    }
}

fn job(spec: Value) -> Value {
    let mut template = template("j");
    template["spec"]["restartPolicy"] = "Never".into();
    let mut job = json!({"metadata": {"name": "j"}, "spec": {"template": template}});
    for (name, value) in spec.as_object().into_iter().flatten() {
        job["spec"][name] = value.clone();
    }
    job
}

fn holds(object: &Value, kind: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
}

fn a_job_completes(cluster: &Cluster, namespace: &str) {
    let jobs = path("batch/v1", namespace, "jobs");
    let made = cluster.create(&jobs, &job(json!({"completions": 3, "parallelism": 2})));
    assert_eq!(
        made["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"],
        made["metadata"]["uid"]
    );
    cluster.until("two pods", || pods(cluster, namespace).len() == 2);
    let done = {
        cluster.until("its end", || {
            run_to_end(cluster, namespace, "Succeeded");
            holds(&cluster.get(&format!("{jobs}/j")), "Complete")
        });
        cluster.get(&format!("{jobs}/j"))
    };
    assert_eq!((&done["status"]["succeeded"], &done["status"]["active"]), (&json!(3), &Value::Null));
    assert!(done["status"]["completionTime"].is_string() && holds(&done, "SuccessCriteriaMet"));
    for pod in pods(cluster, namespace) {
        assert!(pod["metadata"]["finalizers"].is_null(), "{pod}");
    }
    // Its pods go with it.
    cluster.delete(&format!("{jobs}/j?propagationPolicy=Foreground"));
    cluster.until("its pods' end", || {
        pods(cluster, namespace).is_empty() && cluster.is_gone(&format!("{jobs}/j"))
    });
}

fn a_job_fails(cluster: &Cluster, namespace: &str) {
    let jobs = path("batch/v1", namespace, "jobs");
    cluster.create(&jobs, &job(json!({"completions": 1, "backoffLimit": 0})));
    cluster.until("its pod", || pods(cluster, namespace).len() == 1);
    run_to_end(cluster, namespace, "Failed");
    let failed = cluster.until_shows("its failure", &format!("{jobs}/j"), |job| holds(job, "Failed"));
    let condition =
        failed["status"]["conditions"].as_array().and_then(|all| all.last().cloned()).unwrap_or_default();
    assert_eq!(condition["reason"], "BackoffLimitExceeded");
    assert_eq!(failed["status"]["failed"], 1);
}

fn a_job_is_suspended(cluster: &Cluster, namespace: &str) {
    let jobs = path("batch/v1", namespace, "jobs");
    let one = format!("{jobs}/j");
    cluster.create(&jobs, &job(json!({"parallelism": 2, "completions": 2, "suspend": true})));
    cluster.until_shows("that it is suspended", &one, |job| holds(job, "Suspended"));
    assert!(pods(cluster, namespace).is_empty());
    cluster.merge(&one, &json!({"spec": {"suspend": false}}));
    cluster.until("its pods", || pods(cluster, namespace).len() == 2);
    assert!(cluster.get(&one)["status"]["startTime"].is_string());
    cluster.merge(&one, &json!({"spec": {"suspend": true}}));
    cluster.until("its pods' end", || pods(cluster, namespace).is_empty());
    let refused = cluster.admin.patch(&one, "merge", &json!({"spec": {"completions": 5}}));
    assert_eq!(refused.code, 422, "{}", refused.text());
}

fn an_indexed_job(cluster: &Cluster, namespace: &str) {
    let jobs = path("batch/v1", namespace, "jobs");
    cluster.create(&jobs, &job(json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed"})));
    cluster.until("its pods", || pods(cluster, namespace).len() == 3);
    let mut indexes: Vec<String> = pods(cluster, namespace)
        .iter()
        .map(|pod| {
            pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]
                .as_str()
                .unwrap_or("")
                .to_owned()
        })
        .collect();
    indexes.sort();
    assert_eq!(indexes, ["0", "1", "2"]);
    run_to_end(cluster, namespace, "Succeeded");
    let done = cluster.until_shows("its end", &format!("{jobs}/j"), |job| holds(job, "Complete"));
    assert_eq!(done["status"]["completedIndexes"], "0-2");
}

/// The only pod of an index that is not over.
fn of_index(cluster: &Cluster, namespace: &str, index: &str) -> Option<String> {
    let mine = |pod: &&Value| {
        let labels = &pod["metadata"]["labels"];
        labels["batch.kubernetes.io/job-completion-index"] == index && pod["status"]["phase"] == "Pending"
    };
    let all = pods(cluster, namespace);
    Some(all.iter().find(mine)?["metadata"]["name"].as_str()?.to_owned())
}

fn last_reason(job: &Value) -> (Value, Value) {
    let all = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let last = all.last().cloned().unwrap_or_default();
    (last["type"].clone(), last["reason"].clone())
}

fn a_job_fails_by_rule(cluster: &Cluster, namespace: &str) {
    let jobs = path("batch/v1", namespace, "jobs");
    let rules = json!([{"action": "FailJob", "onPodConditions": [{"type": "example.com/Broken"}]}]);
    cluster.create(
        &jobs,
        &job(json!({"parallelism": 2, "completions": 2, "podFailurePolicy": {"rules": rules}})),
    );
    cluster.until("its pods", || pods(cluster, namespace).len() == 2);
    let broken = names(cluster, namespace)[0].clone();
    let status = json!({"status": {"phase": "Failed", "conditions": [{"type": "example.com/Broken", "status": "True"}]}});
    cluster.merge(&format!("{}/{broken}/status", path("v1", namespace, "pods")), &status);
    let failed = cluster.until_shows("its failure", &format!("{jobs}/j"), |job| holds(job, "Failed"));
    assert_eq!(last_reason(&failed), ("Failed".into(), "PodFailurePolicy".into()));
    let message =
        format!("Pod {namespace}/{broken} has condition example.com/Broken matching FailJob rule at index 0");
    assert_eq!(failed["status"]["conditions"][0]["message"], *message, "{failed}");
    assert!(holds(&failed, "FailureTarget") && failed["status"]["failed"] == 2, "{failed}");
}

fn an_index_fails(cluster: &Cluster, namespace: &str) {
    let jobs = path("batch/v1", namespace, "jobs");
    let spec =
        json!({"parallelism": 2, "completions": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 0});
    cluster.create(&jobs, &job(spec));
    cluster.until("its pods", || pods(cluster, namespace).len() == 2);
    let pod = of_index(cluster, namespace, "0").unwrap_or_default();
    cluster.say(namespace, &pod, "Failed");
    let running = cluster.until_shows("the failed index", &format!("{jobs}/j"), |job| {
        job["status"]["failedIndexes"] == "0" && job["status"]["failed"] == 1
    });
    assert!(!holds(&running, "FailureTarget") && running["status"]["active"] == 1, "{running}");
    run_to_end(cluster, namespace, "Succeeded");
    let failed = cluster.until_shows("its end", &format!("{jobs}/j"), |job| holds(job, "Failed"));
    assert_eq!(last_reason(&failed), ("Failed".into(), "FailedIndexes".into()));
    assert_eq!(failed["status"]["completedIndexes"], "1");
}

fn a_job_succeeds_early(cluster: &Cluster, namespace: &str) {
    let jobs = path("batch/v1", namespace, "jobs");
    let policy = json!({"rules": [{"succeededIndexes": "1"}]});
    let spec =
        json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed", "successPolicy": policy});
    cluster.create(&jobs, &job(spec));
    cluster.until("its pods", || pods(cluster, namespace).len() == 3);
    let pod = of_index(cluster, namespace, "1").unwrap_or_default();
    cluster.say(namespace, &pod, "Succeeded");
    let done = cluster.until_shows("its end", &format!("{jobs}/j"), |job| holds(job, "Complete"));
    assert_eq!(last_reason(&done), ("Complete".into(), "SuccessPolicy".into()));
    assert_eq!(
        (&done["status"]["succeeded"], &done["status"]["failed"]),
        (&json!(1), &Value::Null),
        "{done}"
    );
}

fn another_manages(cluster: &Cluster, namespace: &str) {
    let jobs = path("batch/v1", namespace, "jobs");
    cluster.create(&jobs, &job(json!({"managedBy": "example.com/other"})));
    let mut ours = job(json!({"managedBy": "kubernetes.io/job-controller"}));
    ours["metadata"]["name"] = "ours".into();
    cluster.create(&jobs, &ours);
    cluster.until("the other's pod", || pods(cluster, namespace).len() == 1);
    let left = cluster.get(&format!("{jobs}/j"));
    assert!(left["status"].as_object().is_none_or(serde_json::Map::is_empty), "{left}");
    let refused = cluster.admin.patch(&format!("{jobs}/j"), "merge", &json!({"spec": {"managedBy": null}}));
    assert_eq!(refused.code, 422, "{}", refused.text());
}

fn a_job_adopts(cluster: &Cluster, namespace: &str) {
    let jobs = path("batch/v1", namespace, "jobs");
    let made = cluster.create(&jobs, &job(json!({"parallelism": 1, "completions": 1})));
    cluster.until("its pod", || names(cluster, namespace).len() == 1);
    let pod = format!("{}/{}", path("v1", namespace, "pods"), names(cluster, namespace)[0]);
    cluster.merge(&pod, &json!({"metadata": {"ownerReferences": null}}));
    cluster.until_shows("adoption", &pod, |pod| {
        pod["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    });
    cluster.merge(&pod, &json!({"metadata": {"labels": null}}));
    cluster.until_shows("release", &pod, |pod| {
        pod["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty)
    });
}

fn a_job_goes_after_its_time(cluster: &Cluster, namespace: &str) {
    let jobs = path("batch/v1", namespace, "jobs");
    cluster.create(&jobs, &job(json!({"ttlSecondsAfterFinished": 1})));
    cluster.until("its end", || {
        run_to_end(cluster, namespace, "Succeeded");
        cluster.is_gone(&format!("{jobs}/j"))
    });
}

fn cron_job(policy: &str) -> Value {
    let mut template = template("c");
    template["spec"]["restartPolicy"] = "Never".into();
    json!({"metadata": {"name": "c"}, "spec": {"schedule": "@every 1s", "concurrencyPolicy": policy,
        "jobTemplate": {"spec": {"template": template}}}})
}

fn active(cluster: &Cluster, namespace: &str) -> usize {
    let cron = cluster.get(&format!("{}/c", path("batch/v1", namespace, "cronjobs")));
    cron["status"]["active"].as_array().map_or(0, Vec::len)
}

/// Schedules of less than a minute give one Job a minute its name: the other Job is another minute's.
fn a_cron_job_allows(cluster: &Cluster, namespace: &str) {
    let jobs = path("batch/v1", namespace, "jobs");
    suspended_cron_job(cluster, namespace, "Allow");
    cluster.until("a Job beside the other", || {
        cluster.items(&jobs).len() >= 2 && active(cluster, namespace) >= 2
    });
    let all = cluster.items(&jobs);
    let new = all.iter().find(|job| job["metadata"]["name"] != "earlier").expect("a new one");
    assert!(new["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"].is_string());
    assert_eq!(new["metadata"]["ownerReferences"][0]["kind"], "CronJob");
}

fn other_job(cluster: &Cluster, namespace: &str) {
    // A Job of the CronJob's from another minute.
    let cron = cluster.get(&format!("{}/c", path("batch/v1", namespace, "cronjobs")));
    let mut other = job(json!({}));
    other["metadata"] = json!({"name": "earlier", "ownerReferences": [{"apiVersion": "batch/v1", "kind": "CronJob",
        "name": "c", "uid": cron["metadata"]["uid"], "controller": true}]});
    cluster.create(&path("batch/v1", namespace, "jobs"), &other);
}

fn suspended_cron_job(cluster: &Cluster, namespace: &str, policy: &str) {
    let mut cron = cron_job(policy);
    cron["spec"]["suspend"] = true.into();
    cluster.create(&path("batch/v1", namespace, "cronjobs"), &cron);
    other_job(cluster, namespace);
    cluster.until("the earlier Job to be active", || active(cluster, namespace) == 1);
    cluster.merge(
        &format!("{}/c", path("batch/v1", namespace, "cronjobs")),
        &json!({"spec": {"suspend": false}}),
    );
}

fn a_cron_job_forbids(cluster: &Cluster, namespace: &str) {
    suspended_cron_job(cluster, namespace, "Forbid");
    let events = path("v1", namespace, "events");
    cluster.until("that it waits", || {
        cluster.items(&events).iter().any(|event| event["reason"] == "JobAlreadyActive")
    });
    assert_eq!(cluster.items(&path("batch/v1", namespace, "jobs")).len(), 1);
}

fn a_cron_job_replaces(cluster: &Cluster, namespace: &str) {
    suspended_cron_job(cluster, namespace, "Replace");
    let jobs = path("batch/v1", namespace, "jobs");
    cluster.until("the replacement", || {
        let all = cluster.items(&jobs);
        all.len() == 1 && all[0]["metadata"]["name"] != "earlier"
    });
}

fn a_cron_job_is_suspended(cluster: &Cluster, namespace: &str) {
    let mut cron = cron_job("Allow");
    cron["spec"]["suspend"] = true.into();
    cluster.create(&path("batch/v1", namespace, "cronjobs"), &cron);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert!(cluster.items(&path("batch/v1", namespace, "jobs")).is_empty());
}

fn a_replication_controller(cluster: &Cluster, namespace: &str) {
    let all = path("v1", namespace, "replicationcontrollers");
    let made = cluster.create(
        &all,
        &json!({"metadata": {"name": "r"}, "spec": {"replicas": 2, "template": template("r")}}),
    );
    assert_eq!(made["spec"]["selector"], json!({"app": "r"}));
    cluster.until("its pods", || pods(cluster, namespace).len() == 2);
    cluster.say_of_all(namespace, "Running");
    cluster.until_shows("them ready", &format!("{all}/r"), |rc| rc["status"]["readyReplicas"] == 2);
    let scale = cluster.get(&format!("{all}/r/scale"));
    assert_eq!(
        (&scale["kind"], &scale["spec"]["replicas"], &scale["status"]["selector"]),
        (&json!("Scale"), &json!(2), &json!("app=r"))
    );
    let mut fewer = scale;
    fewer["spec"]["replicas"] = 1.into();
    cluster.put(&format!("{all}/r/scale"), &fewer);
    cluster.until("one pod less", || pods(cluster, namespace).len() == 1);
}

fn a_failure_condition(cluster: &Cluster, namespace: &str) {
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "2"}}});
    cluster.create(&path("v1", namespace, "resourcequotas"), &quota);
    cluster.until_shows("the quota", &format!("{}/q", path("v1", namespace, "resourcequotas")), |quota| {
        quota["status"]["hard"]["pods"] == "2"
    });
    let all = path("v1", namespace, "replicationcontrollers");
    cluster.create(
        &all,
        &json!({"metadata": {"name": "r"}, "spec": {"replicas": 3, "template": template("r")}}),
    );
    let failed = cluster.until_shows("the failure", &format!("{all}/r"), |rc| holds(rc, "ReplicaFailure"));
    let message = failed["status"]["conditions"][0]["message"].as_str().unwrap_or_default().to_owned();
    assert!(
        message.contains("exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"),
        "{message}"
    );
    cluster.merge(&format!("{all}/r"), &json!({"spec": {"replicas": 2}}));
    cluster.until_shows("no failure", &format!("{all}/r"), |rc| !holds(rc, "ReplicaFailure"));
}

fn a_controller_adopts(cluster: &Cluster, namespace: &str) {
    let pods = path("v1", namespace, "pods");
    cluster
        .create(&pods, &json!({"metadata": {"name": "alone", "labels": {"app": "r"}}, "spec": pod_spec()}));
    // Whoever hears of the controller first makes one more: of the two the one goes that does not run.
    cluster.say(namespace, "alone", "Running");
    let all = path("v1", namespace, "replicationcontrollers");
    let made = cluster.create(
        &all,
        &json!({"metadata": {"name": "r"}, "spec": {"replicas": 1, "template": template("r")}}),
    );
    let alone = format!("{pods}/alone");
    cluster.until_shows("adoption", &alone, |pod| {
        pod["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    });
    cluster.merge(&alone, &json!({"metadata": {"labels": {"app": "other"}}}));
    cluster.until_shows("release", &alone, |pod| {
        pod["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty)
    });
    cluster.until("another one", || names(cluster, namespace).len() == 2);
}

fn stateful_set(replicas: i64) -> Value {
    json!({"metadata": {"name": "s"}, "spec": {"replicas": replicas, "serviceName": "s",
        "selector": {"matchLabels": {"app": "s"}}, "template": template("s")}})
}

fn a_stateful_set_in_order(cluster: &Cluster, namespace: &str) {
    let sets = path("apps/v1", namespace, "statefulsets");
    cluster.create(&sets, &stateful_set(2));
    cluster.until("the first pod", || names(cluster, namespace) == ["s-0"]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(names(cluster, namespace), ["s-0"], "the second one waits for the first");
    cluster.say_of_all(namespace, "Running");
    cluster.until("the second pod", || names(cluster, namespace) == ["s-0", "s-1"]);
    cluster.say_of_all(namespace, "Running");
    let shown = cluster.until_shows("both", &format!("{sets}/s"), |set| set["status"]["readyReplicas"] == 2);
    assert_eq!(shown["status"]["currentRevision"], shown["status"]["updateRevision"]);
    let pod = cluster.get(&format!("{}/s-1", path("v1", namespace, "pods")));
    assert_eq!(pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"], "1");
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("s-1"), &json!("s")));
    cluster.merge(&format!("{sets}/s/scale"), &json!({"spec": {"replicas": 1}}));
    cluster.until("the last one's end", || names(cluster, namespace) == ["s-0"]);
    // One that is taken away comes back under its name.
    let before = cluster.get(&format!("{}/s-0", path("v1", namespace, "pods")));
    cluster.delete(&format!("{}/s-0", path("v1", namespace, "pods")));
    cluster.until("another s-0", || {
        let answer = cluster.admin.get(&format!("{}/s-0", path("v1", namespace, "pods")));
        answer.code == 200 && answer.json()["metadata"]["uid"] != before["metadata"]["uid"]
    });
}

fn a_stateful_set_updates(cluster: &Cluster, namespace: &str) {
    let sets = path("apps/v1", namespace, "statefulsets");
    let mut set = stateful_set(2);
    set["spec"]["podManagementPolicy"] = "Parallel".into();
    set["spec"]["updateStrategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}});
    cluster.create(&sets, &set);
    cluster.until("both pods", || names(cluster, namespace).len() == 2);
    cluster.say_of_all(namespace, "Running");
    cluster.until_shows("them ready", &format!("{sets}/s"), |set| set["status"]["readyReplicas"] == 2);
    let image = |ordinal: i64| {
        let pod = cluster.admin.get(&format!("{}/s-{ordinal}", path("v1", namespace, "pods")));
        if pod.code == 200 { pod.json()["spec"]["containers"][0]["image"].clone() } else { Value::Null }
    };
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "example.test/pause:2"}]}}}});
    cluster.merge(&format!("{sets}/s"), &patch);
    cluster.until("the second one's update", || image(1) == "example.test/pause:2");
    cluster.say_of_all(namespace, "Running");
    assert_eq!(image(0), "example.test/pause:1", "the partition holds");
    let revisions = cluster.items(&path("apps/v1", namespace, "controllerrevisions"));
    assert_eq!(revisions.len(), 2);
    cluster.merge(
        &format!("{sets}/s"),
        &json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}}),
    );
    cluster.until("the first one's update", || {
        cluster.say_of_all(namespace, "Running");
        image(0) == "example.test/pause:2"
    });
    cluster.until("the end of the update", || {
        cluster.say_of_all(namespace, "Running");
        let set = cluster.get(&format!("{sets}/s"));
        set["status"]["currentRevision"] == set["status"]["updateRevision"]
            && set["status"]["updatedReplicas"] == 2
    });
}

fn claims_go(cluster: &Cluster, namespace: &str) {
    let sets = path("apps/v1", namespace, "statefulsets");
    let (one, claims) = (format!("{sets}/w"), path("v1", namespace, "persistentvolumeclaims"));
    let wanted = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}});
    let set = json!({"metadata": {"name": "w"}, "spec": {"replicas": 2, "serviceName": "w",
        "podManagementPolicy": "Parallel", "selector": {"matchLabels": {"app": "w"}}, "template": template("w"),
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"},
        "volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": wanted}]}});
    let made = cluster.create(&sets, &set);
    cluster.until("its pods", || names(cluster, namespace) == ["w-0", "w-1"]);
    let claim = cluster.get(&format!("{claims}/d-w-1"));
    assert_eq!(claim["metadata"]["ownerReferences"][0]["uid"], made["metadata"]["uid"], "{claim}");
    cluster.merge(&one, &json!({"spec": {"replicas": 1}}));
    cluster.until("the end of the claim that is too many", || cluster.is_gone(&format!("{claims}/d-w-1")));
    assert!(!cluster.is_gone(&format!("{claims}/d-w-0")));
    cluster.delete(&one);
    cluster.until("the end of the other", || cluster.is_gone(&format!("{claims}/d-w-0")));
}

fn a_daemon_set(cluster: &Cluster, namespace: &str) {
    let label = format!("for-{namespace}");
    let node =
        |name: &str| json!({"metadata": {"name": format!("{namespace}-{name}"), "labels": {"for": label}}});
    for name in ["x", "y"] {
        let made = cluster.create("/api/v1/nodes", &node(name));
        let one = format!("/api/v1/nodes/{}", made["metadata"]["name"].as_str().unwrap_or_default());
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now}]}});
        cluster.admin.patch(&format!("{one}/status"), "strategic-merge", &ready).expect(200);
        cluster.until_shows("no taint", &one, |node| {
            node["spec"]["taints"].as_array().is_none_or(Vec::is_empty)
        });
    }
    let sets = path("apps/v1", namespace, "daemonsets");
    let mut template = template("d");
    template["spec"]["nodeSelector"] = json!({"for": label});
    let set = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"app": "d"}}, "template": template}});
    cluster.create(&sets, &set);
    cluster.until("a pod for each", || pods(cluster, namespace).len() == 2);
    cluster.say_of_all(namespace, "Running");
    let shown =
        cluster.until_shows("them ready", &format!("{sets}/d"), |set| set["status"]["numberReady"] == 2);
    assert_eq!(shown["status"]["desiredNumberScheduled"], 2);
    // One that fails is made anew.
    let first = names(cluster, namespace)[0].clone();
    cluster.say(namespace, &first, "Failed");
    cluster.until("another one", || {
        let all = names(cluster, namespace);
        all.len() == 2 && !all.contains(&first)
    });
    cluster.delete(&format!("/api/v1/nodes/{namespace}-x"));
    cluster.until("one node less", || {
        cluster.get(&format!("{sets}/d"))["status"]["desiredNumberScheduled"] == 1
    });
    cluster.delete(&format!("/api/v1/nodes/{namespace}-y"));
}

fn a_budget(cluster: &Cluster, namespace: &str) {
    let budgets = path("policy/v1", namespace, "poddisruptionbudgets");
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "r"}}}});
    cluster.create(&budgets, &budget);
    cluster.create(
        &path("apps/v1", namespace, "replicasets"),
        &json!({"metadata": {"name": "r"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "r"}}, "template": template("r")}}),
    );
    cluster.until("its pods", || pods(cluster, namespace).len() == 2);
    cluster.say_of_all(namespace, "Running");
    cluster.until_shows("one that may go", &format!("{budgets}/b"), |budget| {
        budget["status"]["disruptionsAllowed"] == 1
    });
    let evict = |pod: &str| {
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}});
        cluster.admin.post(&format!("{}/{pod}/eviction", path("v1", namespace, "pods")), &eviction)
    };
    let all = names(cluster, namespace);
    assert_eq!(evict(&all[0]).code, 201);
    let refused = evict(&all[1]);
    assert_eq!(refused.code, 429, "{}", refused.text());
    assert_eq!(refused.json()["details"]["causes"][0]["reason"], "DisruptionBudget");
    cluster.until("another one that may go", || {
        cluster.say_of_all(namespace, "Running");
        cluster.get(&format!("{budgets}/b"))["status"]["disruptionsAllowed"] == 1
    });
}

fn budgets_everywhere(cluster: &Cluster, namespace: &str) {
    let budgets = path("policy/v1", namespace, "poddisruptionbudgets");
    for name in ["a", "b"] {
        let budget = json!({"metadata": {"name": name, "labels": {"of": namespace}}, "spec": {"minAvailable": 1,
            "selector": {"matchLabels": {"app": "x"}}}});
        cluster.create(&budgets, &budget);
    }
    let everywhere = format!("/apis/policy/v1/poddisruptionbudgets?labelSelector=of%3D{namespace}");
    assert_eq!(cluster.items(&everywhere).len(), 2);
    cluster.delete(&format!("{budgets}?labelSelector=of%3D{namespace}"));
    cluster.until("their end", || cluster.items(&everywhere).is_empty());
}
