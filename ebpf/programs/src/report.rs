//! Tells user space what became of a packet: drops always, the rest while somebody looks.
//!
//! **Invariants.** A CPU makes no more than abi's `REPORTS_PER_SECOND` of a kind; what is more, and what finds the ring
//! full, is counted. A report is written where it lies: there is no room for it in the frame.

use core::mem::MaybeUninit;
use core::ptr::null;

use abi::{Counter, Flow, FlowState, Ip4, Ip6, REPORTS_PER_SECOND, Report, ReportKind};
use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT};
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;

use crate::deliver::DROPPED;
use crate::kernel::count;
use crate::{maps, read};

const IPV4: u16 = 0x0800_u16.to_be();
const NANOSECONDS: u64 = 1_000_000_000;

/// Kind, reason and TCP flags in one number.
#[inline(always)]
pub fn what(kind: ReportKind, reason: u32, tcp: u8) -> u64 {
    kind as u64 | (reason as u64 & 0xff) << 8 | (tcp as u64) << 16
}

/// What a program returns: a drop is reported and becomes tc's action. Policy's were reported where they were made.
#[inline(always)]
pub fn closed(packet: *mut __sk_buff, action: i32) -> i32 {
    if action < DROPPED {
        return action;
    }
    let reason = (action - DROPPED) as u32;
    if reason != Counter::PolicyEgress as u32 && reason != Counter::PolicyIngress as u32 {
        dropped(packet, reason);
    }
    TC_ACT_SHOT
}

/// The packet is read again: whoever dropped it has left.
#[inline(never)]
fn dropped(skb: *mut __sk_buff, reason: u32) -> i32 {
    // SAFETY: the record is the program's own.
    if unsafe { (*skb).protocol } as u16 == IPV4 { dropped4(skb, reason) } else { dropped6(skb, reason) }
}

#[inline(never)]
fn dropped4(skb: *mut __sk_buff, reason: u32) -> i32 {
    match read::read4(skb) {
        Ok(seen) => report4(skb, &seen.flow, null(), what(ReportKind::Dropped, reason, seen.tcp)) as i32,
        Err(_) => unreadable(skb, reason),
    }
}

#[inline(never)]
fn dropped6(skb: *mut __sk_buff, reason: u32) -> i32 {
    let mut seen = MaybeUninit::uninit();
    if read::read6_into(skb, &mut seen) {
        // SAFETY: it has been written.
        let seen = unsafe { seen.assume_init_ref() };
        report6(skb, &seen.flow, null(), what(ReportKind::Dropped, reason, seen.tcp)) as i32
    } else {
        unreadable(skb, reason)
    }
}

#[inline(never)]
fn unreadable(skb: *mut __sk_buff, reason: u32) -> i32 {
    report(skb, what(ReportKind::Dropped, reason, 0), |_| {});
    0
}

// Global functions: see frame.rs. `becomes` may be null: then it stays what it was.
macro_rules! reports {
    ($name:ident, $address:ty, $family:literal, $wide:path) => {
        #[cfg_attr(keelson_bpf, unsafe(no_mangle))]
        #[inline(never)]
        pub fn $name(
            skb: *mut __sk_buff,
            flow: *const Flow<$address>,
            becomes: *const FlowState<$address>,
            what: u64,
        ) -> u32 {
            // SAFETY: whoever calls it has a reference, and a second one or null.
            let (Some(flow), becomes) = (unsafe { flow.as_ref() }, unsafe { becomes.as_ref() }) else {
                return 0;
            };
            report(skb, what, |at| {
                // SAFETY: `at` is a whole report in the ring.
                unsafe {
                    (&raw mut (*at).family).write($family);
                    (&raw mut (*at).protocol).write(flow.protocol);
                    put(&raw mut (*at).source, $wide(flow.source));
                    put(&raw mut (*at).destination, $wide(flow.destination));
                    (&raw mut (*at).source_port).write(flow.source_port);
                    (&raw mut (*at).destination_port).write(flow.destination_port);
                    if let Some(becomes) = becomes {
                        (&raw mut (*at).flow).write(becomes.flags);
                        put(&raw mut (*at).to_source, $wide(becomes.source));
                        put(&raw mut (*at).to_destination, $wide(becomes.destination));
                        (&raw mut (*at).to_source_port).write(becomes.source_port);
                        (&raw mut (*at).to_destination_port).write(becomes.destination_port);
                    } else {
                        put(&raw mut (*at).to_source, $wide(flow.source));
                        put(&raw mut (*at).to_destination, $wide(flow.destination));
                        (&raw mut (*at).to_source_port).write(flow.source_port);
                        (&raw mut (*at).to_destination_port).write(flow.destination_port);
                    }
                }
            });
            0
        }
    };
}

reports!(report4, Ip4, 4, widened);
reports!(report6, Ip6, 6, core::convert::identity);

#[inline(always)]
fn widened(address: Ip4) -> Ip6 {
    Ip6 { a: address.bits, b: 0, c: 0, d: 0 }
}

/// Writes an address word by word: two of them at once become a call to memmove.
///
/// # Safety
/// `at` may be written.
#[inline(always)]
unsafe fn put(at: *mut Ip6, address: Ip6) {
    // SAFETY: as the caller says.
    unsafe {
        (&raw mut (*at).a).write_volatile(address.a);
        (&raw mut (*at).b).write_volatile(address.b);
        (&raw mut (*at).c).write_volatile(address.c);
        (&raw mut (*at).d).write_volatile(address.d);
    }
}

/// Reserves a report, fills in what all have, lets `fill` write the rest, and hands it over.
#[inline(always)]
fn report(skb: *mut __sk_buff, what: u64, fill: impl FnOnce(*mut Report)) {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let kind = what as u8;
    if !is_within_rate(kind, (now / NANOSECONDS) as u32) {
        return count(Counter::ReportsLost);
    }
    let Some(mut room) = maps::REPORTS.reserve::<Report>(0) else { return count(Counter::ReportsLost) };
    let at = room.as_mut_ptr();
    // SAFETY: the ring has reserved a whole report; the record of the packet is the program's own.
    unsafe {
        (&raw mut (*at).time_high).write((now >> 32) as u32);
        (&raw mut (*at).time_low).write(now as u32);
        (&raw mut (*at).link).write((*skb).ifindex);
        (&raw mut (*at).length).write((*skb).len);
        (&raw mut (*at).kind).write(kind);
        (&raw mut (*at).reason).write((what >> 8) as u8);
        (&raw mut (*at).tcp).write((what >> 16) as u8);
        (&raw mut (*at).pad).write(0);
        (&raw mut (*at).family).write(0);
        (&raw mut (*at).flow).write(0);
    }
    fill(at);
    room.submit(0);
}

#[inline(always)]
fn is_within_rate(kind: u8, second: u32) -> bool {
    let index = if kind == ReportKind::Dropped as u8 { 0 } else { 1 };
    let Some(rate) = maps::RATES.get_ptr_mut(index) else { return false };
    let most = if index == 0 { REPORTS_PER_SECOND[0] } else { REPORTS_PER_SECOND[1] };
    // SAFETY: the kernel gives each CPU a cell of its own.
    unsafe {
        if (*rate).second != second {
            (*rate).second = second;
            (*rate).count = 0;
        }
        (*rate).count += 1;
        (*rate).count <= most
    }
}
