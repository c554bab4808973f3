//! Who may ask.
//!
//! The port is open on the node's address, and whoever forwards for everybody is soon used against somebody. So only
//! private addresses are answered unless others are named: pods, nodes, and the node itself under whatever address.
//!
//! Reference: RFC 1918, RFC 4193, RFC 6598; RFC 5358 (open resolvers).

use std::net::IpAddr;

use ipnet::IpNet;

/// Pods and machines of a private network.
const PRIVATE: [&str; 9] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "100.64.0.0/10",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

#[derive(Clone, Debug)]
pub(crate) struct Sources {
    ranges: Vec<IpNet>,
}

impl Sources {
    /// These ranges beside the private ones.
    pub(crate) fn new(more: &[IpNet]) -> Sources {
        let private = PRIVATE.iter().filter_map(|range| range.parse().ok());
        Sources { ranges: private.chain(more.iter().copied()).collect() }
    }

    /// Whether `from` may ask at our address `here`.
    pub(crate) fn allow(&self, from: IpAddr, here: IpAddr) -> bool {
        let from = from.to_canonical();
        from == here.to_canonical() || self.ranges.iter().any(|range| range.contains(&from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_ones_and_those_named() {
        let named = Sources::new(&["203.0.113.0/24".parse().unwrap()]);
        let check = |from: &str, expect: bool| {
            assert_eq!(named.allow(from.parse().unwrap(), "198.51.100.7".parse().unwrap()), expect, "{from}");
        };
        for from in ["127.0.0.1", "10.244.0.9", "172.31.0.1", "::ffff:192.168.0.1", "fd00:10:244::9", "::1"] {
            check(from, true);
        }
        check("198.51.100.7", true);
        check("203.0.113.9", true);
        for from in ["198.51.100.8", "8.8.8.8", "2001:db8::1", "172.32.0.1"] {
            check(from, false);
        }
        assert_eq!(Sources::new(&[]).ranges.len(), PRIVATE.len());
    }
}
