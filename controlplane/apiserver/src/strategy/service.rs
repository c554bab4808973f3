//! What an update of a Service keeps though it does not say it, and what it gives up with its type. Pure.
//!
//! Who writes a Service anew without what was given to it (addresses, node ports) keeps that; who changes its type and says
//! nothing else gives up what the new type has no use for. What somebody changed himself is left to validation.
//!
//! Reference: upstream's registry of services, by behaviour.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// Settles the new form by the old one.
pub(super) fn update(new: &mut Value, old: &Value) {
    let (before, after) = (&old["spec"], &mut new["spec"]);
    if !after.is_object() {
        return;
    }
    if has_address(before) && has_address(after) {
        keep_addresses(after, before);
    }
    if has_node_ports(before) && has_node_ports(after) {
        keep_node_ports(after, before);
    }
    if has_health_port(before) && has_health_port(after) && number(&after["healthCheckNodePort"]) == 0 {
        put(after, "healthCheckNodePort", &before["healthCheckNodePort"]);
    }
    give_up(after, before);
    if kind(after) != "LoadBalancer" {
        new["status"]["loadBalancer"] = json!({});
    }
}

fn kind(spec: &Value) -> &str {
    spec["type"].as_str().filter(|kind| !kind.is_empty()).unwrap_or("ClusterIP")
}

fn has_address(spec: &Value) -> bool {
    matches!(kind(spec), "ClusterIP" | "NodePort" | "LoadBalancer")
}

