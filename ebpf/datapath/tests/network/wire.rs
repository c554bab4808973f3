//! XDP on the uplink: who asks notices nothing, and the counter tells that it was there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use aya::programs::Xdp;
use aya::programs::xdp::XdpMode;
use keelson_datapath::{
    Acceleration, Config, Counter, Datapath, Frontend, Node as Elsewhere, Scope, Transport,
};

use super::node::{
    NODE, NODE_PORT, Node, OUTSIDE, PATIENCE, POD_B, Server, ask, ask_udp, connect, frontend, question,
};
use super::six::{seen, six};

const POD_ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 244, 9, 9);
const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const QUESTIONS: usize = 40;

/// The node, and a cable of which the far end takes frames from programs, and sends whole checksums, as a wire does.
fn accelerated(tag: &str, acceleration: Acceleration) -> (Node, Xdp) {
    let node = Node::make_with(tag, Config { acceleration, ..Config::default() });
    node.outside.must("ethtool", &["-K", "eth0", "tx", "off"]);
    // It passes everything on there: no flow is of that machine.
    let mut far = node.datapath.wire_program().unwrap();
    node.outside.inside(|| far.attach("eth0", XdpMode::Driver).map(drop)).unwrap();
    node.datapath
        .nodes()
        .unwrap()
        .put("10.244.9.0/24".parse().unwrap(), Elsewhere { keeps_source: true, ..Elsewhere::default() })
        .unwrap();
    (node, far)
}

fn early(node: &Node) -> u64 {
    node.datapath.counters().unwrap().get(Counter::Early)
}

fn both(port: u16) -> [Frontend; 2] {
    [Transport::Tcp, Transport::Udp].map(|transport| frontend(ANY, port, transport, Scope::External))
}

/// Whether the uplink's driver has a program.
fn is_attached(node: &Node) -> bool {
    node.host.ip(&["link", "show", "up0"]).contains("xdp")
}

fn can_run(test: &str) -> bool {
    if std::process::Command::new("ethtool").arg("--version").output().is_err() {
        harness::skip(test, "needs ethtool");
        return false;
    }
    harness::root_or_skip(test)
}

#[test]
fn what_goes_on_to_other_nodes_is_sent_by_the_driver() {
    if !can_run("what_goes_on_to_other_nodes_is_sent_by_the_driver") {
        return;
    }
    let guard = harness::host::exclusive("what_goes_on_to_other_nodes_is_sent_by_the_driver");
    let (mut node, far) = accelerated(guard.tag(), Acceleration::Native);
    assert!(is_attached(&node));
    let servers = [Server::start(&node.b.host, "b", 80), Server::start(&node.outside, "out", 8080)];
    node.serve(1, &both(NODE_PORT), &[SocketAddr::new(POD_ELSEWHERE.into(), 8080)], None);
    node.serve(2, &both(NODE_PORT + 1), &[SocketAddr::new(POD_B.into(), 80)], None);
    node.serve(3, &both(NODE_PORT + 2), &[SocketAddr::new(OUTSIDE.into(), 8080)], None);

    // A pod of this node: up to tc, every packet of it.
    assert!(ask(&node.outside, 0, (NODE, NODE_PORT + 1)).unwrap().starts_with("b "));
    assert_eq!(early(&node), 0, "nothing of it is for somebody else");

    // A pod of another node: there and back.
    let mut stream = node.outside.inside(|| connect(0, (NODE, NODE_PORT))).unwrap();
    let answer = question(&mut stream).unwrap();
    assert!(answer.starts_with(&format!("out {NODE}:")), "under the node's name: {answer}");
    for _ in 0..QUESTIONS {
        assert_eq!(question(&mut stream).unwrap(), answer);
    }
    let told = early(&node);
    assert!(told > 2 * QUESTIONS as u64, "{told} packets of {QUESTIONS} questions and answers");
    // Answers of UDP come from the address of the link.
    let (answer, from) = ask_udp(&node.outside, (NODE, NODE_PORT + 2), 5).unwrap();
    let expect = SocketAddr::new(NODE.into(), NODE_PORT + 2);
    assert!(answer.starts_with("out ") && from == expect, "{answer} {from}");
    assert!(early(&node) > told, "the answer of UDP");

    // Restarts: the same link, and not a moment of silence.
    let attached = node.datapath.attached().unwrap();
    std::thread::scope(|scope| {
        let talk = scope.spawn(|| {
            for _ in 0..QUESTIONS {
                question(&mut stream).expect("an answer during a restart");
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        node.restart();
        talk.join().expect("a talk without errors");
    });
    assert_eq!(node.datapath.attached().unwrap(), attached);

    // Not wished any more: the connection goes on, by tc.
    node.config.acceleration = Acceleration::Disabled;
    node.restart();
    // The kernel lets go of a link a little later than of its pin.
    let begun = std::time::Instant::now();
    while is_attached(&node) {
        assert!(begun.elapsed() < PATIENCE, "the driver has no program any more");
        std::thread::sleep(Duration::from_millis(10));
    }
    let before = early(&node);
    question(&mut stream).expect("without the program");
    assert_eq!(early(&node), before);
    drop((servers, far));
    node.finish();
    guard.finish();
}

#[test]
fn ipv6_is_sent_by_the_driver_too() {
    if !can_run("ipv6_is_sent_by_the_driver_too") {
        return;
    }
    let guard = harness::host::exclusive("ipv6_is_sent_by_the_driver_too");
    let (mut node, end) = accelerated(guard.tag(), Acceleration::Native);
    node.add_ipv6();
    let there = |transport| Frontend {
        address: six("::").into(),
        port: NODE_PORT,
        transport,
        scope: Scope::External,
    };
    let (near, far) = (six("2001:db8::1"), six("2001:db8::2"));
    node.serve(
        1,
        &[there(Transport::Tcp), there(Transport::Udp)],
        &[SocketAddr::new(far.into(), 8082)],
        None,
    );
    let to = SocketAddr::new(near.into(), NODE_PORT);
    let peer = seen(&node.outside, &node.outside, 8082, to).unwrap();
    assert_eq!(peer.ip(), IpAddr::V6(near), "under the node's name");
    assert!(early(&node) > 0);
    drop(end);
    node.finish();
    guard.finish();
}

#[test]
fn a_driver_that_cannot_is_refused_or_let_alone() {
    if !can_run("a_driver_that_cannot_is_refused_or_let_alone") {
        return;
    }
    let guard = harness::host::exclusive("a_driver_that_cannot_is_refused_or_let_alone");
    let (mut node, far) = accelerated(guard.tag(), Acceleration::BestEffort);
    assert!(!is_attached(&node), "nobody knows what is at the other end of a veth pair");
    let servers = [Server::start(&node.outside, "out", 8080)];
    node.serve(1, &both(NODE_PORT), &[SocketAddr::new(OUTSIDE.into(), 8080)], None);
    ask(&node.outside, 0, (NODE, NODE_PORT)).expect("by tc");
    let accelerate = |node: &Node, link: &str| {
        node.host.inside(|| Datapath::ensure(&node.config).and_then(|datapath| datapath.accelerate(link)))
    };
    accelerate(&node, "lo").expect("best effort");
    node.config.acceleration = Acceleration::Native;
    let refused = accelerate(&node, "lo").expect_err("a loopback has no driver").to_string();
    assert!(refused.contains("the driver of lo takes no XDP program"), "{refused}");
    accelerate(&node, "up0").expect("a veth pair, on demand");
    assert!(is_attached(&node));
    drop((servers, far));
    node.finish();
    guard.finish();
}
