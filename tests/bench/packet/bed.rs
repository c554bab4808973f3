//! A node with two pods, a second node with one, and a machine outside, in network namespaces.
//!
//! ```text
//! a 10.1.0.11 ─┐                          ┌── node two 192.0.2.2 ── e 10.1.2.13
//!              ├─ node one 192.0.2.1 ─────┘
//! b 10.1.0.12 ─┘     198.51.100.1 ───────────── outside 198.51.100.2
//! ```
//!
//! Wired by routes and permanent neighbours, or by a bridge; with kube-proxy's rules, or with our data path. The second
//! node is a plain router, except where what is between two of ours is measured.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use datapath::{
    Allowed, Config, Datapath, Direction, Endpoint, EndpointState, Frontend, Isolation, Masquerade,
    Namespaces, Node as Elsewhere, Ports, Scope, Service, Traffic, Transport, unload,
};
use harness::netns::TestHost;

use crate::rules;
use crate::rules::PORT;
use crate::talk::{self, Talk, Told};

const ONE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const FRONT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 11);
const B: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 12);
const E: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 13);
/// A service of which the endpoint is the second node's pod.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 100, 0, 1);
const NODE_PORT: u16 = 30_080;
/// The number of both pods in policies.
const IDENTITY: u32 = 300;
/// How often reports are read.
const READ: Duration = Duration::from_millis(10);
/// Where cgroup2 may be.
const CGROUPS: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Routed,
    Bridge,
    /// kube-proxy's rules for so many services.
    Iptables(usize),
    Nftables(usize),
    Ours {
        services: usize,
        sockets: bool,
    },
    /// Ours, one service; both pods are isolated and policies allow what they say.
    Allowed,
    /// Ours, one service; all flows are told, and read.
    Told,
    /// Ours on both nodes, one service; its endpoint is the second node's pod.
    Both,
}

/// Whom a client calls, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Pod,
    PodElsewhere,
    /// Of which the endpoint is elsewhere.
    ServiceElsewhere,
    /// The last one of so many.
    Service(usize),
    /// The server calls itself.
    Loopback,
    OutsideToPod,
    OutsideToPodElsewhere,
    NodePort,
    NodePortElsewhere,
}

pub struct Bed {
    pub kind: Kind,
    one: TestHost,
    two: TestHost,
    a: TestHost,
    b: TestHost,
    e: TestHost,
    outside: TestHost,
    servers: Vec<Child>,
    ours: Vec<Ours>,
}

/// One of the two nodes, as our data path is told of it.
struct Side<'a> {
    node: &'a TestHost,
    addresses: &'a [Ipv4Addr],
    uplinks: &'a [&'a str],
    pods: &'a [(&'a TestHost, &'static str, Ipv4Addr)],
    /// The range of the other one.
    elsewhere: &'static str,
}

struct Ours {
    is_second: bool,
    config: Config,
    cgroup: Option<PathBuf>,
    reader: Option<Reader>,
    _folder: tempfile::TempDir,
}

/// Reads what is told of flows, as the agent does while somebody follows.
struct Reader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Reader {
    fn start(datapath: &Datapath) -> Reader {
        datapath.report_flows(true).expect("flows told");
        let mut reports = datapath.reports().expect("reports");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                while reports.take().is_some() {}
                std::thread::sleep(READ);
            }
        });
        Reader { stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
    }
}

/// Address of service number n, from 1.
pub fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 0, 0)) + number as u32)
}

impl Bed {
    /// None: what it compares with is not installed.
    pub fn make(tag: &str, kind: Kind) -> Option<Bed> {
        let tool = match kind {
            Kind::Iptables(_) => rules::iptables_restore(),
            Kind::Nftables(_) => "nft",
            _ => "ip",
        };
        if std::process::Command::new(tool).arg("-V").stdout(Stdio::null()).status().is_err() {
            println!("SKIPPED {kind:?}: there is no {tool}");
            return None;
        }
        let (short, count) = match kind {
            Kind::Routed => ("r", 0),
            Kind::Bridge => ("b", 0),
            Kind::Iptables(count) => ("i", count),
            Kind::Nftables(count) => ("n", count),
            Kind::Ours { services, sockets: false } => ("k", services),
            Kind::Ours { services, sockets: true } => ("s", services),
            Kind::Allowed => ("p", 1),
            Kind::Told => ("f", 1),
            Kind::Both => ("w", 1),
        };
        let name = |host: &str| format!("{short}{count}{host}");
        let host = |host: &str| TestHost::create(tag, &name(host));
        let mut bed = Bed {
            kind,
            one: host("1"),
            two: host("2"),
            a: host("a"),
            b: host("b"),
            e: host("e"),
            outside: host("x"),
            servers: Vec::new(),
            ours: Vec::new(),
        };
        bed.wire();
        bed.servers = vec![talk::server(&bed.b), talk::server(&bed.e)];
        match kind {
            Kind::Routed | Kind::Bridge => {}
            Kind::Iptables(count) => bed.load(tool, &[], &rules::iptables(&services(count))),
            Kind::Nftables(count) => {
                bed.load("nft", &["-f", "-"], &rules::nftables(&services(count), &[ONE, FRONT]));
            }
            Kind::Ours { services, sockets } => bed.ours = vec![bed.start(tag, services, sockets)],
            Kind::Allowed | Kind::Told => bed.ours = vec![bed.start(tag, 1, false)],
            Kind::Both => bed.ours = vec![bed.start(tag, 1, false), bed.start_second()],
        }
        Some(bed)
    }

