//! What the proxy needs of a Service, read from its JSON; the rest of it is skipped and never held.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::str::FromStr as _;

use client::Object;
use datapath::Transport;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Labels of Services and slices that are not ours: somebody else proxies them, or nobody.
const NOT_OURS: [&str; 2] = ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"];
/// "maglev": by a table that every node has, not by chance.
const SELECTION: &str = "keelson.dev/selection";
/// timeoutSeconds of ClientIP where none is given.
const AFFINITY_SECONDS: u32 = 10_800;

/// A Service that has addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Service {
    /// RFC 3339.
    pub created: String,
    pub cluster_ips: Vec<IpAddr>,
    pub external_ips: Vec<IpAddr>,
    /// Addresses of load balancers that leave the packets' destination as it is.
    pub balancer_ips: Vec<IpAddr>,
    pub ports: Vec<ServicePort>,
    pub affinity_seconds: Option<u32>,
    pub internal_local: bool,
    pub external_local: bool,
    /// Who may use the load balancer's addresses; None: everybody.
    pub sources: Option<BTreeSet<IpNet>>,
    /// Every node chooses the same backend for a flow.
    pub consistent: bool,
    /// Where a load balancer asks whether this node has endpoints.
    pub health_check_port: Option<u16>,
    /// What is asked for and cannot be had; for its owner to read.
    pub refusals: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServicePort {
    /// May be empty, where there is but one.
    pub name: String,
    pub transport: Transport,
    pub port: u16,
    /// None for Services that have none.
    pub node_port: Option<u16>,
}

/// A Service as it comes.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    creation_timestamp: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    r#type: Option<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Option<Vec<String>>,
    #[serde(rename = "externalIPs")]
    external_ips: Option<Vec<String>>,
    external_traffic_policy: Option<String>,
    internal_traffic_policy: Option<String>,
    health_check_node_port: Option<u64>,
    load_balancer_source_ranges: Option<Vec<String>>,
    ports: Option<Vec<Port>>,
    session_affinity: Option<String>,
    session_affinity_config: Option<AffinityConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Port {
    pub name: Option<String>,
    pub protocol: Option<String>,
    pub port: Option<u64>,
    node_port: Option<u64>,
}

#[derive(Deserialize)]
struct AffinityConfig {
    #[serde(rename = "clientIP")]
    client_ip: Option<ClientAffinity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientAffinity {
    timeout_seconds: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    load_balancer: Option<Balancer>,
}

#[derive(Deserialize)]
struct Balancer {
    ingress: Option<Vec<Ingress>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ingress {
    ip: Option<String>,
    ip_mode: Option<String>,
}

impl Metadata {
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.labels.as_ref()?.get(name).map(String::as_str)
    }

