//! Policies on real packets: what is allowed, what flows that stand do when it no longer is, what is told.

use std::net::{IpAddr, SocketAddr};

use keelson_datapath::{
    ANYBODY, Allowed, Counter, DatapathError, Direction, Endpoint, Isolation, Packet, Ports, Scope,
    Transport, Verdict,
};

use super::node::{
    FAR, NODE, Node, OUTSIDE, PATIENCE, POD_A, POD_B, SILENCE, Server, VIP, ask, connect, frontend,
    is_silent as silent, question, question_within,
};

pub const WEB: u32 = 1_000;
pub const CLIENT: u32 = 2_000;

/// The number of pod b becomes [`WEB`].
pub fn isolate(node: &Node, isolation: Isolation) {
    let endpoint = Endpoint { identity: WEB, isolation, ..node.b.endpoint };
    node.datapath.endpoints().unwrap().put(IpAddr::V4(POD_B), &endpoint).unwrap();
    node.datapath.judge_flows_again().unwrap();
}

fn reported(node: &Node, reports: &mut keelson_datapath::Reports) -> Vec<Packet> {
    let _ = node;
    std::iter::from_fn(|| reports.take()).collect()
}

#[test]
fn isolated_pods_do_what_they_may() {
    if !harness::root_or_skip("isolated_pods_do_what_they_may") {
        return;
    }
    let guard = harness::host::exclusive("isolated_pods_do_what_they_may");
    let node = Node::make(guard.tag(), None);
    let servers = [
        Server::start(&node.b.host, "b", 80),
        Server::start(&node.b.host, "b", 8_085),
        Server::start(&node.a.host, "a", 80),
        Server::start(&node.outside, "out", 8_080),
        Server::start(&node.host, "node", 9_000),
    ];
    let there = [frontend(VIP, 80, Transport::Tcp, Scope::Cluster)];
    node.serve(1, &there, &[SocketAddr::new(IpAddr::V4(POD_B), 80)], None);
    let mut reports = node.datapath.reports().unwrap();
    let mut policies = node.datapath.policies().unwrap();
    policies.name("10.244.0.11/32".parse().unwrap(), CLIENT).unwrap();
    let range = Ports::Of { protocol: 6, first: 8_080, bits: 13 };
    let allow_a = Allowed { subject: WEB, peer: CLIENT, direction: Direction::Ingress, what: range };
    policies.allow(&allow_a).unwrap();

    let mut stands = node.a.host.inside(|| connect(0, (POD_B, 80))).unwrap();
    question(&mut stands).expect("before any policy");
    isolate(&node, Isolation { ingress: true, egress: true });
    let is_cut = |stream: &mut std::net::TcpStream| question_within(stream, SILENCE).is_err();
    assert!(is_cut(&mut stands), "a connection that stands follows the policy");
    ask(&node.a.host, 0, (POD_B, 8_085)).expect("a port of the range");
    assert!(silent(&node.a.host, (POD_B, 80)), "another port");
    assert!(silent(&node.a.host, (VIP, 80)), "by a service");
    assert!(silent(&node.outside, (POD_B, 8_085)), "somebody else");
    ask(&node.host, 0, (POD_B, 80)).expect("its own node");
    ask(&node.b.host, 0, (NODE, 9_000)).expect("to its own node");
    assert!(silent(&node.b.host, (POD_A, 80)) && silent(&node.b.host, (OUTSIDE, 8_080)), "egress");

    let packets = reported(&node, &mut reports);
    let dropped = |counter: Counter, to: SocketAddr| {
        let same = |p: &&Packet| {
            p.verdict == Verdict::Dropped(counter) && p.ends.is_some_and(|e| e.to_destination == to)
        };
        packets.iter().find(same).copied()
    };
    let by_service = dropped(Counter::PolicyIngress, SocketAddr::from((POD_B, 80))).expect("a report");
    assert_eq!(by_service.protocol, 6);
    assert!(packets.iter().any(|p| p.ends.is_some_and(|e| e.destination == SocketAddr::from((VIP, 80)))));
    dropped(Counter::PolicyEgress, SocketAddr::from((OUTSIDE, 8_080))).expect("a report of egress");
    assert!(packets.iter().all(|p| matches!(p.verdict, Verdict::Dropped(_))), "only drops unless asked for");

    // Everybody may, everything: also who has no number.
    let all = Allowed { subject: WEB, peer: ANYBODY, direction: Direction::Ingress, what: Ports::All };
    policies.allow(&all).unwrap();
    node.datapath.report_flows(true).unwrap();
    ask(&node.a.host, 0, (VIP, 80)).expect("allowed now");
    ask(&node.outside, 0, (POD_B, 80)).expect("from outside too");
    // TCP tries again, ever more seldom.
    assert!((0..3).any(|_| question(&mut stands).is_ok()), "the old connection goes on");
    node.datapath.report_flows(false).unwrap();
    let packets = reported(&node, &mut reports);
    let began = packets.iter().filter(|p| p.verdict == Verdict::Began).count();
    assert!(began >= 2 && packets.iter().any(|p| p.verdict == Verdict::Went), "{packets:?}");
    policies.withdraw(&all).unwrap();
    node.datapath.judge_flows_again().unwrap();
    // Answers to what was asked in vain before may still be there.
    let begun = std::time::Instant::now();
    while !is_cut(&mut stands) {
        assert!(begun.elapsed() < PATIENCE, "and ends with the permission");
    }
    assert!(is_cut(&mut stands), "for good");

    // A block of addresses outside, but not all of them.
    let block = Allowed { subject: WEB, peer: 3_000, direction: Direction::Egress, what: Ports::All };
    policies.allow(&block).unwrap();
    policies.name("192.0.2.0/24".parse().unwrap(), 3_000).unwrap();
    ask(&node.b.host, 0, (OUTSIDE, 8_080)).expect("of the block");
    assert!(silent(&node.b.host, (FAR, 8_080)), "beyond the block");
    policies.name("192.0.2.2/32".parse().unwrap(), 3_001).unwrap();
    assert!(silent(&node.b.host, (OUTSIDE, 8_080)), "except");
    assert_eq!(policies.allowed().unwrap().len(), 2);
    assert_eq!(policies.named().unwrap().len(), 3);
    drop((servers, reports, policies));
    node.finish();
    guard.finish();
}

