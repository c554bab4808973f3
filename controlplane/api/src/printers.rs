//! Printer columns: the cells that `kubectl get` shows, made by the server.
//!
//! Pure; the time that ages are counted to is passed in. Names, order and formats are upstream's, because people
//! and scripts read them.
//!
//! Reference: `pkg/printers/internalversion` of Kubernetes 1.36, by behaviour; Table of meta.k8s.io/v1.

mod admission;
mod api_service;
mod batch;
mod certificates;
mod core;
mod custom;
mod duration;
mod ingress;
mod network;
mod node;
mod pod;
mod policy;
mod rbac;
mod storage;
mod workload;

use serde_json::{Value, json};

pub use duration::human_duration;

use crate::kind::Kind;

/// A column's head.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// What stands above it.
    pub name: &'static str,
    /// `string`, `integer`, `number`, `boolean`.
    pub of: &'static str,
    /// 0: always shown; 1: with `-o wide`.
    pub priority: u8,
}

/// A column that is always shown.
const fn text(name: &'static str) -> Column {
    Column { name, of: "string", priority: 0 }
}

/// A column of numbers.
const fn number(name: &'static str) -> Column {
    Column { name, of: "integer", priority: 0 }
}

/// A column of yes and no.
const fn flag(name: &'static str) -> Column {
    Column { name, of: "boolean", priority: 0 }
}

/// A column of `-o wide`.
const fn wide(name: &'static str) -> Column {
    Column { name, of: "string", priority: 1 }
}

const NAME: Column = text("Name");
const AGE: Column = text("Age");

/// How a kind is printed.
struct Printer {
    columns: &'static [Column],
    cells: Cells,
}

fn printer(kind: &Kind) -> Printer {
    let (columns, cells) = match kind.group {
        "" => of_core(kind.kind),
        "apps" | "batch" | "autoscaling" | "policy" => of_workloads(kind.kind),
        "networking.k8s.io" | "discovery.k8s.io" => of_network(kind.kind),
        "storage.k8s.io" | "resource.k8s.io" => of_storage(kind.kind),
        _ => of_cluster(kind.group, kind.kind),
    };
    Printer { columns, cells }
}

type Cells = fn(&Value, jiff::Timestamp) -> Vec<Value>;
/// A kind without columns of its own.
const OTHER: (&[Column], Cells) = (core::OTHER, core::other);

fn of_core(kind: &str) -> (&'static [Column], Cells) {
    match kind {
        "Pod" => (pod::COLUMNS, pod::cells),
        "Node" => (node::COLUMNS, node::cells),
        "Service" => (network::SERVICE, network::service),
        "Endpoints" => (network::ENDPOINTS, network::endpoints),
        "Namespace" => (core::NAMESPACE, core::namespace),
        "ConfigMap" => (core::CONFIG_MAP, core::config_map),
        "Secret" => (core::SECRET, core::secret),
        "ServiceAccount" => (core::SERVICE_ACCOUNT, core::service_account),
        "Event" => (core::EVENT, core::event),
        "ComponentStatus" => (core::COMPONENT, core::component),
        "ReplicationController" => (workload::REPLICA_SET, workload::replication_controller),
        "PodTemplate" => (workload::TEMPLATE, workload::template),
        "ResourceQuota" => (policy::QUOTA, policy::quota),
        "PersistentVolume" => (storage::VOLUME, storage::volume),
        "PersistentVolumeClaim" => (storage::CLAIM, storage::claim),
        _ => OTHER,
    }
}

fn of_workloads(kind: &str) -> (&'static [Column], Cells) {
    match kind {
        "Deployment" => (workload::DEPLOYMENT, workload::deployment),
        "ReplicaSet" => (workload::REPLICA_SET, workload::replica_set),
        "StatefulSet" => (workload::STATEFUL_SET, workload::stateful_set),
        "DaemonSet" => (workload::DAEMON_SET, workload::daemon_set),
        "ControllerRevision" => (workload::REVISION, workload::revision),
        "Job" => (batch::JOB, batch::job),
        "CronJob" => (batch::CRON_JOB, batch::cron_job),
        "HorizontalPodAutoscaler" => (policy::AUTOSCALER, policy::autoscaler),
        "PodDisruptionBudget" => (policy::BUDGET, policy::budget),
        _ => OTHER,
    }
}

fn of_network(kind: &str) -> (&'static [Column], Cells) {
    match kind {
        "EndpointSlice" => (network::SLICE, network::slice),
        "Ingress" => (ingress::INGRESS, ingress::ingress),
        "IngressClass" => (ingress::CLASS, ingress::class),
        "NetworkPolicy" => (network::POLICY, network::policy),
        "IPAddress" => (ingress::IP_ADDRESS, ingress::ip_address),
        "ServiceCIDR" => (ingress::SERVICE_CIDR, ingress::service_cidr),
        _ => OTHER,
    }
}

