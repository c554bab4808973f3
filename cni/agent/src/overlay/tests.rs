//! Nodes near and far, and what the tunnel needs for them.

use super::*;

fn node(name: &str, range: &str, address: &str) -> Node {
    Node {
        name: name.into(),
        ranges: vec![range.parse().unwrap()],
        addresses: vec![address.parse().unwrap()],
    }
}

fn uplink() -> Uplink {
    Uplink { index: 2, name: "eth0".into(), mtu: 1500, addresses: vec!["192.0.2.1/24".parse().unwrap()] }
}

fn desired(mode: Mode, others: &[Node]) -> Option<Desired> {
    let own = node("a", "10.244.0.0/22", "192.0.2.1");
    Desired::new(&Names::of("").unwrap(), mode, &own, others, Some(&uplink()), None)
}

fn near() -> Node {
    node("b", "10.244.4.0/22", "192.0.2.2")
}

fn far() -> Node {
    node("c", "10.244.8.0/22", "198.51.100.3")
}

/// What the kernel has once all is done.
fn done(desired: &Desired) -> Observed {
    let link = Link {
        index: 9,
        name: desired.name.clone(),
        kind: Some("vxlan".into()),
        alias: Some(desired.mark()),
        mac: Some(desired.mac),
        mtu: desired.mtu,
        up: true,
        ..Link::default()
    };
    Observed {
        neighbours: desired.neighbours().map(|(hop, mac)| Neighbour::permanent(9, hop, mac)).collect(),
        forwards: desired.forwards().map(|(mac, to)| Forward { link: 9, mac, to }).collect(),
        link: Some(link),
    }
}

fn told(steps: &[Step]) -> Vec<String> {
    steps.iter().map(ToString::to_string).collect()
}

#[test]
fn only_far_nodes_need_it_unless_told_otherwise() {
    assert_eq!(desired(Mode::Auto, &[near()]), None);
    assert_eq!(desired(Mode::Never, &[far()]), None);
    let auto = desired(Mode::Auto, &[near(), far()]).unwrap();
    assert_eq!((auto.peers.len(), auto.mtu, auto.underlay), (1, 1450, 2));
    assert_eq!(auto.peers[0].hops, ["10.244.8.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(auto.peers[0].mac, Mac([0x0a, 0x6b, 198, 51, 100, 3]));
    assert_eq!(desired(Mode::Always, &[near(), far()]).unwrap().peers.len(), 2);
    assert!(desired(Mode::Always, &[]).is_some(), "the first node of many");
    let mute = Node { addresses: vec![], ..far() };
    assert_eq!(desired(Mode::Auto, &[mute]), None, "nobody knows where it is");
}

#[test]
fn nothing_missing_no_step_and_everything_else_its_own() {
    let wanted = desired(Mode::Auto, &[far()]).unwrap();
    let fresh = plan(Some(&wanted), &Observed::default(), true);
    assert_eq!(told(&fresh), ["the tunnel", "the tunnel, up", "in the tunnel: 198.51.100.3"]);
    assert_eq!(plan(Some(&wanted), &done(&wanted), true), []);

    let mut other = done(&wanted);
    other.link.as_mut().unwrap().alias = Some("somebody else's".into());
    assert_eq!(told(&plan(Some(&wanted), &other, true))[..2], ["no tunnel (link 9)", "the tunnel"]);

    let both = desired(Mode::Auto, &[far(), node("d", "10.244.12.0/22", "198.51.100.4")]).unwrap();
    assert_eq!(told(&plan(Some(&both), &done(&wanted), true)), ["in the tunnel: 198.51.100.4"]);
    assert_eq!(told(&plan(Some(&wanted), &done(&both), true)), ["no more in the tunnel: 198.51.100.4"]);
    assert_eq!(plan(Some(&wanted), &done(&both), false), [], "nobody knows yet who is gone");
    assert_eq!(told(&plan(None, &done(&wanted), true)), ["no tunnel (link 9)"]);
    assert_eq!(plan(None, &done(&wanted), false), []);
}

#[test]
fn a_node_that_moves_is_found_anew() {
    let wanted = desired(Mode::Auto, &[far()]).unwrap();
    let moved = desired(Mode::Auto, &[node("c", "10.244.8.0/22", "203.0.113.3")]).unwrap();
    let steps = plan(Some(&moved), &done(&wanted), true);
    assert_eq!(told(&steps), ["in the tunnel: 203.0.113.3", "no more in the tunnel: 198.51.100.3"]);
}

#[test]
fn ends_have_addresses_of_their_own() {
    let macs: Vec<Mac> = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]
        .iter()
        .map(|text| mac_of(text.parse().unwrap()))
        .collect();
    for (at, mac) in macs.iter().enumerate() {
        assert!(!macs[..at].contains(mac));
        assert_eq!(mac.0[0] & 3, 2, "{mac} is local and of one machine");
    }
}
