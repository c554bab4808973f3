//! pids: how many tasks may exist. The file is the same on v1 and v2.

use super::ResourceError;
use super::plan::{Writes, given, or_max};
use oci_spec::runtime::LinuxPids;

pub(super) fn plan(pids: &LinuxPids, writes: &mut Writes<'_>) -> Result<(), ResourceError> {
    if let Some(limit) = given(Some(pids.limit())) {
        writes.version("pids")?;
        writes.push("pids", "pids.max", or_max(limit));
    }
    Ok(())
}