    fn wire(&self) {
        let (one, two) = (&self.one, &self.two);
        one.connect("u1", two, "u2");
        one.connect("x1", &self.outside, "eth0");
        one.address("u1", "192.0.2.1/24");
        two.address("u2", "192.0.2.2/24");
        one.address("x1", "198.51.100.1/24");
        self.outside.address("eth0", "198.51.100.2/24");
        self.outside.ip(&["route", "add", "default", "via", "198.51.100.1"]);
        two.ip(&["route", "add", "default", "via", "192.0.2.1"]);
        one.ip(&["route", "add", "10.1.2.0/24", "via", "192.0.2.2"]);
        for node in [one, two] {
            node.sysctl("ipv4/ip_forward", "1");
            node.sysctl("ipv4/conf/all/rp_filter", "0");
        }
        if self.kind == Kind::Bridge {
            one.ip(&["link", "add", "br0", "type", "bridge"]);
            one.ip(&["link", "set", "br0", "up"]);
            one.address("br0", "10.1.0.1/24");
            for (pod, name, address) in [(&self.a, "va", A), (&self.b, "vb", B)] {
                one.connect(name, pod, "eth0");
                one.ip(&["link", "set", name, "master", "br0"]);
                pod.address("eth0", &format!("{address}/24"));
                pod.ip(&["route", "add", "default", "via", "10.1.0.1"]);
            }
        } else {
            pod(one, &self.a, "va", A);
            pod(one, &self.b, "vb", B);
        }
        pod(two, &self.e, "ve", E);
        for host in [&self.a, &self.outside] {
            host.sysctl("ipv4/ip_local_port_range", "1024 60999");
            host.sysctl("ipv4/tcp_tw_reuse", "1");
        }
    }

    fn load(&self, program: &str, arguments: &[&str], rules: &str) {
        use std::io::Write as _;
        let mut child = self.one.command(program);
        let mut child = child.args(arguments).stdin(Stdio::piped()).spawn().expect("loading rules");
        child.stdin.take().expect("a pipe").write_all(rules.as_bytes()).expect("writing rules");
        let status = child.wait().expect("the end of it");
        assert!(status.success(), "{program}: {status}");
        // A connection a transaction, and each would be remembered for two minutes.
        let _ = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max");
        let _ = self
            .one
            .run("sh", &["-c", "echo 1 > /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait"]);
    }

    fn start(&self, tag: &str, services: usize, sockets: bool) -> Ours {
        let cgroup = sockets.then(|| {
            let root = CGROUPS.iter().map(PathBuf::from).find(|root| root.join("cgroup.procs").exists());
            let cgroup = root.expect("cgroup2").join(format!("kb{tag}"));
            std::fs::create_dir(&cgroup).expect("a cgroup");
            cgroup
        });
        let side = Side {
            node: &self.one,
            addresses: &[ONE, FRONT],
            uplinks: &["u1", "x1"],
            pods: &[(&self.a, "va", A), (&self.b, "vb", B)],
            elsewhere: "10.1.2.0/24",
        };
        let (mut ours, datapath) = side.start(cgroup, self.kind == Kind::Allowed);
        fill(&datapath, services);
        ours.reader = (self.kind == Kind::Told).then(|| Reader::start(&datapath));
        ours
    }

    fn start_second(&self) -> Ours {
        let side = Side {
            node: &self.two,
            addresses: &[TWO],
            uplinks: &["u2"],
            pods: &[(&self.e, "ve", E)],
            elsewhere: "10.1.0.0/24",
        };
        let (ours, _) = side.start(None, false);
        Ours { is_second: true, ..ours }
    }

