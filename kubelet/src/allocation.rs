//! How much CPU and memory of what a pod asks for this node has granted: its whole wish when it came, and later what a
//! resize got. Pure.
//!
//! Everything else in the kubelet looks at the pod as [`Allocation::applied`] makes it, so that a container that
//! restarts while a resize waits gets what the node has counted for it.
//!
//! What a kubelet before us has granted is read from the pod's status, where it told it: requests from
//! `allocatedResources`, limits from `resources`.
//!
//! Reference: KEP-1287, KEP-5419 for the pod as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::pod::{Container, Pod};
use crate::resize::{IN_PROGRESS, PENDING, condition};
use crate::resources::Amounts;

/// What a resize is about.
const NAMES: [&str; 2] = ["cpu", "memory"];

/// `resources` of the pod and of its containers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allocation {
    whole: Value,
    containers: BTreeMap<String, Value>,
}

impl Allocation {
    /// All that the pod asks for.
    pub fn of(pod: &Pod) -> Allocation {
        let sized = |container: &Container| (container.name.clone(), container.value["resources"].clone());
        Allocation { whole: pod.spec()["resources"].clone(), containers: resizable(pod).map(sized).collect() }
    }

    /// What the API remembers; a pod that never ran has what it asks for.
    pub fn recalled(pod: &Pod) -> Allocation {
        let mut known = Allocation::of(pod);
        let waits = condition(pod.status(), PENDING).is_some();
        known.whole = recall(&pod.spec()["resources"], pod.status(), waits);
        for container in resizable(pod) {
            let status = pod.container_status(container);
            let recalled = recall(&container.value["resources"], status, waits);
            known.containers.insert(container.name.clone(), recalled);
        }
        known
    }

    /// The pod with these amounts in place of those that it asks for.
    pub fn applied(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        if *self == Allocation::of(pod) {
            return pod.clone();
        }
        let mut value = pod.value().clone();
        put(&mut value["spec"], &self.whole);
        for list in ["initContainers", "containers"] {
            for container in value["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                let name = container["name"].as_str().unwrap_or_default().to_owned();
                if let Some(resources) = self.containers.get(&name) {
                    put(container, resources);
                }
            }
        }
        Arc::new(Pod::of(value))
    }
}

/// A kubelet before us was about to give the containers what it had granted.
pub fn was_in_progress(pod: &Pod) -> bool {
    condition(pod.status(), IN_PROGRESS).is_some()
}

fn resizable(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.init.iter().chain(&pod.main)
}

fn put(holder: &mut Value, resources: &Value) {
    let Some(fields) = holder.as_object_mut() else { return };
    match resources {
        Value::Null => drop(fields.shift_remove("resources")),
        resources => drop(fields.insert("resources".to_owned(), resources.clone())),
    }
}

/// `asked` with the amounts that `status` tells, where it tells that they are others.
fn recall(asked: &Value, status: &Value, waits: bool) -> Value {
    if !status["resources"].is_object() {
        return asked.clone();
    }
    let granted = &status["allocatedResources"];
    if !waits && same(&asked["requests"], granted) {
        return asked.clone();
    }
    let mut out = asked.clone();
    for (kind, known) in [("requests", granted), ("limits", &status["resources"]["limits"])] {
        let mut amounts = asked[kind].as_object().cloned().unwrap_or_default();
        for name in NAMES {
            match known.get(name) {
                Some(amount) => drop(amounts.insert(name.to_owned(), amount.clone())),
                None => drop(amounts.shift_remove(name)),
            }
        }
        replace(&mut out, kind, amounts);
    }
    out
}

fn replace(resources: &mut Value, kind: &str, amounts: Map<String, Value>) {
    if !resources.is_object() {
        *resources = Value::Object(Map::new());
    }
    let Some(fields) = resources.as_object_mut() else { return };
    if amounts.is_empty() {
        fields.shift_remove(kind);
    } else {
        fields.insert(kind.to_owned(), amounts.into());
    }
}

fn same(one: &Value, other: &Value) -> bool {
    let (one, other) = (Amounts::read(one), Amounts::read(other));
    (one.cpu_millis, one.memory) == (other.cpu_millis, other.memory)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sized(request: &str, limit: &str) -> Value {
        json!({"requests": {"cpu": request}, "limits": {"cpu": limit}})
    }

    fn pod(asked: Value, status: Value, conditions: Value) -> Arc<Pod> {
        let mut status = json!({"conditions": conditions, "containerStatuses": [status]});
        status["containerStatuses"][0]["name"] = "c".into();
        Arc::new(Pod::of(json!({"metadata": {"name": "p", "uid": "u"}, "status": status,
            "spec": {"containers": [{"name": "c", "resources": asked}]}})))
    }

    fn check(asked: Value, status: Value, waits: bool, granted: Value) {
        let conditions = if waits { json!([{"type": PENDING, "status": "True"}]) } else { json!([]) };
        let pod = pod(asked.clone(), status.clone(), conditions);
        let applied = Allocation::recalled(&pod).applied(&pod);
        assert_eq!(applied.main[0].value["resources"], granted, "{asked} {status} {waits}");
    }

    #[test]
    fn what_a_kubelet_before_us_granted() {
        check(sized("1", "2"), json!({}), false, sized("1", "2"));
        let told = json!({"allocatedResources": {"cpu": "1"}, "resources": sized("1", "2")});
        check(sized("1", "2"), told.clone(), false, sized("1", "2"));
        // More is asked than was granted.
        check(sized("3", "4"), told.clone(), false, sized("1", "2"));
        check(sized("3", "4"), told.clone(), true, sized("1", "2"));
        // The limit alone: granted, unless it waits.
        check(sized("1", "4"), told.clone(), false, sized("1", "4"));
        check(sized("1", "4"), told, true, sized("1", "2"));
        // A request that is new.
        let told = json!({"resources": {"limits": {"cpu": "2"}}});
        check(sized("1", "2"), told, false, json!({"limits": {"cpu": "2"}}));
    }

    #[test]
    fn a_pod_that_has_all_is_the_same_one() {
        let pod = pod(sized("1", "2"), json!({}), json!([]));
        assert!(Arc::ptr_eq(&Allocation::of(&pod).applied(&pod), &pod));
    }
}
