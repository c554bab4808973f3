//! The socket hooks: translated before a packet is made, and named as they were called.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;

use keelson_datapath::{HostPort, Scope, Service, Traffic, Transport};

use super::cgroup::OwnCgroup;
use super::node::{
    NODE, NODE_PORT, Node, PATIENCE, POD_A, POD_B, Server, VIP, ask, ask_udp, connect, frontend, question,
};

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

fn translated(node: &Node) -> u64 {
    node.datapath.counters().unwrap().get(abi::Counter::Sockets)
}

#[test]
fn sockets_are_translated_and_named() {
    if !harness::root_or_skip("sockets_are_translated_and_named") {
        return;
    }
    let guard = harness::host::exclusive("sockets_are_translated_and_named");
    let Some(cgroup) = OwnCgroup::enter(guard.tag()) else {
        harness::skip("sockets_are_translated_and_named", "there is no cgroup2 here");
        return;
    };
    let node = Node::make(guard.tag(), Some(cgroup.path.clone()));
    let servers = [Server::start(&node.a.host, "a", 80), Server::start(&node.b.host, "b", 80)];
    let mut frontends = vec![frontend(VIP, 80, Transport::Tcp, Scope::Cluster)];
    for transport in [Transport::Tcp, Transport::Udp] {
        frontends.push(frontend(ANY, NODE_PORT, transport, Scope::Cluster));
    }
    frontends.push(frontend(VIP, 80, Transport::Udp, Scope::Cluster));
    node.serve(1, &frontends, &[SocketAddr::new(IpAddr::V4(POD_B), 80)], None);
    let (a, host) = (&node.a.host, &node.host);

    // A pod.
    let mut stream = a.inside(|| connect(0, (VIP, 80))).unwrap();
    assert!(question(&mut stream).unwrap().starts_with("b 10.244.0.11:"));
    assert_eq!(stream.peer_addr().unwrap(), SocketAddr::new(IpAddr::V4(VIP), 80));
    assert_eq!(translated(&node), 1);
    // The same through an IPv6 socket.
    let mapped = SocketAddr::new(IpAddr::V6(VIP.to_ipv6_mapped()), 80);
    let mut stream = a.inside(|| TcpStream::connect_timeout(&mapped, PATIENCE)).unwrap();
    assert!(question(&mut stream).unwrap().starts_with("b 10.244.0.11:"));
    assert_eq!(stream.peer_addr().unwrap(), mapped);
    assert_eq!(translated(&node), 2);
    // Sockets that have a port, and UDP, are the packet path's.
    assert!(ask(a, 5555, (VIP, 80)).unwrap().starts_with("b 10.244.0.11:5555"));
    let (_, peer) = ask_udp(a, (VIP, 80), 10).unwrap();
    assert_eq!(peer, SocketAddr::new(IpAddr::V4(VIP), 80));
    assert_eq!(translated(&node), 2);
    // The node itself, also to its own node ports, on which nobody listens.
    for to in [(VIP, 80), (NODE, NODE_PORT), (Ipv4Addr::LOCALHOST, NODE_PORT)] {
        assert!(ask(host, 0, to).unwrap().starts_with("b "), "{to:?}");
        let (answer, peer) = ask_udp(host, to, 10).unwrap_or_else(|error| panic!("{to:?}: {error}"));
        assert!(answer.starts_with("b "), "{to:?}: {answer}");
        assert_eq!(peer, SocketAddr::new(IpAddr::V4(to.0), to.1));
    }
    assert!(ask(host, 6666, (NODE, NODE_PORT)).unwrap().starts_with("b 192.0.2.1:6666"));
    let before = translated(&node);
    // Another namespace on the same kernel, in the same cgroup, is somebody else's.
    assert!(node.outside.inside(|| connect(0, (NODE, NODE_PORT))).is_err());
    assert_eq!(translated(&node), before);
    refused(&node);
    hairpin(&node);
    host_ports_of_the_node(&node);
    drop(servers);
    node.finish();
    drop(cgroup);
    guard.finish();
}

/// Its own processes reach the pod behind a host port, too: by any of the node's addresses, or by the one that was asked for.
fn host_ports_of_the_node(node: &Node) {
    let mut ports = node.datapath.host_ports().unwrap();
    let port =
        |address: Ipv4Addr, port, transport| HostPort { address: IpAddr::V4(address), port, transport };
    let pod = SocketAddr::new(IpAddr::V4(POD_A), 80);
    for transport in [Transport::Tcp, Transport::Udp] {
        ports.put(&port(ANY, 8080, transport), pod).unwrap();
        ports.put(&port(NODE, 8081, transport), pod).unwrap();
    }
    for to in [(NODE, 8080), (Ipv4Addr::LOCALHOST, 8080), (NODE, 8081)] {
        assert!(ask(&node.host, 0, to).unwrap().starts_with("a "), "{to:?}");
        let (answer, peer) = ask_udp(&node.host, to, 10).unwrap();
        assert!(
            answer.starts_with("a ") && peer == SocketAddr::new(IpAddr::V4(to.0), to.1),
            "{answer}, {peer}"
        );
    }
    assert!(ask(&node.host, 0, (Ipv4Addr::LOCALHOST, 8081)).is_err(), "another address of the node");
    assert!(ask(&node.host, 0, (NODE, 8082)).is_err(), "another port");
}

