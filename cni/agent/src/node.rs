//! What the agent reads of Nodes.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

/// A node of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    /// Ranges of its pods: at most one of each family.
    pub ranges: Vec<IpNet>,
    /// Where other nodes reach it.
    pub addresses: Vec<IpAddr>,
}

impl Node {
    pub fn read(node: &Value) -> Node {
        let list =
            |pointer: &str| node.pointer(pointer).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let mut ranges: Vec<IpNet> =
            list("/spec/podCIDRs").iter().filter_map(|range| range.as_str()?.parse().ok()).collect();
        if ranges.is_empty() {
            ranges.extend(node["spec"]["podCIDR"].as_str().and_then(|range| range.parse::<IpNet>().ok()));
        }
        let internal = list("/status/addresses").iter().filter(|address| address["type"] == "InternalIP");
        Node {
            name: node["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            ranges,
            addresses: internal.filter_map(|address| address["address"].as_str()?.parse().ok()).collect(),
        }
    }

    /// Its address of a family.
    pub fn address(&self, ipv6: bool) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| address.is_ipv6() == ipv6)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nodes_are_read() {
        let node = json!({"metadata": {"name": "a"}, "spec": {"podCIDR": "10.1.0.0/22", "podCIDRs": ["10.1.0.0/22", "fd00::/64"]},
            "status": {"addresses": [{"type": "Hostname", "address": "a"}, {"type": "InternalIP", "address": "192.0.2.1"},
                {"type": "InternalIP", "address": "2001:db8::1"}, {"type": "InternalIP", "address": "nonsense"}]}});
        let read = Node::read(&node);
        assert_eq!(read.ranges, ["10.1.0.0/22".parse().unwrap(), "fd00::/64".parse().unwrap()]);
        assert_eq!(read.address(false), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(read.address(true), Some("2001:db8::1".parse().unwrap()));
        let old = json!({"metadata": {"name": "a"}, "spec": {"podCIDR": "10.1.0.0/22"}});
        assert_eq!(Node::read(&old).ranges.len(), 1);
        assert_eq!(Node::read(&json!({})), Node::default());
    }
}
