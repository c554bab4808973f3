//! Loads, pins and attaches the programs, and gives typed access to their maps.
//!
//! How the agent uses it:
//!
//! ```text
//! let datapath = Datapath::ensure(&config)?;           // load, pin, attach the socket hooks; again after each restart
//! datapath.attach_gateway("keelson0", "keelson1")?;    // node <-> pods and services: see below
//! datapath.attach_uplink("eth0")?;                     // node ports, answers to masqueraded pods
//! datapath.accelerate("eth0")?;                        // XDP, if the configuration says so
//! datapath.attach_host_device("kn4d12418f9cc9")?;      // one pod's host end
//! datapath.endpoints()?.put(ip, &Endpoint { link, mac, identity, state: Pending })?;  ... Ready later
//! datapath.namespaces()?.put(cookie, &[pod addresses])?;   // its sockets are translated from now on
//! datapath.nodes()?.put(prefix, Node { .. })?;         // pods of other nodes: not masqueraded
//! datapath.host_ports()?.put(&HostPort { .. }, pod)?;  // hostPort; a Service's node port goes before it
//! datapath.conntrack()?.forget_address(ip)?;           // a pod is gone, after its endpoint was removed
//! every 10 s: datapath.conntrack()?.sweep()?;          // the one timer; see conntrack.rs
//! ```
//!
//! How the proxy uses it:
//!
//! ```text
//! let tables = Tables::open(&config)?;                 // NotLoaded until somebody ensured; retry
//! let set = tables.backends()?.install(&[backend, ..])?;
//! tables.services()?.put(&Frontend { address, port, protocol, scope }, &Service { number, set, .. })?;
//! tables.sources()?.put(number, range)?;               // loadBalancerSourceRanges, before the frontend says so
//! tables.backends()?.remove(old_set)?;
//! tables.conntrack()?.forget_backend(address, port, protocol)?;   // UDP of a backend that is gone
//! tables.services()?.observed()?; tables.backends()?.observed()?; // after a restart: reuse what is right
//! tables.conntrack()?.led(Transport::Udp)?;            // and flows to backends that are gone: forgotten late
//! ```
//!
//! Node ports are one frontend each with the unspecified address, in both scopes; it stands for
//! every address of [`Config::node_addresses`]. A frontend with an empty set refuses.
//!
//! **The gateway** is a veth pair of which one end (`keelson0`) holds the routes of pods and services, so
//! that what the node itself sends to them passes the program on the other end. Without it everything
//! works but: the node's own packets to ClusterIPs that no socket hook translates (bound ports, connected UDP).
//!
//! **Survival.** Maps, programs and links are pinned, so the death of the process cuts nothing. A new build
//! with the same ABI takes the maps over and swaps the program under each link; with another ABI it loads
//! beside, copies every map whose entries have the same shape in both, attaches first and removes the old directory
//! afterwards: see migrate.rs.
//!
//! ```text
//! <bpffs>/[<instance>/]v<hash of the ABI>/maps/<MAP>
//!                                         programs-<hash of the object>/<program>
//!                                         links/<place>
//!                                         shapes/<MAP>-<hash of its entries>
//! ```
//!
//! **Sysctls.** `forwarding=1` on the gateway's peer and on the pods' host ends, written here when they are attached, because
//! bpf_fib_lookup asks it of a link; without it packets leave through the uplink that was attached first. `ip_forward`
//! stays as it is. Nothing else, and no netfilter rule.
//!
//! **Invariants.** One writer per map, as abi says. [`Datapath::ensure`] is idempotent and serialized by a
//! lock on the directory. No async here: every call is a few system calls.
//!
//! Reference: bpf(2); tcx links, Linux 6.6 (older: filters on clsact); redirect_peer and redirect_neigh, 5.10;
//! bpf_set_retval in socket hooks, 5.18.

mod attach;
mod config;
mod conntrack;
mod counters;
mod endpoints;
mod error;
mod fill;
mod host_ports;
mod load;
mod maglev;
mod migrate;
mod namespaces;
mod nodes;
mod pins;
mod policies;
mod remove;
mod reports;
mod services;
mod sockets;
mod sources;
mod tables;

pub use abi::{ANYBODY, COUNTERS, Counter, Direction, EndpointState, Scope};
pub use attach::Place;
pub use config::{Acceleration, Config, Masquerade};
pub use conntrack::{Conntrack, Entry, Led, Pressure, SWEEP_SECONDS, Swept};
pub use counters::Counters;
pub use endpoints::{Endpoint, Endpoints, Isolation};
pub use error::DatapathError;
pub use fill::Fill;
pub use host_ports::{HostPort, HostPorts};
pub use load::Datapath;
pub use namespaces::Namespaces;
pub use nodes::{Node, Nodes};
pub use policies::{Allowed, Policies, Ports};
pub use remove::{footprint, unload};
pub use reports::{Ends, Packet, Reports, Verdict};
pub use services::{Backend, Backends, Frontend, Service, Services, SetId, Traffic, Transport};
pub use sockets::Sockets;
pub use sources::Sources;
pub use tables::Tables;
