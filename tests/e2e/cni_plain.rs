//! The CNI plugin in its plain mode: real packets between pods and host, races, kills, refusals.
//!
//! The host is a network namespace of its own; the plugin is called as a runtime calls it: variables, JSON
//! on stdin, an object on stdout, an exit code.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use harness::netns::TestHost;
use serde_json::{Value, json};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long what must not come is waited for.
const SILENCE: Duration = Duration::from_millis(300);
const DUAL_STACK: [&str; 2] = ["10.244.0.0/24", "fd00:10:244::/64"];

/// A node: its namespace, its plugin's configuration and its reservations.
struct Node {
    host: TestHost,
    folder: harness::TempDir,
    plugin: PathBuf,
    config: Value,
}

struct Answer {
    status: ExitStatus,
    object: Value,
}

impl Node {
    fn new(tag: &str, subnets: &[&str]) -> Node {
        let host = TestHost::create(tag, "host");
        // Addresses that pods can talk to.
        host.address("lo", "198.51.100.1/32");
        host.address("lo", "2001:db8::1/128");
        let folder = harness::tempdir().unwrap();
        let plugin = folder.path().join("keelson-cni");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_keelson"), &plugin).unwrap();
        let ranges: Vec<Value> = subnets.iter().map(|subnet| json!([{"subnet": subnet}])).collect();
        let config = json!({
            "cniVersion": "1.1.0", "name": "pods", "type": "keelson-cni", "mode": "plain",
            "ipam": {"ranges": ranges, "dataDir": folder.path().join("ipam")},
        });
        Node { host, folder, plugin, config }
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
        let mut config = self.config.clone();
        for (name, value) in extra.as_object().into_iter().flatten() {
            config[name] = value.clone();
        }
        let mut words = through.to_vec();
        words.push(self.plugin.to_str().unwrap());
        let mut process = Command::new(words[0]);
        process.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        process.env("CNI_COMMAND", command).env("CNI_CONTAINERID", container).env("CNI_IFNAME", "eth0");
        process.env("CNI_PATH", "/opt/cni/bin").env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=p");
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

    fn add(&self, container: &str, pod: &TestHost) -> Answer {
        self.call("ADD", container, Some(pod), &Value::Null)
    }

    /// The names of everything that a pod could have left.
    fn leftovers(&self) -> Vec<String> {
        let links = self.host.ip(&["-br", "link"]);
        let routes = self.host.ip(&["route"]) + &self.host.ip(&["-6", "route"]);
        let neighbours = self.host.ip(&["neigh", "show", "nud", "permanent"]);
        let mut found: Vec<String> = [links, routes, neighbours]
            .iter()
            .flat_map(|text| text.lines())
            .filter(|line| line.contains("kn") || line.contains("eth0"))
            .map(str::to_owned)
            .collect();
        found.extend(self.reserved());
        found
    }

    fn reserved(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.folder.path().join("ipam/pods")).into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.parse::<IpAddr>().is_ok()).collect()
    }
}

impl Answer {
    fn succeeded(self) -> Value {
        assert!(self.status.success(), "{}: {}", self.status, self.object);
        self.object
    }

    fn failed_with(self, code: u64) -> String {
        assert_eq!(self.status.code(), Some(1), "{}", self.object);
        assert_eq!(self.object["code"], code, "{}", self.object);
        self.object.to_string()
    }
}

fn addresses(result: &Value) -> Vec<String> {
    let ips = result["ips"].as_array().unwrap();
    ips.iter().map(|ip| ip["address"].as_str().unwrap().split('/').next().unwrap().to_owned()).collect()
}

/// Sends a megabyte from one namespace to another and gives the sender's address as the receiver sees it.
fn megabyte(from: &TestHost, to: &TestHost, address: &str) -> IpAddr {
    const BYTES: usize = 1 << 20;
    let address: IpAddr = address.parse().unwrap();
    let listener = to.inside(|| TcpListener::bind(SocketAddr::new(address, 0)).unwrap());
    let port = listener.local_addr().unwrap().port();
    let receiver = std::thread::spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        (bytes.len(), peer.ip())
    });
    let target = SocketAddr::new(address, port);
    let mut stream = from.inside(|| TcpStream::connect_timeout(&target, PATIENCE).unwrap());
    stream.write_all(&vec![7; BYTES]).unwrap();
    drop(stream);
    let (received, peer) = receiver.join().unwrap();
    assert_eq!(received, BYTES);
    peer
}

