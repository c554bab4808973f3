//! Who reaches whom without any socket hook, and under which name.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use abi::FlowFlag;
use keelson_datapath::{Frontend, Node as Elsewhere, Scope, Transport};

use super::echo;
use super::node::{
    FAR, NODE, NODE_PORT, Node, OUTSIDE, POD_A, POD_B, Server, VIP, ask, ask_udp, connect, frontend, question,
};

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
/// A pod of another node; it is the machine outside that plays it.
const POD_ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 244, 9, 9);

/// ClusterIP and node port, TCP and UDP.
fn everywhere(port: u16, node_port: u16) -> Vec<Frontend> {
    let mut all = Vec::new();
    for transport in [Transport::Tcp, Transport::Udp] {
        all.push(frontend(VIP, port, transport, Scope::Cluster));
        all.push(frontend(ANY, node_port, transport, Scope::Cluster));
        all.push(frontend(ANY, node_port, transport, Scope::External));
    }
    all
}

fn backend(address: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(address), port)
}

/// The answer must begin with the server's name and the address under which the client is seen.
fn check(what: &str, answer: Result<String, String>, server: &str, seen: Ipv4Addr) -> u16 {
    let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut words = answer.split_whitespace();
    assert_eq!(words.next(), Some(server), "{what}: {answer}");
    let peer: SocketAddr =
        words.next().and_then(|word| word.parse().ok()).expect("the server names its client");
    assert_eq!(peer.ip(), IpAddr::V4(seen), "{what}: {answer}");
    peer.port()
}

#[test]
fn everybody_reaches_what_they_may() {
    if !harness::root_or_skip("everybody_reaches_what_they_may") {
        return;
    }
    let guard = harness::host::exclusive("everybody_reaches_what_they_may");
    let node = Node::make(guard.tag(), None);
    let servers = [
        Server::start(&node.a.host, "a", 80),
        Server::start(&node.b.host, "b", 80),
        Server::start(&node.host, "node", 8081),
        Server::start(&node.outside, "out", 8080),
    ];
    node.datapath
        .nodes()
        .unwrap()
        .put("10.244.9.0/24".parse().unwrap(), Elsewhere { keeps_source: true, ..Elsewhere::default() })
        .unwrap();
    node.serve(1, &everywhere(80, NODE_PORT), &[backend(POD_B, 80)], None);
    node.serve(2, &everywhere(81, NODE_PORT + 1), &[backend(NODE, 8081)], None);
    node.serve(3, &everywhere(82, NODE_PORT + 2), &[backend(POD_ELSEWHERE, 8080)], None);
    node.serve(4, &everywhere(83, NODE_PORT + 3), &[backend(POD_A, 80)], None);
    let (a, host, outside) = (&node.a.host, &node.host, &node.outside);

    check("pod to pod", ask(a, 0, (POD_B, 80)), "b", POD_A);
    check("pod to service", ask(a, 0, (VIP, 80)), "b", POD_A);
    check("pod to the node's own process", ask(a, 0, (NODE, 8081)), "node", POD_A);
    check("pod to service of the node's own process", ask(a, 0, (VIP, 81)), "node", POD_A);
    check("pod to pod elsewhere by service", ask(a, 0, (VIP, 82)), "out", POD_A);
    check("pod to itself by service", ask(a, 0, (VIP, 83)), "a", NODE);
    check("pod to node port", ask(a, 0, (NODE, NODE_PORT)), "b", POD_A);
    check("pod to outside", ask(a, 0, (OUTSIDE, 8080)), "out", NODE);
    check("pod to further away", ask(a, 0, (FAR, 8080)), "out", NODE);
    check("node to pod", ask(host, 0, (POD_B, 80)), "b", NODE);
    check("node to service", ask(host, 0, (VIP, 80)), "b", NODE);
    check("node to service elsewhere", ask(host, 0, (VIP, 82)), "out", NODE);
    check("outside to node port", ask(outside, 0, (NODE, NODE_PORT)), "b", OUTSIDE);
    check("outside to node port of a process", ask(outside, 0, (NODE, NODE_PORT + 1)), "node", OUTSIDE);
    check("outside to node port, pod elsewhere", ask(outside, 0, (NODE, NODE_PORT + 2)), "out", NODE);
    check("outside to pod", ask(outside, 0, (POD_A, 80)), "a", OUTSIDE);
    check("outside to the node's own process", ask(outside, 0, (NODE, 8081)), "node", OUTSIDE);

    for (what, from, to, server, seen) in [
        ("udp, pod to pod", a, (POD_B, 80), "b", POD_A),
        ("udp, pod to service", a, (VIP, 80), "b", POD_A),
        ("udp, pod to service of a process", a, (VIP, 81), "node", POD_A),
        ("udp, pod to itself by service", a, (VIP, 83), "a", NODE),
        ("udp, pod to outside", a, (OUTSIDE, 8080), "out", NODE),
        ("udp, node to service", host, (VIP, 80), "b", NODE),
        ("udp, outside to node port", outside, (NODE, NODE_PORT), "b", OUTSIDE),
        ("udp, outside to node port of a process", outside, (NODE, NODE_PORT + 1), "node", OUTSIDE),
    ] {
        // One that fits, one in fragments.
        for length in [10, 5000] {
            let (answer, peer) =
                ask_udp(from, to, length).unwrap_or_else(|error| panic!("{what}, {length}: {error}"));
            check(what, Ok(answer.clone()), server, seen);
            assert_eq!(peer, SocketAddr::new(IpAddr::V4(to.0), to.1), "{what}: whose answer it seems to be");
            assert!(answer.ends_with(&length.to_string()), "{what}: {answer}");
        }
    }
    assert!(echo::ping(a, OUTSIDE), "echo, pod to outside");
    assert!(echo::ping(a, NODE), "echo, pod to node");
    assert!(echo::ping(host, POD_A), "echo, node to pod");
    assert_eq!(node.datapath.counters().unwrap().dropped(), 0, "{:?}", node.datapath.counters());
    let forward = host.must("cat", &["/proc/sys/net/ipv4/ip_forward"]);
    assert_eq!(forward.trim(), "0");
    drop(servers);
    node.finish();
    guard.finish();
}

