//! Which containers the kernel ends first when the node's memory is full: by quality of service, then by request.
//!
//! Reference: upstream's `kubelet/qos` and KEP-753 for sidecars.

use crate::pod::{Container, Pod, Role};
use crate::qos::{self, QosClass};
use crate::resources::Amounts;

const GUARANTEED: i64 = -997;
const BEST_EFFORT: i64 = 1000;
/// `system-node-critical` pods have at least this priority.
const CRITICAL_PRIORITY: i64 = 2_000_000_000;

/// `oom_score_adj` of a container on a node with so many bytes of memory.
pub fn of(pod: &Pod, container: &Container, memory_capacity: i64) -> i64 {
    let spec = pod.spec();
    let critical = spec["priorityClassName"] == "system-node-critical"
        && spec["priority"].as_i64().is_none_or(|priority| priority >= CRITICAL_PRIORITY);
    match qos::class(pod) {
        _ if critical => GUARANTEED,
        QosClass::Guaranteed => GUARANTEED,
        QosClass::BestEffort => BEST_EFFORT,
        QosClass::Burstable => burstable(pod, container, memory_capacity),
    }
}

fn burstable(pod: &Pod, container: &Container, memory_capacity: i64) -> i64 {
    let score = |bytes: i64| 1000 - 1000 * i128::from(bytes) / i128::from(memory_capacity.max(1));
    let request = |container: &Container| Amounts::read(&container.value["resources"]["requests"]).memory;
    let mut own = request(container);
    let whole = Amounts::read(&pod.spec()["resources"]["requests"]).memory;
    if whole > 0 {
        // What the pod asks for beyond its containers is shared out evenly.
        let members: Vec<&Container> =
            pod.main.iter().chain(pod.init.iter().filter(|init| init.role == Role::Sidecar)).collect();
        let asked: i64 = members.iter().map(|member| request(member)).sum();
        own += (whole - asked).max(0) / i64::try_from(members.len().max(1)).unwrap_or(1);
    }
    let mut adjusted = score(own);
    if container.role == Role::Sidecar {
        // A sidecar goes no earlier than what it serves.
        let least = pod.main.iter().map(request).min().unwrap_or_default();
        adjusted = adjusted.min(score(least));
    }
    let adjusted = i64::try_from(adjusted).unwrap_or(i64::MIN);
    adjusted.clamp(1000 + GUARANTEED, BEST_EFFORT - 1)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn container(requests: Value, limits: Value) -> Value {
        json!({"name": "c", "resources": {"requests": requests, "limits": limits}})
    }

    fn check(spec: Value, class: QosClass, score: i64) {
        let pod = Pod::of(json!({"metadata": {"name": "p"}, "spec": spec}));
        assert_eq!(qos::class(&pod), class, "{spec}");
        assert_eq!(of(&pod, &pod.main[0], 4 << 30), score, "{spec}");
    }

    #[test]
    fn scores() {
        check(json!({"containers": [{"name": "c"}]}), QosClass::BestEffort, 1000);
        let full = json!({"cpu": "1", "memory": "1Gi"});
        check(json!({"containers": [container(full.clone(), full.clone())]}), QosClass::Guaranteed, -997);
        check(json!({"containers": [container(json!({}), full.clone())]}), QosClass::Guaranteed, -997);
        check(json!({"containers": [container(full.clone(), json!({}))]}), QosClass::Burstable, 750);
        check(json!({"containers": [container(json!({"cpu": "1"}), json!({}))]}), QosClass::Burstable, 999);
        check(
            json!({"containers": [container(json!({"memory": "4Gi"}), json!({}))]}),
            QosClass::Burstable,
            3,
        );
        check(
            json!({"containers": [{"name": "c"}], "priorityClassName": "system-node-critical", "priority": 2_000_001_000}),
            QosClass::BestEffort,
            -997,
        );
        check(
            json!({"resources": {"requests": {"memory": "2Gi"}}, "containers": [{"name": "c"}, {"name": "d"}]}),
            QosClass::Burstable,
            750,
        );
    }

    #[test]
    fn a_sidecar_goes_no_earlier_than_what_it_serves() {
        let mut sidecar = container(json!({"memory": "16Mi"}), json!({}));
        sidecar["restartPolicy"] = "Always".into();
        let pod = Pod::of(json!({"metadata": {"name": "p"}, "spec": {"initContainers": [sidecar],
            "containers": [container(json!({"memory": "2Gi"}), json!({}))]}}));
        assert_eq!(of(&pod, &pod.init[0], 4 << 30), 500);
    }
}
