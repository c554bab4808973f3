//! The program before all others: native XDP on an uplink.
//!
//! ```text
//! from_wire   flow of a Service that stands, whose other end is reached by the very link that it came in by
//!             ── translated, one hop older, sent back out ──▶ XDP_TX
//!             anything else ──▶ XDP_PASS: from_uplink decides, as it would without this program
//! ```
//!
//! **Invariants.** It decides nothing: no flow begins, ends, is dropped, refused or reported here, so nothing depends on
//! whether it is attached. A packet that is passed on is as it came.
//!
//! Reference: linux/bpf.h; XDP_TX of veth, 5.13 (its peer must take frames: by a program of its own).

use core::mem::MaybeUninit;

use abi::{Counter, Hop, Ip6, Protocol};
use aya_ebpf::bindings::xdp_action::{XDP_PASS, XDP_TX};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

use crate::family::Family;
use crate::hop;
use crate::kernel::{Kernel4, Kernel6, count, settings};
use crate::packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use crate::parse::{self, ETHERNET, Seen};
use crate::rewrite::{difference, folded16, hops};
use crate::track::{Ends, settled};

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
/// Where the transport has its checksum, and how much of it must be there.
const TCP_SUM: usize = 16;
const UDP_SUM: usize = 6;

#[xdp(frags)]
pub fn from_wire(context: XdpContext) -> u32 {
    let packet = context.ctx;
    let (start, end) = extent(packet);
    if start + ETHERNET > end {
        return XDP_PASS;
    }
    // SAFETY: compared with the end just now.
    match unsafe { ((start + ETHERNET - 2) as *const u16).read() } {
        ETHERTYPE_IPV4 => wire4(packet),
        ETHERTYPE_IPV6 => wire6(packet),
        _ => XDP_PASS,
    }
}

/// Where the packet lies: see `packet.rs`.
#[inline(always)]
fn extent(packet: *mut xdp_md) -> (usize, usize) {
    // SAFETY: the record is the program's own.
    unsafe {
        let start = (&raw const (*packet).data).read_volatile();
        (start as usize, (&raw const (*packet).data_end).read_volatile() as usize)
    }
}

#[inline(always)]
fn wire4(packet: *mut xdp_md) -> u32 {
    let (start, end) = extent(packet);
    // SAFETY: the kernel says that start..end is readable.
    let Ok(seen) = (unsafe { parse::ipv4(start, end) }) else { return XDP_PASS };
    let Some(settings) = settings() else { return XDP_PASS };
    let mut becomes = Ends { source: seen.flow.source, ..Ends::default() };
    if seen.transport as usize != ETHERNET + IPV4_HEADER
        || hops(&seen) <= 1
        || !settled(&Kernel4 { packet: None }, settings, &seen, &mut becomes)
    {
        return XDP_PASS;
    }
    // SAFETY: as long as the header that was read.
    let length = unsafe { ((start + ETHERNET + 2) as *const u16).read() };
    let Some(next) = hop::next(packet, settings, &becomes, u32::from(u16::from_be(length))) else {
        return XDP_PASS;
    };
    if !is_back(packet, next) {
        return XDP_PASS;
    }
    let flow = &seen.flow;
    let sum = difference(0, flow.source.bits, becomes.source.bits);
    let sum = difference(sum, flow.destination.bits, becomes.destination.bits);
    if !transport(start + ETHERNET + IPV4_HEADER, end, &seen, &becomes, sum) {
        return XDP_PASS;
    }
    // The first byte of the word is the TTL, the last two are the checksum.
    let (before, after) = (seen.head & 0xffff, (seen.head & 0xffff).wrapping_sub(1));
    let sum = difference(sum, before, after) + u64::from(!(seen.head >> 16) & 0xffff);
    let head = after | u32::from(!folded16(sum)) << 16;
    // SAFETY: the header has been read, so it may be written.
    unsafe {
        ((start + ETHERNET + 8) as *mut u32).write(head);
        ((start + ETHERNET + 12) as *mut u32).write(becomes.source.bits);
        ((start + ETHERNET + 16) as *mut u32).write(becomes.destination.bits);
    }
    sent(start, next)
}

