//! A world of ordinary maps for the tests of the logic.

use core::cell::RefCell;
use core::net::Ipv4Addr;
use core::ptr::NonNull;
use std::boxed::Box;
use std::collections::HashMap;
use std::vec::Vec;

use abi::{
    Affinity, AffinityKey, Backend, BackendKey, Counter, Endpoint, EndpointState, Flow, FlowState, Ip4, Mac,
    MemberKey, PolicyKey, Protocol, ReportKind, Scope, Service, ServiceKey, Settings, SettingsFlag,
    SourceKey, prefix_mask4,
};

use crate::parse::{Part, Seen};
use crate::policy::{self, Judgement};
use crate::track::{self, Origin, Verdict};
use crate::world::{Inserted, Known, World};

pub const NODE: [u8; 4] = [192, 0, 2, 1];
pub const POD: [u8; 4] = [10, 244, 0, 11];
pub const PEER: [u8; 4] = [10, 244, 0, 12];
pub const PENDING: [u8; 4] = [10, 244, 0, 13];
pub const ELSEWHERE: [u8; 4] = [10, 244, 9, 9];
pub const OUTSIDE: [u8; 4] = [198, 51, 100, 7];
pub const VIP: [u8; 4] = [10, 96, 0, 10];
pub const NODE_PORT: u16 = 30_080;

/// What programs return are references into maps: here, into memory that is never given back.
type Kept<K, V> = RefCell<HashMap<K, &'static V>>;

#[derive(Default)]
pub struct Fake {
    pub endpoints: Kept<Ip4, Endpoint>,
    pub locals: RefCell<Vec<Ip4>>,
    pub nodes: RefCell<HashMap<Ip4, u32>>,
    pub services: Kept<ServiceKey<Ip4>, Service>,
    pub backends: Kept<BackendKey, Backend<Ip4>>,
    pub affinities: Kept<AffinityKey<Ip4>, Affinity<Ip4>>,
    pub host_ports: Kept<ServiceKey<Ip4>, Backend<Ip4>>,
    pub sources: RefCell<Vec<SourceKey<Ip4>>>,
    /// Of every set.
    pub table: RefCell<Vec<u32>>,
    pub flows: Kept<Flow<Ip4>, FlowState<Ip4>>,
    /// Ports of the node's own sockets.
    pub sockets: RefCell<Vec<u16>>,
    pub room: RefCell<Option<usize>>,
    pub clock: RefCell<u32>,
    pub chances: RefCell<Vec<u32>>,
    pub counted: RefCell<Vec<Counter>>,
    pub identities: RefCell<HashMap<Ip4, u32>>,
    /// Without the length of their prefix: tests say every key that matches.
    pub allowed: RefCell<Vec<PolicyKey>>,
    pub reported: RefCell<Vec<ReportKind>>,
    pub judged: RefCell<usize>,
    /// Ends that leave, of which the next hop is known.
    pub hops: RefCell<Vec<(Ip4, Ip4)>>,
}

fn keep<K: core::hash::Hash + Eq, V>(kept: &Kept<K, V>, key: K, value: V) {
    kept.borrow_mut().insert(key, Box::leak(Box::new(value)));
}

pub fn ip(octets: [u8; 4]) -> Ip4 {
    Ipv4Addr::from(octets).into()
}

pub fn settings() -> Settings {
    Settings {
        masquerade4: ip(NODE),
        pods4: ip([10, 244, 0, 0]),
        pods4_mask: prefix_mask4(16),
        services4: ip([10, 96, 0, 0]),
        services4_mask: prefix_mask4(16),
        flags: SettingsFlag::MASQUERADE4 | SettingsFlag::GATEWAY,
        node_port_first: 30_000,
        node_port_last: 32_767,
        snat_port_first: 61_000,
        snat_port_last: 61_009,
        ..Settings::default()
    }
}

pub fn packet(protocol: u8, from: ([u8; 4], u16), to: ([u8; 4], u16), tcp: u8) -> Seen<Ip4> {
    let flow = Flow {
        source: ip(from.0),
        destination: ip(to.0),
        source_port: from.1.to_be(),
        destination_port: to.1.to_be(),
        protocol,
        pad: 0,
        pad2: 0,
    };
    let with_ports = [Protocol::TCP, Protocol::UDP, Protocol::SCTP, Protocol::ICMP];
    let portless = !with_ports.contains(&protocol);
    let part = if portless { Part::Portless } else { Part::Whole };
    Seen { flow, part, tcp, transport: 34, identification: 0, head: 64 }
}

