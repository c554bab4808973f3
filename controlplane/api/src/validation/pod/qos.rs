//! Sums over the containers of a pod: what they request together, and the class of service that follows.
//!
//! The class is written down when a pod is made; a resize does not change it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::fields::{Fields, parse_quantity};
use super::container::is_sidecar;
use crate::quantity::Quantity;

type Amounts = BTreeMap<String, Quantity>;

/// What a pod's containers have of `kind` (`requests`, `limits`) at most at one time: the regular ones with the sidecars, or
/// one init container with the sidecars before it.
pub(super) fn of_containers(spec: &Value, kind: &str) -> Amounts {
    let mut together = Amounts::new();
    for container in spec.list("containers") {
        amounts(container, kind).for_each(|(name, amount)| add(&mut together, name, amount));
    }
    let (mut sidecars, mut most_init) = (Amounts::new(), Amounts::new());
    for container in spec.list("initContainers") {
        // Of what this one has nothing, the sidecars together have most.
        for (name, amount) in amounts(container, kind) {
            let now = sidecars.get(name).copied().unwrap_or_default() + amount;
            let most = most_init.entry(name.to_owned()).or_insert(now);
            *most = (*most).max(now);
            if is_sidecar(container) {
                add(&mut sidecars, name, amount);
                add(&mut together, name, amount);
            }
        }
    }
    for (name, amount) in most_init {
        let entry = together.entry(name).or_insert(amount);
        *entry = (*entry).max(amount);
    }
    together
}

fn amounts<'a>(container: &'a Value, kind: &'a str) -> impl Iterator<Item = (&'a str, Quantity)> {
    let entries = container["resources"].entries(kind);
    entries.filter_map(|(name, amount)| Some((name, parse_quantity(amount)?)))
}

fn add(sum: &mut Amounts, name: &str, amount: Quantity) {
    let entry = sum.entry(name.to_owned()).or_default();
    *entry = *entry + amount;
}

/// The class of service of a pod: Guaranteed where every container has limits for cpu and memory that equal its requests,
/// BestEffort where none has any of the four, Burstable between; of the pod as a whole where it says anything.
pub fn class(spec: &Value) -> &'static str {
    let positive = |list: &Value, name: &str| list.quantity(name).filter(|amount| amount.sign() > 0);
    let says =
        |resources: &&Value| ["requests", "limits"].iter().any(|kind| resources.entries(kind).count() > 0);
    if let Some(resources) = spec.part("resources").filter(says) {
        return class_of(&[resources], positive);
    }
    let all: Vec<&Value> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| spec.list(list))
        .map(|container| &container["resources"])
        .collect();
    class_of(&all, positive)
}

fn class_of(all: &[&Value], positive: impl Fn(&Value, &str) -> Option<Quantity>) -> &'static str {
    let (mut any, mut guaranteed) = (false, true);
    for resources in all {
        for name in ["cpu", "memory"] {
            let (limit, request) =
                (positive(&resources["limits"], name), positive(&resources["requests"], name));
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn classes_are_upstreams() {
        let container = |resources: Value| json!({"containers": [{"resources": resources}]});
        let all = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        for (spec, expect) in [
            (container(json!({})), "BestEffort"),
            (container(json!({"limits": {"cpu": "0"}})), "BestEffort"),
            (container(all.clone()), "Guaranteed"),
            (
                container(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m"}})),
                "Guaranteed",
            ),
            (
                container(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}})),
                "Burstable",
            ),
            (container(json!({"requests": {"memory": "1Gi"}})), "Burstable"),
            (json!({"resources": all, "containers": [{}]}), "Guaranteed"),
            (json!({"resources": {}, "containers": [{"resources": all}]}), "Guaranteed"),
            (json!({"resources": {"limits": {}}, "containers": [{}]}), "BestEffort"),
        ] {
            assert_eq!(class(&spec), expect, "{spec}");
        }
    }
}
