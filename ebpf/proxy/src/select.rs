//! Which endpoints take a Service's traffic. Pure.
//!
//! Ready ones; where there are none, those that terminate and still serve; judged separately for all of the cluster
//! and for this node. Hints (for nodes, then for zones) are honoured where every ready endpoint has some and one is
//! meant for us.
//!
//! Reference: upstream's pkg/proxy/topology.go; KEP-1669 (terminating endpoints), KEP-2433 and KEP-3015 (hints).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::service::ServicePort;
use crate::slice::{Endpoint, Slice};

/// Where we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub node: String,
    /// Empty where it is unknown.
    pub zone: String,
}

/// The endpoints of one port, each once, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selected {
    /// For traffic that may go anywhere.
    pub cluster: Vec<SocketAddr>,
    /// For traffic that must stay on this node.
    pub local: Vec<SocketAddr>,
}

pub(crate) fn select<'a>(
    port: &ServicePort,
    slices: impl Iterator<Item = &'a Slice>,
    place: &Place,
) -> Selected {
    let endpoints = merged(port, slices);
    let hinted = hinted(&endpoints, place);
    let here = |endpoint: &Endpoint| !place.node.is_empty() && *endpoint.node == *place.node;
    Selected {
        cluster: usable(&endpoints, |endpoint| hinted.admits(endpoint, place), |_| true),
        local: usable(&endpoints, here, here),
    }
}

/// How many pods of this node are ready, whatever their ports.
pub(crate) fn ready_here<'a>(slices: impl Iterator<Item = &'a Slice>, place: &Place) -> usize {
    let endpoints = slices.flat_map(|slice| &*slice.endpoints);
    let here = endpoints.filter(|endpoint| endpoint.ready && *endpoint.node == *place.node);
    here.map(|endpoint| endpoint.address).collect::<BTreeSet<_>>().len()
}

/// Ready ones that `wanted` admits, or else those of `fallback` that serve until they end.
fn usable(
    endpoints: &BTreeMap<SocketAddr, &Endpoint>,
    wanted: impl Fn(&Endpoint) -> bool,
    fallback: impl Fn(&Endpoint) -> bool,
) -> Vec<SocketAddr> {
    let pick = |admits: &dyn Fn(&Endpoint) -> bool| -> Vec<SocketAddr> {
        endpoints.iter().filter(|(_, endpoint)| admits(endpoint)).map(|(socket, _)| *socket).collect()
    };
    let ready = pick(&|endpoint| endpoint.ready && wanted(endpoint));
    if !ready.is_empty() {
        return ready;
    }
    pick(&|endpoint| endpoint.serving && endpoint.terminating && fallback(endpoint))
}

/// Endpoints of all slices by socket. An endpoint that two slices name is ready if either says so.
fn merged<'a>(
    port: &ServicePort,
    slices: impl Iterator<Item = &'a Slice>,
) -> BTreeMap<SocketAddr, &'a Endpoint> {
    let mut endpoints: BTreeMap<SocketAddr, &Endpoint> = BTreeMap::new();
    for slice in slices {
        let fits = slice.ports.iter().filter(|p| p.name == port.name && p.transport == port.transport);
        for number in fits.map(|port| port.port) {
            for endpoint in &*slice.endpoints {
                let known = endpoints.entry(SocketAddr::new(endpoint.address, number)).or_insert(endpoint);
                if endpoint.ready && !known.ready {
                    *known = endpoint;
                }
            }
        }
    }
    endpoints
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hinted {
    No,
    Node,
    Zone,
}

fn hinted(endpoints: &BTreeMap<SocketAddr, &Endpoint>, place: &Place) -> Hinted {
    let ready: Vec<&Endpoint> = endpoints.values().copied().filter(|endpoint| endpoint.ready).collect();
    let all = |hints: fn(&Endpoint) -> &[String], own: &String| {
        !ready.is_empty()
            && ready.iter().all(|endpoint| !hints(endpoint).is_empty())
            && ready.iter().any(|endpoint| hints(endpoint).contains(own))
    };
    if all(|endpoint| &endpoint.nodes, &place.node) {
        Hinted::Node
    } else if all(|endpoint| &endpoint.zones, &place.zone) {
        Hinted::Zone
    } else {
        Hinted::No
    }
}

