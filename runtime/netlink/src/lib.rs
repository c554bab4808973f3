//! Links, addresses, routes and neighbours over rtnetlink, synchronously.
//!
//! ```text
//! Batch ── one send ──▶ kernel ── n acknowledgements ──▶ RequestError for each that failed
//! Socket::links() ...   dumps: read leniently, repeated when the kernel says they were torn
//! Events                multicast groups on a plain descriptor; whoever has a reactor polls it
//! Sockets               connected datagram sockets, and their end
//! ```
//!
//! What is sent is typed by netlink-packet-route, which stays hidden behind the types here. What is
//! received is read by `attribute.rs`: an attribute that is new, short or odd is skipped, never an error
//! for the whole dump.
//!
//! **Invariants.** A [`Socket`] belongs to the network namespace in which it was opened. No async, no
//! retries of changes, no state: the kernel is the only authority. Not here: rules, netfilter, tc.

mod address;
mod attribute;
mod batch;
mod dump;
mod event;
mod forward;
mod link;
mod mac;
mod message;
mod neighbour;
mod route;
mod socket;
mod sockets;

pub use address::{Address, Scope};
pub use batch::{BATCH_REQUESTS_MAX, Batch};
pub use event::{Event, Events, Group};
pub use forward::Forward;
pub use link::{Kind, Link, LinkChange, NewLink, Peer, Vxlan};
pub use mac::Mac;
pub use neighbour::Neighbour;
pub use route::{MAIN_TABLE, Route, RouteKind};
pub use socket::{NetlinkError, RequestError, Socket};
pub use sockets::{Connected, Sockets};