#[test]
fn reports_are_bounded_and_what_is_left_out_is_counted() {
    const TEST: &str = "reports_are_bounded_and_what_is_left_out_is_counted";
    /// Datagrams between two looks at the counters.
    const BURST: usize = 1_000;
    const LIMIT: std::time::Duration = std::time::Duration::from_secs(120);
    if !harness::root_or_skip(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let node = Node::make(guard.tag(), None);
    isolate(&node, Isolation { ingress: true, egress: false });
    let mut reports = node.datapath.reports().unwrap();
    let told = |reports: &mut keelson_datapath::Reports| {
        let ours = |packet: &Packet| packet.verdict == Verdict::Dropped(Counter::PolicyIngress);
        reported(&node, reports).iter().filter(|packet| ours(packet)).count() as u64
    };
    let count = |counter: Counter| node.datapath.counters().unwrap().get(counter);
    let mut taken = told(&mut reports);
    let socket = node.a.host.inside(|| std::net::UdpSocket::bind("0.0.0.0:0")).unwrap();
    let begun = std::time::Instant::now();
    while count(Counter::ReportsLost) == 0 {
        assert!(begun.elapsed() < LIMIT, "{taken} reports and no end");
        for _ in 0..BURST {
            socket.send_to(b"x", (POD_B, 53)).unwrap();
        }
        taken += told(&mut reports);
    }
    // In this order: a packet is told of before it is counted.
    let dropped = count(Counter::PolicyIngress);
    taken += told(&mut reports);
    let lost = count(Counter::ReportsLost);
    assert!(taken > 0, "{lost} left out of {dropped} drops");
    assert!(taken + lost >= dropped, "{taken} told and {lost} left out of {dropped} drops");
    drop(reports);
    node.finish();
    guard.finish();
}

#[test]
fn a_full_map_denies_what_is_not_in_it() {
    if !harness::root_or_skip("a_full_map_denies_what_is_not_in_it") {
        return;
    }
    let guard = harness::host::exclusive("a_full_map_denies_what_is_not_in_it");
    let node = Node::make(guard.tag(), None);
    let server = Server::start(&node.b.host, "b", 80);
    let mut policies = node.datapath.policies().unwrap();
    policies.name("10.244.0.11/32".parse().unwrap(), CLIENT).unwrap();
    let direction = Direction::Ingress;
    let of = |subject: u32, peer: u32| Allowed { subject, peer, direction, what: Ports::All };
    policies.allow(&of(WEB, CLIENT)).unwrap();
    isolate(&node, Isolation { ingress: true, egress: false });
    let mut others = (0..1_u32 << 20).map(|number| of(10_000 + number, 7));
    let refused = others.find_map(|other| policies.allow(&other).err()).expect("it has an end");
    assert!(matches!(refused, DatapathError::Full { map: "POLICY", .. }), "{refused}");
    let everybody = of(WEB, ANYBODY);
    assert!(matches!(policies.allow(&everybody), Err(DatapathError::Full { .. })));
    ask(&node.a.host, 0, (POD_B, 80)).expect("who is in it");
    assert!(silent(&node.outside, (POD_B, 80)), "who is not, is denied");
    assert!(node.datapath.counters().unwrap().get(Counter::PolicyIngress) > 0, "and counted");
    policies.withdraw(&of(10_000, 7)).unwrap();
    policies.allow(&everybody).expect("there is room again");
    ask(&node.outside, 0, (POD_B, 80)).expect("allowed now");
    drop((server, policies));
    node.finish();
    guard.finish();
}
