//! What a packet costs: nanoseconds by BPF_PROG_TEST_RUN, the least of several runs.
//!
//! A run with `repeat` does not restore the packet, so a program that translates it sees the translated one
//! from the second time on; here the frames are such that this is the same path. The figure includes the
//! loop of the kernel (about 30 ns).

use std::net::SocketAddr;

use aya::programs::{TestRun as _, TestRunOptions};
use keelson_datapath::{Frontend, Scope, Service, Traffic, Transport};

use super::frame::{Bench, NODE, OUTSIDE, POD_A, POD_B, TCP, VIP, frame};

/// A packet grows older with every run.
const REPEAT: u32 = 60;
const ROUNDS: usize = 500;
/// Far above what it is (see README): an unnoticed loop over bytes or a lost inlining is found, a busy machine is not.
const CEILING_NANOSECONDS: u128 = 2_000;

/// The verifier gives up at a million; older kernels need more for the same program.
const VERIFIED_MAX: u32 = 80_000;

#[test]
fn the_verifier_is_far_from_giving_up() {
    if !harness::root_or_skip("the_verifier_is_far_from_giving_up") {
        return;
    }
    let guard = harness::host::exclusive("the_verifier_is_far_from_giving_up");
    let bench = Bench::make(guard.tag());
    for program in ["from_pod", "from_host", "from_uplink", "to_pod", "to_uplink"] {
        let info = bench.datapath.program(program).unwrap().info().unwrap();
        let verified = info.verified_instruction_count().unwrap_or(0);
        println!("{program:12} {verified} instructions verified");
        assert!(verified < VERIFIED_MAX, "{program}: {verified}");
    }
    bench.finish();
    guard.finish();
}

#[test]
fn a_packet_costs_little() {
    if !harness::root_or_skip("a_packet_costs_little") {
        return;
    }
    let guard = harness::host::exclusive("a_packet_costs_little");
    let bench = Bench::make(guard.tag());
    // Its backend is itself, so that the translated packet is again one to the service.
    let set = bench.datapath.backends().unwrap().install(&[SocketAddr::new(POD_B.into(), 80)]).unwrap();
    let service = Service { number: 1, set: Some(set), affinity_seconds: None, traffic: Traffic::default() };
    let vip = Frontend { address: VIP.into(), port: 80, transport: Transport::Tcp, scope: Scope::Cluster };
    bench.datapath.services().unwrap().put(&vip, &service).unwrap();
    for (what, program, link, from, to) in [
        ("pod to pod, known flow", "from_pod", bench.link_a, (POD_A, 4000), (POD_B, 80)),
        ("pod to the node", "from_pod", bench.link_a, (POD_A, 4000), (NODE, 22)),
        ("uplink to the node, no flow", "from_uplink", bench.uplink, (OUTSIDE, 4000), (NODE, 22)),
        ("uplink to pod, known flow", "from_uplink", bench.uplink, (OUTSIDE, 4000), (POD_B, 80)),
        ("node to outside, no flow", "to_uplink", bench.uplink, (NODE, 22), (OUTSIDE, 4000)),
    ] {
        let loaded = bench.datapath.program(program).unwrap();
        let sent = frame(TCP, from, to, 16);
        let least = bench.host.inside(|| {
            let mut context = [0_u8; 192];
            context[40..44].copy_from_slice(&link.to_ne_bytes());
            let once = |repeat: u32| {
                let mut options = TestRunOptions::new();
                options.data_in = Some(&sent);
                options.ctx_in = Some(&context);
                options.repeat = repeat;
                loaded.test_run(options).expect("a test run").duration
            };
            (0..ROUNDS).map(|_| once(REPEAT)).min().expect("rounds")
        });
        println!("{what:32} {least:?}");
        assert!(least.as_nanos() < CEILING_NANOSECONDS, "{what}: {least:?}");
    }
    bench.finish();
    guard.finish();
}
