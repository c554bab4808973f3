//! A node, two pods, a machine outside and one further away, each in a network namespace of its own.
//!
//! ```text
//!  pod a 10.244.0.11 ─┐                                        ┌─ outside 192.0.2.2
//!                     ├─ node 192.0.2.1 (up0) ──── cable ──────┤
//!  pod b 10.244.0.12 ─┘    keelson0 ═ keelson1 (gateway)       └─ also 198.51.100.7 and, as a pod elsewhere, 10.244.9.9
//! ```
//!
//! The node's `ip_forward` is off and stays off.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use harness::netns::TestHost;
use keelson_datapath::{
    Config, Datapath, Endpoint, EndpointState, Frontend, Masquerade, Namespaces, Scope, Service, SetId,
    Traffic, Transport, unload,
};

pub const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
pub const POD_A: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 11);
pub const POD_B: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 12);
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
pub const NODE_PORT: u16 = 30_080;

/// How long anything may take before a test calls it lost, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long a test waits for what must not come.
pub const SILENCE: Duration = Duration::from_secs(1);

pub struct Node {
    pub host: TestHost,
    pub outside: TestHost,
    pub a: Pod,
    pub b: Pod,
    pub config: Config,
    pub datapath: Datapath,
    _folder: tempfile::TempDir,
}

pub struct Pod {
    pub host: TestHost,
    /// The host's end.
    pub link: String,
    pub endpoint: Endpoint,
}

impl Node {
    pub fn make(tag: &str, cgroup: Option<PathBuf>) -> Node {
        Node::make_with(tag, Config { cgroup, ..Config::default() })
    }

    /// With a configuration of which directory and addresses are filled in.
    pub fn make_with(tag: &str, config: Config) -> Node {
        let host = TestHost::create(tag, "node");
        let outside = TestHost::create(tag, "out");
        host.connect("up0", &outside, "eth0");
        host.address("up0", "192.0.2.1/24");
        outside.address("eth0", "192.0.2.2/24");
        outside.address("lo", "198.51.100.7/32");
        outside.address("lo", "10.244.9.9/32");
        host.ip(&["route", "add", "default", "via", "192.0.2.2"]);
        outside.ip(&["route", "add", "10.244.0.0/24", "via", "192.0.2.1"]);
        gateway(&host);
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config {
            bpffs: folder.path().join("bpf"),
            node_addresses: vec![IpAddr::V4(NODE)],
            pod_cidrs: vec!["10.244.0.0/16".parse().expect("a range")],
            service_cidrs: vec!["10.96.0.0/16".parse().expect("a range")],
            masquerade: Masquerade { v4: Some(NODE), v6: None },
            ..config
        };
        let datapath = host.inside(|| start(&config));
        let a = Pod::make(tag, "a", POD_A, &host, &datapath);
        let b = Pod::make(tag, "b", POD_B, &host, &datapath);
        Node { host, outside, a, b, config, datapath, _folder: folder }
    }

    /// Gives everybody an IPv6 address as well.
    pub fn add_ipv6(&mut self) {
        self.host.address("up0", "2001:db8::1/64");
        self.outside.address("eth0", "2001:db8::2/64");
        self.outside.address("lo", "2001:db8:7::7/128");
        self.host.ip(&["-6", "route", "add", "default", "via", "2001:db8::2"]);
        let far = mac(&self.host, "keelson1");
        self.host.ip(&["neigh", "add", "fe80::2", "lladdr", &far, "dev", "keelson0", "nud", "permanent"]);
        for range in ["fd00:10:244::/64", "fd00:10:96::/112"] {
            let route =
                ["route", "add", range, "via", "fe80::2", "dev", "keelson0", "onlink", "src", "2001:db8::1"];
            self.host.ip(&[&["-6"], &route[..]].concat());
        }
        for (pod, address) in [(&self.a, "fd00:10:244::11"), (&self.b, "fd00:10:244::12")] {
            pod.host.address("eth0", &format!("{address}/128"));
            let near = mac(&self.host, &pod.link);
            pod.host.ip(&["neigh", "add", "fe80::1", "lladdr", &near, "dev", "eth0", "nud", "permanent"]);
            pod.host.ip(&["-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0", "onlink"]);
            let address = address.parse().expect("an address");
            self.datapath.endpoints().expect("endpoints").put(address, &pod.endpoint).expect("an endpoint");
        }
        self.config.node_addresses.push("2001:db8::1".parse().expect("an address"));
        self.config.pod_cidrs.push("fd00:10:244::/48".parse().expect("a range"));
        self.config.service_cidrs.push("fd00:10:96::/112".parse().expect("a range"));
        self.config.masquerade.v6 = Some("2001:db8::1".parse().expect("an address"));
        self.restart();
    }

