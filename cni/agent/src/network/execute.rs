//! The only place that changes the node's links, addresses and routes.

use std::fs;
use std::io;
use std::path::Path;

use netlink::{
    Address, Batch, Kind, Link, LinkChange, MAIN_TABLE, Neighbour, NetlinkError, NewLink, Peer, Route, Socket,
};

use crate::names::Names;

use super::{Desired, GATEWAY_MAC, Object, Observed, PEER_MAC, PROTOCOL, Step, Sysctl, Way, next_hop};

/// Why a step could not be done.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("{what}")]
    Kernel { what: String, source: NetlinkError },
    #[error("writing {value} to {path}")]
    Sysctl { path: String, value: &'static str, source: io::Error },
}

/// A request socket in the node's network namespace.
#[derive(Debug)]
pub struct Host(pub Socket);

impl Host {
    /// The calling thread is in the node's namespace.
    pub fn open() -> Result<Host, NetworkError> {
        let failed = |source| NetworkError::Kernel { what: "looking at the host".to_owned(), source };
        Socket::open().map(Host).map_err(failed)
    }

    /// Reads what is there of `desired`.
    pub fn observe(&mut self, desired: &Desired) -> Result<Observed, NetworkError> {
        let failed = |source| NetworkError::Kernel { what: "looking at the gateway".to_owned(), source };
        let ipv6 = Path::new("/proc/sys/net/ipv6/conf").exists();
        let ends = [&desired.gateway, &desired.peer].map(|name| self.0.link_named(name));
        let [gateway, peer] = ends;
        // Half a pair is none, and what it has goes with it.
        let pair = gateway.map_err(failed)?.zip(peer.map_err(failed)?);
        let (gateway, peer) = pair.unzip();
        let is_here = |index: u32| gateway.as_ref().is_some_and(|link| link.index == index);
        let addresses: Vec<Address> = self.0.addresses().map_err(failed)?;
        let neighbours: Vec<Neighbour> = self.0.neighbours().map_err(failed)?;
        let routes: Vec<Route> = self.0.routes().map_err(failed)?;
        let fresh = gateway.is_none();
        let wrong =
            |s: &Sysctl| fresh || fs::read_to_string(&s.path).map_or(true, |value| value.trim() != s.value);
        Ok(Observed {
            addresses: addresses.into_iter().filter(|address| is_here(address.link)).collect(),
            neighbours: neighbours.into_iter().filter(|neighbour| is_here(neighbour.link)).collect(),
            routes: routes
                .into_iter()
                .filter(|route| route.protocol == PROTOCOL && route.table == MAIN_TABLE)
                .collect(),
            sysctls: desired.sysctls(ipv6).into_iter().filter(wrong).collect(),
            gateway,
            peer,
            ipv6,
        })
    }

    pub fn execute(&mut self, desired: &Desired, step: &Step) -> Result<(), NetworkError> {
        let failed = |source| NetworkError::Kernel { what: format!("making {step}"), source };
        let mut batch = Batch::new();
        match step {
            Step::MakePair => return self.make_pair(desired).map_err(failed),
            Step::Sysctl(Sysctl { path, value }) => {
                let path = path.display().to_string();
                return fs::write(&path, value).map_err(|source| NetworkError::Sysctl {
                    path,
                    value,
                    source,
                });
            }
            Step::Change { peer, objects } => {
                let name = if *peer { &desired.peer } else { &desired.gateway };
                let index = self.index(name).map_err(failed)?;
                objects.iter().for_each(|object| enter(&mut batch, index, object));
            }
            Step::RouteToNode { way: Way { to, via, link, tunnelled, source }, replace } => {
                let plain = Route::new(*to, Some(*via), *link);
                let route = Route { protocol: PROTOCOL, onlink: *tunnelled, source: *source, ..plain };
                if *replace {
                    batch.replace_route(&route)
                } else {
                    batch.add_route(&route)
                };
            }
            Step::RemoveAddress(address) => {
                batch.delete_address(address);
            }
            Step::RemoveRoute(route) => {
                batch.delete_route(route);
            }
        }
        match self.0.run(&batch) {
            // Gone meanwhile: the link that carried it went.
            Err(error) if matches!(step, Step::RemoveRoute(_)) && error.only(libc::ESRCH) => Ok(()),
            outcome => outcome.map_err(failed),
        }
    }

    /// Takes the pair, the tunnel and all routes of ours away. Nothing there is success.
    pub fn remove(&mut self, names: &Names) -> Result<(), NetworkError> {
        let failed = |what: String| move |source| NetworkError::Kernel { what, source };
        for name in [&names.gateway, &names.tunnel] {
            if let Some(link) = self.0.link_named(name).map_err(failed(format!("looking for {name}")))? {
                let mut batch = Batch::new();
                batch.delete_link(link.index);
                self.0.run(&batch).map_err(failed(format!("deleting {name}")))?;
            }
        }
        let routes = self.0.routes().map_err(failed("listing routes".to_owned()))?;
        let ours = routes.iter().filter(|route| route.protocol == PROTOCOL && route.table == MAIN_TABLE);
        let mut batch = Batch::new();
        for route in ours {
            batch.delete_route(route);
        }
        match self.0.run(&batch) {
            Err(error) if error.only(libc::ESRCH) => Ok(()),
            outcome => outcome.map_err(failed("deleting routes".to_owned())),
        }
    }

    fn make_pair(&mut self, desired: &Desired) -> Result<(), NetlinkError> {
        let mut batch = Batch::new();
        // Half a pair is none: the other end has been moved or renamed.
        for name in [&desired.gateway, &desired.peer] {
            if let Some(link) = self.0.link_named(name)? {
                batch.delete_link(link.index);
            }
        }
        let peer = Peer { name: &desired.peer, mac: Some(PEER_MAC), mtu: None, namespace: None };
        batch.add_link(&NewLink {
            name: &desired.gateway,
            mac: Some(GATEWAY_MAC),
            mtu: None,
            up: false,
            kind: Kind::Veth(peer),
        });
        self.0.run(&batch)
    }

    pub(crate) fn index(&mut self, name: &str) -> Result<u32, NetlinkError> {
        match self.0.link_named(name)? {
            Some(Link { index, .. }) => Ok(index),
            None => Err(NetlinkError::Talk {
                wanted: format!("looking for link {name}"),
                source: io::Error::from_raw_os_error(libc::ENODEV),
            }),
        }
    }
}

fn enter(batch: &mut Batch, index: u32, object: &Object) {
    match object {
        Object::NoLinkLocal => {
            batch.change_link(index, &LinkChange { link_local: Some(false), ..LinkChange::default() });
        }
        Object::Up => {
            batch.change_link(index, &LinkChange { up: Some(true), ..LinkChange::default() });
        }
        Object::Address(address) => {
            batch.add_address(&Address::new(index, *address));
        }
        Object::Neighbour(ip, mac) => {
            batch.set_neighbour(&Neighbour::permanent(index, *ip, *mac));
        }
        Object::Range { to, source, replace } => {
            let plain = Route::new(*to, Some(next_hop(to.addr())), index);
            let route = Route { onlink: true, source: *source, protocol: PROTOCOL, ..plain };
            if *replace {
                batch.replace_route(&route)
            } else {
                batch.add_route(&route)
            };
        }
    }
}