    pub fn call(&self, talk: Talk, target: Target, length: Duration) -> Told {
        let to = |address: Ipv4Addr, port: u16| SocketAddr::new(IpAddr::V4(address), port);
        let (from, to) = match target {
            Target::Pod => (&self.a, to(B, PORT)),
            Target::PodElsewhere => (&self.a, to(E, PORT)),
            Target::ServiceElsewhere => (&self.a, to(ELSEWHERE, PORT)),
            Target::Service(number) => (&self.a, to(address(number), PORT)),
            Target::Loopback => (&self.b, to(Ipv4Addr::LOCALHOST, PORT)),
            Target::OutsideToPod => (&self.outside, to(B, PORT)),
            Target::OutsideToPodElsewhere => (&self.outside, to(E, PORT)),
            Target::NodePort => (&self.outside, to(FRONT, NODE_PORT)),
            Target::NodePortElsewhere => (&self.outside, to(FRONT, NODE_PORT + 1)),
        };
        let cgroup = self.ours.iter().find_map(|ours| ours.cgroup.as_ref()).and_then(|path| path.to_str());
        talk::call(from, talk, to, length, cgroup)
    }

    pub fn finish(mut self) {
        self.clear();
    }

    fn clear(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
        self.servers.clear();
        for mut ours in std::mem::take(&mut self.ours) {
            if let Some(reader) = ours.reader.take() {
                reader.stop();
            }
            let node = if ours.is_second { &self.two } else { &self.one };
            let unloaded = node.inside(|| unload(&ours.config));
            if let Err(error) = unloaded {
                println!("what is left of a bed: {error}");
            }
            if let Some(cgroup) = &ours.cgroup {
                let _ = std::fs::remove_dir(cgroup);
            }
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.clear();
    }
}

// === impl Side ===

impl Side<'_> {
    fn start(&self, cgroup: Option<PathBuf>, isolated: bool) -> (Ours, Datapath) {
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config {
            bpffs: folder.path().join("bpf"),
            cgroup: cgroup.clone(),
            node_addresses: self.addresses.iter().map(|address| (*address).into()).collect(),
            pod_cidrs: vec!["10.1.0.0/16".parse().expect("a range")],
            service_cidrs: vec!["10.96.0.0/13".parse().expect("a range")],
            masquerade: Masquerade { v4: self.addresses.first().copied(), v6: None },
            ..Config::default()
        };
        self.node.ip(&["link", "add", "keelson0", "type", "veth", "peer", "name", "keelson1"]);
        self.node.ip(&["link", "set", "keelson0", "up"]);
        self.node.ip(&["link", "set", "keelson1", "up"]);
        let datapath = self.node.inside(|| {
            let datapath = Datapath::ensure(&config).expect("a data path");
            datapath.attach_gateway("keelson0", "keelson1").expect("the gateway");
            for uplink in self.uplinks {
                datapath.attach_uplink(uplink).expect("an uplink");
            }
            datapath
        });
        if isolated {
            allow(&datapath);
        }
        for (host, link, address) in self.pods {
            self.endpoint(&datapath, host, link, *address, isolated);
        }
        // As the agent does when no pod has come for a second.
        self.node.inside(|| while datapath.promote().expect("links of pods") {});
        let elsewhere = Elsewhere { keeps_source: true, ..Elsewhere::default() };
        let range = self.elsewhere.parse().expect("a range");
        datapath.nodes().and_then(|mut nodes| nodes.put(range, elsewhere)).expect("a node");
        let ours = Ours { is_second: false, config, cgroup, reader: None, _folder: folder };
        (ours, datapath)
    }

    fn endpoint(&self, datapath: &Datapath, host: &TestHost, link: &str, address: Ipv4Addr, isolated: bool) {
        let index = self.node.inside(|| datapath.attach_host_device(link)).expect("a pod's link");
        let mac = mac(host, "eth0")
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal"))
            .collect::<Vec<u8>>()
            .try_into()
            .expect("six bytes");
        let endpoint = Endpoint {
            link: index,
            mac,
            identity: IDENTITY,
            state: EndpointState::Ready,
            isolation: Isolation { ingress: isolated, egress: isolated },
        };
        datapath.endpoints().and_then(|mut all| all.put(address.into(), &endpoint)).expect("an endpoint");
        let namespace = std::fs::File::open(host.path()).expect("the namespace");
        let cookie = Namespaces::cookie(Some(namespace.as_fd())).expect("a cookie");
        let put = datapath.namespaces().and_then(|mut all| all.put(cookie, &[address.into()]));
        put.expect("a namespace");
    }
}

