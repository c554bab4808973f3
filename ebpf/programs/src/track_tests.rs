//! Flows through a world of ordinary maps.

use std::vec::Vec;

use abi::ServiceFlag;

use super::*;
use crate::parse::Tcp;
use crate::world_tests::{
    ELSEWHERE, Fake, NODE, NODE_PORT, OUTSIDE, PEER, PENDING, POD, VIP, packet, settings,
};

const UDP: u8 = Protocol::UDP;
const TCP: u8 = Protocol::TCP;
const ANY: [u8; 4] = [0; 4];

/// Ends of a packet, for people.
type Ends = (([u8; 4], u16), ([u8; 4], u16));

fn told(state: &super::Ends<abi::Ip4>) -> Ends {
    let octets = |address: abi::Ip4| address.bits.to_ne_bytes();
    (
        (octets(state.source), u16::from_be(state.source_port)),
        (octets(state.destination), u16::from_be(state.destination_port)),
    )
}

/// Tracks a packet and gives what it becomes.
fn send(world: &Fake, protocol: u8, (from, to): Ends, tcp: u8, origin: Origin) -> Result<Ends, Verdict> {
    let seen = packet(protocol, from, to, tcp);
    let mut state = super::Ends::default();
    match track(world, &settings(), &seen, origin, &mut state) {
        Verdict::BECOME => Ok(told(&state)),
        other => Err(other),
    }
}

/// A flow begins as `sent`, becomes `expect`, and its answer becomes the answer to `sent`.
fn check(world: &Fake, origin: Origin, back: Origin, sent: Ends, expect: Ends) {
    assert_eq!(send(world, UDP, sent, 0, origin), Ok(expect), "{sent:?}");
    assert_eq!(send(world, UDP, sent, 0, origin), Ok(expect), "{sent:?} again");
    assert_eq!(
        send(world, UDP, (expect.1, expect.0), 0, back),
        Ok((sent.1, sent.0)),
        "the answer to {sent:?}"
    );
}

fn world() -> Fake {
    let world = Fake::new();
    world.serve(1, (VIP, 80), Scope::Cluster, &[(PEER, 8080)], 0);
    world.serve(2, (VIP, 81), Scope::Cluster, &[(POD, 8081)], 0);
    world.serve(3, (VIP, 82), Scope::Cluster, &[(ELSEWHERE, 8082)], 0);
    world.serve(4, (VIP, 83), Scope::Cluster, &[(NODE, 8083)], 0);
    world.serve(5, (VIP, 84), Scope::Cluster, &[], 0);
    for scope in [Scope::Cluster, Scope::External] {
        world.serve(1, (ANY, NODE_PORT), scope, &[(PEER, 8080)], ServiceFlag::NODE_PORT);
        world.serve(3, (ANY, NODE_PORT + 1), scope, &[(ELSEWHERE, 8082)], ServiceFlag::NODE_PORT);
        world.serve(4, (ANY, NODE_PORT + 2), scope, &[(NODE, 8083)], ServiceFlag::NODE_PORT);
    }
    world
}

#[test]
fn flows_become_what_they_should() {
    use Origin::{Node, Pod, Uplink};
    let hidden = (NODE, 61_000);
    let (pod, client) = ((POD, 4000), (OUTSIDE, 5000));
    check(&world(), Pod, Pod, (pod, (PEER, 80)), (pod, (PEER, 80)));
    check(&world(), Pod, Pod, (pod, (VIP, 80)), (pod, (PEER, 8080)));
    check(&world(), Pod, Pod, (pod, (VIP, 81)), (hidden, (POD, 8081)));
    check(&world(), Pod, Uplink, (pod, (VIP, 82)), (pod, (ELSEWHERE, 8082)));
    check(&world(), Pod, Node, (pod, (VIP, 83)), (pod, (NODE, 8083)));
    check(&world(), Pod, Pod, (pod, (NODE, NODE_PORT)), (pod, (PEER, 8080)));
    check(&world(), Pod, Node, (pod, (NODE, 22)), (pod, (NODE, 22)));
    check(&world(), Pod, Uplink, (pod, (ELSEWHERE, 80)), (pod, (ELSEWHERE, 80)));
    check(&world(), Pod, Uplink, (pod, (OUTSIDE, 80)), (hidden, (OUTSIDE, 80)));
    check(&world(), Node, Pod, ((NODE, 4000), (PEER, 80)), ((NODE, 4000), (PEER, 80)));
    check(&world(), Node, Pod, ((NODE, 4000), (VIP, 80)), ((NODE, 4000), (PEER, 8080)));
    check(&world(), Node, Uplink, (([10, 244, 0, 1], 4000), (VIP, 82)), (hidden, (ELSEWHERE, 8082)));
    check(&world(), Uplink, Pod, (client, (NODE, NODE_PORT)), (client, (PEER, 8080)));
    check(&world(), Uplink, Uplink, (client, (NODE, NODE_PORT + 1)), (hidden, (ELSEWHERE, 8082)));
    check(&world(), Uplink, Node, (client, (NODE, NODE_PORT + 2)), (client, (NODE, 8083)));
    check(&world(), Uplink, Pod, (client, (POD, 80)), (client, (POD, 80)));
}

