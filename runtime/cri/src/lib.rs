//! The CRI server.

pub mod process;
