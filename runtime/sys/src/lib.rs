//! Thin safe Linux: processes, mounts, cgroups, seccomp, capabilities, descriptors.
#![allow(unsafe_code)]

pub mod bpf;
pub mod capability;
pub mod cgroup;
pub mod descriptors;
pub mod early;
pub mod exit;
pub mod fifo;
pub mod footprint;
pub mod handover;
pub mod identity;
pub mod memfd;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod netlink_socket;
pub mod netns;
pub mod overlay;
pub mod poll;
pub mod process;
pub mod procfs;
pub mod pty;
pub mod rlimit;
pub mod rooted;
pub mod seccomp;
pub mod seqpacket;
pub mod tree;
pub mod xattr;

pub use rustix::io::Errno;
