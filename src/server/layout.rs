//! What a server has beside a node: where the control plane's files are and where its API is.
//!
//! ```text
//! <data-dir>/pki            the cluster's keys        the control plane's alone
//! <data-dir>/store          the API's store           the control plane's alone
//! <data-dir>/control/*.conf kubeconfigs of scheduler and controllers
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Parser as _;
use join::Cluster;

use super::control;
use super::options::{ControlOptions, Options};
use crate::apiserver;
use crate::node::{Layout, Machine, dns_service, one_per_family};

/// The taint of `--no-schedule`, as kubeadm's.
const NO_SCHEDULE: &str = "node-role.kubernetes.io/control-plane=:NoSchedule";

/// Everything that the two processes agree on.
#[derive(Clone, Debug)]
pub struct ServerLayout {
    pub node: Layout,
    pub control: ControlOptions,
}

impl ServerLayout {
    /// Settles what is open. Fails with a sentence that names the flag to give.
    pub fn settle(options: Options) -> anyhow::Result<ServerLayout> {
        let Options { node, mut control } = options;
        control.write_kubeconfig = std::path::absolute(&control.write_kubeconfig)?;
        let machine = Machine::settle(node)?;
        one_per_family("--cluster-cidr", &control.cluster_cidr, |range| range.addr().is_ipv6())?;
        one_per_family("--service-cidr", &control.service_cidr, |range| range.addr().is_ipv6())?;
        control.service_cidr.iter().try_for_each(|range| apiserver::check_range("--service-cidr", range))?;
        let cluster = Cluster {
            pods: control.cluster_cidr.clone(),
            services: control.service_cidr.clone(),
            domain: control.cluster_domain.clone(),
            dns: control.service_cidr.iter().take(1).map(dns_service).collect(),
        };
        let folder = machine.node_folder();
        let taints = control.no_schedule.then(|| NO_SCHEDULE.to_owned()).into_iter().collect();
        let serving = (folder.join("kubelet.crt"), folder.join("kubelet.key"));
        let Machine { options, node_name, node_ips } = machine;
        let node = Layout { options, node_name, node_ips, cluster, serving, taints };
        Ok(ServerLayout { node, control })
    }

    /// The API for parts of this node.
    pub fn api_url(&self) -> String {
        let bound = self.control.bind_address;
        let host = if bound.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { bound };
        format!("https://{}", SocketAddr::new(host, self.control.secure_port))
    }

    /// The API's own flags.
    pub fn apiserver_options(&self) -> anyhow::Result<apiserver::Options> {
        let command = std::iter::once("keelson apiserver".to_owned());
        Ok(apiserver::Options::try_parse_from(command.chain(control::apiserver_flags(self)))?)
    }

    pub fn pki(&self, file: &str) -> PathBuf {
        self.node.options.data_dir.join("pki").join(file)
    }

    pub fn store(&self) -> PathBuf {
        self.node.options.data_dir.join("store")
    }

    pub fn control(&self, file: &str) -> PathBuf {
        self.node.options.data_dir.join("control").join(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(more: &[&str]) -> anyhow::Result<ServerLayout> {
        let mut arguments = vec!["keelson server", "--node-ip", "192.0.2.7", "--node-name", "n1"];
        arguments.extend(more);
        ServerLayout::settle(Options::try_parse_from(arguments)?)
    }

    #[test]
    fn what_is_open_is_settled() {
        let layout = settled(&[]).unwrap();
        assert_eq!(layout.api_url(), "https://127.0.0.1:6443");
        assert_eq!(layout.node.cluster.dns, [Ipv4Addr::new(10, 96, 0, 10)]);
        assert_eq!(layout.node.dns_listen(), ["192.0.2.7:10053".parse().unwrap()]);
        assert_eq!(layout.node.node("kubelet.conf"), PathBuf::from("/var/lib/keelson/node/kubelet.conf"));
        let bound = settled(&["--bind-address", "192.0.2.7", "--secure-port", "7443"]).unwrap();
        assert_eq!(bound.api_url(), "https://192.0.2.7:7443");
    }

    #[test]
    fn wrong_values_name_their_flag() {
        for (flags, said) in [
            (&["--service-cidr", "10.96.0.0/30"][..], "--service-cidr 10.96.0.0/30"),
            (&["--service-cidr", "fd00::/64"], "--service-cidr fd00::/64"),
            (&["--cluster-cidr", "10.1.0.0/16,10.2.0.0/16"], "--cluster-cidr"),
            (&["--secure-port", "0"], "--secure-port"),
            (&["--disable", "kubelet"], "--disable"),
        ] {
            let error = settled(flags).unwrap_err();
            assert!(format!("{error:#}").contains(said), "{error:#}");
        }
    }
}
