//! The node's own part of the pod network: what is wanted, what is there, what is to be done. Pure; `execute` acts.
//!
//! ```text
//!  keelson0  10.244.0.1/32 ── veth ── keelson1  program from_host, no address
//!   10.244.0.0/16, 10.96.0.0/16 via 169.254.1.1 onlink, from 10.244.0.1
//!   169.254.1.1 is keelson1's Ethernet address, permanently
//!  eth0      10.244.4.0/22 via 192.0.2.2       one route for every other node on the same network
//! ```
//!
//! So ClusterIPs and pods are reached from the host also without any uplink: whatever is not a pod of this node (each
//! has a route of its own over its link) goes to the program behind the pair.
//!
//! A node that no network of the uplink reaches has its route through the tunnel (`overlay`), from an address of this node's
//! own range: the answer comes back through the tunnel, too. Without a tunnel it is named as unreachable.
//!
//! **Invariants.** `plan` is total and pure: nothing missing, no step. Routes of ours carry [`PROTOCOL`]; nobody
//! else's is ever removed or replaced.

mod execute;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::IpNet;
use netlink::{Address, Link, Mac, Neighbour, Route};

use crate::names::{GATEWAY_MAC, Names, PEER_MAC};
use crate::node::Node;
use crate::uplink::Uplink;

pub use execute::{Host, NetworkError};

/// RTPROT_* of our routes: a number that nobody has registered.
pub const PROTOCOL: u8 = 75;

/// Where the ranges go: addresses that exist nowhere, as on the pods' side.
const NEXT_HOP_IPV4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
const NEXT_HOP_IPV6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// What the node shall have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    pub gateway: String,
    pub peer: String,
    /// The node's own addresses on the pod network.
    pub addresses: Vec<IpAddr>,
    /// Through the gateway: pods and services.
    pub ranges: Vec<IpNet>,
    /// Pods of other nodes, and how they are reached.
    pub nodes: Vec<Way>,
    /// Nodes that cannot be reached directly, for people.
    pub unreachable: Vec<String>,
}

/// The route to the pods of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    pub to: IpNet,
    pub via: IpAddr,
    pub link: u32,
    /// Through the tunnel, from this address.
    pub tunnelled: bool,
    pub source: Option<IpAddr>,
}

/// The tunnel, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    pub index: u32,
    /// Also to nodes that are near.
    pub always: bool,
}

/// What the kernel has of it.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub gateway: Option<Link>,
    pub peer: Option<Link>,
    /// Of the gateway.
    pub addresses: Vec<Address>,
    pub neighbours: Vec<Neighbour>,
    /// All routes with our protocol number.
    pub routes: Vec<Route>,
    /// Sysctls that are not as they should be.
    pub sysctls: Vec<Sysctl>,
    pub ipv6: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    pub path: PathBuf,
    pub value: &'static str,
}

/// In the order in which they are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    MakePair,
    Sysctl(Sysctl),
    /// One batch on an end of the pair.
    Change {
        peer: bool,
        objects: Vec<Object>,
    },
    RouteToNode {
        way: Way,
        replace: bool,
    },
    RemoveAddress(Address),
    RemoveRoute(Route),
}

/// Something on one end of the pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    NoLinkLocal,
    Up,
    Address(IpNet),
    Neighbour(IpAddr, Mac),
    /// A range from an own address; the flag says that one of ours is there and differs.
    Range {
        to: IpNet,
        source: Option<IpAddr>,
        replace: bool,
    },
}

/// The node's own address in its range of pods.
pub fn gateway_address(range: IpNet) -> IpAddr {
    match range.network() {
        IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits().saturating_add(1)).into(),
        IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits().saturating_add(1)).into(),
    }
}

/// Next hop of the route through the tunnel to a node's range. IPv4: that node's own address. IPv6 takes no next hop that another
/// route of this node leads to, and that to all pods does: an address of the link alone, which differs where ranges do.
pub fn tunnel_hop(range: IpNet) -> IpAddr {
    match gateway_address(range) {
        IpAddr::V6(own) => {
            let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).to_bits();
            let folded = (own.to_bits() >> 64) ^ (own.to_bits() & u128::from(u64::MAX));
            Ipv6Addr::from_bits(link_local | folded).into()
        }
        own => own,
    }
}

