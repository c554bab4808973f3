//! What differs between kinds when they are written: which part of an object which request may touch, what
//! counts as a new generation, how long a deletion takes, and the two faces of Events.
//!
//! Pure. Defaults and validity are `api::defaulting` and `api::validation`.

mod initial;
mod label_keys;
mod service;

pub use service::{has_health_port, has_node_ports};

use api::kind::{Kind, autoscaler_of_v1, core_event_of, events_event_of, v1_of_autoscaler};
use serde_json::{Map, Value, json};

/// Grace that a pod gets which does not say: upstream's default.
const POD_GRACE_SECONDS: i64 = 30;

/// Kinds whose `status` belongs to the status subresource.
fn has_status(kind: &Kind) -> bool {
    kind.subresource("status").is_some()
}

/// Kinds whose generation counts changes of what is desired.
fn has_generation(kind: &Kind) -> bool {
    if kind.is_custom() || is_definition(kind) {
        return true;
    }
    match kind.group {
        "" => matches!(kind.resource, "pods" | "replicationcontrollers" | "podtemplates"),
        "apps" => kind.resource != "controllerrevisions",
        "networking.k8s.io" => {
            matches!(kind.resource, "ingresses" | "ingressclasses" | "networkpolicies")
        }
        "resource.k8s.io" => matches!(kind.resource, "resourceslices" | "deviceclasses"),
        "discovery.k8s.io" | "batch" | "policy" | "flowcontrol.apiserver.k8s.io" => true,
        "admissionregistration.k8s.io" | "scheduling.k8s.io" => true,
        _ => false,
    }
}

/// Of the metadata, what a write to the status leaves as it is; what else is sent there counts.
fn kept_by_status(kind: &Kind) -> &'static [&'static str] {
    const ALL: &[&str] = &["labels", "annotations", "ownerReferences", "finalizers"];
    match (kind.group, kind.resource) {
        _ if kind.is_custom() || is_definition(kind) => ALL,
        ("", "pods") => &["ownerReferences"],
        ("apps", "deployments") => &["labels"],
        ("apiregistration.k8s.io" | "flowcontrol.apiserver.k8s.io" | "admissionregistration.k8s.io", _)
        | ("resource.k8s.io", "resourceclaims")
        | ("storage.k8s.io", "volumeattachments") => ALL,
        _ => &[],
    }
}

/// Definitions of custom resources.
fn is_definition(kind: &Kind) -> bool {
    kind.resource == "customresourcedefinitions" && kind.group == "apiextensions.k8s.io"
}

/// Kinds of which an update makes what is not there.
const BEGUN_BY_UPDATE: [(&str, &str); 9] = [
    ("", "endpoints"),
    ("", "events"),
    ("", "limitranges"),
    ("", "services"),
    ("coordination.k8s.io", "leases"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
];

/// Whether an update of what is not there makes it.
pub fn may_begin_by_update(kind: &Kind, subresource: &str) -> bool {
    subresource.is_empty() && BEGUN_BY_UPDATE.contains(&(kind.group, kind.resource))
}

/// A new object: its status and generation are the server's.
pub fn prepare_create(kind: &Kind, object: &mut Value) {
    let Some(fields) = object.as_object_mut() else { return };
    if has_status(kind) && kind.resource != "nodes" {
        fields.shift_remove("status");
    }
    if kind.is_custom() || is_definition(kind) {
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("generation".into(), 1.into());
        }
        if is_definition(kind) {
            api::definition::note_storage_version(object);
        }
        return;
    }
    match kind.resource {
        "pods" => label_keys::merge(fields),
        "namespaces" => {
            fields.insert("status".into(), json!({"phase": "Active"}));
            let spec = fields.entry("spec").or_insert_with(|| json!({}));
            let finalizers = spec["finalizers"].as_array().cloned().unwrap_or_default();
            if !finalizers.contains(&json!("kubernetes")) {
                spec["finalizers"] = [finalizers, vec![json!("kubernetes")]].concat().into();
            }
        }
        _ => {
            if let Some(status) = initial::status(kind) {
                fields.insert("status".into(), status);
            }
        }
    }
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        if has_generation(kind) {
            metadata.insert("generation".into(), 1.into());
        } else {
            metadata.shift_remove("generation");
        }
    }
    match (kind.group, kind.resource) {
        ("batch", "jobs") => initial::job(object),
        ("apps", "daemonsets") => initial::daemon_set(object, None),
        ("", "persistentvolumeclaims") => initial::data_sources(&mut object["spec"], None),
        ("", "persistentvolumes") => {
            object["status"]["lastPhaseTransitionTime"] = object["metadata"]["creationTimestamp"].clone();
        }
        ("", "serviceaccounts") => initial::secrets(object),
        _ => {}
    }
}

