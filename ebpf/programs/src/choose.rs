//! From a frontend to a backend.

use abi::{
    Affinity, AffinityKey, Backend, BackendKey, Flow, MemberKey, Scope, Service, ServiceFlag, ServiceKey,
    Settings, SettingsFlag, SourceKey,
};

use crate::family::Family;
use crate::world::World;

/// The service that listens on this address and port, if one does. Ports in network order.
#[inline(always)]
pub fn service<W: World>(
    world: &W,
    settings: &Settings,
    address: W::A,
    port: u16,
    protocol: u8,
    scope: Scope,
) -> Option<&'static Service> {
    let mut key = ServiceKey { address, port, protocol, scope: scope as u8 };
    if is_node_port(settings, port) && world.is_local(&address) {
        key.address = W::A::nowhere();
    }
    world.service(&key)
}

/// Whether the port, in network order, is of the range of node ports.
#[inline(always)]
pub fn is_node_port(settings: &Settings, port: u16) -> bool {
    let port = u16::from_be(port);
    port >= settings.node_port_first && port <= settings.node_port_last
}

/// The pod of this node that has this port of an address of the node, if one does.
#[inline(always)]
pub fn host_port<W: World>(
    world: &W,
    settings: &Settings,
    address: W::A,
    port: u16,
    protocol: u8,
) -> Option<Backend<W::A>> {
    if settings.flags & SettingsFlag::HOST_PORTS == 0 {
        return None;
    }
    let mut key = ServiceKey { address, port, protocol, scope: Scope::Cluster as u8 };
    if let Some(found) = world.host_port(&key) {
        return Some(*found);
    }
    key.address = W::A::nowhere();
    world.host_port(&key).copied()
}

/// Whether the service is for this client.
#[inline(always)]
pub fn admits<W: World>(world: &W, service: &Service, client: W::A) -> bool {
    service.flags & ServiceFlag::SOURCES == 0
        || world.is_source(&SourceKey { service: service.service, client })
}

/// What a table's slot is found by: the same on every node, whichever of their addresses was called.
#[inline(always)]
pub fn spread<A: Family>(flow: &Flow<A>) -> u32 {
    let ports = u32::from(flow.source_port) << 16 | u32::from(flow.destination_port);
    let mut hash = flow.source.folded().wrapping_mul(0x9e37_79b1) ^ ports;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b) ^ u32::from(flow.protocol);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

/// One of its backends, for this client. None: it has none.
#[inline(always)]
pub fn backend<W: World>(world: &W, service: &Service, client: W::A, hash: u32) -> Option<Backend<W::A>> {
    if service.count == 0 {
        return None;
    }
    let sticky = service.flags & ServiceFlag::AFFINITY != 0;
    let key = AffinityKey { service: service.service, client };
    if sticky && let Some(known) = world.affinity(&key) {
        let recent = world.now().wrapping_sub(known.seen) <= service.affinity_seconds;
        if recent && is_member(world, service.set, known.address, known.port) {
            let backend = Backend { address: known.address, port: known.port, pad: 0 };
            remember(world, &key, &backend);
            return Some(backend);
        }
    }
    let consistent = service.flags & ServiceFlag::CONSISTENT != 0;
    let by_table = if consistent { world.choice(service.set, hash) } else { None };
    let slot = match by_table {
        Some(slot) => slot,
        None => world.random() % service.count,
    };
    let chosen = *world.backend(&BackendKey { set: service.set, slot })?;
    if sticky {
        remember(world, &key, &chosen);
    }
    Some(chosen)
}

#[inline(always)]
pub fn is_member<W: World>(world: &W, set: u32, address: W::A, port: u16) -> bool {
    world.is_member(&MemberKey { set, address, port, pad: 0 })
}

#[inline(always)]
fn remember<W: World>(world: &W, key: &AffinityKey<W::A>, backend: &Backend<W::A>) {
    let value = Affinity { address: backend.address, port: backend.port, pad: 0, seen: world.now() };
    world.put_affinity(key, &value);
}
