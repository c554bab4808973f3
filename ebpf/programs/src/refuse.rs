//! Tells a sender that its packet was dropped: by a TCP reset, or by an ICMP error.
//!
//! The packet itself is made the answer and goes out where it came in. Only plain ones are answered: whole, without
//! options of IP; of what is too long, first fragments too. Never answered: resets, and ICMP errors.
//!
//! A packet of a local socket may have a checksum that is still to be computed. Its place stays behind the answer's
//! headers, and only virtual links are passed on the way back, so nobody computes it.
//!
//! Reference: RFC 9293, 3.10.7.1; RFC 792; RFC 1191; RFC 4443.

use core::mem::MaybeUninit;
use core::ptr::null;

use abi::{Counter, Ip4, Ip6, Protocol, ReportKind};
use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC};
use aya_ebpf::helpers::generated::{
    bpf_redirect, bpf_skb_adjust_room, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_store_bytes,
};

use crate::kernel::{count, count_at, settings};
use crate::parse::{ETHERNET, Part, Seen, Tcp};
use crate::report::{report4, report6, what};
use crate::track::Origin;

const NETWORK: u32 = ETHERNET as u32;
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;
const FRAGMENT_HEADER: u32 = 8;
const TCP_HEADER: u32 = 20;
/// Type, code and checksum; then what is unused.
const ICMP_HEADER: u32 = 8;
/// How much of the transport is told of the packet that an error is about.
const TOLD: u32 = 8;
/// Of a long one: TCP's header, in which a checksum may still be to be computed, and the kernel does not let it be cut off; or
/// IPv6's for fragments and what behind it tells the sender which socket it was.
const TOLD_OF_LONG: u32 = 20;
const HOPS: u8 = 64;

/// An ICMP error: the words of its header, without the checksum.
#[derive(Clone, Copy)]
pub struct Error {
    /// Type and code in the first half.
    word: u32,
    rest: u32,
}

impl Error {
    const PORT_UNREACHABLE4: Error = Error::of(3, 3, 0);
    const PORT_UNREACHABLE6: Error = Error::of(1, 4, 0);
    const TIME_EXCEEDED4: Error = Error::of(11, 0, 0);
    const TIME_EXCEEDED6: Error = Error::of(3, 0, 0);

    #[inline(always)]
    const fn of(kind: u8, code: u8, rest: u32) -> Error {
        Error { word: u32::from_ne_bytes([kind, code, 0, 0]), rest }
    }

    /// "Fragmentation needed": the MTU is the second half of the word.
    #[inline(always)]
    fn too_big4(mtu: u32) -> Error {
        Error::of(3, 4, mtu.to_be())
    }

    #[inline(always)]
    fn too_big6(mtu: u32) -> Error {
        Error::of(2, 0, mtu.to_be())
    }

    #[inline(always)]
    fn sum(self) -> u64 {
        u64::from(self.word) + u64::from(self.rest)
    }
}

/// A packet to a service that nobody answers for; counted under this index.
#[inline(never)]
pub fn service4(packet: *mut __sk_buff, seen: &Seen<Ip4>, counter: u32) -> i32 {
    count_at(counter);
    report4(packet, &seen.flow, null(), what(ReportKind::Dropped, counter, seen.tcp));
    if seen.part != Part::Whole || seen.transport != NETWORK + IPV4_HEADER {
        return TC_ACT_SHOT;
    }
    if seen.flow.protocol == Protocol::TCP {
        reset4(packet, seen)
    } else {
        error4(packet, seen, Error::PORT_UNREACHABLE4, seen.flow.destination)
    }
}

#[inline(never)]
pub fn service6(packet: *mut __sk_buff, seen: &Seen<Ip6>, counter: u32) -> i32 {
    count_at(counter);
    report6(packet, &seen.flow, null(), what(ReportKind::Dropped, counter, seen.tcp));
    if seen.part != Part::Whole || seen.transport != NETWORK + IPV6_HEADER {
        return TC_ACT_SHOT;
    }
    if seen.flow.protocol == Protocol::TCP {
        reset6(packet, seen)
    } else {
        error6(packet, seen, Error::PORT_UNREACHABLE6, &seen.flow.destination)
    }
}

/// A packet that may be forwarded no further; `node` says so.
#[inline(never)]
pub fn exceeded4(packet: *mut __sk_buff, seen: &Seen<Ip4>, node: Ip4) -> i32 {
    count(Counter::HopLimit);
    report4(packet, &seen.flow, null(), what(ReportKind::Dropped, Counter::HopLimit as u32, seen.tcp));
    let plain = seen.part == Part::Whole && seen.transport == NETWORK + IPV4_HEADER;
    if plain && node.bits != 0 { error4(packet, seen, Error::TIME_EXCEEDED4, node) } else { TC_ACT_SHOT }
}

