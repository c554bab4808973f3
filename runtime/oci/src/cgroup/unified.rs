//! `unified`: control files of cgroup2 by name, as the user wrote them (memory.oom.group comes this way from a
//! kubelet). On a host where the file's controller is v1's there is no such file, and that is said.

use super::ResourceError;
use super::plan::{Writes, refuse};
use std::collections::{BTreeMap, HashMap};
use sys::cgroup::Version;

/// What a key may start with. `cgroup.*` is ours: it moves and freezes processes.
const CONTROLLERS: [&str; 9] = ["cpu", "cpuset", "hugetlb", "io", "memory", "misc", "pids", "rdma", "dmem"];

pub(super) fn plan(unified: &HashMap<String, String>, writes: &mut Writes<'_>) -> Result<(), ResourceError> {
    // Sorted, so that the same specification gives the same writes.
    for (file, value) in unified.iter().collect::<BTreeMap<_, _>>() {
        let field = || format!("unified.{file}");
        let prefix = file.split_once('.').map(|(prefix, _)| prefix);
        let known = CONTROLLERS.into_iter().find(|name| prefix == Some(*name));
        let Some(controller) = known.filter(|_| !file.contains('/')) else {
            let why = format!("a key is a control file of one of {}", CONTROLLERS.join(", "));
            return Err(refuse(field(), value, why));
        };
        if writes.version(controller)? == Version::V1 {
            let why = format!("controller {controller} is mounted as cgroup v1 on this host");
            return Err(refuse(field(), value, why));
        }
        for line in value.lines() {
            writes.push(controller, file, line);
        }
    }
    Ok(())
}
