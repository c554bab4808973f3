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

/// `source` is who sent it, before any translation.
#[inline(always)]
pub fn route<W: World>(
    world: &W,
    settings: &Settings,
    source: &W::A,
    destination: &W::A,
    origin: Origin,
    sender_pending: bool,
) -> Delivery {
    if let Some(endpoint) = world.endpoint(destination) {
        let pending = sender_pending || endpoint.state != EndpointState::Ready as u8;
        let of_the_node = origin == Origin::Node || world.is_local(source);
        if pending && !of_the_node {
            return Delivery::drop(Counter::Pending);
        }
        return Delivery { link: endpoint.link, mac: endpoint.mac, ..Delivery::by(Way::Pod) };
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
