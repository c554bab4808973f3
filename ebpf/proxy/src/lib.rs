//! The kube-proxy: Services and EndpointSlices become map entries of the data path.
//!
//! ```text
//! Cache of Services ───────┐
//! Cache of EndpointSlices ─┴─► Inbox ─► desired ─► Claims ─► plan ─► execute ─► SERVICES, BACKENDS, MEMBERS
//! ```
//!
//! Not here: packets, programs, and any rule of netfilter. The agent loads the data path; until then the proxy waits.
//! Not supported, and said so in an event: SCTP. Differs from upstream: a cluster IP is not answered from outside the
//! node's pods and processes, and a family without a range in loadBalancerSourceRanges admits nobody.
//!
//! **Invariants**
//! - A change costs the entries of its Service. Nothing is ever rewritten as a whole.
//! - Make before break, also over restarts: what is in the pinned maps is adopted.
//!
//! Reference: upstream's pkg/proxy (1.36); ebpf/datapath for the maps.

mod claims;
mod command;
mod desired;
mod ending;
mod execute;
mod frontends;
mod health;
mod inbox;
mod node;
mod observed;
mod plan;
mod proxy;
mod responder;
mod select;
mod service;
mod slice;

pub use command::{Options, main, run};
pub use frontends::{Row, frontends};

/// What this leaves on a host: entries in the data path's maps, which go with them.
pub fn footprint() -> sys::footprint::Footprint {
    sys::footprint::Footprint::default()
}
