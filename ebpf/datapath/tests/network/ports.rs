//! The source ports behind which pods are hidden: each flow's own, no socket's of the node, and no more of them than there are.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Barrier;
use std::time::Duration;

use abi::{Counter, Protocol};
use harness::netns::TestHost;
use keelson_datapath::Config;

use super::node::{FAR, NODE, Node, OUTSIDE, PATIENCE, POD_A, POD_B, Server, connect, question};

/// A power of two: the search comes to every one of them.
const FIRST: u16 = 61_000;
const LAST: u16 = 61_007;
const PORTS: usize = 8;
/// What the node's own process uses.
const OWN: u16 = 61_003;
const SERVED: u16 = 8_080;
const SHORT: Duration = Duration::from_millis(300);
const ROUNDS: usize = 30;

fn few_ports(tag: &str) -> Node {
    Node::make_with(tag, Config { masquerade_ports: FIRST..=LAST, ..Config::default() })
}

/// A socket that speaks with one server only.
fn datagrams(host: &TestHost, from: (Ipv4Addr, u16), to: Ipv4Addr) -> UdpSocket {
    host.inside(|| {
        let socket = UdpSocket::bind(from).expect("binding");
        socket.connect((to, SERVED)).expect("connecting");
        socket
    })
}

fn ask_by(socket: &UdpSocket, wait: Duration) -> Result<String, String> {
    let failed = |error: std::io::Error| error.to_string();
    socket.set_read_timeout(Some(wait)).map_err(failed)?;
    socket.send(b"who").map_err(failed)?;
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).map_err(failed)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// The port under which the server sees its client, who must have the node's address.
fn port(answer: Result<String, String>) -> u16 {
    let answer = answer.expect("an answer");
    let peer: SocketAddr = answer.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a client");
    assert_eq!(peer.ip(), NODE, "{answer}");
    assert!((FIRST..=LAST).contains(&peer.port()), "{answer}");
    peer.port()
}

fn exhausted(node: &Node) -> u64 {
    node.datapath.counters().unwrap().get(Counter::PortsExhausted)
}

