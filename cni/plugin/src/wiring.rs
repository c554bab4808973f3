//! One pod's connection in the plain mode: what is wanted, what is there, what is to be done.
//!
//! ```text
//!   pod's namespace                                host's namespace
//!   eth0  10.244.0.5/32, fd00::5/128  ── veth ──   kn4d12418f9cc9     no address
//!   default via 169.254.1.1 onlink                 10.244.0.5/32 and fd00::5/128 on this link
//!   default via fe80::1                            neighbours 10.244.0.5, fd00::5 -> eth0
//!   neighbours 169.254.1.1, fe80::1 -> kn3b...     forwarding on, rp_filter strict, accept_ra off
//! ```
//!
//! The gateway addresses exist nowhere: a permanent neighbour entry sends every packet to the Ethernet
//! address of the host's end, which routes it. So nothing is proxied, nothing is asked by ARP or neighbour
//! discovery, and nothing waits for duplicate address detection. Neighbours are set on both sides because
//! neither side would answer.
//!
//! Sysctls are set on our own links only. Between pods and host nothing else is needed; traffic that
//! enters by another link of the host also needs forwarding there, which is the administrator's. There is
//! no masquerading in this mode: the outside needs a route to the pods.
//!
//! **Invariants.** `plan` is total and pure: nothing missing, no step. Deleting the host's end undoes every
//! step: the kernel takes peer, addresses, routes and neighbours with it.

mod execute;
mod unlink;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::IpNet;
use netlink::{Address, Link, Mac, Neighbour, Route};

use crate::attachment::Names;

pub use execute::{Ipv6, Wires};

pub const GATEWAY_IPV4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
pub const GATEWAY_IPV6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

#[derive(Clone, Debug)]
pub struct Desired {
    pub names: Names,
    pub ifname: String,
    pub mtu: Option<u32>,
    pub addresses: Vec<IpAddr>,
}

/// What the kernel has of it.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub host: Option<Side>,
    pub pod: Option<Side>,
    /// The sysctls of the host's end that are not as they should be.
    pub sysctls: Vec<Sysctl>,
    /// The kernel has IPv6.
    pub ipv6: bool,
}

/// One end of the veth.
#[derive(Clone, Debug, Default)]
pub struct Side {
    pub link: Link,
    pub addresses: Vec<Address>,
    pub routes: Vec<Route>,
    pub neighbours: Vec<Neighbour>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    pub path: PathBuf,
    pub value: &'static str,
}

/// In the order in which they are done: the host's end comes up only when it does not listen to router
/// advertisements of the pod any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    MakeVeth,
    Sysctl(Sysctl),
    /// One batch in the host's namespace.
    Host(Vec<Object>),
    /// One batch in the pod's namespace.
    Pod(Vec<Object>),
}

/// Something on one end of the veth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// Whose link this is, for people and for GC.
    Alias(String),
    /// No link-local address of its own.
    NoLinkLocal,
    Up,
    Address(IpNet),
    Neighbour(IpAddr, Mac),
    Route {
        to: IpNet,
        gateway: Option<IpAddr>,
    },
}

#[must_use]
pub fn plan(desired: &Desired, observed: &Observed) -> Vec<Step> {
    let mut steps = Vec::new();
    if observed.host.is_none() || observed.pod.is_none() {
        steps.push(Step::MakeVeth);
    }
    steps.extend(observed.sysctls.iter().cloned().map(Step::Sysctl));
    let missing = |wanted: Vec<Object>, side: &Option<Side>| -> Vec<Object> {
        wanted.into_iter().filter(|object| !side.as_ref().is_some_and(|side| side.has(object))).collect()
    };
    let host = missing(desired.on_host(observed.ipv6), &observed.host);
    if !host.is_empty() {
        steps.push(Step::Host(host));
    }
    let pod = missing(desired.in_pod(), &observed.pod);
    if !pod.is_empty() {
        steps.push(Step::Pod(pod));
    }
    steps
}

// === impl Desired ===

impl Desired {
    #[must_use]
    pub fn has_ipv6(&self) -> bool {
        self.addresses.iter().any(IpAddr::is_ipv6)
    }

