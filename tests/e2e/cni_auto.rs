//! The CNI plugin in mode auto with the node's agent: real packets, kills, refusals.
//!
//! A node is a network namespace with an API server of its own in it, an agent, and the plugin called as a runtime
//! calls it, with the configuration that the agent wrote. The outside is another namespace without any route to pods.

mod connected;
mod containerd;
mod full;
mod killed;
mod policies;
mod refused;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use clap::Parser as _;
use harness::api::Server;
use harness::host::Guard;
use harness::netns::TestHost;
use serde_json::{Value, json};

const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");
/// How long a change may take to show on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks of a test at what it waits for.
const LOOK: Duration = Duration::from_millis(20);
const NODE: &str = "/api/v1/nodes/n";

struct Node {
    outside: TestHost,
    host: TestHost,
    folder: harness::TempDir,
    plugin: PathBuf,
    agent: Option<Child>,
    /// Further flags of the agent.
    more: Vec<String>,
    /// Pods that the API has, by container: namespace and UID.
    known: BTreeMap<String, (String, String)>,
    tag: String,
    /// Last: the agent is told to go before the API does.
    server: Option<Server>,
}

struct Answer {
    status: ExitStatus,
    object: Value,
}

impl Node {
    /// A machine with a cable to the outside, and the Node `n` without any range of pods.
    fn new(guard: &Guard) -> Node {
        let host = TestHost::create(guard.tag(), "host");
        let outside = TestHost::create(guard.tag(), "out");
        host.connect("eth0", &outside, "eth0");
        host.address("eth0", "192.0.2.1/24");
        outside.address("eth0", "192.0.2.2/24");
        host.ip(&["route", "add", "default", "via", "192.0.2.2"]);
        let server = host.inside(|| Server::start_under(guard, KEELSON, &[]));
        host.inside(|| server.admin().post("/api/v1/nodes", &json!({"metadata": {"name": "n"}})).expect(201));
        let folder = harness::tempdir().unwrap();
        let plugin = folder.path().join("keelson-cni");
        std::os::unix::fs::symlink(KEELSON, &plugin).unwrap();
        let tag = guard.tag().to_owned();
        Node {
            outside,
            host,
            folder,
            plugin,
            agent: None,
            more: Vec::new(),
            known: BTreeMap::new(),
            tag,
            server: Some(server),
        }
    }

    /// With a range, and an agent that is ready.
    fn ready(guard: &Guard) -> Node {
        let mut node = Node::new(guard);
        node.give_range();
        node.start_agent();
        node.until("the CNI configuration", || node.conflist().exists());
        node
    }

    fn give_range(&self) {
        self.give_ranges(&["10.244.0.0/24"]);
    }

    fn give_ranges(&self, ranges: &[&str]) {
        let range = json!({"spec": {"podCIDR": ranges[0], "podCIDRs": ranges}});
        self.admin(|admin| admin.patch(NODE, "merge", &range).expect(200));
    }

    fn admin<T: Send>(&self, act: impl FnOnce(&harness::api::Client) -> T + Send) -> T {
        let server = self.server.as_ref().expect("the API");
        self.host.inside(|| act(&server.admin()))
    }

    fn flags(&self) -> Vec<String> {
        let below = |name: &str| self.folder.path().join(name).display().to_string();
        let kubeconfig = self.server.as_ref().expect("the API").kubeconfig().display().to_string();
        let flags = [
            ("--kubeconfig", kubeconfig),
            ("--node-name", "n".to_owned()),
            ("--state-dir", below("run")),
            ("--cni-conf-dir", below("net.d")),
            ("--bpffs", below("bpf")),
            ("--instance", self.tag.clone()),
        ];
        let own = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
        own.chain(self.more.iter().cloned()).collect()
    }

    fn start_agent(&mut self) {
        let log =
            std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = Command::new(KEELSON);
        command.arg("net-agent").args(self.flags()).env("KEELSON_LOG", "info,keelson_agent=debug");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.agent = Some(self.host.inside(|| command.spawn().unwrap()));
    }

