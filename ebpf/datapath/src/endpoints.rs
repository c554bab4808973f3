//! Pods of this node.

use std::net::IpAddr;

use abi::{EndpointState, Ip4, Ip6};

use crate::error::DatapathError;
use crate::pins::Pins;
use crate::tables::Table;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Index of the host's end of its veth.
    pub link: u32,
    /// Ethernet address of its own end.
    pub mac: [u8; 6],
    /// Numeric identity of its labels; 0..255 are reserved.
    pub identity: u32,
    pub state: EndpointState,
    pub isolation: Isolation,
}

/// In which directions a pod's packets need a policy's permission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Isolation {
    pub ingress: bool,
    pub egress: bool,
}

#[derive(Debug)]
pub struct Endpoints {
    v4: Table<Ip4, abi::Endpoint>,
    v6: Table<Ip6, abi::Endpoint>,
}

impl Endpoints {
    pub(crate) fn open(pins: &Pins) -> Result<Endpoints, DatapathError> {
        Ok(Endpoints { v4: Table::open(pins, "ENDPOINTS4")?, v6: Table::open(pins, "ENDPOINTS6")? })
    }

    /// Adds or replaces a pod's address.
    pub fn put(&mut self, address: IpAddr, endpoint: &Endpoint) -> Result<(), DatapathError> {
        let value = abi::Endpoint {
            link: endpoint.link,
            identity: endpoint.identity,
            mac: endpoint.mac.into(),
            state: endpoint.state as u8,
            isolation: bits(endpoint.isolation),
            pad2: 0,
        };
        match address {
            IpAddr::V4(address) => self.v4.put(Ip4::from(address), value),
            IpAddr::V6(address) => self.v6.put(Ip6::from(address), value),
        }
    }

    pub fn get(&self, address: IpAddr) -> Result<Option<Endpoint>, DatapathError> {
        let found = match address {
            IpAddr::V4(address) => self.v4.get(&address.into())?,
            IpAddr::V6(address) => self.v6.get(&address.into())?,
        };
        Ok(found.as_ref().map(endpoint))
    }

    /// Nothing there is success; says whether something was.
    pub fn remove(&mut self, address: IpAddr) -> Result<bool, DatapathError> {
        match address {
            IpAddr::V4(address) => self.v4.remove(&address.into()),
            IpAddr::V6(address) => self.v6.remove(&address.into()),
        }
    }

    pub fn observed(&self) -> Result<Vec<(IpAddr, Endpoint)>, DatapathError> {
        let v4 =
            self.v4.entries()?.into_iter().map(|(key, value)| (IpAddr::V4(key.into()), endpoint(&value)));
        let v6 =
            self.v6.entries()?.into_iter().map(|(key, value)| (IpAddr::V6(key.into()), endpoint(&value)));
        Ok(v4.chain(v6).collect())
    }
}

fn endpoint(record: &abi::Endpoint) -> Endpoint {
    let ready = record.state == EndpointState::Ready as u8;
    Endpoint {
        link: record.link,
        mac: record.mac.into(),
        identity: record.identity,
        state: if ready { EndpointState::Ready } else { EndpointState::Pending },
        isolation: Isolation {
            ingress: record.isolation & abi::Isolation::INGRESS != 0,
            egress: record.isolation & abi::Isolation::EGRESS != 0,
        },
    }
}

fn bits(isolation: Isolation) -> u8 {
    let of = |is: bool, bit: u8| if is { bit } else { 0 };
    of(isolation.ingress, abi::Isolation::INGRESS) | of(isolation.egress, abi::Isolation::EGRESS)
}