    /// What an agent that has been killed and started again does.
    pub fn restart(&mut self) {
        let (config, links) = (&self.config, [&self.a.link, &self.b.link]);
        self.datapath = self.host.inside(|| {
            let datapath = start(config);
            for link in links {
                datapath.attach_host_device(link).expect("attaching again");
            }
            datapath
        });
    }

    /// Points frontends at one set.
    pub fn serve(
        &self,
        number: u32,
        frontends: &[Frontend],
        backends: &[SocketAddr],
        affinity: Option<u32>,
    ) -> SetId {
        let set = self.datapath.backends().expect("backends").install(backends).expect("a set");
        let mut services = self.datapath.services().expect("services");
        for frontend in frontends {
            let service = Service {
                number,
                set: Some(set),
                affinity_seconds: affinity,
                traffic: Traffic { node_port: frontend.address.is_unspecified(), ..Traffic::default() },
            };
            services.put(frontend, &service).expect("a frontend");
        }
        set
    }

    /// Unloads; a test that fails does so as well, by the drop.
    pub fn finish(self) {
        unload(&self.config).expect("unloading");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = unload(&self.config);
    }
}

impl Pod {
    fn make(tag: &str, name: &str, address: Ipv4Addr, node: &TestHost, datapath: &Datapath) -> Pod {
        let host = TestHost::create(tag, name);
        let link = format!("veth{name}");
        node.connect(&link, &host, "eth0");
        host.address("eth0", &format!("{address}/32"));
        let near = mac(node, &link);
        let peer = mac(&host, "eth0");
        host.ip(&["neigh", "add", "169.254.1.1", "lladdr", &near, "dev", "eth0", "nud", "permanent"]);
        host.ip(&["route", "add", "default", "via", "169.254.1.1", "dev", "eth0", "onlink"]);
        let index = node.inside(|| datapath.attach_host_device(&link)).expect("attaching a pod");
        let endpoint = Endpoint {
            link: index,
            mac: bytes(&peer),
            identity: 300,
            state: EndpointState::Ready,
            isolation: Default::default(),
        };
        datapath.endpoints().expect("endpoints").put(IpAddr::V4(address), &endpoint).expect("an endpoint");
        let namespace = std::fs::File::open(host.path()).expect("the namespace");
        let cookie = Namespaces::cookie(Some(namespace.as_fd())).expect("a cookie");
        datapath.namespaces().expect("namespaces").put(cookie, &[IpAddr::V4(address)]).expect("a namespace");
        Pod { host, link, endpoint }
    }
}

fn start(config: &Config) -> Datapath {
    let datapath = Datapath::ensure(config).unwrap_or_else(|error| panic!("{error}: {error:?}"));
    datapath.attach_gateway("keelson0", "keelson1").expect("attaching the gateway");
    datapath.attach_uplink("up0").expect("attaching the uplink");
    datapath.accelerate("up0").expect("accelerating the uplink");
    datapath
}

/// The veth pair by which the node reaches pods and services.
fn gateway(host: &TestHost) {
    host.ip(&["link", "add", "keelson0", "type", "veth", "peer", "name", "keelson1"]);
    host.ip(&["link", "set", "keelson0", "up"]);
    host.ip(&["link", "set", "keelson1", "up"]);
    let far = mac(host, "keelson1");
    host.ip(&["neigh", "add", "169.254.1.2", "lladdr", &far, "dev", "keelson0", "nud", "permanent"]);
    for range in ["10.244.0.0/24", "10.96.0.0/16"] {
        host.ip(&[
            "route",
            "add",
            range,
            "via",
            "169.254.1.2",
            "dev",
            "keelson0",
            "onlink",
            "src",
            "192.0.2.1",
        ]);
    }
}

fn mac(host: &TestHost, link: &str) -> String {
    let shown = host.ip(&["-br", "link", "show", link]);
    shown.split_whitespace().nth(2).expect("an Ethernet address").to_owned()
}

fn bytes(mac: &str) -> [u8; 6] {
    let mut bytes = [0; 6];
    for (byte, text) in bytes.iter_mut().zip(mac.split(':')) {
        *byte = u8::from_str_radix(text, 16).expect("hexadecimal");
    }
    bytes
}

