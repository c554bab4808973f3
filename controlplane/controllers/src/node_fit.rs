//! Whether a pod may run on a node: its node selector, its required node affinity, and the node's taints. Pure.
//!
//! Not resources and not neighbours: those are the scheduler's.

use api::selector::{Operator, Requirement};
use serde_json::{Map, Value};

use crate::fields::{list, map, text};

/// Whether selector and affinity of a pod's spec want the node.
pub(crate) fn is_wanted(spec: &Value, node: &Value) -> bool {
    let empty = Map::new();
    let labels = map(node, "/metadata/labels").unwrap_or(&empty);
    let selector = spec["nodeSelector"].as_object().into_iter().flatten();
    let selected = selector.into_iter().all(|(key, value)| labels.get(key) == Some(value));
    let required = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let terms = required["nodeSelectorTerms"].as_array();
    selected && terms.is_none_or(|terms| terms.iter().any(|term| term_holds(term, node, labels)))
}

/// A term without requirements, or with one that cannot be understood, holds nowhere.
fn term_holds(term: &Value, node: &Value, labels: &Map<String, Value>) -> bool {
    let name = [("metadata.name", text(node, "/metadata/name"))];
    let by_labels = list(term, "/matchExpressions");
    let by_fields = list(term, "/matchFields");
    let some = !by_labels.is_empty() || !by_fields.is_empty();
    some && by_labels
        .iter()
        .all(|one| requirement(one).is_some_and(|requirement| requirement.matches(labels)))
        && by_fields.iter().all(|one| requirement(one).is_some_and(|r| r.matches(name.as_slice())))
}

fn requirement(requirement: &Value) -> Option<Requirement> {
    let operator = match requirement["operator"].as_str()? {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        _ => return None,
    };
    let values = list(requirement, "/values").iter().filter_map(|value| value.as_str().map(str::to_owned));
    Requirement::new(requirement["key"].as_str()?, operator, values.collect()).ok()
}

/// The first of a pod's tolerations that covers a taint.
pub(crate) fn toleration<'a>(tolerations: &'a [Value], taint: &Value) -> Option<&'a Value> {
    tolerations.iter().find(|toleration| {
        let covers =
            |field: &str| text(toleration, field).is_empty() || toleration[&field[1..]] == taint[&field[1..]];
        let value = match text(toleration, "/operator") {
            "" | "Equal" => text(toleration, "/value") == text(taint, "/value"),
            "Exists" => true,
            _ => false,
        };
        covers("/key") && covers("/effect") && value
    })
}

/// Whether a taint of one of the effects keeps pods with these tolerations away.
pub(crate) fn is_repelled(tolerations: &[Value], node: &Value, effects: &[&str]) -> bool {
    let taints = list(node, "/spec/taints").iter().filter(|taint| effects.contains(&text(taint, "/effect")));
    taints.into_iter().any(|taint| toleration(tolerations, taint).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nodes_and_pods() {
        let node = json!({"metadata": {"name": "n", "labels": {"a": "b"}},
            "spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
        let affinity = |term: Value| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [term]}}}})
        };
        for (spec, expect) in [
            (json!({}), true),
            (json!({"nodeSelector": {"a": "b"}}), true),
            (json!({"nodeSelector": {"a": "c"}}), false),
            (
                affinity(
                    json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}),
                ),
                true,
            ),
            (affinity(json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]})), false),
            (affinity(json!({})), false),
        ] {
            assert_eq!(is_wanted(&spec, &node), expect, "{spec}");
        }
        for (tolerations, repelled) in [
            (json!([]), true),
            (json!([{"operator": "Exists"}]), false),
            (json!([{"key": "k", "value": "v"}]), false),
            (json!([{"key": "k", "value": "w"}]), true),
            (json!([{"key": "k", "operator": "Exists", "effect": "NoExecute"}]), true),
        ] {
            let tolerations = tolerations.as_array().cloned().unwrap();
            assert_eq!(is_repelled(&tolerations, &node, &["NoSchedule"]), repelled, "{tolerations:?}");
            assert!(!is_repelled(&tolerations, &node, &["NoExecute"]));
        }
    }
}
