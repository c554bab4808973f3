//! The small kinds of the core group, Events and Leases.

use serde_json::{Value, json};

use super::{AGE, Column, NAME, age, list, name, or, since, text, wide};

pub(super) const NAMESPACE: &[Column] = &[NAME, text("Status"), AGE];

pub(super) fn namespace(namespace: &Value, now: jiff::Timestamp) -> Vec<Value> {
    vec![name(namespace), or(&namespace["status"]["phase"], ""), age(namespace, now)]
}

pub(super) const CONFIG_MAP: &[Column] = &[NAME, text("Data"), AGE];

pub(super) fn config_map(map: &Value, now: jiff::Timestamp) -> Vec<Value> {
    vec![name(map), (entries(&map["data"]) + entries(&map["binaryData"])).into(), age(map, now)]
}

pub(super) const SECRET: &[Column] = &[NAME, text("Type"), text("Data"), AGE];

pub(super) fn secret(secret: &Value, now: jiff::Timestamp) -> Vec<Value> {
    vec![name(secret), or(&secret["type"], ""), entries(&secret["data"]).into(), age(secret, now)]
}

pub(super) const SERVICE_ACCOUNT: &[Column] = &[NAME, text("Secrets"), AGE];

pub(super) fn service_account(account: &Value, now: jiff::Timestamp) -> Vec<Value> {
    vec![name(account), list(account, "secrets").count().into(), age(account, now)]
}

pub(super) const LEASE: &[Column] = &[NAME, text("Holder"), AGE];

pub(super) fn lease(lease: &Value, now: jiff::Timestamp) -> Vec<Value> {
    vec![name(lease), or(&lease["spec"]["holderIdentity"], ""), age(lease, now)]
}

pub(super) const EVENT: &[Column] = &[
    text("Last Seen"),
    text("Type"),
    text("Reason"),
    text("Object"),
    wide("Subobject"),
    wide("Source"),
    text("Message"),
    wide("First Seen"),
    wide("Count"),
    wide("Name"),
];

pub(super) fn event(event: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let time =
        |names: [&str; 2]| names.iter().map(|name| &event[*name]).find(|time| time.is_string()).cloned();
    let first = time(["firstTimestamp", "eventTime"]);
    let series = &event["series"];
    let last = if series["lastObservedTime"].is_string() {
        Some(series["lastObservedTime"].clone())
    } else {
        event["lastTimestamp"].is_string().then(|| event["lastTimestamp"].clone()).or_else(|| first.clone())
    };
    let shown = |time: Option<Value>| time.map_or("<unknown>".to_owned(), |time| since(&time, now));
    let about = &event["involvedObject"];
    let kind = about["kind"].as_str().unwrap_or_default().to_lowercase();
    let object = match about["name"].as_str() {
        Some(name) if !name.is_empty() => format!("{kind}/{name}"),
        _ => kind,
    };
    let source = match (event["source"]["component"].as_str(), event["source"]["host"].as_str()) {
        (Some(component), Some(host)) if !host.is_empty() => format!("{component}, {host}"),
        (Some(component), _) if !component.is_empty() => component.to_owned(),
        _ => event["reportingComponent"].as_str().unwrap_or_default().to_owned(),
    };
    let count = series["count"].as_i64().or(event["count"].as_i64()).unwrap_or(1).max(1);
    vec![
        shown(last).into(),
        or(&event["type"], ""),
        or(&event["reason"], ""),
        object.into(),
        or(&about["fieldPath"], ""),
        source.into(),
        event["message"].as_str().unwrap_or_default().trim().into(),
        shown(first).into(),
        count.to_string().into(),
        name(event),
    ]
}

pub(super) const COMPONENT: &[Column] = &[NAME, text("Status"), text("Message"), text("Error")];

pub(super) fn component(component: &Value, _now: jiff::Timestamp) -> Vec<Value> {
    let healthy = list(component, "conditions").find(|c| c["type"] == "Healthy");
    let part = |field: &str| healthy.map_or(Value::from(""), |c| or(&c[field], ""));
    let status = match healthy.map(|c| c["status"] == "True") {
        Some(true) => "Healthy",
        Some(false) => "Unhealthy",
        None => "Unknown",
    };
    vec![name(component), status.into(), part("message"), part("error")]
}

pub(super) const AGED: &[Column] = &[NAME, AGE];

pub(super) fn aged(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    vec![name(object), age(object, now)]
}

pub(super) const OTHER: &[Column] = &[NAME, text("Created At")];

/// A kind without columns of its own.
pub(super) fn other(object: &Value, _now: jiff::Timestamp) -> Vec<Value> {
    vec![name(object), json!(object["metadata"]["creationTimestamp"])]
}

fn entries(map: &Value) -> usize {
    map.as_object().map_or(0, serde_json::Map::len)
}