#[test]
fn hidden_flows_have_ports_of_their_own() {
    const TEST: &str = "hidden_flows_have_ports_of_their_own";
    const SOURCE: u16 = 5_555;
    if !harness::root_or_skip(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let node = few_ports(guard.tag());
    let server = Server::start(&node.outside, "out", SERVED);
    let pods = [(&node.a.host, POD_A), (&node.b.host, POD_B)];
    // One source port, both pods, both protocols.
    let sockets = pods.map(|(host, address)| datagrams(host, (address, SOURCE), OUTSIDE));
    let mut streams = pods.map(|(host, _)| host.inside(|| connect(SOURCE, (OUTSIDE, SERVED))).unwrap());
    for _ in 0..3 {
        let seen = |protocol: u8, ports: [u16; 2]| {
            assert_ne!(ports[0], ports[1], "{protocol}");
            let entries = node.datapath.conntrack().unwrap().observed().unwrap();
            for ((_, address), port) in pods.iter().zip(ports) {
                let source = SocketAddr::from((*address, SOURCE));
                let entry = entries.iter().find(|e| e.protocol == protocol && e.source == source);
                let named = entry.expect("an entry").becomes_source;
                assert_eq!(named, SocketAddr::from((NODE, port)), "the answer is to whoever asked");
            }
        };
        seen(Protocol::UDP, [&sockets[0], &sockets[1]].map(|socket| port(ask_by(socket, PATIENCE))));
        seen(Protocol::TCP, streams.each_mut().map(|stream| port(question(stream))));
    }
    drop((sockets, streams, server));
    node.finish();
    guard.finish();
}

#[test]
fn ports_are_given_to_the_last_and_never_a_sockets() {
    const TEST: &str = "ports_are_given_to_the_last_and_never_a_sockets";
    if !harness::root_or_skip(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let node = few_ports(guard.tag());
    let server = Server::start(&node.outside, "out", SERVED);
    let own = datagrams(&node.host, (NODE, OWN), OUTSIDE);
    let mut own_stream = node.host.inside(|| connect(OWN, (OUTSIDE, SERVED))).unwrap();
    let mut own_talks = || {
        assert_eq!(port(ask_by(&own, PATIENCE)), OWN, "the node's own");
        assert_eq!(port(question(&mut own_stream)), OWN, "the node's own");
    };
    own_talks();
    let left: BTreeSet<u16> = (FIRST..=LAST).filter(|port| *port != OWN).collect();
    let pods = [(&node.a.host, POD_A), (&node.b.host, POD_B)];
    let pod = |number: usize| pods[number % 2];
    let open = |number: usize, to: Ipv4Addr| datagrams(pod(number).0, (pod(number).1, 0), to);
    let dial = |number: usize| {
        let to = SocketAddr::from((OUTSIDE, SERVED));
        pod(number).0.inside(|| TcpStream::connect_timeout(&to, SHORT))
    };

    let sockets: Vec<UdpSocket> = (1..PORTS).map(|number| open(number, OUTSIDE)).collect();
    let ports = |sockets: &[UdpSocket]| -> BTreeSet<u16> {
        sockets.iter().map(|socket| port(ask_by(socket, PATIENCE))).collect()
    };
    assert_eq!(ports(&sockets), left, "every port but the one");
    assert_eq!(exhausted(&node), 0);
    ask_by(&open(0, OUTSIDE), SHORT).expect_err("there is none left");
    assert_eq!(exhausted(&node), 1, "it is counted");

    let mut streams: Vec<TcpStream> = (1..PORTS).map(|number| dial(number).expect("a port")).collect();
    let seen: BTreeSet<u16> = streams.iter_mut().map(|stream| port(question(stream))).collect();
    assert_eq!(seen, left, "every port but the one");
    let before = exhausted(&node);
    dial(0).expect_err("there is none left");
    assert!(exhausted(&node) > before, "it is counted");
    let mut elsewhere = pod(0).0.inside(|| connect(0, (FAR, SERVED))).unwrap();
    port(question(&mut elsewhere));
    // What is over makes room: a connection that is reset, a socket of the node that is closed.
    let mut over = streams.swap_remove(0);
    let free = port(question(&mut over));
    rustix::net::sockopt::set_socket_linger(&over, Some(Duration::ZERO)).unwrap();
    drop(over);
    let begun = std::time::Instant::now();
    let mut next = loop {
        match dial(0) {
            Ok(stream) => break stream,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(60), "{error}"),
        }
    };
    assert_eq!(port(question(&mut next)), free);
    assert_eq!(ports(&sockets), left, "nobody has lost a port");
    own_talks();
    drop(own);
    assert_eq!(port(ask_by(&open(0, OUTSIDE), PATIENCE)), OWN, "now it is anybody's");
    drop((streams, next, elsewhere, own_stream, server));
    node.finish();
    guard.finish();
}

#[test]
fn flows_that_begin_at_once_share_no_port() {
    const TEST: &str = "flows_that_begin_at_once_share_no_port";
    if !harness::root_or_skip(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let node = few_ports(guard.tag());
    let server = Server::start(&node.outside, "out", SERVED);
    let mut conntrack = node.datapath.conntrack().unwrap();
    let start = Barrier::new(2);
    let pods = [(&node.a.host, POD_A), (&node.b.host, POD_B)];
    for round in 0..ROUNDS {
        let mut given: Vec<u16> = std::thread::scope(|scope| {
            let threads = pods.map(|(host, address)| {
                let (start, half) = (&start, 0..PORTS / 2);
                scope.spawn(move || {
                    let sockets: Vec<UdpSocket> =
                        half.map(|_| datagrams(host, (address, 0), OUTSIDE)).collect();
                    start.wait();
                    for socket in &sockets {
                        socket.send(b"who").expect("sending");
                    }
                    sockets.iter().map(|socket| port(answer(socket))).collect::<Vec<u16>>()
                })
            });
            threads.into_iter().flat_map(|thread| thread.join().expect("answers")).collect()
        });
        given.sort_unstable();
        assert_eq!(given, (FIRST..=LAST).collect::<Vec<u16>>(), "round {round}");
        assert_eq!(exhausted(&node), 0, "round {round}");
        for (_, address) in pods {
            conntrack.forget_address(address.into()).unwrap();
        }
    }
    drop(server);
    node.finish();
    guard.finish();
}

fn answer(socket: &UdpSocket) -> Result<String, String> {
    socket.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}