#[inline(never)]
pub fn exceeded6(packet: *mut __sk_buff, seen: &Seen<Ip6>) -> i32 {
    count(Counter::HopLimit);
    report6(packet, &seen.flow, null(), what(ReportKind::Dropped, Counter::HopLimit as u32, seen.tcp));
    let plain = seen.part == Part::Whole && seen.transport == NETWORK + IPV6_HEADER;
    let Some(settings) = settings() else { return TC_ACT_SHOT };
    let node = &settings.node6;
    if plain && node.a != 0 { error6(packet, seen, Error::TIME_EXCEEDED6, node) } else { TC_ACT_SHOT }
}

/// A packet that is longer than its way takes. Its receiver says so to the node itself, which believes nothing that comes to it
/// under its own name; to others the node does.
#[inline(never)]
pub fn too_big4(packet: *mut __sk_buff, seen: &Seen<Ip4>, mtu: u32, origin: Origin) -> i32 {
    count(Counter::TooBig);
    report4(packet, &seen.flow, null(), what(ReportKind::Dropped, Counter::TooBig as u32, seen.tcp));
    let Some(settings) = settings() else { return TC_ACT_SHOT };
    let by = if origin == Origin::Node { seen.flow.destination } else { settings.node4 };
    let plain = seen.part != Part::Later && seen.transport == NETWORK + IPV4_HEADER;
    if plain && by.bits != 0 { longer4(packet, seen, Error::too_big4(mtu), by) } else { TC_ACT_SHOT }
}

#[inline(never)]
pub fn too_big6(packet: *mut __sk_buff, seen: &Seen<Ip6>, mtu: u32, origin: Origin) -> i32 {
    count(Counter::TooBig);
    report6(packet, &seen.flow, null(), what(ReportKind::Dropped, Counter::TooBig as u32, seen.tcp));
    let Some(settings) = settings() else { return TC_ACT_SHOT };
    let by = if origin == Origin::Node { &seen.flow.destination } else { &settings.node6 };
    let own = if seen.part == Part::First { FRAGMENT_HEADER } else { 0 };
    let plain = seen.part != Part::Later && seen.transport == NETWORK + IPV6_HEADER + own;
    if plain && by.a != 0 { longer6(packet, seen, Error::too_big6(mtu), by) } else { TC_ACT_SHOT }
}

// === Sums ===

