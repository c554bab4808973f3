//! Validation: what makes an object of a kind acceptable, at creation and at every later write.
//!
//! Not here: types of fields (`schema`), defaults (`defaulting`), what depends on other objects (admission, the registry).
//! Objects come in canonical form, with defaults, in the row's own version.
//!
//! Invariants: an empty list means valid; paths and sentences are upstream's, clients match on them, also where they are
//! odd; no object, however odd, makes validation panic; a complaint is made once.
//! Reference: `pkg/apis/*/validation` of Kubernetes 1.36 with its default feature gates, by behaviour. One difference: where
//! upstream appends a Go diff to a sentence, we end after the sentence.

mod address;
mod admission;
mod api_service;
mod autoscaler;
mod batch;
mod certificates;
mod cluster;
mod conditions;
mod devices;
mod endpoints;
mod event;
pub(crate) mod fields;
mod flow_control;
mod ingress;
mod keyed_data;
mod labels;
mod limits;
mod metadata;
mod network_policy;
mod pod;
mod policy;
mod quota;
mod rbac;
mod report;
mod request;
mod service;
mod stateful;
mod storage;
mod warning;
mod workload;

pub use pod::qos_class;
pub use warning::warnings;

use serde_json::Value;

use crate::field::{FieldError, Path};
use crate::kind::Kind;
use metadata::NameRule;
use report::Report;

const EXTENSIONS: &str = "apiextensions.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const NETWORKING: &str = "networking.k8s.io";
const STORAGE: &str = "storage.k8s.io";
const FLOW_CONTROL: &str = "flowcontrol.apiserver.k8s.io";

/// What is wrong with an object that is to be created.
///
/// An object that was posted to a subresource (a TokenRequest, a Binding, an Eviction, a Scale) says so by its `kind`; the
/// row may be its own or that of the resource it was posted to.
pub fn create(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let mut report = Report::default();
    match posted(kind, object) {
        "TokenRequest" => request::token_request(&mut report, object),
        "Binding" => request::binding(&mut report, object),
        "Eviction" | "TokenReview" | "SelfSubjectReview" | "SelfSubjectRulesReview" => {}
        "Scale" => workload::scale(&mut report, object),
        name @ ("SubjectAccessReview" | "SelfSubjectAccessReview" | "LocalSubjectAccessReview") => {
            request::access_review(&mut report, name, object);
        }
        "Event" => {
            event::create(&mut report, kind, object);
            name_and_rest(&mut report, kind, object);
        }
        "Pod" if kind.group.is_empty() => pod::create(&mut report, object),
        _ => {
            name_and_rest(&mut report, kind, object);
            own(&mut report, kind, object);
            match (kind.group, kind.kind) {
                ("batch", "Job") => batch::job(&mut report, object),
                (NETWORKING, "Ingress") => ingress::new_ingress(&mut report, object),
                ("batch", "CronJob") => batch::cron_job(&mut report, object, None),
                ("apps", "StatefulSet") => stateful::new_stateful_set(&mut report, object),
                ("apps", "ControllerRevision") => stateful::new_revision(&mut report, object),
                _ => {}
            }
        }
    }
    report.finish()
}

/// What is wrong with `labels` or `annotations` (the name of the field) of an object's metadata.
pub fn metadata_texts(name: &str, texts: &serde_json::Map<String, Value>) -> Vec<FieldError> {
    let (mut report, texts) = (Report::default(), Value::Object(texts.clone()));
    match name {
        "labels" => labels::labels(&mut report, &texts, &Path::new("metadata").child("labels")),
        // Upstream's path is odd here.
        _ => labels::annotations(&mut report, &texts, &Path::new("metadata").child("annotation")),
    }
    report.finish()
}

/// What is wrong with `new` as the successor of `old`.
///
/// `subresource` is `""` for the object itself, else `status`, `finalize`, `scale`, `binding`, `ephemeralcontainers`, `resize`,
/// `approval`.
pub fn update(kind: &Kind, subresource: &str, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut report = Report::default();
    match (subresource, posted(kind, new)) {
        ("scale", "Scale") => workload::scale(&mut report, new),
        ("binding", "Binding") => request::binding(&mut report, new),
        // The pod with the node that a binding has given it.
        ("binding", _) => successor(&mut report, new, old),
        ("status", _) => status(&mut report, kind, new, old),
        ("approval", "CertificateSigningRequest") => {
            successor(&mut report, new, old);
            certificates::decision(&mut report, new, old);
        }
        ("finalize", _) => {
            successor(&mut report, new, old);
            cluster::namespace_finalize(&mut report, new);
        }
        ("ephemeralcontainers", _) => pod::ephemeral_containers(&mut report, new, old),
        ("resize", _) => pod::resize(&mut report, new, old),
        _ => {
            successor(&mut report, new, old);
            unchanged(&mut report, kind, new, old);
            let own_at_updates = !matches!(
                (kind.group, kind.kind),
                ("", "Pod" | "Namespace" | "Node")
                    | (EXTENSIONS, "CustomResourceDefinition")
                    | ("resource.k8s.io", "ResourceClaim" | "ResourceClaimTemplate")
            );
            if own_at_updates && !kind.is_custom() {
                own(&mut report, kind, new);
            }
        }
    }
    report.finish()
}

