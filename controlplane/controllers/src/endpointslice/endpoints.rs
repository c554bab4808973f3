//! From pods to endpoints. Pure.

use serde_json::{Map, Value, json};

use crate::fields::{is_deleting, list, map, text};
use crate::pod;

/// Endpoints that share family and ports.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    /// `IPv4` or `IPv6`
    pub family: String,
    pub ports: Value,
    pub endpoints: Vec<Value>,
}

/// The groups of a Service; for every family there is one, if only an empty one.
pub(crate) fn desired(service: &Value, pods: &[&Value], zone: &dyn Fn(&str) -> Option<String>) -> Vec<Group> {
    let mut families: Vec<String> = list(service, "/spec/ipFamilies")
        .iter()
        .filter_map(|family| family.as_str().map(str::to_owned))
        .collect();
    if families.is_empty() {
        families.push("IPv4".into());
    }
    let mut groups: Vec<Group> = Vec::new();
    for family in families {
        for pod in pods.iter().filter(|pod| !pod::is_over(pod)) {
            let Some(address) = address(pod, &family) else { continue };
            let ports = ports(service, Some(pod));
            let endpoint = endpoint(service, pod, address, zone);
            match groups.iter_mut().find(|group| group.family == family && group.ports == ports) {
                Some(group) => group.endpoints.push(endpoint),
                None => groups.push(Group { family: family.clone(), ports, endpoints: vec![endpoint] }),
            }
        }
        if !groups.iter().any(|group| group.family == family) {
            groups.push(Group { family, ports: json!([]), endpoints: vec![] });
        }
    }
    groups
}

fn address<'a>(pod: &'a Value, family: &str) -> Option<&'a str> {
    let fits = |ip: &&str| !ip.is_empty() && ip.contains(':') == (family == "IPv6");
    let all = list(pod, "/status/podIPs").iter().filter_map(|entry| entry["ip"].as_str());
    all.chain([text(pod, "/status/podIP")]).find(fits)
}

fn endpoint(service: &Value, pod: &Value, address: &str, zone: &dyn Fn(&str) -> Option<String>) -> Value {
    let (serving, terminating) = (pod::is_ready(pod), is_deleting(pod));
    let ready = service["spec"]["publishNotReadyAddresses"] == true || (serving && !terminating);
    let mut endpoint = Map::new();
    endpoint.insert("addresses".into(), json!([address]));
    endpoint
        .insert("conditions".into(), json!({"ready": ready, "serving": serving, "terminating": terminating}));
    let (hostname, subdomain) = (text(pod, "/spec/hostname"), text(pod, "/spec/subdomain"));
    if !hostname.is_empty() && subdomain == text(service, "/metadata/name") {
        endpoint.insert("hostname".into(), hostname.into());
    }
    endpoint.insert(
        "targetRef".into(),
        json!({"kind": "Pod", "namespace": text(pod, "/metadata/namespace"),
            "name": text(pod, "/metadata/name"), "uid": text(pod, "/metadata/uid")}),
    );
    let node = text(pod, "/spec/nodeName");
    let zone = if node.is_empty() { None } else { zone(node) };
    if !node.is_empty() {
        endpoint.insert("nodeName".into(), node.into());
    }
    if let Some(zone) = &zone {
        endpoint.insert("zone".into(), zone.as_str().into());
    }
    if ready {
        let hints = hints(text(service, "/spec/trafficDistribution"), node, zone.as_deref());
        endpoint.extend(hints.map(|hints| ("hints".to_owned(), hints)));
    }
    Value::Object(endpoint)
}

/// Whom a ready endpoint is meant for (KEP-4444, KEP-3015): its zone, and with PreferSameNode its node before that.
fn hints(distribution: &str, node: &str, zone: Option<&str>) -> Option<Value> {
    let of_node = distribution == "PreferSameNode" && !node.is_empty();
    let close = matches!(distribution, "PreferClose" | "PreferSameZone" | "PreferSameNode");
    let zone = zone.filter(|_| close);
    let mut hints = Map::new();
    hints.extend(zone.map(|zone| ("forZones".to_owned(), json!([{"name": zone}]))));
    hints.extend(of_node.then(|| ("forNodes".to_owned(), json!([{"name": node}]))));
    (!hints.is_empty()).then_some(Value::Object(hints))
}

/// The Service's ports as this pod has them: a named target is the pod's own number; one it has not is left out.
fn ports(service: &Value, pod: Option<&Value>) -> Value {
    let resolved = list(service, "/spec/ports").iter().filter_map(|port| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let number = match &port["targetPort"] {
            Value::String(name) => named(pod?, name, protocol)?,
            Value::Number(number) if number.as_i64() != Some(0) => number.as_i64()?,
            _ => port["port"].as_i64()?,
        };
        let mut entry = Map::new();
        entry.insert("name".into(), port["name"].as_str().unwrap_or_default().into());
        entry.insert("protocol".into(), protocol.into());
        entry.insert("port".into(), number.into());
        if let Some(protocol) = port["appProtocol"].as_str() {
            entry.insert("appProtocol".into(), protocol.into());
        }
        Some(Value::Object(entry))
    });
    resolved.collect()
}

