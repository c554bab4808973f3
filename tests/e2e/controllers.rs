//! `keelson controllers` beside `keelson apiserver`, with kubectl: rollouts, cascades, namespaces, kills.
//!
//! No kubelet runs here: a test says itself that pods are ready.

mod cascades;
mod nodes;
mod policies;
mod rollouts;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::api::{Client, Server};
use serde_json::{Value, json};

/// How long a change may take to show on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks of a test at what it waits for.
const LOOK: Duration = Duration::from_millis(100);
const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");

/// The API and the controllers, nothing else.
struct Cluster {
    controllers: Child,
    admin: Client,
    server: Server,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill_controllers();
    }
}

impl Cluster {
    fn start() -> Cluster {
        Cluster::start_with(&[])
    }

    /// With further arguments for the controllers.
    fn start_with(more: &[&str]) -> Cluster {
        let server = Server::start(KEELSON);
        let admin = server.admin();
        let cluster = Cluster { controllers: controllers(&server, more), admin, server };
        cluster.until("the default account", || {
            cluster.admin.get("/api/v1/namespaces/default/serviceaccounts/default").code == 200
        });
        cluster
    }

    /// SIGKILL.
    fn kill_controllers(&mut self) {
        let _ = self.controllers.kill();
        let _ = self.controllers.wait();
    }

    fn start_controllers(&mut self) {
        self.start_controllers_with(&[]);
    }

    fn start_controllers_with(&mut self, more: &[&str]) {
        self.controllers = controllers(&self.server, more);
    }

    /// kubectl, which must succeed; what it printed.
    fn kubectl(&self, line: &str) -> String {
        let output = self.server.kubectl(line.split_whitespace());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {line}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            if begun.elapsed() > PATIENCE {
                let shown = self.server.kubectl(["get", "all,events", "-A"]);
                panic!("{what}: not within {PATIENCE:?}\n{}", String::from_utf8_lossy(&shown.stdout));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The items of a list.
    fn items(&self, path: &str) -> Vec<Value> {
        let list = self.admin.get(path).expect(200);
        list["items"].as_array().cloned().unwrap_or_default()
    }

    fn pods(&self) -> Vec<Value> {
        self.items("/api/v1/namespaces/default/pods")
    }

    /// (image, wanted, ready) of the ReplicaSets that want pods, by image.
    fn sets(&self) -> Vec<(String, i64, i64)> {
        let mut sets: Vec<_> = self
            .items("/apis/apps/v1/namespaces/default/replicasets")
            .iter()
            .filter(|set| set["spec"]["replicas"] != 0)
            .map(|set| {
                let image = set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or("?");
                let ready = set["status"]["readyReplicas"].as_i64().unwrap_or(0);
                (image.to_owned(), set["spec"]["replicas"].as_i64().unwrap_or(0), ready)
            })
            .collect();
        sets.sort();
        sets
    }

    /// What a kubelet would say of every pod that has not said so.
    fn make_pods_ready(&self) {
        for pod in self.pods() {
            if pod["status"]["phase"] == "Running" {
                continue;
            }
            let path = format!(
                "/api/v1/namespaces/default/pods/{}/status",
                pod["metadata"]["name"].as_str().unwrap_or("?")
            );
            let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let status = json!({"status": {"phase": "Running", "podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}]}});
            let answer = self.admin.patch(&path, "strategic-merge", &status);
            assert!(matches!(answer.code, 200 | 404), "{}", answer.text());
        }
    }

    /// Plays the kubelet until one ReplicaSet has all pods, and they are ready.
    fn until_rolled_out(&self, image: &str, replicas: i64) {
        let wanted = [(image.to_owned(), replicas, replicas)];
        self.until(&format!("{replicas} of {image}"), || {
            self.make_pods_ready();
            self.sets() == wanted
        });
    }
}

fn controllers(server: &Server, more: &[&str]) -> Child {
    Command::new(KEELSON)
        .arg("controllers")
        .arg("--kubeconfig")
        .arg(server.kubeconfig())
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starting the controllers")
}

/// Whether kubectl is there; says so and counts where not.
fn kubectl_or_skip(test: &str) -> bool {
    let there = Command::new("kubectl")
        .arg("version")
        .arg("--client")
        .output()
        .is_ok_and(|output| output.status.success());
    if !there {
        harness::skip(test, "no kubectl here");
    }
    there
}
