//! The Kubernetes API: authentication, authorization, admission, registry, watch streams.
//!
//! ```text
//!   serve::Handler ─► authentication ─► impersonation ─► authorization ─► registry verb ─► store
//!                                                                          │  ▲
//!                                                             admission, api::defaulting, api::validation
//! ```
//!
//! One generic engine: what a kind is, is a row of `api::kind`. The only entry is `ApiServer`'s
//! `serve::Handler`; callers within the process use it too, with their own credentials.
//!
//! **Invariants**
//! - Every answer to a write comes after its log entry is on disk.
//! - Lists and watches share the bytes of an object; they are made once.
//! - No request is trusted for where it comes from.

mod admission;
mod aggregation;
mod allotted;
mod answer;
mod api_server;
mod audit;
mod authentication;
mod authorization;
mod body;
mod bootstrap;
mod cache;
mod component_status;
mod configuration_file;
mod connect;
mod conversion;
mod definitions;
mod documents;
mod encryption;
mod envelope;
mod fairness;
mod handover;
mod housekeeping;
mod http_face;
mod impersonation;
mod kinds;
mod node_access;
mod object;
mod presence;
mod registry;
mod request;
mod reviews;
mod server;
mod strategy;
mod subresource;
mod user;
mod webhook;

pub use aggregation::FrontProxy;
pub use allotted::REQUEST_TIMEOUT;
pub use api_server::{ApiServer, COMPACTION_INTERVAL, Parts, StartError};
pub use audit::{AuditError, AuditOptions, LogOptions, Rotation};
pub use handover::{Handed, Handover, HandoverError};
pub use node_access::{AccessError, KubeletAccess};
pub use server::{Clock, Random};
