//! Thin safe Linux: processes, mounts, cgroups, seccomp, capabilities, descriptors.
#![allow(unsafe_code)]

pub mod footprint;
pub mod netns;
