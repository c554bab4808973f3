//! Where a packet goes, once its ends are what they shall be.

use abi::{Counter, EndpointState, Mac, Settings};

use crate::family::Family;
use crate::track::Origin;
use crate::world::World;

/// Where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Into a pod of this node, by the host's end of its veth.
    Pod,
    /// To the node itself.
    Node,
    /// Wherever the node's routes lead.
    Outside,
    /// The same, where they led just now: `link` is the place in HOPS.
    Hop,
    Drop,
}

/// A way and what it needs; fields that a way does not need are zero (see [`crate::track::Verdict`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub way: Way,
    pub counter: u32,
    pub link: u32,
    pub mac: Mac,
}

impl Delivery {
    #[inline(always)]
    pub fn by(way: Way) -> Delivery {
        Delivery { way, counter: 0, link: 0, mac: Mac { high: 0, low: 0, pad: 0 } }
    }

    #[inline(always)]
    pub fn drop(counter: Counter) -> Delivery {
        Delivery { counter: counter as u32, ..Delivery::by(Way::Drop) }
    }
}

/// `source` is who sent it, before any translation; `named` is its name now.
#[inline(always)]
pub fn route<W: World>(
    world: &W,
    settings: &Settings,
    source: &W::A,
    named: &W::A,
    destination: &W::A,
    origin: Origin,
    sender_pending: bool,
) -> Delivery {
    if let Some(endpoint) = world.endpoint(destination) {
        let pending = sender_pending || endpoint.state != EndpointState::Ready as u8;
        // What is of the node may pass; who it is of is only looked up where it matters.
        if pending && origin != Origin::Node && !world.is_local(source) {
            return Delivery::drop(Counter::Pending);
        }
        return Delivery { link: endpoint.link, mac: endpoint.mac, ..Delivery::by(Way::Pod) };
    }
    if !sender_pending && let Some(place) = world.hop(settings, named, destination) {
        return Delivery { link: place, ..Delivery::by(Way::Hop) };
    }
    if world.is_local(destination) || destination.is_link_local() {
        return Delivery::by(Way::Node);
    }
    if sender_pending {
        return Delivery::drop(Counter::Pending);
    }
    if destination.is_of_pods(settings) && world.node_flags(destination) == 0 {
        // Nobody's yet: a pod has its link and its route before its policies. By the gateway comes only what is of this
        // node: sent out again it would come back for ever.
        return Delivery::drop(Counter::NoEndpoint);
    }
    Delivery::by(Way::Outside)
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
