//! Ends what still talks to backends that are gone: flows of the packet path, and sockets that their hook has connected.
//!
//! Only datagrams: a TCP connection is told by its other end. A flow that is forgotten is led anew at its next packet; a
//! connected socket cannot be, so the kernel ends it and its owner asks again. Sockets of pods are translated per packet and
//! keep theirs.
//!
//! What was left undone, because the proxy died between a change of the maps and this, is found by [`led`] when the maps are
//! adopted.
//!
//! Reference: sock_diag(7), as upstream's conntrack cleanup and Cilium's socket termination.

use std::collections::{BTreeSet, HashSet};

use datapath::{Backend, DatapathError, Led, Scope, Tables, Transport};
use netlink::{NetlinkError, Sockets};

/// What could not be ended.
#[derive(Debug, thiserror::Error)]
enum EndError {
    #[error("the maps")]
    Maps(#[from] DatapathError),
    #[error("the node's sockets")]
    Sockets(#[from] NetlinkError),
}

/// Blocks for a while. To be called in the node's network namespace.
pub(crate) fn end(tables: &Tables, backends: &BTreeSet<Backend>) {
    match forget_flows(tables, backends) {
        Ok(entries) => tracing::debug!(backends = backends.len(), entries, "flows are forgotten"),
        // Idle flows end by themselves.
        Err(error) => tracing::warn!(%error, "flows to backends that are gone are still there"),
    }
    match end_sockets(tables, backends) {
        Ok(0) => {}
        Ok(sockets) => {
            tracing::info!(sockets, "sockets that were connected to backends that are gone are ended")
        }
        // As before: until their owner connects anew.
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(%error, cause, "datagram sockets may stay with backends that are gone");
        }
    }
}

/// Where clients of datagram Services are led now, by flows and by sockets. Blocks for a while, in the node's network namespace.
pub(crate) fn led(tables: &Tables) -> HashSet<Led> {
    let flows =
        tables.conntrack().and_then(|conntrack| conntrack.led(Transport::Udp)).map_err(EndError::from);
    let mut all = HashSet::new();
    for found in [flows, led_sockets(tables)] {
        match found {
            Ok(found) => all.extend(found),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "datagrams may still go to backends that were removed before");
            }
        }
    }
    all
}

fn led_sockets(tables: &Tables) -> Result<HashSet<Led>, EndError> {
    let known = tables.sockets()?;
    let mut all = HashSet::new();
    for socket in Sockets::open()?.connected_udp()? {
        if let Some(asked) = known.asked(socket.cookie, socket.peer, Transport::Udp)? {
            all.insert(Led { asked, scope: Scope::Cluster, backend: socket.peer });
        }
    }
    if !all.is_empty() {
        // Read later than the sockets: a host port that led one of them is there, unless it has gone.
        let pods: HashSet<Backend> = tables
            .host_ports()?
            .observed()?
            .into_iter()
            .filter_map(|(port, pod)| (port.transport == Transport::Udp).then_some(pod))
            .collect();
        all.retain(|led| !pods.contains(&led.backend));
    }
    Ok(all)
}

fn forget_flows(tables: &Tables, backends: &BTreeSet<Backend>) -> Result<usize, DatapathError> {
    let mut conntrack = tables.conntrack()?;
    let mut entries = 0;
    for backend in backends {
        entries += conntrack.forget_backend(*backend, Transport::Udp)?;
    }
    Ok(entries)
}

/// How many were ended.
fn end_sockets(tables: &Tables, backends: &BTreeSet<Backend>) -> Result<usize, EndError> {
    let mut kernel = Sockets::open()?;
    let known = tables.sockets()?;
    let mut ended = 0;
    for socket in kernel.connected_udp()? {
        if !backends.contains(&socket.peer) {
            continue;
        }
        // Somebody who connected to the address of the backend itself is none of ours.
        if known.asked(socket.cookie, socket.peer, Transport::Udp)?.is_some() {
            ended += usize::from(kernel.end(&socket)?);
        }
    }
    Ok(ended)
}
