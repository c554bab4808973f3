//! Every map and program by name, and the hash of it all.

use crate::record::fnv;
use crate::{
    Affinity, AffinityKey, Backend, BackendKey, ChoiceTable, Endpoint, Flow, FlowState, FragmentKey,
    FragmentKey6, FragmentPorts, Hop, Ip4, Ip6, Mac, MemberKey, Namespace, Node, PolicyKey, Rate, Report,
    Service, ServiceKey, Settings, SocketKey, SocketName, SourceKey,
};

/// How many entries each map holds. All but FRAGMENTS and SOCKETS say when they are full.
pub mod capacity {
    pub const SERVICES: u32 = 65_536;
    pub const BACKENDS: u32 = 131_072;
    pub const TABLES: u32 = 4_096;
    pub const SOURCES: u32 = 65_536;
    pub const HOSTPORTS: u32 = 4_096;
    pub const ENDPOINTS: u32 = 1_024;
    pub const NODES: u32 = 16_384;
    pub const NAMESPACES: u32 = 1_024;
    pub const LOCAL: u32 = 256;
    pub const FLOWS4: u32 = 262_144;
    pub const FLOWS6: u32 = 65_536;
    pub const AFFINITY: u32 = 65_536;
    pub const SOCKETS: u32 = 32_768;
    pub const FRAGMENTS: u32 = 4_096;
    pub const COUNTERS: u32 = 64;
    pub const POLICY: u32 = 131_072;
    pub const IDENTITIES: u32 = 262_144;
    /// Bytes.
    pub const REPORTS: u32 = 1 << 20;
    /// Of drops, and of the rest.
    pub const RATES: u32 = 2;
    /// A power of two.
    pub const HOPS: u32 = crate::HOPS;
}

/// A map: its name and the shapes of key and value.
#[derive(Clone, Copy, Debug)]
pub struct MapShape {
    pub name: &'static str,
    pub key: &'static str,
    pub value: &'static str,
    pub entries: u32,
}

