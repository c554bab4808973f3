//! Pods of this node: who they are, and what the datapath must have of them.
//!
//! ```text
//! <state dir>/endpoints/kn4d12418f9cc9   the register call as it came: pod name, cookie of the namespace
//! ```
//!
//! What is there is told by the kernel: a link with our alias is a pod, and without one there is none, whatever a
//! record says. A record only adds what the kernel cannot tell; one that is lost costs the pod's name in the log.
//!
//! Reference: cni-api's `agent` (the messages) and `host_link` (the alias).

mod plan;
mod registry;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use cni_api::agent::{Endpoint, PodName};
use cni_api::{CniError, Code, host_link};
use datapath::{HostPort, Transport};
use netlink::{Link, Mac, Neighbour, Route};

pub use plan::{Observed, Permit, Step, plan};
pub use registry::Registry;

/// Checks what a plugin registers against the link that is there.
pub fn check(endpoint: &Endpoint, link: Option<&Link>) -> Result<(), CniError> {
    let wrong = |what: String| Err(CniError::new(Code::InvalidConfig, what));
    let (v4, v6): (Vec<&IpAddr>, Vec<&IpAddr>) = endpoint.addresses.iter().partition(|ip| ip.is_ipv4());
    if endpoint.addresses.is_empty() || v4.len() > 1 || v6.len() > 1 {
        return wrong(format!("a pod has one address of a family or of both, not {:?}", endpoint.addresses));
    }
    if mac_of(endpoint).is_none() {
        return wrong(format!("{:?} is no Ethernet address", endpoint.pod_mac));
    }
    if let Some(mapping) = endpoint.port_mappings.iter().find(|m| transport_of(&m.protocol).is_none()) {
        let what = format!("{}:{}/{}", mapping.host_port, mapping.container_port, mapping.protocol);
        let msg = format!("host ports of this protocol are not supported by this network: {what}");
        return Err(CniError::new(Code::UnsupportedField, msg).details("TCP and UDP are; or use hostNetwork"));
    }
    let Some(link) = link else {
        return wrong(format!("there is no link {} in the agent's network namespace", endpoint.link));
    };
    let alias = host_link::alias(&endpoint.network, &endpoint.attachment);
    if link.index != endpoint.link_index || link.alias.as_ref() != Some(&alias) {
        return wrong(format!("link {} is not that of {alias:?}", endpoint.link));
    }
    Ok(())
}

/// The pod's own Ethernet address.
pub fn mac_of(endpoint: &Endpoint) -> Option<[u8; 6]> {
    endpoint.pod_mac.parse::<Mac>().ok().map(|mac| mac.0)
}

/// The protocol of a host port; None for one that is not supported.
fn transport_of(protocol: &str) -> Option<Transport> {
    match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Some(Transport::Tcp),
        "udp" => Some(Transport::Udp),
        _ => None,
    }
}

/// Where the datapath is to lead host ports of a pod: on every address of the node, or on the one that was asked for.
pub fn host_ports(endpoint: &Endpoint) -> Vec<(HostPort, SocketAddr)> {
    let mut ports = Vec::new();
    for mapping in endpoint.port_mappings.iter().filter(|mapping| mapping.host_port != 0) {
        let Some(transport) = transport_of(&mapping.protocol) else { continue };
        for ip in &endpoint.addresses {
            let any = match ip {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            };
            let address = mapping.host_ip.unwrap_or(any);
            if address.is_ipv4() == ip.is_ipv4() {
                let port = HostPort { address, port: mapping.host_port, transport };
                ports.push((port, SocketAddr::new(*ip, mapping.container_port)));
            }
        }
    }
    ports
}

