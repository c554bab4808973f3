//! What the data path is told about its node, and the record the programs read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use abi::{Ip4, Ip6, Settings, SettingsFlag, prefix_mask4};
use ipnet::IpNet;

use crate::error::DatapathError;

#[derive(Clone, Debug)]
pub struct Config {
    /// A directory on a bpffs, such as /sys/fs/bpf/keelson. It is made, and a bpffs is mounted where none is.
    pub bpffs: PathBuf,
    /// Several nodes on one bpffs: a directory each. Empty: none.
    pub instance: String,
    /// The cgroup2 directory whose sockets are translated; None: the packet path does it all.
    pub cgroup: Option<PathBuf>,
    /// Every address of the node itself; node ports are answered on them.
    pub node_addresses: Vec<IpAddr>,
    /// Pods of the whole cluster: at most one range a family is used.
    pub pod_cidrs: Vec<IpNet>,
    /// Services: at most one range a family is used.
    pub service_cidrs: Vec<IpNet>,
    pub node_ports: RangeInclusive<u16>,
    pub masquerade: Masquerade,
    /// The node's own addresses among its pods: what it sends to pods elsewhere under its own name comes from these, so
    /// that answers take the way of pods. None: what was told before.
    pub gateway: Masquerade,
    /// Source ports of masqueraded flows. Outside of net.ipv4.ip_local_port_range, so that the node's own
    /// sockets and the pods' flows never meet.
    pub masquerade_ports: RangeInclusive<u16>,
    /// Attach by filters on clsact, as before Linux 6.6, where links would do.
    pub filters: bool,
    pub acceleration: Acceleration,
}

/// Whether what belongs to a known flow of a Service and goes on to another machine is sent there by the driver of the uplink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acceleration {
    /// By every uplink; one whose driver cannot is an error.
    Native,
    /// Where the driver can, and the link is no veth pair.
    BestEffort,
    /// Drivers reset a link when they are given a program, and many receive more slowly afterwards.
    #[default]
    Disabled,
}

/// The addresses of the node behind which pods reach the outside; None: they keep their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masquerade {
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            bpffs: PathBuf::from("/sys/fs/bpf/keelson"),
            instance: String::new(),
            cgroup: None,
            node_addresses: Vec::new(),
            pod_cidrs: Vec::new(),
            service_cidrs: Vec::new(),
            node_ports: 30_000..=32_767,
            masquerade: Masquerade::default(),
            gateway: Masquerade::default(),
            masquerade_ports: 61_000..=65_535,
            filters: false,
            acceleration: Acceleration::default(),
        }
    }
}

impl Config {
    /// What the programs read; the gateway, the uplink and what policies and reports need are kept from `before`.
    pub(crate) fn settings(&self, before: &Settings) -> Result<Settings, DatapathError> {
        for (what, range) in [("node ports", &self.node_ports), ("masquerade ports", &self.masquerade_ports)]
        {
            if range.is_empty() || *range.start() == 0 {
                return Err(DatapathError::Config { problem: format!("the range of {what} is empty") });
            }
        }
        let mut settings = Settings {
            flags: before.flags & (SettingsFlag::GATEWAY | SettingsFlag::REPORT | SettingsFlag::HOST_PORTS),
            policy_epoch: before.policy_epoch,
            gateway_peer: before.gateway_peer,
            gateway_mac: before.gateway_mac,
            uplink: before.uplink,
            gateway4: self.gateway.v4.map_or(before.gateway4, Into::into),
            gateway6: self.gateway.v6.map_or(before.gateway6, Into::into),
            node_port_first: *self.node_ports.start(),
            node_port_last: *self.node_ports.end(),
            snat_port_first: *self.masquerade_ports.start(),
            snat_port_last: *self.masquerade_ports.end(),
            ..Settings::default()
        };
        for address in self.node_addresses.iter().rev() {
            match address {
                IpAddr::V4(address) if !address.is_loopback() => settings.node4 = (*address).into(),
                IpAddr::V6(address) if !address.is_loopback() => settings.node6 = (*address).into(),
                _ => {}
            }
        }
        if let Some(address) = self.masquerade.v4 {
            settings.flags |= SettingsFlag::MASQUERADE4;
            settings.masquerade4 = address.into();
        }
        if let Some(address) = self.masquerade.v6 {
            settings.flags |= SettingsFlag::MASQUERADE6;
            settings.masquerade6 = address.into();
        }
        (settings.pods4, settings.pods4_mask) = range4(&self.pod_cidrs);
        (settings.services4, settings.services4_mask) = range4(&self.service_cidrs);
        (settings.pods6, settings.pods6_mask) = range6(&self.pod_cidrs);
        (settings.services6, settings.services6_mask) = range6(&self.service_cidrs);
        Ok(settings)
    }
}

/// The first IPv4 range, or one that holds nothing.
fn range4(ranges: &[IpNet]) -> (Ip4, Ip4) {
    ranges
        .iter()
        .find_map(|range| match range {
            IpNet::V4(range) => Some((range.network().into(), prefix_mask4(range.prefix_len()))),
            IpNet::V6(_) => None,
        })
        .unwrap_or((Ip4 { bits: u32::MAX }, Ip4::default()))
}

/// The first IPv6 range, or one that holds nothing.
fn range6(ranges: &[IpNet]) -> (Ip6, Ip6) {
    let nothing = Ip6 { a: u32::MAX, ..Ip6::default() };
    ranges
        .iter()
        .find_map(|range| match range {
            IpNet::V6(range) => Some((range.network().into(), range.netmask().into())),
            IpNet::V4(_) => None,
        })
        .unwrap_or((nothing, Ip6::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds4(settings: &Settings, address: &str) -> bool {
        let address = Ip4::from(address.parse::<Ipv4Addr>().unwrap());
        address.bits & settings.services4_mask.bits == settings.services4.bits
    }

    #[test]
    fn ranges_become_masks() {
        let config = Config {
            service_cidrs: vec!["fd00:10:96::/112".parse().unwrap(), "10.96.0.0/16".parse().unwrap()],
            ..Config::default()
        };
        let settings = config.settings(&Settings::default()).unwrap();
        assert!(holds4(&settings, "10.96.255.1"));
        assert!(!holds4(&settings, "10.97.0.1"));
        assert!(!holds4(&Config::default().settings(&Settings::default()).unwrap(), "10.96.0.1"));
        assert_eq!(
            Ipv6Addr::from(settings.services6_mask),
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:0".parse::<Ipv6Addr>().unwrap()
        );
    }

    #[test]
    fn what_was_attached_is_kept() {
        let before =
            Settings { flags: SettingsFlag::GATEWAY, gateway_peer: 7, uplink: 3, ..Settings::default() };
        let after = Config::default().settings(&before).unwrap();
        assert_eq!((after.flags, after.gateway_peer, after.uplink), (SettingsFlag::GATEWAY, 7, 3));
    }

    #[test]
    fn an_empty_range_is_refused() {
        #[allow(clippy::reversed_empty_ranges)]
        let config = Config { node_ports: 32_767..=30_000, ..Config::default() };
        assert!(config.settings(&Settings::default()).is_err());
    }
}
