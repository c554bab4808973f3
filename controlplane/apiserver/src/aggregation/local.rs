//! APIServices of what is served here: built-in group versions and those of custom resources.

use std::collections::BTreeMap;

use api::kind::Registry;
use serde_json::{Value, json};

/// Label of the APIServices that are kept here.
pub const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Where a custom group stands, and a custom version in it.
const CUSTOM: (i64, i64) = (1000, 100);
/// What is not in the table: behind the built-in groups, before the custom ones.
const OTHER: (i64, i64) = (9900, 15);

/// Where the built-in groups stand: upstream's numbers, which clients see in the order of discovery.
const PRIORITIES: &[(&str, i64)] = &[
    ("apiregistration.k8s.io", 20_000),
    ("", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("apiextensions.k8s.io", 16_700),
    ("admissionregistration.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    ("flowcontrol.apiserver.k8s.io", 16_100),
    ("resource.k8s.io", 15_900),
];

/// Where a group that is served here stands among others.
pub fn group_priority(registry: &Registry, group: &str) -> i64 {
    let custom = || registry.of_group(group).any(|kind| kind.is_custom());
    let known = PRIORITIES.iter().find(|(name, _)| *name == group).map(|(_, priority)| *priority);
    known.unwrap_or_else(|| if custom() { CUSTOM.0 } else { OTHER.0 })
}

/// The specification and label of every APIService that there must be, by name. The aggregator's own group has none.
pub fn wanted(registry: &Registry) -> BTreeMap<String, (&'static str, Value)> {
    let mut wanted = BTreeMap::new();
    for kind in registry.kinds().filter(|kind| kind.group != "apiregistration.k8s.io") {
        let name = format!("{}.{}", kind.version, kind.group);
        wanted.entry(name).or_insert_with(|| {
            let known = PRIORITIES.iter().find(|(name, _)| *name == kind.group).map(|(_, priority)| *priority);
            let (label, priority) = match known {
                Some(priority) => ("onstart", (priority, if kind.group.is_empty() { 1 } else { 15 })),
                None if kind.is_custom() => ("true", CUSTOM),
                None => ("onstart", OTHER),
            };
            // autoscaling/v2 stands before v1.
            let version = if kind.version == "v2" { priority.1 * 2 } else { priority.1 };
            let mut spec = json!({"version": kind.version, "groupPriorityMinimum": priority.0, "versionPriority": version});
            if !kind.group.is_empty() {
                spec["group"] = kind.group.into();
            }
            (label, spec)
        });
    }
    wanted
}

/// The condition of what is served here.
pub fn condition(now: &str) -> Value {
    json!({"type": "Available", "status": "True", "lastTransitionTime": now, "reason": "Local",
        "message": "Local APIServices are always available"})
}