impl Hinted {
    fn admits(self, endpoint: &Endpoint, place: &Place) -> bool {
        match self {
            Hinted::No => true,
            Hinted::Node => endpoint.nodes.contains(&place.node),
            Hinted::Zone => endpoint.zones.contains(&place.zone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datapath::Transport;
    use serde_json::{Value, json};

    /// Endpoints as rows of address, state and node; the last letters of the addresses that are selected.
    #[track_caller]
    fn check(rows: &[(&str, &str, &str)], cluster: &[&str], local: &[&str]) {
        let endpoints: Vec<Value> = rows
            .iter()
            .map(|(address, state, node)| {
                let (ready, serving, terminating) = match *state {
                    "ready" => (true, true, false),
                    "ending" => (false, true, true),
                    "gone" => (false, false, true),
                    _ => (false, false, false),
                };
                json!({"addresses": [address], "nodeName": node,
                    "conditions": {"ready": ready, "serving": serving, "terminating": terminating}})
            })
            .collect();
        check_slices(
            &[json!({"ports": [{"name": "p", "port": 80}], "endpoints": endpoints})],
            cluster,
            local,
        );
    }

    #[track_caller]
    fn check_slices(slices: &[Value], cluster: &[&str], local: &[&str]) {
        let port = ServicePort { name: "p".into(), transport: Transport::Tcp, port: 8, node_port: None };
        let slices: Vec<Slice> = slices.iter().map(|slice| Slice::read(slice).expect("a slice").0).collect();
        let place = Place { node: "here".into(), zone: "z".into() };
        let selected = select(&port, slices.iter(), &place);
        let text = |sockets: &[SocketAddr]| sockets.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!((text(&selected.cluster), text(&selected.local)), (text_of(cluster), text_of(local)));
    }

    fn text_of(sockets: &[&str]) -> Vec<String> {
        sockets.iter().map(|socket| (*socket).to_owned()).collect()
    }

    #[test]
    fn ready_or_else_ending() {
        let (a, b, c) = ("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80");
        check(&[], &[], &[]);
        check(&[("10.0.0.1", "ready", "here"), ("10.0.0.2", "ready", "there")], &[a, b], &[a]);
        check(&[("10.0.0.1", "no", "here"), ("10.0.0.2", "ready", "there")], &[b], &[]);
        check(&[("10.0.0.1", "ending", "here"), ("10.0.0.2", "ready", "there")], &[b], &[a]);
        check(&[("10.0.0.1", "ending", "here"), ("10.0.0.2", "gone", "here")], &[a], &[a]);
        check(&[("10.0.0.1", "ready", "here"), ("10.0.0.3", "ending", "here")], &[a], &[a]);
        check(&[("10.0.0.1", "gone", "here"), ("10.0.0.3", "ending", "there")], &[c], &[]);
        check(&[("10.0.0.1", "ready", "")], &[a], &[]);
    }

    #[test]
    fn slices_are_merged() {
        let slice = |port: Value, address: &str, ready: bool| json!({"ports": [port], "endpoints": [{"addresses": [address], "conditions": {"ready": ready}}]});
        check_slices(
            &[
                slice(json!({"name": "p", "port": 80}), "10.0.0.1", false),
                slice(json!({"name": "p", "port": 80}), "10.0.0.1", true),
                // Another release of the pods listens elsewhere.
                slice(json!({"name": "p", "port": 81}), "10.0.0.2", true),
                slice(json!({"name": "q", "port": 80}), "10.0.0.3", true),
                slice(json!({"name": "p", "port": 80, "protocol": "UDP"}), "10.0.0.4", true),
                slice(json!({"name": "p", "port": 80}), "fd00::1", true),
            ],
            &["10.0.0.1:80", "10.0.0.2:81", "[fd00::1]:80"],
            &[],
        );
    }

    #[test]
    fn hints() {
        let endpoint = |address: &str, zone: &str, node: &str| {
            let hint = |name: &str| if name.is_empty() { json!([]) } else { json!([{"name": name}]) };
            json!({"addresses": [address], "hints": {"forZones": hint(zone), "forNodes": hint(node)}})
        };
        let slices =
            |endpoints: Value| [json!({"ports": [{"name": "p", "port": 80}], "endpoints": endpoints})];
        let (a, b) = ("10.0.0.1:80", "10.0.0.2:80");
        let in_zones = json!([endpoint("10.0.0.1", "z", ""), endpoint("10.0.0.2", "y", "")]);
        check_slices(&slices(in_zones), &[a], &[]);
        let one_without = json!([endpoint("10.0.0.1", "z", ""), endpoint("10.0.0.2", "", "")]);
        check_slices(&slices(one_without), &[a, b], &[]);
        let not_for_us = json!([endpoint("10.0.0.1", "x", ""), endpoint("10.0.0.2", "y", "")]);
        check_slices(&slices(not_for_us), &[a, b], &[]);
        let for_nodes = json!([endpoint("10.0.0.1", "z", "there"), endpoint("10.0.0.2", "y", "here")]);
        check_slices(&slices(for_nodes), &[b], &[]);
    }
}
