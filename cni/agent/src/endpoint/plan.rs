//! What the datapath must have of the pods, and what is to be done. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use cni_api::agent::Endpoint;
use datapath::{EndpointState, HostPort, Isolation};

use super::{host_ports, mac_of};

/// What the datapath has.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub endpoints: Vec<(IpAddr, datapath::Endpoint)>,
    pub namespaces: Vec<(u64, Vec<IpAddr>)>,
    pub host_ports: BTreeMap<HostPort, SocketAddr>,
    /// Indexes of pods' links that have their programs.
    pub attached: BTreeSet<u32>,
    /// Indexes of all links that programs are pinned for.
    pub pinned: BTreeSet<u32>,
    /// The node's own namespace; none where sockets are not translated.
    pub own_namespace: Option<u64>,
}

/// In the order in which they are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An address that is nobody's any more, and what leads to it.
    RemoveAddress(IpAddr),
    RemoveNamespace(u64),
    Put(IpAddr, datapath::Endpoint),
    Attach {
        link: String,
    },
    Namespace(u64, Vec<IpAddr>),
    /// They go with the pod's address.
    HostPort(HostPort, SocketAddr),
    /// Pins of links that are gone.
    ForgetVanished,
}

/// What policies say of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permit {
    /// Numeric identity; 0 where no policy selects it.
    pub identity: u32,
    pub isolation: Isolation,
}

/// A new pod is PENDING until its programs are attached and its policies are in place: `permit` says what they say, or
/// nothing while nobody knows. Then a pod that is READY stays as it is.
pub fn plan(
    desired: &[&Endpoint],
    observed: &Observed,
    links: &BTreeSet<u32>,
    permit: &dyn Fn(&Endpoint) -> Option<Permit>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let is_wanted = |ip: &IpAddr| desired.iter().any(|endpoint| endpoint.addresses.contains(ip));
    let stale = observed.endpoints.iter().filter(|(ip, _)| !is_wanted(ip));
    steps.extend(stale.map(|(ip, _)| Step::RemoveAddress(*ip)));
    let is_known = |cookie: &u64| {
        Some(*cookie) == observed.own_namespace || desired.iter().any(|e| e.netns_cookie == *cookie)
    };
    // Without a cookie of every pod nobody knows which entry is stale, unless its addresses say so.
    let orphan = observed
        .namespaces
        .iter()
        .filter(|(cookie, addresses)| !is_known(cookie) && !addresses.iter().any(is_wanted));
    steps.extend(orphan.map(|(cookie, _)| Step::RemoveNamespace(*cookie)));
    for endpoint in desired {
        steps.extend(of_one(endpoint, observed, permit(endpoint)));
    }
    if observed.pinned.iter().any(|index| !links.contains(index)) {
        steps.push(Step::ForgetVanished);
    }
    steps
}

fn of_one(endpoint: &Endpoint, observed: &Observed, permit: Option<Permit>) -> Vec<Step> {
    let Some(mac) = mac_of(endpoint) else { return Vec::new() };
    let entry = |state| {
        let Permit { identity, isolation } = permit.unwrap_or_default();
        datapath::Endpoint { link: endpoint.link_index, mac, identity, state, isolation }
    };
    let ready = entry(EndpointState::Ready);
    let (mut missing, mut other) = (Vec::new(), Vec::new());
    for ip in &endpoint.addresses {
        let there = observed.endpoints.iter().find(|(known, _)| known == ip).map(|(_, there)| *there);
        match there {
            // The same pod under another policy: it never stops.
            Some(there) if is_same_pod(&there, &ready) => {
                if permit.is_some() && there != ready {
                    other.push(*ip);
                }
            }
            _ => missing.push(*ip),
        }
    }
    let mut steps: Vec<Step> =
        missing.iter().map(|ip| Step::Put(*ip, entry(EndpointState::Pending))).collect();
    if !observed.attached.contains(&endpoint.link_index) {
        steps.push(Step::Attach { link: endpoint.link.clone() });
    }
    let cookie = endpoint.netns_cookie;
    let translated = observed.own_namespace.is_some() && cookie != 0;
    if translated && !observed.namespaces.contains(&(cookie, endpoint.addresses.clone())) {
        steps.push(Step::Namespace(cookie, endpoint.addresses.clone()));
    }
    let absent = |(port, pod): &(HostPort, SocketAddr)| observed.host_ports.get(port) != Some(pod);
    steps
        .extend(host_ports(endpoint).into_iter().filter(absent).map(|(port, pod)| Step::HostPort(port, pod)));
    if permit.is_some() {
        steps.extend(missing.iter().chain(&other).map(|ip| Step::Put(*ip, ready)));
    }
    steps
}

