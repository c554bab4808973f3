//! A frame in; verdict, frame and maps out.

use std::net::{Ipv4Addr, SocketAddr};

use keelson_datapath::{Frontend, Scope, Service, Traffic, Transport};

use super::frame::{
    Bench, MAC_B, NODE, OK, OUTSIDE, POD_A, POD_B, REDIRECT, SHOT, TCP, UDP, VIP, ends, frame,
};

const SYN: u8 = 2;
const ACK: u8 = 16;
const NODE_PORT: u16 = 30_080;

fn serve(bench: &Bench) {
    let set = bench.datapath.backends().unwrap().install(&[SocketAddr::new(POD_B.into(), 8080)]).unwrap();
    let service = Service { number: 1, set: Some(set), affinity_seconds: None, traffic: Traffic::default() };
    let mut services = bench.datapath.services().unwrap();
    for transport in [Transport::Tcp, Transport::Udp] {
        let vip = Frontend { address: VIP.into(), port: 80, transport, scope: Scope::Cluster };
        services.put(&vip, &service).unwrap();
        let node = Frontend {
            address: Ipv4Addr::UNSPECIFIED.into(),
            port: NODE_PORT,
            transport,
            scope: Scope::External,
        };
        services.put(&node, &service).unwrap();
    }
    assert_eq!(services.observed().unwrap().len(), 4);
    assert_eq!(bench.datapath.backends().unwrap().observed().unwrap()[&set].len(), 1);
}

#[test]
fn frames_become_what_they_should() {
    if !harness::root_or_skip("frames_become_what_they_should") {
        return;
    }
    let guard = harness::host::exclusive("frames_become_what_they_should");
    let bench = Bench::make(guard.tag());
    serve(&bench);
    let (pod, up) = (("from_pod", bench.link_a), ("from_uplink", bench.uplink));
    let client = (OUTSIDE, 5000);
    // (program and link, protocol, sent, verdict, ends afterwards, flows in the map afterwards)
    let flows = |expect: usize| {
        let found = bench.datapath.conntrack().unwrap().observed().unwrap();
        assert_eq!(found.len(), expect * 2, "{found:?}");
    };
    let check = |by: (&'static str, u32), protocol: u8, flags: u8, from, to, verdict: u32, expect| {
        let (said, out) = bench.run(by.0, by.1, &frame(protocol, from, to, flags));
        assert_eq!(said, verdict, "{} {from:?} to {to:?}", by.0);
        assert_eq!(ends(&out), expect, "{} {from:?} to {to:?}", by.0);
        out
    };
    for protocol in [TCP, UDP] {
        let before = bench.datapath.conntrack().unwrap().observed().unwrap().len() / 2;
        let a = (POD_A, 4000);
        let out = check(pod, protocol, SYN, a, (VIP, 80), REDIRECT, (a, (POD_B, 8080)));
        assert_eq!(out[..6], MAC_B, "addressed to the pod");
        flows(before + 1);
        check(pod, protocol, ACK, a, (VIP, 80), REDIRECT, (a, (POD_B, 8080)));
        flows(before + 1);
        check(pod, protocol, SYN, (POD_A, 4001), (POD_B, 80), REDIRECT, ((POD_A, 4001), (POD_B, 80)));
        check(up, protocol, SYN, client, (NODE, NODE_PORT), REDIRECT, (client, (POD_B, 8080)));
        flows(before + 3);
        // Nobody's business, and nobody's service.
        check(up, protocol, SYN, client, (NODE, 22), OK, (client, (NODE, 22)));
        refused(&bench, protocol, a, (VIP, 7));
        check(pod, protocol, SYN, (POD_B, 1), (VIP, 80), SHOT, ((POD_B, 1), (VIP, 80)));
        flows(before + 3);
        masquerade(&bench, protocol);
    }
    bench.finish();
    guard.finish();
}

