//! Ingresses and their classes, addresses of Services.

use serde_json::Value;

use super::{AGE, Column, NAME, age, joined, list, name, or, text};

/// Hosts that one cell names.
const MOST_HOSTS: usize = 3;

pub(super) const INGRESS: &[Column] =
    &[NAME, text("Class"), text("Hosts"), text("Address"), text("Ports"), AGE];

pub(super) fn ingress(ingress: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let (spec, annotations) = (&ingress["spec"], &ingress["metadata"]["annotations"]);
    let class = match &spec["ingressClassName"] {
        Value::String(class) => class.as_str().into(),
        _ => or(&annotations["kubernetes.io/ingress.class"], "<none>"),
    };
    let balancers = list(&ingress["status"]["loadBalancer"], "ingress")
        .filter_map(|at| at["ip"].as_str().or(at["hostname"].as_str()));
    let mut addresses: Vec<&str> = balancers.collect();
    addresses.sort_unstable();
    addresses.dedup();
    let secure = list(spec, "tls").next().is_some();
    vec![
        name(ingress),
        class,
        hosts(spec),
        joined(addresses.into_iter(), ""),
        if secure { "80, 443" } else { "80" }.into(),
        age(ingress, now),
    ]
}

fn hosts(spec: &Value) -> Value {
    let rules = list(spec, "rules").count();
    let mut named = Vec::new();
    let mut more = false;
    for rule in list(spec, "rules") {
        more |= named.len() == MOST_HOSTS;
        if let Some(host) = rule["host"].as_str().filter(|host| !more && !host.is_empty()) {
            named.push(host);
        }
    }
    match (named.is_empty(), more) {
        (true, _) => "*".into(),
        (false, true) => format!("{} + {} more...", named.join(","), rules - MOST_HOSTS).into(),
        (false, false) => named.join(",").into(),
    }
}

pub(super) const CLASS: &[Column] = &[NAME, text("Controller"), text("Parameters"), AGE];

pub(super) fn class(class: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let parameters = &class["spec"]["parameters"];
    let shown = match (parameters["kind"].as_str(), parameters["apiGroup"].as_str()) {
        (Some(kind), Some(group)) => {
            format!("{kind}.{group}/{}", parameters["name"].as_str().unwrap_or_default())
        }
        (Some(kind), None) => format!("{kind}/{}", parameters["name"].as_str().unwrap_or_default()),
        _ => "<none>".into(),
    };
    vec![name(class), or(&class["spec"]["controller"], ""), shown.into(), age(class, now)]
}

pub(super) const IP_ADDRESS: &[Column] = &[NAME, text("ParentRef")];

pub(super) fn ip_address(address: &Value, _now: jiff::Timestamp) -> Vec<Value> {
    let parent = &address["spec"]["parentRef"];
    let part = |field: &str| parent[field].as_str().filter(|text| !text.is_empty());
    let mut shown: Vec<&str> = Vec::new();
    shown.extend(part("group"));
    shown.extend(part("resource"));
    shown.extend(part("namespace"));
    shown.extend(part("name"));
    let shown = if parent.is_object() { shown.join("/") } else { "<none>".into() };
    vec![name(address), shown.into()]
}

pub(super) const SERVICE_CIDR: &[Column] = &[NAME, text("CIDRs"), AGE];

pub(super) fn service_cidr(range: &Value, now: jiff::Timestamp) -> Vec<Value> {
    vec![
        name(range),
        joined(list(&range["spec"], "cidrs").filter_map(Value::as_str), "<none>"),
        age(range, now),
    ]
}
