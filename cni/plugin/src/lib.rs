//! The CNI executable: connects one pod to its node, and disconnects it. Runs for milliseconds, keeps
//! nothing but reservations of addresses, asks nobody but the kernel and, in mode `auto`, the node's agent.
//!
//! ```text
//! CNI_* and stdin ─▶ call ─▶ config ─▶ verb ─┬─▶ ipam     reserve, release      /run/keelson/ipam
//!                                            ├─▶ wiring   observe, plan, execute     netlink, sysctls
//!                                            └─▶ agent    register, unregister  /run/keelson/net.sock
//! stdout ◀─ result or error object, exit code 0 or 1
//! ```
//!
//! Not here: programs, policy, masquerading, node routes (the agent's); names and versions of
//! the protocol (cni-api's).
//!
//! **Invariants.** ADD leaves everything or nothing. DEL and GC need no record: names follow from the
//! attachment. Waiting for the agent is bounded.
//!
//! Reference: CNI specification 1.1.0.

mod agent;
mod attachment;
mod call;
mod config;
mod failure;
mod ipam;
mod verb;
mod wiring;

pub use call::main;

/// What the plugin leaves on a host while pods run.
#[must_use]
pub fn footprint() -> sys::footprint::Footprint {
    sys::footprint::Footprint {
        files: vec![config::STATE.into()],
        links: vec![format!("{}*", cni_api::host_link::LINK_PREFIX)],
        ..sys::footprint::Footprint::default()
    }
}
