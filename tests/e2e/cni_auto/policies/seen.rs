//! What one sees of a node's network: flows with their verdicts, policies explained, the maps, metrics.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::super::{KEELSON, Node};
use super::reaches;

impl Node {
    /// `keelson` on the node; its exit code and what it printed.
    fn keelson(&self, words: &[&str]) -> (Option<i32>, String) {
        let output = self.host.inside(|| Command::new(KEELSON).args(words).output().expect("keelson runs"));
        let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &wrong)
    }

    /// What a kubelet would say: the pod's address.
    fn addressed(&self, namespace: &str, pod: &super::Pod) {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{}/status", pod.name);
        let address = pod.address.to_string();
        let body = json!({"status": {"podIP": address, "podIPs": [{"ip": address}]}}).to_string();
        self.admin(|admin| {
            drop(admin.send("PATCH", &path, "application/merge-patch+json", body.as_bytes()).expect(200));
        });
    }

    fn explain(&self, words: &[&str]) -> (Option<i32>, String) {
        let kubeconfig = self.server.as_ref().expect("the API").kubeconfig().display().to_string();
        let flags = ["net", "policy", "explain", "--kubeconfig", kubeconfig.as_str()];
        self.keelson(&[&flags[..], words].concat())
    }

    fn status(&self) -> Value {
        let bpffs = self.folder.path().join("bpf").display().to_string();
        let words = ["net", "status", "--bpffs", &bpffs, "--instance", &self.tag, "-o", "json"];
        let (code, said) = self.keelson(&words);
        assert_eq!(code, Some(0), "{said}");
        serde_json::from_str(&said).expect("JSON")
    }

    fn metrics(&self) -> String {
        let mut stream =
            self.host.inside(|| TcpStream::connect(("127.0.0.1", 9_962)).expect("the agent's metrics"));
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    /// The value of one sample.
    pub(in super::super) fn metric(&self, sample: &str) -> f64 {
        let text = self.metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {sample} in {text}")).parse().expect("a number")
    }
}

/// `keelson flows -f`, read line by line.
struct Follower {
    process: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Follower {
    fn start(node: &Node, flags: &[&str]) -> Follower {
        let mut command = Command::new(KEELSON);
        command.args(["flows", "-f", "--last", "0", "-o", "json", "--state-dir"]);
        command.arg(node.folder.path().join("run")).args(flags).stdout(Stdio::piped()).stdin(Stdio::null());
        let mut process = command.spawn().expect("keelson flows runs");
        let lines = BufReader::new(process.stdout.take().expect("its output"));
        Follower { process, lines }
    }

    /// The next flow, or none where it ended.
    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        (!line.is_empty()).then(|| serde_json::from_str(&line).expect("a flow"))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn what_becomes_of_packets_is_seen() {
    let test = "cni_auto::what_becomes_of_packets_is_seen";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let mut node = Node::ready(&guard);
    node.namespace("default", &Value::Null);
    node.namespace("x", &Value::Null);
    // Before the pods: of a connection that stood before it, the answers would be dropped and told too.
    let to_near =
        json!([{"from": [{"podSelector": {"matchLabels": {"app": "near"}}}], "ports": [{"port": 80}]}]);
    node.policy("only-near", &json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": to_near}));
    let web = node.pod("default", "web", &json!({"app": "web"}));
    let near = node.pod("default", "near", &json!({"app": "near"}));
    let far = node.pod("x", "far", &json!({"app": "far"}));
    node.settles("the policy", &far.host, (web.address, 80), false);
    follow(&node, &web, &near, &far);
    filter(&node, &web);
    for (namespace, pod) in [("default", &web), ("default", &near), ("x", &far)] {
        node.addressed(namespace, pod);
    }
    explained(&node);

    let status = node.status();
    assert_eq!(status["endpoints"].as_array().map(Vec::len), Some(3), "{status}");
    assert_eq!(status["endpoints"][0]["state"], "READY", "{status}");
    assert!(status["counters"]["drop_policy_ingress"].as_u64() > Some(0), "{status}");
    counted(&node, &far, &web);
    for pod in [web, near, far] {
        node.del(&pod.name, Some(&pod.host));
    }
    node.end(guard);
}

/// Verdicts as they come: what is allowed goes on, what is not says why. Both are tried again and again meanwhile, because a
/// follower hears only what comes after it; a follower that hears nothing is ended.
fn follow(node: &Node, web: &super::Pod, near: &super::Pod, far: &super::Pod) {
    let mut all = Follower::start(node, &["--to-pod", "web", "--protocol", "tcp"]);
    let mut drops = Follower::start(node, &["--verdict", "dropped", "--from-pod", "x/far"]);
    let processes = [&all, &drops].map(|follower| rustix::process::Pid::from_child(&follower.process));
    let heard = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let begun = std::time::Instant::now();
            while !heard.load(std::sync::atomic::Ordering::SeqCst) {
                let _ = reaches(&near.host, (web.address, 80));
                let _ = reaches(&far.host, (web.address, 80));
                if begun.elapsed() > super::PATIENCE {
                    for process in processes {
                        let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
                    }
                    return;
                }
            }
        });
        let forwarded = std::iter::from_fn(|| all.next()).find(|flow| flow["verdict"] == "FORWARDED");
        let dropped = [&mut all, &mut drops]
            .map(|one| std::iter::from_fn(|| one.next()).find(|flow| flow["verdict"] == "DROPPED"));
        heard.store(true, std::sync::atomic::Ordering::SeqCst);
        let flow = forwarded.expect("a flow that went on");
        assert_eq!(flow["source"]["name"], json!({"namespace": "default", "pod": "near"}), "{flow}");
        assert_eq!(flow["destination"]["address"], format!("{}:80", web.address), "{flow}");
        for flow in dropped {
            let flow = flow.expect("a flow that was dropped");
            assert_eq!(flow["drop_reason"], "POLICY_INGRESS", "{flow}");
            assert_eq!(flow["source"]["name"]["pod"], "far", "{flow}");
        }
    });
    assert!(node.metric("keelson_flow_events_total{verdict=\"FORWARDED\"}") > 0.0);
}

