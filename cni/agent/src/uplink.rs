//! The link by which other machines are reached. Pure.

use std::net::IpAddr;

use netlink::{Address, Link, MAIN_TABLE, Route, RouteKind, Scope};

use crate::names::Names;

/// The link, and what is on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    pub index: u32,
    pub name: String,
    pub mtu: u32,
    pub addresses: Vec<ipnet::IpNet>,
}

/// The link that was asked for by name, else the one with the node's address, else the default route's. None: the
/// node stands alone, which is no error.
pub fn choose(
    asked: Option<&str>,
    node_ips: &[IpAddr],
    links: &[Link],
    addresses: &[Address],
    routes: &[Route],
    names: &Names,
) -> Option<Uplink> {
    let may = |link: &&Link| !link.loopback && !names.is_ours(&link.name);
    let at = |index: u32| links.iter().filter(may).find(|link| link.index == index);
    let by_address = || {
        let own = addresses.iter().find(|address| node_ips.contains(&address.address.addr()))?;
        at(own.link)
    };
    let by_route = || {
        let default = |route: &&Route| {
            route.destination.prefix_len() == 0
                && route.table == MAIN_TABLE
                && route.kind == RouteKind::Unicast
                && route.link.and_then(at).is_some()
        };
        // IPv4 first, as everywhere; then what the kernel prefers.
        let preference = |route: &&Route| (route.destination.addr().is_ipv6(), route.metric.unwrap_or(0));
        at(routes.iter().filter(default).min_by_key(preference)?.link?)
    };
    let link = match asked {
        Some(name) => links.iter().filter(may).find(|link| link.name == name),
        None => by_address().or_else(by_route),
    }?;
    let own =
        addresses.iter().filter(|a| a.link == link.index && a.scope == Scope::Global && a.peer.is_none());
    Some(Uplink {
        index: link.index,
        name: link.name.clone(),
        mtu: link.mtu,
        addresses: own.map(|address| address.address).collect(),
    })
}

impl Uplink {
    /// Whether a machine is reached over the link without a router.
    pub fn is_direct(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str) -> Link {
        Link { index, name: name.to_owned(), mtu: 1500, loopback: name == "lo", ..Link::default() }
    }

    fn check(
        asked: Option<&str>,
        node_ip: Option<&str>,
        defaults: &[(&str, u32, u32)],
        expect: Option<&str>,
    ) {
        let links =
            [link(1, "lo"), link(2, "eth0"), link(3, "eth1"), link(4, "keelson0"), link(5, "kn0123456789ab")];
        let address = |link, text: &str| Address::new(link, text.parse().unwrap());
        let addresses =
            [address(1, "198.51.100.1/32"), address(2, "192.0.2.1/24"), address(3, "203.0.113.1/24")];
        let routes: Vec<Route> = defaults
            .iter()
            .map(|(to, link, metric)| Route {
                metric: Some(*metric),
                ..Route::new(to.parse().unwrap(), None, *link)
            })
            .collect();
        let node_ips: Vec<IpAddr> = node_ip.iter().map(|ip| ip.parse().unwrap()).collect();
        let names = Names::of("").unwrap();
        let got = choose(asked, &node_ips, &links, &addresses, &routes, &names);
        assert_eq!(got.map(|uplink| uplink.name).as_deref(), expect, "{asked:?} {node_ip:?} {defaults:?}");
    }

    #[test]
    fn the_uplink_is_asked_for_or_found() {
        let both = [("0.0.0.0/0", 2, 200), ("0.0.0.0/0", 3, 100), ("::/0", 2, 1)];
        check(None, None, &[], None);
        check(None, None, &both, Some("eth1"));
        check(None, Some("192.0.2.1"), &both, Some("eth0"));
        // An address of the loopback link says nothing.
        check(None, Some("198.51.100.1"), &both, Some("eth1"));
        check(None, None, &[("::/0", 2, 1)], Some("eth0"));
        check(None, None, &[("0.0.0.0/0", 4, 1)], None);
        check(Some("eth0"), None, &both, Some("eth0"));
        check(Some("eth7"), Some("192.0.2.1"), &both, None);
        check(Some("keelson0"), None, &[], None);
    }

    #[test]
    fn neighbours_are_told_from_strangers() {
        let uplink = Uplink {
            index: 2,
            name: "eth0".to_owned(),
            mtu: 1500,
            addresses: vec!["192.0.2.1/24".parse().unwrap()],
        };
        assert!(uplink.is_direct("192.0.2.9".parse().unwrap()));
        assert!(!uplink.is_direct("203.0.113.9".parse().unwrap()));
    }
}
