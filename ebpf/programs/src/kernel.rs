//! The logic's surroundings as they are in the kernel: the maps, one set for each family.

use core::ptr::NonNull;

use abi::{
    ANYBODY, Affinity, AffinityKey, Backend, BackendKey, ChoiceTable, Counter, Endpoint, Flow, FlowState,
    Ip4, Ip6, MemberKey, PolicyKey, Protocol, ReportKind, Service, ServiceKey, Settings, SourceKey,
    TABLE_LENGTH, policy_prefix,
};
use aya_ebpf::bindings::{__sk_buff, BPF_NOEXIST, bpf_sock_tuple};
use aya_ebpf::helpers::generated::{
    bpf_get_prandom_u32, bpf_ktime_get_coarse_ns, bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp,
};
use aya_ebpf::maps::lpm_trie::Key;

use crate::policy::Judgement;
use crate::track::{Origin, Verdict};
use crate::world::{Inserted, Known, World};
use crate::{frame, hop, maps, report};

/// Linux errno of a place that is taken.
const EEXIST: i32 = -17;
/// BPF_F_CURRENT_NETNS.
const CURRENT_NETNS: u64 = u64::MAX;

/// IPv4, with the packet in hand if there is one.
pub struct Kernel4 {
    pub packet: Option<NonNull<__sk_buff>>,
}

/// IPv6, with the packet in hand if there is one.
pub struct Kernel6 {
    pub packet: Option<NonNull<__sk_buff>>,
}

#[inline(always)]
pub fn settings() -> Option<&'static Settings> {
    maps::SETTINGS.get(0)
}

#[inline(always)]
pub fn count(counter: Counter) {
    count_at(counter as u32);
}

#[inline(always)]
pub fn count_at(index: u32) {
    if let Some(at) = maps::COUNTERS.get_ptr_mut(index) {
        // SAFETY: the kernel gives each CPU a cell of its own, and a program stays on its CPU.
        unsafe { *at += 1 };
    }
}

#[inline(always)]
pub fn now() -> u32 {
    // SAFETY: a helper without arguments.
    (unsafe { bpf_ktime_get_coarse_ns() } / 1_000_000_000) as u32
}

#[inline(always)]
fn inserted(result: Result<(), i32>) -> Inserted {
    match result {
        Ok(()) => Inserted::Done,
        Err(EEXIST) => Inserted::Exists,
        Err(_) => Inserted::Full,
    }
}

#[inline(always)]
fn choice(set: u32, hash: u32) -> Option<u32> {
    let table: *const ChoiceTable = maps::TABLES.get_ptr(set)?;
    // Not a remainder: that becomes a product from which the verifier learns no bound.
    let at = ((hash >> 16) as usize * TABLE_LENGTH) >> 16;
    // SAFETY: within the record, which the kernel frees only after the program ends.
    Some(u32::from(unsafe { table.cast::<u16>().add(at).read() }))
}

/// A key in the frame of the function: see [`frame`].
#[inline(always)]
fn in_frame<K: Copy>(key: &K) -> K {
    *key
}

/// Two programs may write at once; either one's time and flags are true.
#[inline(always)]
fn touch<A>(state: *mut FlowState<A>, flags: u16) {
    let now = now();
    // SAFETY: the value lies in a map, which the kernel lets programs write; it is freed only after they end.
    unsafe {
        let (seen, there) = (&raw mut (*state).seen, &raw mut (*state).flags);
        if seen.read_volatile() != now {
            seen.write_volatile(now);
        }
        let before = there.read_volatile();
        if before & flags != flags {
            there.write_volatile(before | flags);
        }
    }
}