    /// The gateway of each family in use.
    #[must_use]
    pub fn gateways(&self) -> Vec<IpAddr> {
        let mut gateways: Vec<IpAddr> = self.addresses.iter().map(|ip| gateway(*ip)).collect();
        gateways.sort();
        gateways.dedup();
        gateways
    }

    /// The sysctls of the host's end, below /proc/sys/net.
    #[must_use]
    pub fn sysctls(&self, ipv6: bool, force_forwarding: bool) -> Vec<Sysctl> {
        let link = &self.names.link;
        let sysctl = |family: &str, name: &str, value| {
            let path = PathBuf::from(format!("/proc/sys/net/{family}/conf/{link}/{name}"));
            Sysctl { path, value }
        };
        // Strict reverse path: the pod cannot send from addresses that are not its own.
        let mut all = vec![sysctl("ipv4", "forwarding", "1"), sysctl("ipv4", "rp_filter", "1")];
        if ipv6 {
            // The pod is no router of the host, whatever it says.
            all.push(sysctl("ipv6", "accept_ra", "0"));
        }
        if ipv6 && force_forwarding && self.has_ipv6() {
            all.push(sysctl("ipv6", "force_forwarding", "1"));
        }
        all
    }

    fn on_host(&self, ipv6: bool) -> Vec<Object> {
        let mut objects = vec![Object::Alias(self.names.alias.clone())];
        if ipv6 {
            objects.push(Object::NoLinkLocal);
        }
        objects.push(Object::Up);
        objects.extend(self.addresses.iter().map(|ip| Object::Neighbour(*ip, self.names.pod_mac)));
        objects.extend(self.addresses.iter().map(|ip| Object::Route { to: IpNet::from(*ip), gateway: None }));
        objects
    }

    fn in_pod(&self) -> Vec<Object> {
        let mut objects = vec![Object::Up];
        objects.extend(self.addresses.iter().map(|ip| Object::Address(IpNet::from(*ip))));
        let gateways = self.gateways();
        objects.extend(gateways.iter().map(|ip| Object::Neighbour(*ip, self.names.host_mac)));
        objects.extend(gateways.iter().map(|ip| Object::Route { to: everywhere(*ip), gateway: Some(*ip) }));
        objects
    }
}

// === impl Side ===

impl Side {
    fn has(&self, object: &Object) -> bool {
        match object {
            Object::Alias(alias) => self.link.alias.as_ref() == Some(alias),
            // Only its making can say so; what it prevents is not there, or is harmless.
            Object::NoLinkLocal => true,
            Object::Up => self.link.up,
            Object::Address(address) => self.addresses.iter().any(|there| there.address == *address),
            Object::Neighbour(ip, mac) => {
                let same =
                    |there: &Neighbour| there.permanent && there.address == *ip && there.mac == Some(*mac);
                self.neighbours.iter().any(same)
            }
            Object::Route { to, gateway } => {
                self.routes.iter().any(|there| there.destination == *to && there.gateway == *gateway)
            }
        }
    }
}

/// The gateway of an address's family.
#[must_use]
pub fn gateway(ip: IpAddr) -> IpAddr {
    if ip.is_ipv4() { GATEWAY_IPV4.into() } else { GATEWAY_IPV6.into() }
}

/// The default destination of an address's family.
#[must_use]
pub fn everywhere(ip: IpAddr) -> IpNet {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A prefix length of zero fits both families.
    IpNet::new_assert(any, 0)
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list =
            |objects: &[Object]| objects.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Step::MakeVeth => f.write_str("the veth pair"),
            Step::Sysctl(sysctl) => write!(f, "{}={}", sysctl.path.display(), sysctl.value),
            Step::Host(objects) => write!(f, "on the host: {}", list(objects)),
            Step::Pod(objects) => write!(f, "in the pod: {}", list(objects)),
        }
    }
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Object::Alias(alias) => write!(f, "alias {alias:?}"),
            Object::NoLinkLocal => f.write_str("no link-local address"),
            Object::Up => f.write_str("link up"),
            Object::Address(address) => write!(f, "address {address}"),
            Object::Neighbour(ip, mac) => write!(f, "neighbour {ip} at {mac}"),
            Object::Route { to, gateway: Some(gateway) } => write!(f, "route to {to} via {gateway}"),
            Object::Route { to, gateway: None } => write!(f, "route to {to}"),
        }
    }
}

#[cfg(test)]
mod tests;
