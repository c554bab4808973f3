//! Neighbours: which Ethernet address an IP address on a link has.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::RouteType;

use crate::Mac;
use crate::attribute::{Attributes, u16_at, u32_at};
use crate::message::family;

/// struct ndmsg.
const FIXED_BYTES: usize = 12;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Index of the link.
    pub link: u32,
    pub address: IpAddr,
    pub mac: Option<Mac>,
    /// Set by somebody, never asked for and never forgotten. Only these can be written.
    pub permanent: bool,
}

impl Neighbour {
    #[must_use]
    pub fn permanent(link: u32, address: IpAddr, mac: Mac) -> Neighbour {
        Neighbour { link, address, mac: Some(mac), permanent: true }
    }

    pub(crate) fn message(&self) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = family(self.address);
        message.header.ifindex = self.link;
        message.header.state = NeighbourState::Permanent;
        message.header.kind = RouteType::Unicast;
        message.attributes.push(NeighbourAttribute::Destination(self.address.into()));
        message.attributes.extend(self.mac.map(|mac| NeighbourAttribute::LinkLayerAddress(mac.0.to_vec())));
        message
    }

    pub(crate) fn read(payload: &[u8]) -> Option<Neighbour> {
        let attributes = Attributes::after(payload, FIXED_BYTES);
        Some(Neighbour {
            link: u32_at(payload, 4)?,
            address: attributes.ip(libc::NDA_DST)?,
            mac: attributes.mac(libc::NDA_LLADDR),
            permanent: u16_at(payload, 8)? & libc::NUD_PERMANENT != 0,
        })
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on link {}", self.address, self.link)
    }
}
