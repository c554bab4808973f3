//! Which slices to make, change and drop. Pure.
//!
//! As few writes as possible: an endpoint stays in its slice, new ones fill slices that change anyway, then those
//! with room, then new ones.

use client::Resource;
use serde_json::{Map, Value, json};

use super::endpoints::{Group, inherited};
use crate::fields::{controller_reference, list, map, text};
use crate::slice_steps::Step;

pub(super) const MANAGER: &str = "endpointslice-controller.k8s.io";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const SERVICE: &str = "kubernetes.io/service-name";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Endpoints in a slice.
const MOST: usize = 100;

/// The Service that a slice belongs to.
pub(super) fn service_of(slice: &Value) -> Option<&str> {
    map(slice, "/metadata/labels")?.get(SERVICE)?.as_str()
}

pub(super) fn plan(service: &Value, desired: &[Group], observed: &[Value]) -> Vec<Step> {
    let labels = labels(service);
    let mut unused: Vec<&Value> = observed.iter().collect();
    let mut steps = Vec::new();
    for group in desired {
        let fits = |slice: &&Value| {
            text(slice, "/addressType") == group.family
                && (list(slice, "/ports") == list(&group.ports, "")
                    || (group.endpoints.is_empty() && list(slice, "/endpoints").is_empty()))
        };
        let (mine, rest): (Vec<&Value>, Vec<&Value>) = unused.into_iter().partition(fits);
        unused = rest;
        steps.extend(fill(service, group, &labels, &mine));
    }
    steps.extend(unused.into_iter().map(gone));
    steps
}

/// Spreads a group's endpoints over its slices.
fn fill(service: &Value, group: &Group, labels: &Map<String, Value>, slices: &[&Value]) -> Vec<Step> {
    let mut waiting: Vec<&Value> = group.endpoints.iter().collect();
    let mut drafts: Vec<(&Value, Vec<Value>)> = Vec::new();
    for slice in slices {
        let mut kept = Vec::new();
        for known in list(slice, "/endpoints") {
            let same = |endpoint: &&Value| {
                endpoint["targetRef"]["uid"] == known["targetRef"]["uid"]
                    && endpoint["addresses"] == known["addresses"]
            };
            if let Some(at) = waiting.iter().position(same) {
                kept.push(waiting.remove(at).clone());
            }
        }
        drafts.push((slice, kept));
    }
    let changes = |(slice, kept): &(&Value, Vec<Value>)| list(slice, "/endpoints") != kept.as_slice();
    // Slices that change anyway first, then the fullest: they become full soonest.
    drafts.sort_by_key(|draft| (!changes(draft), MOST.saturating_sub(draft.1.len())));
    let mut waiting = waiting.into_iter().cloned();
    for (_, kept) in &mut drafts {
        kept.extend(waiting.by_ref().take(MOST.saturating_sub(kept.len())));
    }
    let mut steps = Vec::new();
    let mut left = 0;
    for (slice, endpoints) in drafts {
        // One empty slice stays for a Service without endpoints.
        if endpoints.is_empty() && (left > 0 || !group.endpoints.is_empty()) {
            steps.push(gone(slice));
            continue;
        }
        left += 1;
        let same = list(slice, "/endpoints") == endpoints.as_slice()
            && map(slice, "/metadata/labels") == Some(labels);
        if !same {
            let mut slice = slice.clone();
            slice["endpoints"] = endpoints.into();
            slice["metadata"]["labels"] = json!(labels);
            steps.push(Step::Update(slice));
        }
    }
    let rest: Vec<Value> = waiting.collect();
    steps.extend(rest.chunks(MOST).map(|chunk| Step::Create(slice(service, group, labels, chunk))));
    if left == 0 && group.endpoints.is_empty() {
        steps.push(Step::Create(slice(service, group, labels, &[])));
    }
    steps
}

fn gone(slice: &Value) -> Step {
    Step::Delete {
        name: text(slice, "/metadata/name").to_owned(),
        uid: text(slice, "/metadata/uid").to_owned(),
    }
}

fn slice(service: &Value, group: &Group, labels: &Map<String, Value>, endpoints: &[Value]) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "generateName": format!("{}-", text(service, "/metadata/name")),
            "namespace": text(service, "/metadata/namespace"),
            "labels": labels,
            "ownerReferences": [controller_reference(&Resource::SERVICES, service)],
        },
        "addressType": group.family, "endpoints": endpoints, "ports": group.ports,
    })
}

fn labels(service: &Value) -> Map<String, Value> {
    let mut labels = inherited(service);
    labels.shift_remove(HEADLESS);
    labels.insert(SERVICE.into(), text(service, "/metadata/name").into());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    if text(service, "/spec/clusterIP") == "None" {
        labels.insert(HEADLESS.into(), "".into());
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Value {
        json!({"metadata": {"name": "s", "namespace": "n", "uid": "S"}, "spec": {}})
    }

    fn group(names: &[String]) -> Group {
        let endpoint = |name: &String| json!({"addresses": [name], "targetRef": {"uid": name}});
        Group {
            family: "IPv4".into(),
            ports: json!([{"port": 80}]),
            endpoints: names.iter().map(endpoint).collect(),
        }
    }

    fn names(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|n| n.to_string()).collect()
    }

    fn existing(name: &str, of: &[String]) -> Value {
        let group = group(of);
        let mut slice = slice(&service(), &group, &labels(&service()), &group.endpoints);
        slice["metadata"]["name"] = name.into();
        slice
    }

    /// Steps in short.
    fn check(wanted: &[String], observed: &[Value], expect: &[&str]) {
        let steps = plan(&service(), &[group(wanted)], observed);
        let short: Vec<String> = steps
            .iter()
            .map(|step| match step {
                Step::Create(slice) => format!("+{}", list(slice, "/endpoints").len()),
                Step::Update(slice) => {
                    format!("{}={}", text(slice, "/metadata/name"), list(slice, "/endpoints").len())
                }
                Step::Delete { name, .. } => format!("-{name}"),
            })
            .collect();
        assert_eq!(short, expect);
    }

    #[test]
    fn few_writes() {
        check(&names(0..3), &[], &["+3"]);
        check(&names(0..250), &[], &["+100", "+100", "+50"]);
        check(&names(0..3), &[existing("a", &names(0..3))], &[]);
        check(&names(0..4), &[existing("a", &names(0..3))], &["a=4"]);
        check(&names(1..3), &[existing("a", &names(0..3))], &["a=2"]);
        check(&names(0..101), &[existing("a", &names(0..100))], &["+1"]);
        check(&names(0..2), &[existing("a", &names(0..2)), existing("b", &names(2..3))], &["-b"]);
        check(&[], &[existing("a", &names(0..2))], &["a=0"]);
        check(&[], &[], &["+0"]);
        check(&[], &[existing("a", &[])], &[]);
    }
}
