//! What routers say of packets that are too large, of what is translated on its way; fragments and errors of IPv6; and clients
//! that pass no socket hook.
//!
//! ```text
//! pod a ── node ── outside (a router) ── 1200 bytes at most ── beyond 203.0.113.9, 2001:db8:9::9
//! ```

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use harness::netns::TestHost;
use keelson_datapath::{Frontend, Scope, Transport};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto};

use super::cgroup::OwnCgroup;
use super::echo::checksum;
use super::node::{NODE, NODE_PORT, Node, PATIENCE, POD_B, SILENCE, Server, VIP, frontend};

const BEYOND: &str = "203.0.113.9";
const BEYOND6: &str = "2001:db8:9::9";
/// What the router's last link takes.
const NARROW: &str = "1200";
const BYTES: usize = 1 << 20;
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0x10);

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A machine behind a link that is narrow on the router's side only, so that no handshake tells.
pub fn beyond(node: &Node, tag: &str) -> TestHost {
    let far = TestHost::create(tag, "beyond");
    // A router that still waits for its own address asks for nobody else's.
    for host in [&node.outside, &far] {
        host.sysctl("ipv6/conf/default/accept_dad", "0");
    }
    node.outside.connect("narrow", &far, "eth0");
    node.outside.ip(&["link", "set", "narrow", "mtu", NARROW]);
    node.outside.address("narrow", "203.0.113.1/24");
    far.address("eth0", &format!("{BEYOND}/24"));
    far.ip(&["route", "add", "default", "via", "203.0.113.1"]);
    node.outside.sysctl("ipv4/ip_forward", "1");
    // IPv6 wants 1280 at least of a link that carries it.
    node.outside.connect("narrow6", &far, "eth1");
    node.outside.ip(&["link", "set", "narrow6", "mtu", "1300"]);
    node.outside.address("narrow6", "2001:db8:9::1/64");
    far.address("eth1", &format!("{BEYOND6}/64"));
    far.ip(&["-6", "route", "add", "default", "via", "2001:db8:9::1"]);
    node.outside.sysctl("ipv6/conf/all/forwarding", "1");
    far
}

/// Sends a megabyte from one end of a connection to the other; says where it stops.
pub fn megabyte(mut from: TcpStream, mut to: TcpStream) -> Result<(), String> {
    for stream in [&from, &to] {
        stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    }
    let reading = std::thread::spawn(move || {
        let (mut whole, mut buffer) = (0, vec![0; 1 << 16]);
        while whole < BYTES {
            match to.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => whole += length,
                Err(error) => return Err(format!("{error} after {whole} bytes")),
            }
        }
        Ok(whole)
    });
    let sent = from.write_all(&vec![7; BYTES]);
    let read = reading.join().expect("a reader")?;
    sent.map_err(|error| error.to_string())?;
    if read == BYTES { Ok(()) } else { Err(format!("it ended after {read} bytes")) }
}

/// Connects from one to the other through an address; both ends.
pub fn connection(
    client: &TestHost,
    to: SocketAddr,
    server: &TestHost,
    at: SocketAddr,
) -> (TcpStream, TcpStream) {
    let listener = server.inside(|| TcpListener::bind(at)).expect("listening");
    let stream = client
        .inside(|| TcpStream::connect_timeout(&to, PATIENCE))
        .unwrap_or_else(|error| panic!("{to}: {error}"));
    let (accepted, _) = listener.accept().expect("accepting");
    (stream, accepted)
}

