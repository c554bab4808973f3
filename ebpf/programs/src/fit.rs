//! Whether a packet is longer than the way that it will take: asked before anything of it is changed, so that its sender can be
//! told about the packet that it has sent.
//!
//! Only what goes by the kernel's routes is asked about: a next hop that is known (`hop.rs`) says itself how much it takes, and
//! a pod of this node is given whatever has come so far.
//!
//! What may be cut (IPv4, without "don't fragment") goes on to pods elsewhere as it is: the way to them may be a tunnel, which cuts
//! its own datagram around it. On other ways nobody here can cut it, so its sender is told all the same.
//!
//! Global functions: see frame.rs.
//!
//! Reference: RFC 1191; RFC 8201; `bpf_fib_lookup` with a length, 5.12.

use core::mem::MaybeUninit;

use abi::{Ip4, Ip6, Protocol};
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{bpf_fib_lookup as fib_lookup, bpf_skb_load_bytes};

use crate::deliver::{FRAGMENTATION_NEEDED, Question, Routed, anew, cleared};
use crate::family::Family;
use crate::hop;
use crate::kernel::settings;
use crate::parse::{ETHERNET, Seen};
use crate::track::Ends;

/// Links that take less carry no Internet.
const ANYWHERE: u32 = 576;
/// In the word with the fragment's offset, as it lies in the packet.
const DONT_FRAGMENT: u16 = 0x4000_u16.to_be();
/// The transport is TCP.
const IS_TCP: u32 = 1 << 16;
const UDP_HEADER: u32 = 8;

/// Where the transport begins, and whether it is TCP, in one number.
#[inline(always)]
pub fn transport<A>(seen: &Seen<A>) -> u32 {
    let is_tcp = seen.flow.protocol == Protocol::TCP;
    (seen.transport & 0xffff) | if is_tcp { IS_TCP } else { 0 }
}

/// Bytes at a place of the packet; None: it ends before.
#[inline(always)]
fn read<T: Copy>(packet: *mut __sk_buff, offset: u32) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    let length = size_of::<T>() as u32;
    // SAFETY: the packet is the program's own, and the value as long as the helper is told; it has been written then.
    unsafe {
        if bpf_skb_load_bytes(packet.cast(), offset, value.as_mut_ptr().cast(), length) != 0 {
            return None;
        }
        Some(value.assume_init())
    }
}

/// How long it is on its way, with its IP header: what is to be cut into segments, each of them.
#[inline(always)]
fn length(packet: *mut __sk_buff, transport: u32) -> u32 {
    // SAFETY: the record is the program's own.
    let (whole, segment) = unsafe {
        let packet = anew(packet);
        ((&raw const (*packet).len).read_volatile(), (&raw const (*packet).gso_size).read_volatile())
    };
    if segment == 0 {
        return whole.wrapping_sub(ETHERNET as u32);
    }
    let at = transport & 0xffff;
    let own = if transport & IS_TCP == 0 {
        UDP_HEADER
    } else {
        let Some(offset) = read::<u8>(packet, at + 12) else { return 0 };
        u32::from(offset >> 4) * 4
    };
    at.wrapping_sub(ETHERNET as u32) + own + segment
}

/// What the way takes; 0: it takes the packet, or nobody knows.
#[inline(always)]
fn exceeded<A: Routed + Family>(packet: *mut __sk_buff, ends: &Ends<A>, transport: u32) -> u32 {
    let length = length(packet, transport);
    if length <= ANYWHERE || length > u32::from(u16::MAX) {
        return 0;
    }
    let Some(settings) = settings() else { return 0 };
    let mut question = MaybeUninit::uninit();
    let question = cleared(&mut question);
    A::ask(ends.source, ends.destination, question);
    // Whichever way it goes: the compiler would choose between two addresses, and the verifier wants to know which.
    // SAFETY: the record is the program's own.
    let here = unsafe { (&raw const (*anew(packet)).ifindex).read_volatile() };
    question.ifindex = hop::asked_of(settings, here);
    question.__bindgen_anon_1.tot_len = length as u16;
    let size = size_of::<Question>() as i32;
    // SAFETY: the question is as long as the helper is told, and any bits are a number.
    unsafe {
        if fib_lookup(packet.cast(), core::ptr::from_mut(question), size, 0) != FRAGMENTATION_NEEDED {
            return 0;
        }
        u32::from(question.__bindgen_anon_1.mtu_result)
    }
}

#[cfg_attr(keelson_bpf, unsafe(no_mangle))]
#[inline(never)]
pub fn exceeded4(packet: *mut __sk_buff, ends: *const Ends<Ip4>, transport: u32) -> u32 {
    // SAFETY: whoever calls it has a reference.
    let Some(ends) = (unsafe { ends.as_ref() }) else { return 0 };
    let mtu = exceeded(packet, ends, transport);
    if mtu == 0 {
        return 0;
    }
    let may_be_cut = read::<u16>(packet, ETHERNET as u32 + 6).is_some_and(|word| word & DONT_FRAGMENT == 0);
    let is_of_pods = settings().is_some_and(|settings| ends.destination.is_of_pods(settings));
    if may_be_cut && is_of_pods { 0 } else { mtu }
}

#[cfg_attr(keelson_bpf, unsafe(no_mangle))]
#[inline(never)]
pub fn exceeded6(packet: *mut __sk_buff, ends: *const Ends<Ip6>, transport: u32) -> u32 {
    // SAFETY: whoever calls it has a reference.
    let Some(ends) = (unsafe { ends.as_ref() }) else { return 0 };
    exceeded(packet, ends, transport)
}
