//! What the proxy needs of its own Node.

use std::net::IpAddr;
use std::str::FromStr;

use api::meta::Meta;
use ipnet::IpNet;
use serde_json::Value;

use crate::desired::NodePorts;
use crate::service::list;

const ZONE: &str = "topology.kubernetes.io/zone";
/// The autoscaler is about to take the node away.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// `--nodeport-addresses`: on which addresses of the node its ports are answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum PortAddresses {
    #[default]
    Everywhere,
    /// On those that the Node names as its own.
    Primary,
    Within(Vec<IpNet>),
}

impl PortAddresses {
    pub(crate) fn parse(words: &[String]) -> Result<PortAddresses, String> {
        match words {
            [] => Ok(PortAddresses::Everywhere),
            [word] if word == "primary" => Ok(PortAddresses::Primary),
            words => {
                let range = |word: &String| {
                    IpNet::from_str(word).map_err(|_| {
                        format!("{word:?} is neither a range such as 192.0.2.0/24 nor \"primary\"")
                    })
                };
                Ok(PortAddresses::Within(words.iter().map(range).collect::<Result<_, _>>()?))
            }
        }
    }

    /// The addresses now. `own` asks the kernel for all that the node has.
    pub(crate) fn resolve(&self, node: Option<&Value>, own: impl FnOnce() -> Vec<IpAddr>) -> NodePorts {
        match self {
            PortAddresses::Everywhere => NodePorts::Everywhere,
            PortAddresses::Primary => {
                let named = node.map_or(&[][..], |node| list(&node["status"]["addresses"]));
                let internal = named.iter().filter(|address| address["type"] == "InternalIP");
                let addresses = internal.filter_map(|address| address["address"].as_str()?.parse().ok());
                NodePorts::On(addresses.collect())
            }
            PortAddresses::Within(ranges) => {
                let within = |address: &IpAddr| ranges.iter().any(|range| range.contains(address));
                let mut addresses: Vec<IpAddr> = own().into_iter().filter(within).collect();
                addresses.sort_unstable();
                NodePorts::On(addresses)
            }
        }
    }
}

/// Where the node is; empty where nobody says.
pub(crate) fn zone(node: &Value) -> String {
    Meta::of(node).label(ZONE).unwrap_or_default().to_owned()
}

/// Whether load balancers may choose the node.
pub(crate) fn is_eligible(node: &Value) -> bool {
    let leaving = list(&node["spec"]["taints"]).iter().any(|taint| taint["key"] == TO_BE_DELETED);
    !leaving && Meta::of(node).deletion_timestamp().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_of_node_ports() {
        let node = json!({"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"},
            {"type": "Hostname", "address": "n"}, {"type": "ExternalIP", "address": "203.0.113.1"}]}});
        let own =
            || ["192.0.2.9", "192.0.2.1", "127.0.0.1", "2001:db8::1"].map(|a| a.parse().unwrap()).to_vec();
        let check = |words: &[&str], expect: NodePorts| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(PortAddresses::parse(&words).unwrap().resolve(Some(&node), own), expect);
        };
        let on = |addresses: &[&str]| NodePorts::On(addresses.iter().map(|a| a.parse().unwrap()).collect());
        check(&[], NodePorts::Everywhere);
        check(&["primary"], on(&["192.0.2.1"]));
        check(&["192.0.2.0/24", "2001:db8::/32"], on(&["192.0.2.1", "192.0.2.9", "2001:db8::1"]));
        assert!(PortAddresses::parse(&["primary".into(), "10.0.0.0/8".into()]).is_err());
    }
}