#[inline(never)]
fn wire6(packet: *mut xdp_md) -> u32 {
    let (start, end) = extent(packet);
    let mut seen = MaybeUninit::uninit();
    // SAFETY: the kernel says that start..end is readable.
    if unsafe { parse::ipv6(start, end, &mut seen) }.is_err() {
        return XDP_PASS;
    }
    // SAFETY: it has been written.
    let seen = unsafe { seen.assume_init_ref() };
    let Some(settings) = settings() else { return XDP_PASS };
    let mut becomes = Ends {
        source: seen.flow.source,
        destination: seen.flow.destination,
        source_port: 0,
        destination_port: 0,
    };
    if hops(seen) <= 1 || !settled(&Kernel6 { packet: None }, settings, seen, &mut becomes) {
        return XDP_PASS;
    }
    let length = u32::from(u16::from_be(seen.head as u16)) + IPV6_HEADER as u32;
    let Some(next) = hop::next(packet, settings, &becomes, length) else {
        return XDP_PASS;
    };
    if !is_back(packet, next) {
        return XDP_PASS;
    }
    let sum =
        changed6(changed6(0, seen.flow.source, becomes.source), seen.flow.destination, becomes.destination);
    if !transport(start + ETHERNET + IPV6_HEADER, end, seen, &becomes, sum) {
        return XDP_PASS;
    }
    // SAFETY: the header has been read, so it may be written. The last byte of the word is the hop limit.
    unsafe {
        ((start + ETHERNET + 4) as *mut u32).write(seen.head.wrapping_sub(1 << 24));
        put6(start + ETHERNET + 8, becomes.source);
        put6(start + ETHERNET + 24, becomes.destination);
    }
    sent(start, next)
}

#[inline(always)]
fn changed6(sum: u64, old: Ip6, new: Ip6) -> u64 {
    let sum = difference(difference(sum, old.a, new.a), old.b, new.b);
    difference(difference(sum, old.c, new.c), old.d, new.d)
}

/// # Safety
/// Sixteen bytes may be written there.
#[inline(always)]
unsafe fn put6(at: usize, address: Ip6) {
    let words = at as *mut u32;
    // SAFETY: as the caller says.
    unsafe {
        words.write(address.a);
        words.add(1).write(address.b);
        words.add(2).write(address.c);
        words.add(3).write(address.d);
    }
}

/// Ports, and the checksum over them and over the addresses, whose change is `addresses`. False: it ends before.
#[inline(always)]
fn transport<A: Family>(at: usize, end: usize, seen: &Seen<A>, becomes: &Ends<A>, addresses: u64) -> bool {
    let sum = difference(addresses, u32::from(seen.flow.source_port), u32::from(becomes.source_port));
    let sum = difference(sum, u32::from(seen.flow.destination_port), u32::from(becomes.destination_port));
    // SAFETY: each is compared with the end before it is read or written.
    unsafe {
        if seen.flow.protocol == Protocol::TCP {
            if at + TCP_SUM + 2 > end {
                return false;
            }
            let place = (at + TCP_SUM) as *mut u16;
            place.write(renewed(sum, place.read()));
        } else {
            if at + UDP_SUM + 2 > end {
                return false;
            }
            let place = (at + UDP_SUM) as *mut u16;
            let there = place.read();
            // Zero says that there is none.
            if there != 0 {
                let sum = renewed(sum, there);
                place.write(if sum == 0 { u16::MAX } else { sum });
            }
        }
        (at as *mut u16).write(becomes.source_port);
        ((at + 2) as *mut u16).write(becomes.destination_port);
    }
    true
}

/// A checksum after a change of what it is over.
#[inline(always)]
fn renewed(change: u64, checksum: u16) -> u16 {
    !folded16(change + u64::from(!checksum))
}

/// Whether it leaves by the link that it came in by.
#[inline(always)]
fn is_back(packet: *mut xdp_md, next: &Hop) -> bool {
    // SAFETY: the record is the program's own.
    unsafe { (*packet).ingress_ifindex == next.link }
}

/// Addresses the frame to its next hop.
#[inline(always)]
fn sent(start: usize, next: &Hop) -> u32 {
    // SAFETY: the Ethernet header is there.
    unsafe {
        (start as *mut u32).write(next.receiver);
        ((start + 4) as *mut u32).write(next.both);
        ((start + 8) as *mut u32).write(next.sender);
    }
    count(Counter::Early);
    XDP_TX
}
