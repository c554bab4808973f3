//! Changes addresses and ports of a packet, and with them its checksums.
//!
//! The helpers know whether a checksum is complete, still to be computed by a device (then only the
//! pseudo header counts, so ports must not be added) or absent (UDP over IPv4, zero): addresses and
//! ports are therefore two calls.
//!
//! **Invariants.** After a rewrite no pointer into the packet is valid any more.

use abi::{FlowState, Ip4, Ip6, Protocol};
use aya_ebpf::bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM};
use aya_ebpf::helpers::generated::{bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_store_bytes};

use crate::family::Family;
use crate::parse::{About, ETHERNET, Part, Seen};
use crate::read::extent;
use crate::track::Ends;

const IPV4_CHECKSUM: u32 = ETHERNET as u32 + 10;
const IPV4_ADDRESSES: u32 = ETHERNET as u32 + 12;
/// From the word with the hop limit to the end of the addresses.
const IPV4_HEAD: u32 = ETHERNET as u32 + 8;
const IPV6_HEAD: u32 = ETHERNET as u32 + 4;
const IPV6_ADDRESSES: u32 = ETHERNET as u32 + 8;
const NO_FLAGS: u64 = 0;
/// A device's sum over the whole packet is kept right. The helper that changes the transport's checksum takes the
/// addresses to be made up for by the header's one, which IPv6 has not.
const IN_SUM: u64 = BPF_F_RECOMPUTE_CSUM as u64;

/// The kernel refused; the packet is half changed and must be dropped.
pub struct Refused;

#[inline(always)]
fn done(result: i64) -> Result<(), Refused> {
    if result == 0 { Ok(()) } else { Err(Refused) }
}

/// What adding `new` and taking `old` away changes in a one's complement sum.
#[inline(always)]
pub fn difference(sum: u64, old: u32, new: u32) -> u64 {
    sum + u64::from(!old) + u64::from(new)
}

/// Folds a sum of words to the 32 bits that the helpers take.
#[inline(always)]
fn folded(sum: u64) -> u64 {
    let once = (sum & 0xffff_ffff) + (sum >> 32);
    (once & 0xffff_ffff) + (once >> 32)
}

/// Writes a value into the packet.
#[inline(always)]
fn store<T>(packet: *mut __sk_buff, offset: u32, value: &T) -> Result<(), Refused> {
    store_as(packet, offset, value, NO_FLAGS)
}

#[inline(always)]
fn store_as<T>(packet: *mut __sk_buff, offset: u32, value: &T, flags: u64) -> Result<(), Refused> {
    let length = size_of::<T>() as u32;
    // SAFETY: the packet is the program's own, and `value` is as long as the helper is told.
    done(unsafe { bpf_skb_store_bytes(packet, offset, core::ptr::from_ref(value).cast(), length, flags) })
}

/// Writes words of an IPv4 packet where they lie: no call, and nothing is looked at twice. The kernel has made the headers
/// the packet's own before the program began.
///
/// # Safety
/// The record is the program's own.
#[inline(always)]
unsafe fn put<const N: usize>(packet: *mut __sk_buff, offset: u32, words: [u32; N]) -> Result<(), Refused> {
    let (start, end) = extent(packet);
    // The verifier has forgotten how long headers are.
    let at = start + (offset & 0x7f) as usize;
    if at + 4 * N > end {
        return Err(Refused);
    }
    let mut word = 0;
    while word < N {
        // SAFETY: it lies before the end.
        unsafe { (at as *mut u32).add(word).write_volatile(words[word]) };
        word += 1;
    }
    Ok(())
}

/// The part of an IP header that changes on its way.
#[repr(C)]
struct Head<A> {
    head: u32,
    source: A,
    destination: A,
}

/// Where the transport keeps its checksum.
#[inline(always)]
fn checksum_of<A: Family>(protocol: u8) -> Option<u32> {
    match protocol {
        Protocol::TCP => Some(16),
        Protocol::UDP => Some(6),
        other if other == A::ICMP => Some(2),
        _ => None,
    }
}

#[inline(always)]
fn changed(flow: u16, ends: u16) -> bool {
    flow != ends
}

