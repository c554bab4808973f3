//! Namespaces that a step joins or sets up beyond one system call.

use std::path::PathBuf;

use sys::Errno;

use super::Failure;
use crate::plan::Namespaces;

pub(super) fn join_all(list: &[(Namespaces, PathBuf)]) -> Result<(), Errno> {
    list.iter().try_for_each(|(kind, path)| sys::namespace::join_path(path, kind.0))
}

/// Offsets can only be written while the time namespace is empty, so the child enters it afterwards.
pub(super) fn time_offsets(offsets: &str) -> Result<(), Failure> {
    if !offsets.is_empty() {
        sys::procfs::write("self/timens_offsets", offsets.as_bytes())?;
    }
    let own = "/proc/self/ns/time_for_children";
    Ok(sys::namespace::join_path(own.as_ref(), Namespaces::TIME.0)?)
}