pub fn frontend(address: Ipv4Addr, port: u16, transport: Transport, scope: Scope) -> Frontend {
    Frontend { address: IpAddr::V4(address), port, transport, scope }
}

/// A server in a namespace, TCP and UDP on one port: to every message it answers with its name and the address
/// that the message seemed to come from.
pub struct Server {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    pub fn start(host: &TestHost, name: &'static str, port: u16) -> Server {
        Server::start_at(host, name, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
    }

    pub fn start_at(host: &TestHost, name: &'static str, any: SocketAddr) -> Server {
        let (listener, socket) = host
            .inside(|| (TcpListener::bind(any).expect("listening"), UdpSocket::bind(any).expect("binding")));
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket that can be stopped");
        let mut server = Server::of(listener, name);
        let stop = Arc::clone(&server.stop);
        server.threads.push(std::thread::spawn(move || answer(&socket, name, &stop)));
        server
    }

    /// One that answers on a listener alone.
    pub fn of(listener: TcpListener, name: &'static str) -> Server {
        listener.set_nonblocking(true).expect("a listener that can be stopped");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || accept(&listener, name, &stopped));
        Server { stop, threads: vec![thread] }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, name: &'static str, stop: &Arc<AtomicBool>) {
    let mut talks = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, peer)) => {
                let stop = Arc::clone(stop);
                talks.push(std::thread::spawn(move || talk(stream, &format!("{name} {peer}"), &stop)));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    for talk in talks {
        let _ = talk.join();
    }
}

/// Answers every message; a long one with its length.
fn talk(mut stream: TcpStream, name: &str, stop: &AtomicBool) {
    stream.set_nonblocking(false).expect("a blocking stream");
    stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a stream that can be stopped");
    let mut buffer = vec![0; 1 << 16];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {
                if stream.write_all(name.as_bytes()).is_err() {
                    return;
                }
            }
            Err(_) => {}
        }
    }
}

fn answer(socket: &UdpSocket, name: &'static str, stop: &AtomicBool) {
    let mut buffer = vec![0; 1 << 16];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{name} {peer} {length}").as_bytes(), peer);
        }
    }
}

/// Connects from a namespace and asks once. The answer, or why there is none.
pub fn ask(host: &TestHost, port: u16, to: (Ipv4Addr, u16)) -> Result<String, String> {
    let mut stream = host.inside(|| connect(port, to)).map_err(|error| error.to_string())?;
    question(&mut stream)
}

/// Whether nobody can be reached there.
pub fn is_silent(host: &TestHost, to: (Ipv4Addr, u16)) -> bool {
    host.inside(|| TcpStream::connect_timeout(&to.into(), SILENCE)).is_err()
}

/// A message and its answer on a connection.
pub fn question(stream: &mut TcpStream) -> Result<String, String> {
    question_within(stream, PATIENCE)
}

/// The same for a test's own patience.
pub fn question_within(stream: &mut TcpStream, patience: Duration) -> Result<String, String> {
    stream.set_read_timeout(Some(patience)).map_err(|error| error.to_string())?;
    stream.write_all(b"who").map_err(|error| error.to_string())?;
    let mut buffer = [0; 256];
    let length = stream.read(&mut buffer).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Connects; from a port of the caller's choice if it is not 0. To be called inside.
pub fn connect(port: u16, to: impl Into<SocketAddr>) -> std::io::Result<TcpStream> {
    let to = to.into();
    if port == 0 {
        return TcpStream::connect_timeout(&to, PATIENCE);
    }
    let (family, any) = match to {
        SocketAddr::V4(_) => (rustix::net::AddressFamily::INET, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        SocketAddr::V6(_) => (rustix::net::AddressFamily::INET6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    };
    let socket = rustix::net::socket_with(
        family,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    let wait = Some(PATIENCE);
    rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Send, wait)?;
    rustix::net::bind(&socket, &SocketAddr::new(any, port))?;
    rustix::net::connect(&socket, &to)?;
    Ok(TcpStream::from(socket))
}

/// A datagram and its answer, by an unconnected socket: the answer and whose it seems to be.
pub fn ask_udp(host: &TestHost, to: (Ipv4Addr, u16), length: usize) -> Result<(String, SocketAddr), String> {
    let failed = |error: std::io::Error| error.to_string();
    let socket = host.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))).map_err(failed)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    socket.send_to(&vec![7; length], to).map_err(failed)?;
    let mut buffer = [0; 256];
    let (length, peer) = socket.recv_from(&mut buffer).map_err(failed)?;
    Ok((String::from_utf8_lossy(&buffer[..length]).into_owned(), peer))
}
