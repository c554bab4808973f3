//! IP addresses and CIDR ranges in fields.
//!
//! Strict where upstream is since 1.36: no leading zeros, no IPv4-mapped IPv6 address, no bits beyond a prefix.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::report::Report;
use crate::field::{Path, quote};

const NOT_AN_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NOT_A_RANGE: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An address of either family.
pub(super) fn ip(report: &mut Report, path: &Path, text: &str) -> Option<IpAddr> {
    let Some(address) = sloppy(text) else {
        report.invalid(path, text, NOT_AN_ADDRESS);
        return None;
    };
    if text.parse::<IpAddr>().is_err() {
        report.invalid(path, text, "must not have leading 0s");
    } else if is_mapped(text) {
        report.invalid(path, text, "must not be an IPv4-mapped IPv6 address");
    }
    Some(address)
}

/// An address in the one way in which it is written now.
pub(super) fn canonical_ip(report: &mut Report, path: &Path, text: &str) {
    let before = report.len();
    let address = ip(report, path, text);
    if let Some(canonical) = address.map(|address| address.to_string())
        && report.len() == before
        && canonical != text
    {
        report.invalid(path, text, format!("must be in canonical form ({})", quote(&canonical)));
    }
}

/// An address that somebody is reached at, of the family that an EndpointSlice announces.
pub(super) fn endpoint_of_family(report: &mut Report, path: &Path, text: &str, v6: bool) {
    let before = report.len();
    let address = ip(report, path, text);
    if report.len() > before {
        return;
    }
    if address.is_none_or(|address| address.is_ipv6() != v6) {
        let why = if v6 { "must be an IPv6 address" } else { "must be an IPv4 address" };
        report.invalid(path, text, why);
    }
    not_special(report, path, text);
}

/// A range such as a pod CIDR.
pub(super) fn cidr(report: &mut Report, path: &Path, text: &str) {
    let Some((address, bits)) = range(text) else {
        report.invalid(path, text, NOT_A_RANGE);
        return;
    };
    let (head, tail) = text.split_once('/').unwrap_or((text, ""));
    let beyond = match address {
        IpAddr::V4(address) => u32::from(address).checked_shl(bits).unwrap_or_default() != 0,
        IpAddr::V6(address) => u128::from(address).checked_shl(bits).unwrap_or_default() != 0,
    };
    if head.parse::<IpAddr>().is_err() || (tail.len() > 1 && tail.starts_with('0')) {
        report.invalid(path, text, "must not have leading 0s in IP or prefix length");
    } else if is_mapped(head) {
        report.invalid(path, text, "must not have an IPv4-mapped IPv6 address");
    } else if beyond {
        report.invalid(path, text, "must not have bits set beyond the prefix length");
    }
}

/// A range in the one way in which it is written now.
pub(super) fn canonical_cidr(report: &mut Report, path: &Path, text: &str) {
    let before = report.len();
    cidr(report, path, text);
    let canonical = range(text).map(|(address, bits)| format!("{address}/{bits}"));
    if let Some(canonical) = canonical.filter(|canonical| canonical != text)
        && report.len() == before
    {
        report.invalid(path, text, format!("must be in canonical form ({})", quote(&canonical)));
    }
}

/// An address that traffic may be sent to from anywhere.
pub(super) fn not_special(report: &mut Report, path: &Path, text: &str) {
    let Some(address) = sloppy(text) else {
        report.invalid(path, text, "must be a valid IP address");
        return;
    };
    if address.is_unspecified() {
        report.invalid(path, text, format!("may not be unspecified ({text})"));
    }
    if address.is_loopback() {
        report.invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (link_local, link_local_multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    if link_local {
        report.invalid(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if link_local_multicast {
        let why = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";
        report.invalid(path, text, why);
    }
}

/// Whether a list of addresses holds both families.
pub(super) fn is_dual_stack<'a>(texts: impl Iterator<Item = &'a str>) -> bool {
    let families: Vec<bool> = texts.filter_map(sloppy).map(|address| address.is_ipv6()).collect();
    families.contains(&true) && families.contains(&false)
}

/// Whether a list of ranges holds both families.
pub(super) fn is_dual_stack_range<'a>(texts: impl Iterator<Item = &'a str>) -> bool {
    is_dual_stack(texts.map(|text| text.split('/').next().unwrap_or_default()))
}

/// As old parsers read it: leading zeros are skipped, a mapped address is an IPv4 address.
pub(super) fn sloppy(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        let address: Ipv6Addr = text.parse().ok()?;
        return Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4));
    }
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        *octet = if digits { part.parse().ok()? } else { return None };
    }
    parts.next().is_none().then_some(IpAddr::V4(Ipv4Addr::from(octets)))
}

/// A range as old parsers read it: its address and the length of its prefix.
pub(super) fn range(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = text.split_once('/')?;
    let address = sloppy(address)?;
    let most = if address.is_ipv6() { 128 } else { 32 };
    let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
    let bits: u32 = if digits { bits.parse().ok()? } else { return None };
    (bits <= most).then_some((address, bits))
}

/// Whether an address lies in a range.
pub(super) fn holds(range: IpAddr, bits: u32, address: IpAddr) -> bool {
    match (range, address) {
        (IpAddr::V4(range), IpAddr::V4(address)) => {
            (u32::from(range) ^ u32::from(address)).checked_shr(32 - bits).unwrap_or_default() == 0
        }
        (IpAddr::V6(range), IpAddr::V6(address)) => {
            (u128::from(range) ^ u128::from(address)).checked_shr(128 - bits).unwrap_or_default() == 0
        }
        _ => false,
    }
}

fn is_mapped(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok_and(|address| address.to_ipv4_mapped().is_some())
}
