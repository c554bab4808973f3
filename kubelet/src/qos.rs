//! The class of a pod's resources, and the cgroup that follows from it. Pure.
//!
//! Reference: upstream's `GetPodQOS`; cgroupfs driver names.

use std::fmt;

use api::quantity::Quantity;
use serde_json::Value;

use crate::pod::Pod;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QosClass {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl fmt::Display for QosClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What the API says, else what follows from the containers.
pub fn class(pod: &Pod) -> QosClass {
    match pod.status()["qosClass"].as_str() {
        Some("Guaranteed") => QosClass::Guaranteed,
        Some("Burstable") => QosClass::Burstable,
        Some("BestEffort") => QosClass::BestEffort,
        _ => computed(pod),
    }
}

fn computed(pod: &Pod) -> QosClass {
    let stated = &pod.spec()["resources"];
    let whole: Vec<&Value> = match stated.is_object() {
        true => vec![stated],
        false => pod.init.iter().chain(&pod.main).map(|container| &container.value["resources"]).collect(),
    };
    let amount = |resources: &Value, kind: &str, name: &str| {
        let text = resources[kind][name].as_str().map(str::to_owned);
        let text = text.or_else(|| resources[kind][name].as_i64().map(|number| number.to_string()))?;
        Quantity::parse(&text).ok().filter(|quantity| !quantity.is_zero()).map(|quantity| quantity.millis())
    };
    let names = ["cpu", "memory"];
    let asks = |resources: &&Value| {
        names.iter().any(|name| {
            amount(resources, "requests", name).is_some() || amount(resources, "limits", name).is_some()
        })
    };
    if !whole.iter().any(asks) {
        return QosClass::BestEffort;
    }
    let bound = |resources: &&Value| {
        names.iter().all(|name| {
            let limit = amount(resources, "limits", name);
            limit.is_some()
                && amount(resources, "requests", name).is_none_or(|request| Some(request) == limit)
        })
    };
    if whole.iter().all(bound) { QosClass::Guaranteed } else { QosClass::Burstable }
}

/// `<root>/burstable/pod<uid>`; guaranteed pods are directly below the root.
pub fn cgroup_parent(pod: &Pod, root: &str) -> String {
    let root = root.trim_end_matches('/');
    let class = match class(pod) {
        QosClass::Guaranteed => "",
        QosClass::Burstable => "/burstable",
        QosClass::BestEffort => "/besteffort",
    };
    format!("{root}{class}/pod{}", pod.uid)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(containers: Value, expected: QosClass) {
        let pod = Pod::of(json!({"metadata": {"uid": "u"}, "spec": {"containers": containers}}));
        assert_eq!(class(&pod), expected, "{containers}");
    }

    #[test]
    fn classes() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        check(json!([{"name": "a"}]), QosClass::BestEffort);
        check(json!([{"name": "a", "resources": {"requests": {"cpu": "0"}}}]), QosClass::BestEffort);
        check(json!([{"name": "a", "resources": {"requests": {"cpu": "1"}}}]), QosClass::Burstable);
        check(json!([{"name": "a", "resources": {"limits": both, "requests": both}}]), QosClass::Guaranteed);
        check(json!([{"name": "a", "resources": {"limits": both}}]), QosClass::Guaranteed);
        check(json!([{"name": "a", "resources": {"limits": both}}, {"name": "b"}]), QosClass::Burstable);
        check(
            json!([{"name": "a", "resources": {"limits": both, "requests": {"cpu": "500m", "memory": "1Gi"}}}]),
            QosClass::Burstable,
        );
    }
}
