//! Frames as bytes, and a data path to run them through.

use std::net::Ipv4Addr;

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use harness::netns::TestHost;
use keelson_datapath::{Config, Datapath, Endpoint, EndpointState, Masquerade, unload};

pub const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub const POD_A: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 11);
pub const POD_B: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 12);
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
pub const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 12];

/// Verdicts of tc.
pub const OK: u32 = 0;
pub const SHOT: u32 = 2;
pub const REDIRECT: u32 = 7;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

/// Where a frame comes in: these fields of `__sk_buff` may be given to a test run.
const CONTEXT_BYTES: usize = 192;
const CONTEXT_INDEX: usize = 40;

/// One namespace with links for two pods and one uplink, without anybody behind them.
pub struct Bench {
    pub host: TestHost,
    pub datapath: Datapath,
    pub link_a: u32,
    pub uplink: u32,
    config: Config,
    _folder: tempfile::TempDir,
}

impl Bench {
    pub fn make(tag: &str) -> Bench {
        let host = TestHost::create(tag, "bench");
        for (link, peer) in [("va", "pa"), ("vb", "pb"), ("up0", "far0")] {
            host.ip(&["link", "add", link, "type", "veth", "peer", "name", peer]);
            host.ip(&["link", "set", link, "up"]);
            host.ip(&["link", "set", peer, "up"]);
        }
        host.address("up0", "192.0.2.1/24");
        host.ip(&[
            "neigh",
            "add",
            "192.0.2.2",
            "lladdr",
            "02:00:00:00:00:99",
            "dev",
            "up0",
            "nud",
            "permanent",
        ]);
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config {
            bpffs: folder.path().join("bpf"),
            node_addresses: vec![NODE.into()],
            pod_cidrs: vec!["10.244.0.0/16".parse().expect("a range")],
            service_cidrs: vec!["10.96.0.0/16".parse().expect("a range")],
            masquerade: Masquerade { v4: Some(NODE), v6: None },
            ..Config::default()
        };
        let (datapath, link_a, link_b, uplink) = host.inside(|| {
            let datapath = Datapath::ensure(&config).unwrap_or_else(|error| panic!("{error}: {error:?}"));
            let a = datapath.attach_host_device("va").expect("a pod's link");
            let b = datapath.attach_host_device("vb").expect("a pod's link");
            let uplink = datapath.attach_uplink("up0").expect("an uplink");
            (datapath, a, b, uplink)
        });
        let mut endpoints = datapath.endpoints().expect("endpoints");
        for (address, link, mac) in [(POD_A, link_a, [2, 0, 0, 0, 0, 11]), (POD_B, link_b, MAC_B)] {
            let endpoint = Endpoint {
                link,
                mac,
                identity: 300,
                state: EndpointState::Ready,
                isolation: Default::default(),
            };
            endpoints.put(address.into(), &endpoint).expect("an endpoint");
        }
        Bench { host, datapath, link_a, uplink, config, _folder: folder }
    }

    /// Runs a frame through a program as if it came in by a link: verdict and frame afterwards.
    pub fn run(&self, program: &'static str, link: u32, frame: &[u8]) -> (u32, Vec<u8>) {
        let program = self.datapath.program(program).expect("a program");
        self.host.inside(|| run(&program, link, frame))
    }

    pub fn finish(self) {
        unload(&self.config).expect("unloading");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = unload(&self.config);
    }
}

/// To be called in the namespace of the link.
pub fn run(program: &SchedClassifier, link: u32, frame: &[u8]) -> (u32, Vec<u8>) {
    let mut context = [0; CONTEXT_BYTES];
    context[CONTEXT_INDEX..CONTEXT_INDEX + 4].copy_from_slice(&link.to_ne_bytes());
    let mut out = vec![0; frame.len() + 64];
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.data_out = Some(&mut out);
    options.ctx_in = Some(&context);
    let result = program.test_run(options).expect("a test run");
    out.truncate(result.data_size_out as usize);
    (result.return_value, out)
}

/// A frame with true checksums. `tcp`: the flags.
pub fn frame(protocol: u8, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), tcp: u8) -> Vec<u8> {
    let mut transport = Vec::new();
    transport.extend(from.1.to_be_bytes());
    transport.extend(to.1.to_be_bytes());
    if protocol == TCP {
        transport.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, tcp, 0x20, 0, 0, 0, 0, 0]);
    } else {
        transport.extend([0, 16, 0, 0]);
        transport.extend(b"keelson!");
    }
    let mut header = vec![0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0];
    header[2..4].copy_from_slice(&((20 + transport.len()) as u16).to_be_bytes());
    header.extend(from.0.octets());
    header.extend(to.0.octets());
    let sum = checksum(&header, 0).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    let at = if protocol == TCP { 16 } else { 6 };
    let sum = checksum(&transport, pseudo(&header, transport.len())).to_be_bytes();
    transport[at..at + 2].copy_from_slice(&sum);
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 11, 8, 0];
    frame.extend(header);
    frame.extend(transport);
    frame
}

/// Ends of a frame; panics if a checksum is false.
pub fn ends(frame: &[u8]) -> ((Ipv4Addr, u16), (Ipv4Addr, u16)) {
    let (header, transport) = (&frame[14..34], &frame[34..]);
    assert_eq!(checksum(header, 0), 0, "the header's checksum");
    assert_eq!(checksum(transport, pseudo(header, transport.len())), 0, "the transport's checksum");
    let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    let port = |at: usize| u16::from_be_bytes([transport[at], transport[at + 1]]);
    ((address(12), port(0)), (address(16), port(2)))
}

fn pseudo(header: &[u8], length: usize) -> u32 {
    let words =
        |bytes: &[u8]| bytes.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum::<u32>();
    words(&header[12..20]) + u32::from(header[9]) + length as u32
}

/// RFC 1071, begun with a sum.
pub fn checksum(bytes: &[u8], begun: u32) -> u16 {
    let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    let mut sum = bytes.chunks(2).map(word).sum::<u32>() + begun;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
