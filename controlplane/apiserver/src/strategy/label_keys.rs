//! `matchLabelKeys` and `mismatchLabelKeys` of a new pod: the pod's own values of these labels become conditions of the
//! selector beside them, so that whoever reads the pod later sees what it meant when it came.
//!
//! Pure. A term without a selector matches nothing, and stays so.
//!
//! Reference: KEP-3633 for (anti-)affinity, KEP-3243 for topology spread.

use serde_json::{Map, Value, json};

/// Every term of a pod.
pub(super) fn merge(pod: &mut Map<String, Value>) {
    let labels = pod.get("metadata").map(|metadata| metadata["labels"].clone()).unwrap_or_default();
    let Some(spec) = pod.get_mut("spec") else { return };
    for kind in ["podAffinity", "podAntiAffinity"] {
        let affinity = spec.get_mut("affinity").and_then(|affinity| affinity.get_mut(kind));
        let Some(affinity) = affinity else { continue };
        for term in listed(affinity, "requiredDuringSchedulingIgnoredDuringExecution") {
            apply(term, &labels);
        }
        for weighted in listed(affinity, "preferredDuringSchedulingIgnoredDuringExecution") {
            weighted.get_mut("podAffinityTerm").into_iter().for_each(|term| apply(term, &labels));
        }
    }
    listed(spec, "topologySpreadConstraints").for_each(|constraint| apply(constraint, &labels));
}

fn listed<'a>(holder: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    holder.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

fn apply(term: &mut Value, labels: &Value) {
    let mut conditions = Vec::new();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in term[field].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if let Some(value) = labels.get(key) {
                conditions.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    let selector = term.get_mut("labelSelector").and_then(Value::as_object_mut);
    let Some(selector) = selector.filter(|_| !conditions.is_empty()) else { return };
    let all = selector.entry("matchExpressions").or_insert_with(|| json!([]));
    if all.is_null() {
        *all = json!([]);
    }
    if let Some(all) = all.as_array_mut() {
        all.extend(conditions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(term: Value, expected: Value) {
        let mut pod = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {
            "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]},
                "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": term}]}},
            "topologySpreadConstraints": [term]}});
        merge(pod.as_object_mut().unwrap());
        let affinity = &pod["spec"]["affinity"];
        let terms = [
            &affinity["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0],
            &affinity["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"],
            &pod["spec"]["topologySpreadConstraints"][0],
        ];
        for term in terms {
            assert_eq!(term.get("labelSelector"), (!expected.is_null()).then_some(&expected), "{term}");
        }
    }

    #[test]
    fn labels_become_conditions() {
        check(json!({"matchLabelKeys": ["a"]}), json!(null));
        check(json!({"labelSelector": {}, "matchLabelKeys": ["missing"]}), json!({}));
        check(
            json!({"labelSelector": {"matchLabels": {"x": "y"}}, "matchLabelKeys": ["a"], "mismatchLabelKeys": ["b"]}),
            json!({"matchLabels": {"x": "y"}, "matchExpressions": [
                {"key": "a", "operator": "In", "values": ["1"]}, {"key": "b", "operator": "NotIn", "values": ["2"]}]}),
        );
        let own = json!({"key": "x", "operator": "Exists"});
        check(
            json!({"labelSelector": {"matchExpressions": [own]}, "matchLabelKeys": ["a", "missing"]}),
            json!({"matchExpressions": [own, {"key": "a", "operator": "In", "values": ["1"]}]}),
        );
    }
}
