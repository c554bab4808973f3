//! Field labels: what `fieldSelector=` may speak of for each kind, and where the value lies in a stored object.
//!
//! Not the selector language itself (`selector`).
//! Invariant: the paths are those of the *storage* version; missing values read as upstream's zero value.

use std::borrow::Cow;

use serde_json::Value;
use thiserror::Error;

use super::Kind;

/// One label a field selector may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selectable {
    pub label: Cow<'static, str>,
    /// Dotted path in the stored form.
    pub path: Cow<'static, str>,
    /// How an absent value reads.
    pub absent: &'static str,
}

/// A label this kind does not offer.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FieldLabelError {
    #[error("field label not supported: {0}")]
    Unsupported(String),
    #[error("{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"", crate::field::quote(.0))]
    OnlyMetadata(String),
}

const fn at(label: &'static str, path: &'static str) -> Selectable {
    or(label, path, "")
}

const fn or(label: &'static str, path: &'static str, absent: &'static str) -> Selectable {
    Selectable { label: Cow::Borrowed(label), path: Cow::Borrowed(path), absent }
}

const NAME: Selectable = at("metadata.name", "metadata.name");
const SPACE: Selectable = at("metadata.namespace", "metadata.namespace");

pub const POD: &[Selectable] = &[
    NAME,
    SPACE,
    at("spec.nodeName", "spec.nodeName"),
    at("spec.host", "spec.nodeName"),
    at("spec.restartPolicy", "spec.restartPolicy"),
    at("spec.schedulerName", "spec.schedulerName"),
    at("spec.serviceAccountName", "spec.serviceAccountName"),
    or("spec.hostNetwork", "spec.hostNetwork", "false"),
    at("status.phase", "status.phase"),
    at("status.podIP", "status.podIP"),
    at("status.podIPs", "status.podIP"),
    at("status.nominatedNodeName", "status.nominatedNodeName"),
];

pub const NODE: &[Selectable] = &[NAME, or("spec.unschedulable", "spec.unschedulable", "false")];

pub const NAMESPACE: &[Selectable] = &[NAME, at("status.phase", "status.phase"), at("name", "metadata.name")];

pub const SECRET: &[Selectable] = &[NAME, SPACE, at("type", "type")];

pub const SERVICE: &[Selectable] =
    &[NAME, SPACE, at("spec.clusterIP", "spec.clusterIP"), at("spec.type", "spec.type")];

pub const REPLICA_SET: &[Selectable] = &[NAME, SPACE, or("status.replicas", "status.replicas", "0")];

pub const JOB: &[Selectable] = &[NAME, SPACE, or("status.successful", "status.succeeded", "0")];

/// Kinds that offer their names by a rule of their own, as upstream's older ones do.
pub const NAMED: &[Selectable] = &[NAME, SPACE, at("name", "metadata.name")];
pub const NAMED_AT_CLUSTER: &[Selectable] = &[NAME, at("name", "metadata.name")];

pub const IP_ADDRESS: &[Selectable] = &[
    NAME,
    at("spec.parentRef.group", "spec.parentRef.group"),
    at("spec.parentRef.resource", "spec.parentRef.resource"),
    at("spec.parentRef.namespace", "spec.parentRef.namespace"),
    at("spec.parentRef.name", "spec.parentRef.name"),
];

pub const RESOURCE_SLICE: &[Selectable] =
    &[NAME, at("spec.nodeName", "spec.nodeName"), at("spec.driver", "spec.driver")];

pub const EVENT: &[Selectable] = &[
    NAME,
    SPACE,
    at("involvedObject.kind", "involvedObject.kind"),
    at("involvedObject.namespace", "involvedObject.namespace"),
    at("involvedObject.name", "involvedObject.name"),
    at("involvedObject.uid", "involvedObject.uid"),
    at("involvedObject.apiVersion", "involvedObject.apiVersion"),
    at("involvedObject.resourceVersion", "involvedObject.resourceVersion"),
    at("involvedObject.fieldPath", "involvedObject.fieldPath"),
    at("reason", "reason"),
    at("reportingComponent", "reportingComponent"),
    at("source", "source.component"),
    at("type", "type"),
];

pub const EVENT_V1: &[Selectable] = &[
    NAME,
    SPACE,
    at("regarding.kind", "involvedObject.kind"),
    at("regarding.namespace", "involvedObject.namespace"),
    at("regarding.name", "involvedObject.name"),
    at("regarding.uid", "involvedObject.uid"),
    at("regarding.apiVersion", "involvedObject.apiVersion"),
    at("regarding.resourceVersion", "involvedObject.resourceVersion"),
    at("regarding.fieldPath", "involvedObject.fieldPath"),
    at("reason", "reason"),
    at("reportingController", "reportingComponent"),
    at("type", "type"),
];

pub const CERTIFICATE_SIGNING_REQUEST: &[Selectable] = &[NAME, at("spec.signerName", "spec.signerName")];

const METADATA: &[Selectable] = &[NAME, SPACE];

impl Kind {
    /// Finds a label; this is where `fieldSelector=spec.foo=x` is refused.
    pub fn field_label(&self, label: &str) -> Result<Selectable, FieldLabelError> {
        let own = self.selectable();
        let offered = if own.is_empty() { METADATA } else { &own };
        offered.iter().find(|field| field.label == label).cloned().ok_or_else(|| {
            if own.is_empty() {
                FieldLabelError::OnlyMetadata(label.to_owned())
            } else {
                FieldLabelError::Unsupported(label.to_owned())
            }
        })
    }
}

impl Selectable {
    /// The value a selector compares with, read from an object in its stored form.
    pub fn value<'a>(&self, object: &'a Value) -> Cow<'a, str> {
        let found = self.path.split('.').try_fold(object, |at, step| at.get(step));
        match found {
            Some(Value::String(text)) if text.is_empty() && self.path == "source.component" => {
                reporter(object)
            }
            None if self.path == "source.component" => reporter(object),
            Some(Value::String(text)) => Cow::Borrowed(text),
            Some(Value::Bool(flag)) => Cow::Borrowed(if *flag { "true" } else { "false" }),
            Some(Value::Number(number)) => Cow::Owned(number.to_string()),
            _ => Cow::Borrowed(self.absent),
        }
    }
}

/// An event without a source is selected by the controller that reported it.
fn reporter(event: &Value) -> Cow<'_, str> {
    Cow::Borrowed(event.get("reportingComponent").and_then(Value::as_str).unwrap_or_default())
}
