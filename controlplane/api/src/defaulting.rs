//! Defaults: what an object means where it says nothing.
//!
//! Applied to an object in canonical form, before and after admission; applying them twice changes nothing.
//! Not here: what depends on other objects (admission) or is the server's own (`status`, `generation`).
//!
//! Reference: `pkg/apis/*/v1/defaults.go` of Kubernetes 1.36, by behaviour.

mod admission;
mod batch;
mod ingress;
mod network_policy;
mod pod;
mod policy;
mod rbac;
mod service;
mod storage;
mod workload;

use serde_json::{Map, Value, json};

use crate::kind::Kind;

/// Fills in the defaults of a kind.
pub fn apply(kind: &Kind, object: &mut Value) {
    if kind.is_custom() {
        // A definition that has just gone has no defaults any more.
        return kind.custom().into_iter().for_each(|custom| custom.fill(object));
    }
    match (kind.group, kind.kind) {
        ("", "Pod") => pod::spec(&mut object["spec"]),
        ("", "Service") => service::apply(object),
        ("", "Secret") => secret(object),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy") => {
            admission::policy(object);
        }
        (
            "admissionregistration.k8s.io",
            "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding",
        ) => admission::binding(object),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => admission::webhooks(object, true),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => {
            admission::webhooks(object, false);
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => crate::definition::fill(object),
        ("", "Namespace") => namespace(object),
        ("", "Node") => node(object),
        ("", "Endpoints") => endpoints(object),
        ("apps", "Deployment") => workload::deployment(object),
        ("apps", "ReplicaSet") => workload::replica_set(object),
        ("apps", "StatefulSet") => workload::stateful_set(object),
        ("apps", "DaemonSet") => workload::daemon_set(object),
        ("", "ReplicationController") => workload::replication_controller(object),
        ("", "PodTemplate") => pod::spec(&mut object["template"]["spec"]),
        ("batch", "Job") => batch::job(object),
        ("batch", "CronJob") => batch::cron_job(object),
        ("autoscaling", "HorizontalPodAutoscaler") if kind.version == "v2" => policy::autoscaler(object),
        ("autoscaling", "HorizontalPodAutoscaler") => set(&mut object["spec"], "minReplicas", 1),
        ("", "LimitRange") => policy::limit_range(object),
        ("", "PersistentVolume") => storage::volume(object),
        ("", "PersistentVolumeClaim") => storage::claim(object),
        ("storage.k8s.io", "StorageClass") => storage::class(object),
        ("storage.k8s.io", "CSIDriver") => storage::driver(object),
        ("networking.k8s.io", "IngressClass") => ingress::class(object),
        ("networking.k8s.io", "NetworkPolicy") => network_policy::apply(object),
        ("scheduling.k8s.io", "PriorityClass") => set(object, "preemptionPolicy", "PreemptLowerPriority"),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => policy::flow_schema(object),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => policy::priority_level(object),
        ("resource.k8s.io", "ResourceClaim") => policy::device_claim(&mut object["spec"]),
        ("resource.k8s.io", "ResourceClaimTemplate") => policy::device_claim(&mut object["spec"]["spec"]),
        ("discovery.k8s.io", "EndpointSlice") => endpoint_slice(object),
        ("apiregistration.k8s.io", "APIService") => service_reference(&mut object["spec"]),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => rbac::binding(object),
        _ => {}
    }
}

/// A reference to a Service is to its port for HTTPS.
fn service_reference(spec: &mut Value) {
    if let Some(service) = spec.get_mut("service").filter(|service| service.is_object()) {
        set(service, "port", 443);
    }
}

/// Sets a field that is not there.
fn set(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(fields) = fields(object)
        && fields.get(name).is_none_or(Value::is_null)
    {
        fields.insert(name.to_owned(), value.into());
    }
}

/// The fields of an object; a missing one becomes empty.
fn fields(object: &mut Value) -> Option<&mut Map<String, Value>> {
    if object.is_null() {
        *object = json!({});
    }
    object.as_object_mut()
}

/// The items of a list, none where there is no list.
fn items<'a>(object: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}

/// `type`, and `stringData` moved into `data`.
fn secret(secret: &mut Value) {
    set(secret, "type", "Opaque");
    let Some(fields) = secret.as_object_mut() else { return };
    let Some(Value::Object(texts)) = fields.shift_remove("stringData") else { return };
    let data = fields.entry("data").or_insert_with(|| json!({}));
    for (key, text) in texts {
        use base64::Engine as _;
        let bytes = text.as_str().unwrap_or_default();
        data[key] = base64::engine::general_purpose::STANDARD.encode(bytes).into();
    }
}

/// A namespace can be selected by its name.
fn namespace(namespace: &mut Value) {
    let name = namespace["metadata"]["name"].clone();
    if name.is_string() {
        namespace["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    }
}

/// What a node does not keep for itself can be allocated.
fn node(node: &mut Value) {
    if let Some(capacity) = node["status"].get("capacity").cloned() {
        let allocatable = &mut node["status"]["allocatable"];
        for (name, amount) in capacity.as_object().into_iter().flatten() {
            set(allocatable, name, amount.clone());
        }
    }
}

fn endpoints(endpoints: &mut Value) {
    for subset in items(endpoints, "subsets") {
        for port in items(subset, "ports") {
            set(port, "protocol", "TCP");
        }
    }
}

fn endpoint_slice(slice: &mut Value) {
    for port in items(slice, "ports") {
        set(port, "name", "");
        set(port, "protocol", "TCP");
    }
}

#[cfg(test)]
mod tests;
