//! What the programs know about their node.

use crate::address::{Ip4, Ip6, Mac};

/// Bits of [`Settings::flags`].
pub struct SettingsFlag;

impl SettingsFlag {
    /// Pods reach the outside under the node's address.
    pub const MASQUERADE4: u32 = 1;
    pub const MASQUERADE6: u32 = 1 << 1;
    /// There is a gateway: packets for the node itself go to it.
    pub const GATEWAY: u32 = 1 << 2;
    /// Somebody looks at flows: what is not dropped is reported too.
    pub const REPORT: u32 = 1 << 3;
    /// HOSTPORTS is not empty.
    pub const HOST_PORTS: u32 = 1 << 4;
}

record! {
    pub struct Settings {
        /// Who sends ICMP errors.
        pub node4: Ip4,
        pub node6: Ip6,
        /// The address pods are hidden behind.
        pub masquerade4: Ip4,
        /// The node's own address among its pods; unspecified: none.
        pub gateway4: Ip4,
        /// Pods of the cluster.
        pub pods4: Ip4,
        pub pods4_mask: Ip4,
        pub services4: Ip4,
        pub services4_mask: Ip4,
        pub masquerade6: Ip6,
        pub gateway6: Ip6,
        pub pods6: Ip6,
        pub pods6_mask: Ip6,
        pub services6: Ip6,
        pub services6_mask: Ip6,
        /// [`SettingsFlag`].
        pub flags: u32,
        /// The peer of the gateway link: what is sent out there arrives at the gateway.
        pub gateway_peer: u32,
        /// Ethernet address of the gateway link.
        pub gateway_mac: Mac,
        /// Where packets leave if the kernel's routes cannot be asked.
        pub uplink: u32,
        /// Changes whenever something that was allowed may be no longer: flows of another epoch are judged again.
        pub policy_epoch: u32,
        /// Node ports, order of the machine, both included.
        pub node_port_first: u16,
        pub node_port_last: u16,
        /// Source ports of masqueraded flows, order of the machine, both included.
        pub snat_port_first: u16,
        pub snat_port_last: u16,
    }
}
