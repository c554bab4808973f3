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

use abi::{Counter, EndpointState, Ip4, Ip6, Settings};
use aya_ebpf::bindings::{__sk_buff, TC_ACT_OK};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

use crate::deliver::{self, deliver};
use crate::family::Family;
use crate::fragment::gather;
use crate::kernel::{Kernel4, Kernel6, settings};
use crate::parse::{self, Part, Seen};
use crate::policy::Judgement;
use crate::read::{extent, read4, read6_into};
use crate::route::{self, Delivery, Way};
use crate::track::{self, Ends, Origin, Verdict};
use crate::world::World;
use crate::{fit, refuse, report, rewrite};

pub const ETHERTYPE_IPV4: u16 = 0x0800_u16.to_be();
pub const ETHERTYPE_IPV6: u16 = 0x86dd_u16.to_be();

#[classifier]
pub fn from_pod(context: TcContext) -> i32 {
    deliver::arrives(context.skb.skb);
    let action = match kind(&context) {
        Some(ETHERTYPE_IPV4) => pod4(context.skb.skb),
        Some(ETHERTYPE_IPV6) => pod6(context.skb.skb),
        _ => TC_ACT_OK,
    };
    report::closed(context.skb.skb, action)
}

#[classifier]
pub fn from_host(context: TcContext) -> i32 {
    deliver::arrives(context.skb.skb);
    let action = match kind(&context) {
        Some(ETHERTYPE_IPV4) => through4(context.skb.skb, Origin::Node, false),
        Some(ETHERTYPE_IPV6) => through6(context.skb.skb, Origin::Node, false),
        _ => TC_ACT_OK,
    };
    report::closed(context.skb.skb, action)
}

#[classifier]
pub fn from_uplink(context: TcContext) -> i32 {
    deliver::arrives(context.skb.skb);
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
    if deliver::is_sent(context.skb.skb) {
        return TC_ACT_OK;
    }
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
    if verdict.is_refusal() {
        return refuse::service4(packet, &seen, verdict.counter());
    }
    if verdict != Verdict::BECOME && verdict != Verdict::UNTOUCHED {
        return deliver::drop_as(verdict.counter());
    }
    if verdict == Verdict::UNTOUCHED && origin == Origin::Uplink {
        return TC_ACT_OK;
    }
    let delivery = way(&world, settings, &seen, &becomes, origin, pending);
    let hop = is_forwarded(origin, &delivery);
    if hop && rewrite::hops(&seen) <= 1 {
        return refuse::exceeded4(packet, &seen, settings.node4);
    }
    if delivery.way == Way::Outside {
        let mtu = fit::exceeded4(packet, &raw const becomes, fit::transport(&seen));
        if mtu != 0 {
            return refuse::too_big4(packet, &seen, mtu, origin);
        }
    }
    if delivery.way != Way::Drop && rewrite::ipv4(packet, &seen, &becomes, hop).is_err() {
        return deliver::drop(Counter::Rewrite);
    }
    hand_on(packet, settings, &seen.flow.source, (becomes.source, becomes.destination), origin, delivery)
}

/// Where it goes with these ends.
#[inline(always)]
fn way<W: World>(
    world: &W,
    settings: &Settings,
    seen: &Seen<W::A>,
    becomes: &Ends<W::A>,
    origin: Origin,
    pending: bool,
) -> Delivery {
    let (source, ends) = (&seen.flow.source, (&becomes.source, &becomes.destination));
    route::route(world, settings, source, ends.0, ends.1, origin, pending)
}

/// Whether we are a router to it, and not its sender or its receiver.
#[inline(always)]
fn is_forwarded(origin: Origin, delivery: &Delivery) -> bool {
    origin != Origin::Node
        && (delivery.way == Way::Pod || delivery.way == Way::Outside || delivery.way == Way::Hop)
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
    if seen.part == Part::Error {
        return about6(packet, seen, &mut becomes, origin, pending);
    }
    let verdict = Verdict(track6(packet, seen, origin, &mut becomes));
    if verdict.is_refusal() {
        return refuse::service6(packet, seen, verdict.counter());
    }
    if verdict != Verdict::BECOME && verdict != Verdict::UNTOUCHED {
        return deliver::drop_as(verdict.counter());
    }
    if verdict == Verdict::UNTOUCHED && origin == Origin::Uplink {
        return TC_ACT_OK;
    }
    match finish6(packet, seen, &becomes, origin, pending) {
        EXCEEDED => refuse::exceeded6(packet, seen),
        action if action >= TOO_BIG => refuse::too_big6(packet, seen, (action - TOO_BIG) as u32, origin),
        action => action,
    }
}