/// Makes the packet what the entry says, and if it is forwarded (`hop`), one hop older.
#[inline(always)]
pub fn ipv4(packet: *mut __sk_buff, seen: &Seen<Ip4>, ends: &Ends<Ip4>, hop: bool) -> Result<(), Refused> {
    let flow = &seen.flow;
    let sum = difference(0, flow.source.bits, ends.source.bits);
    let sum = difference(sum, flow.destination.bits, ends.destination.bits);
    let moved = flow.source != ends.source || flow.destination != ends.destination;
    let has_transport = seen.part == Part::Whole || seen.part == Part::First;
    if has_transport {
        let pseudo = if flow.protocol != Protocol::ICMP && moved { Some(folded(sum)) } else { None };
        transport(packet, seen, ends, pseudo)?;
    }
    if !moved && !hop {
        return Ok(());
    }
    // The first byte of the word is the TTL, the last two are the checksum.
    let (before, after) = (seen.head & 0xffff, (seen.head & 0xffff).wrapping_sub(u32::from(hop)));
    let sum = difference(sum, before, after) + u64::from(!(seen.head >> 16) & 0xffff);
    let head = after | u32::from(!folded16(sum)) << 16;
    // SAFETY: the packet is the program's own.
    unsafe { put(packet, IPV4_HEAD, [head, ends.source.bits, ends.destination.bits]) }
}

