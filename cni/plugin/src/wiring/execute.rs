//! The only place that talks to the kernel: reads both sides of a veth, carries out steps, undoes them.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use cni_api::host_link::owner;
use netlink::{
    Address, Batch, Kind, Link, LinkChange, Neighbour, NetlinkError, NewLink, Peer, Route, Socket,
};

use super::{Desired, Object, Observed, Side, Step, Sysctl, unlink};
use crate::failure::Failure;

/// A socket in the host's namespace, and one in the pod's if it exists.
#[derive(Debug)]
pub struct Wires {
    host: Socket,
    pod: Option<(Socket, OwnedFd)>,
}

/// What this kernel can do about IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    pub present: bool,
    /// Forwarding can be set per link (Linux 6.17).
    pub per_link_forwarding: bool,
    /// Forwarding is on for the whole host.
    pub forwarding: bool,
}

impl Wires {
    /// The calling thread is in the host's namespace.
    pub fn open(pod: Option<OwnedFd>) -> Result<Wires, Failure> {
        let kernel = |what: &str| {
            let what = what.to_owned();
            move |source| Failure::Kernel { what, source }
        };
        let pod = match pod {
            None => None,
            Some(namespace) => {
                let socket = Socket::open_in(namespace.as_fd()).map_err(kernel("entering the pod"))?;
                Some((socket, namespace))
            }
        };
        Ok(Wires { host: Socket::open().map_err(kernel("looking at the host"))?, pod })
    }

    /// Reads what is there of `desired`.
    pub fn observe(&mut self, desired: &Desired) -> Result<Observed, Failure> {
        let what = |source| Failure::Kernel { what: "looking at what is there".to_owned(), source };
        let ipv6 = Ipv6::of_this_host();
        let host = side(&mut self.host, &desired.names.link).map_err(what)?;
        let pod = match &mut self.pod {
            Some((socket, _)) => side(socket, &desired.ifname).map_err(what)?,
            None => None,
        };
        let wanted = desired.sysctls(ipv6.present, ipv6.per_link_forwarding);
        let wrong = |s: &Sysctl| fs::read_to_string(&s.path).map_or(true, |value| value.trim() != s.value);
        Ok(Observed { host, pod, sysctls: wanted.into_iter().filter(wrong).collect(), ipv6: ipv6.present })
    }

    pub fn execute(&mut self, desired: &Desired, step: &Step) -> Result<(), Failure> {
        let kernel = |source| Failure::Kernel { what: format!("making {step}"), source };
        match step {
            Step::MakeVeth => self.make_veth(desired).map_err(kernel),
            Step::Sysctl(Sysctl { path, value }) => {
                fs::write(path, value).map_err(|source| Failure::Sysctl { path: path.clone(), value, source })
            }
            Step::Host(objects) => apply(&mut self.host, &desired.names.link, objects).map_err(kernel),
            Step::Pod(objects) => match &mut self.pod {
                Some((socket, _)) => apply(socket, &desired.ifname, objects).map_err(kernel),
                None => Ok(()),
            },
        }
    }

    /// Deletes the host's end, and with it everything that was made; not one with another's alias. One
    /// without alias is an ADD's that was killed: nobody else makes links of such names.
    pub fn delete(&mut self, link: &str, alias: &str) -> Result<(), Failure> {
        self.delete_by(link, alias, |host, index| {
            let mut batch = Batch::new();
            batch.delete_link(index);
            host.run(&batch)
        })
    }

    /// The same, without waiting for the kernel's own clean-up. For a process that ends soon: it leaves a child.
    pub fn delete_and_leave(&mut self, link: &str, alias: &str) -> Result<(), Failure> {
        self.delete_by(link, alias, unlink::delete)
    }

    fn delete_by(
        &mut self,
        link: &str,
        alias: &str,
        delete: impl FnOnce(&mut Socket, u32) -> Result<(), NetlinkError>,
    ) -> Result<(), Failure> {
        let what = |source| Failure::Kernel { what: format!("deleting link {link}"), source };
        match self.host.link_named(link).map_err(what)? {
            Some(found) if found.alias.as_deref().is_none_or(|found| found == alias) => {
                match delete(&mut self.host, found.index) {
                    // Gone meanwhile: its pod's namespace ended.
                    Err(error) if error.only(libc::ENODEV) => Ok(()),
                    other => other.map_err(what),
                }
            }
            _ => Ok(()),
        }
    }

