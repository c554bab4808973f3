//! What Services promise beside reaching a backend: who is refused and how, who is not let in, which backend it is.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use abi::Counter;
use harness::netns::TestHost;
use keelson_datapath::{Frontend, HostPort, Scope, Service, Traffic, Transport};
use nix::sys::socket::{setsockopt, sockopt};

use super::node::{
    FAR, NODE, NODE_PORT, Node, OUTSIDE, PATIENCE, POD_A, POD_B, SILENCE, Server, VIP, ask, ask_udp, connect,
    frontend, is_silent,
};

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
/// An address that a load balancer would lead here.
const BALANCED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

fn count(node: &Node, counter: Counter) -> u64 {
    node.datapath.counters().unwrap().get(counter)
}

fn put(node: &Node, frontend: Frontend, traffic: Traffic) {
    let nobody = Service { number: 9, set: None, affinity_seconds: None, traffic };
    node.datapath.services().unwrap().put(&frontend, &nobody).unwrap();
}

/// How a datagram and a connection end: what the kernel tells the caller.
fn tried(host: &TestHost, to: SocketAddr, patience: Duration) -> [ErrorKind; 2] {
    let tcp = host.inside(|| TcpStream::connect_timeout(&to, patience)).expect_err("nobody answers").kind();
    let any: SocketAddr = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
    let socket = host.inside(|| {
        let socket = UdpSocket::bind(any).unwrap();
        socket.connect(to).unwrap();
        socket
    });
    socket.set_read_timeout(Some(patience)).unwrap();
    socket.send(b"who").unwrap();
    let udp = socket.recv(&mut [0; 16]).expect_err("nobody answers").kind();
    [tcp, udp]
}

#[test]
fn services_without_endpoints_refuse() {
    if !harness::root_or_skip("services_without_endpoints_refuse") {
        return;
    }
    let guard = harness::host::exclusive("services_without_endpoints_refuse");
    let mut node = Node::make(guard.tag(), None);
    node.add_ipv6();
    let vip6: Ipv6Addr = "fd00:10:96::99".parse().unwrap();
    let near6: Ipv6Addr = "2001:db8::1".parse().unwrap();
    for transport in [Transport::Tcp, Transport::Udp] {
        put(&node, frontend(VIP, 99, transport, Scope::Cluster), Traffic::default());
        put(&node, frontend(ANY, NODE_PORT, transport, Scope::External), Traffic::default());
        for (address, port, scope) in
            [(vip6, 99, Scope::Cluster), (Ipv6Addr::UNSPECIFIED, NODE_PORT, Scope::External)]
        {
            put(&node, Frontend { address: address.into(), port, transport, scope }, Traffic::default());
        }
        // It has endpoints, but none here: who comes by a balancer is left to try another node.
        let silent = Traffic { silent: true, external_local: true, ..Traffic::default() };
        put(&node, frontend(ANY, NODE_PORT + 1, transport, Scope::External), silent);
    }
    let refused = [ErrorKind::ConnectionRefused; 2];
    let to = |address: Ipv4Addr, port: u16| SocketAddr::new(IpAddr::V4(address), port);
    let to6 = |address: Ipv6Addr, port: u16| SocketAddr::new(IpAddr::V6(address), port);
    for (what, host, to) in [
        ("from a pod", &node.a.host, to(VIP, 99)),
        ("from a pod, no port of it", &node.a.host, to(VIP, 98)),
        ("from the node", &node.host, to(VIP, 99)),
        ("from outside", &node.outside, to(NODE, NODE_PORT)),
        ("IPv6, from a pod", &node.a.host, to6(vip6, 99)),
        ("IPv6, from the node", &node.host, to6(vip6, 99)),
        ("IPv6, from outside", &node.outside, to6(near6, NODE_PORT)),
    ] {
        assert_eq!(tried(host, to, PATIENCE), refused, "{what}");
    }
    assert_eq!(count(&node, Counter::Refusals), 14);
    let [tcp, udp] = tried(&node.outside, to(NODE, NODE_PORT + 1), SILENCE);
    assert_eq!((tcp, udp), (ErrorKind::TimedOut, ErrorKind::WouldBlock), "silence");
    assert_eq!(count(&node, Counter::Refusals), 14);
    assert!(count(&node, Counter::NoLocalBackend) >= 2);
    node.finish();
    guard.finish();
}

