//! Forwarding entries of a VXLAN link: which machine has an Ethernet address.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};

use crate::Mac;
use crate::attribute::{Attributes, u8_at, u32_at};

/// struct ndmsg.
const FIXED_BYTES: usize = 12;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Index of the VXLAN link.
    pub link: u32,
    pub mac: Mac,
    /// Where the tunnel's packets for it are sent.
    pub to: IpAddr,
}

impl Forward {
    pub(crate) fn message(&self) -> NeighbourMessage {
        let mut message = Forward::question();
        message.header.ifindex = self.link;
        message.header.state = NeighbourState::Permanent;
        message.header.flags = NeighbourFlags::Own;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(self.mac.0.to_vec()));
        message.attributes.push(NeighbourAttribute::Destination(self.to.into()));
        message
    }

    /// What a list of all is asked with.
    pub(crate) fn question() -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message
    }

    /// None for entries that name no machine: those of bridges, and a tunnel's defaults.
    pub(crate) fn read(payload: &[u8]) -> Option<Forward> {
        let attributes = Attributes::after(payload, FIXED_BYTES);
        if i32::from(u8_at(payload, 0)?) != libc::AF_BRIDGE {
            return None;
        }
        let mac = attributes.mac(libc::NDA_LLADDR)?;
        (mac != Mac([0; 6])).then_some(())?;
        Some(Forward { link: u32_at(payload, 4)?, mac, to: attributes.ip(libc::NDA_DST)? })
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} on link {}", self.mac, self.to, self.link)
    }
}
