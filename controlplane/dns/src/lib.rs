//! Cluster DNS, one server on every node.
//!
//! ```text
//! Cache of Services, EndpointSlices ─► Records ◄─ answer (pure) ◄─ Dns ◄─ UDP, TCP
//!                                                                  └─► Forwarder ─► the host's upstreams
//! ```
//!
//! Not a general server: no zone files, no transfers, no DNSSEC of its own. Messages are hickory-proto's; the
//! sockets are ours, because hickory-server bounds neither tasks nor connections and drops replies behind a
//! queue of 32.
//!
//! **Invariants**
//! - A name of the cluster is answered from memory, without waiting, and only once the caches are complete.
//! - Strangers are refused: this is no open resolver.
//! - Whatever is asked elsewhere is bounded: in number, in time, in what is kept.
//!
//! Reference: Kubernetes DNS-Based Service Discovery 1.1.0.

mod answer;
mod command;
mod counters;
mod crowd;
mod forward;
mod listen;
mod message;
mod publish;
mod records;
mod server;
mod sources;
#[cfg(test)]
mod tests;
mod zone;

pub use command::{Options, Pods, main, run};

/// What this leaves on a host: nothing; its objects are in the API.
pub fn footprint() -> sys::footprint::Footprint {
    sys::footprint::Footprint::default()
}
