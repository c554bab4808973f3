//! The source ports behind which pods are hidden, in both families: each flow's own, no socket's of the node, and no more of them
//! than there are. What comes back of ICMP is the pod's, too.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Barrier;
use std::time::Duration;

use abi::{Counter, Protocol};
use harness::netns::TestHost;
use keelson_datapath::Config;
use nix::sys::socket::{setsockopt, sockopt};

use super::echo::ping;
use super::mtu::ip;
use super::node::{FAR, NODE, Node, OUTSIDE, PATIENCE, POD_A, POD_B, SILENCE, Server, connect, question};

/// A power of two: the search comes to every one of them.
const FIRST: u16 = 61_000;
const LAST: u16 = 61_007;
const PORTS: usize = 8;
/// What the node's own process uses.
const OWN: u16 = 61_003;
const SERVED: u16 = 8_080;
const ROUNDS: usize = 30;

/// Of one family.
#[derive(Clone, Copy, Debug)]
struct Ends {
    any: IpAddr,
    pods: [IpAddr; 2],
    node: IpAddr,
    outside: IpAddr,
    far: IpAddr,
}

fn families() -> [Ends; 2] {
    [
        Ends {
            any: ip("0.0.0.0"),
            pods: [POD_A.into(), POD_B.into()],
            node: NODE.into(),
            outside: OUTSIDE.into(),
            far: FAR.into(),
        },
        Ends {
            any: ip("::"),
            pods: [ip("fd00:10:244::11"), ip("fd00:10:244::12")],
            node: ip("2001:db8::1"),
            outside: ip("2001:db8::2"),
            far: ip("2001:db8:7::7"),
        },
    ]
}

fn few_ports(tag: &str) -> Node {
    let mut node = Node::make_with(tag, Config { masquerade_ports: FIRST..=LAST, ..Config::default() });
    node.add_ipv6();
    node
}

fn serve(node: &Node, ends: &Ends) -> Server {
    Server::start_at(&node.outside, "out", SocketAddr::new(ends.any, SERVED))
}

/// A socket that speaks with one server only.
fn datagrams(host: &TestHost, from: (IpAddr, u16), to: IpAddr) -> UdpSocket {
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
fn port(ends: &Ends, answer: Result<String, String>) -> u16 {
    let answer = answer.expect("an answer");
    let peer: SocketAddr = answer.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a client");
    assert_eq!(peer.ip(), ends.node, "{answer}");
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
    for ends in &families() {
        let server = serve(&node, ends);
        let pods = [(&node.a.host, ends.pods[0]), (&node.b.host, ends.pods[1])];
        // One source port, both pods, both protocols.
        let sockets = pods.map(|(host, address)| datagrams(host, (address, SOURCE), ends.outside));
        let mut streams =
            pods.map(|(host, _)| host.inside(|| connect(SOURCE, (ends.outside, SERVED))).unwrap());
        for _ in 0..3 {
            let seen = |protocol: u8, ports: [u16; 2]| {
                assert_ne!(ports[0], ports[1], "{protocol}");
                let entries = node.datapath.conntrack().unwrap().observed().unwrap();
                for ((_, address), port) in pods.iter().zip(ports) {
                    let source = SocketAddr::from((*address, SOURCE));
                    let entry = entries.iter().find(|e| e.protocol == protocol && e.source == source);
                    let named = entry.expect("an entry").becomes_source;
                    assert_eq!(named, SocketAddr::from((ends.node, port)), "the answer is to whoever asked");
                }
            };
            let ask = |socket| port(ends, ask_by(socket, PATIENCE));
            seen(Protocol::UDP, [&sockets[0], &sockets[1]].map(ask));
            seen(Protocol::TCP, streams.each_mut().map(|stream| port(ends, question(stream))));
        }
        drop((sockets, streams, server));
    }
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
    for ends in &families() {
        given_to_the_last(&node, ends);
    }
    node.finish();
    guard.finish();
}

fn given_to_the_last(node: &Node, ends: &Ends) {
    let server = serve(node, ends);
    let own = datagrams(&node.host, (ends.node, OWN), ends.outside);
    let mut own_stream = node.host.inside(|| connect(OWN, (ends.outside, SERVED))).unwrap();
    let mut own_talks = || {
        assert_eq!(port(ends, ask_by(&own, PATIENCE)), OWN, "the node's own");
        assert_eq!(port(ends, question(&mut own_stream)), OWN, "the node's own");
    };
    own_talks();
    let left: BTreeSet<u16> = (FIRST..=LAST).filter(|port| *port != OWN).collect();
    let pods = [(&node.a.host, ends.pods[0]), (&node.b.host, ends.pods[1])];
    let pod = |number: usize| pods[number % 2];
    let open = |number: usize| datagrams(pod(number).0, (pod(number).1, 0), ends.outside);
    let dial = |number: usize, patience: Duration| {
        let to = SocketAddr::from((ends.outside, SERVED));
        pod(number).0.inside(|| TcpStream::connect_timeout(&to, patience))
    };

    let sockets: Vec<UdpSocket> = (1..PORTS).map(open).collect();
    let ports = |sockets: &[UdpSocket]| -> BTreeSet<u16> {
        sockets.iter().map(|socket| port(ends, ask_by(socket, PATIENCE))).collect()
    };
    let before = exhausted(node);
    assert_eq!(ports(&sockets), left, "every port but the one");
    assert_eq!(exhausted(node), before);
    ask_by(&open(0), SILENCE).expect_err("there is none left");
    assert_eq!(exhausted(node), before + 1, "it is counted");

    let mut streams: Vec<TcpStream> =
        (1..PORTS).map(|number| dial(number, PATIENCE).expect("a port")).collect();
    let seen: BTreeSet<u16> = streams.iter_mut().map(|stream| port(ends, question(stream))).collect();
    assert_eq!(seen, left, "every port but the one");
    let before = exhausted(node);
    dial(0, SILENCE).expect_err("there is none left");
    assert!(exhausted(node) > before, "it is counted");
    let mut elsewhere = pod(0).0.inside(|| connect(0, (ends.far, SERVED))).unwrap();
    port(ends, question(&mut elsewhere));
    // What is over makes room: a connection that is reset, a socket of the node that is closed.
    let mut over = streams.swap_remove(0);
    let free = port(ends, question(&mut over));
    rustix::net::sockopt::set_socket_linger(&over, Some(Duration::ZERO)).unwrap();
    drop(over);
    let begun = std::time::Instant::now();
    let mut next = loop {
        match dial(0, SILENCE) {
            Ok(stream) => break stream,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(60), "{error}"),
        }
    };
    assert_eq!(port(ends, question(&mut next)), free);
    assert_eq!(ports(&sockets), left, "nobody has lost a port");
    own_talks();
    drop(own);
    assert_eq!(port(ends, ask_by(&open(0), PATIENCE)), OWN, "now it is anybody's");
    drop((streams, next, elsewhere, own_stream, server));
}