/// As [`error4`].
#[inline(always)]
fn about6(
    packet: *mut __sk_buff,
    seen: &Seen<Ip6>,
    becomes: &mut Ends<Ip6>,
    origin: Origin,
    pending: bool,
) -> i32 {
    match error6(packet, seen, becomes) {
        Of::NOBODY if origin != Origin::Pod => TC_ACT_OK,
        // Judged as any other packet of a protocol without ports.
        Of::NOBODY => by_itself6(packet, seen, becomes, origin, pending),
        Of::KNOWN => hand6(packet, seen, becomes, origin, pending),
        _ => deliver::drop(Counter::Rewrite),
    }
}

#[inline(always)]
fn by_itself6(
    packet: *mut __sk_buff,
    seen: &Seen<Ip6>,
    becomes: &mut Ends<Ip6>,
    origin: Origin,
    pending: bool,
) -> i32 {
    let verdict = Verdict(portless6(packet, seen, origin));
    if verdict != Verdict::UNTOUCHED {
        return deliver::drop_as(verdict.counter());
    }
    hand6(packet, seen, becomes, origin, pending)
}

#[inline(never)]
fn portless6(packet: *mut __sk_buff, seen: &Seen<Ip6>, origin: Origin) -> u32 {
    let world = Kernel6 { packet: NonNull::new(packet) };
    let judgement = world.judge(&seen.flow, &track::unchanged(&seen.flow, world.now()), origin, 0);
    if judgement == Judgement::ALLOWED { Verdict::UNTOUCHED.0 } else { judgement.verdict().0 }
}

/// What became of an ICMP error.
struct Of;

impl Of {
    /// It is about no flow that we know.
    const NOBODY: u32 = 0;
    const KNOWN: u32 = 1;
    const REFUSED: u32 = 2;
}

#[inline(never)]
fn error6(packet: *mut __sk_buff, seen: &Seen<Ip6>, becomes: &mut Ends<Ip6>) -> u32 {
    let (start, end) = extent(packet);
    // SAFETY: the kernel says that start..end is readable.
    let about = unsafe { parse::about6(start, end, seen.transport) };
    let world = Kernel6 { packet: NonNull::new(packet) };
    let Some(about) = about else { return Of::NOBODY };
    let Some(answers) = track::of_error(&world, &about.flow) else { return Of::NOBODY };
    match rewrite::error6(packet, seen, &about, &answers, becomes) {
        Ok(()) => Of::KNOWN,
        Err(_) => Of::REFUSED,
    }
}

#[inline(never)]
fn track6(packet: *mut __sk_buff, seen: &Seen<Ip6>, origin: Origin, becomes: &mut Ends<Ip6>) -> u32 {
    let Some(settings) = settings() else { return Verdict::UNTOUCHED.0 };
    let world = Kernel6 { packet: NonNull::new(packet) };
    track::track(&world, settings, seen, origin, becomes).0
}

/// Global: see frame.rs.
#[cfg_attr(keelson_bpf, unsafe(no_mangle))]
#[inline(never)]
pub fn rewrite6(packet: *mut __sk_buff, seen: *const Seen<Ip6>, becomes: *const Ends<Ip6>, hop: u32) -> u32 {
    // SAFETY: whoever calls it has references to both.
    let (Some(seen), Some(becomes)) = (unsafe { seen.as_ref() }, unsafe { becomes.as_ref() }) else {
        return 1;
    };
    u32::from(rewrite::ipv6(packet, seen, becomes, hop != 0).is_err())
}

/// What [`finish6`] gives for a packet that may be forwarded no further; no action of the kernel's, and no drop of ours. The
/// answer is made by its caller: Linux 6.1 counts 32 bytes for the smallest frame, and there is not room for two more beside
/// this one's.
const EXCEEDED: i32 = ACTIONS + 1;
/// What it gives, with the MTU added, for a packet that is longer than its way takes.
const TOO_BIG: i32 = 1 << 16;
/// Actions of the kernel, and drops with their reasons; shows the verifier that none of them is one of the above.
const ACTIONS: i32 = deliver::DROPPED | 0xff;

#[inline(never)]
fn finish6(
    packet: *mut __sk_buff,
    seen: &Seen<Ip6>,
    becomes: &Ends<Ip6>,
    origin: Origin,
    pending: bool,
) -> i32 {
    let Some(settings) = settings() else { return TC_ACT_OK };
    let world = Kernel6 { packet: NonNull::new(packet) };
    let delivery = way(&world, settings, seen, becomes, origin, pending);
    let hop = is_forwarded(origin, &delivery);
    if hop && rewrite::hops(seen) <= 1 {
        return EXCEEDED;
    }
    if delivery.way == Way::Outside {
        let mtu = fit::exceeded6(packet, becomes, fit::transport(seen));
        if mtu != 0 {
            return TOO_BIG + (mtu & 0xffff) as i32;
        }
    }
    if delivery.way != Way::Drop && rewrite6(packet, seen, becomes, u32::from(hop)) != 0 {
        return deliver::drop(Counter::Rewrite);
    }
    hand_on(packet, settings, &seen.flow.source, (becomes.source, becomes.destination), origin, delivery)
        & ACTIONS
}