/// What a new pod says of itself once nobody changes its containers any more: their resources make its class.
pub fn begin_pod(pod: &mut Value) {
    let class = api::validation::qos_class(&pod["spec"]);
    pod["status"] = json!({"phase": "Pending", "qosClass": class});
}

/// An update: everything that the subresource is not about is put back.
pub fn prepare_update(kind: &Kind, subresource: &str, new: &mut Value, old: &Value) {
    let Some(fields) = new.as_object_mut() else { return };
    match subresource {
        "status" => {
            for (name, value) in old.as_object().into_iter().flatten() {
                if !matches!(name.as_str(), "status" | "metadata") {
                    fields.insert(name.clone(), value.clone());
                }
            }
            fields
                .retain(|name, _| matches!(name.as_str(), "status" | "metadata") || old.get(name).is_some());
            if kind.resource == "certificatesigningrequests" {
                keep_decision(fields, old);
            }
            if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
                keep(metadata, &old["metadata"], kept_by_status(kind));
            }
        }
        "finalize" => {
            let finalizers = fields.get("spec").map(|spec| spec["finalizers"].clone()).unwrap_or_default();
            *new = old.clone();
            new["spec"]["finalizers"] = finalizers;
        }
        // The server itself made it from the old one.
        "binding" => {}
        // Only these containers: validation looks at nothing else of what was sent.
        "ephemeralcontainers" => {
            let sent = fields.get_mut("spec").and_then(|spec| spec.get_mut("ephemeralContainers"));
            let sent = sent.map(Value::take);
            *new = old.clone();
            if let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) {
                match sent {
                    Some(sent) => drop(spec.insert("ephemeralContainers".into(), sent)),
                    None => drop(spec.shift_remove("ephemeralContainers")),
                }
            }
        }
        "resize" => keep(fields, old, &["metadata", "status"]),
        // Only what is decided.
        "approval" => {
            let conditions = fields.get("status").map(|status| status["conditions"].clone());
            *new = old.clone();
            match conditions.filter(|conditions| !conditions.is_null()) {
                Some(conditions) => new["status"]["conditions"] = conditions,
                None => drop(
                    new.get_mut("status")
                        .and_then(Value::as_object_mut)
                        .map(|s| s.shift_remove("conditions")),
                ),
            }
        }
        _ => {
            if has_status(kind) {
                keep(fields, old, &["status"]);
            }
            // What was asked for stays what was asked for.
            if kind.resource == "certificatesigningrequests" {
                keep(fields, old, &["spec"]);
            }
            if is_definition(kind) {
                return api::definition::note_storage_version(new);
            }
            if kind.resource == "namespaces" {
                let finalizers = old["spec"]["finalizers"].clone();
                let spec = fields.entry("spec").or_insert_with(|| json!({}));
                spec["finalizers"] = finalizers;
            }
            match (kind.group, kind.resource) {
                ("apps", "daemonsets") => initial::daemon_set(new, Some(old)),
                ("", "persistentvolumeclaims") => {
                    initial::data_sources(&mut new["spec"], Some(&old["spec"]));
                }
                ("", "serviceaccounts") => initial::secrets(new),
                ("", "services") => service::update(new, old),
                _ => {}
            }
        }
    }
}

/// Who signs does not decide: conditions of a decision are those that were there.
fn keep_decision(fields: &mut Map<String, Value>, old: &Value) {
    let is_decision = |condition: &Value| matches!(condition["type"].as_str(), Some("Approved" | "Denied"));
    let of = |object: &Value, decisions: bool| -> Vec<Value> {
        let all = object["conditions"].as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|condition| is_decision(condition) == decisions).collect()
    };
    let Some(status) = fields.get_mut("status").filter(|status| status.is_object()) else { return };
    let conditions = [of(&old["status"], true), of(status, false)].concat();
    if !conditions.is_empty() || status["conditions"].is_array() {
        status["conditions"] = conditions.into();
    }
}

fn keep(fields: &mut Map<String, Value>, old: &Value, names: &[&str]) {
    for name in names {
        match old.get(name) {
            Some(value) => drop(fields.insert((*name).into(), value.clone())),
            None => drop(fields.shift_remove(*name)),
        }
    }
}