#[test]
fn what_is_nobodys_business_passes_and_what_leads_nowhere_is_dropped() {
    let check = |origin: Origin, protocol: u8, to: ([u8; 4], u16), expect: Verdict| {
        let world = world();
        assert_eq!(send(&world, protocol, ((POD, 4000), to), 0, origin), Err(expect), "{to:?}");
        assert!(world.flows.borrow().is_empty(), "{to:?}: nothing is remembered");
    };
    check(Origin::Uplink, TCP, (NODE, 22), Verdict::UNTOUCHED);
    check(Origin::Uplink, TCP, (OUTSIDE, 22), Verdict::UNTOUCHED);
    // A ClusterIP is not for the world.
    check(Origin::Uplink, TCP, (VIP, 80), Verdict::UNTOUCHED);
    check(Origin::Pod, TCP, (VIP, 84), Verdict::drop(Counter::NoBackend));
    check(Origin::Pod, TCP, (VIP, 7), Verdict::drop(Counter::UnknownService));
    check(Origin::Node, TCP, (VIP, 7), Verdict::drop(Counter::UnknownService));
    // GRE: to a pod as it is, to the outside not at all.
    check(Origin::Pod, 47, (PEER, 0), Verdict::UNTOUCHED);
    check(Origin::Pod, 47, (OUTSIDE, 0), Verdict::drop(Counter::Untranslatable));
}

#[test]
fn one_port_for_a_service_and_for_its_pod() {
    let world = world();
    let pod = (POD, 4000);
    let service = send(&world, TCP, (pod, (VIP, 80)), Tcp::SYN, Origin::Pod).unwrap();
    assert_eq!(service, (pod, (PEER, 8080)));
    let direct = send(&world, TCP, (pod, (PEER, 8080)), Tcp::SYN, Origin::Pod).unwrap();
    assert_eq!(direct, ((POD, 61_001), (PEER, 8080)), "another source port");
    let answer =
        |to: u16| send(&world, TCP, ((PEER, 8080), (POD, to)), Tcp::SYN | Tcp::ACK, Origin::Pod).unwrap();
    assert_eq!(answer(4000), ((VIP, 80), pod));
    assert_eq!(answer(61_001), ((PEER, 8080), pod));
}

#[test]
fn a_flow_that_is_over_gives_its_place() {
    let (to_service, to_pod) = (((POD, 4000), (VIP, 80)), ((POD, 4000), (PEER, 8080)));
    let answer = ((PEER, 8080), (POD, 4000));
    let check = |tcp: &[(Ends, u8)], expect: Ends, moved: bool| {
        let world = world();
        send(&world, TCP, to_service, Tcp::SYN, Origin::Pod).unwrap();
        for (ends, flags) in tcp {
            send(&world, TCP, *ends, *flags, Origin::Pod).unwrap();
        }
        assert_eq!(send(&world, TCP, to_pod, Tcp::SYN, Origin::Pod), Ok(expect), "{tcp:?}");
        let back = (expect.1, expect.0);
        assert_eq!(send(&world, TCP, back, Tcp::SYN | Tcp::ACK, Origin::Pod), Ok((to_pod.1, to_pod.0)));
        assert_eq!(world.counted.borrow().contains(&Counter::PortsMoved), moved, "{tcp:?}");
        // Two entries a flow, and none of the one that was over.
        assert_eq!(world.flows.borrow().len(), if moved { 4 } else { 2 }, "{tcp:?}");
    };
    let closing = Tcp::FIN | Tcp::ACK;
    let moved = ((POD, 61_001), (PEER, 8080));
    check(&[], moved, true);
    check(&[(answer, Tcp::ACK), (to_service, closing)], moved, true);
    check(&[(answer, closing), (to_service, closing)], to_pod, false);
    check(&[(answer, Tcp::RST)], to_pod, false);
    check(&[(to_service, Tcp::RST)], to_pod, false);
}

