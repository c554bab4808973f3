//! The node that is measured, and the API through which it is.

use std::io::{BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{Cache, Caches, Client, Config, Key, Propagation, Resource, Surroundings};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

const PATIENCE: Duration = Duration::from_secs(120);
const NAMESPACE: &str = "default";

/// A demonstration that is kept, seen from its own network.
pub struct BenchNode {
    process: Child,
    pub init: i32,
    /// From the start of the node's processes to its Ready.
    pub ready_seconds: f64,
    runtime: Runtime,
    client: Client,
    pods: Cache,
    changed: Arc<Notify>,
}

impl BenchNode {
    pub fn start() -> BenchNode {
        let mut process = Command::new(super::KEELSON)
            .args(["demo", "--keep", "--replicas", "1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("keelson runs");
        let output = BufReader::new(process.stdout.take().expect("its output"));
        let (mut started, mut ready) = (0.0, 0.0);
        let mut lines = output.lines().map(|line| line.expect("a line"));
        let (init, kubeconfig) = loop {
            let line = lines.next().expect("the demonstration tells its story");
            let seconds =
                || line.split('s').next().and_then(|word| word.trim().parse::<f64>().ok()).unwrap_or(0.0);
            if line.contains("starts in namespaces") {
                started = seconds();
            } else if line.contains("the node is Ready") {
                ready = seconds();
            } else if let Some(rest) = line.trim().strip_prefix("nsenter --net=/proc/") {
                let pid: i32 = rest.split('/').next().and_then(|pid| pid.parse().ok()).expect("a PID");
                let path = rest.split_whitespace().skip_while(|word| *word != "--kubeconfig").nth(1);
                break (pid, path.expect("a kubeconfig").to_owned());
            }
        };
        // Reads on, so that the demonstration never waits for a reader; ends with it.
        std::thread::spawn(move || lines.for_each(drop));
        let network = std::fs::File::open(format!("/proc/{init}/ns/net")).expect("the node's network");
        let kind = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(network.as_fd(), Some(kind)).expect("entering it");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (client, pods, changed) = runtime.block_on(async {
            let config = Config::read(kubeconfig.as_ref()).expect("a kubeconfig");
            let client = Client::new(config, "bench", Surroundings::system()).expect("a client");
            let pods = Caches::new(client.clone()).of(&Resource::PODS);
            let changed = Arc::new(Notify::new());
            let changes = changed.clone();
            pods.subscribe(move |_| changes.notify_one());
            pods.synced().await;
            (client, pods, changed)
        });
        BenchNode { process, init, ready_seconds: ready - started, runtime, client, pods, changed }
    }

    /// Removes the demonstration's own objects.
    pub fn clear(&self) {
        self.runtime.block_on(async {
            let background = Propagation::Background;
            self.client
                .delete(&Resource::DEPLOYMENTS, NAMESPACE, "web", None, Some(background))
                .await
                .expect("deleted");
            self.client
                .delete(&Resource::PODS, NAMESPACE, "caller", None, Some(background))
                .await
                .expect("deleted");
            self.until("no pods", || self.pods.list(NAMESPACE).is_empty()).await;
        });
    }

    /// Creates a pod, waits for its Ready, and removes it again; how long the first two took.
    pub fn pod_ready(&self, name: &str) -> Duration {
        self.runtime.block_on(async {
            let began = Instant::now();
            self.create(name).await;
            self.until("a Ready pod", || self.is_ready(name)).await;
            let took = began.elapsed();
            let background = Propagation::Background;
            self.client
                .delete(&Resource::PODS, NAMESPACE, name, None, Some(background))
                .await
                .expect("deleted");
            self.until("its end", || self.pods.get(&Key::new(NAMESPACE, name)).is_none()).await;
            took
        })
    }

    /// Runs some pods and waits until all are Ready.
    pub fn run(&self, count: usize) {
        self.runtime.block_on(async {
            for number in 0..count {
                self.create(&format!("rest-{number}")).await;
            }
            self.until("all of them", || (0..count).all(|number| self.is_ready(&format!("rest-{number}"))))
                .await;
        });
    }

    async fn create(&self, name: &str) {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "web", "image": "keelson.dev/demo:latest", "imagePullPolicy": "Never"}],
            },
        });
        self.client.create(&Resource::PODS, NAMESPACE, &pod).await.expect("a pod is created");
    }

    fn is_ready(&self, name: &str) -> bool {
        self.pods.get(&Key::new(NAMESPACE, name)).is_some_and(|pod| {
            let conditions = pod.value()["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|one: &Value| one["type"] == "Ready" && one["status"] == "True")
        })
    }

    async fn until(&self, what: &str, wanted: impl Fn() -> bool) {
        let waiting = async {
            while !wanted() {
                self.changed.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("no {what} in time"));
    }
}

impl Drop for BenchNode {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(self.process.id().cast_signed()).expect("a PID");
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        let _ended = self.process.wait();
    }
}