/// Whether a datagram from one address gets to another.
fn datagram_arrives(
    from: &TestHost,
    source: &str,
    (to, target): (&TestHost, &str),
    patience: Duration,
) -> bool {
    let receiver = to.inside(|| UdpSocket::bind((target, 0)).unwrap());
    receiver.set_read_timeout(Some(patience)).unwrap();
    let sender = from.inside(|| UdpSocket::bind((source, 0)).unwrap());
    sender.send_to(b"hello", receiver.local_addr().unwrap()).unwrap();
    receiver.recv_from(&mut [0; 16]).is_ok()
}

#[test]
fn pods_and_host_talk_in_both_families() {
    let test = "cni_plain::pods_and_host_talk_in_both_families";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let node = Node::new(guard.tag(), &DUAL_STACK);
    let pods = [TestHost::create(guard.tag(), "a"), TestHost::create(guard.tag(), "b")];
    let results = [node.add("a", &pods[0]).succeeded(), node.add("b", &pods[1]).succeeded()];
    assert_eq!(addresses(&results[0]), ["10.244.0.1", "fd00:10:244::1"]);
    assert_eq!(addresses(&results[1]), ["10.244.0.2", "fd00:10:244::2"]);
    assert_eq!(results[0]["ips"][0]["gateway"], "169.254.1.1");
    assert_eq!(results[0]["interfaces"][1]["sandbox"], pods[0].path().to_str().unwrap());
    for family in 0..2 {
        let [a, b] = [&results[0], &results[1]].map(|result| addresses(result)[family].clone());
        assert_eq!(megabyte(&pods[0], &pods[1], &b).to_string(), a, "pods see each other's own addresses");
        assert_eq!(megabyte(&pods[1], &pods[0], &a).to_string(), b);
        megabyte(&node.host, &pods[0], &a);
        let host = ["198.51.100.1", "2001:db8::1"][family];
        assert_eq!(megabyte(&pods[0], &node.host, host).to_string(), a);
    }
    // What a pod sends from an address that is not its own ends at its link.
    pods[0].address("lo", "10.9.9.9/32");
    let to_node = (&node.host, "198.51.100.1");
    assert!(datagram_arrives(&pods[0], "10.244.0.1", to_node, PATIENCE));
    assert!(!datagram_arrives(&pods[0], "10.9.9.9", to_node, SILENCE));

    // Usable at once: nothing is left to be detected, nothing had to be asked.
    assert!(!pods[0].ip(&["-6", "addr", "show", "dev", "eth0", "scope", "global"]).contains("tentative"));
    assert_eq!(pods[0].ip(&["neigh", "show", "nud", "reachable"]), "");

    let previous = json!({"prevResult": results[0]});
    assert_eq!(node.call("CHECK", "a", Some(&pods[0]), &previous).succeeded(), Value::Null);
    pods[0].ip(&["addr", "del", "10.244.0.1/32", "dev", "eth0"]);
    let said = node.call("CHECK", "a", Some(&pods[0]), &previous).failed_with(104);
    assert!(said.contains("address 10.244.0.1/32"), "{said}");
    node.call("CHECK", "stranger", Some(&pods[0]), &previous).failed_with(3);

    node.call("DEL", "a", Some(&pods[0]), &Value::Null).succeeded();
    node.call("DEL", "a", Some(&pods[0]), &Value::Null).succeeded();
    assert!(pods[1].reaches("198.51.100.1"), "the other pod stays connected");
    drop(pods);
    node.call("DEL", "b", None, &Value::Null).succeeded();
    assert_eq!(node.leftovers(), Vec::<String>::new());
    drop((node, results));
    guard.finish();
}

