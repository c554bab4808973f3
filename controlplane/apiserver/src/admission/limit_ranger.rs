//! LimitRanger: what a namespace's LimitRanges give to containers that say nothing, and refuse of those that say too
//! much or too little.
//!
//! Reference: upstream's plugin of that name, its annotation and its sentences.

use std::collections::BTreeMap;

use api::quantity::Quantity;
use api::quota::{Usage, pod_amounts};
use api::status::Status;
use serde_json::Value;

use super::{Attributes, Operation, name_of};
use crate::server::Server;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

pub(super) fn admit(server: &Server, attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let kind = attributes.kind;
    let Some(ranges) = server.caches.named("", "limitranges") else { return Ok(()) };
    let (ranges, _) = ranges.list(&attributes.request.info.namespace);
    if ranges.is_empty() {
        return Ok(());
    }
    let ranges: Vec<Value> = ranges.iter().map(|range| range.value()).collect();
    let mut wrong = Vec::new();
    for range in &ranges {
        if kind.resource == "pods" {
            if attributes.operation == Operation::Create {
                fill_in(range, object);
            }
            check_pod(range, object, &mut wrong);
        } else {
            check_claim(range, object, &mut wrong);
        }
    }
    match wrong.as_slice() {
        [] => Ok(()),
        [one] => Err(Status::forbidden(kind.qualified_resource(), name_of(object), one)),
        many => {
            let why = format!("[{}]", many.join(", "));
            Err(Status::forbidden(kind.qualified_resource(), name_of(object), why))
        }
    }
}

/// Whether a request is one that LimitRanger looks at.
pub(super) fn concerns(attributes: &Attributes<'_>) -> bool {
    let info = &attributes.request.info;
    let what = (attributes.kind.group, attributes.kind.resource);
    let whole = info.subresource.is_empty() && what == ("", "persistentvolumeclaims");
    // Pods do not change their resources except by a resize.
    let pods = what == ("", "pods")
        && ((attributes.operation == Operation::Create && info.subresource.is_empty())
            || info.subresource == "resize");
    attributes.operation != Operation::Delete && (whole || pods)
}

fn limits(range: &Value) -> impl Iterator<Item = &Value> {
    range["spec"]["limits"].as_array().into_iter().flatten()
}

fn amounts(map: &Value) -> Usage {
    let entries = map.as_object().into_iter().flatten();
    entries.filter_map(|(name, text)| Some((name.clone(), Quantity::parse(text.as_str()?).ok()?))).collect()
}