fn named(pod: &Value, name: &str, protocol: &str) -> Option<i64> {
    let sidecars =
        list(pod, "/spec/initContainers").iter().filter(|container| container["restartPolicy"] == "Always");
    let ports =
        list(pod, "/spec/containers").iter().chain(sidecars).flat_map(|container| list(container, "/ports"));
    let mut fitting =
        ports.filter(|port| port["name"] == name && port["protocol"].as_str().unwrap_or("TCP") == protocol);
    fitting.next()?["containerPort"].as_i64()
}

/// Labels of the Service that its slices carry too.
pub(super) fn inherited(service: &Value) -> Map<String, Value> {
    map(service, "/metadata/labels").cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, ip: &str, ready: bool, http: i64) -> Value {
        json!({"metadata": {"name": name, "namespace": "n", "uid": name}, "spec": {"nodeName": "x",
            "containers": [{"ports": [{"name": "http", "containerPort": http}]}]},
            "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}})
    }

    #[test]
    fn groups_by_ports() {
        let service = json!({"metadata": {"name": "s"}, "spec": {"ipFamilies": ["IPv4"],
            "ports": [{"port": 80, "targetPort": "http", "protocol": "TCP"}]}});
        let pods = [
            pod("a", "10.0.0.1", true, 8080),
            pod("b", "10.0.0.2", false, 8080),
            pod("c", "10.0.0.3", true, 9090),
            pod("d", "", true, 1),
            pod("e", "fd00::1", true, 1),
        ];
        let groups = desired(&service, &pods.iter().collect::<Vec<_>>(), &|_| Some("z".into()));
        let shown: Vec<_> = groups.iter().map(|g| (g.ports[0]["port"].as_i64(), g.endpoints.len())).collect();
        assert_eq!(shown, [(Some(8080), 2), (Some(9090), 1)]);
        assert_eq!(
            groups[0].endpoints[1],
            json!({"addresses": ["10.0.0.2"],
            "conditions": {"ready": false, "serving": false, "terminating": false},
            "targetRef": {"kind": "Pod", "namespace": "n", "name": "b", "uid": "b"}, "nodeName": "x", "zone": "z"})
        );
    }

    #[test]
    fn conditions() {
        for (ready, deleting, publish, expect) in [
            (true, false, false, (true, true, false)),
            (true, true, false, (false, true, true)),
            (false, false, true, (true, false, false)),
        ] {
            let mut pod = pod("a", "10.0.0.1", ready, 1);
            if deleting {
                pod["metadata"]["deletionTimestamp"] = "x".into();
            }
            let service = json!({"spec": {"publishNotReadyAddresses": publish}});
            let endpoint = endpoint(&service, &pod, "10.0.0.1", &|_| None);
            let (ready, serving, terminating) = expect;
            assert_eq!(
                endpoint["conditions"],
                json!({"ready": ready, "serving": serving, "terminating": terminating})
            );
        }
    }

    #[test]
    fn traffic_distribution() {
        for (distribution, zone, expect) in [
            (Value::Null, Some("z"), Value::Null),
            (json!("PreferClose"), Some("z"), json!({"forZones": [{"name": "z"}]})),
            (json!("PreferSameZone"), Some("z"), json!({"forZones": [{"name": "z"}]})),
            (json!("PreferSameZone"), None, Value::Null),
            (
                json!("PreferSameNode"),
                Some("z"),
                json!({"forZones": [{"name": "z"}], "forNodes": [{"name": "x"}]}),
            ),
            (json!("PreferSameNode"), None, json!({"forNodes": [{"name": "x"}]})),
        ] {
            let service = json!({"spec": {"trafficDistribution": distribution}});
            let of = |ready: bool| {
                let pod = pod("a", "10.0.0.1", ready, 1);
                endpoint(&service, &pod, "10.0.0.1", &|_| zone.map(str::to_owned))["hints"].clone()
            };
            assert_eq!(of(true), expect, "{service}");
            assert_eq!(of(false), Value::Null, "{service}");
        }
    }

    #[test]
    fn a_service_without_pods_has_an_empty_group() {
        let groups = desired(&json!({"spec": {"ports": [{"port": 80}]}}), &[], &|_| None);
        assert_eq!(groups, [Group { family: "IPv4".into(), ports: json!([]), endpoints: vec![] }]);
    }
}
