//! What the CNI step costs: the plugin as a runtime executes it, from its start to its end.
//!
//! In mode plain the plugin does everything itself. In mode auto, which clusters use, it waits for the node's agent,
//! for the pod's programs, and for what the policies say of the pod; each pod is one that the API has, and selected
//! by a policy.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser as _;
use harness::api::Server;
use harness::netns::TestHost;
use serde_json::{Value, json};

use super::{KEELSON, quantile, row};

const PODS: usize = 50;
/// Pods of other nodes, of so many different applications.
const ELSEWHERE: usize = 10_000;
const APPLICATIONS: usize = 100;
/// How long the agent may take to be ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// ADD of so many pods, one after the other, on a machine of its own.
pub fn measure() {
    plain();
    auto(0);
    auto(ELSEWHERE);
}

fn plain() {
    let guard = harness::host::exclusive("bench cni");
    let state = harness::tempdir().expect("a folder");
    let host = TestHost::create(guard.tag(), "host");
    let config = json!({"cniVersion": "1.1.0", "name": "bench", "type": "keelson-cni", "mode": "plain",
        "ipam": {"ranges": [[{"subnet": "10.244.0.0/22"}]], "dataDir": state.path()}});
    let pods: Vec<TestHost> =
        (0..PODS).map(|number| TestHost::create(guard.tag(), &format!("p{number}"))).collect();
    let times = pods
        .iter()
        .enumerate()
        .map(|(number, pod)| call(&host, Path::new(KEELSON), "ADD", &format!("c{number}"), pod, "", &config));
    report(times.collect(), "mode plain");
    drop((pods, host));
    guard.finish();
}

fn auto(elsewhere: usize) {
    let guard = harness::host::exclusive("bench cni");
    let host = TestHost::create(guard.tag(), "host");
    let outside = TestHost::create(guard.tag(), "out");
    host.connect("eth0", &outside, "eth0");
    host.address("eth0", "192.0.2.1/24");
    host.ip(&["route", "add", "default", "via", "192.0.2.2"]);
    let server = host.inside(|| Server::start_under(&guard, KEELSON, &[]));
    let node = Node {
        host: &host,
        server: &server,
        folder: harness::tempdir().expect("a folder"),
        tag: guard.tag(),
    };
    node.prepare();
    node.elsewhere(elsewhere);
    let mut agent = node.start();
    let plugin = node.folder.path().join("keelson-cni");
    std::os::unix::fs::symlink(KEELSON, &plugin).expect("a link");
    let config = node.config();
    let pods: Vec<TestHost> =
        (0..PODS).map(|number| TestHost::create(guard.tag(), &format!("p{number}"))).collect();
    let uids: Vec<String> = (0..PODS).map(|number| node.pod(&format!("c{number}"))).collect();
    let times = pods.iter().zip(&uids).enumerate().map(|(number, (pod, uid))| {
        let name = format!("c{number}");
        let who = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name};K8S_POD_UID={uid}");
        call(&host, &plugin, "ADD", &name, pod, &who, &config)
    });
    let there = if elsewhere == 0 { String::new() } else { format!(", {elsewhere} pods on other nodes") };
    report(times.collect(), &format!("mode auto: with the agent and a policy for each{there}"));
    for (number, pod) in pods.iter().enumerate() {
        call(&host, &plugin, "DEL", &format!("c{number}"), pod, "", &config);
    }
    agent.kill().expect("an agent");
    agent.wait().expect("an agent");
    host.inside(|| agent::teardown(&node.options())).expect("nothing left");
    drop(node);
    drop((server, pods, outside, host));
    guard.finish();
}

struct Node<'a> {
    host: &'a TestHost,
    server: &'a Server,
    folder: harness::TempDir,
    tag: &'a str,
}