#[test]
fn nothing_else_is_forgotten_for_a_flow_that_is_over() {
    let (to_service, to_pod) = (((POD, 4000), (VIP, 80)), ((POD, 4000), (PEER, 8080)));
    let moved = ((POD, 61_001), (PEER, 8080));
    // (what comes, whether the service's half has come to lead elsewhere meanwhile, what it becomes)
    for (tcp, elsewhere, expect) in [
        (Tcp::SYN, false, to_pod),
        (Tcp::SYN, true, moved),
        (Tcp::ACK, false, moved),
        (Tcp::RST, false, moved),
        (Tcp::FIN | Tcp::ACK, false, moved),
    ] {
        let world = world();
        send(&world, TCP, to_service, Tcp::SYN, Origin::Pod).unwrap();
        send(&world, TCP, (to_pod.1, to_pod.0), Tcp::RST, Origin::Pod).unwrap();
        let service = packet(TCP, to_service.0, to_service.1, 0).flow;
        if elsewhere {
            let state = *world.flow(&service).unwrap();
            world.put_flow(&service, &FlowState { destination_port: 9_u16.to_be(), ..state });
        }
        assert_eq!(send(&world, TCP, to_pod, tcp, Origin::Pod), Ok(expect), "{tcp} {elsewhere}");
        assert_eq!(world.has(&service), expect == moved, "{tcp} {elsewhere}");
    }
}

#[test]
fn source_ports_are_searched_and_run_out() {
    let world = world();
    world.sockets.borrow_mut().push(61_000);
    // Popped from the end: the first begins at 61003, the second at 61000 (a socket of the node) and goes on by threes.
    *world.chances.borrow_mut() = std::vec![3 << 16 | 10, 3];
    let outside = |port: u16| send(&world, UDP, ((POD, port), (OUTSIDE, 80)), 0, Origin::Pod);
    assert_eq!(outside(1).unwrap().0, (NODE, 61_003));
    assert_eq!(outside(2).unwrap().0, (NODE, 61_006), "past one that is taken, too");
    *world.chances.borrow_mut() = (0..1000).map(|n| n % 10).collect();
    let given: Vec<_> = (3..=12).map(outside).collect();
    let found = given.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(found, 7, "ten ports, two in use, one a socket's: {given:?}");
    assert_eq!(outside(20), Err(Verdict::drop(Counter::PortsExhausted)));
    // Towards somebody else they are free.
    assert!(send(&world, UDP, ((POD, 1), ([198, 51, 100, 8], 80)), 0, Origin::Pod).is_ok());
}

#[test]
fn a_full_map_leaves_no_half_of_a_flow() {
    for room in [0, 1] {
        let world = world();
        *world.room.borrow_mut() = Some(room);
        let outcome = send(&world, UDP, ((POD, 1), (PEER, 80)), 0, Origin::Pod).unwrap_err();
        assert_eq!(outcome.counter(), Counter::FlowsFull as u32, "{room}");
        assert!(world.flows.borrow().is_empty(), "{room}");
    }
}

#[test]
fn a_connection_over_the_remains_of_another_is_new() {
    let backends = [(PEER, 8080), (PENDING, 9)];
    let syn = |world: &Fake, chance: u32| {
        *world.chances.borrow_mut() = std::vec![chance];
        send(world, TCP, ((POD, 1), (VIP, 80)), Tcp::SYN, Origin::Pod).unwrap().1
    };
    // (what the client sent, what the backend sent, backends afterwards, whether a SYN then goes elsewhere)
    for (client, server, after, expect) in [
        (Tcp::SYN, 0, &backends[..], false),
        (Tcp::SYN, 0, &backends[1..], true),
        (Tcp::ACK, Tcp::ACK, &backends[..], false),
        (Tcp::ACK, Tcp::ACK, &backends[1..], true),
        (Tcp::ACK | Tcp::FIN, Tcp::ACK, &backends[..], true),
        (Tcp::ACK, Tcp::ACK | Tcp::FIN, &backends[..], true),
        (Tcp::ACK, Tcp::RST, &backends[..], true),
        (Tcp::RST, Tcp::ACK, &backends[..], true),
    ] {
        let world = world();
        world.serve(1, (VIP, 80), Scope::Cluster, &backends, 0);
        assert_eq!(syn(&world, 0), backends[0]);
        send(&world, TCP, ((POD, 1), (VIP, 80)), client, Origin::Pod).unwrap();
        if server != 0 {
            send(&world, TCP, (backends[0], (POD, 1)), server, Origin::Pod).unwrap();
        }
        world.serve(1, (VIP, 80), Scope::Cluster, after, 0);
        let again = syn(&world, after.len() as u32 - 1);
        assert_eq!(again == backends[1], expect, "{client:x} {server:x}: {again:?}");
        assert_eq!(world.flows.borrow().len(), 2, "{client:x} {server:x}");
    }
}