/// Back where it came from: a reset, or an ICMP error about it.
fn refused(bench: &Bench, protocol: u8, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) {
    let sent = frame(protocol, from, to, SYN);
    let (said, out) = bench.run("from_pod", bench.link_a, &sent);
    assert_eq!((said, &out[..6], &out[6..12]), (REDIRECT, &sent[6..12], &sent[..6]));
    if protocol == TCP {
        assert_eq!(ends(&out), (to, from));
        // RST and ACK, of the byte after the SYN.
        assert_eq!((out[47], &out[42..46]), (0x14, &[0, 0, 0, 2][..]));
    } else {
        assert_eq!((&out[26..30], &out[30..34]), (&to.0.octets()[..], &from.0.octets()[..]));
        assert_eq!((&out[34..36], &out[42..70]), (&[3, 3][..], &sent[14..42]), "about what was sent");
        assert_eq!((super::frame::checksum(&out[14..34], 0), super::frame::checksum(&out[34..], 0)), (0, 0));
    }
}

/// Out under the node's name, the answer back to the pod.
fn masquerade(bench: &Bench, protocol: u8) {
    let sent = frame(protocol, (POD_A, 4002), (OUTSIDE, 80), SYN);
    let (said, out) = bench.run("from_pod", bench.link_a, &sent);
    let ((address, port), to) = ends(&out);
    assert_eq!((said, address, to), (REDIRECT, NODE, (OUTSIDE, 80)));
    assert!((61_000..=65_535).contains(&port), "{port}");
    let answer = frame(protocol, (OUTSIDE, 80), (NODE, port), SYN | ACK);
    let (said, out) = bench.run("from_uplink", bench.uplink, &answer);
    assert_eq!((said, ends(&out)), (REDIRECT, ((OUTSIDE, 80), (POD_A, 4002))));
}

#[test]
fn absent_and_zero_checksums_stay_what_they_are() {
    if !harness::root_or_skip("absent_and_zero_checksums_stay_what_they_are") {
        return;
    }
    let guard = harness::host::exclusive("absent_and_zero_checksums_stay_what_they_are");
    let bench = Bench::make(guard.tag());
    serve(&bench);
    let mut sent = frame(UDP, (POD_A, 4000), (VIP, 80), 0);
    sent[40..42].copy_from_slice(&[0, 0]);
    let (said, out) = bench.run("from_pod", bench.link_a, &sent);
    assert_eq!((said, &out[40..42]), (REDIRECT, &[0, 0][..]), "UDP without a checksum");
    bench.finish();
    guard.finish();
}

#[test]
fn odd_frames_do_no_harm() {
    if !harness::root_or_skip("odd_frames_do_no_harm") {
        return;
    }
    let guard = harness::host::exclusive("odd_frames_do_no_harm");
    let bench = Bench::make(guard.tag());
    let whole = frame(TCP, (POD_A, 1), (POD_B, 2), SYN);
    let check = |what: &str, change: &dyn Fn(&mut Vec<u8>), pod: u32, uplink: u32| {
        let mut odd = whole.clone();
        change(&mut odd);
        assert_eq!(bench.run("from_pod", bench.link_a, &odd).0, pod, "{what}, from a pod");
        assert_eq!(bench.run("from_uplink", bench.uplink, &odd).0, uplink, "{what}, from outside");
    };
    check("ARP", &|frame| frame[12..14].copy_from_slice(&[8, 6]), OK, OK);
    check("too short", &|frame| frame.truncate(40), SHOT, OK);
    check("version 5", &|frame| frame[14] = 0x55, SHOT, OK);
    check("a header of 16 bytes", &|frame| frame[14] = 0x44, SHOT, OK);
    check("a header beyond the end", &|frame| frame[14] = 0x4f, SHOT, OK);
    check("a later fragment alone", &|frame| frame[20..22].copy_from_slice(&[0, 9]), SHOT, OK);
    check("to many", &|frame| frame[30..34].copy_from_slice(&[224, 0, 0, 5]), OK, OK);
    bench.finish();
    guard.finish();
}