/// Whether every port is given a node port.
pub fn has_node_ports(spec: &Value) -> bool {
    match kind(spec) {
        "NodePort" => true,
        "LoadBalancer" => spec["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

/// Whether load balancers ask each node whether it has endpoints.
pub fn has_health_port(spec: &Value) -> bool {
    kind(spec) == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local"
}

fn is_external(spec: &Value) -> bool {
    let by_address = spec["externalIPs"].as_array().is_some_and(|addresses| !addresses.is_empty());
    matches!(kind(spec), "NodePort" | "LoadBalancer") || (kind(spec) == "ClusterIP" && by_address)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn put(spec: &mut Value, field: &str, value: &Value) {
    if !value.is_null() {
        spec[field] = value.clone();
    }
}

fn keep_addresses(after: &mut Value, before: &Value) {
    let first = after["clusterIP"].as_str().unwrap_or_default().to_owned();
    if first.is_empty() || before["clusterIP"] == first {
        return;
    }
    // One address was changed by somebody who knows of no list: the list says the same, and validation what it thinks of it.
    if after["clusterIPs"] == before["clusterIPs"]
        && let Some(one) = after["clusterIPs"].as_array_mut().and_then(|addresses| addresses.first_mut())
    {
        *one = first.into();
    }
}

/// A port that is written without its node port keeps it, by its name.
fn keep_node_ports(after: &mut Value, before: &Value) {
    let in_use = |spec: &Value| -> BTreeSet<u64> {
        let ports = spec["ports"].as_array().into_iter().flatten();
        ports.map(|port| number(&port["nodePort"])).filter(|port| *port > 0).collect()
    };
    let mut used: BTreeSet<u64> = in_use(before).intersection(&in_use(after)).copied().collect();
    let name = |port: &Value| port["name"].as_str().unwrap_or_default().to_owned();
    let known: Vec<(String, u64)> = before["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|port| (name(port), number(&port["nodePort"])))
        .collect();
    let ports = after.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter(|port| number(&port["nodePort"]) == 0) {
        let before = known.iter().rfind(|(known, _)| *known == name(port)).map_or(0, |(_, port)| *port);
        if before > 0 && port.is_object() && used.insert(before) {
            port["nodePort"] = before.into();
        }
    }
}

fn give_up(after: &mut Value, before: &Value) {
    let forget = |spec: &mut Value, field: &str| {
        if spec.get(field) == before.get(field)
            && let Some(spec) = spec.as_object_mut()
        {
            spec.shift_remove(field);
        }
    };
    if has_address(before) && !has_address(after) {
        let same = after["clusterIPs"] == before["clusterIPs"];
        for field in ["clusterIP", "clusterIPs"].into_iter().filter(|_| same) {
            forget(after, field);
        }
        forget(after, "ipFamilies");
        forget(after, "ipFamilyPolicy");
    }
    if has_node_ports(before) && !has_node_ports(after) {
        give_up_node_ports(after, before);
    }
    if has_health_port(before) && !has_health_port(after) {
        forget(after, "healthCheckNodePort");
    }
    if kind(before) == "LoadBalancer" && kind(after) != "LoadBalancer" {
        forget(after, "allocateLoadBalancerNodePorts");
        forget(after, "loadBalancerClass");
    }
    if is_external(before) && !is_external(after) {
        forget(after, "externalTrafficPolicy");
    }
}

/// All of them, if they are those that were there.
fn give_up_node_ports(after: &mut Value, before: &Value) {
    let all = |spec: &Value| -> BTreeSet<u64> {
        let ports = spec["ports"].as_array().into_iter().flatten();
        ports.map(|port| number(&port["nodePort"])).collect()
    };
    if all(after) != all(before) {
        return;
    }
    let ports = after.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten();
    for port in ports.filter_map(Value::as_object_mut) {
        port.shift_remove("nodePort");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balanced() -> Value {
        json!({"type": "LoadBalancer", "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Cluster",
            "healthCheckNodePort": 30900, "allocateLoadBalancerNodePorts": true, "loadBalancerClass": "x/y",
            "ports": [{"name": "a", "port": 80, "nodePort": 30080}, {"name": "b", "port": 81, "nodePort": 30081}]})
    }

    /// `more` is what the new form says otherwise; null takes a field away.
    fn check(more: Value, expect: Value) {
        let old = json!({"spec": balanced(), "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
        let mut new = old.clone();
        json_patch::merge(&mut new["spec"], &more);
        update(&mut new, &old);
        let mut wanted = balanced();
        json_patch::merge(&mut wanted, &expect);
        assert_eq!(new["spec"], wanted, "{more}");
        let balances = new["spec"]["type"] == "LoadBalancer";
        assert_eq!(new["status"]["loadBalancer"] == json!({}), !balances, "{more}");
    }

    #[test]
    fn what_was_given_is_kept() {
        check(json!({"clusterIP": null, "clusterIPs": null}), json!({"clusterIP": null, "clusterIPs": null}));
        check(json!({"healthCheckNodePort": null}), json!({}));
        let ports = |a: Value, b: Value| json!({"ports": [a, b]});
        let (a, b) = (json!({"name": "a", "port": 80}), json!({"name": "b", "port": 81}));
        check(ports(a.clone(), b.clone()), json!({}));
        // One that another port has now is not given twice.
        check(
            ports(json!({"name": "a", "port": 80, "nodePort": 30081}), b.clone()),
            ports(json!({"name": "a", "port": 80, "nodePort": 30081}), b),
        );
        check(
            ports(a, json!({"name": "c", "port": 82})),
            ports(json!({"name": "a", "port": 80, "nodePort": 30080}), json!({"name": "c", "port": 82})),
        );
        check(
            json!({"clusterIP": "10.96.0.9"}),
            json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"]}),
        );
    }

    #[test]
    fn what_a_type_has_no_use_for_goes() {
        let bare = json!([{"name": "a", "port": 80}, {"name": "b", "port": 81}]);
        let inside = json!({"type": "ClusterIP", "externalTrafficPolicy": null, "healthCheckNodePort": null,
            "allocateLoadBalancerNodePorts": null, "loadBalancerClass": null, "ports": bare});
        check(json!({"type": "ClusterIP"}), inside.clone());
        check(json!({"type": null}), {
            let mut inside = inside.clone();
            inside["type"] = Value::Null;
            inside
        });
        let mut elsewhere = inside;
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            elsewhere[field] = Value::Null;
        }
        elsewhere["type"] = "ExternalName".into();
        check(json!({"type": "ExternalName"}), elsewhere);
        let on_nodes = json!({"type": "NodePort", "healthCheckNodePort": null, "allocateLoadBalancerNodePorts": null,
            "loadBalancerClass": null});
        check(json!({"type": "NodePort"}), on_nodes);
        check(
            json!({"externalTrafficPolicy": "Cluster"}),
            json!({"externalTrafficPolicy": "Cluster", "healthCheckNodePort": null}),
        );
        // What was changed is for validation to refuse.
        let other = json!([{"name": "a", "port": 80, "nodePort": 30082}, {"name": "b", "port": 81}]);
        let kept = json!({"type": "ClusterIP", "externalTrafficPolicy": "Cluster", "healthCheckNodePort": 30901,
            "allocateLoadBalancerNodePorts": null, "loadBalancerClass": null, "ports": other});
        check(
            json!({"type": "ClusterIP", "externalTrafficPolicy": "Cluster", "healthCheckNodePort": 30901, "ports": other}),
            kept,
        );
    }
}
