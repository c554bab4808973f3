//! The files every container of a pod sees: resolv.conf, hostname, hosts, and shared memory.
//!
//! The kubelet brings its own /etc/hosts; ours serves pods that are run by hand.

use cri_api::v1;

use super::SandboxRecord;

pub const RESOLV_CONF: &str = "resolv.conf";
pub const HOSTNAME: &str = "hostname";
pub const HOSTS: &str = "hosts";
pub const SHM: &str = "shm";
/// The size of a pod's /dev/shm, as everywhere.
pub const SHM_BYTES: u64 = 64 << 20;

/// What the host has, for pods that say nothing of their own.
#[derive(Clone, Debug, Default)]
pub struct HostFiles {
    pub resolv_conf: String,
    pub hosts: String,
}

impl HostFiles {
    /// Reads /etc; what is not there is empty.
    pub fn read() -> HostFiles {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        HostFiles { resolv_conf: read("/etc/resolv.conf"), hosts: read("/etc/hosts") }
    }
}

/// Name and content of each file.
pub fn contents(record: &SandboxRecord, host: &HostFiles) -> Vec<(&'static str, String)> {
    let resolv = match &record.config.dns_config {
        Some(dns) if has_content(dns) => resolv_conf(dns),
        _ => host.resolv_conf.clone(),
    };
    let hosts = if record.net.is_some() { own_hosts(&record.hostname) } else { host.hosts.clone() };
    vec![(RESOLV_CONF, resolv), (HOSTNAME, format!("{}\n", record.hostname)), (HOSTS, hosts)]
}

fn has_content(dns: &v1::DnsConfig) -> bool {
    !(dns.servers.is_empty() && dns.searches.is_empty() && dns.options.is_empty())
}

/// resolv.conf(5).
fn resolv_conf(dns: &v1::DnsConfig) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    text
}

fn own_hosts(hostname: &str) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    if !hostname.is_empty() {
        text.push_str(&format!("127.0.0.1\t{hostname}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_becomes_resolv_conf() {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let dns = v1::DnsConfig {
            servers: list(&["10.96.0.10", "8.8.8.8"]),
            searches: list(&["default.svc.cluster.local", "svc.cluster.local"]),
            options: list(&["ndots:5"]),
        };
        assert_eq!(
            resolv_conf(&dns),
            "search default.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\nnameserver 8.8.8.8\noptions ndots:5\n"
        );
        assert!(!has_content(&v1::DnsConfig::default()));
    }
}
