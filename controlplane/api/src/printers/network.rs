//! Services, their endpoints, and policies.

use serde_json::{Value, json};

use super::{AGE, Column, NAME, age, joined, labels, list, name, or, selector, text, wide};

/// Endpoints that one cell names.
const MOST_SHOWN: usize = 3;

pub(super) const SERVICE: &[Column] =
    &[NAME, text("Type"), text("Cluster-IP"), text("External-IP"), text("Port(s)"), AGE, wide("Selector")];

pub(super) fn service(service: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let spec = &service["spec"];
    let ip = list(spec, "clusterIPs").next().unwrap_or(&spec["clusterIP"]);
    vec![
        name(service),
        spec["type"].clone(),
        or(ip, "<none>"),
        external(service),
        ports(spec),
        age(service, now),
        labels(&spec["selector"]),
    ]
}

fn external(service: &Value) -> Value {
    let spec = &service["spec"];
    let own: Vec<&str> = list(spec, "externalIPs").filter_map(Value::as_str).collect();
    match spec["type"].as_str() {
        Some("ExternalName") => spec["externalName"].clone(),
        Some("LoadBalancer") => {
            let balancers = list(&service["status"]["loadBalancer"], "ingress")
                .filter_map(|ingress| ingress["ip"].as_str().or(ingress["hostname"].as_str()));
            joined(balancers.chain(own), "<pending>")
        }
        _ => joined(own.into_iter(), "<none>"),
    }
}

fn ports(spec: &Value) -> Value {
    let shown: Vec<String> = list(spec, "ports")
        .map(|port| {
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            match port["nodePort"].as_i64() {
                Some(node) if node > 0 => format!("{}:{node}/{protocol}", port["port"]),
                _ => format!("{}/{protocol}", port["port"]),
            }
        })
        .collect();
    joined(shown.iter().map(String::as_str), "<none>")
}

pub(super) const ENDPOINTS: &[Column] = &[NAME, text("Endpoints"), AGE];

pub(super) fn endpoints(endpoints: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let mut shown = Vec::new();
    for subset in list(endpoints, "subsets") {
        let addresses: Vec<&str> = list(subset, "addresses").filter_map(|a| a["ip"].as_str()).collect();
        for port in list(subset, "ports") {
            shown.extend(addresses.iter().map(|address| host_port(address, &port["port"])));
        }
        if list(subset, "ports").next().is_none() {
            shown.extend(addresses.iter().map(|address| (*address).to_owned()));
        }
    }
    vec![name(endpoints), shortened(&shown, "<none>"), age(endpoints, now)]
}

pub(super) const SLICE: &[Column] = &[NAME, text("AddressType"), text("Ports"), text("Endpoints"), AGE];

pub(super) fn slice(slice: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let ports: Vec<String> = list(slice, "ports")
        .map(|port| port["port"].as_i64().map_or_else(|| "*".to_owned(), |number| number.to_string()))
        .collect();
    let addresses: Vec<String> = list(slice, "endpoints")
        .flat_map(|endpoint| list(endpoint, "addresses"))
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect();
    vec![
        name(slice),
        slice["addressType"].clone(),
        shortened(&ports, "<unset>"),
        shortened(&addresses, "<unset>"),
        age(slice, now),
    ]
}

pub(super) const POLICY: &[Column] = &[NAME, text("Pod-Selector"), AGE];

pub(super) fn policy(policy: &Value, now: jiff::Timestamp) -> Vec<Value> {
    // One that is not there is an empty one: all pods.
    let pods = policy["spec"].get("podSelector").cloned().unwrap_or_else(|| json!({}));
    vec![name(policy), selector(Some(&pods)), age(policy, now)]
}

fn host_port(address: &str, port: &Value) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn shortened(shown: &[String], nothing: &str) -> Value {
    if shown.len() <= MOST_SHOWN {
        return joined(shown.iter().map(String::as_str), nothing);
    }
    json!(format!("{} + {} more...", shown[..MOST_SHOWN].join(","), shown.len() - MOST_SHOWN))
}