/// The kind of what was really posted; none for kinds that are not built in.
fn posted<'a>(kind: &Kind, object: &'a Value) -> &'a str
where
    'static: 'a,
{
    // A custom resource may be called like a built-in kind.
    if kind.is_custom() {
        return if object["kind"] == "Scale" && kind.kind != "Scale" { "Scale" } else { "" };
    }
    match object["kind"].as_str() {
        Some(name) if kind.subresources.iter().any(|sub| sub.kind == name) => name,
        _ => kind.kind,
    }
}

fn name_and_rest(report: &mut Report, kind: &Kind, object: &Value) {
    let rule = NameRule::of(kind.group, kind.kind);
    metadata::create(report, &object["metadata"], kind.namespaced, rule, &Path::new("metadata"));
}

fn successor(report: &mut Report, new: &Value, old: &Value) {
    metadata::update(report, &new["metadata"], &old["metadata"], &Path::new("metadata"));
}

/// What a kind says of itself, beyond `metadata`, at creation and at updates.
fn own(report: &mut Report, kind: &Kind, object: &Value) {
    if let Some(custom) = kind.custom() {
        return custom.check(object, None).into_iter().for_each(|error| report.push(error));
    }
    match (kind.group, kind.kind) {
        ("", "ConfigMap") => keyed_data::config_map(report, object),
        ("", "Secret") => keyed_data::secret(report, object),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => admission::policy(report, object),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => {
            admission::mutating_policy(report, object)
        }
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding") => {
            admission::mutating_binding(report, object);
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding") => {
            admission::binding(report, object);
        }
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration",
        ) => {
            admission::webhooks(report, object);
        }
        (EXTENSIONS, "CustomResourceDefinition") => {
            crate::definition::create(object).into_iter().for_each(|error| report.push(error));
        }
        ("apiregistration.k8s.io", "APIService") => api_service::check(report, object),
        ("", "Namespace") => cluster::namespace(report, object),
        ("", "Node") => cluster::node(report, object),
        ("", "Service") => service::check(report, object),
        ("", "Endpoints") => endpoints::endpoints(report, object),
        ("apps", "Deployment") => workload::deployment(report, object),
        ("apps", "ReplicaSet") => workload::replica_set(report, object),
        ("discovery.k8s.io", "EndpointSlice") => endpoints::slice(report, object),
        ("coordination.k8s.io", "Lease") => cluster::lease(report, object),
        ("networking.k8s.io", "NetworkPolicy") => network_policy::check(report, object),
        ("certificates.k8s.io", "CertificateSigningRequest") => certificates::request(report, object),
        (RBAC, "Role" | "ClusterRole") => rbac::role(report, object, kind.namespaced),
        (RBAC, "RoleBinding" | "ClusterRoleBinding") => rbac::binding(report, object, kind.namespaced),
        ("", "ReplicationController") => stateful::replication_controller(report, object),
        ("", "PodTemplate") => pod::template(report, &object["template"], &Path::new("template")),
        ("", "LimitRange") => limits::limit_range(report, object),
        ("", "ResourceQuota") => quota::quota(report, object),
        ("", "PersistentVolume") => storage::volume(report, object),
        ("", "PersistentVolumeClaim") => storage::claim(report, object),
        ("apps", "StatefulSet") => stateful::stateful_set(report, object),
        ("apps", "DaemonSet") => stateful::daemon_set(report, object),
        ("apps", "ControllerRevision") => stateful::revision(report, object),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler::autoscaler(report, object),
        ("policy", "PodDisruptionBudget") => policy::budget(report, object),
        (NETWORKING, "Ingress") => ingress::ingress(report, object),
        (NETWORKING, "IngressClass") => ingress::class(report, object),
        (NETWORKING, "IPAddress") => ingress::ip_address(report, object),
        (NETWORKING, "ServiceCIDR") => ingress::service_cidr(report, object),
        (STORAGE, name) => own_storage(report, name, object),
        ("resource.k8s.io", "ResourceClaim") => devices::claim(report, object),
        ("resource.k8s.io", "ResourceClaimTemplate") => devices::template(report, object),
        ("resource.k8s.io", "DeviceClass") => devices::class(report, object),
        ("resource.k8s.io", "ResourceSlice") => devices::slice(report, object),
        ("scheduling.k8s.io", "PriorityClass") => policy::priority_class(report, object),
        ("node.k8s.io", "RuntimeClass") => policy::runtime_class(report, object),
        (FLOW_CONTROL, "FlowSchema") => flow_control::flow_schema(report, object),
        (FLOW_CONTROL, "PriorityLevelConfiguration") => flow_control::priority_level(report, object),
        _ => {}
    }
}

fn own_storage(report: &mut Report, kind: &str, object: &Value) {
    match kind {
        "StorageClass" => storage::class(report, object),
        "VolumeAttributesClass" => storage::attributes_class(report, object),
        "CSIDriver" => storage::driver(report, object),
        "CSINode" => storage::csi_node(report, object),
        "CSIStorageCapacity" => storage::capacity(report, object),
        "VolumeAttachment" => storage::attachment(report, object),
        _ => {}
    }
}