/// Both pods may talk to the service's port, and nothing else.
fn allow(datapath: &Datapath) {
    let mut policies = datapath.policies().expect("policies");
    for address in [A, B] {
        let prefix = format!("{address}/32").parse().expect("an address");
        policies.name(prefix, IDENTITY).expect("a name");
    }
    for direction in [Direction::Ingress, Direction::Egress] {
        for protocol in [6, 17] {
            let what = Ports::Of { protocol, first: PORT, bits: 16 };
            let allowed = Allowed { subject: IDENTITY, peer: IDENTITY, direction, what };
            policies.allow(&allowed).expect("a policy");
        }
    }
}

/// Wires a pod by a route: an address of its own, and a gateway that every pod has.
fn pod(node: &TestHost, pod: &TestHost, link: &str, address: Ipv4Addr) {
    node.connect(link, pod, "eth0");
    pod.address("eth0", &format!("{address}/32"));
    let near = mac(node, link);
    let far = mac(pod, "eth0");
    pod.ip(&["neigh", "add", "169.254.1.1", "lladdr", &near, "dev", "eth0", "nud", "permanent"]);
    pod.ip(&["route", "add", "default", "via", "169.254.1.1", "dev", "eth0", "onlink"]);
    node.ip(&["route", "add", &format!("{address}/32"), "dev", link]);
    node.ip(&["neigh", "add", &address.to_string(), "lladdr", &far, "dev", link, "nud", "permanent"]);
}

fn mac(host: &TestHost, link: &str) -> String {
    let shown = host.ip(&["-br", "link", "show", link]);
    shown.split_whitespace().nth(2).expect("an Ethernet address").to_owned()
}

/// Services 1 to count; the last leads to the pod, as the two node ports do.
fn services(count: usize) -> Vec<rules::Service> {
    let mut all = Vec::with_capacity(count + 2);
    for number in 1..=count {
        let real = number == count;
        let endpoints = if real { vec![B] } else { dummies(number).to_vec() };
        let service = |protocol, node_port, endpoints| rules::Service {
            name: format!("ns/svc{number}/{protocol}"),
            address: address(number),
            protocol,
            node_port,
            endpoints,
        };
        all.push(service("tcp", real.then_some(NODE_PORT), endpoints.clone()));
        if real {
            all.push(service("udp", None, endpoints));
        }
    }
    all.push(rules::Service {
        name: "ns/elsewhere/tcp".into(),
        address: ELSEWHERE,
        protocol: "tcp",
        node_port: Some(NODE_PORT + 1),
        endpoints: vec![E],
    });
    all
}

/// Endpoints that nobody has.
fn dummies(number: usize) -> [Ipv4Addr; 2] {
    let first = u32::from(Ipv4Addr::new(10, 3, 0, 0)) + number as u32 * 2;
    [first.into(), (first + 1).into()]
}

/// The same in our maps.
pub fn fill(datapath: &Datapath, count: usize) {
    let mut backends = datapath.backends().expect("backends");
    let mut services = datapath.services().expect("services");
    let mut put = |number: usize, frontend: Frontend, endpoints: &[Ipv4Addr]| {
        let sockets: Vec<SocketAddr> =
            endpoints.iter().map(|endpoint| SocketAddr::new((*endpoint).into(), PORT)).collect();
        let set = backends.install(&sockets).expect("a set");
        let traffic = Traffic { node_port: frontend.address.is_unspecified(), ..Traffic::default() };
        let service = Service { number: number as u32, set: Some(set), affinity_seconds: None, traffic };
        services.put(&frontend, &service).expect("a frontend");
    };
    let at = |address: Ipv4Addr, port, transport, scope| Frontend {
        address: address.into(),
        port,
        transport,
        scope,
    };
    for number in 1..=count {
        let endpoints = if number == count { vec![B] } else { dummies(number).to_vec() };
        put(number, at(address(number), PORT, Transport::Tcp, Scope::Cluster), &endpoints);
    }
    put(count, at(address(count), PORT, Transport::Udp, Scope::Cluster), &[B]);
    let any = Ipv4Addr::UNSPECIFIED;
    put(count, at(any, NODE_PORT, Transport::Tcp, Scope::External), &[B]);
    put(count + 1, at(any, NODE_PORT + 1, Transport::Tcp, Scope::External), &[E]);
    put(count + 1, at(ELSEWHERE, PORT, Transport::Tcp, Scope::Cluster), &[E]);
}