#[test]
fn half_a_flow_is_made_whole() {
    let world = world();
    let sent = ((POD, 1), (VIP, 80));
    let first = send(&world, UDP, sent, 0, Origin::Pod).unwrap();
    let key = packet(UDP, sent.0, sent.1, 0).flow;
    world.remove_flow(&key);
    assert_eq!(send(&world, UDP, sent, 0, Origin::Pod), Ok(first), "the answers' entry was ours");
    assert!(world.has(&key));
}

#[test]
fn clients_stay_with_their_backend_for_a_while() {
    let world = world();
    let backends = [(PEER, 1), (PEER, 2), (PEER, 3)];
    world.serve(9, (VIP, 90), Scope::Cluster, &backends, ServiceFlag::AFFINITY);
    let mut port = 100;
    let mut ask = |chance: u32, client: [u8; 4]| {
        port += 1;
        *world.chances.borrow_mut() = std::vec![chance];
        send(&world, UDP, ((client, port), (VIP, 90)), 0, Origin::Pod).unwrap().1.1
    };
    assert_eq!(ask(1, POD), 2);
    assert_eq!(ask(2, POD), 2);
    assert_eq!(ask(2, PENDING), 3);
    *world.clock.borrow_mut() += 60;
    assert_eq!(ask(0, POD), 2, "the time is not over");
    *world.clock.borrow_mut() += 61;
    assert_eq!(ask(0, POD), 1, "the time is over");
    world.serve(9, (VIP, 90), Scope::Cluster, &[(PEER, 3)], ServiceFlag::AFFINITY);
    assert_eq!(ask(0, POD), 3, "the backend is none any more");
}

#[test]
fn what_the_node_sends_follows_known_flows_only() {
    let world = world();
    let client = (OUTSIDE, 5000);
    send(&world, UDP, (client, (NODE, NODE_PORT + 2)), 0, Origin::Uplink).unwrap();
    let mut state = super::Ends::default();
    let answer = packet(UDP, (NODE, 8083), client, 0);
    assert_eq!(follow(&world, &answer, &mut state), Verdict::BECOME);
    assert_eq!(told(&state), ((NODE, NODE_PORT + 2), client));
    let other = packet(UDP, (NODE, 22), client, 0);
    assert_eq!(follow(&world, &other, &mut state), Verdict::UNTOUCHED);
    assert_eq!(world.flows.borrow().len(), 2);
}

#[test]
fn an_echo_is_known_by_its_identifier() {
    let world = world();
    let request = ((POD, 77), (OUTSIDE, 0));
    let sent = send(&world, Protocol::ICMP, request, 0, Origin::Pod).unwrap();
    assert_eq!(sent, ((NODE, 61_000), (OUTSIDE, 0)));
    let back = send(&world, Protocol::ICMP, (sent.1, sent.0), 0, Origin::Uplink).unwrap();
    assert_eq!(back, ((OUTSIDE, 0), (POD, 77)));
}

#[test]
fn an_error_finds_the_flow_it_is_about() {
    let world = world();
    let sent = send(&world, UDP, ((POD, 1), (OUTSIDE, 9)), 0, Origin::Pod).unwrap();
    let about = packet(UDP, sent.0, sent.1, 0).flow;
    let answers = of_error(&world, &about).expect("the flow is known");
    let mut state = super::Ends::default();
    state.set(&answers);
    assert_eq!(told(&state), ((OUTSIDE, 9), (POD, 1)));
}

#[test]
fn sources_that_are_not_admitted_and_policies_that_admit_nobody() {
    let world = world();
    world.serve(6, (VIP, 86), Scope::External, &[(PEER, 8080)], ServiceFlag::SOURCES);
    world.serve(7, (VIP, 87), Scope::External, &[], ServiceFlag::SILENT);
    let sent = ((OUTSIDE, 5000), (VIP, 86));
    let refused = Verdict::drop(Counter::SourceRange);
    assert_eq!(send(&world, TCP, sent, Tcp::SYN, Origin::Uplink), Err(refused));
    assert!(!refused.is_refusal());
    let client = crate::world_tests::ip(OUTSIDE);
    world.sources.borrow_mut().push(abi::SourceKey { service: 6, client });
    assert_eq!(send(&world, TCP, sent, Tcp::SYN, Origin::Uplink), Ok((sent.0, (PEER, 8080))));
    let silent = Verdict::drop(Counter::NoLocalBackend);
    assert_eq!(send(&world, TCP, (sent.0, (VIP, 87)), Tcp::SYN, Origin::Uplink), Err(silent));
    assert!(!silent.is_refusal() && Verdict::drop(Counter::NoBackend).is_refusal());
}