/// Each filter with what it keeps, and with what it leaves out.
fn filter(node: &Node, web: &super::Pod) {
    let (address, elsewhere) = (format!("{}/32", web.address), "198.51.100.0/24");
    for (flag, some, none) in [
        ("--verdict", "DROPPED", None),
        ("--pod", "web", Some("nobody")),
        ("--from-pod", "x/far", Some("x/web")),
        ("--namespace", "x", Some("y")),
        ("--from-namespace", "x", Some("default")),
        ("--to-namespace", "default", Some("x")),
        ("--drop-reason-desc", "POLICY_INGRESS", Some("POLICY_EGRESS")),
        ("--ip", &address, Some(elsewhere)),
        ("--to-ip", &address, Some(elsewhere)),
        ("--from-ip", "10.244.0.0/24", Some(&address)),
        ("--port", "80", Some("81")),
        ("--to-port", "80", Some("81")),
        ("--since", "10m", Some("2099-01-01T00:00:00Z")),
        ("--until", "0s", Some("2020-01-01T00:00:00Z")),
        ("--protocol", "TCP", Some("UDP")),
    ] {
        let drops = ["--verdict", "DROPPED", "--last", "1000", "-o", "json", flag];
        let told = node.flows(&[&drops[..], &[some]].concat());
        assert!(!told.is_empty(), "{flag} {some}");
        assert!(told.iter().all(|flow| flow["verdict"] == "DROPPED"), "{told:?}");
        if let Some(none) = none {
            let told = node.flows(&[&drops[..], &[none]].concat());
            assert!(told.is_empty(), "{flag} {none}: {told:?}");
        }
    }
    assert_eq!(node.flows(&["--last", "1", "-o", "json"]).len(), 1);
    let folder = node.folder.path().join("run").display().to_string();
    let words =
        ["flows", "--state-dir", &folder, "--last", "1", "--verdict", "DROPPED", "--from-pod", "x/far"];
    let (code, line) = node.keelson(&words);
    let wanted = " -> default/web:80 DROPPED POLICY_INGRESS (TCP Flags: ";
    assert!(code == Some(0) && line.contains(": x/far:") && line.contains(wanted), "{line}");
    let (code, said) = node.keelson(&["flows", "--state-dir", "/nowhere"]);
    assert!(code == Some(1) && said.contains("is the network agent running"), "{said}");
}

/// The API's objects say the same as the data path.
fn explained(node: &Node) {
    let (code, said) = node.explain(&["near", "default/web", "http"]);
    assert!(code == Some(0) && said.starts_with("allowed\n"), "{said}");
    assert!(
        said.contains("ingress of default/web: allowed: rule 1 of default/only-near allows it"),
        "{said}"
    );
    let (code, said) = node.explain(&["x/far", "web", "80"]);
    assert!(code == Some(1) && said.starts_with("DENIED\n"), "{said}");
    assert!(said.contains("selected by default/only-near"), "{said}");
    let (code, said) = node.explain(&["near", "web", "81/UDP", "-o", "json"]);
    let document: Value = serde_json::from_str(&said).expect("JSON");
    assert!(code == Some(1) && document["allowed"] == false, "{said}");
    let (code, said) = node.explain(&["near", "nobody", "80"]);
    assert!(code == Some(1) && said.contains("there is no pod default/nobody"), "{said}");
}

fn counted(node: &Node, far: &super::Pod, web: &super::Pod) {
    let drops = "keelson_drop_count_total{reason=\"POLICY_INGRESS\",direction=\"INGRESS\"}";
    let before = node.metric(drops);
    assert!(before > 0.0);
    assert!(!reaches(&far.host, (web.address, 80)));
    node.until("a drop is counted", || node.metric(drops) > before);
    for (sample, least) in [
        ("keelson_agent_ready", 1.0),
        ("keelson_nodes", 1.0),
        ("keelson_policy", 1.0),
        ("keelson_identity", 3.0),
        ("keelson_endpoint_state{endpoint_state=\"ready\"}", 3.0),
        ("keelson_bpf_map_entries{map_name=\"policy\"}", 1.0),
        ("keelson_bpf_map_entries{map_name=\"flows4\"}", 2.0),
        ("keelson_bpf_map_capacity{map_name=\"flows4\"}", 262_144.0),
        ("keelson_conntrack_flows_total", 1.0),
        ("keelson_forward_count_total{direction=\"INGRESS\"}", 1.0),
        ("keelson_network_sync_duration_seconds_count", 1.0),
        ("keelson_policy_sync_duration_seconds_count", 1.0),
    ] {
        let value = node.metric(sample);
        assert!(value >= least, "{sample}: {value}");
    }
    for sample in ["keelson_policy_entries_refused", "keelson_endpoint_state{endpoint_state=\"pending\"}"] {
        assert_eq!(node.metric(sample), 0.0, "{sample}");
    }
    // Only loopback: nobody outside learns anything.
    let outside = node.outside.inside(|| TcpStream::connect(("192.0.2.1", 9_962)));
    assert!(outside.is_err(), "metrics are answered outside");
}
