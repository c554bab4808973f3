//! What must not pass, and how one is told.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use abi::Counter;
use keelson_datapath::{Endpoint, EndpointState, Scope, Transport};

use super::node::{
    NODE, Node, OUTSIDE, PATIENCE, POD_B, SILENCE, Server, VIP, ask, frontend, is_silent as silent,
};

fn count(node: &Node, counter: Counter) -> u64 {
    node.datapath.counters().unwrap().get(counter)
}

#[test]
fn a_pending_pod_talks_to_its_node_only() {
    if !harness::root_or_skip("a_pending_pod_talks_to_its_node_only") {
        return;
    }
    let guard = harness::host::exclusive("a_pending_pod_talks_to_its_node_only");
    let node = Node::make(guard.tag(), None);
    let servers = [
        Server::start(&node.b.host, "b", 80),
        Server::start(&node.host, "node", 8081),
        Server::start(&node.outside, "out", 8080),
    ];
    let state = |state: EndpointState| {
        let endpoint = Endpoint { state, ..node.b.endpoint };
        node.datapath.endpoints().unwrap().put(IpAddr::V4(POD_B), &endpoint).unwrap();
    };
    state(EndpointState::Pending);
    assert!(silent(&node.a.host, (POD_B, 80)), "from another pod");
    assert!(silent(&node.b.host, (OUTSIDE, 8080)), "to the outside");
    assert!(count(&node, Counter::Pending) >= 2);
    ask(&node.host, 0, (POD_B, 80)).expect("its node may, for probes");
    ask(&node.b.host, 0, (NODE, 8081)).expect("and it may talk to its node");
    state(EndpointState::Ready);
    ask(&node.a.host, 0, (POD_B, 80)).expect("from another pod, once it is READY");
    ask(&node.b.host, 0, (OUTSIDE, 8080)).expect("to the outside, once it is READY");
    drop(servers);
    node.finish();
    guard.finish();
}

/// Also where the node's own stack would forward what programs let pass.
#[test]
fn a_pending_pod_of_ipv6_talks_to_its_node_only() {
    const TEST: &str = "a_pending_pod_of_ipv6_talks_to_its_node_only";
    if !harness::root_or_skip(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let mut node = Node::make(guard.tag(), None);
    node.add_ipv6();
    node.host.sysctl("ipv6/conf/all/forwarding", "1");
    let address = |text: &str| -> Ipv6Addr { text.parse().unwrap() };
    let (b, near, far) = (address("fd00:10:244::12"), address("2001:db8::1"), address("2001:db8::2"));
    node.outside.ip(&["-6", "route", "add", "fd00:10:244::/64", "via", "2001:db8::1"]);
    let listen = |host: &harness::netns::TestHost, port: u16| {
        host.inside(|| std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))).unwrap()
    };
    let servers = [listen(&node.b.host, 80), listen(&node.host, 8081), listen(&node.outside, 8080)];
    let state = |state: EndpointState| {
        let endpoint = Endpoint { state, ..node.b.endpoint };
        node.datapath.endpoints().unwrap().put(IpAddr::V6(b), &endpoint).unwrap();
    };
    let call = |host: &harness::netns::TestHost, to: (Ipv6Addr, u16), wait| {
        host.inside(|| std::net::TcpStream::connect_timeout(&to.into(), wait))
    };
    let denied = |what: &str, host: &harness::netns::TestHost, to: (Ipv6Addr, u16)| {
        let before = count(&node, Counter::Pending);
        call(host, to, SILENCE).expect_err(what);
        assert!(count(&node, Counter::Pending) > before, "{what}: counted");
    };
    state(EndpointState::Pending);
    denied("from another pod", &node.a.host, (b, 80));
    denied("from outside", &node.outside, (b, 80));
    denied("to the outside", &node.b.host, (far, 8080));
    call(&node.host, (b, 80), PATIENCE).expect("its node may, for probes");
    call(&node.b.host, (near, 8081), PATIENCE).expect("and it may talk to its node");
    state(EndpointState::Ready);
    call(&node.a.host, (b, 80), PATIENCE).expect("from another pod, once it is READY");
    call(&node.outside, (b, 80), PATIENCE).expect("from outside, once it is READY");
    call(&node.b.host, (far, 8080), PATIENCE).expect("to the outside, once it is READY");
    drop(servers);
    node.finish();
    guard.finish();
}

#[test]
fn forged_sources_are_dropped() {
    if !harness::root_or_skip("forged_sources_are_dropped") {
        return;
    }
    let guard = harness::host::exclusive("forged_sources_are_dropped");
    let node = Node::make(guard.tag(), None);
    let server = Server::start(&node.b.host, "b", 80);
    for forged in ["10.244.0.99", "192.0.2.1", "10.244.0.12"] {
        let before = count(&node, Counter::Spoofed);
        node.a.host.address("lo", &format!("{forged}/32"));
        let socket = node.a.host.inside(|| UdpSocket::bind((forged, 0))).unwrap();
        // Its own address is nearer than pod b, if that is what it forges.
        let to = if forged == "10.244.0.12" { OUTSIDE } else { POD_B };
        socket.send_to(b"who", (to, 80)).unwrap();
        assert_eq!(count(&node, Counter::Spoofed), before + 1, "{forged}");
    }
    drop(server);
    node.finish();
    guard.finish();
}

#[test]
fn errors_come_back_to_whoever_asked() {
    if !harness::root_or_skip("errors_come_back_to_whoever_asked") {
        return;
    }
    let guard = harness::host::exclusive("errors_come_back_to_whoever_asked");
    let node = Node::make(guard.tag(), None);
    let there = [frontend(VIP, 53, Transport::Udp, Scope::Cluster)];
    node.serve(1, &there, &[SocketAddr::new(IpAddr::V4(POD_B), 5353)], None);
    // Nobody listens: "port unreachable" about a packet that was translated.
    for (what, to) in [("a pod", (POD_B, 5353)), ("a service", (VIP, 53)), ("the outside", (OUTSIDE, 9))] {
        let socket = node.a.host.inside(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            socket.connect(to).unwrap();
            socket
        });
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send(b"who").unwrap();
        let error = socket.recv(&mut [0; 16]).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{what}: {error}");
    }
    node.finish();
    guard.finish();
}

#[test]
fn services_that_are_none_are_counted() {
    if !harness::root_or_skip("services_that_are_none_are_counted") {
        return;
    }
    let guard = harness::host::exclusive("services_that_are_none_are_counted");
    let node = Node::make(guard.tag(), None);
    let socket = node.a.host.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))).unwrap();
    socket.send_to(b"who", (VIP, 7)).unwrap();
    assert_eq!(count(&node, Counter::UnknownService), 1);
    node.finish();
    guard.finish();
}
