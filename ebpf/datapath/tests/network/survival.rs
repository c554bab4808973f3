//! Connections through restarts, bulk data, and flows that end.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use aya::util::KernelVersion;
use keelson_datapath::{
    ANYBODY, Allowed, Config, Datapath, Direction, Isolation, Led, Ports, Scope, Transport,
};

use super::node::{
    NODE, NODE_PORT, Node, OUTSIDE, PATIENCE, POD_A, POD_B, Server, VIP, ask, ask_udp, connect, frontend,
    is_silent, question,
};
use super::policies;

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
/// The longest that a connection may be silent because of us.
const GAP_MAX: std::time::Duration = std::time::Duration::from_millis(300);
/// Eight megabytes that are sent once, on a busy machine.
const WHOLE: std::time::Duration = std::time::Duration::from_secs(10);
const RESTARTS: usize = 5;

#[test]
fn connections_outlive_their_loader() {
    if !harness::root_or_skip("connections_outlive_their_loader") {
        return;
    }
    let guard = harness::host::exclusive("connections_outlive_their_loader");
    let mut node = Node::make(guard.tag(), None);
    let servers = [Server::start(&node.b.host, "b", 80), Server::start(&node.outside, "out", 8080)];
    let frontends = [
        frontend(VIP, 80, Transport::Tcp, Scope::Cluster),
        frontend(ANY, NODE_PORT, Transport::Tcp, Scope::External),
    ];
    node.serve(1, &frontends, &[SocketAddr::new(IpAddr::V4(POD_B), 80)], None);
    let mut streams = [
        node.a.host.inside(|| connect(0, (VIP, 80))).unwrap(),
        node.a.host.inside(|| connect(0, (OUTSIDE, 8080))).unwrap(),
        node.outside.inside(|| connect(0, (NODE, NODE_PORT))).unwrap(),
    ];
    let attached = node.datapath.attached().unwrap();
    let mut longest = std::time::Duration::ZERO;
    let control = harness::stall::Control::start();
    for _ in 0..RESTARTS {
        // Talks while the loader works.
        std::thread::scope(|scope| {
            let talks = streams.iter_mut().map(|stream| {
                scope.spawn(move || {
                    let mut longest = std::time::Duration::ZERO;
                    for _ in 0..20 {
                        let begun = Instant::now();
                        question(stream).expect("an answer during a restart");
                        longest = longest.max(begun.elapsed());
                        std::thread::sleep(std::time::Duration::from_millis(5));
                    }
                    longest
                })
            });
            let talks: Vec<_> = talks.collect();
            node.restart();
            for talk in talks {
                longest = longest.max(talk.join().expect("a talk without errors"));
            }
        });
        ask(&node.a.host, 0, (VIP, 80)).expect("a new connection after a restart");
    }
    let machine = control.longest();
    assert!(
        longest < GAP_MAX + 2 * machine,
        "the longest silence was {longest:?}, the machine's own {machine:?}"
    );
    assert_eq!(node.datapath.attached().unwrap(), attached, "the same links, swapped in place");
    drop((streams, servers));
    node.finish();
    guard.finish();
}