fn is_same_pod(there: &datapath::Endpoint, ready: &datapath::Endpoint) -> bool {
    (there.link, there.mac, there.state) == (ready.link, ready.mac, ready.state)
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    const OWN: u64 = 1;

    /// No policy selects any.
    fn free(_: &Endpoint) -> Option<Permit> {
        Some(Permit::default())
    }

    fn entry(link: u32, state: EndpointState) -> datapath::Endpoint {
        datapath::Endpoint {
            link,
            mac: [0x0e, 0, 0, 0, 0, 1],
            identity: 0,
            state,
            isolation: Default::default(),
        }
    }

    fn complete(endpoints: &[&Endpoint]) -> Observed {
        Observed {
            endpoints: endpoints
                .iter()
                .map(|e| (e.addresses[0], entry(e.link_index, EndpointState::Ready)))
                .collect(),
            namespaces: endpoints.iter().map(|e| (e.netns_cookie, e.addresses.clone())).collect(),
            attached: endpoints.iter().map(|e| e.link_index).collect(),
            pinned: endpoints.iter().map(|e| e.link_index).collect(),
            own_namespace: Some(OWN),
            ..Observed::default()
        }
    }

    #[test]
    fn a_new_pod_is_pending_until_its_programs_are_attached() {
        let pod = example("c1", 7, "10.244.0.5");
        let ip = pod.addresses[0];
        let observed = Observed { own_namespace: Some(OWN), ..Observed::default() };
        let steps = plan(&[&pod], &observed, &[7].into(), &free);
        assert_eq!(
            steps,
            [
                Step::Put(ip, entry(7, EndpointState::Pending)),
                Step::Attach { link: pod.link.clone() },
                Step::Namespace(1007, vec![ip]),
                Step::Put(ip, entry(7, EndpointState::Ready)),
            ]
        );
    }

    #[test]
    fn host_ports_are_of_the_families_of_their_addresses() {
        let mut pod = example("c1", 7, "10.244.0.5");
        pod.addresses.push("fd00::5".parse().unwrap());
        let port = |host_ip: Option<&str>, protocol: &str| cni_api::PortMapping {
            host_port: 80,
            container_port: 8080,
            protocol: protocol.to_owned(),
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        };
        let mut observed = complete(&[&pod]);
        observed.endpoints.push((pod.addresses[1], entry(7, EndpointState::Ready)));
        let check = |mapping: cni_api::PortMapping, expect: &[&str]| {
            let pod = Endpoint { port_mappings: vec![mapping], ..pod.clone() };
            let steps = plan(&[&pod], &observed, &[7].into(), &free);
            let text = |step: &Step| match step {
                Step::HostPort(port, to) => {
                    format!("{:?} {}:{} to {to}", port.transport, port.address, port.port)
                }
                other => format!("{other:?}"),
            };
            assert_eq!(steps.iter().map(text).collect::<Vec<_>>(), expect);
        };
        check(port(None, "TCP"), &["Tcp 0.0.0.0:80 to 10.244.0.5:8080", "Tcp :::80 to [fd00::5]:8080"]);
        check(port(Some("192.0.2.1"), "udp"), &["Udp 192.0.2.1:80 to 10.244.0.5:8080"]);
        let known = super::host_ports(&Endpoint { port_mappings: vec![port(None, "tcp")], ..pod.clone() });
        observed.host_ports.extend(known);
        let pod = Endpoint { port_mappings: vec![port(None, "tcp")], ..pod.clone() };
        assert_eq!(plan(&[&pod], &observed, &[7].into(), &free), []);
    }

    #[test]
    fn what_is_complete_needs_nothing() {
        let (a, b) = (example("a", 7, "10.244.0.5"), example("b", 8, "fd00::5"));
        assert_eq!(plan(&[&a, &b], &complete(&[&a, &b]), &[7, 8].into(), &free), []);
    }

    #[test]
    fn only_what_differs_is_planned() {
        let pod = example("c1", 7, "10.244.0.5");
        let ip = pod.addresses[0];
        let check = |damage: &dyn Fn(&mut Observed), expect: &[Step]| {
            let mut observed = complete(&[&pod]);
            observed.namespaces.push((OWN, vec![]));
            damage(&mut observed);
            assert_eq!(plan(&[&pod], &observed, &[7].into(), &free), expect);
        };
        check(&|_| {}, &[]);
        check(&|o| o.attached.clear(), &[Step::Attach { link: pod.link.clone() }]);
        check(&|o| o.namespaces.clear(), &[Step::Namespace(1007, vec![ip])]);
        let other: IpAddr = "10.244.0.9".parse().unwrap();
        check(
            &|o| {
                o.endpoints.push((other, entry(9, EndpointState::Ready)));
                o.namespaces.push((1009, vec![other]));
                o.pinned.insert(9);
            },
            &[Step::RemoveAddress(other), Step::RemoveNamespace(1009), Step::ForgetVanished],
        );
        // A kill between the two states.
        check(
            &|o| o.endpoints[0].1.state = EndpointState::Pending,
            &[Step::Put(ip, entry(7, EndpointState::Pending)), Step::Put(ip, entry(7, EndpointState::Ready))],
        );
    }

    #[test]
    fn a_pod_without_a_record_keeps_its_namespace() {
        let mut pod = example("c1", 7, "10.244.0.5");
        let observed = complete(&[&pod]);
        pod.netns_cookie = 0;
        assert_eq!(plan(&[&pod], &observed, &[7].into(), &free), []);
    }

    #[test]
    fn a_pod_waits_for_its_policies_and_never_stops_for_new_ones() {
        let pod = example("c1", 7, "10.244.0.5");
        let ip = pod.addresses[0];
        let isolated = Permit { identity: 300, isolation: Isolation { ingress: true, egress: false } };
        let isolated_entry = datapath::Endpoint {
            identity: 300,
            isolation: isolated.isolation,
            ..entry(7, EndpointState::Ready)
        };
        let nothing = Observed { own_namespace: Some(OWN), ..Observed::default() };
        let steps = plan(&[&pod], &nothing, &[7].into(), &|_| None);
        assert!(steps.contains(&Step::Put(ip, entry(7, EndpointState::Pending))), "{steps:?}");
        let is_ready = |step: &Step| matches!(step, Step::Put(_, to) if to.state == EndpointState::Ready);
        assert!(!steps.iter().any(is_ready), "{steps:?}");
        let there = complete(&[&pod]);
        assert_eq!(plan(&[&pod], &there, &[7].into(), &|_| None), [], "it stays as it is");
        let steps = plan(&[&pod], &there, &[7].into(), &|_| Some(isolated));
        assert_eq!(steps, [Step::Put(ip, isolated_entry)]);
    }
}