#[test]
fn a_hundred_pods_at_once_get_addresses_of_their_own() {
    const PODS: usize = 100;
    let test = "cni_plain::a_hundred_pods_at_once_get_addresses_of_their_own";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let node = Node::new(guard.tag(), &DUAL_STACK);
    let pods: Vec<TestHost> = (0..PODS).map(|k| TestHost::create(guard.tag(), &format!("{k}"))).collect();
    let given: Vec<Vec<String>> = std::thread::scope(|scope| {
        let node = &node;
        let call = |(k, pod)| scope.spawn(move || addresses(&node.add(&format!("c{k}"), pod).succeeded()));
        let threads: Vec<_> = pods.iter().enumerate().map(call).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let distinct: BTreeSet<&String> = given.iter().flatten().collect();
    assert_eq!(distinct.len(), 2 * PODS);
    assert!(pods[0].reaches(&given[PODS - 1][0]) && pods[PODS - 1].reaches(&given[0][1]));
    // The runtime still knows one of them.
    let valid = json!({"cni.dev/valid-attachments": [{"containerID": "c7", "ifname": "eth0"}]});
    node.call("GC", "", None, &valid).succeeded();
    let left: BTreeSet<String> = node.reserved().into_iter().collect();
    assert_eq!(left, given[7].iter().cloned().collect());
    assert!(node.host.reaches(&given[7][0]));
    // As a runtime written in Go says that it has no pod left.
    node.call("GC", "", None, &json!({"cni.dev/valid-attachments": null})).succeeded();
    assert_eq!(node.leftovers(), Vec::<String>::new());
    drop((node, pods));
    guard.finish();
}

#[test]
fn exhaustion_is_said_and_passes() {
    let test = "cni_plain::exhaustion_is_said_and_passes";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let node = Node::new(guard.tag(), &["10.244.0.0/30"]);
    let pods = ["a", "b", "c"].map(|name| TestHost::create(guard.tag(), name));
    node.call("STATUS", "", None, &Value::Null).succeeded();
    node.add("a", &pods[0]).succeeded();
    node.add("b", &pods[1]).succeeded();
    let said = node.add("c", &pods[2]).failed_with(101);
    assert!(said.contains("10.244.0.1-10.244.0.2") && said.contains("2 are in use"), "{said}");
    node.call("STATUS", "", None, &Value::Null).failed_with(50);
    assert!(!pods[2].ip(&["link"]).contains("eth0"));
    node.call("DEL", "a", Some(&pods[0]), &Value::Null).succeeded();
    assert_eq!(addresses(&node.add("c", &pods[2]).succeeded()), ["10.244.0.1"]);
    drop((node, pods));
    guard.finish();
}

#[test]
fn refusals_leave_what_is_there() {
    let test = "cni_plain::refusals_leave_what_is_there";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let node = Node::new(guard.tag(), &["10.244.0.0/24"]);
    let pod = TestHost::create(guard.tag(), "a");
    node.add("a", &pod).succeeded();
    node.add("a", &pod).failed_with(102);
    node.add("other", &pod).failed_with(102);
    assert!(node.host.reaches("10.244.0.1"), "the first attachment is untouched");
    assert_eq!(node.reserved(), ["10.244.0.1"]);
    let said = node.call("ADD", "h", Some(&node.host), &Value::Null).failed_with(4);
    assert!(said.contains("the host's own"), "{said}");
    let said = node.call("ADD", "h", Some(&pod), &json!({"ipam": {"subnet": "10.0.0.0/40"}})).failed_with(7);
    assert!(said.contains("ipam.subnet") && said.contains("10.0.0.0/40"), "{said}");
    node.call("ADD", "h", Some(&pod), &json!({"cniVersion": "0.2.0"})).failed_with(1);
    node.call("ADD", "h", Some(&pod), &json!({"ipMasq": true})).failed_with(2);
    node.call("GC", "", None, &Value::Null).failed_with(7);
    let versions = node.call("VERSION", "", None, &Value::Null).succeeded();
    assert_eq!(versions["supportedVersions"].as_array().unwrap().last().unwrap(), "1.1.0");

    let second = TestHost::create(guard.tag(), "b");
    let asked = json!({"cniVersion": "0.4.0", "capabilities": {"mac": true, "ips": true},
        "runtimeConfig": {"mac": "02:11:22:33:44:55", "ips": ["10.244.0.77/24"]}});
    let result = node.call("ADD", "b", Some(&second), &asked).succeeded();
    assert_eq!(result["ips"][0]["version"], "4");
    assert_eq!(addresses(&result), ["10.244.0.77"]);
    assert!(second.ip(&["link", "show", "eth0"]).contains("02:11:22:33:44:55"));
    assert!(second.reaches("10.244.0.1"));
    drop((node, pod, second));
    guard.finish();
}

#[test]
fn links_without_reservations_are_collected() {
    let test = "cni_plain::links_without_reservations_are_collected";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let node = Node::new(guard.tag(), &DUAL_STACK);
    let pods = ["a", "b"].map(|name| TestHost::create(guard.tag(), name));
    node.add("a", &pods[0]).succeeded();
    node.add("b", &pods[1]).succeeded();
    std::fs::remove_dir_all(node.folder.path().join("ipam")).unwrap();
    let valid = json!({"cni.dev/valid-attachments": [{"containerID": "b", "ifname": "eth0"}]});
    node.call("GC", "", None, &valid).succeeded();
    assert!(!pods[0].ip(&["link"]).contains("eth0"));
    assert!(pods[1].ip(&["link"]).contains("eth0"), "one that is still valid stays");
    node.call("DEL", "b", Some(&pods[1]), &Value::Null).succeeded();
    assert_eq!(node.leftovers(), Vec::<String>::new());
    drop((node, pods));
    guard.finish();
}

#[test]
fn stock_plugins_chain_behind_ours() {
    const STOCK: &str = "/usr/lib/cni/tuning";
    let test = "cni_plain::stock_plugins_chain_behind_ours";
    if !harness::root_or_skip(test) {
        return;
    }
    if !std::path::Path::new(STOCK).exists() {
        return harness::skip(test, "the stock CNI plugins are not installed");
    }
    let guard = harness::host::exclusive(test);
    let mut node = Node::new(guard.tag(), &DUAL_STACK);
    let pod = TestHost::create(guard.tag(), "a");
    let version = json!({"cniVersion": "1.0.0"});
    let ours = node.call("ADD", "a", Some(&pod), &version).succeeded();
    let own = node.plugin.clone();
    node.plugin = PathBuf::from(STOCK);
    let chained = json!({"cniVersion": "1.0.0", "type": "tuning", "ipam": null, "mode": null, "prevResult": ours,
        "dataDir": node.folder.path(), "sysctl": {"net.core.somaxconn": "777"}});
    let last = node.call("ADD", "a", Some(&pod), &chained).succeeded();
    assert_eq!(addresses(&last), addresses(&ours));
    assert_eq!(pod.must("cat", &["/proc/sys/net/core/somaxconn"]).trim(), "777");
    // What the chain made of our result is what CHECK gets.
    node.plugin = own;
    let previous = json!({"cniVersion": "1.0.0", "prevResult": last});
    node.call("CHECK", "a", Some(&pod), &previous).succeeded();
    node.call("DEL", "a", Some(&pod), &previous).succeeded();
    assert_eq!(node.leftovers(), Vec::<String>::new());
    drop((node, pod));
    guard.finish();
}

#[test]
fn a_kill_at_any_moment_is_cleaned_up() {
    let test = "cni_plain::a_kill_at_any_moment_is_cleaned_up";
    if !harness::root_or_skip(test) {
        return;
    }
    if Command::new("strace").arg("-V").output().is_err() {
        return harness::skip(test, "strace is not installed");
    }
    /// More calls of one kind than an ADD makes.
    const MOMENTS_MAX: usize = 100;
    let guard = harness::host::exclusive(test);
    let node = Node::new(guard.tag(), &DUAL_STACK);
    let pod = TestHost::create(guard.tag(), "a");
    let before = node.leftovers();
    let mut kills = 0;
    for calls in ["symlink,symlinkat", "sendto", "write", "setns"] {
        for moment in 1..=MOMENTS_MAX {
            let inject = format!("inject={calls}:signal=SIGKILL:when={moment}");
            let trace = format!("trace={calls}");
            let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
            let answer = node.call_through(&strace, "ADD", "a", Some(&pod), &Value::Null);
            let killed = answer.status.signal() == Some(9) || answer.status.code() == Some(137);
            if moment % 2 == 0 {
                node.call("GC", "", None, &json!({"cni.dev/valid-attachments": []})).succeeded();
            } else {
                node.call("DEL", "a", Some(&pod), &Value::Null).succeeded();
            }
            assert_eq!(node.leftovers(), before, "{calls} {moment}");
            assert!(!pod.ip(&["link"]).contains("eth0"), "{calls} {moment}");
            if !killed {
                answer.succeeded();
                break;
            }
            kills += 1;
        }
    }
    assert!(kills >= 10, "only {kills} kills: does strace inject?");
    node.add("a", &pod).succeeded();
    assert!(node.host.reaches(&node.reserved()[0]));
    drop((node, pod));
    guard.finish();
}