macro_rules! world {
    ($kernel:ident, $address:ty, $bits:literal, $services:ident, $backends:ident, $members:ident, $endpoints:ident,
     $nodes:ident, $local:ident, $flows:ident, $affinity:ident, $sources:ident, $host_ports:ident,
     $identities:ident, $judge:path, $lead:path, $conceal:path, $attempt:path, $oust:path, $enter:path, $report:ident,
     $tuple:ident) => {
        impl $kernel {
            #[inline(always)]
            fn packet(&self) -> *mut __sk_buff {
                self.packet.map_or(core::ptr::null_mut(), NonNull::as_ptr)
            }
        }

        impl World for $kernel {
            type A = $address;

            #[inline(always)]
            fn endpoint(&self, address: &$address) -> Option<&'static Endpoint> {
                let address = in_frame(address);
                // SAFETY: entries are replaced whole and freed after the programs that see them.
                unsafe { maps::$endpoints.get(&address) }
            }

            #[inline(always)]
            fn is_local(&self, address: &$address) -> bool {
                let address = in_frame(address);
                maps::$local.get_ptr(&address).is_some()
            }

            #[inline(always)]
            fn node_flags(&self, address: &$address) -> u32 {
                maps::$nodes.get(Key::new($bits, *address)).map_or(0, |node| node.flags)
            }

            #[inline(always)]
            fn hop(&self, settings: &Settings, source: &$address, destination: &$address) -> Option<u32> {
                hop::find(self.packet?.as_ptr(), settings, source, destination)
            }

            #[inline(always)]
            fn identity(&self, address: &$address) -> u32 {
                maps::$identities.get(Key::new($bits, *address)).map_or(ANYBODY, |identity| *identity)
            }

            #[inline(always)]
            fn allows(&self, key: &PolicyKey) -> bool {
                maps::POLICY.get(Key::new(policy_prefix(true, 16), *key)).is_some()
            }

            #[inline(always)]
            fn judge(
                &self,
                flow: &Flow<$address>,
                becomes: &FlowState<$address>,
                origin: Origin,
                tcp: u8,
            ) -> Judgement {
                let Some(packet) = self.packet else { return Judgement::ALLOWED };
                let judgement = Judgement($judge(flow, becomes, origin as u32));
                if judgement != Judgement::ALLOWED {
                    // Here it is known what the packet would have become.
                    let reason = judgement.verdict().counter();
                    let what = report::what(ReportKind::Dropped, reason, tcp);
                    report::$report(packet.as_ptr(), flow, becomes, what);
                }
                judgement
            }

            #[inline(always)]
            fn to_backend(
                &self,
                _settings: &Settings,
                key: &Flow<$address>,
                state: &mut FlowState<$address>,
                origin: Origin,
            ) -> Verdict {
                Verdict($lead(key, state, origin as u32))
            }

            #[inline(always)]
            fn conceal(
                &self,
                _settings: &Settings,
                key: &Flow<$address>,
                state: &mut FlowState<$address>,
                origin: Origin,
            ) -> Verdict {
                Verdict($conceal(key, state, origin as u32))
            }

            #[inline(always)]
            fn enter(
                &self,
                settings: &Settings,
                key: &Flow<$address>,
                state: &mut FlowState<$address>,
            ) -> Verdict {
                Verdict($enter(self.packet(), settings, key, state))
            }

            #[inline(always)]
            fn attempt(
                &self,
                key: &Flow<$address>,
                state: &FlowState<$address>,
                sockets_first: bool,
            ) -> Verdict {
                Verdict($attempt(self.packet(), key, state, u32::from(sockets_first)))
            }

            #[inline(always)]
            fn oust(&self, key: &Flow<$address>, state: &FlowState<$address>) -> bool {
                $oust(key, state) != 0
            }

            #[inline(always)]
            fn renew(&self, state: *mut FlowState<$address>, epoch: u32) {
                // SAFETY: as in `touch`.
                unsafe { (&raw mut (*state).epoch).write_volatile(epoch) };
            }

            #[inline(always)]
            fn report(
                &self,
                flow: &Flow<$address>,
                becomes: &FlowState<$address>,
                kind: ReportKind,
                tcp: u8,
            ) {
                if let Some(packet) = self.packet {
                    report::$report(packet.as_ptr(), flow, becomes, report::what(kind, 0, tcp));
                }
            }

            #[inline(always)]
            fn service(&self, key: &ServiceKey<$address>) -> Option<&'static Service> {
                // SAFETY: as above.
                unsafe { maps::$services.get(key) }
            }

            #[inline(always)]
            fn backend(&self, key: &BackendKey) -> Option<&'static Backend<$address>> {
                // SAFETY: as above.
                unsafe { maps::$backends.get(key) }
            }

            #[inline(always)]
            fn is_member(&self, key: &MemberKey<$address>) -> bool {
                maps::$members.get_ptr(key).is_some()
            }

            #[inline(always)]
            fn host_port(&self, key: &ServiceKey<$address>) -> Option<&'static Backend<$address>> {
                // SAFETY: as above.
                unsafe { maps::$host_ports.get(key) }
            }

            #[inline(always)]
            fn is_source(&self, key: &SourceKey<$address>) -> bool {
                maps::$sources.get(Key::new(32 + $bits, *key)).is_some()
            }

            #[inline(always)]
            fn choice(&self, set: u32, hash: u32) -> Option<u32> {
                choice(set, hash)
            }

            #[inline(always)]
            fn affinity(&self, key: &AffinityKey<$address>) -> Option<&'static Affinity<$address>> {
                // SAFETY: as above.
                unsafe { maps::$affinity.get(key) }
            }

            #[inline(always)]
            fn put_affinity(&self, key: &AffinityKey<$address>, value: &Affinity<$address>) {
                // Full: the client goes elsewhere next time.
                let _ = maps::$affinity.insert(key, value, 0);
            }

            #[inline(always)]
            fn flow(&self, key: &Flow<$address>) -> Option<Known<$address>> {
                let entry = NonNull::new(maps::$flows.get_ptr_mut(key)?)?;
                // SAFETY: the kernel lets programs read and write the values of its maps, and frees them only afterwards.
                Some(unsafe { Known::new(entry) })
            }

            #[inline(always)]
            fn touch(&self, state: *mut FlowState<$address>, flags: u16) {
                touch(state, flags);
            }

            #[inline(always)]
            fn add_flow(&self, key: &Flow<$address>, state: &FlowState<$address>) -> Inserted {
                inserted(maps::$flows.insert(key, state, u64::from(BPF_NOEXIST)))
            }

            #[inline(always)]
            fn put_flow(&self, key: &Flow<$address>, state: &FlowState<$address>) -> Inserted {
                inserted(maps::$flows.insert(key, state, 0))
            }

            #[inline(always)]
            fn remove_flow(&self, key: &Flow<$address>) {
                let _ = maps::$flows.remove(key);
            }

            #[inline(always)]
            fn has_socket(&self, answer: &Flow<$address>) -> bool {
                let Some(packet) = self.packet else { return false };
                let mut tuple = $tuple(answer);
                let ends = (&raw mut tuple).cast::<bpf_sock_tuple>();
                let length = size_of_val(&tuple) as u32;
                // SAFETY: the packet is the program's own; the tuple is as long as the helper is told; a
                // socket that is found is given back.
                unsafe {
                    let context = packet.as_ptr().cast();
                    let found = match answer.protocol {
                        Protocol::TCP => bpf_skc_lookup_tcp(context, ends, length, CURRENT_NETNS, 0),
                        Protocol::UDP => bpf_sk_lookup_udp(context, ends, length, CURRENT_NETNS, 0),
                        _ => return false,
                    };
                    if found.is_null() {
                        return false;
                    }
                    bpf_sk_release(found.cast());
                    true
                }
            }

            #[inline(always)]
            fn now(&self) -> u32 {
                now()
            }

            #[inline(always)]
            fn random(&self) -> u32 {
                // SAFETY: a helper without arguments.
                unsafe { bpf_get_prandom_u32() }
            }

            #[inline(always)]
            fn count(&self, counter: Counter) {
                count(counter);
            }
        }
    };
}

