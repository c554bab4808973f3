//! The packet programs.
//!
//! ```text
//! from_pod      tcx ingress of a pod's host end      check the source, track, deliver
//! to_pod        tcx egress of it                     what the node sends without the gateway: known flows only
//! from_host     tcx ingress of the gateway's peer    what the node sends to pods and services
//! from_uplink   tcx ingress of an uplink             node ports, answers, pods
//! to_uplink     tcx egress of an uplink              answers of backends that are processes of the node
//! ```

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use abi::{Counter, EndpointState, FragmentKey, FragmentPorts, Ip4, Ip6, Settings};
use aya_ebpf::bindings::{__sk_buff, TC_ACT_OK};
use aya_ebpf::helpers::generated::bpf_skb_pull_data;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

use crate::deliver::{self, deliver};
use crate::family::Family;
use crate::kernel::{Kernel4, Kernel6, settings};
use crate::parse::{self, Part, Seen, Unread};
use crate::policy::Judgement;
use crate::route::{self, Way};
use crate::track::{self, Ends, Origin, Verdict};
use crate::world::World;
use crate::{maps, report, rewrite};

const ETHERTYPE_IPV4: u16 = 0x0800_u16.to_be();
const ETHERTYPE_IPV6: u16 = 0x86dd_u16.to_be();

/// Ethernet, the longest IPv4 header, and as much of an ICMP error as is read; or all there is.
const PULLED: u32 = 14 + 60 + 8 + 60 + 8;

#[classifier]
pub fn from_pod(context: TcContext) -> i32 {
    let action = match kind(&context) {
        Some(ETHERTYPE_IPV4) => pod4(context.skb.skb),
        Some(ETHERTYPE_IPV6) => pod6(context.skb.skb),
        _ => TC_ACT_OK,
    };
    report::closed(context.skb.skb, action)
}

#[classifier]
pub fn from_host(context: TcContext) -> i32 {
    let action = match kind(&context) {
        Some(ETHERTYPE_IPV4) => through4(context.skb.skb, Origin::Node, false),
        Some(ETHERTYPE_IPV6) => through6(context.skb.skb, Origin::Node, false),
        _ => TC_ACT_OK,
    };
    report::closed(context.skb.skb, action)
}

#[classifier]
pub fn from_uplink(context: TcContext) -> i32 {
    let action = match kind(&context) {
        Some(ETHERTYPE_IPV4) => through4(context.skb.skb, Origin::Uplink, false),
        Some(ETHERTYPE_IPV6) => through6(context.skb.skb, Origin::Uplink, false),
        _ => TC_ACT_OK,
    };
    report::closed(context.skb.skb, action)
}

#[classifier]
pub fn to_pod(context: TcContext) -> i32 {
    let action = match kind(&context) {
        Some(ETHERTYPE_IPV4) => known4(context.skb.skb),
        Some(ETHERTYPE_IPV6) => known6(context.skb.skb),
        _ => TC_ACT_OK,
    };
    report::closed(context.skb.skb, action)
}

#[classifier]
pub fn to_uplink(context: TcContext) -> i32 {
    let action = match kind(&context) {
        Some(ETHERTYPE_IPV4) => known4(context.skb.skb),
        Some(ETHERTYPE_IPV6) => known6(context.skb.skb),
        _ => TC_ACT_OK,
    };
    report::closed(context.skb.skb, action)
}

/// What the frame carries, in network order.
#[inline(always)]
fn kind(context: &TcContext) -> Option<u16> {
    // SAFETY: the record is the program's own; the kernel keeps the frame's type there, without VLAN tags.
    Some(unsafe { (*context.skb.skb).protocol } as u16)
}

/// Reads the headers; pulls them into the linear part once if they are not there.
macro_rules! read {
    ($name:ident, $address:ty, $parse:path) => {
        #[inline(always)]
        pub fn $name(packet: *mut __sk_buff) -> Result<Seen<$address>, Unread> {
            // SAFETY: the kernel says that data..data_end is readable.
            let first = unsafe { $parse((*packet).data as usize, (*packet).data_end as usize) };
            if first != Err(Unread::Short) {
                return first;
            }
            // SAFETY: the packet is the program's own.
            unsafe {
                let length = if (*packet).len < PULLED { (*packet).len } else { PULLED };
                bpf_skb_pull_data(packet, length);
                $parse((*packet).data as usize, (*packet).data_end as usize)
            }
        }
    };
}

read!(read4, Ip4, parse::ipv4);
read!(read6, Ip6, parse::ipv6);

/// What a pod sends: only under its own address.
#[inline(never)]
fn pod4(packet: *mut __sk_buff) -> i32 {
    let Ok(seen) = read4(packet) else { return deliver::drop(Counter::Malformed) };
    let world = Kernel4 { packet: NonNull::new(packet) };
    match sender(&world, packet, &seen.flow.source) {
        Some(pending) => on4(packet, seen, Origin::Pod, pending),
        None => deliver::drop(Counter::Spoofed),
    }
}

