//! The node's network agent: connects the pods of one node to each other, to the node, to other nodes and to the
//! outside, and answers the CNI plugin.
//!
//! ```text
//! plugin ── net.sock ──▶ server ─▶ owner ─┬─▶ endpoint   pods in the datapath: PENDING, then READY
//! rtnetlink ─────────▶ events ───▶       ├─▶ network    keelson0, ways to other nodes
//! Nodes (API) ───────────────────▶       ├─▶ overlay    the tunnel to nodes elsewhere
//!                                         ├─▶ carrier    programs and maps
//! NetworkPolicies, Pods ─────────▶       ├─▶ policy     who may talk to whom, by numbers
//! programs ── ring ─────────────────────▶ flows ── flows.sock ──▶ keelson flows
//!                                         ├─▶ conflist   10-keelson.conflist, last
//!                                         ├─▶ condition  NetworkUnavailable=False
//!                                         └─▶ metrics    counted as it goes, read from the maps when asked
//! ```
//!
//! Not here: addresses of pods (the plugin's alone), Services (the proxy's). No netfilter rule and no `ip rule` of any kind.
//!
//! **Sysctls** it writes: `rp_filter=2` and `accept_ra=0` on `keelson0`, `accept_ra=0` on `keelson1`. Forwarding is set
//! per link where the datapath needs it (see there); `net.ipv4.ip_forward` stays as it is.
//!
//! **Invariants.** What is there is read from the kernel, never remembered: a SIGKILL at any moment and a new start
//! cut nothing and leave nothing. Its end changes nothing either; [`teardown`] takes everything away.
//!
//! Reference: CNI 1.1; rtnetlink(7).

mod acceleration;
mod carrier;
mod command;
mod condition;
mod conflist;
mod endpoint;
mod enforcer;
mod events;
mod failure;
pub mod flows;
mod metrics;
mod names;
mod network;
mod node;
mod overlay;
mod owner;
mod picture;
mod pods;
mod policy;
mod server;
mod status;
mod teardown;
mod uplink;

pub use acceleration::Acceleration;
pub use command::{Options, main, run};
pub use overlay::Mode as TunnelMode;
pub use picture::picture;
pub use policy::{Explanation, Half, explain};
pub use status::{PodEntry, pods};
pub use teardown::{footprint, teardown};
