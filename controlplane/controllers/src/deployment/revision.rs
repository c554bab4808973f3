//! Revisions, and the other annotations that a Deployment and its ReplicaSets share. Pure.

use serde_json::{Map, Value, json};

use super::replicas::{allowance, wanted};
use crate::fields::{int, map};

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// The Deployment's own, not copied to its ReplicaSets.
const OWN: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];
/// Characters of the history that are kept.
const LONGEST_HISTORY: usize = 2000;

pub(super) fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    map(object, "/metadata/annotations")?.get(name)?.as_str()
}

pub(super) fn of(object: &Value) -> i64 {
    annotation(object, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// One more than every other set's.
pub(super) fn next(old: &[Value]) -> i64 {
    old.iter().map(of).max().unwrap_or(0) + 1
}

/// How many replicas the Deployment wants and may have, as its sets note it.
pub(super) fn sizes(deployment: &Value) -> [(&'static str, String); 2] {
    let wanted = wanted(deployment);
    [(DESIRED, wanted.to_string()), (MAX, (wanted + allowance(deployment).surge).to_string())]
}

/// The set with the annotations it must have; `None` if it has them.
pub(super) fn annotated(deployment: &Value, set: &Value, revision: i64) -> Option<Value> {
    let mut annotations = map(set, "/metadata/annotations").cloned().unwrap_or_default();
    for (name, value) in map(deployment, "/metadata/annotations").unwrap_or(&Map::new()) {
        if !OWN.contains(&name.as_str()) {
            annotations.insert(name.clone(), value.clone());
        }
    }
    let before = of(set);
    if before < revision {
        annotations.insert(REVISION.into(), revision.to_string().into());
        if before > 0 {
            let known = annotation(set, HISTORY).filter(|known| !known.is_empty());
            let history = known.map_or(before.to_string(), |known| format!("{known},{before}"));
            let from = history.len().saturating_sub(LONGEST_HISTORY);
            annotations.insert(HISTORY.into(), history[from..].into());
        }
    }
    let min_ready = int(deployment, "/spec/minReadySeconds");
    let current = map(set, "/metadata/annotations").unwrap_or(&Map::new()) == &annotations;
    if current && int(set, "/spec/minReadySeconds") == min_ready {
        return None;
    }
    let mut set = set.clone();
    set["metadata"]["annotations"] = json!(annotations);
    set["spec"]["minReadySeconds"] = min_ready.into();
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_copied_and_numbered() {
        let deployment = json!({"metadata": {"annotations": {"a": "b", REVISION: "7",
            "kubernetes.io/change-cause": "why"}}, "spec": {"replicas": 4, "strategy": {"type": "Recreate"}}});
        let set = json!({"metadata": {"annotations": {REVISION: "1"}}, "spec": {}});
        let set = annotated(&deployment, &set, 3).unwrap();
        assert_eq!(
            set["metadata"]["annotations"],
            json!({REVISION: "3", "a": "b", "kubernetes.io/change-cause": "why",
            HISTORY: "1"})
        );
        assert_eq!(sizes(&deployment), [(DESIRED, "4".to_owned()), (MAX, "4".to_owned())]);
        assert_eq!(annotated(&deployment, &set, 3), None);
        assert_eq!(next(&[set, json!({})]), 4);
    }
}
