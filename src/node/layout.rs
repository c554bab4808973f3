//! What the flags leave open, settled: names, addresses, and where the files of each part are.
//!
//! ```text
//! <data-dir>/node/*                kubeconfigs of kubelet, agent, proxy and DNS; the kubelet's certificate
//! <data-dir>/{images,containers}   the runtime's
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use ipnet::IpNet;
use join::Cluster;

use super::NodeOptions;

/// Where the route to it decides what this node's address is, IPv4 first; nothing is sent (RFC 5737, RFC 3849).
const SOMEWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
/// Port of nobody.
const DISCARD: u16 = 9;
/// The DNS Service is the tenth address of the Services' range, by custom.
const DNS_OFFSET: u32 = 10;
/// Where this node's DNS listens.
const DNS_PORT: u16 = 10_053;

/// What a node's parts agree on.
#[derive(Clone, Debug)]
pub struct Layout {
    pub options: NodeOptions,
    pub node_name: String,
    /// At most one per family, the primary first.
    pub node_ips: Vec<IpAddr>,
    pub cluster: Cluster,
    /// Certificate and key of the kubelet.
    pub serving: (PathBuf, PathBuf),
    /// Further taints that the node registers with.
    pub taints: Vec<String>,
}

/// Names and addresses of a machine, before it is known which cluster it belongs to.
#[derive(Clone, Debug)]
pub struct Machine {
    pub options: NodeOptions,
    pub node_name: String,
    pub node_ips: Vec<IpAddr>,
}

impl Machine {
    /// Settles what is open. Fails with a sentence that names the flag to give.
    pub fn settle(mut options: NodeOptions) -> anyhow::Result<Machine> {
        for path in [
            &mut options.data_dir,
            &mut options.state_dir,
            &mut options.root_dir,
            &mut options.pod_logs_dir,
            &mut options.cni_conf_dir,
            &mut options.cni_bin_dir,
            &mut options.registries,
            &mut options.bpffs,
        ] {
            *path = std::path::absolute(&*path)?;
        }
        let node_name = match &options.node_name {
            Some(name) => name.clone(),
            None => rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase(),
        };
        check_name(&node_name)?;
        let mut node_ips = options.node_ip.clone();
        if node_ips.is_empty() {
            node_ips.push(own_address().context("this host has no default route: give --node-ip")?);
        }
        one_per_family("--node-ip", &node_ips, IpAddr::is_ipv6)?;
        Ok(Machine { options, node_name, node_ips })
    }

    pub fn node_folder(&self) -> PathBuf {
        self.options.data_dir.join("node")
    }
}

impl Layout {
    /// Where this node's DNS listens.
    pub fn dns_listen(&self) -> Vec<SocketAddr> {
        self.node_ips.iter().map(|address| SocketAddr::new(*address, DNS_PORT)).collect()
    }

    pub fn node(&self, file: &str) -> PathBuf {
        self.options.data_dir.join("node").join(file)
    }

    pub fn cri_socket(&self) -> PathBuf {
        self.options.state_dir.join("cri.sock")
    }
}

/// At most one of each family.
pub fn one_per_family<T>(flag: &str, items: &[T], is_ipv6: impl Fn(&T) -> bool) -> anyhow::Result<()> {
    let sixes = items.iter().filter(|item| is_ipv6(item)).count();
    if items.is_empty() || sixes > 1 || items.len() - sixes > 1 {
        bail!("{flag}: one is wanted, or one of each family");
    }
    Ok(())
}

/// The address of the DNS Service in a range of Services.
pub fn dns_service(range: &IpNet) -> IpAddr {
    service_address(range, DNS_OFFSET)
}

/// An address of a range, by its place.
pub fn service_address(range: &IpNet, offset: u32) -> IpAddr {
    match range {
        IpNet::V4(range) => IpAddr::V4((u32::from(range.network()) + offset).into()),
        IpNet::V6(range) => IpAddr::V6((u128::from(range.network()) + u128::from(offset)).into()),
    }
}

/// A path as a flag's value.
pub fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// `--name=value`: one word, so that a value may begin with a dash.
pub fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

/// Values with commas between them.
pub fn joined<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

/// A Node's name is a DNS subdomain.
fn check_name(name: &str) -> anyhow::Result<()> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        bail!(
            "{name:?} cannot name a node: lower case letters, digits, '-' and '.' are wanted; give --node-name"
        );
    }
    Ok(())
}

/// The source address of the default route. No packet is sent.
fn own_address() -> std::io::Result<IpAddr> {
    let by_way_to = |to: IpAddr| {
        let socket = UdpSocket::bind((unspecified(to.is_ipv6()), 0))?;
        socket.connect((to, DISCARD))?;
        Ok(socket.local_addr()?.ip())
    };
    by_way_to(SOMEWHERE[0]).or_else(|_| by_way_to(SOMEWHERE[1]))
}

fn unspecified(ipv6: bool) -> IpAddr {
    if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

/// Where somebody listens who is asked to do so on every address. A socket of IPv6 takes both families; a node without an address
/// of it may have no IPv6 at all.
pub fn everywhere(asked: IpAddr, node_ips: &[IpAddr]) -> IpAddr {
    let has_ipv6 = node_ips.iter().any(IpAddr::is_ipv6);
    if asked == unspecified(false) && has_ipv6 { unspecified(true) } else { asked }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_none_name_the_flag() {
        for name in ["", "Node", "a_b", "-a", "a-", "a..b"] {
            assert!(check_name(name).unwrap_err().to_string().contains("--node-name"), "{name}");
        }
        assert!(check_name("a-1.b").is_ok());
    }

    #[test]
    fn names_have_an_address() {
        for (range, expect) in [("10.96.0.0/16", "10.96.0.10"), ("fd00:10:96::/112", "fd00:10:96::a")] {
            assert_eq!(dns_service(&range.parse().unwrap()).to_string(), expect);
        }
    }

    #[test]
    fn whoever_listens_everywhere_is_heard_by_both_families() {
        let check = |asked: &str, own: &[&str], expect: &str| {
            let own: Vec<IpAddr> = own.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(everywhere(asked.parse().unwrap(), &own).to_string(), expect, "{asked} {own:?}");
        };
        check("0.0.0.0", &["192.0.2.1"], "0.0.0.0");
        check("0.0.0.0", &["2001:db8::1"], "::");
        check("0.0.0.0", &["192.0.2.1", "2001:db8::1"], "::");
        check("::", &["192.0.2.1"], "::");
        check("192.0.2.1", &["192.0.2.1", "2001:db8::1"], "192.0.2.1");
    }

    #[test]
    fn one_of_each_family() {
        let check = |addresses: &[&str]| {
            let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
            one_per_family("--node-ip", &addresses, IpAddr::is_ipv6).is_ok()
        };
        assert!(check(&["192.0.2.1"]) && check(&["2001:db8::1", "192.0.2.1"]));
        assert!(!check(&[]) && !check(&["192.0.2.1", "192.0.2.2"]) && !check(&["::1", "::2"]));
    }
}
