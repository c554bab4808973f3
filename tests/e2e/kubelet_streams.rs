//! What passes through the API server to a pod: logs, exec, attach, copies, ports; and who is let in at the kubelet.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

use harness::api::{Client, Credential};
use harness::node::{NODE, Node, Part, is_true, stage};
use harness::webhook::Webhook;
use pki::{Authority, Profile, Usage};
use serde_json::{Value, json};

const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");

fn container(node: &Node, name: &str, script: &str) -> Value {
    json!({"name": name, "image": node.image, "command": ["/bin/sh", "-c", script]})
}

fn run(node: &mut Node, name: &str, policy: &str, script: &str) {
    let container = container(node, "c", script);
    node.pod(
        name,
        json!({"containers": [container], "restartPolicy": policy, "terminationGracePeriodSeconds": 1}),
    );
}

fn until_ready(node: &mut Node, name: &str) {
    node.until_pod(name, "it is ready", |status| is_true(status, "Ready"));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// kubectl's standard error, after a failure.
#[track_caller]
fn refused(node: &Node, line: &str, part: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let output = node.kubectl_output(&words);
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains(part), "{line}: {said}");
}

/// Runs kubectl with something on its standard input.
fn kubectl_with(node: &Node, variables: &[(&str, &str)], arguments: &[&str], input: &str) -> Output {
    let mut command = node.server.kubectl_command();
    let child = command
        .envs(variables.iter().copied())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("kubectl runs");
    child.stdin.take().expect("its input").write_all(input.as_bytes()).expect("input");
    child.wait_with_output().expect("its end")
}

#[test]
fn logs_as_they_are_written() {
    stage("logs_as_they_are_written", KEELSON, |node| {
        run(node, "done", "Never", "for n in 1 2 3 4 5; do echo line $n; done; echo oops >&2; exit 3");
        run(node, "slow", "Never", "for n in 1 2 3 4 5 6; do echo tick $n; sleep 0.3; done");
        run(node, "crash", "Always", "echo life; exit 1");
        let two = [
            container(node, "a", "echo from a; sleep 1000"),
            container(node, "b", "echo from b; sleep 1000"),
        ];
        let first = container(node, "first", "echo prepared");
        node.pod(
            "two",
            json!({"containers": two, "initContainers": [first], "terminationGracePeriodSeconds": 1}),
        );
        node.pod("missing", json!({"containers": [{"name": "c", "image": format!("{}-none", node.image)}]}));

        // Followed from its first line to its end, and then kubectl ends too.
        node.until_pod("slow", "it has begun", |status| status["phase"] != "Pending");
        let followed = node.kubectl("logs -f slow");
        assert_eq!(followed, (1..=6).map(|n| format!("tick {n}\n")).collect::<String>());

        node.until_pod("done", "it failed", |status| status["phase"] == "Failed");
        let all = node.kubectl("logs done");
        // Each stream is in its order; where they meet is nobody's promise.
        let (errors, lines): (Vec<&str>, Vec<&str>) = all.lines().partition(|line| *line == "oops");
        assert!(errors.len() == 1 && lines == ["line 1", "line 2", "line 3", "line 4", "line 5"], "{all}");
        assert_eq!(node.kubectl("logs done --tail=1").lines().count(), 1);
        assert_eq!(node.kubectl("logs slow --limit-bytes=8"), "tick 1\nt");
        assert_eq!(node.kubectl("logs done --since=1h"), all);
        assert_eq!(node.kubectl("logs done --since-time=2999-01-01T00:00:00Z"), "");
        let stamped = node.kubectl("logs done --timestamps --tail=1");
        let time = stamped.split(' ').next().unwrap_or_default();
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{stamped}");

        until_ready(node, "two");
        node.until("b has spoken", |node| node.kubectl("logs two -c b") == "from b\n");
        assert_eq!(node.kubectl("logs two -c first"), "prepared\n");
        let path = "/api/v1/namespaces/default/pods/two/log";
        let words = "a container name must be specified for pod two, choose one of: [a b] or one of the init containers: [first]";
        node.admin.get(path).refused(400, "BadRequest", words);
        let words = "container x is not valid for pod two";
        node.admin.get(&format!("{path}?container=x")).refused(400, "BadRequest", words);
        node.admin.get(&format!("{path}?container=a&tailLines=-1")).refused(
            422,
            "Invalid",
            "must be greater than or equal to 0",
        );
        refused(node, "logs nobody", "pods \"nobody\" not found");
        refused(
            node,
            "logs two -c a --previous",
            "previous terminated container \"a\" in pod \"two\" not found",
        );

        node.until_pod("crash", "it was restarted", |status| {
            status["containerStatuses"][0]["restartCount"].as_i64().is_some_and(|count| count >= 1)
        });
        assert_eq!(node.kubectl("logs crash --previous"), "life\n");
        node.until_pod("missing", "no image", |status| {
            let reason = &status["containerStatuses"][0]["state"]["waiting"]["reason"];
            reason == "ErrImagePull" || reason == "ImagePullBackOff"
        });
        refused(node, "logs missing", "container \"c\" in pod \"missing\" is waiting to start: ");

        // Nobody serves where the kubelet is gone, and clients are told so.
        node.kill(Part::Kubelet);
        refused(node, "logs done", &format!("dial tcp 127.0.0.1:{}: connect: connection refused", node.port));
        refused(node, "exec two -c a -- true", "error dialing backend: dial tcp 127.0.0.1:");
        node.start(Part::Kubelet);
        node.until("the kubelet serves again", |node| {
            node.kubectl_output(&["logs", "done"]).status.success()
        });
        assert_eq!(node.kubectl("logs done"), all);
    });
}