/// As [`finish6`], for what has its ends already.
#[inline(never)]
fn hand6(
    packet: *mut __sk_buff,
    seen: &Seen<Ip6>,
    becomes: &Ends<Ip6>,
    origin: Origin,
    pending: bool,
) -> i32 {
    let Some(settings) = settings() else { return TC_ACT_OK };
    let world = Kernel6 { packet: NonNull::new(packet) };
    let delivery = way(&world, settings, seen, becomes, origin, pending);
    hand_on(packet, settings, &seen.flow.source, (becomes.source, becomes.destination), origin, delivery)
}

/// `source`: before translation; `ends`: after it.
#[inline(always)]
fn hand_on<A: deliver::Routed + Family>(
    packet: *mut __sk_buff,
    settings: &Settings,
    source: &A,
    ends: (A, A),
    origin: Origin,
    delivery: Delivery,
) -> i32 {
    if origin == Origin::Uplink && delivery.way == Way::Node && *source == ends.0 {
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
    let ends = match known {
        Some((about, answers)) => match rewrite::error4(packet, seen, about, &answers) {
            Ok(ends) => ends,
            Err(_) => return deliver::drop(Counter::Rewrite),
        },
        None if by.0 != Origin::Pod => return TC_ACT_OK,
        None => {
            let judgement = world.judge(&seen.flow, &track::unchanged(&seen.flow, world.now()), by.0, 0);
            if judgement != Judgement::ALLOWED {
                return deliver::drop_as(judgement.verdict().counter());
            }
            (seen.flow.source, seen.flow.destination)
        }
    };
    let delivery = route::route(world, settings, &seen.flow.source, &ends.0, &ends.1, by.0, by.1);
    hand_on(packet, settings, &seen.flow.source, ends, by.0, delivery)
}

/// Gives what the node sends the ends that its flow has, if it is of one; it is under way already.
#[inline(never)]
fn known4(packet: *mut __sk_buff) -> i32 {
    let Ok(mut seen) = read4(packet) else { return TC_ACT_OK };
    let world = Kernel4 { packet: NonNull::new(packet) };
    if seen.part == Part::Error {
        return known_error4(packet, &world, &seen);
    }
    if !gather(&mut seen) {
        return TC_ACT_OK;
    }
    let mut becomes = as_it_is(&seen);
    let known = track::follow(&world, &seen, &mut becomes) == Verdict::BECOME;
    if known && rewrite::ipv4(packet, &seen, &becomes, false).is_err() {
        return deliver::drop(Counter::Rewrite);
    }
    TC_ACT_OK
}

/// An ICMP error of the node about a flow that was translated.
#[inline(always)]
fn known_error4(packet: *mut __sk_buff, world: &Kernel4, seen: &Seen<Ip4>) -> i32 {
    // SAFETY: the kernel says that data..data_end is readable.
    let about =
        unsafe { parse::about4((*packet).data as usize, (*packet).data_end as usize, seen.transport) };
    let Some(about) = about else { return TC_ACT_OK };
    let Some(answers) = track::of_error(world, &about.flow) else { return TC_ACT_OK };
    match rewrite::error4(packet, seen, &about, &answers) {
        Ok(_) => TC_ACT_OK,
        Err(_) => deliver::drop(Counter::Rewrite),
    }
}

#[inline(never)]
fn known6(packet: *mut __sk_buff) -> i32 {
    let mut seen = MaybeUninit::uninit();
    if !read6_into(packet, &mut seen) {
        return TC_ACT_OK;
    }
    // SAFETY: it has been written.
    let seen = unsafe { seen.assume_init_ref() };
    let mut becomes = as_it_is(seen);
    if seen.part == Part::Error {
        return match error6(packet, seen, &mut becomes) {
            Of::REFUSED => deliver::drop(Counter::Rewrite),
            _ => TC_ACT_OK,
        };
    }
    if follow6(packet, seen, &mut becomes) && rewrite6(packet, seen, &raw const becomes, 0) != 0 {
        return deliver::drop(Counter::Rewrite);
    }
    TC_ACT_OK
}

#[inline(never)]
fn follow6(packet: *mut __sk_buff, seen: &Seen<Ip6>, becomes: &mut Ends<Ip6>) -> bool {
    let world = Kernel6 { packet: NonNull::new(packet) };
    track::follow(&world, seen, becomes) == Verdict::BECOME
}
