//! A whole node for one test: API server, controllers, scheduler, CRI server and kubelet, below one folder.
//!
//! Everything is the real executable. Pods have addresses from the plugin's plain mode, images come from a registry on
//! loopback. [`stage`] compares the host before and after; the parts can be killed and started one by one.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pki::{Folder, FolderRequest, NodeIdentity, NodeRequest};
use serde_json::Value;

use crate::api::{Client, Server, free_port};
use crate::containerd;
use crate::host::{self, Guard};
use crate::registry::{Debian, Login, debian};

/// How long a change may take to show on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks of a test at what it waits for.
const LOOK: Duration = Duration::from_millis(100);
/// The name of every test's node.
pub const NODE: &str = "node-a";

/// A part beside the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `keelson controllers`
    Controllers,
    /// `keelson scheduler`
    Scheduler,
    /// `keelson cri`
    Cri,
    /// `keelson kubelet`
    Kubelet,
}

const PARTS: [Part; 4] = [Part::Cri, Part::Controllers, Part::Scheduler, Part::Kubelet];

/// Whose CRI server the node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// `keelson cri`
    Keelson,
    /// Debian's containerd with runc.
    Containerd,
}

/// A running node.
pub struct Node {
    program: PathBuf,
    runtime: Runtime,
    /// The API server.
    pub server: Server,
    /// The administrator.
    pub admin: Client,
    /// Busybox in the registry.
    pub image: String,
    /// For further images.
    pub registry: Debian,
    /// Folder of everything but the API server's data.
    pub folder: tempfile::TempDir,
    /// The kubelet's HTTPS port.
    pub port: u16,
    identity: NodeIdentity,
    tag: String,
    subnet: String,
    children: [Option<Child>; 4],
    /// Further arguments of the kubelet, for its next start.
    pub kubelet_arguments: Vec<OsString>,
    /// The socket that the kubelet calls, where it is not the CRI server's own.
    pub runtime_endpoint: Option<PathBuf>,
    guard: Option<Guard>,
}

/// Runs one story on a fresh node, then expects the host as it was. `program` is the executable under test.
pub fn stage(test: &str, program: impl AsRef<Path>, story: impl FnOnce(&mut Node)) {
    stage_on(test, program, Runtime::Keelson, story);
}

/// The same on another runtime; skipped where that is not installed.
pub fn stage_on(test: &str, program: impl AsRef<Path>, runtime: Runtime, story: impl FnOnce(&mut Node)) {
    if runtime == Runtime::Containerd && !containerd::is_installed() {
        return crate::skip(test, "containerd, runc and containernetworking-plugins are not all installed");
    }
    if !crate::root_or_skip(test) {
        return;
    }
    let Some(image) = crate::image::busybox() else { return crate::skip(test, "no busybox-static") };
    // The registry comes after: another test's would be seen as left by this one.
    let guard = host::exclusive(test);
    let Some(registry) = debian(Login::None) else { return crate::skip(test, "no docker-registry") };
    let image = registry.push("busybox", "e2e", &image.build());
    let mut node = Node::open(guard, program.as_ref(), runtime, registry, image);
    node.until("the node is ready", |node| node.is_ready());
    // Without it no pod is admitted.
    node.until("pods have an account", |node| {
        node.admin.get("/api/v1/namespaces/default/serviceaccounts/default").code == 200
    });
    story(&mut node);
    node.finish();
}

impl Node {
    fn open(guard: Guard, program: &Path, runtime: Runtime, registry: Debian, image: String) -> Node {
        let server = Server::start_under(&guard, program, &[]);
        let folder = tempfile::tempdir().expect("a folder");
        let tag = guard.tag().to_owned();
        let identity = identity(&server, folder.path());
        // Of the range for benchmarks, so that it is nobody's: one /24 per test process.
        let subnet = format!("198.18.{}.0/24", std::process::id() % 250);
        let mut node = Node {
            program: program.to_owned(),
            runtime,
            admin: server.admin(),
            server,
            image,
            registry,
            folder,
            port: free_port(),
            identity,
            tag,
            subnet,
            children: Default::default(),
            kubelet_arguments: Vec::new(),
            runtime_endpoint: None,
            guard: Some(guard),
        };
        node.write_files();
        if runtime == Runtime::Containerd {
            let pause = containerd::push_pause(&node.registry);
            containerd::prepare(node.folder.path(), &pause, &[]);
        }
        for part in PARTS {
            node.start(part);
        }
        node
    }