#[test]
fn a_table_decides_by_the_flow_alone() {
    let chosen = |port: u16| {
        let world = world();
        let backends: Vec<_> = (1..=4).map(|last| (PEER, 8000 + last)).collect();
        world.serve(8, (VIP, 88), Scope::External, &backends, ServiceFlag::CONSISTENT);
        *world.table.borrow_mut() = std::vec![3, 1, 0, 2, 1, 3, 2];
        *world.chances.borrow_mut() = std::vec![1, 2, 3];
        send(&world, TCP, ((OUTSIDE, port), (VIP, 88)), Tcp::SYN, Origin::Uplink).unwrap().1.1
    };
    let all: Vec<u16> = (5000..5040).map(chosen).collect();
    assert_eq!(all, (5000..5040).map(chosen).collect::<Vec<_>>(), "the same again");
    for port in 8001..=8004 {
        assert!(all.contains(&port), "{port} is never chosen: {all:?}");
    }
}

#[test]
fn host_ports_lead_to_their_pod() {
    let mut settings = settings();
    settings.flags |= abi::SettingsFlag::HOST_PORTS;
    let world = world();
    let key = |address| abi::ServiceKey {
        address: crate::world_tests::ip(address),
        port: 8443_u16.to_be(),
        protocol: TCP,
        scope: 0,
    };
    world.map_host_port(key(ANY), (PEER, 443));
    let become_of = |to: ([u8; 4], u16), origin| {
        let mut ends = super::Ends::default();
        let seen = packet(TCP, (OUTSIDE, 5000), to, Tcp::SYN);
        let verdict = track(&world, &settings, &seen, origin, &mut ends);
        (verdict == Verdict::BECOME).then(|| told(&ends).1)
    };
    assert_eq!(become_of((NODE, 8443), Origin::Uplink), Some((PEER, 443)));
    assert_eq!(become_of((NODE, 8444), Origin::Uplink), None);
    assert_eq!(become_of((OUTSIDE, 8443), Origin::Uplink), None, "no address of the node");
}

#[test]
fn only_what_is_settled_is_sent_early() {
    let world = world();
    let early = |protocol, (from, to): Ends, tcp, settings: &Settings| {
        let mut ends = super::Ends::default();
        settled(&world, settings, &packet(protocol, from, to, tcp), &mut ends).then(|| told(&ends))
    };
    let plain = settings();
    let sent = ((OUTSIDE, 5000), (NODE, NODE_PORT + 1));
    assert_eq!(early(TCP, sent, Tcp::ACK, &plain), None, "nobody knows it");
    let expect = send(&world, TCP, sent, Tcp::SYN, Origin::Uplink).unwrap();
    assert_eq!(expect.1, (ELSEWHERE, 8082));
    let (answer, answered) = ((expect.1, expect.0), (sent.1, sent.0));
    let changed = Settings { policy_epoch: plain.policy_epoch + 1, ..plain };
    let watched = Settings { flags: plain.flags | SettingsFlag::REPORT, ..plain };
    let check = |ends, tcp, settings, expect| {
        assert_eq!(early(TCP, ends, tcp, settings), expect, "{ends:?} {tcp:#x}");
    };
    check(sent, Tcp::SYN, &plain, None);
    check(sent, Tcp::ACK, &changed, None);
    check(sent, Tcp::ACK, &watched, None);
    check(sent, Tcp::ACK, &plain, Some(expect));
    check(sent, Tcp::ACK, &watched, Some(expect));
    check(answer, Tcp::SYN | Tcp::ACK, &plain, None);
    check(answer, Tcp::ACK, &plain, Some(answered));
    check(sent, Tcp::ACK | Tcp::FIN, &plain, Some(expect));
    assert_eq!(early(UDP, sent, 0, &plain), None, "another flow");
    // Not of a Service.
    let own = ((POD, 5000), (OUTSIDE, 80));
    send(&world, TCP, own, Tcp::SYN, Origin::Pod).unwrap();
    check(own, Tcp::ACK, &plain, None);
}