/// The arm of `bpf_sock_tuple` for a family.
#[repr(C)]
#[derive(Clone, Copy)]
struct Ends<A> {
    source: A,
    destination: A,
    source_port: u16,
    destination_port: u16,
}

#[inline(always)]
fn ends<A: Copy>(flow: &Flow<A>) -> Ends<A> {
    Ends {
        source: flow.source,
        destination: flow.destination,
        source_port: flow.source_port,
        destination_port: flow.destination_port,
    }
}

world!(
    Kernel4,
    Ip4,
    32,
    SERVICES4,
    BACKENDS4,
    MEMBERS4,
    ENDPOINTS4,
    NODES4,
    LOCAL4,
    FLOWS4,
    AFFINITY4,
    SOURCES4,
    HOSTPORTS4,
    IDENTITIES4,
    frame::judge4,
    frame::lead4,
    frame::conceal4,
    frame::attempt4,
    frame::oust4,
    frame::enter4,
    report4,
    ends
);
world!(
    Kernel6,
    Ip6,
    128,
    SERVICES6,
    BACKENDS6,
    MEMBERS6,
    ENDPOINTS6,
    NODES6,
    LOCAL6,
    FLOWS6,
    AFFINITY6,
    SOURCES6,
    HOSTPORTS6,
    IDENTITIES6,
    frame::judge6,
    frame::lead6,
    frame::conceal6,
    frame::attempt6,
    frame::oust6,
    frame::enter6,
    report6,
    ends
);
