//! Which sockets are translated, and which are left to the packet path.
//!
//! A socket that has chosen its source port keeps it whatever it talks to, so only the packet path can keep a flow to
//! a service and a flow to its backend apart. UDP sockets have chosen theirs when they send.
//! What the node sends to itself passes no packet program, so its own node ports are translated here always,
//! and so is everything if it has no gateway.

use abi::{Backend, Protocol, Scope, Service, Settings, SettingsFlag};

use crate::choose;
use crate::family::Family;
use crate::world::World;

/// What a socket is about to talk to.
#[derive(Clone, Copy, Debug)]
pub struct Call<A> {
    pub address: A,
    /// Network order.
    pub port: u16,
    pub protocol: u8,
    /// The socket has a source port already.
    pub bound: bool,
    /// It is of the node's own namespace, not a pod's.
    pub of_the_node: bool,
}

/// The service it is to be sent to here; None: left alone.
#[inline(always)]
pub fn service<W: World>(world: &W, settings: &Settings, call: &Call<W::A>) -> Option<&'static Service> {
    if call.protocol != Protocol::TCP && call.protocol != Protocol::UDP {
        return None;
    }
    let mut address = call.address;
    let to_itself = call.of_the_node
        && choose::is_node_port(settings, call.port)
        && (address.is_loopback() || world.is_local(&address));
    let without_gateway = call.of_the_node && settings.flags & SettingsFlag::GATEWAY == 0;
    let free = call.protocol == Protocol::TCP && !call.bound;
    if !(to_itself || without_gateway || free) {
        return None;
    }
    if to_itself {
        address = W::A::nowhere();
    }
    choose::service(world, settings, address, call.port, call.protocol, Scope::Cluster)
}

/// The pod of this node behind a host port that a process of the node itself asks for: what the node sends to itself
/// passes no packet program.
#[inline(always)]
pub fn host_port<W: World>(world: &W, settings: &Settings, call: &Call<W::A>) -> Option<Backend<W::A>> {
    if !call.of_the_node || !(call.address.is_loopback() || world.is_local(&call.address)) {
        return None;
    }
    choose::host_port(world, settings, call.address, call.port, call.protocol)
}

#[cfg(test)]
#[path = "name_tests.rs"]
mod tests;