#[test]
fn balanced_addresses_admit_their_ranges_only() {
    if !harness::root_or_skip("balanced_addresses_admit_their_ranges_only") {
        return;
    }
    let guard = harness::host::exclusive("balanced_addresses_admit_their_ranges_only");
    let node = Node::make(guard.tag(), None);
    let server = Server::start(&node.b.host, "b", 80);
    node.outside.ip(&["route", "add", "203.0.113.9/32", "via", "192.0.2.1"]);
    let set = node.datapath.backends().unwrap().install(&[SocketAddr::new(POD_B.into(), 80)]).unwrap();
    let traffic = Traffic { sources: true, ..Traffic::default() };
    let service = Service { number: 7, set: Some(set), affinity_seconds: None, traffic };
    for scope in [Scope::Cluster, Scope::External] {
        node.datapath
            .services()
            .unwrap()
            .put(&frontend(BALANCED, 80, Transport::Tcp, scope), &service)
            .unwrap();
    }
    let from = |address: Ipv4Addr, patience: Duration| {
        node.outside.ip(&[
            "route",
            "replace",
            "203.0.113.9/32",
            "via",
            "192.0.2.1",
            "src",
            &address.to_string(),
        ]);
        let to = SocketAddr::new(IpAddr::V4(BALANCED), 80);
        node.outside.inside(|| TcpStream::connect_timeout(&to, patience)).is_ok()
    };
    assert!(!from(OUTSIDE, SILENCE), "nobody is admitted yet");
    let mut sources = node.datapath.sources().unwrap();
    sources.put(7, "198.51.100.0/24".parse().unwrap()).unwrap();
    sources.put(8, "192.0.2.0/24".parse().unwrap()).unwrap();
    assert!(!from(OUTSIDE, SILENCE), "not in the range, and the range of another service");
    assert!(from(FAR, PATIENCE), "in the range");
    assert!(is_silent(&node.a.host, (BALANCED, 80)), "from inside too");
    sources.put(7, "10.244.0.0/16".parse().unwrap()).unwrap();
    assert!(ask(&node.a.host, 0, (BALANCED, 80)).is_ok(), "a pod in the range");
    assert_eq!(sources.observed().unwrap()[&7].len(), 2);
    sources.remove(7, "198.51.100.0/24".parse().unwrap()).unwrap();
    assert!(!from(FAR, SILENCE), "the range is gone");
    assert!(count(&node, Counter::SourceRange) >= 3);
    drop((server, sources));
    node.finish();
    guard.finish();
}

#[test]
fn host_ports_lead_to_their_pod() {
    if !harness::root_or_skip("host_ports_lead_to_their_pod") {
        return;
    }
    let guard = harness::host::exclusive("host_ports_lead_to_their_pod");
    let node = Node::make(guard.tag(), None);
    let servers = [Server::start(&node.b.host, "b", 80), Server::start(&node.a.host, "a", 80)];
    let mut ports = node.datapath.host_ports().unwrap();
    let any = |port| HostPort { address: IpAddr::V4(ANY), port, transport: Transport::Tcp };
    ports.put(&any(8080), SocketAddr::new(POD_B.into(), 80)).unwrap();
    ports
        .put(&HostPort { transport: Transport::Udp, ..any(8080) }, SocketAddr::new(POD_B.into(), 80))
        .unwrap();
    // One address of the node only.
    let one = HostPort { address: IpAddr::V4(NODE), ..any(8081) };
    ports.put(&one, SocketAddr::new(POD_A.into(), 80)).unwrap();
    ports.put(&HostPort { address: IpAddr::V4(FAR), ..one }, SocketAddr::new(POD_B.into(), 80)).unwrap();
    let who = |host: &TestHost, port: u16| ask(host, 0, (NODE, port)).map(|answer| answer[..1].to_owned());
    assert_eq!(who(&node.outside, 8080).as_deref(), Ok("b"));
    assert_eq!(who(&node.a.host, 8080).as_deref(), Ok("b"));
    assert_eq!(who(&node.outside, 8081).as_deref(), Ok("a"));
    assert!(ask_udp(&node.outside, (NODE, 8080), 10).unwrap().0.starts_with("b 192.0.2.2"));
    assert!(who(&node.outside, 8082).is_err());
    assert_eq!(ports.observed().unwrap().len(), 4);
    assert!(ports.remove(&any(8080)).unwrap());
    assert!(who(&node.outside, 8080).is_err(), "it is gone");
    drop((servers, ports));
    node.finish();
    guard.finish();
}

