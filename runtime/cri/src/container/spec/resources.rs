//! CRI resources to OCI resources, and a partial update laid over what is in force.

use std::collections::HashMap;

use cri_api::v1;
use oci_spec::runtime::{LinuxCpu, LinuxDeviceCgroup, LinuxHugepageLimit, LinuxMemory, LinuxResources};

use crate::fault::{Fault, Outcome};

/// Zero and empty mean "not asked for". Device rules are handed over as they are.
pub fn translate(
    asked: &v1::LinuxContainerResources,
    devices: &mut Vec<LinuxDeviceCgroup>,
) -> Outcome<LinuxResources> {
    check(asked)?;
    let positive = |value: i64| (value != 0).then_some(value);
    let unsigned = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    let text = |value: &String| (!value.is_empty()).then(|| value.clone());
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(unsigned(asked.cpu_shares))
        .set_quota(positive(asked.cpu_quota))
        .set_period(unsigned(asked.cpu_period))
        .set_cpus(text(&asked.cpuset_cpus))
        .set_mems(text(&asked.cpuset_mems));
    let mut memory = LinuxMemory::default();
    memory
        .set_limit(positive(asked.memory_limit_in_bytes))
        // Without its own limit, swap is what memory is: a pod does not swap unless told to.
        .set_swap(positive(asked.memory_swap_limit_in_bytes).or(positive(asked.memory_limit_in_bytes)));
    let huge = asked.hugepage_limits.iter().map(|limit| {
        let mut entry = LinuxHugepageLimit::default();
        entry
            .set_page_size(limit.page_size.clone())
            .set_limit(i64::try_from(limit.limit).unwrap_or(i64::MAX));
        entry
    });
    let unified: HashMap<String, String> = asked.unified.clone().into_iter().collect();
    let mut resources = LinuxResources::default();
    resources
        .set_cpu(Some(cpu))
        .set_memory(Some(memory))
        .set_hugepage_limits(Some(huge.collect()))
        .set_unified((!unified.is_empty()).then_some(unified))
        .set_devices(Some(std::mem::take(devices)));
    Ok(resources)
}

/// What is in force after an update: fields that the update leaves out stay.
pub fn merge_update(
    now: &v1::LinuxContainerResources,
    update: &v1::LinuxContainerResources,
) -> v1::LinuxContainerResources {
    let number = |new: i64, old: i64| if new == 0 { old } else { new };
    let text = |new: &String, old: &String| if new.is_empty() { old.clone() } else { new.clone() };
    let mut unified = now.unified.clone();
    unified.extend(update.unified.clone());
    let hugepage_limits = if update.hugepage_limits.is_empty() {
        now.hugepage_limits.clone()
    } else {
        update.hugepage_limits.clone()
    };
    v1::LinuxContainerResources {
        cpu_period: number(update.cpu_period, now.cpu_period),
        cpu_quota: number(update.cpu_quota, now.cpu_quota),
        cpu_shares: number(update.cpu_shares, now.cpu_shares),
        memory_limit_in_bytes: number(update.memory_limit_in_bytes, now.memory_limit_in_bytes),
        // Fixed when the process starts.
        oom_score_adj: now.oom_score_adj,
        cpuset_cpus: text(&update.cpuset_cpus, &now.cpuset_cpus),
        cpuset_mems: text(&update.cpuset_mems, &now.cpuset_mems),
        hugepage_limits,
        unified,
        memory_swap_limit_in_bytes: number(update.memory_swap_limit_in_bytes, now.memory_swap_limit_in_bytes),
    }
}

fn check(asked: &v1::LinuxContainerResources) -> Outcome<()> {
    for (name, value) in [("cpu_period", asked.cpu_period), ("cpu_shares", asked.cpu_shares)] {
        if value < 0 {
            return Err(Fault::invalid(format!("resources.{name} = {value}: expected zero or more")));
        }
    }
    if asked.memory_limit_in_bytes < -1 {
        return Err(Fault::invalid(format!(
            "resources.memory_limit_in_bytes = {}: expected -1 (no limit), 0 (not set) or bytes",
            asked.memory_limit_in_bytes
        )));
    }
    if !(-1000..=1000).contains(&asked.oom_score_adj) {
        return Err(Fault::invalid(format!(
            "resources.oom_score_adj = {}: expected -1000 to 1000",
            asked.oom_score_adj
        )));
    }
    for key in asked.unified.keys() {
        if key.is_empty() || key.contains('/') {
            return Err(Fault::invalid(format!(
                "resources.unified has {key:?}, which is no file of a cgroup"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_not_asked_for() {
        let asked = v1::LinuxContainerResources {
            cpu_shares: 512,
            memory_limit_in_bytes: 1 << 20,
            ..Default::default()
        };
        let resources = translate(&asked, &mut Vec::new()).unwrap();
        let cpu = resources.cpu().as_ref().unwrap();
        assert_eq!((cpu.shares(), cpu.quota(), cpu.period()), (Some(512), None, None));
        let memory = resources.memory().as_ref().unwrap();
        assert_eq!((memory.limit(), memory.swap()), (Some(1 << 20), Some(1 << 20)));
        for wrong in [
            v1::LinuxContainerResources { cpu_shares: -1, ..Default::default() },
            v1::LinuxContainerResources { oom_score_adj: 1001, ..Default::default() },
            v1::LinuxContainerResources { memory_limit_in_bytes: -2, ..Default::default() },
            v1::LinuxContainerResources {
                unified: [("../x".into(), "1".into())].into(),
                ..Default::default()
            },
        ] {
            assert!(translate(&wrong, &mut Vec::new()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_update_changes_what_it_names() {
        let now = v1::LinuxContainerResources {
            cpu_shares: 2,
            cpu_quota: 5,
            oom_score_adj: 7,
            ..Default::default()
        };
        let update = v1::LinuxContainerResources { cpu_shares: 9, oom_score_adj: 1, ..Default::default() };
        let merged = merge_update(&now, &update);
        assert_eq!((merged.cpu_shares, merged.cpu_quota, merged.oom_score_adj), (9, 5, 7));
    }
}