    /// Whose links of this network there are.
    pub fn owners(&mut self, network: &str) -> Result<Vec<cni_api::Attachment>, Failure> {
        let what = |source| Failure::Kernel { what: "listing links".to_owned(), source };
        let links = self.host.links().map_err(what)?;
        Ok(links.iter().filter_map(|link| owner(network, link.alias.as_deref()?)).collect())
    }

    /// The index of the host's end.
    pub fn index(&mut self, link: &str) -> Result<u32, Failure> {
        let what = |source| Failure::Kernel { what: format!("looking at link {link}"), source };
        let gone = || NetlinkError::Talk {
            wanted: format!("looking for link {link}"),
            source: io::Error::from_raw_os_error(libc::ENODEV),
        };
        let found = self.host.link_named(link).map_err(what)?;
        found.map(|link| link.index).ok_or_else(gone).map_err(what)
    }

    /// Tells the pod's namespace from every other of this kernel; 0 where there is none.
    pub fn pod_cookie(&self) -> Result<u64, Failure> {
        let namespace = self.pod.as_ref().map(|(_, namespace)| namespace.as_fd());
        namespace.map_or(Ok(0), |namespace| sys::netns::cookie(Some(namespace)).map_err(Failure::Namespace))
    }

    fn make_veth(&mut self, desired: &Desired) -> Result<(), NetlinkError> {
        let Some((_, namespace)) = &self.pod else { return Ok(()) };
        let names = &desired.names;
        let peer = Peer {
            name: &desired.ifname,
            mac: Some(names.pod_mac),
            mtu: desired.mtu,
            namespace: Some(namespace.as_fd()),
        };
        let mut batch = Batch::new();
        batch.add_link(&NewLink {
            name: &names.link,
            mac: Some(names.host_mac),
            mtu: desired.mtu,
            up: false,
            kind: Kind::Veth(peer),
        });
        self.host.run(&batch)
    }
}

impl Ipv6 {
    /// Of the calling thread's namespace.
    #[must_use]
    pub fn of_this_host() -> Ipv6 {
        let conf = Path::new("/proc/sys/net/ipv6/conf");
        let forwarding = fs::read_to_string(conf.join("all/forwarding")).unwrap_or_default();
        Ipv6 {
            present: conf.exists(),
            per_link_forwarding: conf.join("default/force_forwarding").exists(),
            forwarding: forwarding.trim() == "1",
        }
    }

    /// Whether pods with IPv6 addresses can be served.
    pub fn can_forward(self) -> Result<(), Failure> {
        match self {
            Ipv6 { present: false, .. } => Err(Failure::NoIpv6),
            Ipv6 { per_link_forwarding: false, forwarding: false, .. } => Err(Failure::NoIpv6Forwarding),
            _ => Ok(()),
        }
    }
}

fn side(socket: &mut Socket, name: &str) -> Result<Option<Side>, NetlinkError> {
    let Some(link) = socket.link_named(name)? else { return Ok(None) };
    let index = link.index;
    Ok(Some(Side {
        link,
        addresses: socket.addresses()?.into_iter().filter(|address| address.link == index).collect(),
        routes: socket.routes()?.into_iter().filter(|route| route.link == Some(index)).collect(),
        neighbours: socket.neighbours()?.into_iter().filter(|neighbour| neighbour.link == index).collect(),
    }))
}

fn apply(socket: &mut Socket, name: &str, objects: &[Object]) -> Result<(), NetlinkError> {
    let Some(Link { index, .. }) = socket.link_named(name)? else {
        let gone = io::Error::from_raw_os_error(libc::ENODEV);
        return Err(NetlinkError::Talk { wanted: format!("looking for link {name}"), source: gone });
    };
    let mut batch = Batch::new();
    for object in objects {
        match object {
            Object::Alias(alias) => {
                batch.change_link(index, &LinkChange { alias: Some(alias), ..LinkChange::default() })
            }
            Object::NoLinkLocal => {
                batch.change_link(index, &LinkChange { link_local: Some(false), ..LinkChange::default() })
            }
            Object::Up => batch.change_link(index, &LinkChange { up: Some(true), ..LinkChange::default() }),
            Object::Address(address) => batch.add_address(&Address::new(index, *address)),
            Object::Neighbour(ip, mac) => batch.set_neighbour(&Neighbour::permanent(index, *ip, *mac)),
            Object::Route { to, gateway } => {
                // The gateway is on no network of the pod's.
                let route = Route { onlink: gateway.is_some(), ..Route::new(*to, *gateway, index) };
                batch.add_route(&route)
            }
        };
    }
    socket.run(&batch)
}
