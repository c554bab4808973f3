//! The pod's resolv.conf and hostname, from dnsPolicy, dnsConfig and the node. Pure.

use cri_api::v1;

use crate::facts::NodeFacts;
use crate::pod::Pod;

/// What resolv.conf says; `host` is the node's own file.
pub fn of(_pod: &Pod, _node: &NodeFacts, _host: &str) -> v1::DnsConfig {
    v1::DnsConfig::default()
}

/// The sandbox's hostname: `hostname`, subdomain and setHostnameAsFQDN; at most 63 bytes.
pub fn hostname(pod: &Pod, _node: &NodeFacts) -> Result<String, String> {
    Ok(pod.key.name.clone())
}
