//! Frontends of a Service and where each shall lead. Pure.
//!
//! ```text
//!                          from pods and the node     from outside
//!   cluster IP             internalTrafficPolicy      -
//!   external IP, balancer  every endpoint             externalTrafficPolicy
//!   node port              every endpoint             externalTrafficPolicy
//! ```
//!
//! A frontend without endpoints is there and refuses. One that has some, but none that its external policy admits, is
//! silent. A cluster IP is not answered from outside. loadBalancerSourceRanges guard the balancer's addresses, from
//! inside too; a family without a range admits nobody.
//!
//! Reference: upstream's pkg/proxy/serviceport.go and iptables/proxier.go (traffic policies, short circuit).

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use client::Key;
use datapath::{Backend, Frontend, Scope, Traffic, Transport};
use ipnet::IpNet;

use crate::select::{Place, Selected, select};
use crate::service::{Service, ServicePort};
use crate::slice::Slice;

/// One port of one Service, over restarts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PortId {
    pub service: Key,
    pub name: String,
    pub transport: Transport,
}

/// A port and all its frontends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DesiredPort {
    pub id: PortId,
    pub leads: Vec<Lead>,
    /// Clients that may use the frontends that say so.
    pub sources: BTreeSet<IpNet>,
}

/// Where a frontend shall lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lead {
    pub frontend: Frontend,
    /// In order, each once, all of the frontend's family. None: refused.
    pub backends: Vec<Backend>,
    pub affinity_seconds: Option<u32>,
    pub traffic: Traffic,
}

/// On which addresses node ports are answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum NodePorts {
    /// On every address of the node.
    #[default]
    Everywhere,
    On(Vec<IpAddr>),
}

pub(crate) fn desired<'a, S: Iterator<Item = &'a Slice>>(
    key: &Key,
    service: &Service,
    slices: impl Fn() -> S,
    place: &Place,
    node_ports: &NodePorts,
) -> Vec<DesiredPort> {
    // An address may be named twice, as external and as a balancer's.
    let mut taken = HashSet::new();
    let mut ports = Vec::new();
    for port in &service.ports {
        let selected = select(port, slices(), place);
        let mut leads = leads(service, port, &selected, node_ports);
        leads.retain(|lead| taken.insert(lead.frontend));
        let id = PortId { service: key.clone(), name: port.name.clone(), transport: port.transport };
        let guarded = leads.iter().any(|lead| lead.traffic.sources);
        let sources = service.sources.iter().flatten().copied().filter(|_| guarded).collect();
        ports.push(DesiredPort { id, leads, sources });
    }
    ports
}

fn leads(service: &Service, port: &ServicePort, selected: &Selected, node_ports: &NodePorts) -> Vec<Lead> {
    let mut leads = Vec::new();
    let mut lead = |address: IpAddr, number: u16, scope: Scope, traffic: Traffic| {
        let stays = traffic.internal_local || traffic.external_local;
        let all = if stays { &selected.local } else { &selected.cluster };
        let own = |all: &[Backend]| -> Vec<Backend> {
            all.iter().filter(|backend| backend.is_ipv4() == address.is_ipv4()).copied().collect()
        };
        let backends = own(all);
        // A balancer's client that gets no answer is sent to another node; one that is refused gives up.
        let silent = traffic.external_local && backends.is_empty() && !own(&selected.cluster).is_empty();
        let traffic = Traffic { silent, consistent: service.consistent, ..traffic };
        leads.push(Lead {
            frontend: Frontend { address, port: number, transport: port.transport, scope },
            backends,
            affinity_seconds: service.affinity_seconds,
            traffic,
        });
    };
    let internal = Traffic { internal_local: service.internal_local, ..Traffic::default() };
    for address in &service.cluster_ips {
        lead(*address, port.port, Scope::Cluster, internal);
    }
    let outside = Traffic { external_local: service.external_local, ..Traffic::default() };
    for address in &service.external_ips {
        lead(*address, port.port, Scope::Cluster, Traffic::default());
        lead(*address, port.port, Scope::External, outside);
    }
    let sources = service.sources.as_ref().is_some_and(|ranges| ranges.iter().all(|r| r.prefix_len() > 0));
    for address in &service.balancer_ips {
        lead(*address, port.port, Scope::Cluster, Traffic { sources, ..Traffic::default() });
        lead(*address, port.port, Scope::External, Traffic { sources, ..outside });
    }
    if let Some(number) = port.node_port {
        for address in node_port_addresses(service, node_ports) {
            let inside = Traffic { node_port: true, ..Traffic::default() };
            lead(address, number, Scope::Cluster, inside);
            lead(address, number, Scope::External, Traffic { node_port: true, ..outside });
        }
    }
    leads
}

