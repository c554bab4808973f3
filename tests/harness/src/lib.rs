//! What the end-to-end tests share. Only tests may depend on this crate; panics here are verdicts.
//!
//! - [`api::Server`]: a real API server, and clients that hide nothing.
//! - [`containerd`]: Debian's, to run under a kubelet of ours or beside a server of ours.
//! - [`extension`]: an extension API server that answers as it is told.
//! - [`host::exclusive`]: one test at a time on the host's kernel objects, and nothing left afterwards.
//! - [`netns::TestHost`]: a network namespace that plays a machine.
//! - [`image`]: images made for the occasion, honest and hostile.
//! - [`node`]: a whole node, from the API server to the kubelet.
//! - [`process`]: what a process takes of memory, CPU and disk.
//! - [`registry`]: registries on loopback, Debian's and one that fails as it is told.
//! - [`stall::Control`]: how long the machine itself stands still beside a test.
//! - [`webhook`]: a webhook on loopback that answers as it is told.
//! - [`skip`]: a test that cannot run here says so and is counted.

pub mod api;
pub mod containerd;
pub mod extension;
pub mod host;
pub mod image;
pub mod netns;
pub mod node;
pub mod process;
pub mod registry;
mod skip;
pub mod stall;
pub mod webhook;

pub use skip::{root_or_skip, skip};

/// Scratch folders, removed on drop.
pub use tempfile::{TempDir, tempdir};