impl Fake {
    /// Three pods, the node, and a pod elsewhere.
    pub fn new() -> Fake {
        let fake = Fake::default();
        for (link, address) in (5..).zip([POD, PEER, PENDING]) {
            let state = if address == PENDING { EndpointState::Pending } else { EndpointState::Ready };
            let mac = Mac::from([2, 0, 0, 0, 0, address[3]]);
            let endpoint = Endpoint { link, identity: 300, mac, state: state as u8, isolation: 0, pad2: 0 };
            keep(&fake.endpoints, ip(address), endpoint);
        }
        fake.locals.borrow_mut().push(ip(NODE));
        fake.nodes.borrow_mut().insert(ip(ELSEWHERE), abi::NodeFlag::NO_MASQUERADE);
        *fake.clock.borrow_mut() = 1000;
        fake
    }

    fn entry(&self, state: *const FlowState<Ip4>) -> Option<(Flow<Ip4>, &'static FlowState<Ip4>)> {
        let flows = self.flows.borrow();
        flows.iter().find(|(_, there)| core::ptr::eq(**there, state)).map(|(key, there)| (*key, *there))
    }

    pub fn serve(
        &self,
        number: u32,
        to: ([u8; 4], u16),
        scope: Scope,
        backends: &[([u8; 4], u16)],
        flags: u16,
    ) {
        let service = Service {
            service: number,
            set: number * 10,
            count: backends.len() as u32,
            affinity_seconds: 60,
            flags,
            pad: 0,
        };
        for protocol in [Protocol::TCP, Protocol::UDP] {
            let key = ServiceKey { address: ip(to.0), port: to.1.to_be(), protocol, scope: scope as u8 };
            keep(&self.services, key, service);
        }
        self.backends.borrow_mut().retain(|key, _| key.set != service.set);
        for (slot, (address, port)) in (0..).zip(backends) {
            let backend = Backend { address: ip(*address), port: port.to_be(), pad: 0 };
            keep(&self.backends, BackendKey { set: service.set, slot }, backend);
        }
    }

    /// Makes a pod isolated under a number of its own.
    pub fn isolate(&self, address: [u8; 4], identity: u32, isolation: u8) {
        let before = *self.endpoints.borrow()[&ip(address)];
        keep(&self.endpoints, ip(address), Endpoint { identity, isolation, ..before });
    }

    pub fn map_host_port(&self, key: ServiceKey<Ip4>, to: ([u8; 4], u16)) {
        keep(&self.host_ports, key, Backend { address: ip(to.0), port: to.1.to_be(), pad: 0 });
    }

    pub fn has(&self, flow: &Flow<Ip4>) -> bool {
        self.flows.borrow().contains_key(flow)
    }
}

impl World for Fake {
    type A = Ip4;