/// To the sixteen bits of the checksum of RFC 1071.
#[inline(always)]
fn checksum(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

#[inline(always)]
fn sum6(address: &Ip6) -> u64 {
    u64::from(address.a) + u64::from(address.b) + u64::from(address.c) + u64::from(address.d)
}

/// Two sixteen-bit numbers in the order of the machine as a word of the packet.
#[inline(always)]
fn pair(first: u16, second: u16) -> u32 {
    u32::from(first.to_be()) | u32::from(second.to_be()) << 16
}

/// A checksum put into the second half of a word.
#[inline(always)]
fn closed(word: u32, checksum: u16) -> u32 {
    word | u32::from(checksum) << 16
}

// === Resets ===

/// The five words of a reset, without its checksum: in the window's word, second half of the next.
struct Reset {
    ports: u32,
    sequence: u32,
    acknowledged: u32,
    flags: u32,
}

/// What answers a segment of so many bytes with its header; None: nothing may.
#[inline(always)]
fn reset(packet: *mut __sk_buff, transport: u32, flags: u8, length: u32) -> Option<Reset> {
    if flags & Tcp::RST != 0 {
        return None;
    }
    let mut head = MaybeUninit::<[u32; 4]>::uninit();
    // SAFETY: as long as the helper is told; the packet is the program's own.
    let read = unsafe { bpf_skb_load_bytes(packet.cast(), transport, head.as_mut_ptr().cast(), 16) };
    if read != 0 {
        return None;
    }
    // SAFETY: it has been written.
    let [ports, sequence, acknowledged, rest] = unsafe { head.assume_init() };
    let header = (rest & 0xf0) >> 2;
    let ports = ports.rotate_left(16);
    if flags & Tcp::ACK != 0 {
        let flags = u32::from_ne_bytes([0x50, Tcp::RST, 0, 0]);
        return Some(Reset { ports, sequence: acknowledged, acknowledged: 0, flags });
    }
    let begins = u32::from(flags & Tcp::SYN != 0) + u32::from(flags & Tcp::FIN != 0);
    let next = u32::from_be(sequence).wrapping_add(begins).wrapping_add(length.wrapping_sub(header));
    let flags = u32::from_ne_bytes([0x50, Tcp::RST | Tcp::ACK, 0, 0]);
    Some(Reset { ports, sequence: 0, acknowledged: next.to_be(), flags })
}

impl Reset {
    #[inline(always)]
    fn sum(&self) -> u64 {
        u64::from(self.ports)
            + u64::from(self.sequence)
            + u64::from(self.acknowledged)
            + u64::from(self.flags)
    }
}

#[inline(never)]
fn reset4(packet: *mut __sk_buff, seen: &Seen<Ip4>) -> i32 {
    let mut length = MaybeUninit::<u16>::uninit();
    // SAFETY: as long as the helper is told; the packet is the program's own.
    if unsafe { bpf_skb_load_bytes(packet.cast(), NETWORK + 2, length.as_mut_ptr().cast(), 2) } != 0 {
        return TC_ACT_SHOT;
    }
    // SAFETY: it has been written.
    let length = u32::from(u16::from_be(unsafe { length.assume_init() })).wrapping_sub(IPV4_HEADER);
    let Some(reset) = reset(packet, seen.transport, seen.tcp, length) else { return TC_ACT_SHOT };
    let (from, to) = (seen.flow.destination.bits, seen.flow.source.bits);
    let first = u32::from_ne_bytes([0x45, 0, 0, 0]) | pair(0, (IPV4_HEADER + TCP_HEADER) as u16);
    let second = pair(0, 0x4000);
    let third = u32::from_ne_bytes([HOPS, Protocol::TCP, 0, 0]);
    let ends = u64::from(from) + u64::from(to);
    let header = checksum(u64::from(first) + u64::from(second) + u64::from(third) + ends);
    let pseudo = ends + u64::from(pair(u16::from(Protocol::TCP), TCP_HEADER as u16));
    let sum = checksum(pseudo + reset.sum());
    let answer = [
        first,
        second,
        closed(third, header),
        from,
        to,
        reset.ports,
        reset.sequence,
        reset.acknowledged,
        reset.flags,
        u32::from(sum),
    ];
    send(packet, NETWORK + IPV4_HEADER + TCP_HEADER, 0, &answer)
}

#[inline(never)]
fn reset6(packet: *mut __sk_buff, seen: &Seen<Ip6>) -> i32 {
    let length = u32::from(u16::from_be(seen.head as u16));
    let Some(reset) = reset(packet, seen.transport, seen.tcp, length) else { return TC_ACT_SHOT };
    let (from, to) = (&seen.flow.destination, &seen.flow.source);
    let pseudo = sum6(from) + sum6(to) + u64::from(pair(u16::from(Protocol::TCP), TCP_HEADER as u16));
    let sum = checksum(pseudo + reset.sum());
    let answer = [
        0x60,
        head6(TCP_HEADER, Protocol::TCP),
        from.a,
        from.b,
        from.c,
        from.d,
        to.a,
        to.b,
        to.c,
        to.d,
        reset.ports,
        reset.sequence,
        reset.acknowledged,
        reset.flags,
        u32::from(sum),
    ];
    send(packet, NETWORK + IPV6_HEADER + TCP_HEADER, 0, &answer)
}

/// Length of the payload, next header and hop limit.
#[inline(always)]
fn head6(length: u32, next: u8) -> u32 {
    pair(length as u16, u16::from(next) << 8 | u16::from(HOPS))
}

// === ICMP errors ===

#[inline(never)]
fn error4(packet: *mut __sk_buff, seen: &Seen<Ip4>, error: Error, from: Ip4) -> i32 {
    error_about4::<{ (IPV4_HEADER + TOLD) as usize / 4 }>(packet, seen, error, from)
}

/// As [`error4`], with more of a packet that has more.
#[inline(never)]
fn longer4(packet: *mut __sk_buff, seen: &Seen<Ip4>, error: Error, from: Ip4) -> i32 {
    error_about4::<{ (IPV4_HEADER + TOLD_OF_LONG) as usize / 4 }>(packet, seen, error, from)
}

/// With so many words of the packet.
#[inline(always)]
fn error_about4<const WORDS: usize>(
    packet: *mut __sk_buff,
    seen: &Seen<Ip4>,
    error: Error,
    from: Ip4,
) -> i32 {
    let about = WORDS as u32 * 4;
    let Some(told) = told::<WORDS>(packet) else { return TC_ACT_SHOT };
    let first = u32::from_ne_bytes([0x45, 0, 0, 0]) | pair(0, (IPV4_HEADER + ICMP_HEADER + about) as u16);
    let third = u32::from_ne_bytes([HOPS, Protocol::ICMP, 0, 0]);
    let to = seen.flow.source.bits;
    let header = checksum(u64::from(first) + u64::from(third) + u64::from(from.bits) + u64::from(to));
    let sum = checksum(error.sum() + told);
    let answer = [first, 0, closed(third, header), from.bits, to, closed(error.word, sum), error.rest];
    send(packet, NETWORK + about, IPV4_HEADER + ICMP_HEADER, &answer)
}

/// The sum of the packet's first words.
#[inline(always)]
fn told<const WORDS: usize>(packet: *mut __sk_buff) -> Option<u64> {
    let mut words = MaybeUninit::<[u32; WORDS]>::uninit();
    let bytes = WORDS as u32 * 4;
    // SAFETY: as long as the helper is told; the packet is the program's own.
    if unsafe { bpf_skb_load_bytes(packet.cast(), NETWORK, words.as_mut_ptr().cast(), bytes) } != 0 {
        return None;
    }
    let (first, mut sum, mut at): (*const u32, u64, usize) = (words.as_ptr().cast(), 0, 0);
    while at < WORDS {
        // SAFETY: within the record, and it has been written.
        sum += u64::from(unsafe { first.add(at).read() });
        at += 1;
    }
    Some(sum)
}

#[inline(never)]
fn error6(packet: *mut __sk_buff, seen: &Seen<Ip6>, error: Error, from: &Ip6) -> i32 {
    error_about6::<{ (IPV6_HEADER + TOLD) as usize / 4 }>(packet, seen, error, from)
}

/// As [`error6`], with more of a packet that has more.
#[inline(never)]
fn longer6(packet: *mut __sk_buff, seen: &Seen<Ip6>, error: Error, from: &Ip6) -> i32 {
    error_about6::<{ (IPV6_HEADER + TOLD_OF_LONG) as usize / 4 }>(packet, seen, error, from)
}

/// With so many words of the packet.
#[inline(always)]
fn error_about6<const WORDS: usize>(
    packet: *mut __sk_buff,
    seen: &Seen<Ip6>,
    error: Error,
    from: &Ip6,
) -> i32 {
    let about = WORDS as u32 * 4;
    let Some(told) = told::<WORDS>(packet) else { return TC_ACT_SHOT };
    let to = &seen.flow.source;
    let length = ICMP_HEADER + about;
    let pseudo = sum6(from) + sum6(to) + u64::from(pair(u16::from(Protocol::ICMP6), length as u16));
    let sum = checksum(pseudo + error.sum() + told);
    let answer = [
        0x60,
        head6(length, Protocol::ICMP6),
        from.a,
        from.b,
        from.c,
        from.d,
        to.a,
        to.b,
        to.c,
        to.d,
        closed(error.word, sum),
        error.rest,
    ];
    send(packet, NETWORK + about, IPV6_HEADER + ICMP_HEADER, &answer)
}

/// Shortens the packet to `length`, makes room before its IP header, writes the answer's headers there and sends it
/// back where it came from.
#[inline(always)]
fn send<const N: usize>(packet: *mut __sk_buff, length: u32, room: u32, answer: &[u32; N]) -> i32 {
    let mut ends = MaybeUninit::<[u16; 6]>::uninit();
    // SAFETY: every record is as long as the helper is told; the packet is the program's own.
    unsafe {
        if bpf_skb_change_tail(packet, length, 0) != 0
            || (room != 0 && bpf_skb_adjust_room(packet, room as i32, BPF_ADJ_ROOM_MAC, 0) != 0)
            || bpf_skb_load_bytes(packet.cast(), 0, ends.as_mut_ptr().cast(), 12) != 0
        {
            return TC_ACT_SHOT;
        }
        let [a, b, c, d, e, f] = ends.assume_init();
        let swapped = [d, e, f, a, b, c];
        let bytes = size_of::<[u32; N]>() as u32;
        if bpf_skb_store_bytes(packet, 0, swapped.as_ptr().cast(), 12, 0) != 0
            || bpf_skb_store_bytes(packet, NETWORK, answer.as_ptr().cast(), bytes, 0) != 0
        {
            return TC_ACT_SHOT;
        }
        count(Counter::Refusals);
        bpf_redirect((*packet).ifindex, 0) as i32
    }
}
