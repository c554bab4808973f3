//! Kernel parameters that belong to one of the container's own namespaces; all others are the host's.

use std::path::PathBuf;

use super::namespaces::Wanted;
use super::{Namespaces, PlanError, Step};

/// Parameters of the IPC namespace that have no prefix of their own.
const IPC: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

pub(super) fn plan<'a>(
    list: impl Iterator<Item = (&'a String, &'a String)>,
    wanted: &Wanted,
) -> Result<Vec<Step>, PlanError> {
    let mut steps = list
        .map(|(key, value)| {
            // Both spellings are in use; one with slashes may have dots in a name (net/ipv4/conf/eth0.1/...).
            let path = if key.contains('/') { key.clone() } else { key.replace('.', "/") };
            let dotted = path.replace('/', ".");
            check(key, &dotted, wanted)?;
            if path.split('/').any(|part| part.is_empty() || part == "..") {
                return Err(PlanError::invalid("linux.sysctl", format!("`{key}` is not a parameter")));
            }
            Ok(Step::Sysctl { path: PathBuf::from("/proc/sys").join(path), value: value.clone() })
        })
        .collect::<Result<Vec<_>, _>>()?;
    // The specification has a map: an order of our own makes plans equal for equal specifications.
    steps.sort_by_key(|step| step.describe());
    Ok(steps)
}

fn check(key: &str, dotted: &str, wanted: &Wanted) -> Result<(), PlanError> {
    let (owner, name) = if dotted.starts_with("net.") {
        (Namespaces::NETWORK, "network")
    } else if IPC.contains(&dotted) || dotted.starts_with("fs.mqueue.") {
        (Namespaces::IPC, "ipc")
    } else if matches!(dotted, "kernel.domainname") {
        (Namespaces::UTS, "uts")
    } else if dotted == "kernel.hostname" {
        return Err(PlanError::invalid("linux.sysctl", "`kernel.hostname`: set `hostname` instead"));
    } else {
        return Err(PlanError::invalid("linux.sysctl", format!("`{key}` is not in a namespace")));
    };
    if wanted.private(owner) {
        return Ok(());
    }
    Err(PlanError::SysctlOfHost { key: key.to_owned(), namespace: name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaced_parameters_pass() {
        let all =
            Wanted { create: Namespaces::NETWORK.with(Namespaces::IPC).with(Namespaces::UTS), join: vec![] };
        let none = Wanted::default();
        for (key, with_all, with_none) in [
            ("net.ipv4.ip_forward", true, false),
            ("net/ipv4/conf/eth0.1/forwarding", true, false),
            ("kernel.shmmax", true, false),
            ("fs.mqueue.msg_max", true, false),
            ("kernel.domainname", true, false),
            ("kernel.hostname", false, false),
            ("kernel.core_pattern", false, false),
            ("net/../kernel/core_pattern", false, false),
            ("vm.swappiness", false, false),
        ] {
            let list = [(key.to_owned(), "1".to_owned())];
            let run = |wanted| plan(list.iter().map(|(k, v)| (k, v)), wanted).is_ok();
            assert_eq!((run(&all), run(&none)), (with_all, with_none), "{key}");
        }
    }
}
