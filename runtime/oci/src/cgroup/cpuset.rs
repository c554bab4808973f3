//! cpuset: which CPUs and memory nodes. The files are the same on v1 and v2.

use super::ResourceError;
use super::plan::Writes;
use oci_spec::runtime::LinuxCpu;

pub(super) fn plan(cpu: &LinuxCpu, writes: &mut Writes<'_>) -> Result<(), ResourceError> {
    for (file, value) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            writes.version("cpuset")?;
            writes.push("cpuset", file, value);
        }
    }
    Ok(())
}
