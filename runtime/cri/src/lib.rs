//! The CRI server.

pub mod io;
pub mod process;
