//! How a machine becomes a node of a cluster, and stays one.
//!
//! ```text
//! token ─▶ discover   the cluster's authority, checked against the token's digest
//!       ─▶ request    certificates: the key is made here and never leaves; the cluster signs
//!       ─▶ identity   the files of a node; what is there and good is kept, the token is not needed again
//!       ─▶ renew      at two thirds of a certificate's life
//!
//! token for servers ─▶ discover ─▶ server   the keys that all servers hold alike
//! ```
//!
//! Not here: whether a machine may join (controllers, roles), what a node then runs (`src/`).
//!
//! **Invariants**
//! - No secret is shown to a server whose authority is not the token's.
//! - A file holds a whole certificate with its key, or what it held before.
//!
//! Reference: Kubernetes "TLS bootstrapping"; names of objects and columns are kubeadm's.

mod cluster;
mod discover;
mod failure;
mod identity;
mod renew;
mod request;
mod server;
mod token;

pub use cluster::Cluster;
pub use discover::discover;
pub use failure::JoinError;
pub use identity::{Machine, Paths};
pub use renew::keep;
pub use server::{Keys, keys};
pub use token::{Listed, Purpose, create, list, revoke};