#[test]
fn routers_are_heard_through_translation() {
    let test = "routers_are_heard_through_translation";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let mut node = Node::make(guard.tag(), None);
    node.add_ipv6();
    let far = beyond(&node, guard.tag());
    let there = |address: IpAddr, port, scope| Frontend { address, port, transport: Transport::Tcp, scope };
    let (any, any6) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    node.serve(1, &[there(VIP.into(), 80, Scope::Cluster)], &[SocketAddr::new(ip(BEYOND), 80)], None);
    node.serve(2, &[there(VIP6.into(), 80, Scope::Cluster)], &[SocketAddr::new(ip(BEYOND6), 80)], None);
    node.serve(3, &[there(any, NODE_PORT, Scope::External)], &[SocketAddr::new(POD_B.into(), 8080)], None);
    let pod6 = SocketAddr::new(ip("fd00:10:244::12"), 8080);
    node.serve(4, &[there(any6, NODE_PORT, Scope::External)], &[pod6], None);
    let (a, b) = (&node.a.host, &node.b.host);
    for (family, vip, far_at, node_at, any) in [
        ("IPv4", IpAddr::from(VIP), ip(BEYOND), IpAddr::from(NODE), any),
        ("IPv6", VIP6.into(), ip(BEYOND6), ip("2001:db8::1"), any6),
    ] {
        let far_any = SocketAddr::new(far_at, 80);
        // A pod sends to a Service whose backend is behind the narrow link: its source is hidden, its destination changed.
        let (client, server) = connection(a, SocketAddr::new(vip, 80), &far, far_any);
        megabyte(client, server).unwrap_or_else(|error| panic!("{family}, pod to service: {error}"));
        // The node does.
        let (client, server) = connection(&node.host, SocketAddr::new(vip, 80), &far, far_any);
        megabyte(client, server).unwrap_or_else(|error| panic!("{family}, node to service: {error}"));
        // A pod answers one who called the node port.
        let at = SocketAddr::new(any, 8080);
        let (client, server) = connection(&far, SocketAddr::new(node_at, NODE_PORT), b, at);
        megabyte(server, client).unwrap_or_else(|error| panic!("{family}, node port to outside: {error}"));
    }
    // The pods have learnt it of the addresses that they know, not of those that they do not.
    let learnt =
        a.ip(&["route", "get", &VIP.to_string()]) + &a.ip(&["-6", "route", "get", &VIP6.to_string()]);
    assert!(learnt.contains(&format!("mtu {NARROW}")) && learnt.contains("mtu 1300"), "{learnt}");
    drop(far);
    node.finish();
    guard.finish();
}

#[test]
fn datagrams_of_ipv6_come_in_fragments_and_are_refused_by_name() {
    let test = "datagrams_of_ipv6_come_in_fragments_and_are_refused_by_name";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let mut node = Node::make(guard.tag(), None);
    node.add_ipv6();
    let far = beyond(&node, guard.tag());
    let there =
        |port| Frontend { address: VIP6.into(), port, transport: Transport::Udp, scope: Scope::Cluster };
    let pod = ip("fd00:10:244::12");
    node.serve(1, &[there(53)], &[SocketAddr::new(pod, 5353)], None);
    node.serve(2, &[there(54)], &[SocketAddr::new(ip(BEYOND6), 5353)], None);
    node.serve(3, &[there(55)], &[SocketAddr::new(pod, 9)], None);
    let open = |host: &TestHost, at: SocketAddr| {
        let socket = host.inside(|| UdpSocket::bind(at)).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
        socket
    };
    let any = |port| SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    let servers = [open(&node.b.host, any(5353)), open(&far, any(5353))];
    for (what, client) in [("a pod", &node.a.host), ("the node", &node.host)] {
        // What comes back from beyond must fit: the cable itself drops what its other end does not take.
        for (port, server, back) in [(53, &servers[0], 5000), (54, &servers[1], 1100)] {
            let asking = open(client, any(0));
            server.set_read_timeout(Some(SILENCE)).expect("a limit");
            let to = SocketAddr::new(VIP6.into(), port);
            // The first one may be too large for a router, who says so; the sender then makes smaller fragments.
            let mut buffer = vec![0; 1 << 16];
            let asked = (0..10).find_map(|_| {
                asking.send_to(&vec![7; 5000], to).expect("sending");
                server.recv_from(&mut buffer).ok()
            });
            let (length, peer) = asked.unwrap_or_else(|| panic!("{what} to {to}"));
            assert_eq!(length, 5000, "{what} to {to}");
            server.send_to(&vec![8; back], peer).expect("answering");
            let (length, answered) =
                asking.recv_from(&mut buffer).unwrap_or_else(|error| panic!("{what} to {to}: {error}"));
            assert_eq!((length, answered), (back, to), "{what}: whose answer it seems to be");
        }
        // Nobody listens there: the error is about the address that was asked.
        let asking = open(client, any(0));
        asking.connect(SocketAddr::new(VIP6.into(), 55)).expect("connecting");
        asking.send(b"who").expect("sending");
        let error = asking.recv(&mut [0; 16]).expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{what}: {error}");
    }
    drop((servers, far));
    node.finish();
    guard.finish();
}