#[test]
fn a_log_is_followed_over_its_rotation() {
    stage("a_log_is_followed_over_its_rotation", KEELSON, |node| {
        node.kubelet_arguments = vec!["--container-log-max-size=16Ki".into()];
        node.kill(Part::Kubelet);
        node.start(Part::Kubelet);
        // Some forty seconds: sizes are looked at every ten.
        let script = "n=0; while [ $n -lt 400 ]; do n=$((n+1)); echo line $n of a log that grows until it is rotated, and then begins anew; sleep 0.1; done";
        run(node, "many", "Never", script);
        node.until_pod("many", "it runs", |status| status["phase"] == "Running");
        let lines = node.kubectl("logs -f many");
        let numbers = lines.lines().filter_map(|line| line.split(' ').nth(1)?.parse::<u32>().ok());
        assert!(numbers.eq(1..=400), "{lines}");
        let uid = node.get("many")["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let folder = node.path(&format!("log/pods/default_many_{uid}/c"));
        assert!(std::fs::read_dir(folder).expect("logs").count() > 1, "it was rotated");
    });
}

/// Connections to the kubelet's port.
fn connections(node: &Node) -> usize {
    let local = format!(":{:04X}", node.port);
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's sockets");
    let established = |line: &&str| {
        let mut words = line.split_whitespace();
        words.nth(1).is_some_and(|address| address.ends_with(&local)) && words.nth(1) == Some("01")
    };
    table.lines().filter(established).count()
}

#[test]
fn a_client_that_leaves_is_noticed() {
    stage("a_client_that_leaves_is_noticed", KEELSON, |node| {
        run(node, "quiet", "Always", "echo here; exec sleep 1000");
        until_ready(node, "quiet");
        node.until("nobody asks", |node| connections(node) == 0);
        for arguments in [
            &["logs", "-f", "quiet"][..],
            &["exec", "quiet", "--", "sh", "-c", "echo here; cat /dev/zero | sleep 1000"],
        ] {
            let mut command = node.server.kubectl_command();
            command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().expect("kubectl runs");
            let mut line = String::new();
            BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
            assert_eq!(line, "here\n", "{arguments:?} {}", end(&mut child));
            assert!(connections(node) > 0, "{arguments:?}");
            end(&mut child);
            node.until("its connection is gone", |node| connections(node) == 0);
        }
    });
}

#[test]
fn commands_streams_and_ports() {
    stage("commands_streams_and_ports", KEELSON, |node| {
        run(
            node,
            "shell",
            "Always",
            "ln -s busybox /bin/tar; mkdir -p /www; echo page > /www/index.html; exec busybox httpd -f -p 8080 -h /www",
        );
        let mut cat = container(node, "c", "echo ready; exec cat");
        cat["stdin"] = true.into();
        node.pod("cat", json!({"containers": [cat], "terminationGracePeriodSeconds": 1}));
        until_ready(node, "shell");
        until_ready(node, "cat");

        for websockets in ["true", "false"] {
            let variables = [
                ("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets),
                ("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets),
            ];
            let exec = |arguments: &[&str], input: &str| kubectl_with(node, &variables, arguments, input);
            let output = exec(&["exec", "shell", "--", "sh", "-c", "echo out; echo err >&2; exit 7"], "");
            assert_eq!(output.status.code(), Some(7), "{output:?}");
            assert_eq!(text(&output.stdout), "out\n");
            assert!(text(&output.stderr).starts_with("err\n"), "{output:?}");
            let output = exec(&["exec", "-i", "shell", "--", "wc", "-c"], &"x".repeat(1 << 20));
            assert_eq!(text(&output.stdout).trim(), "1048576", "{output:?}");
            let output = exec(&["exec", "shell", "--", "no-such-command"], "");
            assert!(
                !output.status.success() && text(&output.stderr).contains("no-such-command"),
                "{output:?}"
            );
            forwarded(node, &variables);
        }
        pythons_client(node);
        webhooks_judge_streams(node);
        // A terminal: its size is passed on, what is typed comes back, the exit code too.
        let line = "kubectl exec -it shell -- sh";
        let mut command = Command::new("script");
        let kubectl = node.server.kubectl_command();
        command.envs(kubectl.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.args(["-qec", &format!("stty rows 33 cols 77; {line}"), "/dev/null"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("script runs");
        let mut input = child.stdin.take().expect("its input");
        // The size comes by a way of its own, perhaps a little later. The echo of this is no answer.
        let typed =
            "n=0; while [ \"$(stty size)\" != \"33 7\"7 ] && [ $((n+=1)) -lt 600 ]; do sleep 0.1; done\n";
        input.write_all(typed.as_bytes()).expect("input");
        input.write_all(b"tty; stty size; exit 5\n").expect("input");
        let output = child.wait_with_output().expect("its end");
        drop(input);
        let said = text(&output.stdout);
        assert!(said.contains("/dev/pts/") && said.contains("33 77"), "{said}");
        assert_eq!(output.status.code(), Some(5), "{said}");

        attached(node);

        let (from, back) = (node.path("copied"), node.path("back"));
        std::fs::write(&from, "a file\n".repeat(10_000)).expect("a file");
        node.kubectl(&format!("cp {} shell:/www/copied", from.display()));
        node.kubectl(&format!("cp shell:/www/copied {}", back.display()));
        assert_eq!(std::fs::read(&back).expect("the copy"), std::fs::read(&from).expect("the original"));
        let page = node.admin.get("/api/v1/namespaces/default/pods/shell:8080/proxy/index.html");
        assert_eq!((page.code, page.text()), (200, "page\n".into()));
        let summary = node.admin.get(&format!("/api/v1/nodes/{NODE}/proxy/stats/summary")).expect(200);
        let names =
            summary["pods"].as_array().expect("pods").iter().map(|pod| pod["podRef"]["name"].as_str());
        assert!(names.flatten().any(|name| name == "shell"), "{summary}");
        refused(node, "exec nobody -- true", "pods \"nobody\" not found");
        refused(node, "exec shell -c x -- true", "container x is not valid for pod shell");
    });
}

/// Exit codes, output and a port with Python's client library, which reads one TLS record as one frame.
fn pythons_client(node: &Node) {
    const SCRIPT: &str = include_str!("api_clients/streams.py");
    // Debian's interpreter, which has Debian's packages.
    let python = || Command::new("/usr/bin/python3");
    let known = python().args(["-c", "import kubernetes.stream"]).stderr(Stdio::null()).status();
    if !known.is_ok_and(|status| status.success()) {
        return harness::skip("commands_streams_and_ports: Python", "python3-kubernetes is not installed");
    }
    let output = python().args(["-c", SCRIPT]).arg(node.server.kubeconfig()).output().expect("python runs");
    assert_eq!((text(&output.stdout).as_str(), text(&output.stderr).as_str()), ("done\n", ""));
}

/// A webhook is told what is asked of a pod, and may refuse it.
fn webhooks_judge_streams(node: &Node) {
    let judge = Webhook::start(|question| {
        let request = &question["request"];
        let allowed = request["object"]["command"] != json!(["rm", "/"]);
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": {"uid": request["uid"],
            "allowed": allowed, "status": {"message": "not that"}}})
    });
    let configuration = json!({"metadata": {"name": "judge"}, "webhooks": [{"name": "judge.example.com",
        "clientConfig": judge.client_config(), "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": [{"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/exec"]}]}]});
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    node.admin.post(path, &configuration).expect(201);
    node.admin.get(path).expect(200);
    refused(
        node,
        "exec shell -- rm /",
        "admission webhook \"judge.example.com\" denied the request: not that",
    );
    assert_eq!(node.kubectl("exec shell -- echo this"), "this\n");
    let asked = judge.asked().pop().expect("a question")["request"].clone();
    assert_eq!((&asked["operation"], &asked["subResource"]), (&json!("CONNECT"), &json!("exec")));
    assert_eq!(asked["kind"], json!({"group": "", "version": "v1", "kind": "PodExecOptions"}));
    assert_eq!((&asked["resource"]["resource"], &asked["name"]), (&json!("pods"), &json!("shell")));
    assert_eq!(asked["object"]["command"], json!(["echo", "this"]));
    node.admin.delete(&format!("{path}/judge")).expect(200);
}

/// A page of the pod over a forwarded port, several times at once.
fn forwarded(node: &Node, variables: &[(&str, &str)]) {
    let mut command = node.server.kubectl_command();
    command.args(["port-forward", "pod/shell", ":8080"]).envs(variables.iter().copied());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kubectl runs");
    let mut line = String::new();
    // Kept to the end: kubectl tells of every connection, and dies where nobody listens.
    let mut told = BufReader::new(child.stdout.take().expect("its output"));
    told.read_line(&mut line).expect("a line");
    let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u16>().ok());
    let port = port.unwrap_or_else(|| panic!("{line:?} {}", end(&mut child)));
    let pages: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the forwarded port");
                stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").expect("a request");
                let mut page = String::new();
                stream.read_to_string(&mut page).expect("an answer");
                page
            })
        })
        .collect();
    for page in pages {
        let page = page.join().expect("a page");
        assert!(page.ends_with("page\n"), "{page:?}");
    }
    end(&mut child);
}