/// Folds a sum of words to sixteen bits.
#[inline(always)]
pub fn folded16(sum: u64) -> u16 {
    let sum = folded(sum);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[inline(always)]
pub fn ipv6(packet: *mut __sk_buff, seen: &Seen<Ip6>, ends: &Ends<Ip6>, hop: bool) -> Result<(), Refused> {
    let flow = &seen.flow;
    let sum = folded(address6(address6(0, flow.source, ends.source), flow.destination, ends.destination));
    let moved = flow.source != ends.source || flow.destination != ends.destination;
    if seen.part != Part::Later {
        // ICMPv6 has the addresses in its checksum, as all others do.
        transport(packet, seen, ends, if moved { Some(sum) } else { None })?;
    }
    if !moved && !hop {
        return Ok(());
    }
    // The last byte of the word is the hop limit.
    let head = seen.head.wrapping_sub(u32::from(hop) << 24);
    let head = Head { head, source: ends.source, destination: ends.destination };
    store_as(packet, IPV6_HEAD, &head, IN_SUM)
}

/// How many hops a packet has left.
#[inline(always)]
pub fn hops<A: Family>(seen: &Seen<A>) -> u32 {
    if A::IPV6 { seen.head >> 24 } else { seen.head & 0xff }
}

#[inline(always)]
fn address6(sum: u64, old: Ip6, new: Ip6) -> u64 {
    let sum = difference(difference(sum, old.a, new.a), old.b, new.b);
    difference(difference(sum, old.c, new.c), old.d, new.d)
}

/// Ports (or the identifier of an echo) and the checksum over them and over the addresses.
#[inline(always)]
fn transport<A: Family>(
    packet: *mut __sk_buff,
    seen: &Seen<A>,
    ends: &Ends<A>,
    addresses: Option<u64>,
) -> Result<(), Refused> {
    let flow = &seen.flow;
    let Some(checksum) = checksum_of::<A>(flow.protocol) else { return Ok(()) };
    let at = seen.transport + checksum;
    let absent = if flow.protocol == Protocol::UDP { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 };
    if let Some(sum) = addresses {
        let flags = u64::from(BPF_F_PSEUDO_HDR) | absent;
        // SAFETY: the packet is the program's own.
        done(unsafe { bpf_l4_csum_replace(packet, at, 0, sum, flags) })?;
    }
    let ports_changed =
        changed(flow.source_port, ends.source_port) || changed(flow.destination_port, ends.destination_port);
    if !ports_changed {
        return Ok(());
    }
    let sum = difference(0, u32::from(flow.source_port), u32::from(ends.source_port));
    let sum = folded(difference(sum, u32::from(flow.destination_port), u32::from(ends.destination_port)));
    // SAFETY: the packet is the program's own.
    done(unsafe { bpf_l4_csum_replace(packet, at, 0, sum, absent) })?;
    if flow.protocol == A::ICMP {
        // One of the two is zero.
        store(packet, seen.transport + 4, &(ends.source_port | ends.destination_port))
    } else if A::IPV6 {
        store(packet, seen.transport, &[ends.source_port, ends.destination_port])
    } else {
        // As they lie there, in network order.
        let ports = u32::from(ends.source_port) | u32::from(ends.destination_port) << 16;
        // SAFETY: the packet is the program's own.
        unsafe { put(packet, seen.transport, [ports]) }
    }
}

/// Makes an ICMP error be about the packet that its receiver has sent: `answers` is the entry of the
/// flow against whose direction that packet went. The checksum of the inner header makes up for its addresses, so the
/// outer one changes by the ports alone.
#[inline(always)]
pub fn error4(
    packet: *mut __sk_buff,
    seen: &Seen<Ip4>,
    inner: &About<Ip4>,
    answers: &FlowState<Ip4>,
) -> Result<(Ip4, Ip4), Refused> {
    let (about, error) = (&inner.flow, &seen.flow);
    // The packet it is about, as its sender knows it.
    let (source, source_port) = (answers.destination, answers.destination_port);
    let (destination, destination_port) = (answers.source, answers.source_port);
    let outer_source = if error.source == about.destination { answers.source } else { error.source };
    let ports = difference(0, u32::from(about.source_port), u32::from(source_port));
    let ports = folded(difference(ports, u32::from(about.destination_port), u32::from(destination_port)));
    let header = difference(0, about.source.bits, source.bits);
    let header = folded(difference(header, about.destination.bits, destination.bits));
    let outer = difference(0, error.source.bits, outer_source.bits);
    let outer = folded(difference(outer, error.destination.bits, source.bits));
    // SAFETY: the packet is the program's own.
    unsafe {
        done(bpf_l4_csum_replace(packet, seen.transport + 2, 0, ports, 0))?;
        done(bpf_l3_csum_replace(packet, inner.header + 10, 0, header, 0))?;
        done(bpf_l3_csum_replace(packet, IPV4_CHECKSUM, 0, outer, 0))?;
    }
    store(packet, inner.header + 12, &[source, destination])?;
    if about.protocol == Protocol::ICMP {
        store(packet, inner.transport + 4, &source_port)?;
    } else {
        store(packet, inner.transport, &[source_port, destination_port])?;
    }
    store(packet, IPV4_ADDRESSES, &[outer_source, source])?;
    Ok((outer_source, source))
}

/// As [`error4`]. There is no inner checksum, and the outer one is over the addresses too.
#[inline(always)]
pub fn error6(
    packet: *mut __sk_buff,
    seen: &Seen<Ip6>,
    inner: &About<Ip6>,
    answers: &FlowState<Ip6>,
    ends: &mut Ends<Ip6>,
) -> Result<(), Refused> {
    let (about, error) = (&inner.flow, &seen.flow);
    let (source_port, destination_port) = (answers.destination_port, answers.source_port);
    ends.source = if error.source == about.destination { answers.source } else { error.source };
    ends.destination = answers.destination;
    let sum = difference(0, u32::from(about.source_port), u32::from(source_port));
    let sum = difference(sum, u32::from(about.destination_port), u32::from(destination_port));
    let sum = address6(address6(sum, about.source, answers.destination), about.destination, answers.source);
    let outer = address6(address6(0, error.source, ends.source), error.destination, ends.destination);
    let at = seen.transport + 2;
    // SAFETY: the packet is the program's own.
    unsafe {
        done(bpf_l4_csum_replace(packet, at, 0, folded(sum), 0))?;
        done(bpf_l4_csum_replace(packet, at, 0, folded(outer), u64::from(BPF_F_PSEUDO_HDR)))?;
    }
    let told = [answers.destination, answers.source];
    store(packet, inner.header + 8, &told)?;
    if about.protocol == Protocol::ICMP6 {
        store(packet, inner.transport + 4, &source_port)?;
    } else {
        store(packet, inner.transport, &[source_port, destination_port])?;
    }
    store_as(packet, IPV6_ADDRESSES, &[ends.source, ends.destination], IN_SUM)
}
