//! The maps of `abi::MAPS`, by name. All are pinned by name, so a restart of their user keeps them.
//!
//! Flows and affinity are preallocated hash maps: they never allocate for a packet, and they say when they are
//! full. What user space writes is allocated as it is written. Only FRAGMENTS and SOCKETS are
//! least-recently-used: nothing tells when a datagram is complete, and a socket that ends does not tell us.

use abi::{
    Affinity, AffinityKey, Backend, BackendKey, ChoiceTable, Endpoint, Flow, FlowState, FragmentKey,
    FragmentKey6, FragmentPorts, Hop, Ip4, Ip6, MemberKey, Namespace, Node, PolicyKey, Rate, Service,
    ServiceKey, Settings, SocketKey, SocketName, SourceKey, capacity,
};
use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};

#[map]
pub static SERVICES4: HashMap<ServiceKey<Ip4>, Service> =
    HashMap::pinned(capacity::SERVICES, BPF_F_NO_PREALLOC);
#[map]
pub static SERVICES6: HashMap<ServiceKey<Ip6>, Service> =
    HashMap::pinned(capacity::SERVICES, BPF_F_NO_PREALLOC);
#[map]
pub static BACKENDS4: HashMap<BackendKey, Backend<Ip4>> =
    HashMap::pinned(capacity::BACKENDS, BPF_F_NO_PREALLOC);
#[map]
pub static BACKENDS6: HashMap<BackendKey, Backend<Ip6>> =
    HashMap::pinned(capacity::BACKENDS, BPF_F_NO_PREALLOC);
#[map]
pub static MEMBERS4: HashMap<MemberKey<Ip4>, u32> = HashMap::pinned(capacity::BACKENDS, BPF_F_NO_PREALLOC);
#[map]
pub static MEMBERS6: HashMap<MemberKey<Ip6>, u32> = HashMap::pinned(capacity::BACKENDS, BPF_F_NO_PREALLOC);
#[map]
pub static TABLES: HashMap<u32, ChoiceTable> = HashMap::pinned(capacity::TABLES, BPF_F_NO_PREALLOC);
#[map]
pub static SOURCES4: LpmTrie<SourceKey<Ip4>, u32> = LpmTrie::pinned(capacity::SOURCES, BPF_F_NO_PREALLOC);
#[map]
pub static SOURCES6: LpmTrie<SourceKey<Ip6>, u32> = LpmTrie::pinned(capacity::SOURCES, BPF_F_NO_PREALLOC);
#[map]
pub static HOSTPORTS4: HashMap<ServiceKey<Ip4>, Backend<Ip4>> =
    HashMap::pinned(capacity::HOSTPORTS, BPF_F_NO_PREALLOC);
#[map]
pub static HOSTPORTS6: HashMap<ServiceKey<Ip6>, Backend<Ip6>> =
    HashMap::pinned(capacity::HOSTPORTS, BPF_F_NO_PREALLOC);
#[map]
pub static ENDPOINTS4: HashMap<Ip4, Endpoint> = HashMap::pinned(capacity::ENDPOINTS, 0);
#[map]
pub static ENDPOINTS6: HashMap<Ip6, Endpoint> = HashMap::pinned(capacity::ENDPOINTS, 0);
#[map]
pub static NODES4: LpmTrie<Ip4, Node> = LpmTrie::pinned(capacity::NODES, BPF_F_NO_PREALLOC);
#[map]
pub static NODES6: LpmTrie<Ip6, Node> = LpmTrie::pinned(capacity::NODES, BPF_F_NO_PREALLOC);
#[map]
pub static NAMESPACES: HashMap<u64, Namespace> = HashMap::pinned(capacity::NAMESPACES, 0);
#[map]
pub static LOCAL4: HashMap<Ip4, u32> = HashMap::pinned(capacity::LOCAL, 0);
#[map]
pub static LOCAL6: HashMap<Ip6, u32> = HashMap::pinned(capacity::LOCAL, 0);
#[map]
pub static SETTINGS: Array<Settings> = Array::pinned(1, 0);
#[map]
pub static FLOWS4: HashMap<Flow<Ip4>, FlowState<Ip4>> = HashMap::pinned(capacity::FLOWS4, 0);
#[map]
pub static FLOWS6: HashMap<Flow<Ip6>, FlowState<Ip6>> = HashMap::pinned(capacity::FLOWS6, 0);
#[map]
pub static AFFINITY4: HashMap<AffinityKey<Ip4>, Affinity<Ip4>> = HashMap::pinned(capacity::AFFINITY, 0);
#[map]
pub static AFFINITY6: HashMap<AffinityKey<Ip6>, Affinity<Ip6>> = HashMap::pinned(capacity::AFFINITY, 0);
#[map]
pub static SOCKETS4: LruHashMap<SocketKey<Ip4>, SocketName<Ip4>> = LruHashMap::pinned(capacity::SOCKETS, 0);
#[map]
pub static SOCKETS6: LruHashMap<SocketKey<Ip6>, SocketName<Ip6>> = LruHashMap::pinned(capacity::SOCKETS, 0);
#[map]
pub static FRAGMENTS4: LruHashMap<FragmentKey, FragmentPorts> = LruHashMap::pinned(capacity::FRAGMENTS, 0);
#[map]
pub static POLICY: LpmTrie<PolicyKey, u32> = LpmTrie::pinned(capacity::POLICY, BPF_F_NO_PREALLOC);
#[map]
pub static IDENTITIES4: LpmTrie<Ip4, u32> = LpmTrie::pinned(capacity::IDENTITIES, BPF_F_NO_PREALLOC);
#[map]
pub static IDENTITIES6: LpmTrie<Ip6, u32> = LpmTrie::pinned(capacity::IDENTITIES, BPF_F_NO_PREALLOC);
#[map]
pub static REPORTS: RingBuf = RingBuf::pinned(capacity::REPORTS, 0);
#[map]
pub static RATES: PerCpuArray<Rate> = PerCpuArray::pinned(capacity::RATES, 0);
#[map]
pub static FRAGMENTS6: LruHashMap<FragmentKey6, FragmentPorts> = LruHashMap::pinned(capacity::FRAGMENTS, 0);
#[map]
pub static HOPS: PerCpuArray<Hop> = PerCpuArray::pinned(capacity::HOPS, 0);
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::pinned(capacity::COUNTERS, 0);
