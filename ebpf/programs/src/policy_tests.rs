//! Who may talk to whom, and when that is asked again.

use abi::{Protocol, Settings};

use super::*;
use crate::parse::Tcp;
use crate::track::{Ends, track, unchanged};
use crate::world_tests::{ELSEWHERE, Fake, NODE, OUTSIDE, PEER, POD, VIP, ip, packet, settings};

const WEB: u32 = 1_000;
const CLIENT: u32 = 2_000;
const BOTH: u8 = Isolation::INGRESS | Isolation::EGRESS;

fn key(subject: u32, direction: Direction, peer: u32, port: u16) -> PolicyKey {
    PolicyKey { subject, peer, direction: direction as u8, protocol: Protocol::TCP, port: port.to_be() }
}

/// PEER is a web server that clients may talk to, and that may talk to nobody; everybody may ask it at port 81.
fn world() -> Fake {
    let world = Fake::new();
    world.isolate(PEER, WEB, BOTH);
    world.isolate(POD, CLIENT, 0);
    world.identities.borrow_mut().extend([(ip(POD), CLIENT), (ip(PEER), WEB), (ip(ELSEWHERE), CLIENT)]);
    world
        .allowed
        .borrow_mut()
        .extend([key(WEB, Direction::Ingress, CLIENT, 80), key(WEB, Direction::Ingress, ANYBODY, 81)]);
    world
}

#[test]
fn what_is_allowed_passes() {
    let check = |origin: Origin, from: [u8; 4], to: ([u8; 4], u16), expect: Result<(), Counter>| {
        let flow = packet(Protocol::TCP, (from, 40_000), to, Tcp::SYN).flow;
        let found = judge(&world(), &flow, &unchanged(&flow, 0), origin);
        let expected = expect.map_or_else(Judgement::denied, |()| Judgement::ALLOWED);
        assert_eq!(found, expected, "{origin:?} {from:?} to {to:?}");
    };
    let (ingress, egress) = (Err(Counter::PolicyIngress), Err(Counter::PolicyEgress));
    check(Origin::Pod, POD, (PEER, 80), Ok(()));
    check(Origin::Pod, POD, (PEER, 81), Ok(()));
    check(Origin::Pod, POD, (PEER, 82), ingress);
    check(Origin::Uplink, ELSEWHERE, (PEER, 80), Ok(()));
    check(Origin::Uplink, OUTSIDE, (PEER, 80), ingress);
    check(Origin::Uplink, OUTSIDE, (PEER, 81), Ok(()));
    check(Origin::Pod, PEER, (POD, 80), egress);
    check(Origin::Pod, PEER, (OUTSIDE, 80), egress);
    // A pod and its own node, a pod and itself.
    check(Origin::Node, NODE, (PEER, 82), Ok(()));
    check(Origin::Pod, PEER, (NODE, 10_250), Ok(()));
    check(Origin::Pod, PEER, ([169, 254, 1, 1], 53), Ok(()));
    check(Origin::Pod, PEER, (PEER, 82), Ok(()));
    // Somebody outside who says that he is the node.
    check(Origin::Uplink, NODE, (PEER, 82), ingress);
    // Pods that no policy selects.
    check(Origin::Uplink, OUTSIDE, (POD, 9), Ok(()));
}

#[test]
fn a_service_is_judged_by_its_backend() {
    let world = world();
    world.serve(7, (VIP, 82), abi::Scope::Cluster, &[(PEER, 80)], 0);
    world.serve(8, (VIP, 80), abi::Scope::Cluster, &[(PEER, 82)], 0);
    let mut ends = Ends::default();
    let good = packet(Protocol::TCP, (POD, 40_000), (VIP, 82), Tcp::SYN);
    assert_eq!(track(&world, &settings(), &good, Origin::Pod, &mut ends), Verdict::BECOME);
    assert_eq!(ends.destination, ip(PEER));
    let bad = packet(Protocol::TCP, (POD, 40_000), (VIP, 80), Tcp::SYN);
    let verdict = track(&world, &settings(), &bad, Origin::Pod, &mut ends);
    assert_eq!(verdict, Verdict::drop(Counter::PolicyIngress));
    assert_eq!(world.flows.borrow().len(), 2, "a denied flow leaves nothing");
}

#[test]
fn flows_follow_a_changed_policy_and_cost_nothing_meanwhile() {
    let world = world();
    let mut settings = settings();
    let mut ends = Ends::default();
    let there = packet(Protocol::TCP, (POD, 40_000), (PEER, 80), Tcp::ACK);
    let back = packet(Protocol::TCP, (PEER, 80), (POD, 40_000), Tcp::ACK);
    let mut pass = |settings: &Settings, seen| track(&world, settings, seen, Origin::Pod, &mut ends);
    for _ in 0..3 {
        assert_eq!(pass(&settings, &there), Verdict::BECOME);
        assert_eq!(pass(&settings, &back), Verdict::BECOME, "an answer, though its sender may begin nothing");
    }
    assert_eq!(*world.judged.borrow(), 1);
    settings.policy_epoch += 1;
    for _ in 0..3 {
        assert_eq!(pass(&settings, &there), Verdict::BECOME);
        assert_eq!(pass(&settings, &back), Verdict::BECOME);
    }
    assert_eq!(*world.judged.borrow(), 3, "once for each direction");
    world.allowed.borrow_mut().clear();
    settings.policy_epoch += 1;
    assert_eq!(pass(&settings, &back), Verdict::drop(Counter::PolicyIngress));
    assert_eq!(pass(&settings, &there), Verdict::drop(Counter::PolicyIngress));
    world.allowed.borrow_mut().push(key(WEB, Direction::Ingress, ANYBODY, 80));
    assert_eq!(pass(&settings, &there), Verdict::BECOME, "allowed again");
}

#[test]
fn protocols_without_ports_need_a_rule_without_ports() {
    let world = world();
    let mut ends = Ends::default();
    let ping = packet(Protocol::ICMP, (POD, 7), (PEER, 0), 0);
    let verdict = track(&world, &settings(), &ping, Origin::Pod, &mut ends);
    assert_eq!(verdict, Verdict::drop(Counter::PolicyIngress));
    let gre = packet(47, (POD, 0), (PEER, 0), 0);
    let verdict = track(&world, &settings(), &gre, Origin::Pod, &mut ends);
    assert_eq!(verdict, Verdict::drop(Counter::PolicyIngress));
}

#[test]
fn sctp_is_tracked_and_judged_but_never_translated() {
    let world = world();
    let mut ends = Ends::default();
    let denied = packet(Protocol::SCTP, (POD, 5_000), (PEER, 80), 0);
    let verdict = track(&world, &settings(), &denied, Origin::Pod, &mut ends);
    assert_eq!(verdict, Verdict::drop(Counter::PolicyIngress), "allowed for TCP only");
    let allowed = PolicyKey { protocol: Protocol::SCTP, ..key(WEB, Direction::Ingress, CLIENT, 80) };
    world.allowed.borrow_mut().push(allowed);
    assert_eq!(track(&world, &settings(), &denied, Origin::Pod, &mut ends), Verdict::BECOME);
    let outside = packet(Protocol::SCTP, (POD, 5_000), (OUTSIDE, 80), 0);
    let verdict = track(&world, &settings(), &outside, Origin::Pod, &mut ends);
    assert_eq!(verdict, Verdict::drop(Counter::Untranslatable));
}