/// A pod whose Service leads to itself: by its hook it speaks with itself and no packet leaves it, TCP and, where it stays the
/// packet path's, UDP.
fn hairpin(node: &Node) {
    let own = [Transport::Tcp, Transport::Udp].map(|transport| frontend(VIP, 83, transport, Scope::Cluster));
    node.serve(8, &own, &[SocketAddr::new(IpAddr::V4(POD_A), 80)], None);
    let before = translated(node);
    let mut stream = node.a.host.inside(|| connect(0, (VIP, 83))).unwrap();
    assert!(question(&mut stream).unwrap().starts_with("a 10.244.0.11:"));
    assert_eq!(stream.peer_addr().unwrap(), SocketAddr::new(IpAddr::V4(VIP), 83));
    assert_eq!(translated(node), before + 1);
    let (answer, peer) = ask_udp(&node.a.host, (VIP, 83), 10).unwrap();
    assert!(answer.starts_with("a 192.0.2.1:"), "{answer}");
    assert_eq!(peer, SocketAddr::new(IpAddr::V4(VIP), 83));
    assert_eq!(translated(node), before + 1, "by packet");
}

/// A service without backends refuses at once.
fn refused(node: &Node) {
    let nobody = Service { number: 9, set: None, affinity_seconds: None, traffic: Traffic::default() };
    let there = frontend(VIP, 99, Transport::Tcp, Scope::Cluster);
    node.datapath.services().unwrap().put(&there, &nobody).unwrap();
    let error = node.a.host.inside(|| connect(0, (VIP, 99))).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{error}");
}

#[test]
fn without_a_gateway_the_nodes_sockets_are_translated_all_the_same() {
    if !harness::root_or_skip("without_a_gateway_the_nodes_sockets_are_translated_all_the_same") {
        return;
    }
    let guard = harness::host::exclusive("without_a_gateway_the_nodes_sockets_are_translated_all_the_same");
    let Some(cgroup) = OwnCgroup::enter(guard.tag()) else {
        harness::skip("without_a_gateway_the_nodes_sockets_are_translated_all_the_same", "no cgroup2 here");
        return;
    };
    let host = harness::netns::TestHost::create(guard.tag(), "alone");
    let folder = tempfile::tempdir().unwrap();
    let config = keelson_datapath::Config {
        bpffs: folder.path().join("bpf"),
        cgroup: Some(cgroup.path.clone()),
        ..keelson_datapath::Config::default()
    };
    let datapath = host.inside(|| keelson_datapath::Datapath::ensure(&config)).unwrap();
    let namespace = std::fs::File::open(host.path()).unwrap();
    let cookie = keelson_datapath::Namespaces::cookie(Some(namespace.as_fd())).unwrap();
    assert_eq!(datapath.namespaces().unwrap().observed().unwrap(), [(cookie, Vec::new())]);
    let server = Server::start(&host, "here", 80);
    let set = datapath.backends().unwrap().install(&["127.0.0.1:80".parse().unwrap()]).unwrap();
    let six = datapath.backends().unwrap().install(&["[::1]:80".parse().unwrap()]).unwrap();
    let mut services = datapath.services().unwrap();
    let service =
        |set| Service { number: 1, set: Some(set), affinity_seconds: None, traffic: Traffic::default() };
    let vip6: Ipv6Addr = "fd00:10:96::10".parse().unwrap();
    for transport in [Transport::Tcp, Transport::Udp] {
        services.put(&frontend(VIP, 80, transport, Scope::Cluster), &service(set)).unwrap();
        let frontend6 =
            keelson_datapath::Frontend { address: vip6.into(), port: 80, transport, scope: Scope::Cluster };
        services.put(&frontend6, &service(six)).unwrap();
    }
    assert_eq!(ask(&host, 0, (VIP, 80)).unwrap().split(' ').next(), Some("here"));
    let (_, peer) = ask_udp(&host, (VIP, 80), 10).unwrap();
    assert_eq!(peer, SocketAddr::new(IpAddr::V4(VIP), 80));
    // A connected one.
    let socket = host.inside(|| {
        let socket = UdpSocket::bind((ANY, 0)).unwrap();
        socket.connect((VIP, 80)).unwrap();
        socket
    });
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send(b"who").unwrap();
    let mut buffer = [0; 64];
    assert!(socket.recv(&mut buffer).is_ok());
    assert_eq!(socket.peer_addr().unwrap(), SocketAddr::new(IpAddr::V4(VIP), 80));
    six_alone(&host, vip6);
    drop((server, services));
    keelson_datapath::unload(&config).unwrap();
    drop((host, cgroup));
    guard.finish();
}

/// An IPv6 service, IPv6 sockets.
fn six_alone(host: &harness::netns::TestHost, vip: Ipv6Addr) {
    let to = SocketAddr::new(IpAddr::V6(vip), 80);
    let (listener, socket) = host.inside(|| {
        let any = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 80);
        (std::net::TcpListener::bind(any).unwrap(), UdpSocket::bind(any).unwrap())
    });
    let stream = host.inside(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap();
    assert!(listener.accept().is_ok());
    assert_eq!(stream.peer_addr().unwrap(), to);
    let client = host.inside(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"who", to).unwrap();
    let mut buffer = [0; 64];
    let (_, peer) = socket.recv_from(&mut buffer).unwrap();
    socket.send_to(b"me", peer).unwrap();
    assert_eq!(client.recv_from(&mut buffer).unwrap().1, to);
    assert_eq!(POD_A.octets()[0], 10);
}