    /// A path in the node's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_files(&self) {
        for name in [self.registry.address.replace(':', "_"), self.registry.address.clone()] {
            let hosts = self.path("registries").join(name);
            std::fs::create_dir_all(&hosts).expect("a folder");
            let text = format!("server = \"http://{}\"\n", self.registry.address);
            std::fs::write(hosts.join("hosts.toml"), text).expect("a file");
        }
        std::fs::create_dir_all(self.path("bin")).expect("a folder");
        std::os::unix::fs::symlink(&self.program, self.path("bin/keelson-cni")).expect("a link");
        let network = serde_json::json!({
            // As the agent writes it: Debian's containerd knows no newer one than the first.
            "cniVersion": "1.0.0", "cniVersions": ["1.0.0", "1.1.0"], "name": "pods", "plugins": [{
                "type": "keelson-cni", "mode": "plain",
                "ipam": {"ranges": [[{"subnet": self.subnet}]], "dataDir": self.path("ipam")},
            }],
        });
        std::fs::create_dir_all(self.path("net.d")).expect("a folder");
        std::fs::write(self.path("net.d/10-pods.conflist"), network.to_string()).expect("a file");
    }

    /// Starts a part that does not run.
    pub fn start(&mut self, part: Part) {
        let log = self.path(&format!("{part:?}.log"));
        let log = File::options().create(true).append(true).open(log).expect("a log");
        let child = self.command(part).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let slot = &mut self.children[part as usize];
        assert!(slot.is_none(), "{part:?} runs already");
        *slot = Some(child.expect("keelson runs"));
    }

    fn command(&self, part: Part) -> Command {
        let mut command = Command::new(&self.program);
        let mut flag = |name: &str, value: OsString| {
            command.arg(name).arg(value);
        };
        let path = |name: &str| self.path(name).into_os_string();
        let cgroup: OsString = format!("/keelson-{}", self.tag).into();
        match part {
            Part::Controllers | Part::Scheduler => {
                let name = if part == Part::Scheduler { "scheduler" } else { "controllers" };
                flag(name, "--kubeconfig".into());
                command.arg(self.server.kubeconfig());
            }
            Part::Cri if self.runtime == Runtime::Containerd => {
                command = containerd::command(self.folder.path());
            }
            Part::Cri => {
                flag("cri", format!("--listen=unix://{}", self.path("cri.sock").display()).into());
                flag("--root", path("root"));
                flag("--state", path("state"));
                flag("--cni-conf-dir", path("net.d"));
                flag("--cni-bin-dir", path("bin"));
                flag("--registries", path("registries"));
                flag("--keeper-cgroup", "none".into());
                flag("--cgroup-root", cgroup);
            }
            Part::Kubelet => {
                flag("kubelet", "--kubeconfig".into());
                command.arg(&self.identity.kubeconfig);
                let mut flag = |name: &str, value: OsString| {
                    command.arg(name).arg(value);
                };
                flag("--hostname-override", NODE.into());
                flag("--node-ip", "127.0.0.1".into());
                flag("--address", "127.0.0.1".into());
                flag("--port", self.port.to_string().into());
                flag("--healthz-port", "0".into());
                let endpoint = self.runtime_endpoint.clone().map(PathBuf::into_os_string);
                flag("--container-runtime-endpoint", endpoint.unwrap_or_else(|| path("cri.sock")));
                flag("--root-dir", path("kubelet"));
                flag("--pod-logs-dir", path("log/pods"));
                flag("--tls-cert-file", self.identity.serving_certificate.clone().into());
                flag("--tls-private-key-file", self.identity.serving_key.clone().into());
                flag("--client-ca-file", self.identity.client_authority.clone().into());
                flag("--cluster-dns", "10.96.0.10".into());
                flag("--cgroup-root", cgroup);
                flag("--node-status-update-frequency", "1s".into());
                // The machine's disks are not the test's.
                flag("--eviction-hard", "".into());
                command.args(&self.kubelet_arguments);
            }
        }
        command.env("KEELSON_LOG", "info");
        command
    }

    /// SIGKILL.
    pub fn kill(&mut self, part: Part) {
        if let Some(mut child) = self.children[part as usize].take() {
            child.kill().expect("the part is killed");
            child.wait().expect("the part is reaped");
        }
    }

    /// SIGKILL to the keeper; the CRI server starts another.
    pub fn kill_keeper(&self) {
        if let Some(pid) = self.keeper() {
            let _gone = kill(pid, Signal::SIGKILL);
        }
    }

    fn keeper(&self) -> Option<Pid> {
        let lock = std::fs::read_to_string(self.path("state/keeper.lock")).unwrap_or_default();
        lock.split_whitespace().find_map(|word| word.parse::<i32>().ok()).map(Pid::from_raw)
    }

    /// What a part said.
    #[must_use]
    pub fn log(&self, part: Part) -> String {
        std::fs::read_to_string(self.path(&format!("{part:?}.log"))).unwrap_or_default()
    }

    /// kubectl, which must succeed; what it printed.
    pub fn kubectl(&self, line: &str) -> String {
        let output = self.server.kubectl(line.split_whitespace());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {line}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// kubectl, whatever it ends in.
    #[must_use]
    pub fn kubectl_output(&self, arguments: &[&str]) -> Output {
        self.server.kubectl(arguments)
    }

    /// Waits until something holds, and shows the cluster where it does not.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Node) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            if begun.elapsed() > PATIENCE {
                panic!("{what}: not within {PATIENCE:?}\n{}", self.shown());
            }
            std::thread::sleep(LOOK);
        }
    }

    fn shown(&self) -> String {
        let get =
            |arguments: &[&str]| String::from_utf8_lossy(&self.server.kubectl(arguments).stdout).into_owned();
        let objects = get(&["get", "nodes,deployments,pods", "-A", "-o", "wide"]);
        let events = get(&["get", "events", "-A", "--sort-by=.lastTimestamp"]);
        let described = get(&["describe", "pods"]);
        format!("{objects}\n{events}\n{described}\nthe kubelet said:\n{}", self.log(Part::Kubelet))
    }

    /// Creates a pod in `default`.
    pub fn pod(&self, name: &str, spec: Value) {
        let pod = serde_json::json!({"metadata": {"name": name}, "spec": spec});
        let _made = self.admin.post("/api/v1/namespaces/default/pods", &pod).expect(201);
    }

    /// A pod of `default`, or null.
    #[must_use]
    pub fn get(&self, name: &str) -> Value {
        let answer = self.admin.get(&format!("/api/v1/namespaces/default/pods/{name}"));
        if answer.code == 404 { Value::Null } else { answer.expect(200) }
    }

    /// All pods of `default`.
    #[must_use]
    pub fn pods(&self) -> Vec<Value> {
        let list = self.admin.get("/api/v1/namespaces/default/pods").expect(200);
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Waits for a pod's status.
    pub fn until_pod(&mut self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut found = Value::Null;
        self.until(&format!("{name}: {what}"), |node| {
            found = node.get(name)["status"].clone();
            holds(&found)
        });
        found
    }

    /// Waits until a pod's first container waits for this reason, with a message that says this.
    pub fn until_waiting(&mut self, name: &str, reason: &str, message: &str) {
        let _status = self.until_pod(name, &format!("{reason} {message}"), |status| {
            let waiting = &status["containerStatuses"][0]["state"]["waiting"];
            let said = waiting["message"].as_str().unwrap_or_default();
            waiting["reason"] == reason && said.contains(message)
        });
    }

    /// Whether the Node object says Ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let answer = self.admin.get(&format!("/api/v1/nodes/{NODE}"));
        answer.code == 200 && is_true(&answer.expect(200)["status"], "Ready")
    }

    /// PIDs of the processes below the node's pods' cgroup, with their start times, so that no reuse goes unseen.
    #[must_use]
    pub fn processes(&self) -> Vec<(i32, String)> {
        let root = PathBuf::from("/sys/fs/cgroup");
        let unified = root.join("unified");
        let root = if unified.join("cgroup.procs").exists() { unified } else { root };
        let mut found = Vec::new();
        let mut folders = vec![root.join(format!("keelson-{}", self.tag))];
        while let Some(folder) = folders.pop() {
            let text = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
            let below = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            folders.extend(below.map(|entry| entry.path()).filter(|path| path.is_dir()));
        }
        found.sort_unstable();
        found.into_iter().map(|pid| (pid, started(pid))).collect()
    }

    fn finish(mut self) {
        self.remove_pods();
        for part in [Part::Kubelet, Part::Scheduler, Part::Controllers, Part::Cri] {
            self.kill(part);
        }
        self.kill_keeper();
        self.clean();
        let guard = self.guard.take();
        drop(self);
        if let Some(guard) = guard {
            guard.finish();
        }
    }

    /// The kubelet takes down what it has put up: a test leaves nothing because the product leaves nothing.
    fn remove_pods(&mut self) {
        for part in [Part::Cri, Part::Kubelet] {
            if self.children[part as usize].is_none() {
                self.start(part);
            }
        }
        self.kill(Part::Controllers);
        let _ = self.server.kubectl(["delete", "pods", "--all", "-A", "--grace-period=1", "--wait=false"]);
        self.until("all pods are gone", |node| {
            let pods = node.admin.get("/api/v1/pods").expect(200);
            pods["items"].as_array().is_some_and(Vec::is_empty)
        });
        // A finished pod is gone from the API before the kubelet has heard of it.
        self.until("the folders of pods are gone", |node| {
            std::fs::read_dir(node.path("kubelet/pods")).map_or(0, Iterator::count) == 0
        });
    }

    fn clean(&self) {
        let pins = self.path("state/ns");
        let _ = Command::new("umount").arg(&pins).stderr(Stdio::null()).status();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let ours = self.folder.path().display().to_string();
        let mut places: Vec<&str> = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .filter(|place| place.starts_with(&ours))
            .collect();
        places.reverse();
        for place in places {
            let _ = Command::new("umount").arg("-l").arg(place).stderr(Stdio::null()).status();
        }
        remove_cgroups(&format!("keelson-{}", self.tag));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for part in PARTS {
                eprintln!("{part:?} said:\n{}", self.log(part));
            }
        }
        for part in [Part::Kubelet, Part::Scheduler, Part::Controllers, Part::Cri] {
            if let Some(mut child) = self.children[part as usize].take() {
                let _ended = child.kill().and_then(|()| child.wait());
            }
        }
        if self.guard.is_some() {
            for (pid, _) in self.processes() {
                let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            self.kill_keeper();
            self.clean();
        }
    }
}

