//! What the proxy needs of a Service, read from its JSON.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr as _;

use api::meta::Meta;
use datapath::Transport;
use ipnet::IpNet;
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

impl Service {
    /// Reads a Service; `None` where there is nothing to proxy.
    pub(crate) fn read(service: &Value) -> Option<Service> {
        let spec = &service["spec"];
        if spec["type"] == "ExternalName" || !is_ours(service) {
            return None;
        }
        let mut cluster_ips = addresses(&spec["clusterIPs"]);
        if cluster_ips.is_empty() {
            cluster_ips.extend(address(&spec["clusterIP"]));
        }
        // Headless, or not allocated yet.
        if cluster_ips.is_empty() {
            return None;
        }
        let mut refusals = Vec::new();
        let balancer_ips = balancer_ips(service);
        let external = spec["type"] == "NodePort" || spec["type"] == "LoadBalancer";
        let external_ips = addresses(&spec["externalIPs"]);
        let external_local =
            (external || !external_ips.is_empty()) && spec["externalTrafficPolicy"] == "Local";
        let health_check_port = (spec["type"] == "LoadBalancer" && external_local)
            .then(|| number(&spec["healthCheckNodePort"]))
            .flatten();
        Some(Service {
            ports: ports(spec, external, &mut refusals),
            cluster_ips,
            external_ips,
            balancer_ips,
            affinity_seconds: affinity(spec),
            internal_local: spec["internalTrafficPolicy"] == "Local",
            external_local,
            health_check_port,
            sources: sources(spec, &mut refusals),
            consistent: Meta::of(service).annotation(SELECTION) == Some("maglev"),
            refusals,
        })
    }
}

/// Whether no label says otherwise.
pub(crate) fn is_ours(object: &Value) -> bool {
    NOT_OURS.iter().all(|label| Meta::of(object).label(label).is_none())
}

fn ports(spec: &Value, external: bool, refusals: &mut Vec<String>) -> Vec<ServicePort> {
    let mut ports = Vec::new();
    for port in list(&spec["ports"]) {
        let name = port["name"].as_str().unwrap_or_default().to_owned();
        let transport = match port["protocol"].as_str().unwrap_or("TCP") {
            "TCP" => Transport::Tcp,
            "UDP" => Transport::Udp,
            other => {
                refusals.push(format!("Port {name:?} is not proxied: protocol {other} is not supported"));
                continue;
            }
        };
        let Some(wanted) = number(&port["port"]) else { continue };
        let node_port = if external { number(&port["nodePort"]) } else { None };
        ports.push(ServicePort { name, transport, port: wanted, node_port });
    }
    ports
}

fn affinity(spec: &Value) -> Option<u32> {
    (spec["sessionAffinity"] == "ClientIP").then(|| {
        let seconds = spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].as_u64();
        seconds.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(AFFINITY_SECONDS)
    })
}

fn balancer_ips(service: &Value) -> Vec<IpAddr> {
    let ingress = list(&service["status"]["loadBalancer"]["ingress"]);
    // With ipMode Proxy the packets come to a node port.
    let own = ingress.iter().filter(|entry| entry["ipMode"].as_str().unwrap_or("VIP") == "VIP");
    own.filter_map(|entry| address(&entry["ip"])).collect()
}

/// What cannot be read admits nobody: open to all would be worse than closed.
fn sources(spec: &Value, refusals: &mut Vec<String>) -> Option<BTreeSet<IpNet>> {
    let ranges = list(&spec["loadBalancerSourceRanges"]);
    if ranges.is_empty() {
        return None;
    }
    let mut read = BTreeSet::new();
    for range in ranges {
        match range.as_str().and_then(|range| IpNet::from_str(range.trim()).ok()) {
            Some(range) => drop(read.insert(range.trunc())),
            None => {
                refusals.push(format!("{range} of loadBalancerSourceRanges is no range: it admits nobody"))
            }
        }
    }
    Some(read)
}

pub(crate) fn number(value: &Value) -> Option<u16> {
    u16::try_from(value.as_u64()?).ok().filter(|number| *number != 0)
}

fn address(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}

fn addresses(value: &Value) -> Vec<IpAddr> {
    list(value).iter().filter_map(address).collect()
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
        let shown = Service::read(&service).map(|service| {
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
            read.unwrap().sources.map(|ranges| ranges.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(ranges(json!([])), None);
        assert_eq!(ranges(json!([" 203.0.113.7/24", "2001:db8::/32"])).unwrap().len(), 2);
        assert_eq!(ranges(json!(["everybody"])), Some(vec![]));
    }
}
