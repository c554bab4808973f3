//! The generic engine: one file per verb, driven by the row of the kind.
//!
//! ```text
//!   create, update, patch, delete ─► admit ─► default ─► validate ─► store (compare and swap)
//!   get, list, watch              ◄─ caches (latest) or store (older revisions)
//! ```
//!
//! Nothing here knows a kind by name; what differs between kinds is in `strategy`, `api::defaulting` and
//! `api::validation`.

mod apply;
mod create;
mod delete;
mod delete_collection;
mod get;
mod list;
pub mod meta;
mod node_ports;
mod ownership;
mod page_token;
mod patch;
mod selection;
mod update;
mod watch;
mod write;

pub use apply::apply_config;
pub use create::create;
pub use delete::{delete, delete_one, expel};
pub use delete_collection::delete_collection;
pub use get::get;
pub use list::list;
pub use ownership::with_type;
pub use patch::patch;
pub use update::{change, update};
pub use watch::watch;
pub use write::{Change, read, write};

use api::kind::Kind;

/// The key of an object below its kind's prefix.
pub fn object_key(kind: &Kind, namespace: &str, name: &str) -> String {
    if kind.namespaced { format!("{namespace}/{name}") } else { name.to_owned() }
}