#[inline(never)]
fn pod6(packet: *mut __sk_buff) -> i32 {
    let mut seen = MaybeUninit::uninit();
    if !read6_into(packet, &mut seen) {
        return deliver::drop(Counter::Malformed);
    }
    // SAFETY: it has been written.
    let seen = unsafe { seen.assume_init_ref() };
    let world = Kernel6 { packet: NonNull::new(packet) };
    if seen.flow.source.is_link_local() || seen.flow.source == abi::Address::unspecified() {
        // Neighbour discovery and group membership, with the node only.
        let near = seen.flow.destination.is_link_local() || seen.flow.destination.is_for_many();
        return if near { TC_ACT_OK } else { deliver::drop(Counter::Spoofed) };
    }
    match sender(&world, packet, &seen.flow.source) {
        Some(pending) => on6(packet, seen, Origin::Pod, pending),
        None => deliver::drop(Counter::Spoofed),
    }
}

/// Whether the sender is PENDING; None: it is not who it says.
#[inline(always)]
fn sender<W: World>(world: &W, packet: *mut __sk_buff, source: &W::A) -> Option<bool> {
    let endpoint = world.endpoint(source)?;
    // SAFETY: the record is the program's own.
    if endpoint.link != unsafe { (*packet).ifindex } {
        return None;
    }
    Some(endpoint.state != EndpointState::Ready as u8)
}

#[inline(never)]
fn through4(packet: *mut __sk_buff, origin: Origin, pending: bool) -> i32 {
    match read4(packet) {
        Ok(seen) => on4(packet, seen, origin, pending),
        Err(_) => TC_ACT_OK,
    }
}

#[inline(never)]
fn through6(packet: *mut __sk_buff, origin: Origin, pending: bool) -> i32 {
    let mut seen = MaybeUninit::uninit();
    if !read6_into(packet, &mut seen) {
        return TC_ACT_OK;
    }
    // SAFETY: it has been written.
    on6(packet, unsafe { seen.assume_init_ref() }, origin, pending)
}

/// Reads the headers in a frame of its own. False: there are none, and nothing is written.
#[inline(never)]
fn read6_into(packet: *mut __sk_buff, seen: &mut MaybeUninit<Seen<Ip6>>) -> bool {
    match read6(packet) {
        Ok(read) => {
            seen.write(read);
            true
        }
        Err(_) => false,
    }
}

/// Tracks, rewrites and delivers.
#[inline(always)]
fn on4(packet: *mut __sk_buff, mut seen: Seen<Ip4>, origin: Origin, pending: bool) -> i32 {
    let Some(settings) = settings() else { return TC_ACT_OK };
    if seen.flow.destination.is_for_many() {
        return TC_ACT_OK;
    }
    let world = Kernel4 { packet: NonNull::new(packet) };
    if seen.part == Part::Error {
        return error4(packet, &world, settings, &seen, (origin, pending));
    }
    if !gather(&mut seen) {
        // Of a datagram that is not ours, or whose beginning was lost.
        return if origin == Origin::Pod { deliver::drop(Counter::Fragment) } else { TC_ACT_OK };
    }
    let mut becomes = as_it_is(&seen);
    let verdict = track::track(&world, settings, &seen, origin, &mut becomes);
    if verdict == Verdict::BECOME {
        if rewrite::ipv4(packet, &seen, &becomes).is_err() {
            return deliver::drop(Counter::Rewrite);
        }
    } else if verdict != Verdict::UNTOUCHED {
        return deliver::drop_as(verdict.counter());
    } else if origin == Origin::Uplink {
        return TC_ACT_OK;
    }
    finish(
        packet,
        &world,
        settings,
        (seen.flow.source, (becomes.source, becomes.destination)),
        (origin, pending),
    )
}

/// Ends that change nothing.
#[inline(always)]
fn as_it_is<A: Family>(seen: &Seen<A>) -> Ends<A> {
    Ends {
        source: seen.flow.source,
        destination: seen.flow.destination,
        source_port: seen.flow.source_port,
        destination_port: seen.flow.destination_port,
    }
}

/// As [`on4`], in pieces: the addresses of IPv6 do not fit into one frame of 512 bytes together.
#[inline(always)]
fn on6(packet: *mut __sk_buff, seen: &Seen<Ip6>, origin: Origin, pending: bool) -> i32 {
    if seen.flow.destination.is_for_many() {
        return TC_ACT_OK;
    }
    let mut becomes = as_it_is(seen);
    let verdict = track6(packet, seen, origin, &mut becomes);
    if verdict == Verdict::BECOME.0 {
        if rewrite6(packet, seen, &becomes) != 0 {
            return deliver::drop(Counter::Rewrite);
        }
    } else if verdict != Verdict::UNTOUCHED.0 {
        return deliver::drop_as(Verdict(verdict).counter());
    } else if origin == Origin::Uplink {
        return TC_ACT_OK;
    }
    finish6(packet, &seen.flow.source, &becomes, origin, pending)
}

#[inline(never)]
fn track6(packet: *mut __sk_buff, seen: &Seen<Ip6>, origin: Origin, becomes: &mut Ends<Ip6>) -> u32 {
    let Some(settings) = settings() else { return Verdict::UNTOUCHED.0 };
    let world = Kernel6 { packet: NonNull::new(packet) };
    track::track(&world, settings, seen, origin, becomes).0
}