impl Node<'_> {
    /// The Node with its range of pods, and a policy for all of them.
    fn prepare(&self) {
        self.post(
            "/api/v1/nodes",
            &json!({"metadata": {"name": "n"},
            "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]}}),
        );
        self.post("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}}));
        self.post(
            "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
            &json!({
            "metadata": {"name": "all"},
            "spec": {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]}}),
        );
    }

    /// An agent that is ready.
    fn start(&self) -> Child {
        let mut command = Command::new(KEELSON);
        command.arg("net-agent").args(self.flags());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let agent = self.host.inside(|| command.spawn().expect("an agent"));
        let begun = Instant::now();
        while !self.conflist().exists() {
            assert!(begun.elapsed() < PATIENCE, "the agent is not ready");
            std::thread::sleep(Duration::from_millis(10));
        }
        agent
    }

    fn post(&self, path: &str, object: &Value) -> Value {
        self.host.inside(|| self.server.admin().post(path, object).expect(201))
    }

    /// The UID of a pod made in the API.
    fn pod(&self, name: &str) -> String {
        let made = self.post(
            "/api/v1/namespaces/default/pods",
            &json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"nodeName": "n",
                "containers": [{"name": "c", "image": "i"}]}}),
        );
        made["metadata"]["uid"].as_str().expect("a UID").to_owned()
    }

    /// Pods of another node, with their addresses.
    fn elsewhere(&self, count: usize) {
        self.host.inside(|| {
            let admin = self.server.admin();
            for number in 0..count {
                let (name, application) = (format!("e{number}"), format!("a{}", number % APPLICATIONS));
                let address = format!("10.245.{}.{}", number / 250, 1 + number % 250);
                let mut pod = admin
                    .post(
                        "/api/v1/namespaces/default/pods",
                        &json!({"metadata": {"name": name, "labels": {"app": application}},
                            "spec": {"nodeName": "other", "containers": [{"name": "c", "image": "i"}]}}),
                    )
                    .expect(201);
                pod["status"]["phase"] = "Running".into();
                pod["status"]["podIP"] = address.as_str().into();
                pod["status"]["podIPs"] = json!([{"ip": address}]);
                let path = format!("/api/v1/namespaces/default/pods/{name}/status");
                admin.put(&path, &pod).expect(200);
            }
        });
    }

    fn flags(&self) -> Vec<String> {
        let below = |name: &str| self.folder.path().join(name).display().to_string();
        let flags = [
            ("--kubeconfig", self.server.kubeconfig().display().to_string()),
            ("--node-name", "n".to_owned()),
            ("--state-dir", below("run")),
            ("--cni-conf-dir", below("net.d")),
            ("--bpffs", below("bpf")),
            ("--instance", self.tag.to_owned()),
        ];
        flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
    }

    fn options(&self) -> agent::Options {
        agent::Options::parse_from(std::iter::once("net-agent".to_owned()).chain(self.flags()))
    }

    fn conflist(&self) -> std::path::PathBuf {
        self.folder.path().join("net.d/10-keelson.conflist")
    }

    /// The one plugin's configuration, as a runtime makes it of the list.
    fn config(&self) -> Value {
        let list = std::fs::read(self.conflist()).expect("a configuration");
        let list: Value = serde_json::from_slice(&list).expect("JSON");
        let mut config = list["plugins"][0].clone();
        config["cniVersion"] = json!("1.1.0");
        config["name"] = list["name"].clone();
        config
    }
}

/// Milliseconds from the plugin's start to its end. A shell of the namespace is not what is measured: the plugin is
/// started from within.
fn call(
    host: &TestHost,
    plugin: &Path,
    verb: &str,
    container: &str,
    pod: &TestHost,
    who: &str,
    config: &Value,
) -> f64 {
    host.inside(|| {
        let mut command = Command::new(plugin);
        command
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", container)
            .env("CNI_NETNS", pod.path())
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", "/nowhere")
            .env("CNI_ARGS", who)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let began = Instant::now();
        let mut process = command.spawn().expect("the plugin runs");
        let mut input = process.stdin.take().expect("its input");
        input.write_all(config.to_string().as_bytes()).expect("the configuration");
        drop(input);
        let output = process.wait_with_output().expect("it ends");
        let taken = began.elapsed().as_secs_f64() * 1000.0;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        taken
    })
}

fn report(mut times: Vec<f64>, mode: &str) {
    let (median, worst) = (quantile(&mut times, 0.5), quantile(&mut times, 1.0));
    row(
        "CNI ADD, from the plugin's start to its end",
        &format!("p50 {median:.1} ms, worst {worst:.1} ms"),
        &format!("{PODS} pods, one after the other, {mode}"),
    );
}