#[test]
fn another_version_is_replaced_where_it_is_attached() {
    if !harness::root_or_skip("another_version_is_replaced_where_it_is_attached") {
        return;
    }
    let guard = harness::host::exclusive("another_version_is_replaced_where_it_is_attached");
    let node = Node::make(guard.tag(), None);
    let server = Server::start(&node.b.host, "b", 80);
    let attached = node.datapath.attached().unwrap();
    let frontends = [
        frontend(VIP, 80, Transport::Tcp, Scope::Cluster),
        frontend(ANY, NODE_PORT, Transport::Tcp, Scope::External),
    ];
    node.serve(1, &frontends, &[SocketAddr::new(IpAddr::V4(POD_B), 80)], None);
    let mut streams = [
        node.a.host.inside(|| connect(0, (VIP, 80))).unwrap(),
        node.outside.inside(|| connect(0, (NODE, NODE_PORT))).unwrap(),
    ];
    let ask_all = |streams: &mut [std::net::TcpStream]| {
        streams.iter_mut().map(|stream| question(stream).expect("a connection stands")).collect::<Vec<_>>()
    };
    let before = ask_all(&mut streams);
    let other = make_another_version(&node);
    assert!(node.datapath.services().is_err(), "it is not there under its own name");
    let done = AtomicBool::new(false);
    let datapath = std::thread::scope(|scope| {
        // Connections that begin meanwhile, through the kernel's delay in taking the other's programs off as well.
        let begins = scope.spawn(|| {
            let mut begun = 0;
            while begun < 2 || !done.load(Ordering::Relaxed) {
                ask(&node.a.host, 0, (VIP, 80)).expect("pod to service meanwhile");
                ask(&node.outside, 0, (NODE, NODE_PORT)).expect("outside to node port meanwhile");
                begun += 1;
            }
        });
        let datapath = node.host.inside(|| Datapath::ensure(&node.config));
        std::thread::sleep(GAP_MAX);
        done.store(true, Ordering::Relaxed);
        begins.join().expect("every connection");
        datapath.unwrap()
    });
    assert!(!other.exists(), "the other version is gone");
    assert_eq!(datapath.attached().unwrap(), attached, "and this one is attached wherever it was");
    // What it knew has been taken over: services, pods, and every flow.
    assert_eq!(ask_all(&mut streams), before, "the same backends, the same source ports");
    ask(&node.a.host, 0, (POD_B, 80)).expect("pod to pod");
    ask(&node.host, 0, (VIP, 80)).expect("node to service");
    ask(&node.outside, 0, (NODE, NODE_PORT)).expect("outside to node port");
    assert!(datapath.knows_gateway().unwrap());
    node.host.ip(&["link", "del", &node.b.link]);
    let forgotten = node.host.inside(|| datapath.forget_vanished()).unwrap();
    assert_eq!(forgotten, 2, "the pins of a link that is gone");
    datapath.detach_all().unwrap();
    assert_eq!(datapath.attached().unwrap(), Vec::<String>::new());
    drop((streams, server));
    node.finish();
    guard.finish();
}

/// As if what is loaded were of another ABI: where it is then.
fn make_another_version(node: &Node) -> PathBuf {
    let versions: Vec<_> =
        std::fs::read_dir(&node.config.bpffs).unwrap().flatten().map(|e| e.path()).collect();
    let ours = versions.iter().find(|path| path.is_dir()).unwrap();
    let other = node.config.bpffs.join("v0123456789abcdef");
    std::fs::rename(ours, &other).unwrap();
    other
}

/// As if one of its maps had entries of another shape.
fn make_unknown(other: &Path, map: &str) {
    let shapes = std::fs::read_dir(other.join("shapes")).unwrap().flatten();
    let is_it = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(&format!("{map}-"));
    let shape = shapes.map(|entry| entry.path()).find(|path| path.file_name().is_some_and(is_it));
    std::fs::rename(shape.unwrap(), other.join(format!("shapes/{map}-0123456789abcdef"))).unwrap();
}