/// Requests and limits of containers that have none.
fn fill_in(range: &Value, pod: &mut Value) {
    let (mut requests, mut most) = (Value::Null, Value::Null);
    for limit in limits(range).filter(|limit| limit["type"] == "Container") {
        merge(&mut requests, &limit["defaultRequest"]);
        merge(&mut most, &limit["default"]);
    }
    let mut told = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            for (part, defaults, word) in [("requests", &requests, "request"), ("limits", &most, "limit")] {
                let set = set_missing(container, part, defaults);
                if !set.is_empty() {
                    told.push(format!("{} {word} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !told.is_empty() {
        let annotation = format!("LimitRanger plugin set: {}", told.join("; "));
        if !pod["metadata"]["annotations"].is_object() {
            pod["metadata"]["annotations"] = serde_json::json!({});
        }
        pod["metadata"]["annotations"][ANNOTATION] = annotation.into();
    }
}

fn merge(to: &mut Value, more: &Value) {
    for (name, amount) in more.as_object().into_iter().flatten() {
        if to.get(name).is_none() {
            to[name] = amount.clone();
        }
    }
}

fn set_missing(container: &mut Value, part: &str, defaults: &Value) -> Vec<String> {
    let mut set = Vec::new();
    for (name, amount) in defaults.as_object().into_iter().flatten() {
        if container["resources"][part].get(name).is_none() {
            container["resources"][part][name] = amount.clone();
            set.push(name.clone());
        }
    }
    set.sort_unstable();
    set
}

fn check_pod(range: &Value, pod: &Value, wrong: &mut Vec<String>) {
    for limit in limits(range) {
        match limit["type"].as_str() {
            Some("Container") => {
                let lists = ["initContainers", "containers"];
                for container in lists.iter().flat_map(|list| pod["spec"][*list].as_array()).flatten() {
                    let resources = &container["resources"];
                    check(
                        limit,
                        "Container",
                        &amounts(&resources["requests"]),
                        &amounts(&resources["limits"]),
                        wrong,
                    );
                }
            }
            Some("Pod") => {
                let (requests, limits) =
                    (pod_amounts(&pod["spec"], "requests"), pod_amounts(&pod["spec"], "limits"));
                check(limit, "Pod", &requests, &limits, wrong);
            }
            _ => {}
        }
    }
}

fn check(limit: &Value, kind: &str, requests: &Usage, limits: &Usage, wrong: &mut Vec<String>) {
    for (name, least) in amounts(&limit["min"]) {
        match (requests.get(&name), limits.get(&name)) {
            (None, _) => {
                wrong.push(format!("minimum {name} usage per {kind} is {least}.  No request is specified"));
            }
            (Some(asked), _) if *asked < least => {
                wrong.push(format!("minimum {name} usage per {kind} is {least}, but request is {asked}"));
            }
            (_, Some(most)) if *most < least => {
                wrong.push(format!("minimum {name} usage per {kind} is {least}, but limit is {most}"));
            }
            _ => {}
        }
    }
    for (name, most) in amounts(&limit["max"]) {
        match (requests.get(&name), limits.get(&name)) {
            (_, None) => {
                wrong.push(format!("maximum {name} usage per {kind} is {most}.  No limit is specified"))
            }
            (_, Some(given)) if *given > most => {
                wrong.push(format!("maximum {name} usage per {kind} is {most}, but limit is {given}"));
            }
            (Some(asked), _) if *asked > most => {
                wrong.push(format!("maximum {name} usage per {kind} is {most}, but request is {asked}"));
            }
            _ => {}
        }
    }
    for (name, most) in amounts(&limit["maxLimitRequestRatio"]) {
        ratio(&name, kind, most, requests.get(&name), limits.get(&name), wrong);
    }
}

fn ratio(
    name: &str,
    kind: &str,
    most: Quantity,
    asked: Option<&Quantity>,
    limit: Option<&Quantity>,
    wrong: &mut Vec<String>,
) {
    let start = format!("{name} max limit to request ratio per {kind} is {most}, but ");
    match (asked.filter(|asked| !asked.is_zero()), limit.filter(|limit| !limit.is_zero())) {
        (None, _) => wrong.push(format!("{start}no request is specified or request is 0")),
        (_, None) => wrong.push(format!("{start}no limit is specified or limit is 0")),
        (Some(asked), Some(limit)) => {
            let given = limit.millis() as f64 / asked.millis() as f64;
            if given > most.millis() as f64 / 1000.0 {
                wrong.push(format!("{start}provided ratio is {given:.6}"));
            }
        }
    }
}

fn check_claim(range: &Value, claim: &Value, wrong: &mut Vec<String>) {
    let asked: BTreeMap<_, _> = amounts(&claim["spec"]["resources"]["requests"]);
    for limit in limits(range).filter(|limit| limit["type"] == "PersistentVolumeClaim") {
        let kind = "PersistentVolumeClaim";
        for (name, least) in amounts(&limit["min"]) {
            match asked.get(&name) {
                None => wrong
                    .push(format!("minimum {name} usage per {kind} is {least}.  No request is specified")),
                Some(given) if *given < least => {
                    wrong.push(format!("minimum {name} usage per {kind} is {least}, but request is {given}"));
                }
                Some(_) => {}
            }
        }
        for (name, most) in amounts(&limit["max"]) {
            match asked.get(&name) {
                None => {
                    wrong.push(format!("maximum {name} usage per {kind} is {most}.  No request is specified"))
                }
                Some(given) if *given > most => {
                    wrong.push(format!("maximum {name} usage per {kind} is {most}, but request is {given}"));
                }
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_fill_what_is_missing() {
        let range = json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": "500m", "memory": "1Gi"},
            "defaultRequest": {"cpu": "100m"}}]}});
        let mut pod = json!({"metadata": {}, "spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": "1"}}}]}});
        fill_in(&range, &mut pod);
        let resources = &pod["spec"]["containers"][0]["resources"];
        assert_eq!(*resources, json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}}));
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container a; memory limit for container a"
        );
        assert!(pod["spec"].get("initContainers").is_none());
    }

    #[test]
    fn bounds_hold() {
        let pod = |request: &str, limit: &str| json!({"spec": {"containers": [{"resources": {"requests": {"cpu": request}, "limits": {"cpu": limit}}}]}});
        let range = |bounds: Value| {
            let mut limit = bounds;
            limit["type"] = "Container".into();
            json!({"spec": {"limits": [limit]}})
        };
        for (bounds, object, expect) in [
            (
                json!({"min": {"cpu": "100m"}}),
                pod("50m", "1"),
                vec!["minimum cpu usage per Container is 100m, but request is 50m"],
            ),
            (
                json!({"max": {"cpu": "1"}}),
                pod("1", "2"),
                vec!["maximum cpu usage per Container is 1, but limit is 2"],
            ),
            (
                json!({"max": {"memory": "1Gi"}}),
                pod("1", "2"),
                vec!["maximum memory usage per Container is 1Gi.  No limit is specified"],
            ),
            (
                json!({"maxLimitRequestRatio": {"cpu": "2"}}),
                pod("500m", "2"),
                vec!["cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000"],
            ),
            (json!({"min": {"cpu": "1"}, "max": {"cpu": "2"}}), pod("1", "2"), vec![]),
        ] {
            let mut wrong = Vec::new();
            check_pod(&range(bounds), &object, &mut wrong);
            assert_eq!(wrong, expect);
        }
    }
}