    /// Whether no label says otherwise.
    pub(crate) fn is_ours(&self) -> bool {
        NOT_OURS.iter().all(|label| self.label(label).is_none())
    }
}

/// Keeps of a Service what [`extract`] gives back.
pub(crate) fn reduce(object: Object) -> Object {
    let read = Service::read(&mut serde_json::Deserializer::from_str(object.raw()));
    let service = read.inspect_err(|error| tracing::warn!(service = %object.key, %error, "not understood"));
    object.reduced_to(service.unwrap_or_default())
}

/// What there is to proxy of an object that was reduced.
pub(crate) fn extract(object: &Object) -> Option<&Service> {
    object.extract::<Option<Service>>()?.as_ref()
}

impl Service {
    /// Reads a Service; `None` where there is nothing to proxy.
    ///
    /// # Errors
    /// What the API would not have admitted.
    pub(crate) fn read<'de, D: Deserializer<'de>>(service: D) -> Result<Option<Service>, D::Error> {
        let Document { metadata, spec, status } = Document::deserialize(service)?;
        let is = |what: &Option<String>, value: &str| what.as_deref() == Some(value);
        if is(&spec.r#type, "ExternalName") || !metadata.is_ours() {
            return Ok(None);
        }
        let mut cluster_ips = addresses(spec.cluster_ips.as_ref());
        if cluster_ips.is_empty() {
            cluster_ips.extend(spec.cluster_ip.as_ref().and_then(|ip| ip.parse::<IpAddr>().ok()));
        }
        // Headless, or not allocated yet.
        if cluster_ips.is_empty() {
            return Ok(None);
        }
        let mut refusals = Vec::new();
        let external = is(&spec.r#type, "NodePort") || is(&spec.r#type, "LoadBalancer");
        let external_ips = addresses(spec.external_ips.as_ref());
        let external_local =
            (external || !external_ips.is_empty()) && is(&spec.external_traffic_policy, "Local");
        let health_check_port = (is(&spec.r#type, "LoadBalancer") && external_local)
            .then(|| number(spec.health_check_node_port))
            .flatten();
        let annotations = metadata.annotations.unwrap_or_default();
        Ok(Some(Service {
            created: metadata.creation_timestamp.unwrap_or_default(),
            ports: ports(spec.ports.unwrap_or_default(), external, &mut refusals),
            cluster_ips,
            external_ips,
            balancer_ips: balancer_ips(status),
            affinity_seconds: affinity(spec.session_affinity.as_deref(), spec.session_affinity_config),
            internal_local: is(&spec.internal_traffic_policy, "Local"),
            external_local,
            health_check_port,
            sources: sources(spec.load_balancer_source_ranges.unwrap_or_default(), &mut refusals),
            consistent: annotations.get(SELECTION).is_some_and(|selection| selection == "maglev"),
            refusals,
        }))
    }
}

fn ports(all: Vec<Port>, external: bool, refusals: &mut Vec<String>) -> Vec<ServicePort> {
    let mut ports = Vec::new();
    for port in all {
        let name = port.name.unwrap_or_default();
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let Some(transport) = transport(protocol) else {
            refusals.push(format!("Port {name:?} is not proxied: protocol {protocol} is not supported"));
            continue;
        };
        let Some(wanted) = number(port.port) else { continue };
        let node_port = if external { number(port.node_port) } else { None };
        ports.push(ServicePort { name, transport, port: wanted, node_port });
    }
    ports
}

pub(crate) fn transport(protocol: &str) -> Option<Transport> {
    match protocol {
        "TCP" => Some(Transport::Tcp),
        "UDP" => Some(Transport::Udp),
        _ => None,
    }
}

fn affinity(wanted: Option<&str>, config: Option<AffinityConfig>) -> Option<u32> {
    (wanted == Some("ClientIP")).then(|| {
        let seconds = config.and_then(|config| config.client_ip?.timeout_seconds);
        seconds.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(AFFINITY_SECONDS)
    })
}

fn balancer_ips(status: Status) -> Vec<IpAddr> {
    let ingress = status.load_balancer.and_then(|balancer| balancer.ingress).unwrap_or_default();
    // With ipMode Proxy the packets come to a node port.
    let own = ingress.iter().filter(|entry| entry.ip_mode.as_deref().unwrap_or("VIP") == "VIP");
    own.filter_map(|entry| entry.ip.as_ref()?.parse().ok()).collect()
}

/// What cannot be read admits nobody: open to all would be worse than closed.
fn sources(ranges: Vec<String>, refusals: &mut Vec<String>) -> Option<BTreeSet<IpNet>> {
    if ranges.is_empty() {
        return None;
    }
    let mut read = BTreeSet::new();
    for range in ranges {
        match IpNet::from_str(range.trim()) {
            Ok(range) => drop(read.insert(range.trunc())),
            Err(_) => {
                refusals.push(format!("{range:?} of loadBalancerSourceRanges is no range: it admits nobody"))
            }
        }
    }
    Some(read)
}

/// A port number.
pub(crate) fn number(value: Option<u64>) -> Option<u16> {
    u16::try_from(value?).ok().filter(|number| *number != 0)
}

fn addresses(texts: Option<&Vec<String>>) -> Vec<IpAddr> {
    texts.into_iter().flatten().filter_map(|text| text.parse().ok()).collect()
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(service: Value, expect: Option<&str>) {
        let shown = Service::read(&service).expect("a Service").map(|service| {
            let ports: Vec<String> = service
                .ports
                .iter()
                .map(|port| format!("{:?}:{}/{:?}", port.transport, port.port, port.node_port))
                .collect();
            format!(
                "{:?} {:?} {:?} {} affinity={:?} local={}{} health={:?} refusals={}",
                service.cluster_ips,
                service.external_ips,
                service.balancer_ips,
                ports.join(","),
                service.affinity_seconds,
                u8::from(service.internal_local),
                u8::from(service.external_local),
                service.health_check_port,
                service.refusals.len()
            )
        });
        assert_eq!(shown.as_deref(), expect);
    }

    #[test]
    fn what_there_is_to_proxy() {
        let ports = json!([{"port": 80, "nodePort": 30080}, {"name": "u", "port": 53, "protocol": "UDP"}]);
        check(json!({"spec": {"clusterIP": "None", "ports": ports}}), None);
        check(json!({"spec": {"ports": ports}}), None);
        check(json!({"spec": {"type": "ExternalName", "externalName": "a"}}), None);
        for label in NOT_OURS {
            check(json!({"metadata": {"labels": {label: ""}}, "spec": {"clusterIP": "10.0.0.1"}}), None);
        }
        check(
            json!({"spec": {"clusterIPs": ["10.0.0.1", "fd00::1"], "ports": ports, "externalTrafficPolicy": "Local"}}),
            Some(
                "[10.0.0.1, fd00::1] [] [] Tcp:80/None,Udp:53/None affinity=None local=00 health=None refusals=0",
            ),
        );
        check(
            json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "ports": ports, "externalIPs": ["192.0.2.9"],
                "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local", "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}, "healthCheckNodePort": 30999}}),
            Some(
                "[10.0.0.1] [192.0.2.9] [] Tcp:80/Some(30080),Udp:53/None affinity=Some(60) local=11 health=None refusals=0",
            ),
        );
    }

    #[test]
    fn selection_is_by_table_where_the_annotation_says_so() {
        for (annotations, expect) in [
            (json!({"keelson.dev/selection": "maglev"}), true),
            (json!({"keelson.dev/selection": "random"}), false),
            (json!({"keelson.dev/selection": ""}), false),
            (json!({"keelson.dev/other": "maglev"}), false),
            (Value::Null, false),
        ] {
            let service = json!({"metadata": {"annotations": annotations}, "spec": {"clusterIP": "10.0.0.1",
                "ports": [{"port": 80}]}});
            let read = Service::read(&service).expect("a Service").expect("one to proxy");
            assert_eq!(read.consistent, expect, "{annotations}");
        }
    }

    #[test]
    fn load_balancers() {
        let spec = json!({"type": "LoadBalancer", "clusterIP": "10.0.0.1", "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 30999, "ports": [{"port": 80, "protocol": "SCTP"}]});
        let ingress = json!([{"ip": "192.0.2.1"}, {"ip": "192.0.2.2", "ipMode": "Proxy"}, {"hostname": "x"}]);
        let status = json!({"loadBalancer": {"ingress": ingress}});
        check(
            json!({"spec": spec, "status": status}),
            Some("[10.0.0.1] [] [192.0.2.1]  affinity=None local=01 health=Some(30999) refusals=1"),
        );
        let mut narrow = spec;
        narrow["loadBalancerSourceRanges"] = json!(["203.0.113.0/24"]);
        check(
            json!({"spec": narrow, "status": status}),
            Some("[10.0.0.1] [] [192.0.2.1]  affinity=None local=01 health=Some(30999) refusals=1"),
        );
        let ranges = |ranges: Value| {
            let read = Service::read(
                &json!({"spec": {"clusterIP": "10.0.0.1", "loadBalancerSourceRanges": ranges}}),
            );
            let read = read.unwrap().expect("a service to proxy");
            read.sources.map(|ranges| ranges.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(ranges(json!([])), None);
        assert_eq!(ranges(json!([" 203.0.113.7/24", "2001:db8::/32"])).unwrap().len(), 2);
        assert_eq!(ranges(json!(["everybody"])), Some(vec![]));
    }
}
