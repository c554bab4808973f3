//! The library against the kernel, with `ip` as the second opinion.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd as _;

use harness::netns::TestHost;
use keelson_netlink::{
    Address, Batch, Event, Events, Forward, Group, Kind, LinkChange, Mac, Neighbour, NetlinkError, NewLink,
    Peer, Route, Socket, Vxlan,
};

const HOST_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const POD_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);

fn veth<'a>(name: &'a str, peer: Peer<'a>) -> NewLink<'a> {
    let kind = Kind::Veth(peer);
    NewLink { name, mac: Some(HOST_MAC), mtu: Some(1400), up: true, kind }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn socket_in(host: &TestHost) -> Socket {
    Socket::open_in(File::open(host.path()).unwrap().as_fd()).unwrap()
}

#[test]
fn a_cable_between_two_namespaces_carries_both_families() {
    let test = "netlink: a_cable_between_two_namespaces";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let (host, pod) = (TestHost::create(guard.tag(), "host"), TestHost::create(guard.tag(), "pod"));
    let pod_namespace = File::open(pod.path()).unwrap();
    let (mut on_host, mut in_pod) = (socket_in(&host), socket_in(&pod));

    let peer =
        Peer { name: "eth0", mac: Some(POD_MAC), mtu: Some(1400), namespace: Some(pod_namespace.as_fd()) };
    let mut make = Batch::new();
    make.add_link(&veth("kn1", peer));
    on_host.run(&make).unwrap();
    let outside = on_host.link_named("kn1").unwrap().unwrap();
    let inside = in_pod.link_named("eth0").unwrap().unwrap();
    assert_eq!((outside.mac, outside.mtu, outside.up), (Some(HOST_MAC), 1400, true));
    assert_eq!((inside.mac, inside.mtu, inside.up), (Some(POD_MAC), 1400, false));
    assert_eq!(outside.kind.as_deref(), Some("veth"));
    assert_eq!(outside.peer_index, Some(inside.index));
    assert!(outside.peer_namespace.is_some());
    assert_eq!(on_host.link_named("nothing").unwrap(), None);

    let mut batch = Batch::new();
    batch
        .change_link(outside.index, &LinkChange { alias: Some("a test"), ..LinkChange::default() })
        .add_address(&Address::new(outside.index, "198.51.100.1/32".parse().unwrap()))
        .add_address(&Address::new(outside.index, "2001:db8::1/128".parse().unwrap()))
        .set_neighbour(&Neighbour::permanent(outside.index, ip("10.1.0.5"), POD_MAC))
        .set_neighbour(&Neighbour::permanent(outside.index, ip("fd00::5"), POD_MAC))
        .add_route(&Route::new("10.1.0.5/32".parse().unwrap(), None, outside.index))
        .add_route(&Route::new("fd00::5/128".parse().unwrap(), None, outside.index));
    on_host.run(&batch).unwrap();

    let mut batch = Batch::new();
    let onlink = |gateway: &str, to: &str| Route {
        onlink: true,
        mtu: Some(1350),
        ..Route::new(to.parse().unwrap(), Some(ip(gateway)), inside.index)
    };
    batch
        .change_link(inside.index, &LinkChange { up: Some(true), ..LinkChange::default() })
        .add_address(&Address::new(inside.index, "10.1.0.5/32".parse().unwrap()))
        .add_address(&Address::new(inside.index, "fd00::5/128".parse().unwrap()))
        .set_neighbour(&Neighbour::permanent(inside.index, ip("169.254.1.1"), HOST_MAC))
        .set_neighbour(&Neighbour::permanent(inside.index, ip("fe80::1"), HOST_MAC))
        .add_route(&onlink("169.254.1.1", "0.0.0.0/0"))
        .add_route(&onlink("fe80::1", "::/0"));
    in_pod.run(&batch).unwrap();

    assert!(host.reaches("10.1.0.5") && host.reaches("fd00::5"), "{}", host.ip(&["-6", "addr"]));
    assert!(pod.reaches("198.51.100.1") && pod.reaches("2001:db8::1"));
    assert!(pod.ip(&["route"]).contains("default via 169.254.1.1 dev eth0 proto static onlink mtu 1350"));
    assert!(in_pod.routes().unwrap().contains(&Route { metric: None, ..onlink("169.254.1.1", "0.0.0.0/0") }));
    let addresses = in_pod.addresses().unwrap();
    assert!(addresses.iter().any(|a| a.address.to_string() == "fd00::5/128" && a.nodad && !a.tentative));
    let neighbours = on_host.neighbours().unwrap();
    assert!(neighbours.contains(&Neighbour::permanent(outside.index, ip("fd00::5"), POD_MAC)));

    let outside = on_host.link_at(outside.index).unwrap().unwrap();
    assert_eq!(outside.alias.as_deref(), Some("a test"));
    let mut remove = Batch::new();
    remove.delete_link(outside.index);
    on_host.run(&remove).unwrap();
    assert_eq!(in_pod.link_named("eth0").unwrap(), None);
    drop((on_host, in_pod, pod_namespace, host, pod));
    guard.finish();
}

#[test]
fn every_refusal_says_what_was_wanted() {
    let test = "netlink: every_refusal_says_what_was_wanted";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let host = TestHost::create(guard.tag(), "host");
    let mut socket = socket_in(&host);
    let mut batch = Batch::new();
    batch
        .add_address(&Address::new(1, "192.0.2.1/32".parse().unwrap()))
        .add_route(&Route::new("192.0.2.0/24".parse().unwrap(), Some(ip("203.0.113.1")), 1))
        .delete_link(4242)
        .add_address(&Address::new(1, "192.0.2.2/32".parse().unwrap()));
    let Err(NetlinkError::Refused(refused)) = socket.run(&batch) else { panic!("two of these are wrong") };
    let positions: Vec<usize> = refused.iter().map(|error| error.index).collect();
    assert_eq!(positions, [1, 2]);
    assert_eq!(refused[1].errno.raw_os_error(), Some(libc::ENODEV));
    assert!(
        refused[0].to_string().contains("adding route to 192.0.2.0/24 via 203.0.113.1"),
        "{}",
        refused[0]
    );
    // The kernel went on.
    assert!(host.ip(&["addr", "show", "lo"]).contains("192.0.2.2"));
    // A batch past one send: every request gets its answer.
    let mut many = Batch::new();
    for k in 0..200u8 {
        many.add_address(&Address::new(1, format!("10.9.0.{k}/32").parse().unwrap()));
    }
    socket.run(&many).unwrap();
    assert_eq!(
        socket.addresses().unwrap().iter().filter(|a| a.address.to_string().starts_with("10.9.")).count(),
        200
    );
    drop((socket, host));
    guard.finish();
}

#[test]
fn changes_are_told() {
    let test = "netlink: changes_are_told";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let host = TestHost::create(guard.tag(), "host");
    let mut socket = socket_in(&host);
    let mut events = host.inside(|| Events::open(&[Group::Links, Group::Addresses]).unwrap());
    let mut batch = Batch::new();
    let peer = Peer { name: "b", mac: None, mtu: None, namespace: None };
    batch.add_link(&NewLink { up: false, ..veth("a", peer) });
    socket.run(&batch).unwrap();
    let index = socket.link_named("a").unwrap().unwrap().index;
    let mut batch = Batch::new();
    batch
        .change_link(
            index,
            &LinkChange { name: Some("renamed"), mtu: Some(1280), up: Some(true), ..LinkChange::default() },
        )
        .add_address(&Address::new(index, "192.0.2.9/24".parse().unwrap()))
        .delete_link(index);
    socket.run(&batch).unwrap();
    let (mut renamed, mut address, mut link_local) = (false, false, false);
    loop {
        let told = events.receive().unwrap();
        renamed |=
            told.iter().any(|e| matches!(e, Event::Link(l) if l.name == "renamed" && l.mtu == 1280 && l.up));
        link_local |= told
            .iter()
            .any(|e| matches!(e, Event::Address(a) if a.link == index && a.address.addr().is_ipv6()));
        address |=
            told.iter().any(|e| matches!(e, Event::Address(a) if a.address.to_string() == "192.0.2.9/24"));
        if told.iter().any(|e| matches!(e, Event::LinkGone(l) if l.name == "renamed")) {
            break;
        }
    }
    assert!(renamed && address && !link_local, "{renamed} {address} {link_local}");
    drop((events, socket, host));
    guard.finish();
}

#[test]
fn a_tunnel_knows_its_machines() {
    let test = "netlink: a_tunnel_knows_its_machines";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let host = TestHost::create(guard.tag(), "host");
    let mut socket = socket_in(&host);
    let tunnel = Vxlan { id: 7, port: 8472, local: ip("127.0.0.1"), underlay: 1 };
    let mut make = Batch::new();
    let kind = Kind::Vxlan(tunnel);
    make.add_link(&NewLink { name: "vx0", mac: Some(HOST_MAC), mtu: Some(1450), up: true, kind });
    socket.run(&make).unwrap();
    let link = socket.link_named("vx0").unwrap().unwrap();
    assert_eq!((link.kind.as_deref(), link.mac, link.mtu), (Some("vxlan"), Some(HOST_MAC), 1450));
    let shown = host.ip(&["-d", "link", "show", "vx0"]);
    for part in ["vxlan id 7 ", "local 127.0.0.1", "dev lo", "dstport 8472", "nolearning"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let entry = |to: &str| Forward { link: link.index, mac: POD_MAC, to: ip(to) };
    let mut batch = Batch::new();
    batch.set_forward(&entry("192.0.2.1")).set_forward(&entry("192.0.2.2"));
    socket.run(&batch).unwrap();
    assert_eq!(socket.forwards().unwrap(), [entry("192.0.2.2")], "the second took the place of the first");
    assert!(host.must("bridge", &["fdb", "show", "dev", "vx0"]).contains("dst 192.0.2.2"));
    let mut batch = Batch::new();
    batch.delete_forward(&entry("192.0.2.2"));
    socket.run(&batch).unwrap();
    assert_eq!(socket.forwards().unwrap(), []);
    drop(host);
    guard.finish();
}