/// The kernel's own sockets (NFS), raw ones, and those that were connected before there was a hook: none is asked where it
/// goes, so packets have to be translated though hooks are attached.
#[test]
fn clients_that_pass_no_hook_are_translated_by_packet() {
    let test = "clients_that_pass_no_hook_are_translated_by_packet";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let Some(cgroup) = OwnCgroup::enter(guard.tag()) else {
        return harness::skip(test, "there is no cgroup2 here");
    };
    let node = Node::make(guard.tag(), Some(cgroup.path.clone()));
    let servers = [Server::start(&node.b.host, "b", 80)];
    let frontends = [Transport::Tcp, Transport::Udp].map(|one| frontend(VIP, 80, one, Scope::Cluster));
    node.serve(1, &frontends, &[SocketAddr::new(POD_B.into(), 80)], None);
    let translated = || node.datapath.counters().expect("counters").get(abi::Counter::Sockets);
    for (what, host, own) in [("the node", &node.host, NODE), ("a pod", &node.a.host, super::node::POD_A)] {
        let before = translated();
        let answer = raw_question(host, own, 40_001);
        assert!(answer.starts_with(&format!("b {own}:40001 ")), "{what}: {answer}");
        assert_eq!(translated(), before, "{what}: no hook was passed");
    }
    drop(servers);
    node.finish();
    drop(cgroup);
    guard.finish();
}

/// A datagram made by hand, and the answer to it that came from the Service's address.
fn raw_question(host: &TestHost, own: Ipv4Addr, port: u16) -> String {
    host.inside(|| {
        let flags = SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::INET, SocketType::RAW, flags, Some(ipproto::UDP))
                .expect("a raw socket");
        // Somebody has the port, or the kernel refuses the answer.
        let _holder = UdpSocket::bind((own, port)).expect("the port");
        let wait = rustix::net::sockopt::Timeout::Recv;
        rustix::net::sockopt::set_socket_timeout(&socket, wait, Some(PATIENCE)).expect("a timeout");
        let mut datagram = [port.to_be_bytes(), 80_u16.to_be_bytes(), 11_u16.to_be_bytes(), [0; 2]].concat();
        datagram.extend(b"who");
        let pseudo = [&own.octets()[..], &VIP.octets(), &[0, 17, 0, 11], &datagram, &[0]].concat();
        datagram[6..8].copy_from_slice(&checksum(&pseudo).to_be_bytes());
        let peer = SocketAddr::new(VIP.into(), 0);
        rustix::net::sendto(&socket, &datagram, SendFlags::empty(), &peer).expect("sending");
        let mut buffer = [0; 512];
        for _ in 0..8 {
            let Ok((_, length, _)) = rustix::net::recvfrom(&socket, &mut buffer[..], RecvFlags::empty())
            else {
                break;
            };
            let packet = &buffer[..length];
            let (source, payload) = (&packet[12..16], &packet[20..]);
            if source == VIP.octets() && payload[2..4] == port.to_be_bytes() {
                return String::from_utf8_lossy(&payload[8..]).into_owned();
            }
        }
        panic!("no answer from the Service's address");
    })
}
