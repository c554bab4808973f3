//! Pods of this node, other addresses of the cluster, network namespaces.

use crate::address::Mac;

/// Whether a pod may be talked to.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndpointState {
    /// Only its own node may talk to it, and it only to its own node: its policy is not in place yet.
    Pending = 0,
    Ready = 1,
}

/// Bits of [`Endpoint::isolation`]: only what POLICY allows passes in that direction.
pub struct Isolation;

impl Isolation {
    pub const INGRESS: u8 = 1;
    pub const EGRESS: u8 = 1 << 1;
}

record! {
    /// A pod of this node; the key is its address.
    pub struct Endpoint {
        /// Index of the host's end of its veth.
        pub link: u32,
        /// Numeric identity of its namespace and labels: the subject of its policies. 0..255 are reserved.
        pub identity: u32,
        /// Ethernet address of its own end.
        pub mac: Mac,
        /// [`EndpointState`].
        pub state: u8,
        /// [`Isolation`].
        pub isolation: u8,
        pub pad2: u16,
    }
}

/// Bits of [`Node::flags`].
pub struct NodeFlag;

impl NodeFlag {
    /// Pods keep their address towards it: pods of other nodes.
    pub const NO_MASQUERADE: u32 = 1;
    /// Another node of the cluster.
    pub const NODE: u32 = 1 << 1;
}

record! {
    /// What is known about a prefix elsewhere.
    pub struct Node {
        /// Numeric identity; 0..255 are reserved.
        pub identity: u32,
        /// [`NodeFlag`].
        pub flags: u32,
    }
}

record! {
    /// A network namespace whose sockets are translated; the key is its cookie.
    pub struct Namespace {
        /// IPv4 address of the pod; unspecified: the node itself.
        pub address4: crate::Ip4,
        /// IPv6 address of the pod; unspecified: the node itself.
        pub address6: crate::Ip6,
    }
}
