//! Keys and values that the programs in the kernel and their users share.
//!
//! ```text
//! SERVICES4/6   ServiceKey  -> Service     writer: proxy      frontends
//! BACKENDS4/6   BackendKey  -> Backend     writer: proxy      immutable sets, by number and slot
//! MEMBERS4/6    MemberKey   -> slot        writer: proxy      is this backend (still) in that set
//! TABLES        set         -> ChoiceTable writer: proxy      Maglev's table of a set
//! SOURCES4/6    prefix      -> 1           writer: proxy      clients of services that not everybody may use
//! HOSTPORTS4/6  ServiceKey  -> Backend     writer: agent      hostPort of pods of this node
//! ENDPOINTS4/6  address     -> Endpoint    writer: agent      pods of this node
//! NODES4/6      prefix      -> Node        writer: agent      what lies behind other addresses of the cluster
//! NAMESPACES    cookie      -> Namespace   writer: agent      network namespaces of this node
//! LOCAL4/6      address     -> 1           writer: datapath   addresses of this node
//! SETTINGS      0           -> Settings    writer: datapath
//! FLOWS4/6      Flow        -> FlowState   writer: programs   conntrack and NAT, two entries a flow
//! AFFINITY4/6   AffinityKey -> Affinity    writer: programs   ClientIP session affinity
//! SOCKETS4/6    SocketKey   -> SocketName  writer: programs   what an unconnected or translated socket called its peer
//! FRAGMENTS4/6  FragmentKey -> ports       writer: programs   later fragments carry none
//! COUNTERS      Counter     -> u64         writer: programs   per CPU
//! POLICY        PolicyKey   -> 1           writer: agent      what isolated pods may; prefixes, see policy.rs
//! IDENTITIES4/6 prefix      -> u32         writer: agent      whose address it is, in POLICY's numbers
//! REPORTS       Report                     writer: programs   a ring: drops always, the rest on demand
//! HOPS          number      -> Hop         writer: programs   per CPU; next hops of this second
//! RATES         kind        -> Rate        writer: programs   per CPU; how many reports this second
//! ```
//!
//! **Invariants.** Every record is `#[repr(C)]`, has no implicit padding (a constant asserts it) and only
//! scalar fields: an array that pads becomes a call to memset. Addresses and ports are in network order,
//! as in the packet; everything else is in the order of the machine. [`HASH`] changes with every name, type and order of a field and
//! with every map, and names the directory of the pins. Not here: behaviour, beyond making and reading values.
//!
//! Reference: bpf(2); linux/bpf.h.
#![no_std]
#![allow(unsafe_code)]

#[macro_use]
mod record;
mod address;
mod counter;
mod endpoint;
mod flow;
mod hop;
mod maps;
mod policy;
mod report;
mod service;
mod settings;
mod socket;

pub use address::{Address, Ip4, Ip6, Mac, prefix_mask4};
pub use counter::{COUNTERS, Counter};
pub use endpoint::{Endpoint, EndpointState, Isolation, Namespace, Node, NodeFlag};
pub use flow::{Flow, FlowFlag, FlowState, FragmentKey, FragmentKey6, FragmentPorts, HOST_PORT, Protocol};
pub use hop::{BY_WIRE, HOPS, Hop};
pub use maps::{HASH, MAPS, MapShape, PROGRAMS, ProgramKind, ProgramShape, capacity};
pub use policy::{ANYBODY, Direction, PolicyKey, policy_prefix};
pub use report::{REPORTS_PER_SECOND, Rate, Report, ReportKind};
pub use service::{
    Affinity, AffinityKey, Backend, BackendKey, ChoiceTable, MemberKey, Scope, Service, ServiceFlag,
    ServiceKey, SourceKey, TABLE_LENGTH,
};
pub use settings::{Settings, SettingsFlag};
pub use socket::{SocketKey, SocketName};