    /// SIGKILL.
    fn kill_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
    }

    fn signal_agent(&self, signal: nix::sys::signal::Signal) {
        let pid = self.agent.as_ref().expect("an agent").id().cast_signed();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
    }

    fn conflist(&self) -> PathBuf {
        self.folder.path().join("net.d/10-keelson.conflist")
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            if begun.elapsed() > PATIENCE {
                panic!("{what}: not within {PATIENCE:?}\n{}", self.log());
            }
            std::thread::sleep(LOOK);
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The one plugin's configuration, as a runtime makes it of the list.
    fn config(&self) -> Value {
        let list: Value = serde_json::from_slice(&std::fs::read(self.conflist()).unwrap()).unwrap();
        let mut config = list["plugins"][0].clone();
        config["cniVersion"] = list["cniVersions"].as_array().unwrap().last().unwrap().clone();
        config["name"] = list["name"].clone();
        config
    }

    fn call(&self, command: &str, container: &str, pod: Option<&TestHost>, extra: &Value) -> Answer {
        self.call_through(&[], command, container, pod, extra)
    }

    /// Calls the plugin below another program (strace).
    fn call_through(
        &self,
        through: &[&str],
        command: &str,
        container: &str,
        pod: Option<&TestHost>,
        extra: &Value,
    ) -> Answer {
        let mut config = self.config();
        for (name, value) in extra.as_object().into_iter().flatten() {
            config[name] = value.clone();
        }
        let mut words = through.to_vec();
        words.push(self.plugin.to_str().unwrap());
        let mut process = Command::new(words[0]);
        process.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        process.env("CNI_COMMAND", command).env("CNI_CONTAINERID", container).env("CNI_IFNAME", "eth0");
        let (namespace, uid) = match self.known.get(container) {
            Some((namespace, uid)) => (namespace.as_str(), uid.as_str()),
            None => ("default", "u"),
        };
        let args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={container};K8S_POD_UID={uid}"
        );
        process.env("CNI_PATH", "/opt/cni/bin").env("CNI_ARGS", args);
        if let Some(pod) = pod {
            process.env("CNI_NETNS", pod.path());
        }
        let mut child = self.host.inside(|| process.spawn().unwrap());
        // A plugin that is killed early does not read.
        let _ = child.stdin.take().unwrap().write_all(config.to_string().as_bytes());
        let output = child.wait_with_output().unwrap();
        let object = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        Answer { status: output.status, object }
    }

    /// The pod's address.
    fn add(&self, container: &str, pod: &TestHost) -> String {
        let result = self.succeeded(self.call("ADD", container, Some(pod), &Value::Null));
        result["ips"][0]["address"].as_str().unwrap().trim_end_matches("/32").to_owned()
    }

    fn del(&self, container: &str, pod: Option<&TestHost>) {
        self.succeeded(self.call("DEL", container, pod, &Value::Null));
    }

    fn succeeded(&self, answer: Answer) -> Value {
        assert!(answer.status.success(), "{}: {}\n{}", answer.status, answer.object, self.log());
        answer.object
    }

    /// The agent's records of pods.
    fn records(&self) -> Vec<String> {
        names(&self.folder.path().join("run/endpoints"))
    }

    /// Everything that a pod could have left.
    fn leftovers(&self) -> Vec<String> {
        let links = self.host.ip(&["-br", "link"]);
        let routes = self.host.ip(&["route"]) + &self.host.ip(&["-6", "route"]);
        let neighbours = self.host.ip(&["neigh", "show", "nud", "permanent"]);
        let text = links + &routes + &neighbours;
        let mut found: Vec<String> = text
            .lines()
            .filter(|line| line.contains(" kn") || line.starts_with("kn"))
            .map(str::to_owned)
            .collect();
        let reserved = names(&self.folder.path().join(format!("run/ipam/keelson-{}", self.tag)));
        found.extend(reserved.into_iter().filter(|name| name.parse::<IpAddr>().is_ok()));
        found.extend(self.records());
        let known = agent::pods(&self.options()).expect("the maps");
        found.extend(known.iter().map(|pod| format!("{pod:?}")));
        found
    }

    /// Pins of pods' programs.
    fn pins(&self) -> Vec<String> {
        let below = self.folder.path().join("bpf").join(&self.tag);
        let versions =
            names(&below).into_iter().flat_map(|version| names(&below.join(version).join("links")));
        versions.filter(|pin| pin.ends_with("_pod")).collect()
    }

    fn options(&self) -> agent::Options {
        agent::Options::parse_from(std::iter::once("net-agent".to_owned()).chain(self.flags()))
    }

    fn end(mut self, guard: Guard) {
        if self.agent.is_some() {
            // Their links are gone; the agent hears of it.
            self.until("no pins of pods", || self.pins().is_empty());
        }
        self.take_away();
        drop(self);
        guard.finish();
    }

    fn take_away(&mut self) {
        self.kill_agent();
        if self.server.is_none() {
            return;
        }
        let options = self.options();
        let gone = self.host.inside(|| agent::teardown(&options));
        drop(self.server.take());
        assert!(gone.is_ok() || std::thread::panicking(), "{gone:?}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.take_away();
    }
}

impl Answer {
    fn failed_with(self, code: u64) -> String {
        assert_eq!(self.status.code(), Some(1), "{}", self.object);
        assert_eq!(self.object["code"], code, "{}", self.object);
        self.object.to_string()
    }
}

fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Sends a megabyte there and half of it back; the sender's address as the receiver sees it.
fn megabyte(from: &TestHost, to: &TestHost, address: &str) -> String {
    const BYTES: usize = 1 << 20;
    let address: IpAddr = address.parse().unwrap();
    let listener = to.inside(|| TcpListener::bind(SocketAddr::new(address, 0)).unwrap());
    let target = SocketAddr::new(address, listener.local_addr().unwrap().port());
    let receiver = std::thread::spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        stream.write_all(&bytes[..BYTES / 2]).unwrap();
        (bytes.len(), peer.ip().to_string())
    });
    let mut stream = from.inside(|| TcpStream::connect_timeout(&target, PATIENCE).unwrap());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&vec![7; BYTES]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    let (received, peer) = receiver.join().unwrap();
    assert_eq!((received, back.len()), (BYTES, BYTES / 2));
    peer
}

/// One datagram there and one back; the sender's address as the receiver sees it, if both arrived.
fn datagram(from: &TestHost, to: &TestHost, address: &str) -> Option<String> {
    datagram_within(from, to, address, PATIENCE)
}

fn datagram_within(from: &TestHost, to: &TestHost, address: &str, patience: Duration) -> Option<String> {
    let receiver = to.inside(|| UdpSocket::bind((address, 0)).unwrap());
    let sender = from.inside(|| UdpSocket::bind(("0.0.0.0", 0)).unwrap());
    for socket in [&receiver, &sender] {
        socket.set_read_timeout(Some(patience)).unwrap();
    }
    sender.send_to(b"hello", receiver.local_addr().unwrap()).ok()?;
    let (_, peer) = receiver.recv_from(&mut [0; 16]).ok()?;
    receiver.send_to(b"hello", peer).ok()?;
    sender.recv_from(&mut [0; 16]).ok()?;
    Some(peer.ip().to_string())
}
