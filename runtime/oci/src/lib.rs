//! OCI bundle to plan to child stage.

pub mod cgroup;
pub mod seccomp;
