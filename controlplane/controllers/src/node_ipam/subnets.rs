//! A cluster's range of pod addresses, cut into subnets of one size.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// More subnets than this are never searched: 65,536 nodes per range, upstream's bound for IPv6.
const SPREAD_MAX: u8 = 16;

/// A range and the prefix length of a node's part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterRange {
    range: IpNet,
    node_prefix: u8,
}

/// Why a range cannot be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeError {
    /// The node's part is larger than the range, or than an address is long.
    TooLarge { range: IpNet, node_prefix: u8 },
    /// More than 65,536 parts.
    TooSmall { range: IpNet, node_prefix: u8 },
    /// The address is not the range's first.
    NotFirst { range: IpNet },
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RangeError::TooLarge { range, node_prefix } => write!(
                f,
                "{range} cannot be cut into parts of /{node_prefix}: expected {} to {}",
                range.prefix_len(),
                range.max_prefix_len()
            ),
            RangeError::TooSmall { range, node_prefix } => {
                let most = range.prefix_len() + SPREAD_MAX;
                write!(f, "{range} has too many parts of /{node_prefix}: expected at most /{most}")
            }
            RangeError::NotFirst { range } => write!(f, "{range} is not a range: expected {}", range.trunc()),
        }
    }
}

impl std::error::Error for RangeError {}

impl ClusterRange {
    pub fn new(range: IpNet, node_prefix: u8) -> Result<ClusterRange, RangeError> {
        if range.trunc() != range {
            return Err(RangeError::NotFirst { range });
        }
        if node_prefix < range.prefix_len() || node_prefix > range.max_prefix_len() {
            return Err(RangeError::TooLarge { range, node_prefix });
        }
        if node_prefix - range.prefix_len() > SPREAD_MAX {
            return Err(RangeError::TooSmall { range, node_prefix });
        }
        Ok(ClusterRange { range, node_prefix })
    }

    pub fn is_ipv6(self) -> bool {
        self.range.addr().is_ipv6()
    }

    /// The first subnet that overlaps none of `taken`.
    pub(super) fn first_free(self, taken: &[IpNet]) -> Option<IpNet> {
        let count = 1_u32 << (self.node_prefix - self.range.prefix_len());
        let mut used = vec![false; count as usize];
        for other in taken.iter().filter(|other| overlap(self.range, **other)) {
            let (first, last) = (self.position(other.network()), self.position(other.broadcast()));
            for slot in used.iter_mut().take(last.saturating_add(1)).skip(first) {
                *slot = true;
            }
        }
        let free = used.iter().position(|used| !used)?;
        Some(self.subnet(free))
    }

    /// Which subnet an address is in; the nearest for one outside of the range.
    fn position(self, address: IpAddr) -> usize {
        let (first, at) = (number(self.range.network()), number(address));
        let last = number(self.range.broadcast());
        let width = self.range.max_prefix_len() - self.node_prefix;
        let offset = (at.clamp(first, last) - first).checked_shr(u32::from(width)).unwrap_or(0);
        usize::try_from(offset).unwrap_or(usize::MAX)
    }

    fn subnet(self, position: usize) -> IpNet {
        let width = self.range.max_prefix_len() - self.node_prefix;
        let offset = (position as u128).checked_shl(u32::from(width)).unwrap_or(0);
        let at = number(self.range.network()) | offset;
        let address: IpAddr = if self.is_ipv6() {
            Ipv6Addr::from_bits(at).into()
        } else {
            Ipv4Addr::from_bits(u32::try_from(at).unwrap_or_default()).into()
        };
        IpNet::new_assert(address, self.node_prefix)
    }
}

impl fmt::Display for ClusterRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in parts of /{}", self.range, self.node_prefix)
    }
}

fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str, prefix: u8) -> Result<ClusterRange, String> {
        ClusterRange::new(text.parse().unwrap(), prefix).map_err(|error| error.to_string())
    }

    fn check(cluster: (&str, u8), taken: &[&str], expect: Option<&str>) {
        let taken: Vec<IpNet> = taken.iter().map(|net| net.parse().unwrap()).collect();
        let got = range(cluster.0, cluster.1).unwrap().first_free(&taken);
        assert_eq!(got.map(|net| net.to_string()).as_deref(), expect, "{cluster:?} {taken:?}");
    }

    #[test]
    fn the_first_free_subnet_is_found() {
        let pods = ("10.244.0.0/16", 22);
        check(pods, &[], Some("10.244.0.0/22"));
        check(pods, &["10.244.0.0/22"], Some("10.244.4.0/22"));
        check(pods, &["10.244.4.0/22"], Some("10.244.0.0/22"));
        // Subnets of another size, from an earlier configuration, and foreign ones.
        check(pods, &["10.244.0.0/24", "10.244.4.0/21", "10.0.0.0/22"], Some("10.244.8.0/22"));
        check(pods, &["10.244.0.0/17"], Some("10.244.128.0/22"));
        check(pods, &["10.0.0.0/8"], None);
        check(("10.244.0.0/22", 22), &["10.244.1.0/24"], None);
        check(("10.0.0.0/31", 32), &["10.0.0.0/32"], Some("10.0.0.1/32"));
        check(("fd00:10:244::/56", 64), &["fd00:10:244::/64"], Some("fd00:10:244:1::/64"));
        check(("fd00:10:244::/56", 64), &["10.244.0.0/22"], Some("fd00:10:244::/64"));
    }

    #[test]
    fn every_node_gets_another_one_until_none_is_left() {
        let pods = range("10.244.0.0/16", 22).unwrap();
        let mut taken = Vec::new();
        while let Some(subnet) = pods.first_free(&taken) {
            assert!(!taken.contains(&subnet));
            taken.push(subnet);
        }
        assert_eq!(taken.len(), 64);
    }

    #[test]
    fn impossible_ranges_are_refused() {
        let refusal = |text, prefix| range(text, prefix).unwrap_err();
        assert!(refusal("10.244.0.0/16", 15).contains("expected 16 to 32"));
        assert!(refusal("10.244.0.0/16", 33).contains("expected 16 to 32"));
        assert!(refusal("fd00::/40", 64).contains("at most /56"));
        assert!(refusal("10.244.0.1/16", 24).contains("expected 10.244.0.0/16"));
    }
}
