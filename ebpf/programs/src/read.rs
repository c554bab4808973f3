//! Reads the headers of the packet at hand, which may not all lie where programs may look.

use core::mem::MaybeUninit;

use abi::{Ip4, Ip6};
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::bpf_skb_pull_data;

use crate::fragment::gather6;
use crate::parse::{self, Part, Seen, Unread};

/// Ethernet, the longest IPv4 header, and as much of an ICMP error as is read; or all there is.
const PULLED: u32 = 14 + 60 + 8 + 60 + 8;

/// Reads the headers; pulls them into the linear part once if they are not there.
#[inline(always)]
pub fn read4(packet: *mut __sk_buff) -> Result<Seen<Ip4>, Unread> {
    // SAFETY: the kernel says that data..data_end is readable.
    let first = unsafe { parse::ipv4((*packet).data as usize, (*packet).data_end as usize) };
    if first != Err(Unread::Short) {
        return first;
    }
    pull(packet);
    // SAFETY: as above.
    unsafe { parse::ipv4((*packet).data as usize, (*packet).data_end as usize) }
}

#[inline(always)]
fn pull(packet: *mut __sk_buff) {
    // SAFETY: the packet is the program's own.
    unsafe {
        let length = if (*packet).len < PULLED { (*packet).len } else { PULLED };
        bpf_skb_pull_data(packet, length);
    }
}

/// Reads the headers in frames of their own. False: there are none.
#[inline(always)]
pub fn read6_into(packet: *mut __sk_buff, seen: &mut MaybeUninit<Seen<Ip6>>) -> bool {
    let words: *mut u32 = seen.as_mut_ptr().cast();
    let mut at = 0;
    while at < size_of::<Seen<Ip6>>() / size_of::<u32>() {
        // SAFETY: within the record. Linux 6.1 lets a global function write only over what has been written; one by one,
        // because the compiler would make it a call to memset.
        unsafe { words.add(at).write_volatile(0) };
        at += 1;
    }
    read6(packet, seen) != 0
}

/// Global: see frame.rs.
#[cfg_attr(keelson_bpf, unsafe(no_mangle))]
#[inline(never)]
pub fn read6(packet: *mut __sk_buff, seen: *mut MaybeUninit<Seen<Ip6>>) -> u32 {
    // SAFETY: whoever calls it has a reference.
    let Some(seen) = (unsafe { seen.as_mut() }) else { return 0 };
    u32::from(reads6(packet, seen))
}

#[inline(always)]
fn reads6(packet: *mut __sk_buff, seen: &mut MaybeUninit<Seen<Ip6>>) -> bool {
    let mut read = parse6(packet, seen);
    if read == SHORT {
        pull(packet);
        read = parse6(packet, seen);
    }
    if read != READ {
        return false;
    }
    // SAFETY: it has been written.
    let seen = unsafe { seen.assume_init_mut() };
    seen.part != Part::Chain || beyond6(packet, seen)
}

const READ: u32 = 0;
const SHORT: u32 = 1;
const MALFORMED: u32 = 2;

/// Where the packet lies, read at this very place: what the compiler reads elsewhere and hands over as a number is no
/// pointer to the verifier any more.
#[inline(always)]
pub fn extent(packet: *mut __sk_buff) -> (usize, usize) {
    // SAFETY: the record is the program's own.
    unsafe {
        let start = (&raw const (*packet).data).read_volatile();
        (start as usize, (&raw const (*packet).data_end).read_volatile() as usize)
    }
}

#[inline(never)]
fn parse6(packet: *mut __sk_buff, seen: &mut MaybeUninit<Seen<Ip6>>) -> u32 {
    let (start, end) = extent(packet);
    // SAFETY: the kernel says that start..end is readable.
    match unsafe { parse::ipv6(start, end, seen) } {
        Ok(()) => READ,
        Err(Unread::Short) => SHORT,
        Err(Unread::Malformed) => MALFORMED,
    }
}

/// Goes past extension headers, and gives later fragments their ports.
#[inline(never)]
fn beyond6(packet: *mut __sk_buff, seen: &mut Seen<Ip6>) -> bool {
    let (start, end) = extent(packet);
    // SAFETY: the kernel says that start..end is readable.
    if !unsafe { parse::beyond6(start, end, seen) } {
        return false;
    }
    // Of a datagram whose beginning was lost: nobody's.
    if !gather6(seen) {
        seen.part = Part::Portless;
    }
    true
}
