//! Printer columns: the cells that `kubectl get` shows, made by the server.
//!
//! Pure; the time that ages are counted to is passed in. Names, order and formats are upstream's, because people
//! and scripts read them.
//!
//! Reference: `pkg/printers/internalversion` of Kubernetes 1.36, by behaviour; Table of meta.k8s.io/v1.

mod core;
mod duration;
mod network;
mod node;
mod pod;
mod rbac;
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

/// A column of `-o wide`.
const fn wide(name: &'static str) -> Column {
    Column { name, of: "string", priority: 1 }
}

const NAME: Column = text("Name");
const AGE: Column = text("Age");

/// How a kind is printed.
struct Printer {
    columns: &'static [Column],
    cells: fn(&Value, jiff::Timestamp) -> Vec<Value>,
}

fn printer(kind: &Kind) -> Printer {
    match (kind.group, kind.kind) {
        ("", "Pod") => Printer { columns: pod::COLUMNS, cells: pod::cells },
        ("", "Node") => Printer { columns: node::COLUMNS, cells: node::cells },
        ("", "Service") => Printer { columns: network::SERVICE, cells: network::service },
        ("", "Endpoints") => Printer { columns: network::ENDPOINTS, cells: network::endpoints },
        ("discovery.k8s.io", "EndpointSlice") => Printer { columns: network::SLICE, cells: network::slice },
        ("networking.k8s.io", "NetworkPolicy") => {
            Printer { columns: network::POLICY, cells: network::policy }
        }
        ("apps", "Deployment") => Printer { columns: workload::DEPLOYMENT, cells: workload::deployment },
        ("apps", "ReplicaSet") => Printer { columns: workload::REPLICA_SET, cells: workload::replica_set },
        ("", "Namespace") => Printer { columns: core::NAMESPACE, cells: core::namespace },
        ("", "ConfigMap") => Printer { columns: core::CONFIG_MAP, cells: core::config_map },
        ("", "Secret") => Printer { columns: core::SECRET, cells: core::secret },
        ("", "ServiceAccount") => Printer { columns: core::SERVICE_ACCOUNT, cells: core::service_account },
        ("" | "events.k8s.io", "Event") => Printer { columns: core::EVENT, cells: core::event },
        ("coordination.k8s.io", "Lease") => Printer { columns: core::LEASE, cells: core::lease },
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => {
            Printer { columns: rbac::ROLE, cells: rbac::role }
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            Printer { columns: rbac::BINDING, cells: rbac::binding }
        }
        _ => Printer { columns: core::OTHER, cells: core::other },
    }
}

/// The heads of a kind's columns, as `columnDefinitions`.
pub fn columns(kind: &Kind) -> Value {
    let columns = printer(kind).columns.iter().map(|column| {
        let format = if column.name == "Name" { "name" } else { "" };
        json!({"name": column.name, "type": column.of, "format": format, "description": "", "priority": column.priority})
    });
    columns.collect()
}

/// The cells of an object in its stored form, one per column.
pub fn cells(kind: &Kind, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    (printer(kind).cells)(object, now)
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
