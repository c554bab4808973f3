//! Programs alone: BPF_PROG_TEST_RUN, repeated in the kernel, least of several rounds.
//!
//! A repeated run sees the packet that the run before has made of it. So two pods are services as well, and each is the
//! other's backend: every run translates. And as a packet that is forwarded grows older, it is not repeated longer than
//! its hop limit allows; there are many calls instead.

use std::net::{Ipv4Addr, SocketAddr};

use aya::programs::{TestRun as _, TestRunOptions};
use datapath::{
    Acceleration, Allowed, Config, Datapath, Direction, Endpoint, EndpointState, Frontend, Isolation,
    Masquerade, Ports, Scope, Service, Traffic, Transport, unload,
};
use harness::netns::TestHost;

/// TC_ACT_SHOT, a verdict of the programs of a device.
const DROPPED: u32 = 2;
/// Verdicts of XDP.
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const REPEAT: u32 = 250;
const ROUNDS: usize = 4_000;
const POD_A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 11);
const POD_B: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 12);
const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const POD_C: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 13);
/// Backends on other machines, which are services as well: each is the other's backend.
const FAR: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 21), Ipv4Addr::new(192, 0, 2, 22)];
/// What comes out of one flow of those is the beginning of the next one: as many as there are hops.
const CHAIN: u32 = 250;

pub fn print() {
    let guard = harness::host::exclusive("bench packet runs");
    let host = TestHost::create(guard.tag(), "runs");
    for (link, peer) in [("va", "pa"), ("vb", "pb"), ("up0", "far0")] {
        host.ip(&["link", "add", link, "type", "veth", "peer", "name", peer]);
        host.ip(&["link", "set", link, "up"]);
        host.ip(&["link", "set", peer, "up"]);
    }
    host.address("up0", "192.0.2.1/24");
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config {
        bpffs: folder.path().join("bpf"),
        node_addresses: vec![NODE.into()],
        pod_cidrs: vec!["10.1.0.0/16".parse().expect("a range")],
        service_cidrs: vec!["10.96.0.0/16".parse().expect("a range")],
        masquerade: Masquerade { v4: Some(NODE), v6: None },
        acceleration: Acceleration::Native,
        ..Config::default()
    };
    let (datapath, links) = host.inside(|| {
        let datapath = Datapath::ensure(&config).expect("a data path");
        let links = ["va", "vb"].map(|link| datapath.attach_host_device(link).expect("a link"));
        let uplink = datapath.attach_uplink("up0").expect("an uplink");
        datapath.accelerate("up0").expect("an uplink of which the driver takes programs");
        (datapath, [links[0], links[1], uplink])
    });
    for (address, link, last) in [(POD_A, links[0], 11), (POD_B, links[1], 12), (POD_C, links[1], 13)] {
        let endpoint = Endpoint {
            link,
            mac: [2, 0, 0, 0, 0, last],
            identity: 300,
            state: EndpointState::Ready,
            isolation: Isolation { ingress: true, egress: true },
        };
        datapath.endpoints().and_then(|mut all| all.put(address.into(), &endpoint)).expect("an endpoint");
    }
    for (number, called, backend) in [(1, POD_B, POD_C), (2, POD_C, POD_B)] {
        let backend = SocketAddr::new(backend.into(), 8080);
        let set = datapath.backends().and_then(|mut all| all.install(&[backend])).expect("a set");
        let service = Service { number, set: Some(set), affinity_seconds: None, traffic: Traffic::default() };
        let there =
            Frontend { address: called.into(), port: 8080, transport: Transport::Tcp, scope: Scope::Cluster };
        datapath.services().and_then(|mut all| all.put(&there, &service)).expect("a frontend");
    }
    allow(&datapath);
    println!(
        "| one packet through a program, pods isolated and allowed | ns, least of {ROUNDS} |\n|---|---|"
    );
    for (what, program, link, from, to) in [
        ("pod to pod, known flow", "from_pod", links[0], (POD_A, 4000), (POD_B, 80)),
        ("pod to service, known flow, translated", "from_pod", links[0], (POD_A, 4004), (POD_B, 8080)),
        ("pod to the node", "from_pod", links[0], (POD_A, 4001), (NODE, 22)),
        ("uplink to pod, known flow", "from_uplink", links[2], (OUTSIDE, 4002), (POD_B, 80)),
        ("uplink to the node, no flow", "from_uplink", links[2], (OUTSIDE, 4003), (NODE, 22)),
    ] {
        let frame = frame(from, to);
        let loaded = datapath.program(program).expect("a program");
        let once = || {
            let mut context = [0_u8; 192];
            context[40..44].copy_from_slice(&link.to_ne_bytes());
            let mut options = TestRunOptions::new();
            options.data_in = Some(&frame);
            options.ctx_in = Some(&context);
            options.repeat = REPEAT;
            let ran = loaded.test_run(options).expect("a test run");
            assert_ne!(ran.return_value, DROPPED, "{what}");
            ran.duration.as_nanos()
        };
        let least = host.inside(|| (0..ROUNDS).map(|_| once()).min().unwrap_or_default());
        println!("| {what} | {least} |");
    }
    wire(&host, &datapath, links[2]);
    host.inside(|| unload(&config)).expect("unloading");
    drop(host);
    guard.finish();
}

