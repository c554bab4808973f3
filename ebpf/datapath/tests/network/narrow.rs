//! A way that takes less than what comes to the node: whoever sends more is told by the node how much it takes.
//!
//! ```text
//! outside ──┐
//! pod a ────┴─ node ── 1300 bytes at most ── elsewhere: a pod's addresses, and others
//! ```
//!
//! The link is narrow on the node's side only: what the node sends all the same arrives, as it does through a tunnel that cuts
//! its own datagrams.

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use harness::netns::TestHost;
use keelson_datapath::{Counter, Frontend, Node as Elsewhere, Packet, Scope, Transport, Verdict};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};

use super::mtu::{connection, ip, megabyte};
use super::node::{NODE_PORT, Node, PATIENCE, VIP};

const MTU: u32 = 1_300;
/// A datagram that fits the other links.
const LONG: usize = 1_400;
/// One that fits none.
const LONGER: usize = 4_000;
const PORT: u16 = 8_080;
/// More of the kernel's words about an error than there are.
const WORDS: usize = 512;

/// What differs.
struct Family {
    name: &'static str,
    any: IpAddr,
    node: IpAddr,
    vip: IpAddr,
    /// A pod's address on the other side, and one that is no pod's.
    pod: IpAddr,
    other: IpAddr,
}

fn families() -> [Family; 2] {
    [
        Family {
            name: "IPv4",
            any: Ipv4Addr::UNSPECIFIED.into(),
            node: ip("192.0.2.1"),
            vip: VIP.into(),
            pod: ip("10.244.8.9"),
            other: ip("203.0.113.9"),
        },
        Family {
            name: "IPv6",
            any: Ipv6Addr::UNSPECIFIED.into(),
            node: ip("2001:db8::1"),
            vip: ip("fd00:10:96::10"),
            pod: ip("fd00:10:244:8::9"),
            other: ip("2001:db8:9::9"),
        },
    ]
}

/// The machine behind the narrow link.
fn beyond(node: &Node, tag: &str) -> TestHost {
    let far = TestHost::create(tag, "far");
    // Who still waits for its own address asks for nobody else's.
    for host in [&node.host, &far] {
        host.sysctl("ipv6/conf/default/accept_dad", "0");
    }
    node.host.connect("narrow", &far, "eth0");
    node.host.ip(&["link", "set", "narrow", "mtu", &MTU.to_string()]);
    for (near, away) in [("203.0.113.1/24", "203.0.113.9/24"), ("2001:db8:9::1/64", "2001:db8:9::9/64")] {
        node.host.address("narrow", near);
        far.address("eth0", away);
    }
    for (pod, range, hop) in [
        ("10.244.8.9/32", "10.244.8.0/24", "203.0.113.9"),
        ("fd00:10:244:8::9/128", "fd00:10:244:8::/64", "2001:db8:9::9"),
    ] {
        far.address("lo", pod);
        node.host.ip(&["route", "add", range, "via", hop, "dev", "narrow"]);
        let pods = Elsewhere { keeps_source: true, ..Elsewhere::default() };
        node.datapath.nodes().expect("nodes").put(range.parse().expect("a range"), pods).expect("an entry");
    }
    far.ip(&["route", "add", "default", "via", "203.0.113.1"]);
    far.ip(&["-6", "route", "add", "default", "via", "2001:db8:9::1"]);
    node.host.inside(|| node.datapath.attach_uplink("narrow")).expect("attaching the narrow link");
    far
}

fn open(host: &TestHost, at: SocketAddr) -> UdpSocket {
    let socket = host.inside(|| UdpSocket::bind(at)).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    socket
}

/// Sends a datagram that is too long: how much fits then, and who says so.
fn told(client: &TestHost, to: SocketAddr, any: IpAddr) -> (u32, IpAddr) {
    let socket = open(client, SocketAddr::new(any, 0));
    socket.connect(to).expect("a peer");
    if any.is_ipv4() {
        setsockopt(&socket, sockopt::Ipv4RecvErr, &true).expect("an option");
    } else {
        setsockopt(&socket, sockopt::Ipv6RecvErr, &true).expect("an option");
    }
    socket.send(&[7; LONG]).expect("sending");
    let error = socket.recv(&mut [0; 16]).expect_err("nothing comes back");
    assert_eq!(error.raw_os_error(), Some(nix::libc::EMSGSIZE), "{to}: {error}");
    let (mut room, mut words) = ([0; 16], [0; WORDS]);
    let mut parts = [IoSliceMut::new(&mut room)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut words), MsgFlags::MSG_ERRQUEUE)
        .expect("an error");
    message
        .cmsgs()
        .expect("whole words")
        .find_map(|word| match word {
            ControlMessageOwned::Ipv4RecvErr(error, Some(by)) => {
                Some((error.ee_info, Ipv4Addr::from_bits(u32::from_be(by.sin_addr.s_addr)).into()))
            }
            ControlMessageOwned::Ipv6RecvErr(error, Some(by)) => {
                Some((error.ee_info, Ipv6Addr::from(by.sin6_addr.s6_addr).into()))
            }
            _ => None,
        })
        .expect("an ICMP error")
}

