//! Parts of the logic in frames of their own.
//!
//! There is little room beside a packet of IPv6; and the verifier follows every way through a function each time it is
//! called. What build.rs exports is a global function: read once, by itself, with arguments of which only the types are known;
//! to its callers it is one number. Everything here is only reached by the first packet of a flow.
//!
//! **Invariants.** A global function takes numbers, the packet and pointers to records, any of which may be null. Linux 6.1 lets no
//! such record be a key or a value of a map: what is one is copied into the frame first. It uses every argument: callers do not
//! set the others.

use core::ptr::NonNull;

use abi::{Counter, Flow, FlowState, Ip4, Ip6, Settings};
use aya_ebpf::bindings::__sk_buff;

use crate::kernel::{Kernel4, Kernel6, settings};
use crate::policy;
use crate::track::{self, Origin, Verdict};

/// The reverse of the cast.
#[inline(always)]
fn origin_of(number: u32) -> Origin {
    match number {
        0 => Origin::Pod,
        1 => Origin::Node,
        _ => Origin::Uplink,
    }
}

/// What a global function answers where a pointer is null: denied, dropped. The kernel cannot know that ours never are.
const NOTHING: u32 = Verdict::drop(Counter::Malformed).0;

macro_rules! frames {
    ($kernel:ident, $address:ty, $judge:ident, $lead:ident, $conceal:ident, $attempt:ident, $oust:ident, $enter:ident) => {
        #[cfg_attr(keelson_bpf, unsafe(no_mangle))]
        #[inline(never)]
        pub fn $judge(flow: *const Flow<$address>, becomes: *const FlowState<$address>, origin: u32) -> u32 {
            // SAFETY: whoever calls it has references to both.
            let (Some(flow), Some(becomes)) = (unsafe { flow.as_ref() }, unsafe { becomes.as_ref() }) else {
                return NOTHING;
            };
            let world = $kernel { packet: None };
            policy::judge(&world, flow, becomes, origin_of(origin)).0
        }

        #[cfg_attr(keelson_bpf, unsafe(no_mangle))]
        #[inline(never)]
        pub fn $lead(key: *const Flow<$address>, state: *mut FlowState<$address>, origin: u32) -> u32 {
            // SAFETY: whoever calls it has references to both.
            let (Some(key), Some(state)) = (unsafe { key.as_ref() }, unsafe { state.as_mut() }) else {
                return NOTHING;
            };
            let Some(settings) = settings() else { return NOTHING };
            let world = $kernel { packet: None };
            track::to_backend(&world, settings, key, state, origin_of(origin)).0
        }

        #[cfg_attr(keelson_bpf, unsafe(no_mangle))]
        #[inline(never)]
        pub fn $conceal(key: *const Flow<$address>, state: *mut FlowState<$address>, origin: u32) -> u32 {
            // SAFETY: whoever calls it has references to both.
            let (Some(key), Some(state)) = (unsafe { key.as_ref() }, unsafe { state.as_mut() }) else {
                return NOTHING;
            };
            let Some(settings) = settings() else { return NOTHING };
            let world = $kernel { packet: None };
            track::conceal(&world, settings, key, state, origin_of(origin)).0
        }

        #[cfg_attr(keelson_bpf, unsafe(no_mangle))]
        #[inline(never)]
        pub fn $attempt(
            packet: *mut __sk_buff,
            key: *const Flow<$address>,
            state: *const FlowState<$address>,
            sockets_first: u32,
        ) -> u32 {
            // SAFETY: whoever calls it has references to both.
            let (Some(key), Some(state)) = (unsafe { key.as_ref() }, unsafe { state.as_ref() }) else {
                return NOTHING;
            };
            let world = $kernel { packet: NonNull::new(packet) };
            track::attempt(&world, key, state, sockets_first != 0).0
        }

        #[cfg_attr(keelson_bpf, unsafe(no_mangle))]
        #[inline(never)]
        pub fn $oust(key: *const Flow<$address>, state: *const FlowState<$address>) -> u32 {
            // SAFETY: whoever calls it has references to both.
            let (Some(key), Some(state)) = (unsafe { key.as_ref() }, unsafe { state.as_ref() }) else {
                return 0;
            };
            u32::from(track::oust(&$kernel { packet: None }, key, state))
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

frames!(Kernel4, Ip4, judge4, lead4, conceal4, attempt4, oust4, enter4);
frames!(Kernel6, Ip6, judge6, lead6, conceal6, attempt6, oust6, enter6);