/// Whether a condition of a status is true.
#[must_use]
pub fn is_true(status: &Value, condition: &str) -> bool {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.any(|known| known["type"] == condition && known["status"] == "True")
}

/// The node's keys, signed by the API server's authority.
fn identity(server: &Server, folder: &Path) -> NodeIdentity {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    let now = i64::try_from(now.as_secs()).expect("a time");
    let request = FolderRequest { serving_names: vec!["127.0.0.1".into()], now };
    // A copy: what the server has is not to be renewed for other names.
    let keys = folder.join("pki");
    std::fs::create_dir_all(&keys).expect("a folder");
    for name in ["ca.crt", "ca.key"] {
        std::fs::copy(server.data().join("pki").join(name), keys.join(name)).expect("the authority");
    }
    let keys = Folder::ensure(&keys, &request).expect("keys");
    let request = NodeRequest {
        server: &format!("https://{}", server.address()),
        name: NODE,
        addresses: &["127.0.0.1".to_owned()],
        now,
    };
    keys.ensure_node(&folder.join("node"), &request).expect("an identity")
}

fn started(pid: i32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    fields.split_whitespace().nth(19).unwrap_or_default().to_owned()
}

/// Removes an empty tree from every hierarchy; what is not empty shows as left behind.
pub fn remove_cgroups(name: &str) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let hierarchies = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
        kind.starts_with("cgroup").then(|| PathBuf::from(place))
    });
    for hierarchy in hierarchies {
        remove_tree(&hierarchy.join(name));
    }
}

fn remove_tree(folder: &Path) {
    let below = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.path().is_dir()) {
        remove_tree(&entry.path());
    }
    let _ = std::fs::remove_dir(folder);
}
