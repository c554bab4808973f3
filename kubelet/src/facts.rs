//! What pods may learn about this node; fixed while the kubelet runs.

use std::net::IpAddr;
use std::path::PathBuf;

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
    /// The machine's memory in bytes: what oom_score_adj is measured against. 0 if unknown.
    pub memory_capacity: i64,
    /// As in `hugetlb.<size>.limit_in_bytes`, such as `2MB`; only where containers can be limited in them.
    pub huge_page_sizes: Vec<String>,
    /// Where `localhostProfile` of seccomp lies: `/var/lib/kubelet/seccomp`.
    pub seccomp_profiles: PathBuf,
    /// The runtime's Status says that it can make mounts read-only with everything below them.
    pub recursive_read_only: bool,
    /// The runtime's Status says that pods can have users of their own.
    pub user_namespaces: bool,
}
