//! What an object uses up of a ResourceQuota: which resources, how much, and whether a quota is about it at all.
//!
//! Not the counting over a namespace (the controller), nor the refusal (admission); both use this, so that they agree.
//!
//! Invariant: amounts are exact; an object that a quota's scopes leave out uses nothing of it.
//! Reference: ResourceQuota of core/v1, `count/<resource>.<group>`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kind::Kind;
use crate::pod_size;
use crate::quantity::Quantity;

/// Amounts by the name of the resource.
pub type Usage = BTreeMap<String, Quantity>;

/// Resources of a pod that a quota may name without `requests.`.
const SHORT: &[&str] = &["cpu", "memory", "ephemeral-storage"];

/// What one object uses; nothing for kinds that are only counted where a quota names them (see [`counted`]).
pub fn usage(kind: &Kind, object: &Value) -> Usage {
    let mut usage = Usage::new();
    let mut add = |name: &str, amount: Quantity| {
        let sum = usage.get(name).map_or(amount, |known| *known + amount);
        usage.insert(name.to_owned(), sum);
    };
    let one = Quantity::from_units(1, crate::quantity::Format::DecimalSi);
    match (kind.group, kind.resource) {
        ("", "pods") => {
            add(&counted(kind), one);
            if !is_over(object) {
                add("pods", one);
                pod(object, &mut add);
            }
            return usage;
        }
        ("", "services") => service(object, &mut add),
        ("", "persistentvolumeclaims") => claim(object, &mut add),
        _ => {}
    }
    add(&counted(kind), one);
    if kind.group.is_empty() {
        let known = [
            "services",
            "secrets",
            "configmaps",
            "replicationcontrollers",
            "resourcequotas",
            "persistentvolumeclaims",
        ];
        if known.contains(&kind.resource) {
            add(kind.resource, one);
        }
    }
    usage
}

/// `count/deployments.apps`.
pub fn counted(kind: &Kind) -> String {
    if kind.group.is_empty() {
        format!("count/{}", kind.resource)
    } else {
        format!("count/{}.{}", kind.resource, kind.group)
    }
}