#[inline(never)]
fn rewrite6(packet: *mut __sk_buff, seen: &Seen<Ip6>, becomes: &Ends<Ip6>) -> u32 {
    u32::from(rewrite::ipv6(packet, seen, becomes).is_err())
}

#[inline(never)]
fn finish6(packet: *mut __sk_buff, source: &Ip6, becomes: &Ends<Ip6>, origin: Origin, pending: bool) -> i32 {
    let Some(settings) = settings() else { return TC_ACT_OK };
    let world = Kernel6 { packet: NonNull::new(packet) };
    finish(packet, &world, settings, (*source, (becomes.source, becomes.destination)), (origin, pending))
}

/// `sent`: the source before translation, and the ends after it.
#[inline(always)]
fn finish<W: World>(
    packet: *mut __sk_buff,
    world: &W,
    settings: &Settings,
    sent: (W::A, (W::A, W::A)),
    by: (Origin, bool),
) -> i32
where
    W::A: deliver::Routed,
{
    let (source, ends) = sent;
    let delivery = route::route(world, settings, &source, &ends.1, by.0, by.1);
    if by.0 == Origin::Uplink && delivery.way == Way::Node && source == ends.0 {
        // For the node, and under the sender's own name: it may go up where it is.
        return TC_ACT_OK;
    }
    // SAFETY: the record is the program's own.
    let link = unsafe { (*packet).ifindex };
    deliver(packet, settings, delivery, ends, link)
}

/// An ICMP error about a flow that is known goes to whoever sent that packet.
#[inline(always)]
fn error4(
    packet: *mut __sk_buff,
    world: &Kernel4,
    settings: &Settings,
    seen: &Seen<Ip4>,
    by: (Origin, bool),
) -> i32 {
    // SAFETY: the kernel says that data..data_end is readable.
    let about =
        unsafe { parse::about4((*packet).data as usize, (*packet).data_end as usize, seen.transport) };
    let known = match &about {
        Some(about) => track::of_error(world, &about.flow).map(|answers| (about, answers)),
        None => None,
    };
    let Some((about, answers)) = known else {
        if by.0 != Origin::Pod {
            return TC_ACT_OK;
        }
        let ends = (seen.flow.source, seen.flow.destination);
        let judgement = world.judge(&seen.flow, &track::unchanged(&seen.flow, world.now()), by.0, 0);
        if judgement != Judgement::ALLOWED {
            return deliver::drop_as(judgement.verdict().counter());
        }
        return finish(packet, world, settings, (seen.flow.source, ends), by);
    };
    match rewrite::error4(packet, seen, about, answers) {
        Ok(ends) => finish(packet, world, settings, (seen.flow.source, ends), by),
        Err(_) => deliver::drop(Counter::Rewrite),
    }
}

/// Gives later fragments the ports of the first one. False: they are not known.
#[inline(always)]
fn gather(seen: &mut Seen<Ip4>) -> bool {
    if seen.part != Part::First && seen.part != Part::Later {
        return true;
    }
    let key = FragmentKey {
        source: seen.flow.source,
        destination: seen.flow.destination,
        identification: seen.identification,
        protocol: seen.flow.protocol,
        pad: 0,
    };
    if seen.part == Part::First {
        let ports = FragmentPorts {
            source_port: seen.flow.source_port,
            destination_port: seen.flow.destination_port,
        };
        let _ = maps::FRAGMENTS4.insert(key, ports, 0);
        return true;
    }
    // SAFETY: entries are replaced whole and freed after the programs that see them.
    match unsafe { maps::FRAGMENTS4.get(key) } {
        Some(ports) => {
            seen.flow.source_port = ports.source_port;
            seen.flow.destination_port = ports.destination_port;
            true
        }
        None => false,
    }
}

/// Gives what the node sends the ends that its flow has, if it is of one; it is under way already.
#[inline(never)]
fn known4(packet: *mut __sk_buff) -> i32 {
    let Ok(mut seen) = read4(packet) else { return TC_ACT_OK };
    let world = Kernel4 { packet: NonNull::new(packet) };
    if seen.part == Part::Error || !gather(&mut seen) {
        return TC_ACT_OK;
    }
    let mut becomes = as_it_is(&seen);
    let known = track::follow(&world, &seen, &mut becomes) == Verdict::BECOME;
    if known && rewrite::ipv4(packet, &seen, &becomes).is_err() {
        return deliver::drop(Counter::Rewrite);
    }
    TC_ACT_OK
}

#[inline(never)]
fn known6(packet: *mut __sk_buff) -> i32 {
    let Ok(seen) = read6(packet) else { return TC_ACT_OK };
    let world = Kernel6 { packet: NonNull::new(packet) };
    let mut becomes = as_it_is(&seen);
    let known = track::follow(&world, &seen, &mut becomes) == Verdict::BECOME;
    if known && rewrite::ipv6(packet, &seen, &becomes).is_err() {
        return deliver::drop(Counter::Rewrite);
    }
    TC_ACT_OK
}