/// A datagram arrives whole; its sender may have to learn first how much fits.
fn arrives(client: &TestHost, server: &UdpSocket, to: SocketAddr, any: IpAddr, length: usize, tries: u32) {
    let socket = open(client, SocketAddr::new(any, 0));
    let mut buffer = vec![0; 1 << 16];
    let arrived = (0..tries).find_map(|_| {
        socket.send_to(&vec![7; length], to).expect("sending");
        server.recv_from(&mut buffer).ok()
    });
    let (whole, peer) = arrived.unwrap_or_else(|| panic!("{length} bytes to {to}"));
    assert_eq!(whole, length, "to {to}");
    server.send_to(b"me", peer).expect("answering");
    let (_, by) = socket.recv_from(&mut buffer).unwrap_or_else(|error| panic!("{to}: {error}"));
    assert_eq!(by, to, "whose answer it seems to be");
}

fn too_big(node: &Node) -> u64 {
    node.datapath.counters().expect("counters").get(Counter::TooBig)
}

#[test]
fn senders_are_told_how_much_fits() {
    const TEST: &str = "senders_are_told_how_much_fits";
    if !harness::root_or_skip(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let mut node = Node::make(guard.tag(), None);
    node.add_ipv6();
    let far = beyond(&node, guard.tag());
    let mut reports = node.datapath.reports().expect("reports");
    for (number, family) in (1_u32..).zip(families()) {
        let Family { name, any, node: near, vip, pod, other } = family;
        let there = |address, port, transport, scope| Frontend { address, port, transport, scope };
        for (at, transport) in (0..).zip([Transport::Udp, Transport::Tcp]) {
            let frontends = [
                there(vip, 80, transport, Scope::Cluster),
                there(any, NODE_PORT, transport, Scope::External),
            ];
            node.serve(number * 10 + at, &frontends, &[SocketAddr::new(pod, PORT)], None);
        }
        let (by_vip, by_port) = (SocketAddr::new(vip, 80), SocketAddr::new(near, NODE_PORT));
        let server = open(&far, SocketAddr::new(pod, PORT));

        if any.is_ipv4() {
            // What its sender has cut already may be cut, and arrives as it is.
            arrives(&node.outside, &server, by_port, any, LONGER, 1);
            assert_eq!(too_big(&node), 0, "{name}");
        }
        let before = too_big(&node);
        assert_eq!(told(&node.outside, by_port, any), (MTU, near), "{name}, from outside");
        assert_eq!(told(&node.a.host, by_vip, any), (MTU, near), "{name}, a pod by a service");
        assert_eq!(told(&node.a.host, SocketAddr::new(pod, PORT), any), (MTU, near), "{name}, a pod");
        assert_eq!(
            told(&node.b.host, SocketAddr::new(other, PORT), any),
            (MTU, near),
            "{name}, a hidden pod"
        );
        assert_eq!(told(&node.host, by_vip, any), (MTU, vip), "{name}, the node by a service");
        assert_eq!(too_big(&node), before + 5, "{name}: counted");
        // They know it now.
        for (client, to) in [(&node.outside, by_port), (&node.a.host, by_vip), (&node.host, by_vip)] {
            arrives(client, &server, to, any, LONG, 1);
            arrives(client, &server, to, any, LONGER, 1);
        }
        assert_eq!(too_big(&node), before + 5, "{name}: nobody sends more than fits");
        let ours = |packet: &Packet| packet.verdict == Verdict::Dropped(Counter::TooBig);
        let packets: Vec<Packet> = std::iter::from_fn(|| reports.take()).filter(ours).collect();
        let to: Vec<SocketAddr> =
            packets.iter().filter_map(|packet| Some(packet.ends?.destination)).collect();
        let pods = [SocketAddr::new(pod, PORT), SocketAddr::new(other, PORT)];
        assert_eq!(to, [by_port, by_vip, pods[0], pods[1], by_vip], "{name}: told as they were sent");
    }
    drop((far, reports));
    node.finish();
    guard.finish();
}

/// Segments that the network card, or nobody, cuts: their sender makes them smaller and goes on.
#[test]
fn connections_learn_how_much_fits() {
    const TEST: &str = "connections_learn_how_much_fits";
    if !harness::root_or_skip(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let mut node = Node::make(guard.tag(), None);
    node.add_ipv6();
    let far = beyond(&node, guard.tag());
    for (number, family) in (1..).zip(families()) {
        let Family { name, any, node: near, vip, pod, other } = family;
        let there = |address, port, scope| Frontend { address, port, transport: Transport::Tcp, scope };
        let frontends = [there(vip, 80, Scope::Cluster), there(any, NODE_PORT, Scope::External)];
        node.serve(number, &frontends, &[SocketAddr::new(pod, PORT)], None);
        for (what, client, to) in [
            ("outside to a node port", &node.outside, SocketAddr::new(near, NODE_PORT)),
            ("a pod to a service", &node.a.host, SocketAddr::new(vip, 80)),
            ("a pod to a pod", &node.b.host, SocketAddr::new(pod, PORT)),
            ("a hidden pod", &node.b.host, SocketAddr::new(other, PORT)),
            ("the node to a service", &node.host, SocketAddr::new(vip, 80)),
        ] {
            let before = too_big(&node);
            let (stream, accepted) = connection(client, to, &far, SocketAddr::new(any, PORT));
            megabyte(stream, accepted).unwrap_or_else(|error| panic!("{name}, {what}: {error}"));
            assert!(too_big(&node) > before, "{name}, {what}: it was told");
        }
    }
    drop(far);
    node.finish();
    guard.finish();
}
