//! Where sockets were led by their hooks. Read only: the programs write, and what nobody uses goes by itself.

use std::net::{IpAddr, SocketAddr};

use abi::{Ip4, Ip6, SocketKey, SocketName};

use crate::error::DatapathError;
use crate::pins::Pins;
use crate::services::{Backend, Transport};
use crate::tables::Table;

/// The kind of key that begins with the backend.
const BY_BACKEND: u8 = 0;

#[derive(Debug)]
pub struct Sockets {
    v4: Table<SocketKey<Ip4>, SocketName<Ip4>>,
    v6: Table<SocketKey<Ip6>, SocketName<Ip6>>,
}

impl Sockets {
    pub(crate) fn open(pins: &Pins) -> Result<Sockets, DatapathError> {
        Ok(Sockets { v4: Table::open(pins, "SOCKETS4")?, v6: Table::open(pins, "SOCKETS6")? })
    }

    /// What the socket with this cookie asked for when it was given this backend; `None`: it asked for the backend itself.
    pub fn asked(
        &self,
        cookie: u64,
        backend: Backend,
        transport: Transport,
    ) -> Result<Option<SocketAddr>, DatapathError> {
        let (port, protocol) = (backend.port().to_be(), transport.number());
        let (cookie_high, cookie_low) = ((cookie >> 32) as u32, cookie as u32);
        Ok(match backend.ip() {
            IpAddr::V4(ip) => {
                let address = Ip4::from(ip);
                let key = SocketKey { cookie_high, cookie_low, address, port, protocol, kind: BY_BACKEND };
                let name = self.v4.get(&key)?;
                name.map(|name| SocketAddr::new(IpAddr::V4(name.address.into()), u16::from_be(name.port)))
            }
            IpAddr::V6(ip) => {
                let address = Ip6::from(ip);
                let key = SocketKey { cookie_high, cookie_low, address, port, protocol, kind: BY_BACKEND };
                let name = self.v6.get(&key)?;
                name.map(|name| SocketAddr::new(IpAddr::V6(name.address.into()), u16::from_be(name.port)))
            }
        })
    }
}
