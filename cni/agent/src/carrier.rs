//! What the agent does to the datapath: the settings it is loaded with, and the steps of its plans.
//!
//! The one user of the crate `datapath` here. It decides nothing but the order of loading and attaching.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use cni_api::agent::Endpoint;
use datapath::{
    Acceleration, Config, Datapath, DatapathError, Masquerade, Namespaces, Node as Elsewhere, Tables,
};
use ipnet::IpNet;
use netlink::{Address, Link, Scope};

use crate::endpoint::{Observed, Step, host_ports};
use crate::names::Names;
use crate::network::{Desired, gateway_address};
use crate::node::Node;
use crate::uplink::Uplink;

/// What does not change while the agent runs.
#[derive(Clone, Debug)]
pub struct Settings {
    pub bpffs: PathBuf,
    pub instance: String,
    /// None: sockets are not translated.
    pub cgroup: Option<PathBuf>,
    pub cluster_cidrs: Vec<IpNet>,
    pub service_cidrs: Vec<IpNet>,
    pub node_ips: Vec<IpAddr>,
    pub acceleration: Acceleration,
}

/// The datapath, and with which configuration it was loaded.
#[derive(Debug, Default)]
pub struct Carrier {
    loaded: Option<(Datapath, Config)>,
    /// The uplink that has been accelerated, or was found to be one that cannot be.
    accelerated: Option<u32>,
}

impl Settings {
    /// Enough to find and remove everything.
    pub fn bare_config(&self) -> Config {
        Config {
            bpffs: self.bpffs.clone(),
            instance: self.instance.clone(),
            cgroup: self.cgroup.clone(),
            pod_cidrs: self.cluster_cidrs.clone(),
            service_cidrs: self.service_cidrs.clone(),
            acceleration: self.acceleration,
            ..Config::default()
        }
    }

    /// With what the node has of addresses now.
    pub fn config(
        &self,
        names: &Names,
        links: &[Link],
        addresses: &[Address],
        uplink: Option<&Uplink>,
        node: Option<&Node>,
    ) -> Config {
        let foreign = |index: u32| {
            links.iter().any(|link| link.index == index && crate::names::is_pod_link(&link.name))
        };
        let is_own = |address: &&Address| {
            address.scope != Scope::Link && !address.address.addr().is_loopback() && !foreign(address.link)
        };
        let mut own: Vec<IpAddr> = addresses.iter().filter(is_own).map(|a| a.address.addr()).collect();
        own.sort();
        own.dedup();
        // Asked for and really there, else the uplink's first.
        let hide_behind = |ipv6: bool| {
            let asked = self.node_ips.iter().copied().find(|ip| ip.is_ipv6() == ipv6 && own.contains(ip));
            let first = uplink?.addresses.iter().map(|net| net.addr()).find(|ip| ip.is_ipv6() == ipv6);
            asked.or(first)
        };
        let lost = self.node_ips.iter().filter(|ip| !own.contains(ip));
        lost.for_each(|ip| tracing::debug!(address = %ip, "an address of --node-ip is on no link"));
        let v4 = hide_behind(false).and_then(|ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None });
        let v6 = hide_behind(true).and_then(|ip| if let IpAddr::V6(ip) = ip { Some(ip) } else { None });
        tracing::trace!(gateway = %names.gateway, ?own, "addresses of the node");
        let masquerade = Masquerade { v4, v6 };
        let gateway = node.map(|node| gateways(&node.ranges)).unwrap_or_default();
        Config { node_addresses: own, masquerade, gateway, ..self.bare_config() }
    }
}

impl Carrier {
    /// Loads, or changes what differs; whether anything did. Nothing to do is cheap.
    pub fn ensure(&mut self, wanted: Config) -> Result<bool, DatapathError> {
        let same = |config: &Config| {
            config.node_addresses == wanted.node_addresses
                && config.masquerade == wanted.masquerade
                && (config.gateway == wanted.gateway || wanted.gateway == Masquerade::default())
        };
        if self.loaded.as_ref().is_some_and(|(_, config)| same(config)) {
            return Ok(false);
        }
        let datapath = Datapath::ensure(&wanted)?;
        tracing::info!(addresses = ?wanted.node_addresses, masquerade = ?wanted.masquerade, "the datapath is loaded");
        self.loaded = Some((datapath, wanted));
        Ok(true)
    }