    fn endpoint(&self, address: &Ip4) -> Option<&'static Endpoint> {
        self.endpoints.borrow().get(address).copied()
    }

    fn is_local(&self, address: &Ip4) -> bool {
        self.locals.borrow().contains(address)
    }

    fn node_flags(&self, address: &Ip4) -> u32 {
        self.nodes.borrow().get(address).copied().unwrap_or(0)
    }

    fn identity(&self, address: &Ip4) -> u32 {
        self.identities.borrow().get(address).copied().unwrap_or(abi::ANYBODY)
    }

    fn allows(&self, key: &PolicyKey) -> bool {
        self.allowed.borrow().contains(key)
    }

    fn judge(&self, flow: &Flow<Ip4>, becomes: &FlowState<Ip4>, origin: Origin, _: u8) -> Judgement {
        *self.judged.borrow_mut() += 1;
        policy::judge(self, flow, becomes, origin)
    }

    fn to_backend(
        &self,
        settings: &Settings,
        key: &Flow<Ip4>,
        state: &mut FlowState<Ip4>,
        origin: Origin,
    ) -> Verdict {
        track::to_backend(self, settings, key, state, origin)
    }

    fn conceal(
        &self,
        settings: &Settings,
        key: &Flow<Ip4>,
        state: &mut FlowState<Ip4>,
        origin: Origin,
    ) -> Verdict {
        track::conceal(self, settings, key, state, origin)
    }

    fn enter(&self, settings: &Settings, key: &Flow<Ip4>, state: &mut FlowState<Ip4>) -> Verdict {
        track::enter(self, settings, key, state)
    }

    fn attempt(&self, key: &Flow<Ip4>, state: &FlowState<Ip4>, sockets_first: bool) -> Verdict {
        track::attempt(self, key, state, sockets_first)
    }

    fn oust(&self, key: &Flow<Ip4>, state: &FlowState<Ip4>) -> bool {
        track::oust(self, key, state)
    }

    fn renew(&self, state: *mut FlowState<Ip4>, epoch: u32) {
        let (key, there) = self.entry(state).expect("a state of this world");
        keep(&self.flows, key, FlowState { epoch, ..*there });
    }

    fn report(&self, _: &Flow<Ip4>, _: &FlowState<Ip4>, kind: ReportKind, _: u8) {
        self.reported.borrow_mut().push(kind);
    }

    fn service(&self, key: &ServiceKey<Ip4>) -> Option<&'static Service> {
        self.services.borrow().get(key).copied()
    }

    fn backend(&self, key: &BackendKey) -> Option<&'static Backend<Ip4>> {
        self.backends.borrow().get(key).copied()
    }

    fn is_member(&self, key: &MemberKey<Ip4>) -> bool {
        let same = |backend: &Backend<Ip4>| backend.address == key.address && backend.port == key.port;
        self.backends.borrow().iter().any(|(at, backend)| at.set == key.set && same(backend))
    }

    fn host_port(&self, key: &ServiceKey<Ip4>) -> Option<&'static Backend<Ip4>> {
        self.host_ports.borrow().get(key).copied()
    }

    fn is_source(&self, key: &SourceKey<Ip4>) -> bool {
        self.sources.borrow().contains(key)
    }

    fn hop(&self, _settings: &Settings, source: &Ip4, destination: &Ip4) -> Option<u32> {
        self.hops.borrow().iter().position(|ends| *ends == (*source, *destination)).map(|at| at as u32)
    }

    fn choice(&self, _set: u32, hash: u32) -> Option<u32> {
        let table = self.table.borrow();
        if table.is_empty() { None } else { Some(table[hash as usize % table.len()]) }
    }

    fn affinity(&self, key: &AffinityKey<Ip4>) -> Option<&'static Affinity<Ip4>> {
        self.affinities.borrow().get(key).copied()
    }

    fn put_affinity(&self, key: &AffinityKey<Ip4>, value: &Affinity<Ip4>) {
        keep(&self.affinities, *key, *value);
    }

    fn flow(&self, key: &Flow<Ip4>) -> Option<Known<Ip4>> {
        let entry = NonNull::from(*self.flows.borrow().get(key)?);
        // SAFETY: memory that is never given back; this world replaces its entries and writes none.
        Some(unsafe { Known::new(entry) })
    }

    fn touch(&self, state: *mut FlowState<Ip4>, flags: u16) {
        // One that was renewed meanwhile keeps that; programs write in place.
        let Some((key, there)) = self.entry(state) else { return };
        keep(&self.flows, key, FlowState { seen: self.now(), flags: there.flags | flags, ..*there });
    }

    fn add_flow(&self, key: &Flow<Ip4>, state: &FlowState<Ip4>) -> Inserted {
        if self.has(key) { Inserted::Exists } else { self.put_flow(key, state) }
    }

    fn put_flow(&self, key: &Flow<Ip4>, state: &FlowState<Ip4>) -> Inserted {
        if !self.has(key) && self.room.borrow().is_some_and(|room| self.flows.borrow().len() >= room) {
            return Inserted::Full;
        }
        keep(&self.flows, *key, *state);
        Inserted::Done
    }

    fn remove_flow(&self, key: &Flow<Ip4>) {
        self.flows.borrow_mut().remove(key);
    }

    fn has_socket(&self, answer: &Flow<Ip4>) -> bool {
        self.sockets.borrow().contains(&u16::from_be(answer.destination_port))
    }

    fn now(&self) -> u32 {
        *self.clock.borrow()
    }

    fn random(&self) -> u32 {
        self.chances.borrow_mut().pop().unwrap_or(0)
    }

    fn count(&self, counter: Counter) {
        self.counted.borrow_mut().push(counter);
    }
}
