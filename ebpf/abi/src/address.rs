//! Addresses as packets carry them.

use core::net::{Ipv4Addr, Ipv6Addr};

/// An address family: what generic records and generic programs need of it.
pub trait Address: Copy + Eq + Default {
    const IPV6: bool;
    /// 0.0.0.0 or ::.
    fn unspecified() -> Self {
        Self::default()
    }
    /// For hashing: every bit of the address takes part.
    fn folded(self) -> u32;
}

record! {
    /// An IPv4 address: the four bytes of the packet, read as one number.
    pub struct Ip4 {
        pub bits: u32,
    }
}

record! {
    /// An IPv6 address: the sixteen bytes of the packet as four numbers.
    pub struct Ip6 {
        pub a: u32,
        pub b: u32,
        pub c: u32,
        pub d: u32,
    }
}

record! {
    /// An Ethernet address in eight bytes; the last two are zero.
    pub struct Mac {
        pub high: u32,
        pub low: u16,
        pub pad: u16,
    }
}

/// The mask of a prefix as it is in memory.
#[must_use]
pub const fn prefix_mask4(length: u8) -> Ip4 {
    let mask = if length == 0 { 0 } else { u32::MAX << (32 - if length > 32 { 32 } else { length as u32 }) };
    Ip4 { bits: mask.to_be() }
}

// === impl Ip4 ===

impl Address for Ip4 {
    const IPV6: bool = false;

    #[inline(always)]
    fn folded(self) -> u32 {
        self.bits
    }
}

impl From<Ipv4Addr> for Ip4 {
    fn from(address: Ipv4Addr) -> Ip4 {
        Ip4 { bits: u32::from_ne_bytes(address.octets()) }
    }
}

impl From<Ip4> for Ipv4Addr {
    fn from(address: Ip4) -> Ipv4Addr {
        Ipv4Addr::from(address.bits.to_ne_bytes())
    }
}

// === impl Ip6 ===

impl Address for Ip6 {
    const IPV6: bool = true;

    #[inline(always)]
    fn folded(self) -> u32 {
        self.a ^ self.b.rotate_left(8) ^ self.c.rotate_left(16) ^ self.d.rotate_left(24)
    }
}

impl From<Ipv6Addr> for Ip6 {
    fn from(address: Ipv6Addr) -> Ip6 {
        let o = address.octets();
        let word = |at: usize| u32::from_ne_bytes([o[at], o[at + 1], o[at + 2], o[at + 3]]);
        Ip6 { a: word(0), b: word(4), c: word(8), d: word(12) }
    }
}

impl From<Ip6> for Ipv6Addr {
    fn from(address: Ip6) -> Ipv6Addr {
        let mut octets = [0; 16];
        for (at, word) in [address.a, address.b, address.c, address.d].into_iter().enumerate() {
            octets[at * 4..at * 4 + 4].copy_from_slice(&word.to_ne_bytes());
        }
        Ipv6Addr::from(octets)
    }
}

// === impl Mac ===

impl From<[u8; 6]> for Mac {
    fn from(b: [u8; 6]) -> Mac {
        Mac {
            high: u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
            low: u16::from_ne_bytes([b[4], b[5]]),
            pad: 0,
        }
    }
}

impl From<Mac> for [u8; 6] {
    fn from(mac: Mac) -> [u8; 6] {
        let (high, low) = (mac.high.to_ne_bytes(), mac.low.to_ne_bytes());
        [high[0], high[1], high[2], high[3], low[0], low[1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_the_bytes_of_the_packet() {
        let four = Ipv4Addr::new(10, 244, 0, 7);
        assert_eq!(Ip4::from(four).bits.to_ne_bytes(), [10, 244, 0, 7]);
        assert_eq!(Ipv4Addr::from(Ip4::from(four)), four);
        let six: Ipv6Addr = "fd00:10:244::7".parse().unwrap();
        assert_eq!(Ipv6Addr::from(Ip6::from(six)), six);
        let mac = [2, 0, 94, 16, 0, 255];
        assert_eq!(<[u8; 6]>::from(Mac::from(mac)), mac);
    }

    #[test]
    fn masks_have_the_order_of_addresses() {
        let check = |length: u8, expect: [u8; 4]| assert_eq!(prefix_mask4(length).bits.to_ne_bytes(), expect);
        check(0, [0, 0, 0, 0]);
        check(8, [255, 0, 0, 0]);
        check(22, [255, 255, 252, 0]);
        check(32, [255, 255, 255, 255]);
    }
}