#[test]
fn tables_send_a_flow_to_the_same_backend_everywhere() {
    if !harness::root_or_skip("tables_send_a_flow_to_the_same_backend_everywhere") {
        return;
    }
    let guard = harness::host::exclusive("tables_send_a_flow_to_the_same_backend_everywhere");
    let node = Node::make(guard.tag(), None);
    let names = ["p1", "p2", "p3", "p4"];
    let servers: Vec<Server> =
        names.iter().zip(8001..).map(|(name, port)| Server::start(&node.b.host, name, port)).collect();
    let backends: Vec<SocketAddr> = (8001..8005).map(|port| SocketAddr::new(POD_B.into(), port)).collect();
    let mut sets = node.datapath.backends().unwrap();
    let traffic = Traffic { consistent: true, node_port: true, ..Traffic::default() };
    // Two node ports that are two nodes: each has a set of its own of the same backends.
    let mut chosen = Vec::new();
    for _ in 0..2 {
        let set = sets.install_with_table(&backends).unwrap();
        let service = Service { number: 1, set: Some(set), affinity_seconds: None, traffic };
        let there = frontend(ANY, NODE_PORT, Transport::Tcp, Scope::External);
        node.datapath.services().unwrap().put(&there, &service).unwrap();
        let ask = |port| {
            let mut stream = node.outside.inside(|| connect(port, (NODE, NODE_PORT))).unwrap();
            let answer = super::node::question(&mut stream).unwrap();
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
            answer[..2].to_owned()
        };
        chosen.push((5000..5030).map(ask).collect::<Vec<String>>());
    }
    assert_eq!(chosen[0], chosen[1]);
    assert_eq!(chosen[0].iter().collect::<BTreeSet<_>>().len(), 4, "all of them: {chosen:?}");
    assert_eq!(sets.with_tables().unwrap().len(), 2);
    for set in sets.observed().unwrap().into_keys() {
        sets.remove(set).unwrap();
    }
    assert_eq!(sets.with_tables().unwrap().len(), 0, "tables go with their sets");
    drop((servers, sets));
    node.finish();
    guard.finish();
}

#[test]
fn affinity_ends_with_its_time() {
    if !harness::root_or_skip("affinity_ends_with_its_time") {
        return;
    }
    let guard = harness::host::exclusive("affinity_ends_with_its_time");
    let node = Node::make(guard.tag(), None);
    let names = ["p1", "p2", "p3", "p4"];
    let servers: Vec<Server> =
        names.iter().zip(8001..).map(|(name, port)| Server::start(&node.b.host, name, port)).collect();
    let backends: Vec<SocketAddr> = (8001..8005).map(|port| SocketAddr::new(POD_B.into(), port)).collect();
    let there = [frontend(ANY, NODE_PORT, Transport::Tcp, Scope::External)];
    let once = || ask(&node.outside, 0, (NODE, NODE_PORT)).unwrap()[..2].to_owned();
    node.serve(3, &there, &backends, Some(600));
    let first: BTreeSet<String> = (0..10).map(|_| once()).collect();
    assert_eq!(first.len(), 1, "it stays: {first:?}");
    node.serve(3, &there, &backends, Some(1));
    let mut seen = first;
    // The same one is drawn each time once in 4^20.
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(2100));
        seen.insert(once());
        if seen.len() > 1 {
            break;
        }
    }
    assert!(seen.len() > 1, "it never ends: {seen:?}");
    drop(servers);
    node.finish();
    guard.finish();
}

#[test]
fn packets_that_are_forwarded_grow_older() {
    if !harness::root_or_skip("packets_that_are_forwarded_grow_older") {
        return;
    }
    let guard = harness::host::exclusive("packets_that_are_forwarded_grow_older");
    let mut node = Node::make(guard.tag(), None);
    node.add_ipv6();
    // A packet with one hop left is answered by the node, and one with two arrives.
    let six = |text: &str| -> SocketAddr { (text.parse::<Ipv6Addr>().unwrap(), 80).into() };
    for (what, to) in [
        ("a pod", (POD_B, 80).into()),
        ("outside", (OUTSIDE, 80).into()),
        ("a pod, IPv6", six("fd00:10:244::12")),
        ("outside, IPv6", six("2001:db8::2")),
    ] {
        let any: SocketAddr = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
        let socket = node.a.host.inside(|| {
            let socket = UdpSocket::bind(any).unwrap();
            socket.connect(to).unwrap();
            socket
        });
        let hops = |number: u8| {
            if to.is_ipv4() {
                setsockopt(&socket, sockopt::Ipv4RecvErr, &true).unwrap();
                socket.set_ttl(number.into()).unwrap();
            } else {
                setsockopt(&socket, sockopt::Ipv6RecvErr, &true).unwrap();
                rustix::net::sockopt::set_ipv6_unicast_hops(&socket, Some(number)).unwrap();
            }
        };
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let before = count(&node, Counter::HopLimit);
        for (left, expect) in [(1, ErrorKind::HostUnreachable), (2, ErrorKind::ConnectionRefused)] {
            hops(left);
            socket.send(b"who").unwrap();
            // With two hops it arrives, and who is asked says that nobody listens there.
            let error = socket.recv(&mut [0; 16]).expect_err(what);
            assert_eq!(error.kind(), expect, "{what}, {left}: {error}");
            assert_eq!(count(&node, Counter::HopLimit), before + 1, "{what}, {left}");
        }
    }
    node.finish();
    guard.finish();
}
