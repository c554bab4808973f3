//! Sums over the containers of a pod: what they request together, and the class of service that follows.
//!
//! The class in `status` is the kubelet's; here it is computed to see that a resize does not change it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::fields::{Fields, parse_quantity};
use super::container::is_sidecar;
use crate::quantity::Quantity;

type Amounts = BTreeMap<String, Quantity>;

/// What a pod's containers need at most at one time: the regular ones with the sidecars, or one init container with the
/// sidecars before it.
pub(super) fn container_requests(spec: &Value) -> Amounts {
    let mut together = Amounts::new();
    for container in spec.list("containers") {
        add(&mut together, container);
    }
    let (mut sidecars, mut most_init) = (Amounts::new(), Amounts::new());
    for container in spec.list("initContainers") {
        let mut now = sidecars.clone();
        add(&mut now, container);
        if is_sidecar(container) {
            add(&mut together, container);
            sidecars = now.clone();
        }
        greatest(&mut most_init, now);
    }
    greatest(&mut together, most_init);
    together
}

fn add(sum: &mut Amounts, container: &Value) {
    for (name, amount) in container["resources"].entries("requests") {
        if let Some(amount) = parse_quantity(amount) {
            let entry = sum.entry(name.to_owned()).or_default();
            *entry = *entry + amount;
        }
    }
}

fn greatest(sum: &mut Amounts, other: Amounts) {
    for (name, amount) in other {
        let entry = sum.entry(name).or_insert(amount);
        *entry = (*entry).max(amount);
    }
}

/// The class of service of a pod.
pub(super) fn class(spec: &Value) -> &'static str {
    let positive = |list: &Value, name: &str| list.quantity(name).filter(|amount| amount.sign() > 0);
    if let Some(resources) = spec.part("resources") {
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
