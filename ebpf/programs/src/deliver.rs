//! Hands a packet on: into a pod, to the node, or out of a link.

use core::mem::MaybeUninit;

use abi::{Counter, Ip4, Ip6, Mac, Settings, SettingsFlag};
use aya_ebpf::bindings::{__sk_buff, TC_ACT_OK, bpf_fib_lookup, bpf_redir_neigh};
use aya_ebpf::helpers::generated::{
    bpf_fib_lookup as fib_lookup, bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer, bpf_skb_store_bytes,
};

use crate::family::Family;
use crate::kernel::{count, count_at};
use crate::read::extent;
use crate::route::{Delivery, Way};
use crate::{hop, maps};

/// In `tc_index` of a packet that a program sends out: it is what it shall be. No part of the kernel gives that field a
/// meaning on its way from one program to the other.
const SENT: u16 = 0x6b6e;

/// Added to the counter of a dropped packet: above every action of tc.
pub const DROPPED: i32 = 1 << 8;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// BPF_FIB_LKUP_RET_*.
pub const SUCCESS: i64 = 0;
const NOT_FORWARDED: i64 = 4;
const FORWARDING_DISABLED: i64 = 5;
const NO_NEIGHBOUR: i64 = 7;
pub const FRAGMENTATION_NEEDED: i64 = 8;

#[inline(always)]
pub fn drop(counter: Counter) -> i32 {
    drop_as(counter as u32)
}

/// Dropped, and counted under this index; see [`crate::report::closed`].
#[inline(always)]
pub fn drop_as(counter: u32) -> i32 {
    count_at(counter);
    DROPPED + counter as i32
}

/// The same record by a pointer of which the compiler knows nothing: it would keep the address of a field that is wanted
/// twice, and the verifier refuses what is not the address of the whole.
#[inline(always)]
pub fn anew(packet: *mut __sk_buff) -> *mut __sk_buff {
    // SAFETY: a variable of this function.
    unsafe { core::ptr::read_volatile(&raw const packet) }
}

/// Takes off what another program, of another machine on the same kernel perhaps, has left on the packet.
#[inline(always)]
pub fn arrives(packet: *mut __sk_buff) {
    // SAFETY: the record is the program's own.
    unsafe { (*packet).tc_index = 0 }
}

/// Whether a program here sends it.
#[inline(always)]
pub fn is_sent(packet: *mut __sk_buff) -> bool {
    // SAFETY: the record is the program's own.
    unsafe { (*packet).tc_index == u32::from(SENT) }
}

/// It leaves the node by a link.
#[inline(always)]
fn leaves(packet: *mut __sk_buff) {
    count(Counter::ToOutside);
    // SAFETY: the record is the program's own.
    unsafe { (*anew(packet)).tc_index = u32::from(SENT) }
}

/// What the kernel's routes are asked about.
pub trait Routed: Copy {
    /// Fills in family and addresses.
    fn ask(source: Self, destination: Self, question: &mut bpf_fib_lookup);
    /// Where the answer says the packet goes next.
    fn next(answer: &bpf_fib_lookup) -> bpf_redir_neigh;
    /// Whether it is the one that lies there, where an IPv4 address is the first word.
    ///
    /// # Safety
    /// `there` may be read.
    unsafe fn is_at(&self, there: *const Ip6) -> bool;
    /// Writes it there, word by word: two addresses at once become a call to memmove.
    ///
    /// # Safety
    /// `there` may be written.
    unsafe fn put(&self, there: *mut Ip6);
}

impl Routed for Ip4 {
    #[inline(always)]
    fn ask(source: Ip4, destination: Ip4, question: &mut bpf_fib_lookup) {
        question.family = AF_INET;
        question.__bindgen_anon_3.ipv4_src = source.bits;
        question.__bindgen_anon_4.ipv4_dst = destination.bits;
    }

    #[inline(always)]
    fn next(answer: &bpf_fib_lookup) -> bpf_redir_neigh {
        // SAFETY: any bits are an address, and all of the record was written before the kernel was asked.
        let words = unsafe { answer.__bindgen_anon_4.ipv6_dst };
        bpf_redir_neigh {
            nh_family: u32::from(answer.family),
            __bindgen_anon_1: aya_ebpf::bindings::bpf_redir_neigh__bindgen_ty_1 { ipv6_nh: words },
        }
    }

    #[inline(always)]
    unsafe fn is_at(&self, there: *const Ip6) -> bool {
        // SAFETY: as the caller says.
        unsafe { (*there).a == self.bits }
    }

    #[inline(always)]
    unsafe fn put(&self, there: *mut Ip6) {
        // SAFETY: as the caller says.
        unsafe { (&raw mut (*there).a).write_volatile(self.bits) }
    }
}

impl Routed for Ip6 {
    #[inline(always)]
    fn ask(source: Ip6, destination: Ip6, question: &mut bpf_fib_lookup) {
        question.family = AF_INET6;
        question.__bindgen_anon_3.ipv6_src = [source.a, source.b, source.c, source.d];
        question.__bindgen_anon_4.ipv6_dst = [destination.a, destination.b, destination.c, destination.d];
    }

    #[inline(always)]
    fn next(answer: &bpf_fib_lookup) -> bpf_redir_neigh {
        <Ip4 as Routed>::next(answer)
    }

    #[inline(always)]
    unsafe fn is_at(&self, there: *const Ip6) -> bool {
        // SAFETY: as the caller says.
        unsafe {
            (*there).d == self.d && (*there).c == self.c && (*there).b == self.b && (*there).a == self.a
        }
    }

