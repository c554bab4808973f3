//! Plans on the real maps of this kernel: what is written is what is read, and a restart changes nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use client::Key;
use datapath::{Datapath, Frontend, Scope, Service, Traffic, Transport, unload};

use super::*;
use crate::claims::{Claims, Wanted};
use crate::desired::{DesiredPort, Lead, PortId};
use crate::ending;
use crate::plan::{leftovers, plan};

fn frontend(last: u8, transport: Transport) -> Frontend {
    Frontend { address: IpAddr::from([10, 96, 0, last]), port: 80, transport, scope: Scope::Cluster }
}

/// A Service with one frontend of each family and these backends, by their last numbers.
fn wanted(
    name: &str,
    last: u8,
    transport: Transport,
    backends: &[u8],
    affinity: Option<u32>,
) -> (Key, Wanted) {
    let key = Key::new("n", name);
    let six = Frontend { address: format!("fd00::{last}").parse().unwrap(), ..frontend(last, transport) };
    let of = |frontend: Frontend, prefix: &str| Lead {
        frontend,
        backends: backends
            .iter()
            .map(|last| Backend::new(format!("{prefix}{last}").parse().unwrap(), 8080))
            .collect(),
        affinity_seconds: affinity,
        traffic: Traffic::default(),
    };
    let leads = vec![of(frontend(last, transport), "10.1.0."), of(six, "fd00:1::")];
    let id = PortId { service: key.clone(), name: "p".into(), transport };
    (key, Wanted { created: "t".into(), ports: vec![DesiredPort { id, leads, sources: BTreeSet::new() }] })
}

/// Brings one Service to the maps; how many steps that took.
fn apply(
    maps: &mut Maps,
    observed: &mut Observed,
    claims: &mut Claims,
    key: &Key,
    wanted: Option<Wanted>,
) -> usize {
    let (mut steps, mut later) = (0, Later::default());
    for key in claims.set(key, wanted) {
        let (desired, gone) = claims.draft(&key, observed);
        let plan = plan(&desired, &gone, observed);
        steps += plan.len();
        maps.execute(plan, observed, &mut later).unwrap();
    }
    for set in later.retired {
        maps.erase(set, observed).unwrap();
    }
    for backend in &later.forgotten {
        maps.tables.conntrack().unwrap().forget_backend(*backend, Transport::Udp).unwrap();
    }
    assert_eq!(maps.observed().unwrap(), *observed, "what is believed is what is there");
    steps
}

#[test]
fn on_real_maps() {
    if !harness::root_or_skip("on_real_maps") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let guard = harness::host::exclusive("on_real_maps");
    let config = Config { bpffs: folder.path().join("bpf"), ..Config::default() };
    assert!(matches!(Maps::open(&config), Err(DatapathError::NotLoaded { .. })));
    let loaded = Datapath::ensure(&config).unwrap();
    let mut maps = Maps::open(&config).unwrap();
    let (mut observed, mut claims) = (maps.observed().unwrap(), Claims::default());
    let mut run = |maps: &mut Maps, (key, wanted): (Key, Wanted), gone: bool| {
        apply(maps, &mut observed, &mut claims, &key, (!gone).then_some(wanted))
    };
    let tcp = |backends: &[u8], affinity| wanted("tcp", 1, Transport::Tcp, backends, affinity);
    let udp = |backends: &[u8]| wanted("udp", 2, Transport::Udp, backends, None);
    // Two sets and two frontends.
    assert_eq!(run(&mut maps, tcp(&[1, 2, 3], None), false), 4);
    assert_eq!(run(&mut maps, udp(&[1, 2]), false), 4);
    // The other Service is not touched.
    assert_eq!(run(&mut maps, tcp(&[1, 3], Some(60)), false), 6);
    assert_eq!(run(&mut maps, tcp(&[1, 3], None), false), 2);
    // Points, retired sets, flows that are forgotten.
    assert_eq!(run(&mut maps, udp(&[2]), false), 8);
    assert_eq!(run(&mut maps, udp(&[]), false), 6);
    assert_eq!(run(&mut maps, udp(&[5]), false), 4);

    // A restart: another process finds what is there, keeps it, and removes what nobody wants.
    let mut foreign = maps.tables.services().unwrap();
    let stray = Service { number: 99, set: None, affinity_seconds: None, traffic: Traffic::default() };
    foreign.put(&frontend(77, Transport::Tcp), &stray).unwrap();
    maps.tables.backends().unwrap().install(&[Backend::from(([10, 1, 0, 77], 1))]).unwrap();
    drop(maps);
    let mut maps = Maps::open(&config).unwrap();
    let (mut observed, mut claims) = (maps.observed().unwrap(), Claims::default());
    claims.reserve(&observed);
    for (key, wanted) in [tcp(&[1, 3], None), udp(&[5])] {
        assert_eq!(apply(&mut maps, &mut observed, &mut claims, &key, Some(wanted)), 0, "{key}");
    }
    let steps = leftovers(&observed, |frontend| claims.is_claimed(frontend));
    assert_eq!(steps.len(), 2, "{steps:?}");
    let mut later = Later::default();
    maps.execute(steps, &mut observed, &mut later).unwrap();
    for set in later.retired {
        maps.erase(set, &mut observed).unwrap();
    }
    for (key, wanted) in [tcp(&[], None), udp(&[])] {
        apply(&mut maps, &mut observed, &mut claims, &key, Some(wanted));
        apply(&mut maps, &mut observed, &mut claims, &key, None);
    }
    assert_eq!(maps.observed().unwrap(), Observed::default(), "nothing is left");
    drop((maps, loaded));
    unload(&config).unwrap();
    guard.finish();
}

