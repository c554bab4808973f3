//! Links: what they are, what makes one, what changes one.

use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, InfoVxlan, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};

use crate::Mac;
use crate::attribute::{Attributes, u32_at};

/// struct ifinfomsg.
const FIXED_BYTES: usize = 16;

/// A link as the kernel describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub mac: Option<Mac>,
    pub mtu: u32,
    /// Set up by its owner.
    pub up: bool,
    /// A carrier is there too.
    pub running: bool,
    pub loopback: bool,
    /// "veth", "vxlan", ...; none for hardware and loopback.
    pub kind: Option<String>,
    pub alias: Option<String>,
    /// A veth's peer, or what the link stands on; in the namespace `peer_namespace` if that is set.
    pub peer_index: Option<u32>,
    /// An id that the kernel gave to the other namespace.
    pub peer_namespace: Option<i32>,
}

/// A link to be made. What the kernel ignores while it makes one (alias, generation of addresses) is
/// not here but in [`LinkChange`].
#[derive(Clone, Debug)]
pub struct NewLink<'a> {
    pub name: &'a str,
    pub mac: Option<Mac>,
    pub mtu: Option<u32>,
    pub up: bool,
    pub kind: Kind<'a>,
}

#[derive(Clone, Debug)]
pub enum Kind<'a> {
    Veth(Peer<'a>),
    Vxlan(Vxlan),
    Dummy,
}

/// A tunnel that learns nothing: where each Ethernet address is says a [`crate::Forward`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vxlan {
    pub id: u32,
    /// UDP port on both sides.
    pub port: u16,
    /// Whose address its packets carry.
    pub local: IpAddr,
    /// Index of the link that carries them.
    pub underlay: u32,
}

/// The other end of a veth. It cannot be made up: while the kernel makes it, it has no brother yet.
#[derive(Clone, Debug)]
pub struct Peer<'a> {
    pub name: &'a str,
    pub mac: Option<Mac>,
    pub mtu: Option<u32>,
    /// Where it is made; none: beside its brother.
    pub namespace: Option<BorrowedFd<'a>>,
}

/// What is to be different; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct LinkChange<'a> {
    pub up: Option<bool>,
    pub mtu: Option<u32>,
    pub mac: Option<Mac>,
    pub name: Option<&'a str>,
    /// Up to 255 bytes of free text, shown by `ip link`.
    pub alias: Option<&'a str>,
    /// False: no link-local IPv6 address is generated, so no duplicate address detection runs. Has to
    /// come before the link is set up, in a request of its own: the kernel sets it up first.
    pub link_local: Option<bool>,
    pub namespace: Option<BorrowedFd<'a>>,
}

// === impl Link ===

impl Link {
    pub(crate) fn read(payload: &[u8]) -> Option<Link> {
        let flags = u32_at(payload, 8)?;
        let has = |flag: i32| flags & flag.cast_unsigned() != 0;
        let attributes = Attributes::after(payload, FIXED_BYTES);
        Some(Link {
            index: u32_at(payload, 4)?,
            name: attributes.text(libc::IFLA_IFNAME)?,
            mac: attributes.mac(libc::IFLA_ADDRESS),
            mtu: attributes.u32(libc::IFLA_MTU).unwrap_or_default(),
            up: has(libc::IFF_UP),
            running: has(libc::IFF_RUNNING),
            loopback: has(libc::IFF_LOOPBACK),
            kind: attributes.nested(libc::IFLA_LINKINFO).text(libc::IFLA_INFO_KIND),
            alias: attributes.text(libc::IFLA_IFALIAS),
            peer_index: attributes.u32(libc::IFLA_LINK),
            peer_namespace: attributes.u32(libc::IFLA_LINK_NETNSID).map(u32::cast_signed),
        })
    }
}

// === impl NewLink ===

impl NewLink<'_> {
    pub(crate) fn message(&self) -> LinkMessage {
        let mut message = described(self.name, self.mac, self.mtu, self.up);
        message.attributes.push(LinkAttribute::LinkInfo(match &self.kind {
            Kind::Veth(peer) => {
                let data = InfoData::Veth(InfoVeth::Peer(peer.message()));
                vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(data)]
            }
            Kind::Vxlan(tunnel) => {
                vec![LinkInfo::Kind(InfoKind::Vxlan), LinkInfo::Data(InfoData::Vxlan(tunnel.describe()))]
            }
            Kind::Dummy => vec![LinkInfo::Kind(InfoKind::Dummy)],
        }));
        message
    }
}

impl Vxlan {
    fn describe(&self) -> Vec<InfoVxlan> {
        vec![
            InfoVxlan::Id(self.id),
            InfoVxlan::Link(self.underlay),
            match self.local {
                IpAddr::V4(local) => InfoVxlan::Local(local),
                IpAddr::V6(local) => InfoVxlan::Local6(local),
            },
            InfoVxlan::Port(self.port),
            InfoVxlan::Learning(false),
        ]
    }
}

impl Peer<'_> {
    fn message(&self) -> LinkMessage {
        let mut message = described(self.name, self.mac, self.mtu, false);
        if let Some(namespace) = self.namespace {
            message.attributes.push(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
        }
        message
    }
}

// === impl LinkChange ===

impl LinkChange<'_> {
    pub(crate) fn message(&self, index: u32) -> LinkMessage {
        let mut message = by_index(index);
        if let Some(up) = self.up {
            message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
            message.header.change_mask = LinkFlags::Up;
        }
        let generation = |on| {
            let mode =
                AfSpecInet6::AddrGenMode(if on { In6AddrGenMode::Eui64 } else { In6AddrGenMode::None });
            LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])])
        };
        let attributes = [
            self.link_local.map(generation),
            self.mtu.map(LinkAttribute::Mtu),
            self.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())),
            self.name.map(|name| LinkAttribute::IfName(name.to_owned())),
            self.alias.map(|alias| LinkAttribute::IfAlias(alias.to_owned())),
            self.namespace.map(|namespace| LinkAttribute::NetNsFd(namespace.as_raw_fd())),
        ];
        message.attributes.extend(attributes.into_iter().flatten());
        message
    }
}

pub(crate) fn by_index(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

pub(crate) fn by_name(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn described(name: &str, mac: Option<Mac>, mtu: Option<u32>, up: bool) -> LinkMessage {
    let mut message = by_name(name);
    if up {
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
    }
    message.attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
    message
}
