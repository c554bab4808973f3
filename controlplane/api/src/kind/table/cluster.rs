//! Events' second face, scheduling, leases, runtime classes, priority and fairness.

use super::super::fields;
use super::*;

const FLOW_CONTROL_GROUP: &str = "flowcontrol.apiserver.k8s.io";

/// Another face of the core Event.
pub(super) static EVENTS: &[Kind] = &[Kind {
    short_names: &["ev"],
    selectable: fields::EVENT_V1,
    storage: Some(Storage { group: "", version: "v1", kind: "Event", resource: "events" }),
    ..stored!("events.k8s.io", "events", "v1", "Event", "events", "event")
}];

pub(super) static SCHEDULING: &[Kind] = &[Kind {
    short_names: &["pc"],
    ..at_cluster!(
        "scheduling.k8s.io",
        "scheduling",
        "v1",
        "PriorityClass",
        "priorityclasses",
        "priorityclass"
    )
}];

pub(super) static COORDINATION: &[Kind] =
    &[stored!("coordination.k8s.io", "coordination", "v1", "Lease", "leases", "lease")];

pub(super) static NODE: &[Kind] =
    &[at_cluster!("node.k8s.io", "node", "v1", "RuntimeClass", "runtimeclasses", "runtimeclass")];

pub(super) static FLOW_CONTROL: &[Kind] = &[
    Kind {
        subresources: &[status!(FLOW_CONTROL_GROUP, "flowcontrol", "v1", "FlowSchema")],
        ..at_cluster!(FLOW_CONTROL_GROUP, "flowcontrol", "v1", "FlowSchema", "flowschemas", "flowschema")
    },
    Kind {
        subresources: &[status!(FLOW_CONTROL_GROUP, "flowcontrol", "v1", "PriorityLevelConfiguration")],
        ..at_cluster!(
            FLOW_CONTROL_GROUP,
            "flowcontrol",
            "v1",
            "PriorityLevelConfiguration",
            "prioritylevelconfigurations",
            "prioritylevelconfiguration"
        )
    },
];