/// What the proxy does after an error: it reads the maps anew, plans for every Service, and removes what is left.
fn adopt(config: &Config, claims: &mut Claims) -> (Maps, Observed) {
    let mut maps = Maps::open(config).unwrap();
    let mut observed = maps.observed().unwrap();
    claims.reserve(&observed);
    let services: Vec<Key> = claims.services().cloned().collect();
    let mut later = Later::default();
    for key in &services {
        let (desired, gone) = claims.draft(key, &observed);
        maps.execute(plan(&desired, &gone, &observed), &mut observed, &mut later).unwrap();
    }
    let left = leftovers(&observed, |frontend| claims.is_claimed(frontend));
    maps.execute(left, &mut observed, &mut later).unwrap();
    for set in later.retired {
        maps.erase(set, &mut observed).unwrap();
    }
    assert_eq!(maps.observed().unwrap(), observed, "what is believed is what is there");
    let led = ending::led(&maps.tables);
    later.forgotten.extend(led.iter().filter(|led| observed.is_stray(led)).map(|led| led.backend));
    ending::end(&maps.tables, &later.forgotten);
    (maps, observed)
}

/// A client's datagrams to the Service, which the programs have sent to this backend. Both entries.
fn lead(config: &Config, backend: u8) {
    use abi::{Flow, FlowFlag, FlowState, Ip4, Protocol};
    let versions = std::fs::read_dir(&config.bpffs).unwrap().flatten();
    let pin = versions.map(|entry| entry.path().join("maps/FLOWS4")).find(|pin| pin.exists()).unwrap();
    let map = aya::maps::Map::from_map_data(aya::maps::MapData::from_pin(pin).unwrap()).unwrap();
    let mut table: aya::maps::HashMap<_, Flow<Ip4>, FlowState<Ip4>> = map.try_into().unwrap();
    let ip = |last: [u8; 4]| Ip4::from(std::net::Ipv4Addr::from(last));
    let flow = Flow {
        source: ip([10, 1, 0, 200]),
        destination: ip([10, 96, 0, 2]),
        source_port: (4000 + u16::from(backend)).to_be(),
        destination_port: 80_u16.to_be(),
        protocol: Protocol::UDP,
        pad: 0,
        pad2: 0,
    };
    let state = FlowState {
        source: flow.source,
        destination: ip([10, 1, 0, backend]),
        source_port: flow.source_port,
        destination_port: 8080_u16.to_be(),
        flags: FlowFlag::SEEN | FlowFlag::TRANSLATED,
        pad: 0,
        seen: 0,
        service: 1,
        epoch: 0,
    };
    let back = FlowState {
        source: flow.destination,
        destination: flow.source,
        source_port: flow.destination_port,
        destination_port: flow.source_port,
        flags: state.flags | FlowFlag::REPLY,
        ..state
    };
    table.insert(state.partner(Protocol::UDP), back, 0).unwrap();
    table.insert(flow, state, 0).unwrap();
}

/// The backends that clients are with, by their last numbers.
fn led_to(maps: &Maps) -> Vec<String> {
    let mut all: Vec<String> = ending::led(&maps.tables).iter().map(|led| led.backend.to_string()).collect();
    all.sort();
    all
}

#[test]
fn an_error_at_any_step_leaves_nothing() {
    const TEST: &str = "an_error_at_any_step_leaves_nothing";
    if !harness::root_or_skip(TEST) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let guard = harness::host::exclusive(TEST);
    let config = Config { bpffs: folder.path().join("bpf"), ..Config::default() };
    let loaded = Datapath::ensure(&config).unwrap();
    let of = |backends: &[u8], affinity| wanted("udp", 2, Transport::Udp, backends, affinity);
    let mut interrupted = 0;
    // More steps than the change has: the last rounds are whole.
    for k in 0..16 {
        let mut maps = Maps::open(&config).unwrap();
        let (mut observed, mut claims) = (maps.observed().unwrap(), Claims::default());
        let (key, first) = of(&[1, 2], None);
        apply(&mut maps, &mut observed, &mut claims, &key, Some(first));
        lead(&config, 1);
        lead(&config, 2);
        let (_, second) = of(&[2, 3], Some(60));
        for key in claims.set(&key, Some(second)) {
            let (desired, gone) = claims.draft(&key, &observed);
            let mut steps = plan(&desired, &gone, &observed);
            interrupted += usize::from(k < steps.len());
            // The error is at step k: those before it are done, and what they leave for later is forgotten.
            steps.truncate(k);
            maps.execute(steps, &mut observed, &mut Later::default()).unwrap();
        }
        drop(maps);
        let (mut maps, mut observed) = adopt(&config, &mut claims);
        // Of each family one frontend that leads to one set.
        assert_eq!(observed.size(), (2, 2), "after an error at step {k}: {observed:?}");
        assert_eq!(
            led_to(&maps),
            ["10.1.0.2:8080"],
            "after an error at step {k} a client is with who is gone"
        );
        apply(&mut maps, &mut observed, &mut claims, &key, None);
        assert!(led_to(&maps).is_empty(), "the Service is gone");
        assert_eq!(
            maps.observed().unwrap(),
            Observed::default(),
            "after an error at step {k} something is left"
        );
    }
    assert!((4..16).contains(&interrupted), "{interrupted} steps");
    drop(loaded);
    unload(&config).unwrap();
    guard.finish();
}