    pub fn is_loaded(&self) -> bool {
        self.loaded.is_some()
    }

    /// For the sweep, which runs beside everything else.
    pub fn tables(&self) -> Option<Tables> {
        self.loaded.as_ref().map(|(datapath, _)| (**datapath).clone())
    }

    /// To be held by what runs beside everything else.
    pub fn datapath(&self) -> Option<Datapath> {
        self.loaded.as_ref().map(|(datapath, _)| datapath.clone())
    }

    /// What is there of the pods.
    pub fn observe(&self) -> Result<Observed, DatapathError> {
        let Some((datapath, config)) = &self.loaded else { return Ok(Observed::default()) };
        let attached = datapath.attached()?;
        let places: Vec<(u32, &str)> = attached.iter().filter_map(|pin| place(pin)).collect();
        Ok(Observed {
            endpoints: datapath.endpoints()?.observed()?,
            namespaces: datapath.namespaces()?.observed()?,
            host_ports: datapath.host_ports()?.observed()?,
            attached: places
                .iter()
                .filter(|(_, program)| *program == "from_pod")
                .map(|(at, _)| *at)
                .collect(),
            pinned: places.iter().map(|(at, _)| *at).collect(),
            own_namespace: config.cgroup.as_ref().map(|_| Namespaces::cookie(None)).transpose()?,
        })
    }

    /// What is there of these pods. What others lack or left is not looked at, nor how many there are.
    pub fn observe_of(&self, endpoints: &[&Endpoint]) -> Result<Observed, DatapathError> {
        let Some((datapath, config)) = &self.loaded else { return Ok(Observed::default()) };
        let (addresses, namespaces) = (datapath.endpoints()?, datapath.namespaces()?);
        let mut observed = Observed {
            own_namespace: config.cgroup.as_ref().map(|_| Namespaces::cookie(None)).transpose()?,
            ..Observed::default()
        };
        for endpoint in endpoints {
            for ip in &endpoint.addresses {
                observed.endpoints.extend(addresses.get(*ip)?.map(|there| (*ip, there)));
            }
            let cookie = endpoint.netns_cookie;
            observed.namespaces.extend(namespaces.get(cookie)?.map(|there| (cookie, there)));
            for (port, _) in host_ports(endpoint) {
                observed.host_ports.extend(datapath.host_ports()?.get(&port)?.map(|pod| (port, pod)));
            }
            if datapath.is_attached(endpoint.link_index, "from_pod") {
                observed.attached.insert(endpoint.link_index);
            }
        }
        Ok(observed)
    }

    pub fn execute(&self, step: &Step) -> Result<(), DatapathError> {
        let Some((datapath, _)) = &self.loaded else { return Ok(()) };
        match step {
            Step::RemoveAddress(ip) => {
                datapath.endpoints()?.remove(*ip)?;
                let mut ports = datapath.host_ports()?;
                for (port, _) in ports.observed()?.iter().filter(|(_, pod)| pod.ip() == *ip) {
                    ports.remove(port)?;
                }
                // The next pod with this address begins without the flows of this one.
                datapath.conntrack()?.forget_address(*ip).map(drop)
            }
            Step::RemoveNamespace(cookie) => datapath.namespaces()?.remove(*cookie).map(drop),
            Step::Put(ip, endpoint) => datapath.endpoints()?.put(*ip, endpoint),
            Step::Attach { link } => datapath.attach_host_device(link).map(drop),
            Step::Namespace(cookie, addresses) => datapath.namespaces()?.put(*cookie, addresses),
            Step::HostPort(port, pod) => datapath.host_ports()?.put(port, *pod),
            Step::ForgetVanished => datapath.forget_vanished().map(drop),
        }
    }

