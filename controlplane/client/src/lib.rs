//! The API's client side: requests, watches, caches, work queues, events.
//!
//! What every consumer of the API in a process shares: one connection per identity, one cache per kind. It
//! decides nothing about objects; they stay `serde_json::Value`.
//!
//! ```text
//! Client --list, watch--> Cache --"look again at key"--> WorkQueue --> reconcile --> Client
//! ```
//!
//! **Invariants**
//! - Nothing polls: caches follow a watch, queues wake their takers.
//! - An event is never the truth, only a reason to read the cache again.
//! - Every retry waits for a bounded, growing time. Clock and random numbers come from [`Surroundings`].

mod backoff;
mod cache;
mod client;
mod connection;
mod credentials;
mod election;
mod error;
mod in_files;
mod kubeconfig;
mod object;
mod queue;
mod recorder;
mod resource;
mod surroundings;
mod watch;

pub use backoff::Backoff;
pub use cache::{Cache, Caches, Change, Index, Selection};
pub use client::{Client, Patch, Propagation};
pub use election::{Election, LeadershipLost};
pub use error::ClientError;
pub use kubeconfig::{Config, ConfigError};
pub use object::{Key, Object};
pub use queue::{Outcome, WorkQueue, work};
pub use recorder::{EventKind, EventRecorder, Reference};
pub use resource::Resource;
pub use surroundings::Surroundings;
pub use watch::{Event, Watch};