/// A change of what is desired is a new generation.
pub fn bump_generation(kind: &Kind, new: &mut Value, old: &Value) {
    // Drivers begin without one.
    if !has_generation(kind) && kind.resource != "csidrivers" {
        return;
    }
    let annotations = |object: &Value| object["metadata"]["annotations"].clone();
    let desired = match kind.resource {
        // Everything is desired that is not said to be a status.
        _ if kind.is_custom() => {
            let skipped = |name: &str| name == "metadata" || (name == "status" && has_status(kind));
            let part = |object: &Value| -> Map<String, Value> {
                let fields = object.as_object().into_iter().flatten();
                fields
                    .filter(|(name, _)| !skipped(name))
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect()
            };
            part(new) != part(old)
        }
        "endpointslices" => ["endpoints", "ports", "addressType"].iter().any(|name| new[*name] != old[*name]),
        "deployments" => new["spec"] != old["spec"] || annotations(new) != annotations(old),
        "podtemplates" => new["template"] != old["template"],
        "mutatingwebhookconfigurations" | "validatingwebhookconfigurations" => {
            new["webhooks"] != old["webhooks"]
        }
        _ => new["spec"] != old["spec"],
    };
    if desired {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
        new["metadata"]["generation"] = (generation + 1).into();
    }
}

/// Seconds between a delete and the object's end.
pub fn grace_seconds(kind: &Kind, object: &Value, asked: Option<i64>) -> i64 {
    if kind.resource != "pods" || !kind.group.is_empty() {
        return 0;
    }
    let unscheduled = object["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let over = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if unscheduled || over {
        return 0;
    }
    let default = object["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(POD_GRACE_SECONDS);
    asked.unwrap_or(default).max(0)
}

/// Whether nothing but finalizers in the metadata holds the object back.
pub fn may_go(object: &Value) -> bool {
    let namespace = object["kind"] == "Namespace";
    !namespace || object["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty)
}

/// When a volume came into the phase that a write to its status gives it.
pub fn note_phase(kind: &Kind, subresource: &str, new: &mut Value, old: &Value, now: &str) {
    const SINCE: &str = "lastPhaseTransitionTime";
    if kind.resource != "persistentvolumes" || subresource != "status" {
        return;
    }
    let before = &old["status"];
    let since = match new["status"]["phase"] == before["phase"] {
        true => before[SINCE].clone(),
        // Said by the writer, and not only handed on.
        false if !new["status"][SINCE].is_null() && new["status"][SINCE] != before[SINCE] => return,
        false => now.into(),
    };
    if let Some(status) = new.get_mut("status").and_then(Value::as_object_mut) {
        match since {
            Value::Null => drop(status.shift_remove(SINCE)),
            since => drop(status.insert(SINCE.into(), since)),
        }
    }
}

/// What a begun deletion shows in the status.
pub fn mark_terminating(kind: &Kind, object: &mut Value, now: &str) {
    if is_definition(kind) {
        let why = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
        api::definition::terminating(object, true, "InstanceDeletionPending", why, now);
    }
    if kind.resource == "namespaces" {
        object["status"]["phase"] = "Terminating".into();
    }
}

/// What a deletion waits for besides what the object says itself.
pub fn cleanup_finalizer(kind: &Kind, object: &Value) -> Option<&'static str> {
    let begins = object["metadata"]["deletionTimestamp"].is_null();
    (is_definition(kind) && begins).then_some(api::definition::CLEANUP_FINALIZER)
}

/// Kinds whose delete answers with the object instead of a Status.
pub fn shows_deleted(kind: &Kind) -> bool {
    match kind.group {
        "" => matches!(
            kind.resource,
            "pods"
                | "services"
                | "serviceaccounts"
                | "podtemplates"
                | "resourcequotas"
                | "persistentvolumes"
                | "persistentvolumeclaims"
        ),
        "storage.k8s.io" => kind.resource != "csistoragecapacities",
        _ => false,
    }
}

/// Whether a stored object is shown as it lies in the cache.
pub fn is_shown_as_stored(kind: &Kind) -> bool {
    kind.is_storage_version() && kind.custom().is_none_or(|custom| custom.is_plain())
}

/// A built-in row whose objects are stored in another form than its own.
fn is_other_face(kind: &Kind) -> bool {
    !kind.is_custom() && kind.storage.is_some() && !kind.is_storage_version()
}

/// Stored as another version than the one that was sent: Events, autoscalers and custom resources.
pub fn to_stored(kind: &Kind, mut object: Value) -> Value {
    if let (true, Some(storage)) = (kind.is_custom(), kind.storage) {
        object["apiVersion"] = api::kind::api_version(storage.group, storage.version).into();
        return object;
    }
    match object {
        Value::Object(fields) if is_other_face(kind) => Value::Object(match kind.group {
            "autoscaling" => autoscaler_of_v1(fields),
            _ => core_event_of(fields),
        }),
        object => object,
    }
}

/// The reverse of [`to_stored`].
pub fn from_stored(kind: &Kind, object: Value) -> Value {
    if let Some(custom) = kind.custom() {
        return custom.shown(object, &kind.api_version());
    }
    match object {
        Value::Object(fields) if is_other_face(kind) => Value::Object(match kind.group {
            "autoscaling" => v1_of_autoscaler(fields),
            _ => events_event_of(fields),
        }),
        object => object,
    }
}

#[cfg(test)]
mod tests;