    /// Programs on the gateway (`peer` is the index of its other end) and the uplink, where they are missing.
    pub fn attach_node(
        &mut self,
        desired: &Desired,
        peer: Option<u32>,
        uplink: Option<&Uplink>,
    ) -> Result<(), DatapathError> {
        let Some((datapath, _)) = &self.loaded else { return Ok(()) };
        let attached = datapath.attached()?;
        let has = |index: u32, program: &str| attached.iter().any(|pin| place(pin) == Some((index, program)));
        // Attached by the version before this one, the programs are there and do not know of it.
        if !peer.is_some_and(|peer| has(peer, "from_host")) || !datapath.knows_gateway()? {
            datapath.attach_gateway(&desired.gateway, &desired.peer)?;
        }
        if let Some(uplink) = uplink {
            let complete = ["from_uplink", "to_uplink"].iter().all(|program| has(uplink.index, program));
            if !complete {
                datapath.attach_uplink(&uplink.name)?;
            }
            if self.accelerated != Some(uplink.index) {
                datapath.accelerate(&uplink.name)?;
                self.accelerated = Some(uplink.index);
            }
        }
        Ok(())
    }

    /// Programs on the tunnel: to them it is an uplink.
    pub fn attach_tunnel(&self, name: &str, index: u32) -> Result<(), DatapathError> {
        let Some((datapath, _)) = &self.loaded else { return Ok(()) };
        let attached = datapath.attached()?;
        let has = |program: &str| attached.iter().any(|pin| place(pin) == Some((index, program)));
        if !["from_uplink", "to_uplink"].iter().all(|program| has(program)) {
            datapath.attach_uplink(name)?;
        }
        Ok(())
    }

    /// Pods and addresses of other nodes. Those that are not known any more go only where `complete`.
    pub fn enter_nodes(&self, wanted: &[(IpNet, Elsewhere)], complete: bool) -> Result<(), DatapathError> {
        let Some((datapath, _)) = &self.loaded else { return Ok(()) };
        let mut nodes = datapath.nodes()?;
        let observed = nodes.observed()?;
        for entry in wanted.iter().filter(|entry| !observed.contains(entry)) {
            nodes.put(entry.0, entry.1)?;
        }
        let known: BTreeSet<IpNet> = wanted.iter().map(|(prefix, _)| *prefix).collect();
        for (prefix, _) in observed.iter().filter(|(prefix, _)| complete && !known.contains(prefix)) {
            nodes.remove(*prefix)?;
        }
        Ok(())
    }
}

/// The link and the program of a pin; none of one that is on a cgroup.
fn place(pin: &str) -> Option<(u32, &str)> {
    // Filters of kernels without tcx say so.
    let (index, program) = pin.strip_prefix("clsact-").unwrap_or(pin).split_once('-')?;
    Some((index.parse().ok()?, program))
}

/// The node's own addresses among its pods, by family.
fn gateways(ranges: &[IpNet]) -> Masquerade {
    let mut found = Masquerade::default();
    for range in ranges {
        match gateway_address(*range) {
            IpAddr::V4(address) => found.v4 = Some(address),
            IpAddr::V6(address) => found.v6 = Some(address),
        }
    }
    found
}

/// What the datapath is told about other nodes: pods keep their addresses towards pods everywhere, and towards
/// machines that know the way back.
pub fn elsewhere(others: &[crate::node::Node], desired: &Desired) -> Vec<(IpNet, Elsewhere)> {
    let pods = Elsewhere { keeps_source: true, ..Elsewhere::default() };
    let machine = Elsewhere { keeps_source: true, node: true, ..Elsewhere::default() };
    let mut all = Vec::new();
    for other in others {
        all.extend(other.ranges.iter().map(|range| (range.trunc(), pods)));
        // The other node's own address among its pods.
        all.extend(other.ranges.iter().map(|range| (IpNet::from(gateway_address(*range)), machine)));
        let near =
            other.addresses.iter().filter(|address| desired.nodes.iter().any(|way| way.via == **address));
        all.extend(near.map(|address| (IpNet::from(*address), machine)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_tell_their_place() {
        let check = |pin: &str, expect: Option<(u32, &str)>| assert_eq!(place(pin), expect, "{pin}");
        check("7-from_pod", Some((7, "from_pod")));
        check("clsact-7-to_uplink", Some((7, "to_uplink")));
        check("cgroup-123-connect4", None);
        check("nonsense", None);
    }
}