/// What a kind does not let an update change.
fn unchanged(report: &mut Report, kind: &Kind, new: &Value, old: &Value) {
    if let Some(custom) = kind.custom() {
        return custom.check(new, Some(old)).into_iter().for_each(|error| report.push(error));
    }
    match (kind.group, kind.kind) {
        ("", "Pod") => pod::update(report, new, old),
        ("", "Node") => cluster::node_update(report, new, old),
        (EXTENSIONS, "CustomResourceDefinition") => {
            crate::definition::update(new, old).into_iter().for_each(|error| report.push(error));
        }
        ("", "ConfigMap") => keyed_data::config_map_update(report, new, old),
        ("", "Secret") => keyed_data::secret_update(report, new, old),
        ("", "Service") => service::update(report, new, old),
        ("" | "events.k8s.io", "Event") => event::update(report, kind, new, old),
        ("apps", "Deployment" | "ReplicaSet") => workload::update(report, new, old),
        ("discovery.k8s.io", "EndpointSlice") => endpoints::slice_update(report, new, old),
        (RBAC, "RoleBinding" | "ClusterRoleBinding") => rbac::binding_update(report, new, old),
        ("batch", "Job") => batch::job_update(report, new, old),
        ("batch", "CronJob") => batch::cron_job(report, new, Some(old)),
        ("", "ResourceQuota") => quota::update(report, new, old),
        ("", "PersistentVolume") => storage::volume_update(report, new, old),
        ("", "PersistentVolumeClaim") => storage::claim_update(report, new, old),
        ("apps", "StatefulSet") => stateful::stateful_set_update(report, new, old),
        ("apps", "DaemonSet") => workload::update(report, new, old),
        ("apps", "ControllerRevision") => stateful::revision_update(report, new, old),
        (NETWORKING, "IngressClass") => ingress::class_update(report, new, old),
        (NETWORKING, "IPAddress") => ingress::ip_address_update(report, new, old),
        (NETWORKING, "ServiceCIDR") => ingress::service_cidr_update(report, new, old),
        (STORAGE, name) => storage_unchanged(report, name, new, old),
        ("resource.k8s.io", "ResourceClaim" | "ResourceClaimTemplate") => {
            devices::unchanged(report, new, old);
        }
        ("resource.k8s.io", "ResourceSlice") => devices::slice_update(report, new, old),
        ("scheduling.k8s.io", "PriorityClass") => policy::priority_class_update(report, new, old),
        ("node.k8s.io", "RuntimeClass") => policy::runtime_class_update(report, new, old),
        _ => {}
    }
}

fn storage_unchanged(report: &mut Report, kind: &str, new: &Value, old: &Value) {
    match kind {
        "StorageClass" => storage::class_update(report, new, old),
        "VolumeAttributesClass" => storage::attributes_class_update(report, new, old),
        "CSIDriver" => storage::driver_update(report, new, old),
        "CSINode" => storage::csi_node_update(report, new, old),
        "CSIStorageCapacity" => storage::capacity_update(report, new, old),
        "VolumeAttachment" => storage::attachment_update(report, new, old),
        _ => {}
    }
}

/// A write to `status`.
fn status(report: &mut Report, kind: &Kind, new: &Value, old: &Value) {
    successor(report, new, old);
    if let Some(custom) = kind.custom() {
        return custom.check(new, Some(old)).into_iter().for_each(|error| report.push(error));
    }
    match (kind.group, kind.kind) {
        ("", "Pod") => pod::status(report, new, old),
        ("", "Node") => cluster::node_update(report, new, old),
        ("", "Namespace") => cluster::namespace_status(report, new),
        ("", "Service") => service::status(report, new),
        ("certificates.k8s.io", "CertificateSigningRequest") => certificates::decision(report, new, old),
        ("apps", "Deployment") => workload::deployment_status(report, new, old),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => workload::replica_set_status(report, new),
        ("apps", "StatefulSet") => stateful::stateful_set_status(report, new, old),
        ("apps", "DaemonSet") => stateful::daemon_set_status(report, new, old),
        ("batch", "Job") => batch::job_status(report, new, old),
        ("", "ResourceQuota") => quota::status(report, new),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler::status(report, new),
        ("", "PersistentVolumeClaim") => storage::claim_status(report, new),
        (STORAGE, "VolumeAttachment") => storage::attachment_status(report, new),
        (NETWORKING, "Ingress") => ingress::status(report, new),
        ("policy", "PodDisruptionBudget") => policy::budget_status(report, new),
        (FLOW_CONTROL, "FlowSchema" | "PriorityLevelConfiguration") => flow_control::status(report, new),
        (EXTENSIONS, "CustomResourceDefinition") => {
            crate::definition::status(new).into_iter().for_each(|error| report.push(error));
        }
        ("apiregistration.k8s.io", "APIService") => api_service::status(report, new),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => {
            admission::policy_status(report, new);
        }
        ("resource.k8s.io", "ResourceClaim") => devices::status(report, new, old),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
