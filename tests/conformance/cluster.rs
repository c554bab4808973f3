//! An API server and its controllers, and short words for what tests ask of them.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::api::{Client, Server};
use serde_json::{Value, json};

/// How long a change may take to show on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks of a test at what it waits for.
const LOOK: Duration = Duration::from_millis(50);
/// How long the past is kept, at least: longer than a behaviour that looks back needs, short enough to wait for.
pub const COMPACTION: Duration = Duration::from_secs(10);
const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");

/// What all behaviours share.
struct Processes {
    controllers: Child,
    // Last: it lets the host go.
    server: Server,
}

impl Drop for Processes {
    fn drop(&mut self) {
        let _ = self.controllers.kill();
        let _ = self.controllers.wait();
    }
}

/// The cluster as one behaviour has it: with a connection of its own.
pub struct Cluster {
    pub admin: Client,
    processes: Arc<Processes>,
}

impl Cluster {
    pub fn start() -> Cluster {
        let interval = COMPACTION.as_secs().to_string();
        let server = Server::start_with(KEELSON, &["--compaction-interval-seconds", &interval]);
        let controllers = Command::new(KEELSON)
            .arg("controllers")
            .arg("--kubeconfig")
            .arg(server.kubeconfig())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starting the controllers");
        Cluster { admin: server.admin(), processes: Arc::new(Processes { controllers, server }) }
    }

    /// The same cluster, for another thread.
    pub fn beside(&self) -> Cluster {
        Cluster { admin: self.processes.server.admin(), processes: self.processes.clone() }
    }

    /// The server itself: its kubeconfig, kubectl, other clients.
    pub fn server(&self) -> &Server {
        &self.processes.server
    }

    /// A namespace with the account that its pods need.
    pub fn make_namespace(&self, name: &str) {
        self.create("/api/v1/namespaces", &json!({"metadata": {"name": name}}));
        self.until("the namespace's account", || {
            self.admin.get(&format!("/api/v1/namespaces/{name}/serviceaccounts/default")).code == 200
        });
    }

    #[track_caller]
    pub fn create(&self, path: &str, object: &Value) -> Value {
        self.admin.post(path, object).expect(201)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.admin.get(path).expect(200)
    }

    #[track_caller]
    pub fn put(&self, path: &str, object: &Value) -> Value {
        self.admin.put(path, object).expect(200)
    }

    #[track_caller]
    pub fn merge(&self, path: &str, patch: &Value) -> Value {
        self.admin.patch(path, "merge", patch).expect(200)
    }

    #[track_caller]
    pub fn delete(&self, path: &str) {
        let answer = self.admin.delete(path);
        assert!(matches!(answer.code, 200 | 202), "{} {}", answer.code, answer.text());
    }

    pub fn is_gone(&self, path: &str) -> bool {
        self.admin.get(path).code == 404
    }

    /// The items of a list.
    #[track_caller]
    pub fn items(&self, path: &str) -> Vec<Value> {
        self.get(path)["items"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until something holds.
    #[track_caller]
    pub fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until an object looks as wanted, and gives it.
    #[track_caller]
    pub fn until_shows(&self, what: &str, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let begun = Instant::now();
        loop {
            let answer = self.admin.get(path);
            if answer.code == 200 {
                last = answer.json();
                if holds(&last) {
                    return last;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}; {path} is {last}");
            std::thread::sleep(LOOK);
        }
    }

    /// What a kubelet would say of a pod.
    pub fn say(&self, namespace: &str, pod: &str, phase: &str) {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let ready = if phase == "Running" { "True" } else { "False" };
        let status = json!({"status": {"phase": phase, "podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}],
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": now}]}});
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/status");
        let answer = self.admin.patch(&path, "strategic-merge", &status);
        assert!(matches!(answer.code, 200 | 404), "{}", answer.text());
    }

    /// Says the same of every pod of a namespace that is not there yet.
    pub fn say_of_all(&self, namespace: &str, phase: &str) {
        for pod in self.items(&format!("/api/v1/namespaces/{namespace}/pods")) {
            if pod["status"]["phase"] == "Pending" && pod["metadata"]["deletionTimestamp"].is_null() {
                self.say(namespace, pod["metadata"]["name"].as_str().unwrap_or_default(), phase);
            }
        }
    }
}

/// The path of a namespaced resource: `apps/v1` or `v1`, plural.
pub fn path(api: &str, namespace: &str, plural: &str) -> String {
    let root = if api.contains('/') { "apis" } else { "api" };
    if namespace.is_empty() {
        format!("/{root}/{api}/{plural}")
    } else {
        format!("/{root}/{api}/namespaces/{namespace}/{plural}")
    }
}

/// A pod's spec that needs nothing.
pub fn pod_spec() -> Value {
    json!({"containers": [{"name": "c", "image": "example.test/pause:1"}], "terminationGracePeriodSeconds": 0})
}

/// A pod's template with a label.
pub fn template(app: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": pod_spec()})
}
