//! What the flags leave open, settled: names, addresses, and where the files of each part are.
//!
//! ```text
//! <data-dir>/pki            the cluster's keys        the control plane's alone
//! <data-dir>/store          the API's store           the control plane's alone
//! <data-dir>/control/*.conf kubeconfigs of scheduler and controllers
//! <data-dir>/node/*         kubeconfigs of kubelet, agent, proxy and DNS; the kubelet's certificate
//! <data-dir>/{images,containers}   the runtime's
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Parser as _;
use ipnet::IpNet;

use super::control;
use super::options::Options;
use crate::apiserver;

/// Where the route to it decides what this node's address is; nothing is sent (RFC 5737).
const SOMEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
/// The DNS Service is the tenth address of the Services' range, by custom.
const DNS_OFFSET: u32 = 10;
/// Where this node's DNS listens.
const DNS_PORT: u16 = 10_053;

/// Everything that the two processes agree on.
#[derive(Clone, Debug)]
pub struct Layout {
    pub options: Options,
    pub node_name: String,
    pub node_ip: IpAddr,
    /// Address of the DNS Service.
    pub dns_service: Ipv4Addr,
}

impl Layout {
    /// Settles what is open. Fails with a sentence that names the flag to give.
    pub fn settle(mut options: Options) -> anyhow::Result<Layout> {
        for path in [
            &mut options.data_dir,
            &mut options.state_dir,
            &mut options.write_kubeconfig,
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
        let node_ip = match options.node_ip {
            Some(address) => address,
            None => own_address().context("this host has no default route: give --node-ip")?,
        };
        let dns_service = Ipv4Addr::from(u32::from(services(options.service_cidr)?.network()) + DNS_OFFSET);
        Ok(Layout { options, node_name, node_ip, dns_service })
    }

    /// The API for parts of this node.
    pub fn api_url(&self) -> String {
        let bound = self.options.bind_address;
        let host = if bound.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { bound };
        format!("https://{}", SocketAddr::new(host, self.options.secure_port))
    }

    /// Where this node's DNS listens.
    pub fn dns_listen(&self) -> SocketAddr {
        SocketAddr::new(self.node_ip, DNS_PORT)
    }

    /// The API's own flags.
    pub fn apiserver_options(&self) -> anyhow::Result<apiserver::Options> {
        let command = std::iter::once("keelson apiserver".to_owned());
        Ok(apiserver::Options::try_parse_from(command.chain(control::apiserver_flags(self)))?)
    }

    pub fn pki(&self) -> PathBuf {
        self.options.data_dir.join("pki")
    }

    pub fn store(&self) -> PathBuf {
        self.options.data_dir.join("store")
    }

    pub fn control(&self, file: &str) -> PathBuf {
        self.options.data_dir.join("control").join(file)
    }

    pub fn node(&self, file: &str) -> PathBuf {
        self.options.data_dir.join("node").join(file)
    }

    pub fn cri_socket(&self) -> PathBuf {
        self.options.state_dir.join("cri.sock")
    }
}

fn services(range: IpNet) -> anyhow::Result<ipnet::Ipv4Net> {
    match range {
        IpNet::V4(network) if (12..=28).contains(&network.prefix_len()) => Ok(network),
        other => bail!("--service-cidr {other}: an IPv4 range between /12 and /28 is wanted"),
    }
}

/// A path as a flag's value.
pub fn shown(path: &Path) -> String {
    path.display().to_string()
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
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(SOMEWHERE)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn settled(more: &[&str]) -> anyhow::Result<Layout> {
        let mut arguments = vec!["keelson server", "--node-ip", "192.0.2.7", "--node-name", "n1"];
        arguments.extend(more);
        Layout::settle(Options::try_parse_from(arguments)?)
    }

    #[test]
    fn what_is_open_is_settled() {
        let layout = settled(&[]).unwrap();
        assert_eq!(layout.api_url(), "https://127.0.0.1:6443");
        assert_eq!(layout.dns_service, Ipv4Addr::new(10, 96, 0, 10));
        assert_eq!(layout.dns_listen().to_string(), "192.0.2.7:10053");
        assert_eq!(layout.node("kubelet.conf"), PathBuf::from("/var/lib/keelson/node/kubelet.conf"));
        let bound = settled(&["--bind-address", "192.0.2.7", "--secure-port", "7443"]).unwrap();
        assert_eq!(bound.api_url(), "https://192.0.2.7:7443");
    }

    #[test]
    fn wrong_values_name_their_flag() {
        for (flags, said) in [
            (&["--service-cidr", "10.96.0.0/30"][..], "--service-cidr 10.96.0.0/30"),
            (&["--service-cidr", "fd00::/112"], "--service-cidr fd00::/112"),
            (&["--secure-port", "0"], "--secure-port"),
            (&["--disable", "kubelet"], "--disable"),
        ] {
            let error = settled(flags).unwrap_err();
            assert!(format!("{error:#}").contains(said), "{error:#}");
        }
        for name in ["", "Node", "a_b", "-a", "a-", "a..b"] {
            assert!(check_name(name).unwrap_err().to_string().contains("--node-name"), "{name}");
        }
    }
}
