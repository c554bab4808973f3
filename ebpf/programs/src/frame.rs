//! Parts of the logic in frames of their own.
//!
//! There is little room beside a packet of IPv6; and the verifier follows every way through a function, so what has many
//! ways and one result is a function that is left by one number: behind it the ways are one again. Everything here is
//! only reached by the first packet of a flow.

use core::ptr::NonNull;

use abi::{Flow, FlowState, Ip4, Ip6, Settings};
use aya_ebpf::bindings::__sk_buff;

use crate::kernel::{Kernel4, Kernel6};
use crate::policy;
use crate::track::{self, Origin};

/// The reverse of the cast.
#[inline(always)]
fn origin_of(number: u32) -> Origin {
    match number {
        0 => Origin::Pod,
        1 => Origin::Node,
        _ => Origin::Uplink,
    }
}

macro_rules! frames {
    ($kernel:ident, $address:ty, $judge:ident, $lead:ident, $conceal:ident, $attempt:ident, $enter:ident) => {
        #[inline(never)]
        pub fn $judge(
            packet: *mut __sk_buff,
            flow: &Flow<$address>,
            becomes: &FlowState<$address>,
            origin: u32,
        ) -> u32 {
            let world = $kernel { packet: NonNull::new(packet) };
            policy::judge(&world, flow, becomes, origin_of(origin)).0
        }

        #[inline(never)]
        pub fn $lead(
            packet: *mut __sk_buff,
            settings: &Settings,
            key: &Flow<$address>,
            state: &mut FlowState<$address>,
            origin: u32,
        ) -> u32 {
            let world = $kernel { packet: NonNull::new(packet) };
            track::to_backend(&world, settings, key, state, origin_of(origin)).0
        }

        #[inline(never)]
        pub fn $conceal(
            packet: *mut __sk_buff,
            settings: &Settings,
            key: &Flow<$address>,
            state: &mut FlowState<$address>,
            origin: u32,
        ) -> u32 {
            let world = $kernel { packet: NonNull::new(packet) };
            track::conceal(&world, settings, key, state, origin_of(origin)).0
        }

        #[inline(never)]
        pub fn $attempt(
            packet: *mut __sk_buff,
            key: &Flow<$address>,
            state: &FlowState<$address>,
            sockets_first: u32,
        ) -> u32 {
            let world = $kernel { packet: NonNull::new(packet) };
            track::attempt(&world, key, state, sockets_first != 0).0
        }

        #[inline(never)]
        pub fn $enter(
            packet: *mut __sk_buff,
            settings: &Settings,
            key: &Flow<$address>,
            state: &mut FlowState<$address>,
        ) -> u32 {
            let world = $kernel { packet: NonNull::new(packet) };
            track::enter(&world, settings, key, state).0
        }
    };
}

frames!(Kernel4, Ip4, judge4, lead4, conceal4, attempt4, enter4);
frames!(Kernel6, Ip6, judge6, lead6, conceal6, attempt6, enter6);
