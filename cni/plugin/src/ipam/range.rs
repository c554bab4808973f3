//! Ranges of addresses, and sets of ranges of one family.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cni_api::AddressRange;

/// Both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    ipv6: bool,
    first: u128,
    last: u128,
}

/// A pod gets one address out of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeSet(Vec<Range>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    #[error("{address} is not an address of {subnet}")]
    Outside { subnet: String, address: IpAddr },
    #[error("the range {first} to {last} is empty")]
    Empty { first: IpAddr, last: IpAddr },
    #[error("a set of address ranges is empty")]
    NoRange,
    #[error("{0} and {1} are of different families: each family needs a set of its own")]
    Families(Range, Range),
    #[error("address ranges {0} and {1} overlap")]
    Overlap(Range, Range),
}

// === impl Range ===

impl Range {
    /// The usable addresses of a subnet, narrowed by start and end. Network and broadcast addresses are
    /// left out; so is a gateway at either end.
    pub fn new(range: &AddressRange) -> Result<Range, RangeError> {
        let subnet = range.subnet;
        let inside = |address: IpAddr| {
            if subnet.contains(&address) {
                Ok(number(address))
            } else {
                Err(RangeError::Outside { subnet: subnet.to_string(), address })
            }
        };
        let (network, broadcast) = (number(subnet.network()), number(subnet.broadcast()));
        // RFC 3021: a /31 has no broadcast address; RFC 4291: the first address of an IPv6 subnet is its
        // routers' anycast address, and there is no broadcast.
        let ipv6 = subnet.addr().is_ipv6();
        let small = subnet.max_prefix_len() - subnet.prefix_len() < 2;
        let first = if small { network } else { network + 1 };
        let last = if small || ipv6 { broadcast } else { broadcast - 1 };
        let mut found = Range {
            ipv6,
            first: range.start.map(inside).transpose()?.unwrap_or(first),
            last: range.end.map(inside).transpose()?.unwrap_or(last),
        };
        if let Some(gateway) = range.gateway.map(inside).transpose()? {
            if gateway == found.first {
                found.first += 1;
            } else if gateway == found.last {
                found.last -= 1;
            }
        }
        if found.first > found.last {
            let (first, last) = (address(ipv6, found.first), address(ipv6, found.last));
            return Err(RangeError::Empty { first, last });
        }
        Ok(found)
    }

    fn contains(self, ip: IpAddr) -> bool {
        ip.is_ipv6() == self.ipv6 && (self.first..=self.last).contains(&number(ip))
    }

    fn overlaps(self, other: Range) -> bool {
        self.ipv6 == other.ipv6 && self.first <= other.last && other.first <= self.last
    }

    fn addresses(self) -> impl Iterator<Item = IpAddr> {
        (self.first..=self.last).map(move |n| address(self.ipv6, n))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", address(self.ipv6, self.first), address(self.ipv6, self.last))
    }
}

// === impl RangeSet ===

impl RangeSet {
    pub fn new(ranges: Vec<Range>) -> Result<RangeSet, RangeError> {
        let Some(first) = ranges.first() else { return Err(RangeError::NoRange) };
        for (k, range) in ranges.iter().enumerate() {
            if range.ipv6 != first.ipv6 {
                return Err(RangeError::Families(*first, *range));
            }
            if let Some(other) = ranges[..k].iter().find(|other| other.overlaps(*range)) {
                return Err(RangeError::Overlap(*other, *range));
            }
        }
        Ok(RangeSet(ranges))
    }

    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.0.iter().any(|range| range.ipv6)
    }

    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(ip))
    }

    #[must_use]
    pub fn overlaps(&self, other: &RangeSet) -> bool {
        self.0.iter().any(|mine| other.0.iter().any(|theirs| mine.overlaps(*theirs)))
    }

    /// Every address once, beginning behind `last` if it is one of them.
    pub fn after(&self, last: Option<IpAddr>) -> impl Iterator<Item = IpAddr> {
        let at =
            last.and_then(|last| Some((self.0.iter().position(|range| range.contains(last))?, number(last))));
        let (at, last) = at.unwrap_or((0, 0));
        let split = self.0[at];
        let (behind, before) = match last {
            0 => (Some(split), None),
            _ => (
                (last < split.last).then(|| Range { first: last + 1, ..split }),
                Some(Range { last: last.min(split.last), ..split }),
            ),
        };
        let rest = self.0[at + 1..].iter().chain(&self.0[..at]).copied();
        behind.into_iter().chain(rest).chain(before).flat_map(Range::addresses)
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&ranges.join(", "))
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn address(ipv6: bool, number: u128) -> IpAddr {
    match u32::try_from(number) {
        Ok(number) if !ipv6 => Ipv4Addr::from_bits(number).into(),
        _ => Ipv6Addr::from_bits(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(subnet: &str, start: &str, end: &str, gateway: &str) -> Result<Range, RangeError> {
        let ip = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        Range::new(&AddressRange {
            subnet: subnet.parse().unwrap(),
            start: ip(start),
            end: ip(end),
            gateway: ip(gateway),
        })
    }

    #[test]
    fn subnets_become_ranges() {
        let check = |subnet: &str, start: &str, end: &str, gateway: &str, expect: &str| {
            let shown = range(subnet, start, end, gateway).map_or_else(|e| e.to_string(), |r| r.to_string());
            assert_eq!(shown, expect, "{subnet} {start} {end} {gateway}");
        };
        check("10.0.0.0/24", "", "", "", "10.0.0.1-10.0.0.254");
        check("10.0.0.77/24", "", "", "10.0.0.1", "10.0.0.2-10.0.0.254");
        check("10.0.0.0/31", "", "", "", "10.0.0.0-10.0.0.1");
        check("10.0.0.9/32", "", "", "", "10.0.0.9-10.0.0.9");
        check("10.0.0.0/24", "10.0.0.10", "10.0.0.20", "", "10.0.0.10-10.0.0.20");
        check("10.0.0.0/24", "10.0.0.20", "10.0.0.10", "", "the range 10.0.0.20 to 10.0.0.10 is empty");
        check("10.0.0.0/24", "10.0.1.0", "", "", "10.0.1.0 is not an address of 10.0.0.0/24");
        check("fd00::/64", "", "", "", "fd00::1-fd00::ffff:ffff:ffff:ffff");
        check("::/0", "", "", "", "::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    }

    #[test]
    fn a_set_is_walked_round_from_anywhere() {
        let set = RangeSet::new(vec![
            range("10.0.0.0/29", "10.0.0.1", "10.0.0.3", "").unwrap(),
            range("10.9.0.0/31", "", "", "").unwrap(),
        ])
        .unwrap();
        let check = |last: &str, expect: &[&str]| {
            let last = (!last.is_empty()).then(|| last.parse().unwrap());
            let walked: Vec<String> = set.after(last).map(|ip| ip.to_string()).collect();
            assert_eq!(walked, expect, "after {last:?}");
        };
        check("", &["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.9.0.0", "10.9.0.1"]);
        check("10.0.0.2", &["10.0.0.3", "10.9.0.0", "10.9.0.1", "10.0.0.1", "10.0.0.2"]);
        check("10.0.0.3", &["10.9.0.0", "10.9.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        check("10.9.0.1", &["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.9.0.0", "10.9.0.1"]);
        check("10.77.0.1", &["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.9.0.0", "10.9.0.1"]);
    }
}