impl Desired {
    /// `own`: this node's ranges. `ranges`: of all pods and services.
    pub fn new(
        names: &Names,
        own: &Node,
        ranges: &[IpNet],
        others: &[Node],
        uplink: Option<&Uplink>,
        tunnel: Option<Tunnel>,
    ) -> Desired {
        let mut desired = Desired {
            gateway: names.gateway.clone(),
            peer: names.peer.clone(),
            addresses: own.ranges.iter().map(|range| gateway_address(*range)).collect(),
            ..Desired::default()
        };
        // Without an address of its family nothing could be sent from here.
        let has = |range: &&IpNet| desired.addresses.iter().any(|own| same_family(*own, range.addr()));
        let ranges: Vec<IpNet> = ranges.iter().filter(has).copied().collect();
        desired.ranges = ranges;
        for other in others {
            for range in &other.ranges {
                match desired.way(other, *range, uplink, tunnel) {
                    Some(way) => desired.nodes.push(way),
                    None => desired.unreachable.push(other.name.clone()),
                }
            }
        }
        desired.unreachable.dedup();
        desired
    }

    /// Over the uplink where a network of it reaches the node, else through the tunnel.
    fn way(&self, other: &Node, to: IpNet, uplink: Option<&Uplink>, tunnel: Option<Tunnel>) -> Option<Way> {
        let to = to.trunc();
        let uplink = uplink?;
        let near = other.address(to.addr().is_ipv6()).filter(|via| uplink.is_direct(*via));
        match (near, tunnel) {
            (Some(via), tunnel) if !tunnel.is_some_and(|tunnel| tunnel.always) => {
                Some(Way { to, via, link: uplink.index, tunnelled: false, source: None })
            }
            (_, Some(tunnel)) if !other.addresses.is_empty() => {
                let via = tunnel_hop(to);
                let source = self.addresses.iter().copied().find(|own| same_family(*own, via));
                Some(Way { to, via, link: tunnel.index, tunnelled: true, source })
            }
            _ => None,
        }
    }

    fn sysctls(&self, ipv6: bool) -> Vec<Sysctl> {
        let sysctl = |family: &str, link: &str, name: &str, value| {
            let path = PathBuf::from(format!("/proc/sys/net/{family}/conf/{link}/{name}"));
            Sysctl { path, value }
        };
        // Answers of pods come in here whose own routes lead over their links: loose, also where "all" is strict.
        let mut all = vec![sysctl("ipv4", &self.gateway, "rp_filter", "2")];
        if ipv6 {
            all.extend([&self.gateway, &self.peer].map(|link| sysctl("ipv6", link, "accept_ra", "0")));
        }
        all
    }

    fn on_peer(&self, observed: &Observed) -> Vec<Object> {
        let fresh = observed.ipv6 && observed.peer.is_none();
        fresh.then_some(Object::NoLinkLocal).into_iter().chain([Object::Up]).collect()
    }

    fn on_gateway(&self, observed: &Observed) -> Vec<Object> {
        let mut objects = Vec::new();
        if observed.ipv6 && observed.gateway.is_none() {
            objects.push(Object::NoLinkLocal);
        }
        objects.push(Object::Up);
        objects.extend(self.addresses.iter().map(|address| Object::Address(IpNet::from(*address))));
        let hops = self.addresses.iter().map(|address| Object::Neighbour(next_hop(*address), PEER_MAC));
        objects.extend(hops);
        objects.extend(self.ranges.iter().map(|to| {
            let source = self.addresses.iter().copied().find(|own| same_family(*own, to.addr()));
            let replace = observed.routes.iter().any(|there| there.destination == to.trunc());
            Object::Range { to: to.trunc(), source, replace }
        }));
        objects
    }
}

