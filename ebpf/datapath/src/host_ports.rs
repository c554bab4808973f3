//! Ports of the node that lead to pods of it: hostPort.
//!
//! A map of its own, because the frontends of Services have another writer. A Service's node port goes before a host
//! port of the same number.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use abi::{Ip4, Ip6, ServiceKey, SettingsFlag};

use crate::error::DatapathError;
use crate::load::change_settings;
use crate::pins::Pins;
use crate::services::Transport;
use crate::tables::Table;

/// Where a host port is reached. The unspecified address stands for every address of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    pub address: IpAddr,
    pub port: u16,
    pub transport: Transport,
}

#[derive(Debug)]
pub struct HostPorts {
    v4: Table<ServiceKey<Ip4>, abi::Backend<Ip4>>,
    v6: Table<ServiceKey<Ip6>, abi::Backend<Ip6>>,
    pins: Pins,
}

impl HostPorts {
    pub(crate) fn open(pins: &Pins) -> Result<HostPorts, DatapathError> {
        Ok(HostPorts {
            v4: Table::open(pins, "HOSTPORTS4")?,
            v6: Table::open(pins, "HOSTPORTS6")?,
            pins: pins.clone(),
        })
    }

    /// Adds or replaces a port; both addresses of one family.
    pub fn put(&mut self, port: &HostPort, pod: SocketAddr) -> Result<(), DatapathError> {
        let own = pod.port().to_be();
        match (port.address, pod.ip()) {
            (IpAddr::V4(address), IpAddr::V4(pod)) => {
                let value = abi::Backend { address: Ip4::from(pod), port: own, pad: 0 };
                self.v4.put(key(port, Ip4::from(address)), value)?;
            }
            (IpAddr::V6(address), IpAddr::V6(pod)) => {
                let value = abi::Backend { address: Ip6::from(pod), port: own, pad: 0 };
                self.v6.put(key(port, Ip6::from(address)), value)?;
            }
            _ => {
                return Err(DatapathError::Family {
                    what: format!("a host port of {} at {pod}", port.address),
                });
            }
        }
        change_settings(&self.pins, |settings| settings.flags |= SettingsFlag::HOST_PORTS)
    }

    /// Nothing there is success; says whether something was.
    pub fn remove(&mut self, port: &HostPort) -> Result<bool, DatapathError> {
        match port.address {
            IpAddr::V4(address) => self.v4.remove(&key(port, Ip4::from(address))),
            IpAddr::V6(address) => self.v6.remove(&key(port, Ip6::from(address))),
        }
    }

    /// The pod of a port.
    pub fn get(&self, port: &HostPort) -> Result<Option<SocketAddr>, DatapathError> {
        Ok(match port.address {
            IpAddr::V4(address) => self.v4.get(&key(port, Ip4::from(address)))?.map(pod4),
            IpAddr::V6(address) => self.v6.get(&key(port, Ip6::from(address)))?.map(pod6),
        })
    }

    /// Every port that is in the maps, and its pod.
    pub fn observed(&self) -> Result<BTreeMap<HostPort, SocketAddr>, DatapathError> {
        let mut all = BTreeMap::new();
        for (key, value) in self.v4.entries()? {
            let port = host_port(IpAddr::V4(key.address.into()), key.port, key.protocol);
            all.extend(port.map(|port| (port, pod4(value))));
        }
        for (key, value) in self.v6.entries()? {
            let port = host_port(IpAddr::V6(key.address.into()), key.port, key.protocol);
            all.extend(port.map(|port| (port, pod6(value))));
        }
        Ok(all)
    }
}

fn pod4(value: abi::Backend<Ip4>) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(value.address.into()), u16::from_be(value.port))
}

fn pod6(value: abi::Backend<Ip6>) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(value.address.into()), u16::from_be(value.port))
}

fn key<A>(port: &HostPort, address: A) -> ServiceKey<A> {
    ServiceKey { address, port: port.port.to_be(), protocol: port.transport.number(), scope: 0 }
}

fn host_port(address: IpAddr, port: u16, protocol: u8) -> Option<HostPort> {
    Some(HostPort { address, port: u16::from_be(port), transport: Transport::of(protocol)? })
}