/// A pod that has ended uses no machine any more.
fn is_over(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

fn pod(pod: &Value, add: &mut impl FnMut(&str, Quantity)) {
    let spec = pod_size::counted(pod);
    for (name, amount) in pod_amounts(&spec, "requests") {
        if SHORT.contains(&name.as_str()) || name.starts_with("hugepages-") {
            add(&name, amount);
        }
        add(&format!("requests.{name}"), amount);
    }
    for (name, amount) in pod_amounts(&spec, "limits") {
        if SHORT.contains(&name.as_str()) {
            add(&format!("limits.{name}"), amount);
        }
    }
}

fn service(service: &Value, add: &mut impl FnMut(&str, Quantity)) {
    let count = |number: usize| Quantity::from_units(number as i64, crate::quantity::Format::DecimalSi);
    let ports = service["spec"]["ports"].as_array().map_or(0, Vec::len);
    match service["spec"]["type"].as_str() {
        Some("NodePort") => add("services.nodeports", count(ports)),
        Some("LoadBalancer") => {
            add("services.loadbalancers", count(1));
            let ports = if service["spec"]["allocateLoadBalancerNodePorts"] == false {
                let given = service["spec"]["ports"].as_array().into_iter().flatten();
                given.filter(|port| port["nodePort"].as_i64().is_some_and(|port| port > 0)).count()
            } else {
                ports
            };
            add("services.nodeports", count(ports));
        }
        _ => {}
    }
}

fn claim(claim: &Value, add: &mut impl FnMut(&str, Quantity)) {
    let asked = &claim["spec"]["resources"]["requests"]["storage"];
    let amount = asked.as_str().and_then(|text| Quantity::parse(text).ok());
    let class = claim["spec"]["storageClassName"].as_str().filter(|class| !class.is_empty());
    let one = Quantity::from_units(1, crate::quantity::Format::DecimalSi);
    if let Some(amount) = amount {
        add("requests.storage", amount);
    }
    if let Some(class) = class {
        let prefix = format!("{class}.storageclass.storage.k8s.io");
        add(&format!("{prefix}/persistentvolumeclaims"), one);
        if let Some(amount) = amount {
            add(&format!("{prefix}/requests.storage"), amount);
        }
    }
}

/// What a pod asks for as a whole: containers together, or the largest init container with the sidecars before it,
/// and the overhead.
pub fn pod_amounts(spec: &Value, part: &str) -> Usage {
    let amounts = |container: &Value| -> Usage {
        let map = container["resources"][part].as_object().into_iter().flatten();
        map.filter_map(|(name, text)| Some((name.clone(), Quantity::parse(text.as_str()?).ok()?))).collect()
    };
    let mut running = Usage::new();
    let mut highest = Usage::new();
    for container in spec["initContainers"].as_array().into_iter().flatten() {
        let own = amounts(container);
        if container["restartPolicy"] == "Always" {
            sum(&mut running, &own);
            most(&mut highest, &running);
        } else {
            let mut then = running.clone();
            sum(&mut then, &own);
            most(&mut highest, &then);
        }
    }
    for container in spec["containers"].as_array().into_iter().flatten() {
        sum(&mut running, &amounts(container));
    }
    most(&mut running, &highest);
    // What is said of the pod as a whole counts instead.
    for (name, amount) in amounts(spec) {
        running.insert(name, amount);
    }
    for (name, text) in spec["overhead"].as_object().into_iter().flatten() {
        if let Some(amount) = text.as_str().and_then(|text| Quantity::parse(text).ok())
            && (part == "requests" || running.contains_key(name))
        {
            sum(&mut running, &Usage::from([(name.clone(), amount)]));
        }
    }
    running
}

/// Adds the amounts of one to another.
pub fn sum(to: &mut Usage, more: &Usage) {
    for (name, amount) in more {
        let sum = to.get(name).map_or(*amount, |known| *known + *amount);
        to.insert(name.clone(), sum);
    }
}

fn most(to: &mut Usage, other: &Usage) {
    for (name, amount) in other {
        if to.get(name).is_none_or(|known| *known < *amount) {
            to.insert(name.clone(), *amount);
        }
    }
}

/// Whether a quota's scopes let it be about the object.
pub fn matches(quota: &Value, kind: &Kind, object: &Value) -> bool {
    let spec = &quota["spec"];
    let scopes = spec["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let plain = scopes.map(|scope| (scope, "Exists", Vec::new()));
    let chosen =
        spec["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten().map(|expression| {
            let values =
                expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let text = |field: &str| expression[field].as_str().unwrap_or_default();
            (text("scopeName"), text("operator"), values)
        });
    plain.chain(chosen).all(|(scope, operator, values)| in_scope(scope, operator, &values, kind, object))
}

fn in_scope(scope: &str, operator: &str, values: &[&str], kind: &Kind, object: &Value) -> bool {
    let one_of = |value: Option<&str>| match operator {
        "In" => value.is_some_and(|value| values.contains(&value)),
        "NotIn" => value.is_none_or(|value| !values.contains(&value)),
        "DoesNotExist" => value.is_none(),
        _ => value.is_some(),
    };
    if kind.resource == "persistentvolumeclaims" {
        return scope == "VolumeAttributesClass"
            && one_of(object["spec"]["volumeAttributesClassName"].as_str());
    }
    if (kind.group, kind.resource) != ("", "pods") {
        return false;
    }
    let spec = &object["spec"];
    let terminating = spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0);
    let best_effort = || pod_amounts(spec, "requests").is_empty() && pod_amounts(spec, "limits").is_empty();
    match scope {
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "PriorityClass" => one_of(spec["priorityClassName"].as_str().filter(|name| !name.is_empty())),
        "CrossNamespacePodAffinity" => reaches_out(spec),
        _ => false,
    }
}