/// The node's addresses of the Service's families.
fn node_port_addresses(service: &Service, node_ports: &NodePorts) -> Vec<IpAddr> {
    let has = |ipv4: bool| service.cluster_ips.iter().any(|address| address.is_ipv4() == ipv4);
    let everywhere = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let addresses = match node_ports {
        NodePorts::Everywhere => &everywhere[..],
        NodePorts::On(addresses) => addresses,
    };
    addresses.iter().copied().filter(|address| has(address.is_ipv4())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Each frontend with the last parts of its backends.
    fn shown(spec: Value, status: Value, node_ports: &NodePorts) -> Vec<String> {
        let service =
            Service::read(&json!({"spec": spec, "status": status})).unwrap().expect("a service to proxy");
        let slice = |address: [&str; 2]| {
            let value = json!({"ports": [{"name": "", "port": 8080}], "endpoints": [
                {"addresses": [address[0]], "nodeName": "here"}, {"addresses": [address[1]], "nodeName": "there"}]});
            Slice::read(&value).expect("a slice").0
        };
        let slices = [slice(["10.1.0.1", "10.1.0.2"]), slice(["fd00::1", "fd00::2"])];
        let place = Place { node: "here".into(), zone: String::new() };
        let ports = desired(&Key::new("n", "s"), &service, || slices.iter(), &place, node_ports);
        let text = |lead: &Lead| {
            let Frontend { address, port, scope, .. } = lead.frontend;
            let backends: Vec<String> =
                lead.backends.iter().map(|backend| backend.ip().to_string()).collect();
            format!("{scope:?} {address} {port} -> {}", backends.join(" "))
        };
        ports.iter().flat_map(|port| &port.leads).map(text).collect()
    }

    #[test]
    fn cluster_ips() {
        let ports = json!([{"port": 80}]);
        assert_eq!(
            shown(
                json!({"clusterIPs": ["10.96.0.1", "fd00::96"], "ports": ports}),
                json!({}),
                &NodePorts::default()
            ),
            ["Cluster 10.96.0.1 80 -> 10.1.0.1 10.1.0.2", "Cluster fd00::96 80 -> fd00::1 fd00::2"]
        );
        let local = json!({"clusterIP": "10.96.0.1", "ports": ports, "internalTrafficPolicy": "Local"});
        assert_eq!(shown(local, json!({}), &NodePorts::default()), ["Cluster 10.96.0.1 80 -> 10.1.0.1"]);
        let other = json!({"clusterIP": "10.96.0.1", "ports": [{"name": "other", "port": 80}]});
        assert_eq!(shown(other, json!({}), &NodePorts::default()), ["Cluster 10.96.0.1 80 -> "]);
    }

    #[test]
    fn selection_by_table_holds_for_every_frontend() {
        let service = |annotations: Value| {
            let spec = json!({"type": "NodePort", "clusterIP": "10.96.0.1", "externalIPs": ["192.0.2.9"],
                "ports": [{"port": 80, "nodePort": 30080}]});
            let service = json!({"metadata": {"annotations": annotations}, "spec": spec});
            let service = Service::read(&service).unwrap().expect("a service to proxy");
            let place = Place { node: "here".into(), zone: String::new() };
            let key = Key::new("n", "s");
            let ports = desired(&key, &service, std::iter::empty, &place, &NodePorts::default());
            let leads = ports.iter().flat_map(|port| &port.leads);
            leads.map(|lead| lead.traffic.consistent).collect::<Vec<bool>>()
        };
        assert_eq!(service(json!({"keelson.dev/selection": "maglev"})), [true; 5]);
        assert_eq!(service(json!({})), [false; 5]);
    }

    #[test]
    fn from_outside() {
        let spec = json!({"type": "LoadBalancer", "clusterIP": "10.96.0.1", "externalTrafficPolicy": "Local",
            "ports": [{"port": 80, "nodePort": 30080}], "externalIPs": ["192.0.2.9", "192.0.2.8"]});
        let status = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.8"}]}});
        let all = "10.1.0.1 10.1.0.2";
        assert_eq!(
            shown(spec.clone(), status, &NodePorts::default()),
            [
                format!("Cluster 10.96.0.1 80 -> {all}"),
                format!("Cluster 192.0.2.9 80 -> {all}"),
                "External 192.0.2.9 80 -> 10.1.0.1".into(),
                format!("Cluster 192.0.2.8 80 -> {all}"),
                "External 192.0.2.8 80 -> 10.1.0.1".into(),
                format!("Cluster 0.0.0.0 30080 -> {all}"),
                "External 0.0.0.0 30080 -> 10.1.0.1".into(),
            ]
        );
        let narrow = NodePorts::On(vec!["198.51.100.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
        let last = shown(spec, json!({}), &narrow).pop();
        assert_eq!(last.as_deref(), Some("External 198.51.100.1 30080 -> 10.1.0.1"));
    }
}