    #[inline(always)]
    unsafe fn put(&self, there: *mut Ip6) {
        // SAFETY: as the caller says.
        unsafe {
            (&raw mut (*there).a).write_volatile(self.a);
            (&raw mut (*there).b).write_volatile(self.b);
            (&raw mut (*there).c).write_volatile(self.c);
            (&raw mut (*there).d).write_volatile(self.d);
        }
    }
}

/// Carries out a delivery. `link` is where the packet is now.
#[inline(always)]
pub fn deliver<A: Routed + Family>(
    packet: *mut __sk_buff,
    settings: &Settings,
    delivery: Delivery,
    ends: (A, A),
    link: u32,
) -> i32 {
    match delivery.way {
        Way::Drop => drop_as(delivery.counter),
        Way::Pod => {
            count(Counter::ToPod);
            if !address_to(packet, delivery.mac) {
                return drop(Counter::Rewrite);
            }
            // SAFETY: a helper that takes numbers only.
            unsafe { bpf_redirect_peer(delivery.link, 0) as i32 }
        }
        Way::Node => to_node(packet, settings),
        Way::Outside => outside(packet, settings, ends, link),
        Way::Hop => onward(packet, delivery.link),
    }
}

/// Out of a link, to a neighbour that the kernel named just now.
#[inline(always)]
fn onward(packet: *mut __sk_buff, place: u32) -> i32 {
    let Some(hop) = maps::HOPS.get_ptr(place) else { return drop(Counter::NoRoute) };
    leaves(packet);
    // SAFETY: the packet is the program's own and has an Ethernet header, and the entry holds its first twelve bytes.
    unsafe {
        if bpf_skb_store_bytes(packet, 0, (&raw const (*hop).receiver).cast(), 12, 0) != 0 {
            return drop(Counter::Rewrite);
        }
        bpf_redirect((*hop).link, 0) as i32
    }
}

/// Sends it out of the gateway's peer, so that it arrives at the gateway, where the node has its routes of
/// pods and services; without a gateway it goes up where it is.
#[inline(always)]
pub fn to_node(packet: *mut __sk_buff, settings: &Settings) -> i32 {
    count(Counter::ToNode);
    // SAFETY: the record is the program's own.
    let here = unsafe { (*packet).ifindex };
    if settings.flags & SettingsFlag::GATEWAY == 0 || here == settings.gateway_peer {
        return TC_ACT_OK;
    }
    if !address_to(packet, settings.gateway_mac) {
        return drop(Counter::Rewrite);
    }
    // SAFETY: a helper that takes numbers only.
    unsafe { bpf_redirect(settings.gateway_peer, 0) as i32 }
}

#[inline(always)]
fn outside<A: Routed + Family>(packet: *mut __sk_buff, settings: &Settings, ends: (A, A), link: u32) -> i32 {
    let mut question = MaybeUninit::uninit();
    let question = cleared(&mut question);
    A::ask(ends.0, ends.1, question);
    let asked = hop::asked_of(settings, link);
    question.ifindex = asked;
    let length = size_of::<bpf_fib_lookup>() as i32;
    // SAFETY: the question is as long as the helper is told.
    let answer = unsafe { fib_lookup(packet.cast(), core::ptr::from_mut(question), length, 0) };
    match answer {
        // What is longer and has come so far may be cut on its way: see fit.rs.
        SUCCESS | NO_NEIGHBOUR | FRAGMENTATION_NEEDED => {
            leaves(packet);
            if answer == SUCCESS {
                hop::keep(question, asked, &ends.0, &ends.1);
            }
            let mut next = A::next(question);
            // SAFETY: as long as the helper is told.
            unsafe {
                bpf_redirect_neigh(question.ifindex, &raw mut next, size_of::<bpf_redir_neigh>() as i32, 0)
                    as i32
            }
        }
        // An address of the node that nobody has told us of.
        NOT_FORWARDED => to_node(packet, settings),
        FORWARDING_DISABLED if settings.uplink != 0 => {
            leaves(packet);
            // SAFETY: without parameters the kernel looks the next hop up itself.
            unsafe { bpf_redirect_neigh(settings.uplink, core::ptr::null_mut(), 0, 0) as i32 }
        }
        _ => drop(Counter::NoRoute),
    }
}

/// Room for a question about a route, aligned as it is cleared.
#[repr(C, align(8))]
pub struct Question(bpf_fib_lookup);

/// Makes it a question about nothing. Word by word, volatile and in place: the compiler would make it a call to
/// memset.
#[inline(always)]
pub fn cleared(question: &mut MaybeUninit<Question>) -> &mut bpf_fib_lookup {
    let words: *mut u64 = question.as_mut_ptr().cast();
    let mut at = 0;
    while at < size_of::<bpf_fib_lookup>() / size_of::<u64>() {
        // SAFETY: within the record.
        unsafe { words.add(at).write_volatile(0) };
        at += 1;
    }
    // SAFETY: numbers only, and all of them are written.
    unsafe { &mut question.assume_init_mut().0 }
}

/// Writes the receiver's Ethernet address; whether the kernel had memory for that. Under another one nobody would take the
/// packet, and nobody would count it.
#[inline(always)]
fn address_to(packet: *mut __sk_buff, mac: Mac) -> bool {
    let (start, end) = extent(packet);
    if start + 6 > end {
        // SAFETY: the packet is the program's own and has an Ethernet header; six of the eight bytes are meant.
        return unsafe { bpf_skb_store_bytes(packet, 0, core::ptr::from_ref(&mac).cast(), 6, 0) == 0 };
    }
    // SAFETY: the six bytes lie before the end.
    unsafe {
        (start as *mut u32).write_volatile(mac.high);
        (start as *mut u16).add(2).write_volatile(mac.low);
    }
    true
}