fn reaches_out(spec: &Value) -> bool {
    let terms = ["podAffinity", "podAntiAffinity"].into_iter().flat_map(|kind| {
        let affinity = &spec["affinity"][kind];
        let required = affinity["requiredDuringSchedulingIgnoredDuringExecution"].as_array();
        let preferred = affinity["preferredDuringSchedulingIgnoredDuringExecution"].as_array();
        let preferred = preferred.into_iter().flatten().map(|term| &term["podAffinityTerm"]);
        required.into_iter().flatten().chain(preferred)
    });
    let mut terms = terms;
    terms.any(|term| {
        term["namespaces"].as_array().is_some_and(|names| !names.is_empty())
            || term["namespaceSelector"].is_object()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Registry;
    use serde_json::json;

    fn check(group: &str, resource: &str, object: Value, expect: &[(&str, &str)]) {
        let kind = Registry::builtin().by_resource(group, "v1", resource).unwrap();
        let usage: Vec<(String, String)> =
            usage(kind, &object).into_iter().map(|(name, amount)| (name, amount.to_string())).collect();
        let expect: Vec<(String, String)> =
            expect.iter().map(|(name, amount)| ((*name).to_owned(), (*amount).to_owned())).collect();
        assert_eq!(usage, expect, "{object}");
    }

    #[test]
    fn what_objects_use() {
        let container =
            |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}, "limits": {"memory": "1Gi"}}});
        let mut sidecar = container("300m");
        sidecar["restartPolicy"] = "Always".into();
        check(
            "",
            "pods",
            json!({"spec": {"initContainers": [sidecar, container("1")], "containers": [container("500m")]}}),
            &[
                ("count/pods", "1"),
                ("cpu", "1300m"),
                ("limits.memory", "2Gi"),
                ("pods", "1"),
                ("requests.cpu", "1300m"),
            ],
        );
        // One that gives back what it has, and still has it.
        let status = json!({"containerStatuses": [{"name": "c", "allocatedResources": {"cpu": "2"}, "resources": {}}]});
        let mut shrinks = container("1");
        shrinks["name"] = "c".into();
        check(
            "",
            "pods",
            json!({"spec": {"containers": [shrinks]}, "status": status}),
            &[
                ("count/pods", "1"),
                ("cpu", "2"),
                ("limits.memory", "1Gi"),
                ("pods", "1"),
                ("requests.cpu", "2"),
            ],
        );
        check("", "pods", json!({"status": {"phase": "Failed"}}), &[("count/pods", "1")]);
        check(
            "",
            "services",
            json!({"spec": {"type": "LoadBalancer", "ports": [{}, {}]}}),
            &[
                ("count/services", "1"),
                ("services", "1"),
                ("services.loadbalancers", "1"),
                ("services.nodeports", "2"),
            ],
        );
        check("apps", "deployments", json!({}), &[("count/deployments.apps", "1")]);
        check(
            "",
            "persistentvolumeclaims",
            json!({"spec": {"storageClassName": "s", "resources": {"requests": {"storage": "3Gi"}}}}),
            &[
                ("count/persistentvolumeclaims", "1"),
                ("persistentvolumeclaims", "1"),
                ("requests.storage", "3Gi"),
                ("s.storageclass.storage.k8s.io/persistentvolumeclaims", "1"),
                ("s.storageclass.storage.k8s.io/requests.storage", "3Gi"),
            ],
        );
    }

    #[test]
    fn scopes() {
        let pods = Registry::builtin().by_resource("", "v1", "pods").unwrap();
        let busy = json!({"spec": {"activeDeadlineSeconds": 5, "priorityClassName": "high",
            "containers": [{"resources": {"requests": {"cpu": "1"}}}]}});
        let idle = json!({"spec": {"containers": [{}]}});
        let chosen = json!({"spec": {"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}});
        for (quota, busy_matches, idle_matches) in [
            (json!({"spec": {}}), true, true),
            (json!({"spec": {"scopes": ["Terminating"]}}), true, false),
            (json!({"spec": {"scopes": ["NotTerminating", "BestEffort"]}}), false, true),
            (json!({"spec": {"scopes": ["NotBestEffort"]}}), true, false),
            (chosen, true, false),
        ] {
            assert_eq!(matches(&quota, pods, &busy), busy_matches, "{quota}");
            assert_eq!(matches(&quota, pods, &idle), idle_matches, "{quota}");
        }
    }
}
