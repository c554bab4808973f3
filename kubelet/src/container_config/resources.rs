//! CPU and memory of containers and pods in the words of CRI.
//!
//! Reference: upstream's `kubelet/cm` helpers; CFS bandwidth in cgroup v1 terms, which runtimes translate.

use std::collections::BTreeMap;

use api::quantity::Quantity;
use cri_api::v1;

use super::oom_score;
use crate::facts::NodeFacts;
use crate::pod::{Container, Pod, Role};
use crate::resources::Amounts;

/// Microseconds.
pub(super) const QUOTA_PERIOD: i64 = 100_000;
const QUOTA_MIN: i64 = 1000;
pub(super) const SHARES_MIN: i64 = 2;
const SHARES_MAX: i64 = 262_144;
pub(super) const SHARES_PER_CPU: i64 = 1024;

/// Of one container.
pub fn of(pod: &Pod, container: &Container, node: &NodeFacts) -> v1::LinuxContainerResources {
    let limits = Amounts::read(&container.value["resources"]["limits"]);
    v1::LinuxContainerResources {
        oom_score_adj: oom_score::of(pod, container, node.memory_capacity),
        hugepage_limits: huge_pages(&limits.others, node),
        ..sized(pod, container)
    }
}

/// CPU and memory of one container.
pub(super) fn sized(pod: &Pod, container: &Container) -> v1::LinuxContainerResources {
    let own = &container.value["resources"];
    let whole = &pod.spec()["resources"];
    let requests = Amounts::read(&own["requests"]);
    let limits = Amounts::read(&own["limits"]);
    let pod_limits = Amounts::read(&whole["limits"]);
    let or = |own: i64, pod: i64| if own > 0 { own } else { pod };
    let (cpu, memory) = (or(limits.cpu_millis, pod_limits.cpu_millis), or(limits.memory, pod_limits.memory));
    let stated = own["requests"].get("cpu").is_some();
    let quota = quota(cpu);
    v1::LinuxContainerResources {
        cpu_shares: shares(if stated { requests.cpu_millis } else { cpu }),
        cpu_quota: quota,
        cpu_period: if quota == 0 { 0 } else { QUOTA_PERIOD },
        memory_limit_in_bytes: memory,
        ..Default::default()
    }
}

/// The sum over the containers that run together.
pub fn of_pod(pod: &Pod) -> v1::LinuxContainerResources {
    let own = &pod.spec()["resources"];
    let members: Vec<(Amounts, Amounts)> = pod
        .init
        .iter()
        .filter(|container| container.role == Role::Sidecar)
        .chain(&pod.main)
        .map(|container| {
            let resources = &container.value["resources"];
            (Amounts::read(&resources["requests"]), Amounts::read(&resources["limits"]))
        })
        .collect();
    let (own_requests, own_limits) = (Amounts::read(&own["requests"]), Amounts::read(&own["limits"]));
    let sum = |of: &dyn Fn(&(Amounts, Amounts)) -> i64| members.iter().map(of).sum::<i64>();
    // Without a limit on one of them, the pod has none.
    let limit = |own: i64, of: &dyn Fn(&(Amounts, Amounts)) -> i64| match own {
        0 if members.iter().any(|member| of(member) == 0) => 0,
        0 => sum(of),
        own => own,
    };
    let request = match own_requests.cpu_millis {
        0 => sum(&|(requests, limits)| {
            if requests.cpu_millis > 0 { requests.cpu_millis } else { limits.cpu_millis }
        }),
        own => own,
    };
    let quota = quota(limit(own_limits.cpu_millis, &|(_, limits)| limits.cpu_millis));
    v1::LinuxContainerResources {
        cpu_shares: shares(request),
        cpu_quota: quota,
        cpu_period: if quota == 0 { 0 } else { QUOTA_PERIOD },
        memory_limit_in_bytes: limit(own_limits.memory, &|(_, limits)| limits.memory),
        ..Default::default()
    }
}

/// What the RuntimeClass adds.
pub fn overhead(pod: &Pod) -> v1::LinuxContainerResources {
    let list = &pod.spec()["overhead"];
    if !list.is_object() {
        return v1::LinuxContainerResources::default();
    }
    let amounts = Amounts::read(list);
    let quota = quota(amounts.cpu_millis);
    v1::LinuxContainerResources {
        cpu_shares: shares(amounts.cpu_millis),
        cpu_quota: quota,
        cpu_period: if quota == 0 { 0 } else { QUOTA_PERIOD },
        memory_limit_in_bytes: amounts.memory,
        ..Default::default()
    }
}

