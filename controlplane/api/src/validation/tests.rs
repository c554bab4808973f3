//! Objects and the exact complaints about them, one table per area.

mod admission;
mod autoscaler;
mod batch;
mod certificates;
mod configuration;
mod devices;
mod flow_control;
mod ingress;
mod metadata;
mod network;
mod pods;
mod pods_spec;
mod pods_update;
mod quotas;
mod stateful;
mod storage;
mod volumes;
mod warnings;
mod workloads;

use serde_json::{Value, json};

use crate::defaulting;
use crate::kind::{Kind, builtin};
use crate::{schema, validation};

/// What is special, how the base is changed for it, what is said.
type Case<'a> = (&'a str, Vec<(&'a str, Value)>, &'a [&'a str]);
/// The same with the object before the change.
type UpdateCase<'a> = (&'a str, &'a Value, Vec<(&'a str, Value)>, &'a [&'a str]);

pub(super) fn kind(group: &str, name: &str) -> &'static Kind {
    builtin().find(|kind| (kind.group, kind.kind) == (group, name)).expect("a built-in kind")
}

/// The object as validation gets it: canonical and with defaults.
pub(super) fn settled(kind: &Kind, object: Value) -> Value {
    let schema = schema::find(kind.schema).expect("a schema");
    let mut object = schema::canonical(object, schema).expect("well typed");
    defaulting::apply(kind, &mut object);
    object
}

/// `base` with the values at JSON pointers replaced; null removes.
pub(super) fn with(base: &Value, changes: &[(&str, Value)]) -> Value {
    let mut object = base.clone();
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        let mut at = &mut object;
        for part in parent.split('/').skip(1) {
            let part = part.replace("~1", "/");
            at = match part.parse::<usize>() {
                Ok(index) if at.is_array() => &mut at[index],
                _ => &mut at[part.as_str()],
            };
        }
        let name = name.replace("~1", "/");
        match (at, value) {
            (Value::Array(items), value) => items.push(value.clone()),
            (at, Value::Null) => drop(at.as_object_mut().map(|fields| fields.shift_remove(&name))),
            (at, value) => at[name.as_str()] = value.clone(),
        }
    }
    object
}

/// What creation says about an object.
pub(super) fn created(group: &str, name: &str, object: Value) -> Vec<String> {
    let kind = kind(group, name);
    let errors = validation::create(kind, &settled(kind, object));
    errors.iter().map(ToString::to_string).collect()
}

/// The version in which autoscalers are stored.
pub(super) fn autoscaler_kind() -> &'static Kind {
    let mut all = builtin().filter(|kind| kind.kind == "HorizontalPodAutoscaler");
    all.find(|kind| kind.version == "v2").expect("a built-in kind")
}

/// As [`created`], of a kind that has several versions.
pub(super) fn created_as(kind: &Kind, object: Value) -> Vec<String> {
    validation::create(kind, &settled(kind, object)).iter().map(ToString::to_string).collect()
}

/// What an update says. The old object is the base; both get a resourceVersion.
pub(super) fn updated(group: &str, name: &str, subresource: &str, new: Value, old: Value) -> Vec<String> {
    let kind = kind(group, name);
    let stamp = |object: Value| {
        let stamped = with(&object, &[("/metadata/resourceVersion", json!("1"))]);
        settled(kind, stamped)
    };
    let errors = validation::update(kind, subresource, &stamp(new), &stamp(old));
    errors.iter().map(ToString::to_string).collect()
}

/// Compares; a wanted text that ends in `...` is only a beginning.
pub(super) fn expect(what: &str, got: &[String], wanted: &[&str]) {
    let same = got.len() == wanted.len()
        && got.iter().zip(wanted).all(|(got, wanted)| match wanted.strip_suffix("...") {
            Some(start) => got.starts_with(start),
            None => got == wanted,
        });
    assert!(same, "{what}\n got: {got:#?}\nwant: {wanted:#?}");
}

/// Any odd shape is survived: every field of a kind replaced by something else.
#[test]
fn no_object_panics() {
    let odd = [json!(null), json!("x"), json!(-1), json!([]), json!({}), json!([null]), json!([{}])];
    for kind in builtin() {
        for value in &odd {
            let mut object = json!({"metadata": value, "spec": value, "status": value, "data": value,
                "rules": value, "subjects": value, "roleRef": value, "subsets": value, "endpoints": value,
                "ports": value, "target": value});
            let _ = validation::create(kind, &object);
            object["spec"] = json!({"containers": [value], "initContainers": [value], "volumes": [value],
                "ephemeralContainers": [value], "affinity": value, "securityContext": value,
                "template": {"metadata": value, "spec": value}, "selector": value, "ports": [value],
                "strategy": value, "tolerations": [value], "dnsConfig": value});
            for sub in ["", "status", "finalize", "scale", "binding", "ephemeralcontainers", "resize"] {
                let _ = validation::update(kind, sub, &object, &json!({}));
                let _ = validation::update(kind, sub, &json!({}), &object);
                let _ = validation::update(kind, sub, &object, &object);
            }
            let _ = validation::warnings(kind, &object);
        }
    }
}

