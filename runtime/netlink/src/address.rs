//! Addresses of links.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};

use crate::attribute::{Attributes, u8_at, u32_at};
use crate::message::family;

/// struct ifaddrmsg.
const FIXED_BYTES: usize = 8;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    #[default]
    Global,
    Link,
    Host,
    Other(u8),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Index of the link.
    pub link: u32,
    /// The address itself, with the length of its network.
    pub address: IpNet,
    /// The other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    pub scope: Scope,
    /// True: usable at once, without duplicate address detection (IPv6).
    pub nodad: bool,
    /// Duplicate address detection has not finished (read only).
    pub tentative: bool,
}

impl Address {
    /// A global address that is usable at once.
    #[must_use]
    pub fn new(link: u32, address: IpNet) -> Address {
        Address { link, address, peer: None, scope: Scope::Global, nodad: true, tentative: false }
    }

    pub(crate) fn message(&self) -> AddressMessage {
        let mut message = AddressMessage::default();
        let local = self.address.addr();
        message.header.family = family(local);
        message.header.prefix_len = self.address.prefix_len();
        message.header.index = self.link;
        message.header.scope = AddressScope::from(self.scope.number());
        message.attributes.push(AddressAttribute::Local(local));
        message.attributes.push(AddressAttribute::Address(self.peer.unwrap_or(local)));
        if self.nodad && local.is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        message
    }

    pub(crate) fn read(payload: &[u8]) -> Option<Address> {
        let attributes = Attributes::after(payload, FIXED_BYTES);
        let local = attributes.ip(libc::IFA_LOCAL);
        let other = attributes.ip(libc::IFA_ADDRESS);
        // IPv6 gives IFA_LOCAL only for point-to-point addresses.
        let own = local.or(other)?;
        let flags = attributes.u32(libc::IFA_FLAGS).or_else(|| u8_at(payload, 2).map(u32::from))?;
        Some(Address {
            link: u32_at(payload, 4)?,
            address: IpNet::new(own, u8_at(payload, 1)?).ok()?,
            peer: other.filter(|other| *other != own),
            scope: Scope::from_number(u8_at(payload, 3)?),
            nodad: flags & libc::IFA_F_NODAD != 0,
            tentative: flags & libc::IFA_F_TENTATIVE != 0,
        })
    }
}

impl Scope {
    pub(crate) fn number(self) -> u8 {
        match self {
            Scope::Global => libc::RT_SCOPE_UNIVERSE,
            Scope::Link => libc::RT_SCOPE_LINK,
            Scope::Host => libc::RT_SCOPE_HOST,
            Scope::Other(number) => number,
        }
    }

    pub(crate) fn from_number(number: u8) -> Scope {
        match number {
            libc::RT_SCOPE_UNIVERSE => Scope::Global,
            libc::RT_SCOPE_LINK => Scope::Link,
            libc::RT_SCOPE_HOST => Scope::Host,
            other => Scope::Other(other),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on link {}", self.address, self.link)
    }
}