/// What has to be done.
pub fn plan(desired: &Desired, observed: &Observed) -> Vec<Step> {
    let mut steps = Vec::new();
    if observed.gateway.is_none() || observed.peer.is_none() {
        steps.push(Step::MakePair);
    }
    steps.extend(observed.sysctls.iter().cloned().map(Step::Sysctl));
    // The peer first: a veth has no carrier while its other end is down.
    for (peer, wanted) in [(true, desired.on_peer(observed)), (false, desired.on_gateway(observed))] {
        let objects: Vec<Object> = wanted.into_iter().filter(|object| !observed.has(peer, object)).collect();
        if !objects.is_empty() {
            steps.push(Step::Change { peer, objects });
        }
    }
    for way in &desired.nodes {
        let same = |there: &&Route| there.destination == way.to;
        let right = |there: &Route| {
            there.gateway == Some(way.via) && there.link == Some(way.link) && there.source == way.source
        };
        let there = observed.routes.iter().find(same);
        if !there.is_some_and(right) {
            steps.push(Step::RouteToNode { way: way.clone(), replace: there.is_some() });
        }
    }
    let gateway = observed.gateway.as_ref().map(|link| link.index);
    let stale = observed.addresses.iter().filter(|there| {
        there.scope == netlink::Scope::Global && !desired.addresses.contains(&there.address.addr())
    });
    steps.extend(stale.cloned().map(Step::RemoveAddress));
    let is_wanted = |there: &Route| {
        desired.nodes.iter().any(|way| there.destination == way.to)
            || (there.link == gateway && desired.ranges.iter().any(|to| there.destination == to.trunc()))
    };
    let unwanted = observed.routes.iter().filter(|there| !is_wanted(there));
    steps.extend(unwanted.cloned().map(Step::RemoveRoute));
    steps
}

impl Observed {
    fn has(&self, peer: bool, object: &Object) -> bool {
        let link = if peer { &self.peer } else { &self.gateway };
        match object {
            Object::NoLinkLocal => false,
            Object::Up => link.as_ref().is_some_and(|link| link.up),
            Object::Address(address) => self.addresses.iter().any(|there| there.address == *address),
            Object::Neighbour(ip, mac) => self
                .neighbours
                .iter()
                .any(|there| there.permanent && there.address == *ip && there.mac == Some(*mac)),
            Object::Range { to, source, .. } => {
                let index = link.as_ref().map(|link| link.index);
                self.routes.iter().any(|there| {
                    there.destination == *to
                        && there.link == index
                        && there.source == *source
                        && there.gateway == Some(next_hop(to.addr()))
                })
            }
        }
    }
}

fn same_family(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv6() == other.is_ipv6()
}

/// The address behind the gateway in the family of `address`.
fn next_hop(address: IpAddr) -> IpAddr {
    if address.is_ipv4() { NEXT_HOP_IPV4.into() } else { NEXT_HOP_IPV6.into() }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::MakePair => f.write_str("the gateway pair"),
            Step::Sysctl(sysctl) => write!(f, "{}={}", sysctl.path.display(), sysctl.value),
            Step::Change { peer, objects } => {
                let list: Vec<String> = objects.iter().map(ToString::to_string).collect();
                write!(f, "on the gateway{}: {}", if *peer { "'s peer" } else { "" }, list.join(", "))
            }
            Step::RouteToNode { way: Way { to, via, tunnelled: false, .. }, .. } => {
                write!(f, "route to {to} via {via}")
            }
            Step::RouteToNode { way: Way { to, .. }, .. } => write!(f, "route to {to} through the tunnel"),
            Step::RemoveAddress(address) => write!(f, "no address {}", address.address),
            Step::RemoveRoute(route) => write!(f, "no route {route}"),
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Object::NoLinkLocal => f.write_str("no link-local address"),
            Object::Up => f.write_str("link up"),
            Object::Address(address) => write!(f, "address {address}"),
            Object::Neighbour(ip, mac) => write!(f, "neighbour {ip} at {mac}"),
            Object::Range { to, source: Some(source), .. } => write!(f, "route to {to} from {source}"),
            Object::Range { to, .. } => write!(f, "route to {to}"),
        }
    }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