/// Lists as long as a request can hold: what is compared with each other must not cost their product.
#[test]
fn long_lists_cost_no_more_than_their_length() {
    const MANY: usize = 5_000;
    let list = |one: fn(usize) -> Value| Value::from((0..MANY).map(one).collect::<Vec<_>>());
    let named = |what: &'static str| move |index: usize| format!("{what}{index}");
    let names: Vec<String> = (0..MANY).map(named("n")).collect();
    let pod = json!({
        "metadata": {"name": "p", "namespace": "n", "resourceVersion": "1",
            "ownerReferences": list(|i| json!({"apiVersion": "v1", "kind": "A", "name": format!("{i}"), "uid": "u", "controller": true})),
            "finalizers": list(|i| json!(format!("a/{i}"))),
            "annotations": (0..MANY).map(|i| (format!("container.apparmor.security.beta.kubernetes.io/{i}"), "unconfined".into()))
                .collect::<serde_json::Map<String, Value>>()},
        "spec": {
            "volumes": list(|i| match i % 2 {
                0 => json!({"name": format!("v{i}"), "ephemeral": {"volumeClaimTemplate": {}}}),
                _ => json!({"name": format!("v{i}"), "persistentVolumeClaim": {"claimName": format!("c{i}")}}),
            }),
            "containers": [{"name": "c", "image": "i",
                "volumeMounts": list(|i| json!({"name": format!("v{}", i % MANY), "mountPath": format!("/{i}")})),
                "volumeDevices": list(|i| json!({"name": format!("v{i}"), "devicePath": format!("/d{i}")})),
                "resources": {"claims": list(|i| json!({"name": format!("q{i}")}))},
                "env": list(|i| json!({"name": "A", "valueFrom": {"fileKeyRef": {"key": "k", "volumeName": format!("v{i}"), "path": "x"}}}))}],
            "initContainers": list(|i| {
                let requests = json!({format!("a.b/{i}"): "1"});
                json!({"name": format!("i{i}"), "image": "i", "restartPolicy": "Always", "resources": {"requests": requests.clone(), "limits": requests}})
            }),
            "ephemeralContainers": list(|i| json!({"name": format!("e{i}"), "image": "i"})),
            "resources": {"requests": {"cpu": "1"}},
            "resourceClaims": list(|i| json!({"name": format!("r{i}"), "resourceClaimName": "x"})),
            "schedulingGates": list(|i| json!({"name": format!("g{i}")})),
            "tolerations": list(|i| json!({"key": format!("t{i}"), "operator": "Exists"})),
            "topologySpreadConstraints": list(|i| json!({"maxSkew": 1, "topologyKey": format!("k{i}"), "whenUnsatisfiable": "DoNotSchedule"})),
            "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "k",
                "labelSelector": {"matchExpressions": list(|i| json!({"key": format!("n{i}"), "operator": "Exists"}))},
                "matchLabelKeys": names, "mismatchLabelKeys": names}]}},
        },
        "status": {"containerStatuses": list(|i| json!({"name": format!("c{i}"), "state": {"terminated": {"exitCode": 0}}}))},
    });
    let _ = validation::create(kind("", "Pod"), &pod);
    for sub in ["", "status", "ephemeralcontainers", "resize"] {
        let _ = validation::update(kind("", "Pod"), sub, &pod, &pod);
    }
    let indexes = |from: usize| (from..MANY).step_by(2).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    let rule = |_| json!({"action": "Count", "onExitCodes": {"containerName": "x", "operator": "In", "values": [1]}});
    let job = json!({"metadata": {"name": "p", "namespace": "n", "resourceVersion": "1"},
        "spec": {"completionMode": "Indexed", "completions": MANY, "backoffLimitPerIndex": 1, "podFailurePolicy": {"rules": list(rule)},
            "template": {"spec": {"containers": list(|i| json!({"name": format!("c{i}"), "image": "i"}))}}},
        "status": {"completedIndexes": indexes(0), "failedIndexes": indexes(1)}});
    let _ = validation::create(kind("batch", "Job"), &job);
    let _ = validation::update(kind("batch", "Job"), "status", &job, &job);
}
