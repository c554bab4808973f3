//! The next hops of what leaves the node.
//!
//! Asking the kernel's routes and neighbours is most of what such a packet costs, so an answer is believed for the rest of its
//! second of the clock, in a place of the CPU's own that the ends are hashed to. At tc the first packet of every second
//! goes by the kernel's neighbour again, which so learns that it is still in use; what XDP sends on tells no neighbour.
//!
//! **Invariants.** What has a neighbour that is not known has no entry. What is longer than its way takes is nobody's here.

use core::mem::MaybeUninit;

use abi::{BY_WIRE, HOPS, Hop, Settings, SettingsFlag};
use aya_ebpf::bindings::{__sk_buff, bpf_fib_lookup, xdp_md};
use aya_ebpf::helpers::generated::bpf_fib_lookup as fib_lookup;

use crate::deliver::{Question, Routed, SUCCESS, anew, cleared};
use crate::family::Family;
use crate::kernel::now;
use crate::maps;
use crate::track::Ends;

/// What a link takes beside its MTU: Ethernet's header.
const FRAMING: u32 = 14;
/// What every segment has at least beside its payload. The options of TCP are not counted: looking costs more than it is worth here.
const HEADERS_IPV4: u32 = 20 + 8;
const HEADERS_IPV6: u32 = 40 + 8;

/// The link whose routes are asked.
#[inline(always)]
pub fn asked_of(settings: &Settings, here: u32) -> u32 {
    if settings.flags & SettingsFlag::GATEWAY != 0 { settings.gateway_peer } else { here }
}

/// The place of these ends.
#[inline(always)]
fn place<A: Family>(source: &A, destination: &A) -> u32 {
    let ends = destination.folded() ^ source.folded().rotate_left(5);
    (ends.wrapping_mul(0x9e37_79b1) >> 20) & (HOPS - 1)
}

/// The place that tells where a packet goes next; None: the kernel must be asked.
#[inline(always)]
pub fn find<A: Routed + Family>(
    packet: *mut __sk_buff,
    settings: &Settings,
    source: &A,
    destination: &A,
) -> Option<u32> {
    let place = place(source, destination);
    let hop = maps::HOPS.get_ptr(place)?;
    // SAFETY: the record of the packet is the program's own, and the kernel gives each CPU entries of its own.
    unsafe {
        let packet = anew(packet);
        // Whichever way it goes: the compiler would choose between two addresses, and the verifier wants to know which.
        let here = (&raw const (*packet).ifindex).read_volatile();
        let asked = asked_of(settings, here);
        if (*hop).asked != asked || !is_of(hop, source, destination) {
            return None;
        }
        let headers = if A::IPV6 { HEADERS_IPV6 } else { HEADERS_IPV4 };
        let segment = (*packet).gso_size;
        let fits = (*packet).len <= (*hop).mtu + FRAMING || (segment != 0 && segment + headers <= (*hop).mtu);
        if fits { Some(place) } else { None }
    }
}

/// Keeps what the kernel has answered. `asked`: which link it was asked about.
#[inline(always)]
pub fn keep<A: Routed + Family>(answer: &bpf_fib_lookup, asked: u32, source: &A, destination: &A) {
    let Some(hop) = maps::HOPS.get_ptr_mut(place(source, destination)) else { return };
    // SAFETY: the kernel gives each CPU entries of its own; the answer is whole.
    unsafe {
        source.put(&raw mut (*hop).source);
        destination.put(&raw mut (*hop).destination);
        (*hop).asked = asked;
        (*hop).link = answer.ifindex;
        (*hop).seen = now();
        (*hop).is_ipv6 = u32::from(A::IPV6);
        (*hop).mtu = u32::from(answer.__bindgen_anon_1.mtu_result);
        let (to, from): (*const u16, *const u16) =
            ((&raw const answer.dmac).cast(), (&raw const answer.smac).cast());
        (*hop).receiver = pair(to.read(), to.add(1).read());
        (*hop).both = pair(to.add(2).read(), from.read());
        (*hop).sender = pair(from.add(1).read(), from.add(2).read());
    }
}

/// Four bytes in the order in which they lie.
#[inline(always)]
fn pair(first: u16, second: u16) -> u32 {
    u32::from(first) | u32::from(second) << 16
}

/// Whether an entry is of this second and of these ends.
///
/// # Safety
/// It is an entry of this CPU.
#[inline(always)]
unsafe fn is_of<A: Routed + Family>(hop: *const Hop, source: &A, destination: &A) -> bool {
    // SAFETY: as the caller says.
    unsafe {
        (*hop).is_ipv6 == u32::from(A::IPV6)
            && destination.is_at(&raw const (*hop).destination)
            && source.is_at(&raw const (*hop).source)
            && (*hop).seen == now()
    }
}

/// For a driver's program. None: it is too long for its way, or nobody knows the neighbour yet.
#[inline(always)]
pub fn next<A: Routed + Family>(
    packet: *mut xdp_md,
    settings: &Settings,
    ends: &Ends<A>,
    length: u32,
) -> Option<&'static Hop> {
    let hop = maps::HOPS.get_ptr_mut(place(&ends.source, &ends.destination))?;
    // SAFETY: the record of the packet is the program's own, and the kernel gives each CPU entries of its own.
    unsafe {
        let here = (&raw const (*packet).ingress_ifindex).read_volatile();
        let asked = asked_of(settings, here);
        if (*hop).asked != asked | BY_WIRE || !is_of(hop, &ends.source, &ends.destination) {
            let mut question = MaybeUninit::uninit();
            let answer = ask(packet, asked, ends, length, cleared(&mut question))?;
            keep(answer, asked | BY_WIRE, &ends.source, &ends.destination);
        }
        if length > (*hop).mtu { None } else { Some(&*hop) }
    }
}

/// Asks the kernel's routes.
#[inline(always)]
fn ask<'a, A: Routed>(
    packet: *mut xdp_md,
    asked: u32,
    ends: &Ends<A>,
    length: u32,
    question: &'a mut bpf_fib_lookup,
) -> Option<&'a bpf_fib_lookup> {
    A::ask(ends.source, ends.destination, question);
    question.ifindex = asked;
    question.__bindgen_anon_1.tot_len = length as u16;
    let size = size_of::<Question>() as i32;
    // SAFETY: the question is as long as the helper is told.
    let answer = unsafe { fib_lookup(packet.cast(), core::ptr::from_mut(question), size, 0) };
    if answer == SUCCESS { Some(question) } else { None }
}
