//! What pods may learn about this node; fixed while the kubelet runs.

use std::net::IpAddr;

use crate::resources::Amounts;

/// The node as pods see it.
#[derive(Clone, Debug, Default)]
pub struct NodeFacts {
    pub name: String,
    /// The node's addresses, the primary one first.
    pub addresses: Vec<IpAddr>,
    pub cluster_dns: Vec<IpAddr>,
    /// `cluster.local`
    pub cluster_domain: String,
    /// What `resourceFieldRef` tells a container without a limit.
    pub allocatable: Amounts,
}