#[test]
fn one_port_serves_for_the_service_and_then_for_its_pod() {
    if !harness::root_or_skip("one_port_serves_for_the_service_and_then_for_its_pod") {
        return;
    }
    let guard = harness::host::exclusive("one_port_serves_for_the_service_and_then_for_its_pod");
    let node = Node::make(guard.tag(), None);
    let server = Server::start(&node.b.host, "b", 80);
    node.serve(1, &everywhere(80, NODE_PORT), &[backend(POD_B, 80)], None);
    let a = &node.a.host;
    let mut first = a.inside(|| super::node::connect(5555, (VIP, 80))).unwrap();
    assert_eq!(check("the service", question(&mut first), "b", POD_A), 5555);
    let mut second = a.inside(|| super::node::connect(5555, (POD_B, 80))).unwrap();
    let moved = check("the pod, the same port", question(&mut second), "b", POD_A);
    assert_ne!(moved, 5555, "the two connections are told apart");
    check("the service again", question(&mut first), "b", POD_A);
    check("the pod again", question(&mut second), "b", POD_A);
    // By a reset, so that the client's own kernel lets the same ends be used again at once.
    for stream in [first, second] {
        rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO)).unwrap();
    }
    // The other way round, and over the remains of both.
    check("the pod, a new connection", ask(a, 5555, (POD_B, 80)), "b", POD_A);
    check("the service, a new connection", ask(a, 5555, (VIP, 80)), "b", POD_A);
    assert!(node.datapath.counters().unwrap().get(abi::Counter::PortsMoved) >= 1);
    drop(server);
    node.finish();
    guard.finish();
}

#[test]
fn one_port_serves_for_two_services_of_one_pod() {
    if !harness::root_or_skip("one_port_serves_for_two_services_of_one_pod") {
        return;
    }
    let guard = harness::host::exclusive("one_port_serves_for_two_services_of_one_pod");
    let node = Node::make(guard.tag(), None);
    let server = Server::start(&node.b.host, "b", 80);
    let addresses = [VIP, Ipv4Addr::new(10, 96, 0, 11)];
    for (number, address) in (1..).zip(addresses) {
        let both = [Transport::Tcp, Transport::Udp];
        let frontends = both.map(|transport| frontend(address, 80, transport, Scope::Cluster));
        node.serve(number, &frontends, &[backend(POD_B, 80)], None);
    }
    let a = &node.a.host;
    let mut streams =
        addresses.map(|address| a.inside(|| super::node::connect(5555, (address, 80))).unwrap());
    let mut ports: Vec<u16> = Vec::new();
    for _ in 0..2 {
        ports.extend(streams.iter_mut().map(|stream| check("a service", question(stream), "b", POD_A)));
    }
    assert_eq!((ports[0], ports[0]), (5555, ports[2]), "the first keeps its port");
    assert_eq!(ports[1], ports[3], "so does the second");
    assert_ne!(ports[0], ports[1], "and the pod tells them apart");
    // One socket and two Services: whose answer it is stays to be seen.
    let socket = a.inside(|| std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5556))).unwrap();
    socket.set_read_timeout(Some(super::node::PATIENCE)).unwrap();
    for address in addresses.into_iter().cycle().take(6) {
        socket.send_to(b"who", (address, 80)).unwrap();
        let (_, from) = socket.recv_from(&mut [0; 256]).expect("an answer");
        assert_eq!(from, SocketAddr::from((address, 80)));
    }
    drop((streams, server));
    node.finish();
    guard.finish();
}

