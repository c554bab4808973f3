//! Ends what still talks to backends that are gone: flows of the packet path, and sockets that their hook has connected.
//!
//! Only datagrams: a TCP connection is told by its other end. A flow that is forgotten is led anew at its next packet; a
//! connected socket cannot be, so the kernel ends it and its owner asks again. Sockets of pods are translated per packet and
//! keep theirs.
//!
//! Reference: sock_diag(7), as upstream's conntrack cleanup and Cilium's socket termination.

use std::collections::BTreeSet;

use datapath::{Backend, DatapathError, Tables, Transport};
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
        // Somebody who connected to the address of the backend itself is none of ours.
        if backends.contains(&socket.peer) && known.is_led_to(socket.cookie, socket.peer, Transport::Udp)? {
            ended += usize::from(kernel.end(&socket)?);
        }
    }
    Ok(ended)
}
