//! What a granted resize gives to a pod that runs. Pure.
//!
//! ```text
//! Kill, Start                 containers whose policy for what changes is RestartContainer
//! CheckPodMemory, CheckMemory no limit may go below what is used
//! RaisePod                    the pod's cgroup has room for both what was and what will be
//! Resize                      one container after the other, those that get less first
//! SettlePod                   the pod's cgroup has what it shall have
//! ```
//!
//! A container that does not run gets its new size when it starts.
//!
//! Reference: upstream's `computePodResizeAction` and `doPodResizeAction`.

use serde_json::Value;

use super::{Cause, Desired, Step};
use crate::cgroups;
use crate::container_config::Sizes;
use crate::observed::{Observed, ObservedContainer};
use crate::pod::Container;
use crate::resize::Given;

/// Empty when the pod has all that was granted.
pub fn plan(desired: &Desired<'_>, observed: &Observed) -> Vec<Step> {
    let Some(given) = desired.resize else { return Vec::new() };
    let pod = desired.pod;
    let running = pod.init.iter().chain(&pod.main).filter_map(|container| {
        let running = observed.running().find(|running| running.name == container.name)?;
        Some((container, running))
    });
    let mut changes: Vec<(Sizes, Sizes, Step)> = Vec::new();
    let mut checks = Vec::new();
    for (container, running) in running {
        if restart(desired, container, running).is_some() {
            continue;
        }
        let wanted = Sizes::of(pod, container);
        let has = has(given, running);
        if has == Some(wanted) {
            continue;
        }
        let (name, id) = (container.name.clone(), running.id.clone());
        let before = has.unwrap_or_default();
        if wanted.memory > 0 && (before.memory == 0 || wanted.memory < before.memory) {
            checks.push(Step::CheckMemory { container: name.clone(), id: id.clone(), limit: wanted.memory });
        }
        changes.push((before, wanted, Step::Resize { container: name, id, sizes: wanted }));
    }
    if changes.is_empty() && given.pod {
        return Vec::new();
    }
    let mut steps = Vec::new();
    if let Some(limit) = cgroups::values(pod).memory {
        steps.push(Step::CheckPodMemory { limit });
    }
    steps.extend(checks);
    steps.push(Step::RaisePod);
    changes.sort_by_key(|(before, wanted, _)| {
        (wanted.memory - before.memory, wanted.cpu_shares - before.cpu_shares)
    });
    steps.extend(changes.into_iter().map(|(_, _, step)| step));
    steps.push(Step::SettlePod);
    steps
}

/// What we gave, else what the runtime says.
fn has(given: &Given, running: &ObservedContainer) -> Option<Sizes> {
    given.containers.get(&running.id).copied().or_else(|| Sizes::observed(running))
}

/// A container that has to end to get its new size.
pub fn restart(desired: &Desired<'_>, container: &Container, running: &ObservedContainer) -> Option<Step> {
    desired.resize?;
    let made = Sizes::made_with(running)?;
    let wanted = Sizes::of(desired.pod, container);
    let is_due = (!made.same_cpu(&wanted) && asks_for_restart(container, "cpu"))
        || (made.memory != wanted.memory && asks_for_restart(container, "memory"));
    is_due.then(|| Step::Kill {
        container: container.name.clone(),
        id: running.id.clone(),
        cause: Cause::Resize,
        message: format!("Container {} resize requires restart", container.name),
        grace_seconds: None,
    })
}

fn asks_for_restart(container: &Container, name: &str) -> bool {
    let mut policies = container.value["resizePolicy"].as_array().into_iter().flatten();
    let of = |policy: &&Value| policy["resourceName"] == name;
    policies.find(of).is_some_and(|policy| policy["restartPolicy"] == "RestartContainer")
}