impl MapShape {
    /// Of two versions alike where an entry of one can be read by the other.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        let hash = fnv(fnv(fnv(0xcbf2_9ce4_8422_2325, Ip4::SHAPE), Ip6::SHAPE), Mac::SHAPE);
        fnv(fnv(fnv(hash, self.name), self.key), self.value)
    }
}

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramKind {
    /// A tc classifier.
    Packet,
    /// XDP in the driver of a link.
    Wire,
    /// cgroup/connect4 and so on, by the kernel's name.
    Socket(&'static str),
}

#[derive(Clone, Copy, Debug)]
pub struct ProgramShape {
    pub name: &'static str,
    pub kind: ProgramKind,
}

const fn map(name: &'static str, key: &'static str, value: &'static str, entries: u32) -> MapShape {
    MapShape { name, key, value, entries }
}

const fn packet(name: &'static str) -> ProgramShape {
    ProgramShape { name, kind: ProgramKind::Packet }
}

const fn wire(name: &'static str) -> ProgramShape {
    ProgramShape { name, kind: ProgramKind::Wire }
}

const fn socket(name: &'static str, hook: &'static str) -> ProgramShape {
    ProgramShape { name, kind: ProgramKind::Socket(hook) }
}

/// Every map.
pub const MAPS: &[MapShape] = &[
    map("SERVICES4", ServiceKey::<Ip4>::SHAPE, Service::SHAPE, capacity::SERVICES),
    map("SERVICES6", ServiceKey::<Ip6>::SHAPE, Service::SHAPE, capacity::SERVICES),
    map("BACKENDS4", BackendKey::SHAPE, Backend::<Ip4>::SHAPE, capacity::BACKENDS),
    map("BACKENDS6", BackendKey::SHAPE, Backend::<Ip6>::SHAPE, capacity::BACKENDS),
    map("MEMBERS4", MemberKey::<Ip4>::SHAPE, "u32", capacity::BACKENDS),
    map("MEMBERS6", MemberKey::<Ip6>::SHAPE, "u32", capacity::BACKENDS),
    map("TABLES", "u32", ChoiceTable::SHAPE, capacity::TABLES),
    map("SOURCES4", SourceKey::<Ip4>::SHAPE, "u32", capacity::SOURCES),
    map("SOURCES6", SourceKey::<Ip6>::SHAPE, "u32", capacity::SOURCES),
    map("HOSTPORTS4", ServiceKey::<Ip4>::SHAPE, Backend::<Ip4>::SHAPE, capacity::HOSTPORTS),
    map("HOSTPORTS6", ServiceKey::<Ip6>::SHAPE, Backend::<Ip6>::SHAPE, capacity::HOSTPORTS),
    map("ENDPOINTS4", Ip4::SHAPE, Endpoint::SHAPE, capacity::ENDPOINTS),
    map("ENDPOINTS6", Ip6::SHAPE, Endpoint::SHAPE, capacity::ENDPOINTS),
    map("NODES4", Ip4::SHAPE, Node::SHAPE, capacity::NODES),
    map("NODES6", Ip6::SHAPE, Node::SHAPE, capacity::NODES),
    map("NAMESPACES", "u64", Namespace::SHAPE, capacity::NAMESPACES),
    map("LOCAL4", Ip4::SHAPE, "u32", capacity::LOCAL),
    map("LOCAL6", Ip6::SHAPE, "u32", capacity::LOCAL),
    map("SETTINGS", "u32", Settings::SHAPE, 1),
    map("FLOWS4", Flow::<Ip4>::SHAPE, FlowState::<Ip4>::SHAPE, capacity::FLOWS4),
    map("FLOWS6", Flow::<Ip6>::SHAPE, FlowState::<Ip6>::SHAPE, capacity::FLOWS6),
    map("AFFINITY4", AffinityKey::<Ip4>::SHAPE, Affinity::<Ip4>::SHAPE, capacity::AFFINITY),
    map("AFFINITY6", AffinityKey::<Ip6>::SHAPE, Affinity::<Ip6>::SHAPE, capacity::AFFINITY),
    map("SOCKETS4", SocketKey::<Ip4>::SHAPE, SocketName::<Ip4>::SHAPE, capacity::SOCKETS),
    map("SOCKETS6", SocketKey::<Ip6>::SHAPE, SocketName::<Ip6>::SHAPE, capacity::SOCKETS),
    map("FRAGMENTS4", FragmentKey::SHAPE, FragmentPorts::SHAPE, capacity::FRAGMENTS),
    map("FRAGMENTS6", FragmentKey6::SHAPE, FragmentPorts::SHAPE, capacity::FRAGMENTS),
    map("COUNTERS", "u32", "u64", capacity::COUNTERS),
    map("POLICY", PolicyKey::SHAPE, "u32", capacity::POLICY),
    map("IDENTITIES4", Ip4::SHAPE, "u32", capacity::IDENTITIES),
    map("IDENTITIES6", Ip6::SHAPE, "u32", capacity::IDENTITIES),
    map("REPORTS", "", Report::SHAPE, capacity::REPORTS),
    map("HOPS", "u32", Hop::SHAPE, capacity::HOPS),
    map("RATES", "u32", Rate::SHAPE, capacity::RATES),
];

/// Every program.
pub const PROGRAMS: &[ProgramShape] = &[
    packet("from_pod"),
    packet("to_pod"),
    packet("from_host"),
    packet("from_uplink"),
    packet("to_uplink"),
    wire("from_wire"),
    socket("connect4", "cgroup/connect4"),
    socket("connect6", "cgroup/connect6"),
    socket("sendmsg4", "cgroup/sendmsg4"),
    socket("sendmsg6", "cgroup/sendmsg6"),
    socket("recvmsg4", "cgroup/recvmsg4"),
    socket("recvmsg6", "cgroup/recvmsg6"),
    socket("getpeername4", "cgroup/getpeername4"),
    socket("getpeername6", "cgroup/getpeername6"),
];

/// Changes whenever a pinned map of another build could be misread.
pub const HASH: u64 = {
    let mut hash = fnv(fnv(fnv(0xcbf2_9ce4_8422_2325, Ip4::SHAPE), Ip6::SHAPE), Mac::SHAPE);
    let mut at = 0;
    while at < MAPS.len() {
        hash = fnv(hash, MAPS[at].name);
        hash = fnv(hash, MAPS[at].key);
        hash = fnv(hash, MAPS[at].value);
        hash = (hash ^ MAPS[at].entries as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
};
