//! Priority: the number behind a pod's priority class, and at most one default class.

use api::status::{Qualified, Status};
use serde_json::{Value, json};

use super::{Attributes, name_of};
use crate::registry;
use crate::server::Server;

/// Known before their objects are made: name, value, and what for.
const SYSTEM: &[(&str, i64, &str)] = &[
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];
const LOWER: &str = "PreemptLowerPriority";

/// What a class gives.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Class {
    name: String,
    value: i64,
    preemption: String,
}

pub(super) fn admit(server: &Server, pod: &mut Value) -> Result<(), Status> {
    let mut classes = classes(server);
    let wanted = pod["spec"]["priorityClassName"].as_str().unwrap_or_default();
    if !wanted.is_empty() && !classes.iter().any(|(class, _)| class.name == wanted) {
        // Made a moment ago, perhaps: the store knows.
        let kind = server.registry.by_resource("scheduling.k8s.io", "v1", "priorityclasses");
        let (_, class) = registry::read(server, kind.ok_or_else(Status::no_such_path)?, wanted)?;
        classes.extend(class.as_ref().map(class_of));
    }
    give(pod, &classes)
}

/// The classes there are, and whether each is the default.
fn classes(server: &Server) -> Vec<(Class, bool)> {
    let Some(cache) = server.caches.named("scheduling.k8s.io", "priorityclasses") else { return Vec::new() };
    let (objects, _) = cache.list("");
    objects.iter().map(|object| class_of(&object.value())).collect()
}

/// A class, and whether it is the default.
fn class_of(object: &Value) -> (Class, bool) {
    let class = Class {
        name: name_of(object).to_owned(),
        value: object["value"].as_i64().unwrap_or(0),
        preemption: object["preemptionPolicy"].as_str().unwrap_or(LOWER).to_owned(),
    };
    (class, object["globalDefault"] == true)
}

fn give(pod: &mut Value, classes: &[(Class, bool)]) -> Result<(), Status> {
    let refused = |pod: &Value, why: String| {
        Err(Status::forbidden(Qualified { group: "", name: "pods" }, name_of(pod), why))
    };
    let wanted = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
    let system = SYSTEM.iter().find(|(name, ..)| *name == wanted);
    let class = match (wanted.as_str(), system) {
        // Of several defaults the lowest counts.
        ("", _) => classes
            .iter()
            .filter(|(_, default)| *default)
            .map(|(class, _)| class.clone())
            .min_by_key(|c| c.value),
        (_, Some((name, value, _))) => {
            Some(Class { name: (*name).to_owned(), value: *value, preemption: LOWER.to_owned() })
        }
        (name, None) => match classes.iter().find(|(class, _)| class.name == name) {
            Some((class, _)) => Some(class.clone()),
            None => return refused(pod, format!("no PriorityClass with name {name} was found")),
        },
    };
    let priority = class.as_ref().map_or(0, |class| class.value);
    if let Some(given) = pod["spec"]["priority"].as_i64().filter(|given| *given != priority) {
        return refused(
            pod,
            format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
            ),
        );
    }
    let preemption = class.as_ref().map_or(LOWER, |class| class.preemption.as_str());
    if let Some(given) = pod["spec"]["preemptionPolicy"].as_str().filter(|given| *given != preemption) {
        return refused(
            pod,
            format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {preemption} from the given PriorityClass name"
            ),
        );
    }
    pod["spec"]["priority"] = priority.into();
    pod["spec"]["preemptionPolicy"] = preemption.into();
    if let Some(class) = class.filter(|_| wanted.is_empty()) {
        pod["spec"]["priorityClassName"] = class.name.into();
    }
    Ok(())
}

/// The classes that every cluster has.
pub fn system_classes() -> Vec<Value> {
    let class = |(name, value, text): &(&str, i64, &str)| json!({"metadata": {"name": name}, "value": value, "description": text});
    SYSTEM.iter().map(class).collect()
}

/// They stay.
pub(super) fn protect(attributes: &Attributes<'_>) -> Result<(), Status> {
    let name = attributes.old.map(name_of).unwrap_or_default();
    if !SYSTEM.iter().any(|(known, ..)| *known == name) {
        return Ok(());
    }
    let why = "this is a system priority class and cannot be deleted";
    Err(Status::forbidden(attributes.kind.qualified_resource(), name, why))
}

/// There is one default class.
pub(super) fn check_class(server: &Server, attributes: &Attributes<'_>, class: &Value) -> Result<(), Status> {
    if class["globalDefault"] != true {
        return Ok(());
    }
    let other = classes(server).into_iter().find(|(known, default)| *default && known.name != name_of(class));
    match other {
        None => Ok(()),
        Some((other, _)) => {
            let why = format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                other.name
            );
            Err(Status::forbidden(attributes.kind.qualified_resource(), name_of(class), why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_gives_its_number() {
        let class = |name: &str, value, preemption: &str| Class {
            name: name.into(),
            value,
            preemption: preemption.into(),
        };
        let classes = [(class("high", 9, "Never"), false), (class("usual", 3, LOWER), true)];
        let given = |spec: Value| {
            let mut pod = json!({"metadata": {"name": "p"}, "spec": spec});
            give(&mut pod, &classes).map(|()| pod["spec"].clone()).map_err(|status| status.message)
        };
        assert_eq!(
            given(json!({"priorityClassName": "high"})).unwrap(),
            json!({"priorityClassName": "high", "priority": 9, "preemptionPolicy": "Never"})
        );
        assert_eq!(given(json!({})).unwrap()["priorityClassName"], "usual");
        assert_eq!(
            given(json!({"priorityClassName": "no"})).unwrap_err(),
            "pods \"p\" is forbidden: no PriorityClass with name no was found"
        );
        assert!(given(json!({"priorityClassName": "high", "priority": 1})).is_err());
        assert_eq!(
            given(json!({"priorityClassName": "system-node-critical"})).unwrap()["priority"],
            2_000_001_000_i64
        );
    }
}
