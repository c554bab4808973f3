//! The next hop of what leaves by the link that it came in by.
//!
//! Asking the kernel's routes is most of what such a packet costs, so an answer is believed for the rest of its second of the
//! clock, in a place of the CPU's own that the destination is hashed to.
//!
//! **Invariants.** What leaves by another link, or has a neighbour that is not known, has no entry.

use core::mem::MaybeUninit;

use abi::{HOPS, Hop, Ip6, Mac, Settings, SettingsFlag};
use aya_ebpf::bindings::{bpf_fib_lookup, xdp_md};
use aya_ebpf::helpers::generated::bpf_fib_lookup as fib_lookup;

use crate::deliver::{Question, Routed, SUCCESS, cleared};
use crate::family::Family;
use crate::kernel::now;
use crate::maps;
use crate::track::Ends;

/// None: it leaves by another link, is too long for its way, or nobody knows the neighbour yet.
#[inline(always)]
pub fn next<A: Routed + Family>(
    packet: *mut xdp_md,
    settings: &Settings,
    ends: &Ends<A>,
    wide: Ip6,
    length: u32,
) -> Option<&'static Hop> {
    let hash = ends.destination.folded().wrapping_mul(0x9e37_79b1) >> 20;
    let hop = maps::HOPS.get_ptr_mut(hash & (HOPS - 1))?;
    // SAFETY: the record of the packet is the program's own, and the kernel gives each CPU entries of its own.
    unsafe {
        let (here, now) = ((*packet).ingress_ifindex, now());
        let fresh = (*hop).seen == now && (*hop).link == here && (*hop).is_ipv6 == u32::from(A::IPV6);
        let there = &(*hop).destination;
        let same = there.a == wide.a && there.b == wide.b && there.c == wide.c && there.d == wide.d;
        if !(fresh && same) {
            let mut question = MaybeUninit::uninit();
            let answer = ask(packet, settings, ends, length, cleared(&mut question))?;
            (*hop).destination = wide;
            (*hop).link = here;
            (*hop).seen = now;
            (*hop).is_ipv6 = u32::from(A::IPV6);
            (*hop).mtu = u32::from(answer.__bindgen_anon_1.mtu_result);
            (*hop).from = mac((&raw const answer.smac).cast());
            (*hop).to = mac((&raw const answer.dmac).cast());
        }
        if length > (*hop).mtu { None } else { Some(&*hop) }
    }
}

/// Asks the kernel's routes.
#[inline(always)]
fn ask<'a, A: Routed>(
    packet: *mut xdp_md,
    settings: &Settings,
    ends: &Ends<A>,
    length: u32,
    question: &'a mut bpf_fib_lookup,
) -> Option<&'a bpf_fib_lookup> {
    A::ask(ends.source, ends.destination, question);
    // SAFETY: the record is the program's own.
    let here = unsafe { (*packet).ingress_ifindex };
    question.ifindex = if settings.flags & SettingsFlag::GATEWAY != 0 { settings.gateway_peer } else { here };
    question.__bindgen_anon_1.tot_len = length as u16;
    let size = size_of::<Question>() as i32;
    // SAFETY: the question is as long as the helper is told.
    let answer = unsafe { fib_lookup(packet.cast(), core::ptr::from_mut(question), size, 0) };
    if answer == SUCCESS && question.ifindex == here { Some(question) } else { None }
}

/// # Safety
/// Six bytes are readable there, on an even address.
#[inline(always)]
unsafe fn mac(at: *const u16) -> Mac {
    // SAFETY: as the caller says.
    unsafe {
        let high = u32::from(at.read()) | u32::from(at.add(1).read()) << 16;
        Mac { high, low: at.add(2).read(), pad: 0 }
    }
}