/// Everything that is sent here, by policies of either side; whatever is not named is denied.
fn allow(datapath: &Datapath) {
    let mut policies = datapath.policies().expect("policies");
    let names = [(POD_A, 300), (POD_B, 300), (POD_C, 300), (NODE, 301), (OUTSIDE, 302)];
    for (address, identity) in names {
        let prefix = format!("{address}/32").parse().expect("an address");
        policies.name(prefix, identity).expect("a name");
    }
    for direction in [Direction::Ingress, Direction::Egress] {
        for (peer, port) in [(300, 80), (300, 8080), (301, 22), (302, 80)] {
            let what = Ports::Of { protocol: 6, first: port, bits: 16 };
            policies.allow(&Allowed { subject: 300, peer, direction, what }).expect("a policy");
        }
    }
}

/// The uplink's driver: a packet of a node port's known flow to a backend elsewhere, and one that is nobody's.
fn wire(host: &TestHost, datapath: &Datapath, uplink: u32) {
    host.sysctl("ipv4/conf/up0/forwarding", "1");
    for (number, at) in [(3, 0), (4, 1)] {
        let mac = format!("02:00:00:00:00:2{at}");
        host.ip(&["neigh", "add", &FAR[at].to_string(), "lladdr", &mac, "dev", "up0", "nud", "permanent"]);
        let backend = SocketAddr::new(FAR[1 - at].into(), 8080);
        let set = datapath.backends().and_then(|mut all| all.install(&[backend])).expect("a set");
        let service = Service { number, set: Some(set), affinity_seconds: None, traffic: Traffic::default() };
        let scope = Scope::External;
        let there = Frontend { address: FAR[at].into(), port: 8080, transport: Transport::Tcp, scope };
        datapath.services().and_then(|mut all| all.put(&there, &service)).expect("a frontend");
    }
    let first = frame((OUTSIDE, 4005), (FAR[0], 8080));
    let begins = datapath.program("from_uplink").expect("a program");
    let mut context = [0_u8; 192];
    context[40..44].copy_from_slice(&uplink.to_ne_bytes());
    host.inside(|| {
        let mut frame = first.clone();
        for _ in 0..CHAIN {
            let mut out = vec![0; frame.len()];
            let mut options = TestRunOptions::new();
            options.data_in = Some(&frame);
            options.data_out = Some(&mut out);
            options.ctx_in = Some(&context);
            begins.test_run(options).expect("a test run");
            frame = out;
        }
    });
    let mut nobodys = first.clone();
    nobodys[12..14].copy_from_slice(&[8, 6]);
    let program = datapath.wire_program().expect("a program");
    for (what, frame, verdict) in [
        ("XDP, node port to another node, known flow", &first, XDP_TX),
        ("XDP, not IP: passed on at once", &nobodys, XDP_PASS),
    ] {
        // The record of an XDP test run: data, its end, its metadata, the link, its queue, the link it leaves by.
        let mut context = [0_u8; 24];
        context[4..8].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
        context[12..16].copy_from_slice(&uplink.to_ne_bytes());
        let once = || {
            let mut options = TestRunOptions::new();
            options.data_in = Some(frame);
            options.ctx_in = Some(&context);
            options.repeat = CHAIN;
            let result = program.test_run(options).expect("a test run");
            assert_eq!(result.return_value, verdict, "{what}");
            result.duration.as_nanos()
        };
        let least = host.inside(|| (0..ROUNDS).map(|_| once()).min().unwrap_or_default());
        println!("| {what} | {least} |");
    }
}

/// An acknowledgement without data; its checksums are not looked at.
fn frame(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 11, 8, 0];
    frame.extend([0x45, 0, 0, 40, 0x12, 0x34, 0x40, 0, 255, 6, 0, 0]);
    frame.extend(from.0.octets());
    frame.extend(to.0.octets());
    frame.extend(from.1.to_be_bytes());
    frame.extend(to.1.to_be_bytes());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 16, 0x20, 0, 0, 0, 0, 0]);
    frame
}
