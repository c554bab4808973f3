//! Routes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};

use crate::Scope;
use crate::attribute::{Attributes, u8_at};
use crate::message::family;

/// struct rtmsg.
const FIXED_BYTES: usize = 12;

/// RT_TABLE_MAIN.
pub const MAIN_TABLE: u32 = 254;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteKind {
    #[default]
    Unicast,
    Local,
    Blackhole,
    Unreachable,
    Other(u8),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub destination: IpNet,
    pub kind: RouteKind,
    pub gateway: Option<IpAddr>,
    /// Index of the link that it leaves by.
    pub link: Option<u32>,
    /// The gateway is reached over the link although no route says so.
    pub onlink: bool,
    pub scope: Scope,
    pub table: u32,
    /// Who made it (RTPROT_*); 4 is "static".
    pub protocol: u8,
    /// Smaller is preferred; none: the kernel's default.
    pub metric: Option<u32>,
    pub mtu: Option<u32>,
    pub advmss: Option<u32>,
    /// Source address of what the host itself sends this way.
    pub source: Option<IpAddr>,
}

impl Route {
    /// A unicast route in the main table: over `gateway` if there is one, else to neighbours on the link.
    #[must_use]
    pub fn new(destination: IpNet, gateway: Option<IpAddr>, link: u32) -> Route {
        let scope =
            if gateway.is_some() || destination.addr().is_ipv6() { Scope::Global } else { Scope::Link };
        Route {
            destination: destination.trunc(),
            kind: RouteKind::Unicast,
            gateway,
            link: Some(link),
            onlink: false,
            scope,
            table: MAIN_TABLE,
            protocol: libc::RTPROT_STATIC,
            metric: None,
            mtu: None,
            advmss: None,
            source: None,
        }
    }

    pub(crate) fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family(self.destination.addr());
        message.header.destination_prefix_length = self.destination.prefix_len();
        // Tables past 255 only fit the attribute.
        message.header.table = u8::try_from(self.table).unwrap_or_default();
        message.header.protocol = RouteProtocol::from(self.protocol);
        message.header.scope = RouteScope::from(self.scope.number());
        message.header.kind = RouteType::from(self.kind.number());
        if self.onlink {
            message.header.flags = RouteFlags::Onlink;
        }
        let metrics: Vec<RouteMetric> =
            [self.mtu.map(RouteMetric::Mtu), self.advmss.map(RouteMetric::Advmss)]
                .into_iter()
                .flatten()
                .collect();
        let destination = self.destination.addr();
        let attributes = [
            (self.destination.prefix_len() > 0).then(|| RouteAttribute::Destination(destination.into())),
            self.gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())),
            self.source.map(|source| RouteAttribute::PrefSource(source.into())),
            self.link.map(RouteAttribute::Oif),
            self.metric.map(RouteAttribute::Priority),
            Some(RouteAttribute::Table(self.table)),
            (!metrics.is_empty()).then_some(RouteAttribute::Metrics(metrics)),
        ];
        message.attributes.extend(attributes.into_iter().flatten());
        message
    }

    pub(crate) fn read(payload: &[u8]) -> Option<Route> {
        const RTNH_F_ONLINK: u32 = 4;
        const RTAX_MTU: u16 = 2;
        const RTAX_ADVMSS: u16 = 8;
        let attributes = Attributes::after(payload, FIXED_BYTES);
        let any: IpAddr = match i32::from(u8_at(payload, 0)?) {
            libc::AF_INET => Ipv4Addr::UNSPECIFIED.into(),
            libc::AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        };
        let flags = crate::attribute::u32_at(payload, 8)?;
        let metrics = attributes.nested(libc::RTA_METRICS);
        Some(Route {
            destination: IpNet::new(attributes.ip(libc::RTA_DST).unwrap_or(any), u8_at(payload, 1)?).ok()?,
            kind: RouteKind::from_number(u8_at(payload, 7)?),
            gateway: attributes.ip(libc::RTA_GATEWAY),
            link: attributes.u32(libc::RTA_OIF),
            onlink: flags & RTNH_F_ONLINK != 0,
            scope: Scope::from_number(u8_at(payload, 6)?),
            table: attributes.u32(libc::RTA_TABLE).or_else(|| u8_at(payload, 4).map(u32::from))?,
            protocol: u8_at(payload, 5)?,
            metric: attributes.u32(libc::RTA_PRIORITY),
            mtu: metrics.u32(RTAX_MTU),
            advmss: metrics.u32(RTAX_ADVMSS),
            source: attributes.ip(libc::RTA_PREFSRC),
        })
    }
}

impl RouteKind {
    fn number(self) -> u8 {
        match self {
            RouteKind::Unicast => libc::RTN_UNICAST,
            RouteKind::Local => libc::RTN_LOCAL,
            RouteKind::Blackhole => libc::RTN_BLACKHOLE,
            RouteKind::Unreachable => libc::RTN_UNREACHABLE,
            RouteKind::Other(number) => number,
        }
    }

    fn from_number(number: u8) -> RouteKind {
        match number {
            libc::RTN_UNICAST => RouteKind::Unicast,
            libc::RTN_LOCAL => RouteKind::Local,
            libc::RTN_BLACKHOLE => RouteKind::Blackhole,
            libc::RTN_UNREACHABLE => RouteKind::Unreachable,
            other => RouteKind::Other(other),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "to {}", self.destination)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        self.link.map_or(Ok(()), |link| write!(f, " on link {link}"))
    }
}
