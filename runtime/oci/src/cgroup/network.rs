//! net_cls and net_prio: v1 only. On v2 packets are classified by eBPF, and like runc we let the fields pass.

use super::ResourceError;
use super::plan::Writes;
use oci_spec::runtime::LinuxNetwork;
use sys::cgroup::Version;

pub(super) fn plan(network: &LinuxNetwork, writes: &mut Writes<'_>) -> Result<(), ResourceError> {
    let unified = writes.observed.versions.iter().all(|(_, version)| *version == Version::V2);
    if unified {
        return Ok(());
    }
    if let Some(class) = network.class_id().filter(|class| *class != 0) {
        writes.version("net_cls")?;
        writes.push("net_cls", "net_cls.classid", class);
    }
    for one in network.priorities().iter().flatten() {
        writes.version("net_prio")?;
        writes.push("net_prio", "net_prio.ifpriomap", format!("{} {}", one.name(), one.priority()));
    }
    Ok(())
}
