//! Tells a sender that its packet was dropped: by a TCP reset, or by an ICMP error.
//!
//! The packet itself is made the answer and goes out where it came in. Only plain ones are answered: whole, without
//! options of IP. Never answered: resets, and ICMP.
//!
//! A packet of a local socket may have a checksum that is still to be computed. Its place stays behind the answer's
//! headers, and only virtual links are passed on the way back, so nobody computes it.
//!
//! Reference: RFC 9293, 3.10.7.1; RFC 792; RFC 4443.

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

const NETWORK: u32 = ETHERNET as u32;
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;
const TCP_HEADER: u32 = 20;
/// Type, code and checksum; then what is unused.
const ICMP_HEADER: u32 = 8;
/// How much of the transport is told of the packet that an error is about.
const TOLD: u32 = 8;
const HOPS: u8 = 64;

/// Type and code of an ICMP error.
#[derive(Clone, Copy)]
pub struct Error {
    kind: u8,
    code: u8,
}

impl Error {
    const PORT_UNREACHABLE4: Error = Error { kind: 3, code: 3 };
    const PORT_UNREACHABLE6: Error = Error { kind: 1, code: 4 };
    const TIME_EXCEEDED4: Error = Error { kind: 11, code: 0 };
    const TIME_EXCEEDED6: Error = Error { kind: 3, code: 0 };

    /// Type and code as the first half of a word of the packet.
    #[inline(always)]
    fn word(self) -> u32 {
        u32::from_ne_bytes([self.kind, self.code, 0, 0])
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
    const ABOUT: u32 = IPV4_HEADER + TOLD;
    let mut about = MaybeUninit::<[u32; ABOUT as usize / 4]>::uninit();
    // SAFETY: as long as the helper is told; the packet is the program's own.
    let read = unsafe { bpf_skb_load_bytes(packet.cast(), NETWORK, about.as_mut_ptr().cast(), ABOUT) };
    if read != 0 {
        return TC_ACT_SHOT;
    }
    // SAFETY: it has been written.
    let [a, b, c, d, e, f, g] = *unsafe { about.assume_init_ref() };
    let told = u64::from(a) + u64::from(b) + u64::from(c) + u64::from(d);
    let told = told + u64::from(e) + u64::from(f) + u64::from(g);
    let first = u32::from_ne_bytes([0x45, 0, 0, 0]) | pair(0, (IPV4_HEADER + ICMP_HEADER + ABOUT) as u16);
    let third = u32::from_ne_bytes([HOPS, Protocol::ICMP, 0, 0]);
    let to = seen.flow.source.bits;
    let header = checksum(u64::from(first) + u64::from(third) + u64::from(from.bits) + u64::from(to));
    let sum = checksum(u64::from(error.word()) + told);
    let answer = [first, 0, closed(third, header), from.bits, to, closed(error.word(), sum), 0];
    send(packet, NETWORK + ABOUT, IPV4_HEADER + ICMP_HEADER, &answer)
}

#[inline(never)]
fn error6(packet: *mut __sk_buff, seen: &Seen<Ip6>, error: Error, from: &Ip6) -> i32 {
    const ABOUT: u32 = IPV6_HEADER + TOLD;
    let mut about = MaybeUninit::<[u32; ABOUT as usize / 4]>::uninit();
    // SAFETY: as long as the helper is told; the packet is the program's own.
    let read = unsafe { bpf_skb_load_bytes(packet.cast(), NETWORK, about.as_mut_ptr().cast(), ABOUT) };
    if read != 0 {
        return TC_ACT_SHOT;
    }
    // SAFETY: it has been written.
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *unsafe { about.assume_init_ref() };
    let told = u64::from(a) + u64::from(b) + u64::from(c) + u64::from(d) + u64::from(e) + u64::from(f);
    let told = told + u64::from(g) + u64::from(h) + u64::from(i) + u64::from(j) + u64::from(k) + u64::from(l);
    let to = &seen.flow.source;
    let length = ICMP_HEADER + ABOUT;
    let pseudo = sum6(from) + sum6(to) + u64::from(pair(u16::from(Protocol::ICMP6), length as u16));
    let sum = checksum(pseudo + u64::from(error.word()) + told);
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
        closed(error.word(), sum),
        0,
    ];
    send(packet, NETWORK + ABOUT, IPV6_HEADER + ICMP_HEADER, &answer)
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
