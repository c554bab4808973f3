//! What a change costs: map writes of one Service among 10,000, and filling the maps for all of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::time::{Duration, Instant};

use datapath::{Config, Datapath, Frontend, Scope, Service, Traffic, Transport, unload};

use crate::{bed, quantile};

const SERVICES: usize = 10_000;
const CHANGES: usize = 200;

pub fn print() {
    let guard = harness::host::exclusive("bench packet update");
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config { bpffs: folder.path().join("bpf"), ..Config::default() };
    let datapath = Datapath::ensure(&config).expect("a data path");
    let begun = Instant::now();
    bed::fill(&datapath, SERVICES);
    println!("\n| maps | |\n|---|---|");
    println!("| {SERVICES} services into empty maps | {:.0} ms |", begun.elapsed().as_secs_f64() * 1000.0);
    println!("| their memory in the kernel | {:.1} MB |", memory(&config.bpffs) as f64 / 1e6);
    let mut backends = datapath.backends().expect("backends");
    let mut services = datapath.services().expect("services");
    let there = Frontend {
        address: IpAddr::V4(bed::address(SERVICES / 2)),
        port: 80,
        transport: Transport::Tcp,
        scope: Scope::Cluster,
    };
    let mut before = None;
    let mut times: Vec<f64> = (0..CHANGES)
        .map(|change| {
            let last = (change % 200 + 1) as u8;
            let endpoints = [1, 2].map(|net| SocketAddr::from((Ipv4Addr::new(10, 9, net, last), 80)));
            let begun = cpu();
            let set = backends.install(&endpoints).expect("a set");
            let traffic = Traffic::default();
            let service = Service { number: 1, set: Some(set), affinity_seconds: None, traffic };
            services.put(&there, &service).expect("a frontend");
            if let Some(before) = before.replace(set) {
                backends.remove(before).expect("the set before");
            }
            (cpu() - begun).as_secs_f64() * 1e6
        })
        .collect();
    let median = quantile(&mut times, 0.5);
    println!("| two endpoints of one of {SERVICES} services replaced, CPU | {median:.1} µs |");
    drop((backends, services, datapath));
    unload(&config).expect("unloading");
    guard.finish();
}

/// What the maps of services take, as the kernel tells it of a map's descriptor.
fn memory(bpffs: &Path) -> u64 {
    let versions = std::fs::read_dir(bpffs).expect("the pins").flatten();
    let version = versions.map(|entry| entry.path()).find(|path| path.join("maps").exists()).expect("maps");
    let maps = ["SERVICES4", "BACKENDS4", "MEMBERS4", "TABLES"];
    maps.iter().map(|name| memory_of(&version.join("maps").join(name))).sum()
}

fn memory_of(pin: &Path) -> u64 {
    let map = aya::maps::MapData::from_pin(pin).expect("a map");
    let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd()));
    let told = told.expect("what the kernel tells of a descriptor");
    let line = told.lines().find_map(|line| line.strip_prefix("memlock:"));
    line.and_then(|bytes| bytes.trim().parse().ok()).expect("memlock")
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
    nix::time::clock_gettime(clock).map(Duration::from).expect("a clock")
}
