//! OCI bundle to plan to child stage: how Keelson turns a runtime specification into a process.
//!
//! A [`Plan`] is made once, in the parent, from the specification: everything is resolved, what is left
//! is a list of [`Step`]s, each of them a few system calls on plain data. [`launch`] clones the child and
//! watches it; the child executes the steps in order and becomes the program. `keelson oci` ([`cli`])
//! and the keeper share all of it.
//!
//! What is not here: images, networks, logs, restarts. The runtime specification version is 1.2.

pub mod cgroup;
pub mod cli;
pub mod container;
pub mod hooks;
pub mod launch;
pub mod plan;
pub mod seccomp;
pub mod shield;
pub mod systemd;

mod child;
mod footprint;

pub use footprint::footprint;
pub use plan::{ExecTarget, ImageVolume, Namespaces, Plan, PlanError, PlanOptions, Rootfs, Step};
