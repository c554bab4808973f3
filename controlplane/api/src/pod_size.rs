//! What has to be counted for a pod while it is resized: the most of what it asks for, what its node has granted, and what
//! its containers have. A wish that the node can never grant counts nothing.
//!
//! Pure. Not whether there is room (scheduler, quota and kubelet each count for themselves).
//!
//! Reference: KEP-1287, KEP-5419; upstream's `component-helpers/resource` with `UseStatusResources`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::quantity::Quantity;

const LISTS: [(&str, &str); 2] =
    [("initContainers", "initContainerStatuses"), ("containers", "containerStatuses")];

/// The pod's `spec` with the amounts that count.
pub fn counted(pod: &Value) -> Cow<'_, Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let infeasible = is_infeasible(status);
    let mut out = Cow::Borrowed(spec);
    if let Some(resources) = differing(&spec["resources"], status, infeasible) {
        out.to_mut()["resources"] = resources;
    }
    for (list, statuses) in LISTS {
        let statuses = status[statuses].as_array().map(Vec::as_slice).unwrap_or_default();
        if statuses.is_empty() {
            continue;
        }
        for (index, container) in spec[list].as_array().into_iter().flatten().enumerate() {
            // An init container that is over holds nothing.
            if list == "initContainers" && container["restartPolicy"] != "Always" {
                continue;
            }
            let Some(known) = statuses.iter().find(|known| known["name"] == container["name"]) else {
                continue;
            };
            if let Some(resources) = differing(&container["resources"], known, infeasible) {
                out.to_mut()[list][index]["resources"] = resources;
            }
        }
    }
    out
}

fn is_infeasible(status: &Value) -> bool {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "PodResizePending" && condition["reason"] == "Infeasible")
}

/// The resources that count, where they are not those that are asked for.
fn differing(asked: &Value, status: &Value, infeasible: bool) -> Option<Value> {
    let (granted, has) = (&status["allocatedResources"], &status["resources"]);
    if granted.is_null() && !has.is_object() {
        return None;
    }
    let same = |one: &Value, other: &Value| one == other || other.is_null();
    if same(&asked["requests"], granted)
        && same(&asked["requests"], &has["requests"])
        && same(&asked["limits"], &has["limits"])
    {
        return None;
    }
    let mut out = if asked.is_object() { asked.clone() } else { Value::Object(Map::new()) };
    let wish = |kind: &str| if infeasible { Value::Null } else { asked[kind].clone() };
    let parts = [
        ("requests", [wish("requests"), granted.clone(), has["requests"].clone()]),
        ("limits", [wish("limits"), Value::Null, has["limits"].clone()]),
    ];
    for (kind, lists) in parts {
        let mut most: Map<String, Value> = Map::new();
        for (name, amount) in lists.iter().filter_map(Value::as_object).flatten() {
            if most.get(name).is_none_or(|known| is_less(known, amount)) {
                most.insert(name.clone(), amount.clone());
            }
        }
        // Others than CPU and memory are not resized, and statuses need not name them.
        for (name, amount) in asked[kind].as_object().into_iter().flatten() {
            if !most.contains_key(name) {
                most.insert(name.clone(), amount.clone());
            }
        }
        if !most.is_empty() {
            out[kind] = most.into();
        }
    }
    Some(out)
}

fn is_less(one: &Value, other: &Value) -> bool {
    let amount = |value: &Value| Quantity::parse(value.as_str()?).ok();
    match (amount(one), amount(other)) {
        (Some(one), Some(other)) => one < other,
        (one, _) => one.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// CPU that is asked for, granted and there; what counts.
    fn check(asked: &str, granted: &str, has: &str, infeasible: bool, expected: &str) {
        let of = |amount: &str| json!({"cpu": amount, "memory": "1Gi"});
        let reason = if infeasible { "Infeasible" } else { "Deferred" };
        let pod = json!({
            "spec": {"containers": [{"name": "c", "resources": {"requests": of(asked), "limits": of(asked)}}]},
            "status": {"conditions": [{"type": "PodResizePending", "reason": reason}], "containerStatuses": [
                {"name": "c", "allocatedResources": of(granted), "resources": {"requests": of(has), "limits": of(has)}}]},
        });
        assert_eq!(counted(&pod)["containers"][0]["resources"]["requests"], of(expected), "{pod}");
    }

    #[test]
    fn the_most_of_the_three() {
        check("1", "1", "1", false, "1");
        check("2", "1", "1", false, "2");
        check("1", "2", "1", false, "2");
        check("1", "1", "3", false, "3");
        check("9", "1", "2", true, "2");
        let plain = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}});
        assert!(matches!(counted(&plain), Cow::Borrowed(_)));
    }

    #[test]
    fn a_pod_as_a_whole_and_what_is_not_resized() {
        let pod = json!({
            "spec": {"resources": {"requests": {"cpu": "1"}}, "containers": [
                {"name": "c", "resources": {"requests": {"cpu": "1", "a.b/c": "2"}}}]},
            "status": {"allocatedResources": {"cpu": "3"}, "containerStatuses": [
                {"name": "c", "allocatedResources": {"cpu": "2"}, "resources": {}}]},
        });
        let counted = counted(&pod);
        assert_eq!(counted["resources"]["requests"]["cpu"], "3");
        assert_eq!(counted["containers"][0]["resources"]["requests"], json!({"cpu": "2", "a.b/c": "2"}));
    }
}
