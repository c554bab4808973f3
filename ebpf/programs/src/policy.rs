//! NetworkPolicy: whether a flow may be.
//!
//! ```text
//! sender isolated for egress?      its number, the receiver's, the receiver's port ─▶ POLICY
//! receiver isolated for ingress?   its number, the sender's,   the receiver's port ─▶ POLICY
//! ```
//!
//! The receiver is the one after translation. Not judged, as Kubernetes says: a pod and itself, a pod and its own
//! node. Answers belong to the flow that they answer: what is judged is always who began.
//!
//! **Invariants.** At most four lookups in POLICY and two of identities, only for the first packet of a flow and for
//! the first one after policies changed. An address without identity matches rules for anybody alone.

use abi::{ANYBODY, Counter, Direction, Flow, FlowFlag, FlowState, Isolation, PolicyKey};

use crate::family::Family as _;
use crate::track::{Origin, Verdict};
use crate::world::World;

/// Allowed, or the counter of the denial and one: a number, as [`Verdict`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement(pub u32);

impl Judgement {
    pub const ALLOWED: Judgement = Judgement(0);

    #[inline(always)]
    fn denied(counter: Counter) -> Judgement {
        Judgement(counter as u32 + 1)
    }

    /// The verdict of a denial.
    #[inline(always)]
    pub fn verdict(self) -> Verdict {
        Verdict::drop_as(self.0.wrapping_sub(1))
    }
}

/// `becomes` says what the packet becomes, and whether it is an answer.
#[inline(always)]
pub fn judge<W: World>(world: &W, flow: &Flow<W::A>, becomes: &FlowState<W::A>, origin: Origin) -> Judgement {
    let answer = becomes.flags & FlowFlag::REPLY != 0;
    let (client, target) =
        if answer { (&becomes.destination, &flow.source) } else { (&flow.source, &becomes.destination) };
    let port = if answer { flow.source_port } else { becomes.destination_port };
    if *client == *target {
        return Judgement::ALLOWED;
    }
    if let Some(sender) = world.endpoint(client)
        && sender.isolation & Isolation::EGRESS != 0
        && !is_of_node(world, target)
        && !is_allowed(world, sender.identity, Direction::Egress, target, flow.protocol, port)
    {
        return Judgement::denied(Counter::PolicyEgress);
    }
    // Who comes in by an uplink under an address of the node is not the node.
    let by_node = if answer { is_of_node(world, client) } else { is_by_node(world, client, origin) };
    if !by_node
        && let Some(receiver) = world.endpoint(target)
        && receiver.isolation & Isolation::INGRESS != 0
        && !is_allowed(world, receiver.identity, Direction::Ingress, client, flow.protocol, port)
    {
        return Judgement::denied(Counter::PolicyIngress);
    }
    Judgement::ALLOWED
}

#[inline(always)]
fn is_by_node<W: World>(world: &W, client: &W::A, origin: Origin) -> bool {
    origin == Origin::Node || (origin == Origin::Pod && is_of_node(world, client))
}

#[inline(always)]
fn is_of_node<W: World>(world: &W, address: &W::A) -> bool {
    world.is_local(address) || address.is_link_local()
}

#[inline(always)]
fn is_allowed<W: World>(
    world: &W,
    subject: u32,
    direction: Direction,
    peer: &W::A,
    protocol: u8,
    port: u16,
) -> bool {
    let mut key =
        PolicyKey { subject, peer: world.identity(peer), direction: direction as u8, protocol, port };
    if key.peer != ANYBODY && world.allows(&key) {
        return true;
    }
    key.peer = ANYBODY;
    world.allows(&key)
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
