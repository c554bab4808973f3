//! Volumes, claims, their classes, drivers and attachments; claims for devices.

use serde_json::{Value, json};

use super::{AGE, Column, NAME, age, flag, joined, list, name, number, or, text, wide};

pub(super) const VOLUME: &[Column] = &[
    NAME,
    text("Capacity"),
    text("Access Modes"),
    text("Reclaim Policy"),
    text("Status"),
    text("Claim"),
    text("StorageClass"),
    text("VolumeAttributesClass"),
    text("Reason"),
    AGE,
    wide("VolumeMode"),
];

pub(super) fn volume(volume: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let (spec, status) = (&volume["spec"], &volume["status"]);
    let phase = if volume["metadata"]["deletionTimestamp"].is_string() {
        "Terminating".into()
    } else {
        or(&status["phase"], "")
    };
    let claim = &spec["claimRef"];
    let claim = match claim["name"].as_str() {
        Some(name) => format!("{}/{name}", claim["namespace"].as_str().unwrap_or_default()),
        None => String::new(),
    };
    vec![
        name(volume),
        or(&spec["capacity"]["storage"], ""),
        modes(spec).into(),
        or(&spec["persistentVolumeReclaimPolicy"], ""),
        phase,
        claim.into(),
        class_of(volume),
        or(&spec["volumeAttributesClassName"], "<unset>"),
        or(&status["reason"], ""),
        age(volume, now),
        or(&spec["volumeMode"], "<unset>"),
    ]
}

pub(super) const CLAIM: &[Column] = &[
    NAME,
    text("Status"),
    text("Volume"),
    text("Capacity"),
    text("Access Modes"),
    text("StorageClass"),
    text("VolumeAttributesClass"),
    AGE,
    wide("VolumeMode"),
];

pub(super) fn claim(claim: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let (spec, status) = (&claim["spec"], &claim["status"]);
    let phase = if claim["metadata"]["deletionTimestamp"].is_string() {
        "Terminating".into()
    } else {
        or(&status["phase"], "")
    };
    let bound = spec["volumeName"].as_str().is_some_and(|volume| !volume.is_empty());
    vec![
        name(claim),
        phase,
        or(&spec["volumeName"], ""),
        if bound { or(&status["capacity"]["storage"], "") } else { "".into() },
        if bound { modes(status).into() } else { "".into() },
        class_of(claim),
        or(&spec["volumeAttributesClassName"], "<unset>"),
        age(claim, now),
        or(&spec["volumeMode"], "<unset>"),
    ]
}

/// Access modes in short, each once, in upstream's order.
fn modes(of: &Value) -> String {
    let short = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let has = |mode: &str| list(of, "accessModes").any(|given| given == mode);
    let modes: Vec<&str> = short.into_iter().filter(|(mode, _)| has(mode)).map(|(_, short)| short).collect();
    modes.join(",")
}

/// The old annotation is older than the field.
fn class_of(object: &Value) -> Value {
    let annotation = &object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    if annotation.is_string() { annotation.clone() } else { or(&object["spec"]["storageClassName"], "") }
}

pub(super) const CLASS: &[Column] = &[
    NAME,
    text("Provisioner"),
    text("ReclaimPolicy"),
    text("VolumeBindingMode"),
    text("AllowVolumeExpansion"),
    AGE,
];

pub(super) fn class(class: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let annotations = &class["metadata"]["annotations"];
    let marks =
        ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    let shown = if marks.iter().any(|mark| annotations[*mark] == "true") {
        json!(format!("{} (default)", class["metadata"]["name"].as_str().unwrap_or_default()))
    } else {
        name(class)
    };
    vec![
        shown,
        or(&class["provisioner"], ""),
        or(&class["reclaimPolicy"], "Delete"),
        or(&class["volumeBindingMode"], "Immediate"),
        class["allowVolumeExpansion"].as_bool().unwrap_or(false).into(),
        age(class, now),
    ]
}

pub(super) const ATTRIBUTES_CLASS: &[Column] = &[NAME, text("DriverName"), AGE];

pub(super) fn attributes_class(class: &Value, now: jiff::Timestamp) -> Vec<Value> {
    vec![name(class), or(&class["driverName"], ""), age(class, now)]
}

pub(super) const DRIVER: &[Column] = &[
    NAME,
    flag("AttachRequired"),
    flag("PodInfoOnMount"),
    flag("StorageCapacity"),
    text("TokenRequests"),
    flag("RequiresRepublish"),
    text("Modes"),
    AGE,
];

pub(super) fn driver(driver: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let spec = &driver["spec"];
    let is = |field: &str, otherwise: bool| Value::from(spec[field].as_bool().unwrap_or(otherwise));
    vec![
        name(driver),
        is("attachRequired", true),
        is("podInfoOnMount", false),
        is("storageCapacity", false),
        joined(list(spec, "tokenRequests").filter_map(|token| token["audience"].as_str()), "<unset>"),
        is("requiresRepublish", false),
        joined(list(spec, "volumeLifecycleModes").filter_map(Value::as_str), "<none>"),
        age(driver, now),
    ]
}

pub(super) const CSI_NODE: &[Column] = &[NAME, number("Drivers"), AGE];

pub(super) fn csi_node(node: &Value, now: jiff::Timestamp) -> Vec<Value> {
    vec![name(node), list(&node["spec"], "drivers").count().into(), age(node, now)]
}

pub(super) const CAPACITY: &[Column] = &[NAME, text("StorageClassName"), text("Capacity")];

pub(super) fn capacity(object: &Value, _now: jiff::Timestamp) -> Vec<Value> {
    vec![name(object), or(&object["storageClassName"], ""), or(&object["capacity"], "<unset>")]
}

pub(super) const ATTACHMENT: &[Column] =
    &[NAME, text("Attacher"), text("PV"), text("Node"), flag("Attached"), AGE];

pub(super) fn attachment(attachment: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let spec = &attachment["spec"];
    vec![
        name(attachment),
        or(&spec["attacher"], ""),
        or(&spec["source"]["persistentVolumeName"], ""),
        or(&spec["nodeName"], ""),
        attachment["status"]["attached"].as_bool().unwrap_or(false).into(),
        age(attachment, now),
    ]
}

pub(super) const DEVICE_CLAIM: &[Column] = &[NAME, text("State"), AGE];

pub(super) fn device_claim(claim: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let mut states = Vec::new();
    if claim["metadata"]["deletionTimestamp"].is_string() {
        states.push("deleted");
    }
    if !claim["status"]["allocation"].is_object() {
        states.push("pending");
    } else {
        states.push("allocated");
        if list(&claim["status"], "reservedFor").next().is_some() {
            states.push("reserved");
        }
    }
    vec![name(claim), states.join(",").into(), age(claim, now)]
}

pub(super) const DEVICE_SLICE: &[Column] = &[NAME, text("Node"), text("Driver"), text("Pool"), AGE];

pub(super) fn device_slice(slice: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let spec = &slice["spec"];
    vec![
        name(slice),
        or(&spec["nodeName"], "<unset>"),
        or(&spec["driver"], ""),
        or(&spec["pool"]["name"], ""),
        age(slice, now),
    ]
}