fn of_storage(kind: &str) -> (&'static [Column], Cells) {
    match kind {
        "StorageClass" => (storage::CLASS, storage::class),
        "VolumeAttributesClass" => (storage::ATTRIBUTES_CLASS, storage::attributes_class),
        "CSIDriver" => (storage::DRIVER, storage::driver),
        "CSINode" => (storage::CSI_NODE, storage::csi_node),
        "CSIStorageCapacity" => (storage::CAPACITY, storage::capacity),
        "VolumeAttachment" => (storage::ATTACHMENT, storage::attachment),
        "ResourceClaim" => (storage::DEVICE_CLAIM, storage::device_claim),
        "ResourceSlice" => (storage::DEVICE_SLICE, storage::device_slice),
        "DeviceClass" | "ResourceClaimTemplate" => (core::AGED, core::aged),
        _ => OTHER,
    }
}

fn of_cluster(group: &str, kind: &str) -> (&'static [Column], Cells) {
    match (group, kind) {
        ("apiregistration.k8s.io", "APIService") => (api_service::SERVICE, api_service::service),
        ("events.k8s.io", "Event") => (core::EVENT, core::event),
        ("coordination.k8s.io", "Lease") => (core::LEASE, core::lease),
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            (certificates::REQUEST, certificates::request)
        }
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => (rbac::ROLE, rbac::role),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => (rbac::BINDING, rbac::binding),
        ("scheduling.k8s.io", "PriorityClass") => (policy::PRIORITY_CLASS, policy::priority_class),
        ("node.k8s.io", "RuntimeClass") => (policy::RUNTIME_CLASS, policy::runtime_class),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => (policy::FLOW_SCHEMA, policy::flow_schema),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => {
            (policy::PRIORITY_LEVEL, policy::priority_level)
        }
        ("admissionregistration.k8s.io", kind) => of_admission(kind),
        _ => OTHER,
    }
}

fn of_admission(kind: &str) -> (&'static [Column], Cells) {
    match kind {
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            (admission::WEBHOOKS, admission::webhooks)
        }
        "ValidatingAdmissionPolicy" => (admission::VALIDATING, admission::validating),
        "MutatingAdmissionPolicy" => (admission::MUTATING, admission::mutating),
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => {
            (admission::BINDING, admission::binding)
        }
        _ => OTHER,
    }
}

/// The heads of a kind's columns, as `columnDefinitions`.
pub fn columns(kind: &Kind) -> Value {
    match kind.custom() {
        Some(definition) => custom::columns(&definition),
        None => heads(printer(kind).columns),
    }
}

/// The same of a Scale, whatever it scales.
pub fn scale_columns() -> Value {
    heads(workload::SCALE)
}

fn heads(columns: &[Column]) -> Value {
    let columns = columns.iter().map(|column| {
        let format = if column.name == "Name" { "name" } else { "" };
        json!({"name": column.name, "type": column.of, "format": format, "description": "", "priority": column.priority})
    });
    columns.collect()
}

/// The cells of an object in its stored form, one per column.
pub fn cells(kind: &Kind, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    match kind.custom() {
        Some(definition) => custom::cells(&definition, object, now),
        None => (printer(kind).cells)(object, now),
    }
}

/// The cells of a Scale.
pub fn scale_cells(scale: &Value, now: jiff::Timestamp) -> Vec<Value> {
    workload::scale(scale, now)
}

/// `metadata.name`.
fn name(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

/// How long ago the object was made.
fn age(object: &Value, now: jiff::Timestamp) -> Value {
    since(&object["metadata"]["creationTimestamp"], now).into()
}

/// How long ago a time was.
fn since(time: &Value, now: jiff::Timestamp) -> String {
    match time.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()) {
        Some(then) => human_duration(now.duration_since(then).as_secs()),
        None => "<unknown>".into(),
    }
}

/// A text, or what stands for nothing.
fn or(value: &Value, nothing: &str) -> Value {
    match value.as_str() {
        Some(text) if !text.is_empty() => text.into(),
        _ => nothing.into(),
    }
}

/// The items of a list, none where there is none.
fn list<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    object[field].as_array().into_iter().flatten()
}

/// Texts with commas between them, or what stands for nothing.
fn joined<'a>(texts: impl Iterator<Item = &'a str>, nothing: &str) -> Value {
    let texts: Vec<&str> = texts.collect();
    if texts.is_empty() { nothing.into() } else { texts.join(",").into() }
}

/// A map of labels as upstream prints it.
fn labels(map: &Value) -> Value {
    let labels = map.as_object().into_iter().flatten();
    let mut labels: Vec<String> =
        labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    labels.sort_unstable();
    joined(labels.iter().map(String::as_str), "<none>")
}

/// A label selector as upstream prints it.
fn selector(selector: Option<&Value>) -> Value {
    match crate::selector::LabelSelector::from_object(selector) {
        Ok(selector) if selector.is_everything() => "<none>".into(),
        Ok(selector) => selector.to_string().into(),
        Err(_) => "<error>".into(),
    }
}

/// Names and images of a pod template's containers.
fn containers(template: &Value) -> [Value; 2] {
    let part =
        |field: &str| joined(list(&template["spec"], "containers").filter_map(|c| c[field].as_str()), "");
    [part("name"), part("image")]
}

#[cfg(test)]
mod tests;