/// Relative weight in the scale of cgroup v1.
pub fn shares(cpu_millis: i64) -> i64 {
    (cpu_millis.saturating_mul(SHARES_PER_CPU) / 1000).clamp(SHARES_MIN, SHARES_MAX)
}

/// Microseconds in each period; 0 is no limit.
pub fn quota(cpu_millis: i64) -> i64 {
    if cpu_millis == 0 { 0 } else { (cpu_millis.saturating_mul(QUOTA_PERIOD) / 1000).max(QUOTA_MIN) }
}

/// Every size is limited, to nothing where the container does not ask for it.
fn huge_pages(limits: &BTreeMap<String, i64>, node: &NodeFacts) -> Vec<v1::HugepageLimit> {
    let asked = |size: &str| {
        let found = limits.iter().find(|(name, _)| {
            name.strip_prefix("hugepages-").and_then(page_size).is_some_and(|known| known == size)
        });
        found.and_then(|(_, bytes)| u64::try_from(*bytes).ok()).unwrap_or_default()
    };
    node.huge_page_sizes
        .iter()
        .map(|size| v1::HugepageLimit { page_size: size.clone(), limit: asked(size) })
        .collect()
}

/// `2Mi` to `2MB`, as the kernel names its files.
fn page_size(text: &str) -> Option<String> {
    let mut bytes = Quantity::parse(text).ok()?.units();
    for unit in ["B", "KB", "MB", "GB"] {
        if bytes < 1024 || unit == "GB" {
            return Some(format!("{bytes}{unit}"));
        }
        bytes /= 1024;
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(resources: Value, shares: i64, quota: i64, memory: i64) {
        let pod = Pod::of(
            json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": resources}]}}),
        );
        let node = NodeFacts { memory_capacity: 4 << 30, ..Default::default() };
        let found = of(&pod, &pod.main[0], &node);
        assert_eq!(
            (found.cpu_shares, found.cpu_quota, found.memory_limit_in_bytes),
            (shares, quota, memory),
            "{resources}"
        );
        assert_eq!(found.cpu_period, if quota == 0 { 0 } else { QUOTA_PERIOD });
    }

    #[test]
    fn containers() {
        check(json!({}), 2, 0, 0);
        check(json!({"requests": {"cpu": "500m"}}), 512, 0, 0);
        check(json!({"limits": {"cpu": "2", "memory": "1Mi"}}), 2048, 200_000, 1 << 20);
        check(json!({"requests": {"cpu": "0"}, "limits": {"cpu": "1m"}}), 2, 1000, 0);
        check(json!({"requests": {"cpu": "1000"}}), SHARES_MAX, 0, 0);
    }

    #[test]
    fn pods() {
        let both = json!({"limits": {"cpu": "1", "memory": "1Mi"}});
        let pod = |first: &Value, second: &Value| {
            Pod::of(json!({"metadata": {"name": "p"}, "spec": {"containers": [
                {"name": "a", "resources": first}, {"name": "b", "resources": second}]}}))
        };
        let found = of_pod(&pod(&both, &both));
        assert_eq!(
            (found.cpu_shares, found.cpu_quota, found.memory_limit_in_bytes),
            (2048, 200_000, 2 << 20)
        );
        let found = of_pod(&pod(&both, &json!({})));
        assert_eq!((found.cpu_shares, found.cpu_quota, found.memory_limit_in_bytes), (1024, 0, 0));
    }

    #[test]
    fn huge_pages_are_limited_in_every_size() {
        let node = NodeFacts { huge_page_sizes: vec!["2MB".into(), "1GB".into()], ..Default::default() };
        let limits = BTreeMap::from([("hugepages-2Mi".to_owned(), 8 << 20)]);
        let found: Vec<_> =
            huge_pages(&limits, &node).into_iter().map(|limit| (limit.page_size, limit.limit)).collect();
        assert_eq!(found, [("2MB".to_owned(), 8 << 20), ("1GB".to_owned(), 0)]);
    }
}
