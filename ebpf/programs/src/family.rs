//! What differs between IPv4 and IPv6 in addresses and settings.

use abi::{Address, Ip4, Ip6, Protocol, Settings, SettingsFlag};

pub trait Family: Address + 'static {
    /// The protocol whose echo is tracked.
    const ICMP: u8;
    const ECHO_REQUEST: u8;
    const ECHO_REPLY: u8;

    /// The unspecified address, in a form that the compiler does not make a call to memset.
    fn nowhere() -> Self;
    /// What pods are hidden behind.
    fn masquerade(settings: &Settings) -> Option<Self>;
    /// The node's own address among its pods.
    fn gateway(settings: &Settings) -> Option<Self>;
    fn is_of_pods(self, settings: &Settings) -> bool;
    fn is_of_services(self, settings: &Settings) -> bool;
    fn is_link_local(self) -> bool;
    /// Multicast or broadcast.
    fn is_for_many(self) -> bool;
    fn is_loopback(self) -> bool;
}

/// Zero, but the compiler cannot know it.
#[inline(always)]
fn zero() -> u32 {
    let zero = 0;
    // SAFETY: it was written just now.
    unsafe { core::ptr::read_volatile(&raw const zero) }
}

#[inline(always)]
const fn network(first: u8, second: u8) -> u32 {
    u32::from_ne_bytes([first, second, 0, 0])
}

impl Family for Ip4 {
    const ICMP: u8 = Protocol::ICMP;
    const ECHO_REQUEST: u8 = 8;
    const ECHO_REPLY: u8 = 0;

    #[inline(always)]
    fn nowhere() -> Ip4 {
        Ip4 { bits: 0 }
    }

    #[inline(always)]
    fn masquerade(settings: &Settings) -> Option<Ip4> {
        if settings.flags & SettingsFlag::MASQUERADE4 != 0 { Some(settings.masquerade4) } else { None }
    }

    #[inline(always)]
    fn gateway(settings: &Settings) -> Option<Ip4> {
        if settings.gateway4.bits != 0 { Some(settings.gateway4) } else { None }
    }

    #[inline(always)]
    fn is_of_pods(self, settings: &Settings) -> bool {
        self.bits & settings.pods4_mask.bits == settings.pods4.bits
    }

    #[inline(always)]
    fn is_of_services(self, settings: &Settings) -> bool {
        self.bits & settings.services4_mask.bits == settings.services4.bits
    }

    #[inline(always)]
    fn is_link_local(self) -> bool {
        self.bits & network(255, 255) == network(169, 254)
    }

    #[inline(always)]
    fn is_for_many(self) -> bool {
        self.bits & network(240, 0) == network(224, 0) || self.bits == u32::MAX
    }

    #[inline(always)]
    fn is_loopback(self) -> bool {
        self.bits & network(255, 0) == network(127, 0)
    }
}

impl Family for Ip6 {
    const ICMP: u8 = Protocol::ICMP6;
    const ECHO_REQUEST: u8 = 128;
    const ECHO_REPLY: u8 = 129;

    #[inline(always)]
    fn nowhere() -> Ip6 {
        let zero = zero();
        Ip6 { a: zero, b: zero, c: zero, d: zero }
    }

    #[inline(always)]
    fn masquerade(settings: &Settings) -> Option<Ip6> {
        if settings.flags & SettingsFlag::MASQUERADE6 != 0 { Some(settings.masquerade6) } else { None }
    }

    #[inline(always)]
    fn gateway(settings: &Settings) -> Option<Ip6> {
        // The first half names a network, and no pods' network is all zeros.
        if settings.gateway6.a != 0 { Some(settings.gateway6) } else { None }
    }

    #[inline(always)]
    fn is_of_pods(self, settings: &Settings) -> bool {
        masked(self, settings.pods6_mask, settings.pods6)
    }

    #[inline(always)]
    fn is_of_services(self, settings: &Settings) -> bool {
        masked(self, settings.services6_mask, settings.services6)
    }

    #[inline(always)]
    fn is_link_local(self) -> bool {
        self.a & u32::from_ne_bytes([0xff, 0xc0, 0, 0]) == u32::from_ne_bytes([0xfe, 0x80, 0, 0])
    }

    #[inline(always)]
    fn is_for_many(self) -> bool {
        self.a & network(255, 0) == network(255, 0)
    }

    #[inline(always)]
    fn is_loopback(self) -> bool {
        self.a == 0 && self.b == 0 && self.c == 0 && self.d == u32::from_ne_bytes([0, 0, 0, 1])
    }
}

#[inline(always)]
fn masked(address: Ip6, mask: Ip6, network: Ip6) -> bool {
    address.a & mask.a == network.a
        && address.b & mask.b == network.b
        && address.c & mask.c == network.c
        && address.d & mask.d == network.d
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        let four = |text: &str| Ip4::from(text.parse::<Ipv4Addr>().unwrap());
        let check = |text: &str, link_local: bool, many: bool, loopback: bool| {
            let ip = four(text);
            assert_eq!(
                (ip.is_link_local(), ip.is_for_many(), ip.is_loopback()),
                (link_local, many, loopback),
                "{text}"
            );
        };
        check("10.0.0.1", false, false, false);
        check("169.254.1.1", true, false, false);
        check("224.0.0.251", false, true, false);
        check("239.1.1.1", false, true, false);
        check("255.255.255.255", false, true, false);
        check("127.0.0.1", false, false, true);
        let six = |text: &str| Ip6::from(text.parse::<Ipv6Addr>().unwrap());
        assert!(six("fe80::1").is_link_local() && !six("fd00::1").is_link_local());
        assert!(six("ff02::1").is_for_many() && six("::1").is_loopback() && !six("::2").is_loopback());
    }
}
