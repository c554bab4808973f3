//! Plans as tables.

use super::*;

fn node(name: &str, ranges: &[&str], addresses: &[&str]) -> Node {
    Node {
        name: name.to_owned(),
        ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
    }
}

fn uplink() -> Uplink {
    Uplink {
        index: 2,
        name: "eth0".to_owned(),
        mtu: 1500,
        addresses: vec!["192.0.2.1/24".parse().unwrap(), "2001:db8::1/64".parse().unwrap()],
    }
}

fn desired(others: &[Node]) -> Desired {
    through(others, None)
}

fn through(others: &[Node], tunnel: Option<Tunnel>) -> Desired {
    let own = node("a", &["10.244.0.0/22"], &["192.0.2.1"]);
    let ranges: Vec<IpNet> =
        ["10.244.0.0/16", "10.96.0.0/16", "fd00:10:96::/112"].map(|range| range.parse().unwrap()).into();
    Desired::new(&Names::of("").unwrap(), &own, &ranges, others, Some(&uplink()), tunnel)
}

fn shown(desired: &Desired, observed: &Observed) -> Vec<String> {
    plan(desired, observed).iter().map(ToString::to_string).collect()
}

/// As a complete plan would have left it.
fn complete(desired: &Desired) -> Observed {
    let link = |index, name: &str| Some(Link { index, name: name.to_owned(), up: true, ..Link::default() });
    let range = |to: &IpNet| Route {
        protocol: PROTOCOL,
        source: Some(desired.addresses[0]),
        ..Route::new(*to, Some(NEXT_HOP_IPV4.into()), 8)
    };
    let node = |way: &Way| Route {
        protocol: PROTOCOL,
        source: way.source,
        ..Route::new(way.to, Some(way.via), way.link)
    };
    Observed {
        gateway: link(8, "keelson0"),
        peer: link(7, "keelson1"),
        addresses: vec![Address::new(8, "10.244.0.1/32".parse().unwrap())],
        neighbours: vec![Neighbour::permanent(8, NEXT_HOP_IPV4.into(), PEER_MAC)],
        routes: desired.ranges.iter().map(range).chain(desired.nodes.iter().map(node)).collect(),
        sysctls: Vec::new(),
        ipv6: true,
    }
}

#[test]
fn a_fresh_node_needs_everything_in_order() {
    let desired = desired(&[node("b", &["10.244.4.0/22"], &["192.0.2.2"])]);
    let observed = Observed { sysctls: desired.sysctls(true), ipv6: true, ..Observed::default() };
    assert_eq!(
        shown(&desired, &observed),
        [
            "the gateway pair",
            "/proc/sys/net/ipv4/conf/keelson0/rp_filter=2",
            "/proc/sys/net/ipv6/conf/keelson0/accept_ra=0",
            "/proc/sys/net/ipv6/conf/keelson1/accept_ra=0",
            "on the gateway's peer: no link-local address, link up",
            "on the gateway: no link-local address, link up, address 10.244.0.1/32, \
             neighbour 169.254.1.1 at 0a:6b:65:65:6c:01, route to 10.244.0.0/16 from 10.244.0.1, \
             route to 10.96.0.0/16 from 10.244.0.1",
            "route to 10.244.4.0/22 via 192.0.2.2",
        ]
    );
}

#[test]
fn only_what_differs_is_planned() {
    let wanted = desired(&[node("b", &["10.244.4.0/22"], &["192.0.2.2"])]);
    let check = |damage: &dyn Fn(&mut Observed), expect: &str| {
        let mut observed = complete(&wanted);
        damage(&mut observed);
        assert_eq!(shown(&wanted, &observed).join("; "), expect);
    };
    check(&|_| {}, "");
    check(&|o| o.gateway.as_mut().unwrap().up = false, "on the gateway: link up");
    check(&|o| o.routes[0].source = None, "on the gateway: route to 10.244.0.0/16 from 10.244.0.1");
    check(
        &|o| o.routes[2].gateway = Some("192.0.2.9".parse().unwrap()),
        "route to 10.244.4.0/22 via 192.0.2.2",
    );
    check(
        &|o| o.addresses.push(Address::new(8, "10.244.8.1/32".parse().unwrap())),
        "no address 10.244.8.1/32",
    );
    let gone = Route { protocol: PROTOCOL, ..Route::new("10.244.8.0/22".parse().unwrap(), None, 2) };
    check(&|o| o.routes.push(gone.clone()), "no route to 10.244.8.0/22 on link 2");
}

#[test]
fn nodes_behind_a_router_are_named() {
    let far = node("far", &["10.244.8.0/22"], &["203.0.113.1"]);
    let nameless = node("new", &["10.244.12.0/22"], &[]);
    let wanted = desired(&[far.clone(), nameless, node("empty", &[], &["192.0.2.3"])]);
    assert_eq!(wanted.unreachable, ["far", "new"]);
    assert_eq!(wanted.nodes, []);
    let alone = Desired::new(
        &Names::of("").unwrap(),
        &far,
        &[],
        &[node("b", &["10.0.0.0/24"], &["192.0.2.2"])],
        None,
        None,
    );
    assert_eq!(alone.unreachable, ["b"]);
}

#[test]
fn the_tunnel_is_for_those_whom_nothing_else_reaches() {
    let others = [
        node("near", &["10.244.4.0/22"], &["192.0.2.2"]),
        node("far", &["10.244.8.0/22", "fd00::/64"], &["203.0.113.1"]),
    ];
    let shown = |tunnel| -> Vec<String> {
        let desired = through(&others, tunnel);
        let observed = Observed { routes: vec![], ..complete(&through(&[], None)) };
        let steps = plan(&desired, &observed);
        steps
            .iter()
            .filter(|step| matches!(step, Step::RouteToNode { .. }))
            .map(ToString::to_string)
            .collect()
    };
    let far = ["route to 10.244.8.0/22 through the tunnel", "route to fd00::/64 through the tunnel"];
    assert_eq!(shown(None), ["route to 10.244.4.0/22 via 192.0.2.2"]);
    assert_eq!(
        shown(Some(Tunnel { index: 9, always: false })),
        ["route to 10.244.4.0/22 via 192.0.2.2", far[0], far[1]]
    );
    assert_eq!(
        shown(Some(Tunnel { index: 9, always: true })),
        ["route to 10.244.4.0/22 through the tunnel", far[0], far[1]]
    );
    let wanted = through(&others, Some(Tunnel { index: 9, always: false }));
    assert_eq!(plan(&wanted, &complete(&wanted)), []);
    assert_eq!(wanted.nodes[1].source, Some("10.244.0.1".parse().unwrap()), "answers come back through it");
}

#[test]
fn a_range_needs_an_address_of_its_family() {
    assert_eq!(desired(&[]).ranges.len(), 2, "no IPv6 without an IPv6 range of the node");
    assert_eq!(gateway_address("fd00:10:244:1::/64".parse().unwrap()).to_string(), "fd00:10:244:1::1");
    for (range, hop) in [
        ("10.244.4.0/22", "10.244.4.1"),
        ("fd00:10:244:1::/64", "fe80::fd00:10:244:0"),
        ("fd00:10:244:2::/64", "fe80::fd00:10:244:3"),
        ("fd00:10:244:0:1::/80", "fe80::fd01:10:244:1"),
    ] {
        assert_eq!(tunnel_hop(range.parse().unwrap()).to_string(), hop, "{range}");
    }
}