#[test]
fn clients_are_spread_or_kept() {
    if !harness::root_or_skip("clients_are_spread_or_kept") {
        return;
    }
    let guard = harness::host::exclusive("clients_are_spread_or_kept");
    let node = Node::make(guard.tag(), None);
    let names = ["p1", "p2", "p3", "p4"];
    let servers: Vec<Server> =
        names.iter().zip(8001..).map(|(name, port)| Server::start(&node.b.host, name, port)).collect();
    let backends: Vec<SocketAddr> = (8001..8005).map(|port| backend(POD_B, port)).collect();
    node.serve(1, &everywhere(80, NODE_PORT), &backends, None);
    node.serve(2, &everywhere(81, NODE_PORT + 1), &backends, Some(600));
    let spread = |port: u16, times: usize| {
        let mut hits: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..times {
            let answer = ask(&node.outside, 0, (NODE, port)).unwrap();
            *hits.entry(answer.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
        }
        hits
    };
    let hits = spread(NODE_PORT, 1_000);
    assert_eq!(hits.len(), 4, "{hits:?}");
    assert!(hits.values().all(|count| (150..=350).contains(count)), "15 to 35 % each: {hits:?}");
    assert_eq!(spread(NODE_PORT + 1, 20).len(), 1, "a client stays with one");
    drop(servers);
    node.finish();
    guard.finish();
}

#[test]
fn a_neighbour_that_changes_is_found_again() {
    if !harness::root_or_skip("a_neighbour_that_changes_is_found_again") {
        return;
    }
    let guard = harness::host::exclusive("a_neighbour_that_changes_is_found_again");
    let node = Node::make(guard.tag(), None);
    let server = Server::start(&node.outside, "out", 8080);
    let mut stream = node.a.host.inside(|| connect(0, (OUTSIDE, 8080))).unwrap();
    // Programs remember the next hop, each time for the rest of a second.
    for _ in 0..20 {
        question(&mut stream).expect("an answer");
    }
    let mac = "02:00:00:00:00:fe";
    node.outside.ip(&["link", "set", "eth0", "address", mac]);
    node.host.ip(&["neigh", "replace", &OUTSIDE.to_string(), "lladdr", mac, "dev", "up0"]);
    question(&mut stream).expect("an answer from behind another Ethernet address");
    drop((stream, server));
    node.finish();
    guard.finish();
}

#[test]
fn entries_say_how_far_their_connection_is() {
    if !harness::root_or_skip("entries_say_how_far_their_connection_is") {
        return;
    }
    let guard = harness::host::exclusive("entries_say_how_far_their_connection_is");
    let node = Node::make(guard.tag(), None);
    let server = Server::start(&node.b.host, "b", 80);
    node.serve(1, &everywhere(80, NODE_PORT), &[backend(POD_B, 80)], None);
    let flags = || {
        let conntrack = node.datapath.conntrack().unwrap();
        conntrack.observed().unwrap().iter().map(|entry| entry.flags).collect::<Vec<u16>>()
    };
    let stands = |flag: u16| {
        let begun = std::time::Instant::now();
        while flags().len() != 2 || flags().iter().any(|flags| flags & flag == 0) {
            assert!(begun.elapsed() < super::node::PATIENCE, "{:x?} have not {flag:x}", flags());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    };
    let mut stream = node.a.host.inside(|| connect(0, (VIP, 80))).unwrap();
    question(&mut stream).expect("an answer");
    stands(FlowFlag::ESTABLISHED);
    std::thread::sleep(std::time::Duration::from_secs(2));
    // A question makes them young; a machine that stands still between it and the look makes them old again.
    let looks = (0..20).map(|_| {
        question(&mut stream).expect("an answer");
        node.datapath.conntrack().unwrap().observed().unwrap()
    });
    let old = looks.take_while(|entries| entries.iter().any(|entry| entry.idle_seconds > 1));
    let old: Vec<_> = old.collect();
    assert!(old.len() < 20, "{:?}", old.last());
    drop(stream);
    stands(FlowFlag::FIN);
    drop(server);
    node.finish();
    guard.finish();
}