/// What is said to a container that runs, and what it answers.
fn attached(node: &Node) {
    let mut command = node.server.kubectl_command();
    command.args(["attach", "-i", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("kubectl runs");
    child.stdin.as_mut().expect("its input").write_all(b"spoken\n").expect("input");
    let mut line = String::new();
    let mut told = BufReader::new(child.stdout.take().expect("its output"));
    told.read_line(&mut line).expect("a line");
    assert_eq!(line, "spoken\n", "{}", end(&mut child));
    // The end of the input is the end of the session, not of the container.
    drop(child.stdin.take());
    assert!(child.wait().expect("its end").success());
    assert_eq!(node.get("cat")["status"]["containerStatuses"][0]["restartCount"], 0);
}

fn end(child: &mut Child) -> String {
    let _gone = child.kill();
    let mut said = String::new();
    if let Some(mut output) = child.stderr.take() {
        let _read = output.read_to_string(&mut said);
    }
    child.wait().expect("its end");
    said
}

#[test]
fn the_kubelet_lets_in_whom_the_api_allows() {
    stage("the_kubelet_lets_in_whom_the_api_allows", KEELSON, |node| {
        let authority =
            std::fs::read_to_string(node.server.data().join("pki/ca.crt")).expect("the authority");
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], node.port));
        let ask = |credential: &Credential, path: &str| {
            let answer = Client::new(address, &authority, credential.clone()).get(path);
            (answer.code, answer.text())
        };
        let accounts = "/api/v1/namespaces/default/serviceaccounts";
        let roles = "/apis/rbac.authorization.k8s.io/v1";
        let account = |name: &str, resource: &str| {
            node.admin.post(accounts, &json!({"metadata": {"name": name}})).expect(201);
            let rules = json!([{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]);
            node.admin
                .post(&format!("{roles}/clusterroles"), &json!({"metadata": {"name": name}, "rules": rules}))
                .expect(201);
            let binding = json!({
                "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}],
            });
            let bindings = format!("{roles}/clusterrolebindings");
            node.admin.post(&bindings, &binding).expect(201);
            // What is read after it is judged by it.
            node.admin.get(&bindings).expect(200);
            let made = node.admin.post(&format!("{accounts}/{name}/token"), &json!({})).expect(201);
            Credential::Token(made["status"]["token"].as_str().expect("a token").to_owned())
        };
        let reader = account("metrics-reader", "nodes/metrics");
        let pods = account("pods-reader", "nodes/pods");
        let proxy = account("proxy-reader", "nodes/proxy");
        let certificate = |name: &str, group: Option<&str>| {
            let read =
                |name: &str| std::fs::read_to_string(node.server.data().join("pki").join(name)).expect(name);
            let authority =
                Authority::from_pem("ca", &read("ca.crt"), &read("ca.key")).expect("the authority");
            let profile = Profile {
                common_name: name.into(),
                organization: group.map(str::to_owned),
                names: vec![],
                usage: Usage::Client,
                lifetime_seconds: 3600,
            };
            let made = authority.issue(&profile, jiff::Timestamp::now().as_second()).expect("a certificate");
            Credential::Certificate { chain: made.certificate_pem.clone(), key: made.key_pem().to_owned() }
        };
        let admin = certificate("root", Some("system:masters"));
        let itself = certificate(&format!("system:node:{NODE}"), Some("system:nodes"));
        for (who, credential, path, expect) in [
            ("nobody", &Credential::None, "/pods", 401),
            ("nobody", &Credential::None, "/healthz", 401),
            ("a stranger", &Credential::Token("a.b.c".into()), "/pods", 401),
            ("the administrator", &admin, "/pods", 200),
            ("the administrator", &admin, "/runningpods/", 200),
            ("the administrator", &admin, "/healthz", 200),
            ("the administrator", &admin, "/configz", 200),
            ("the administrator", &admin, "/metrics/resource", 200),
            ("the administrator", &admin, "/checkpoint/a/b/c", 501),
            ("the administrator", &admin, "/nothing", 404),
            ("the reader of metrics", &reader, "/metrics", 200),
            ("the reader of metrics", &reader, "/pods", 403),
            ("the reader of metrics", &reader, "/stats/summary", 403),
            ("the reader of pods", &pods, "/pods", 200),
            ("the reader of pods", &pods, "/metrics", 403),
            ("the reader of pods", &pods, "/containerLogs/default/a/c", 403),
            ("the reader by proxy", &proxy, "/pods", 200),
            ("the reader by proxy", &proxy, "/configz", 200),
            ("the reader by proxy", &proxy, "/metrics", 403),
            ("the reader by proxy", &proxy, "/containerLogs/default/a/c", 404),
            // Whoever may only look runs nothing, however it is asked for.
            ("the reader by proxy", &proxy, "/exec/default/a/c?command=id&output=1", 403),
            ("the node itself", &itself, "/pods", 403),
        ] {
            let answer = ask(credential, path);
            assert_eq!(answer.0, expect, "{who} {path}: {}", answer.1);
        }
        let words = "Forbidden (user=system:serviceaccount:default:metrics-reader, verb=get, resource=nodes, subresource(s)=[pods proxy])";
        assert_eq!(ask(&reader, "/pods").1, words);
    });
}