/// Flows and pods of shapes that are not understood: that is said; nothing of a pod passes until it is entered anew, and what stands
/// without a changed source goes on then.
#[test]
fn another_version_says_what_it_cannot_take_over() {
    const TEST: &str = "another_version_says_what_it_cannot_take_over";
    if !harness::root_or_skip(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let node = Node::make(guard.tag(), None);
    let servers = [Server::start(&node.b.host, "b", 80), Server::start(&node.outside, "out", 8080)];
    let frontends = [
        frontend(VIP, 80, Transport::Tcp, Scope::Cluster),
        frontend(ANY, NODE_PORT, Transport::Tcp, Scope::External),
    ];
    node.serve(1, &frontends, &[SocketAddr::new(IpAddr::V4(POD_B), 80)], None);
    let mut streams = [
        node.a.host.inside(|| connect(0, (POD_B, 80))).unwrap(),
        node.a.host.inside(|| connect(0, (VIP, 80))).unwrap(),
        node.outside.inside(|| connect(0, (NODE, NODE_PORT))).unwrap(),
    ];
    let before: Vec<_> = streams.iter_mut().map(|stream| question(stream).unwrap()).collect();
    let other = make_another_version(&node);
    for map in ["ENDPOINTS4", "FLOWS4"] {
        make_unknown(&other, map);
    }
    let datapath = node.host.inside(|| Datapath::ensure(&node.config)).unwrap();
    assert_eq!(datapath.lost(), ["ENDPOINTS4", "FLOWS4"]);
    assert!(datapath.conntrack().unwrap().observed().unwrap().is_empty());
    assert!(is_silent(&node.a.host, (POD_B, 80)), "whom nobody has entered");
    let mut endpoints = datapath.endpoints().unwrap();
    for (address, pod) in [(POD_A, &node.a), (POD_B, &node.b)] {
        endpoints.put(address.into(), &pod.endpoint).unwrap();
    }
    let after: Vec<_> = streams.iter_mut().map(|stream| question(stream).expect("it goes on")).collect();
    assert_eq!(after, before, "the same backends, the same source ports");
    ask(&node.a.host, 0, (OUTSIDE, 8080)).expect("what begins");
    assert!(node.host.inside(|| Datapath::ensure(&node.config)).unwrap().lost().is_empty(), "said once");
    drop((streams, servers, endpoints, datapath));
    node.finish();
    guard.finish();
}

#[test]
fn another_version_opens_no_gap_in_policies() {
    const TEST: &str = "another_version_opens_no_gap_in_policies";
    const DENIED: u16 = 81;
    if !harness::root_or_skip(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let node = Node::make(guard.tag(), None);
    let server = Server::start(&node.b.host, "b", 80);
    // Nobody reads it but this test: whatever ever got through lies there.
    let trap = node.b.host.inside(|| UdpSocket::bind((ANY, DENIED))).unwrap();
    trap.set_nonblocking(true).unwrap();
    let knocks = node.a.host.inside(|| UdpSocket::bind((ANY, 0))).unwrap();
    let knock = || knocks.send_to(b"x", (POD_B, DENIED)).unwrap();
    let caught = || std::iter::from_fn(|| trap.recv(&mut [0; 8]).ok()).count();
    knock();
    assert_eq!(caught(), 1, "before any policy");
    node.datapath.conntrack().unwrap().forget_address(IpAddr::V4(POD_B)).unwrap();
    let web = Allowed {
        subject: policies::WEB,
        peer: ANYBODY,
        direction: Direction::Ingress,
        what: Ports::Of { protocol: 6, first: 80, bits: 16 },
    };
    node.datapath.policies().unwrap().allow(&web).unwrap();
    policies::isolate(&node, Isolation { ingress: true, egress: false });
    let mut stands = node.a.host.inside(|| connect(0, (POD_B, 80))).unwrap();
    // The last time, its policies are of a shape that is not understood: they are its writer's to enter anew.
    for round in 0..RESTARTS {
        let understood = round + 1 < RESTARTS;
        question(&mut stands).expect("a connection that stands");
        let other = make_another_version(&node);
        if !understood {
            make_unknown(&other, "POLICY");
        }
        let done = AtomicBool::new(false);
        let knocked = std::thread::scope(|scope| {
            let knocking = scope.spawn(|| {
                let mut knocked = 0;
                while knocked < 100 || !done.load(Ordering::Relaxed) {
                    knock();
                    knocked += 1;
                }
                knocked
            });
            let datapath = node.host.inside(|| Datapath::ensure(&node.config));
            // The kernel takes the other's programs off a while later.
            std::thread::sleep(GAP_MAX);
            done.store(true, Ordering::Relaxed);
            datapath.unwrap();
            knocking.join().unwrap()
        });
        assert!(!other.exists());
        assert_eq!(caught(), 0, "round {round}: of {knocked}");
        question(&mut stands).expect("a connection that stands");
        if understood {
            ask(&node.a.host, 0, (POD_B, 80)).expect("allowed");
            continue;
        }
        assert!(is_silent(&node.a.host, (POD_B, 80)), "denied until it is entered");
        node.datapath.policies().unwrap().allow(&web).unwrap();
        ask(&node.a.host, 0, (POD_B, 80)).expect("allowed again");
    }
    assert!(node.datapath.counters().unwrap().get(abi::Counter::PolicyIngress) > 0);
    drop((stands, server));
    node.finish();
    guard.finish();
}

#[test]
fn filters_do_where_there_are_no_links() {
    if !harness::root_or_skip("filters_do_where_there_are_no_links") {
        return;
    }
    let guard = harness::host::exclusive("filters_do_where_there_are_no_links");
    let mut node = Node::make_with(guard.tag(), Config { filters: true, ..Config::default() });
    let server = Server::start(&node.b.host, "b", 80);
    let frontends = [
        frontend(VIP, 80, Transport::Tcp, Scope::Cluster),
        frontend(ANY, NODE_PORT, Transport::Tcp, Scope::External),
    ];
    node.serve(1, &frontends, &[SocketAddr::new(IpAddr::V4(POD_B), 80)], None);
    let shown = |node: &Node| node.host.must("tc", &["filter", "show", "dev", "vetha", "ingress"]);
    let mut stream = node.a.host.inside(|| connect(0, (VIP, 80))).unwrap();
    for _ in 0..2 {
        question(&mut stream).expect("the connection stands");
        ask(&node.host, 0, (VIP, 80)).expect("node to service");
        ask(&node.outside, 0, (NODE, NODE_PORT)).expect("outside to node port");
        assert_eq!(shown(&node).matches("direct-action").count(), 1, "{}", shown(&node));
        node.restart();
    }
    assert_eq!(node.datapath.attached().unwrap().len(), 7);
    node.host.inside(|| keelson_datapath::unload(&node.config)).unwrap();
    assert_eq!(shown(&node).trim(), "", "no filter is left");
    drop((stream, server));
    node.finish();
    guard.finish();
}

#[test]
fn links_take_the_place_of_filters_without_a_gap() {
    const TEST: &str = "links_take_the_place_of_filters_without_a_gap";
    const DENIED: u16 = 81;
    if !harness::root_or_skip(TEST) {
        return;
    }
    let links = KernelVersion::new(6, 6, 0);
    if KernelVersion::current().is_ok_and(|here| here < links) {
        return harness::skip(TEST, "tcx links need Linux 6.6");
    }
    let guard = harness::host::exclusive(TEST);
    let mut node = Node::make(guard.tag(), None);
    let server = Server::start(&node.b.host, "b", 80);
    let web = Allowed {
        subject: policies::WEB,
        peer: ANYBODY,
        direction: Direction::Ingress,
        what: Ports::Of { protocol: 6, first: 80, bits: 16 },
    };
    node.datapath.policies().unwrap().allow(&web).unwrap();
    policies::isolate(&node, Isolation { ingress: true, egress: false });
    node.serve(
        1,
        &[frontend(VIP, 80, Transport::Tcp, Scope::Cluster)],
        &[SocketAddr::new(IpAddr::V4(POD_B), 80)],
        None,
    );
    let filters = |node: &Node| {
        let sides = ["ingress", "egress"];
        let of = |link: &String| {
            sides.map(|side| node.host.must("tc", &["filter", "show", "dev", link, side])).concat()
        };
        [of(&node.a.link), of(&node.b.link)].concat().matches("direct-action").count()
    };
    let attached = node.datapath.attached().unwrap();
    assert_eq!(filters(&node), 4, "pods begin with filters");
    let trap = node.b.host.inside(|| UdpSocket::bind((ANY, DENIED))).unwrap();
    trap.set_nonblocking(true).unwrap();
    let knocks = node.a.host.inside(|| UdpSocket::bind((ANY, 0))).unwrap();
    let mut stands = node.a.host.inside(|| connect(0, (VIP, 80))).unwrap();
    let done = AtomicBool::new(false);
    let (promoted, knocked) = std::thread::scope(|scope| {
        let meanwhile = scope.spawn(|| {
            let mut knocked = 0;
            while knocked < 2 || !done.load(Ordering::Relaxed) {
                knocks.send_to(b"x", (POD_B, DENIED)).unwrap();
                question(&mut stands).expect("a connection that stands");
                ask(&node.a.host, 0, (VIP, 80)).expect("a new connection");
                knocked += 1;
            }
            knocked
        });
        let promoted = node.host.inside(|| {
            let mut promoted = 0;
            while node.datapath.promote().unwrap() {
                promoted += 1;
                assert_eq!(
                    (filters(&node), node.datapath.attached().unwrap()),
                    (4 - promoted, attached.clone())
                );
            }
            promoted
        });
        done.store(true, Ordering::Relaxed);
        (promoted, meanwhile.join().unwrap())
    });
    assert_eq!((promoted, filters(&node)), (4, 0));
    let caught = std::iter::from_fn(|| trap.recv(&mut [0; 8]).ok()).count();
    assert_eq!(caught, 0, "of {knocked}");
    assert!(node.datapath.counters().unwrap().get(abi::Counter::PolicyIngress) >= knocked);
    // Without its filters and through the next start.
    for _ in 0..2 {
        question(&mut stands).expect("a connection that stands");
        ask(&node.a.host, 0, (VIP, 80)).expect("a new connection");
        assert_eq!((filters(&node), node.datapath.attached().unwrap()), (0, attached.clone()));
        node.restart();
    }
    drop((stands, server));
    node.finish();
    guard.finish();
}

#[test]
fn bulk_data_arrives_whole() {
    if !harness::root_or_skip("bulk_data_arrives_whole") {
        return;
    }
    let guard = harness::host::exclusive("bulk_data_arrives_whole");
    let node = Node::make(guard.tag(), None);
    let frontends = [
        frontend(VIP, 90, Transport::Tcp, Scope::Cluster),
        frontend(ANY, NODE_PORT, Transport::Tcp, Scope::External),
    ];
    node.serve(1, &frontends, &[SocketAddr::new(IpAddr::V4(POD_B), 90)], None);
    let sent: Vec<u8> = (0..8_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (what, client, server, port, to) in [
        ("to a service", &node.a.host, &node.b.host, 90, (VIP, 90)),
        ("to the outside", &node.a.host, &node.outside, 91, (OUTSIDE, 91)),
        ("from the outside", &node.outside, &node.b.host, 90, (NODE, NODE_PORT)),
    ] {
        let listener = server.inside(|| TcpListener::bind((ANY, port))).unwrap();
        let begun = Instant::now();
        let received = std::thread::scope(|scope| {
            let received = scope.spawn(|| {
                let mut all = Vec::new();
                let (mut stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.read_to_end(&mut all).unwrap();
                all
            });
            let mut stream = client.inside(|| connect(0, to)).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(&sent).unwrap();
            drop(stream);
            received.join().unwrap()
        });
        assert!(received == sent, "{what}: {} of {} bytes", received.len(), sent.len());
        // A wrong checksum of a segment that a device splits shows as retransmissions: far slower.
        assert!(begun.elapsed() < WHOLE, "{what}: {:?}", begun.elapsed());
    }
    node.finish();
    guard.finish();
}

#[test]
fn a_full_table_refuses_what_is_new_and_keeps_what_stands() {
    if !harness::root_or_skip("a_full_table_refuses_what_is_new_and_keeps_what_stands") {
        return;
    }
    let guard = harness::host::exclusive("a_full_table_refuses_what_is_new_and_keeps_what_stands");
    let node = Node::make(guard.tag(), None);
    let server = Server::start(&node.b.host, "b", 80);
    let there = [frontend(VIP, 80, Transport::Tcp, Scope::Cluster)];
    node.serve(1, &there, &[SocketAddr::new(IpAddr::V4(POD_B), 80)], None);
    let mut stream = node.a.host.inside(|| connect(0, (VIP, 80))).unwrap();
    question(&mut stream).expect("there is room");
    let filled = fill(&node);
    assert!(filled > 200_000, "{filled}");
    question(&mut stream).expect("a connection that stands");
    assert!(is_silent(&node.a.host, (VIP, 80)), "not untracked, and not in the place of another");
    assert!(node.datapath.counters().unwrap().get(abi::Counter::FlowsFull) > 0, "it is counted");
    let swept = node.datapath.conntrack().unwrap().sweep().unwrap();
    assert!(swept.removed >= filled, "what nobody has used goes: {swept:?}");
    question(&mut stream).expect("what is used stays");
    ask(&node.a.host, 0, (VIP, 80)).expect("there is room again");
    drop((stream, server));
    node.finish();
    guard.finish();
}

/// Fills the table with flows that nobody has; how many there was room for.
fn fill(node: &Node) -> usize {
    use abi::{Flow, FlowState, Ip4, Protocol};
    let versions = std::fs::read_dir(&node.config.bpffs).unwrap().flatten();
    let pin = versions.map(|entry| entry.path().join("maps/FLOWS4")).find(|pin| pin.exists()).unwrap();
    let map = aya::maps::Map::from_map_data(aya::maps::MapData::from_pin(pin).unwrap()).unwrap();
    let mut table: aya::maps::HashMap<_, Flow<Ip4>, FlowState<Ip4>> = map.try_into().unwrap();
    let destination = Ip4::from(Ipv4Addr::new(12, 0, 0, 1));
    let (source_port, destination_port) = (1, 2);
    let put = |number: &u32| -> bool {
        let source = Ip4::from(Ipv4Addr::from(0x0b00_0000 + number));
        let protocol = Protocol::UDP;
        let flow = Flow { source, destination, source_port, destination_port, protocol, pad: 0, pad2: 0 };
        let state = FlowState {
            source,
            destination,
            source_port,
            destination_port,
            flags: 0,
            pad: 0,
            seen: 0,
            service: 0,
            epoch: 0,
        };
        table.insert(flow, state, 0).is_ok()
    };
    (0..1_u32 << 20).take_while(put).count()
}

#[test]
fn flows_to_a_backend_that_is_gone_are_forgotten() {
    if !harness::root_or_skip("flows_to_a_backend_that_is_gone_are_forgotten") {
        return;
    }
    let guard = harness::host::exclusive("flows_to_a_backend_that_is_gone_are_forgotten");
    let node = Node::make(guard.tag(), None);
    let server = Server::start(&node.b.host, "b", 80);
    let there = [frontend(VIP, 80, Transport::Udp, Scope::Cluster)];
    node.serve(1, &there, &[SocketAddr::new(IpAddr::V4(POD_B), 80)], None);
    ask_udp(&node.a.host, (VIP, 80), 10).unwrap();
    let mut conntrack = node.datapath.conntrack().unwrap();
    assert_eq!(conntrack.observed().unwrap().len(), 2);
    assert_eq!(conntrack.sweep().unwrap().removed, 0, "it is young");
    let gone = SocketAddr::new(IpAddr::V4(POD_B), 80);
    let asked = SocketAddr::new(IpAddr::V4(VIP), 80);
    let led = conntrack.led(Transport::Udp).unwrap();
    assert_eq!(led, [Led { asked, scope: Scope::Cluster, backend: gone }].into());
    assert!(conntrack.led(Transport::Tcp).unwrap().is_empty());
    assert_eq!(conntrack.forget_backend(gone, Transport::Udp).unwrap(), 2);
    assert_eq!(conntrack.observed().unwrap(), []);
    ask_udp(&node.a.host, (VIP, 80), 10).unwrap();
    ask_udp(&node.a.host, (POD_B, 80), 10).unwrap();
    assert_eq!(conntrack.forget_address(IpAddr::V4(POD_B)).unwrap(), 4);
    assert_eq!(conntrack.observed().unwrap(), []);
    drop((server, conntrack));
    node.finish();
    guard.finish();
}

#[test]
fn two_nodes_share_a_kernel_and_a_bpffs() {
    if !harness::root_or_skip("two_nodes_share_a_kernel_and_a_bpffs") {
        return;
    }
    let guard = harness::host::exclusive("two_nodes_share_a_kernel_and_a_bpffs");
    let folder = tempfile::tempdir().unwrap();
    let config = |instance: &str| Config {
        bpffs: folder.path().join("bpf"),
        instance: instance.to_owned(),
        ..Config::default()
    };
    let (one, two) = (config("one"), config("two"));
    let first = Datapath::ensure(&one).unwrap();
    let second = Datapath::ensure(&two).unwrap();
    first.backends().unwrap().install(&["10.0.0.1:80".parse().unwrap()]).unwrap();
    assert_eq!(second.backends().unwrap().observed().unwrap().len(), 0);
    keelson_datapath::unload(&one).unwrap();
    assert!(second.backends().is_ok());
    keelson_datapath::unload(&two).unwrap();
    guard.finish();
}