/// What the kernel tells about the pod behind a link of ours.
pub fn recover(network: &str, link: &Link, routes: &[Route], neighbours: &[Neighbour]) -> Option<Endpoint> {
    let attachment = host_link::owner(network, link.alias.as_deref()?)?;
    let own = |route: &&Route| {
        route.link == Some(link.index) && route.destination.prefix_len() == route.destination.max_prefix_len()
    };
    let mut addresses: Vec<IpAddr> = routes.iter().filter(own).map(|r| r.destination.addr()).collect();
    // The kernel's own: multicast and link-local ones of IPv6.
    addresses.retain(|ip| !ip.is_multicast() && !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()));
    addresses.sort();
    addresses.dedup();
    let is_own = |there: &&Neighbour| there.link == link.index && addresses.contains(&there.address);
    let mac = neighbours.iter().filter(is_own).find_map(|there| there.mac)?;
    Some(Endpoint {
        network: network.to_owned(),
        attachment,
        netns: String::new(),
        netns_cookie: 0,
        link: link.name.clone(),
        link_index: link.index,
        host_mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        pod_mac: mac.to_string(),
        addresses,
        pod: PodName::default(),
        port_mappings: Vec::new(),
    })
}

/// A pod for tests.
#[cfg(test)]
pub fn example(container: &str, index: u32, address: &str) -> Endpoint {
    Endpoint {
        network: "keelson".to_owned(),
        attachment: cni_api::Attachment { container: container.to_owned(), ifname: "eth0".to_owned() },
        netns: "/run/netns/x".to_owned(),
        netns_cookie: u64::from(index) + 1000,
        link: format!("kn{index:012x}"),
        link_index: index,
        host_mac: "0a:00:00:00:00:01".to_owned(),
        pod_mac: "0e:00:00:00:00:01".to_owned(),
        addresses: vec![address.parse().unwrap()],
        pod: PodName::default(),
        port_mappings: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link_of(endpoint: &Endpoint) -> Link {
        let alias = host_link::alias(&endpoint.network, &endpoint.attachment);
        Link {
            index: endpoint.link_index,
            name: endpoint.link.clone(),
            alias: Some(alias),
            ..Link::default()
        }
    }

    #[test]
    fn registrations_are_checked_against_the_link() {
        let good = example("c1", 7, "10.244.0.5");
        let link = link_of(&good);
        assert_eq!(check(&good, Some(&link)), Ok(()));
        let refused = |change: &dyn Fn(&mut Endpoint), code: Code, part: &str| {
            let mut bad = good.clone();
            change(&mut bad);
            let error = check(&bad, Some(&link)).unwrap_err();
            assert!(error.code == code as u32 && error.msg.contains(part), "{error}");
        };
        refused(&|e| e.addresses.clear(), Code::InvalidConfig, "one address");
        refused(&|e| e.addresses.push("10.244.0.6".parse().unwrap()), Code::InvalidConfig, "one address");
        refused(&|e| e.pod_mac = "x".to_owned(), Code::InvalidConfig, "Ethernet");
        refused(&|e| e.link_index = 8, Code::InvalidConfig, "is not that of");
        refused(&|e| e.attachment.container = "c2".to_owned(), Code::InvalidConfig, "c2");
        let port = cni_api::PortMapping {
            host_port: 80,
            container_port: 8080,
            protocol: "sctp".to_owned(),
            host_ip: None,
        };
        refused(&|e| e.port_mappings.push(port.clone()), Code::UnsupportedField, "80:8080/sctp");
        assert!(check(&good, None).unwrap_err().msg.contains("no link"));
    }

    #[test]
    fn a_pod_is_recovered_from_the_kernel() {
        let pod = example("c1", 7, "10.244.0.5");
        let link = link_of(&pod);
        let routes = [
            Route::new("10.244.0.5/32".parse().unwrap(), None, 7),
            Route::new("10.244.0.6/32".parse().unwrap(), None, 8),
            Route::new("fe80::1/128".parse().unwrap(), None, 7),
            Route::new("10.244.0.0/22".parse().unwrap(), None, 7),
        ];
        let neighbours =
            [Neighbour::permanent(7, "10.244.0.5".parse().unwrap(), "0e:00:00:00:00:01".parse().unwrap())];
        let found = recover("keelson", &link, &routes, &neighbours).unwrap();
        assert_eq!((found.addresses, found.pod_mac), (pod.addresses, pod.pod_mac));
        assert_eq!(recover("other", &link, &routes, &neighbours), None);
        assert_eq!(recover("keelson", &link, &routes, &[]), None, "a pod that is not wired yet");
    }
}