#[test]
fn flows_that_begin_at_once_share_no_port() {
    const TEST: &str = "flows_that_begin_at_once_share_no_port";
    if !harness::root_or_skip(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let node = few_ports(guard.tag());
    for ends in &families() {
        begin_at_once(&node, ends);
    }
    node.finish();
    guard.finish();
}

fn begin_at_once(node: &Node, ends: &Ends) {
    let server = serve(node, ends);
    let mut conntrack = node.datapath.conntrack().unwrap();
    let start = Barrier::new(2);
    let pods = [(&node.a.host, ends.pods[0]), (&node.b.host, ends.pods[1])];
    for round in 0..ROUNDS {
        let mut given: Vec<u16> = std::thread::scope(|scope| {
            let threads = pods.map(|(host, address)| {
                let (start, half) = (&start, 0..PORTS / 2);
                scope.spawn(move || {
                    let sockets: Vec<UdpSocket> =
                        half.map(|_| datagrams(host, (address, 0), ends.outside)).collect();
                    start.wait();
                    for socket in &sockets {
                        socket.send(b"who").expect("sending");
                    }
                    sockets.iter().map(|socket| port(ends, answer(socket))).collect::<Vec<u16>>()
                })
            });
            threads.into_iter().flat_map(|thread| thread.join().expect("answers")).collect()
        });
        given.sort_unstable();
        assert_eq!(given, (FIRST..=LAST).collect::<Vec<u16>>(), "round {round}, {ends:?}");
        assert_eq!(exhausted(node), 0, "round {round}");
        for (_, address) in pods {
            conntrack.forget_address(address).unwrap();
        }
    }
    drop(server);
}

/// Echoes of two pods under one identifier, and errors of whoever was asked and of a router on the way.
#[test]
fn icmp_comes_back_to_hidden_pods() {
    const TEST: &str = "icmp_comes_back_to_hidden_pods";
    if !harness::root_or_skip(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let mut node = Node::make(guard.tag(), None);
    node.add_ipv6();
    let beyond = super::mtu::beyond(&node, guard.tag());
    for (ends, behind) in families().iter().zip(["203.0.113.9", "2001:db8:9::9"].map(ip)) {
        let pods = [(&node.a.host, ends.pods[0]), (&node.b.host, ends.pods[1])];
        for (host, address) in pods {
            assert!(ping(host, ends.outside) && ping(host, behind), "{address}");
            let socket = datagrams(host, (address, 0), ends.outside);
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.send(b"who").unwrap();
            let error = socket.recv(&mut [0; 16]).expect_err("nobody listens there");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{address}: {error}");

            let socket = datagrams(host, (address, 0), behind);
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            // The node takes one away, and the router has none left.
            if address.is_ipv4() {
                socket.set_ttl(2).unwrap();
                setsockopt(&socket, sockopt::Ipv4RecvErr, &true).unwrap();
            } else {
                rustix::net::sockopt::set_ipv6_unicast_hops(&socket, Some(2)).unwrap();
                setsockopt(&socket, sockopt::Ipv6RecvErr, &true).unwrap();
            }
            socket.send(b"who").unwrap();
            let error = socket.recv(&mut [0; 16]).expect_err("it does not arrive");
            assert_eq!(error.kind(), ErrorKind::HostUnreachable, "{address}: {error}");
        }
        let entries = node.datapath.conntrack().unwrap().observed().unwrap();
        let hidden = |source: SocketAddr| source.ip() == ends.node && (61_000..).contains(&source.port());
        let of_icmp = entries
            .iter()
            .filter(|e| [Protocol::ICMP, Protocol::ICMP6].contains(&e.protocol) && hidden(e.becomes_source));
        // Two that go to one destination differ; otherwise a number may be drawn twice.
        let numbers: BTreeSet<(IpAddr, u16)> =
            of_icmp.map(|entry| (entry.destination.ip(), entry.becomes_source.port())).collect();
        assert_eq!(numbers.len(), 4, "each echo to one destination has a number of its own: {entries:?}");
    }
    drop(beyond);
    node.finish();
    guard.finish();
}

fn answer(socket: &UdpSocket) -> Result<String, String> {
    socket.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}
