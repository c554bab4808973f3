//! Where sockets were led by their hooks. Read only: the programs write, and what nobody uses goes by itself.

use std::net::IpAddr;

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

    /// Whether the socket with this cookie asked for a Service and was given this backend.
    pub fn is_led_to(
        &self,
        cookie: u64,
        backend: Backend,
        transport: Transport,
    ) -> Result<bool, DatapathError> {
        let (port, protocol) = (backend.port().to_be(), transport.number());
        let (cookie_high, cookie_low) = ((cookie >> 32) as u32, cookie as u32);
        match backend.ip() {
            IpAddr::V4(ip) => {
                let address = Ip4::from(ip);
                let key = SocketKey { cookie_high, cookie_low, address, port, protocol, kind: BY_BACKEND };
                Ok(self.v4.get(&key)?.is_some())
            }
            IpAddr::V6(ip) => {
                let address = Ip6::from(ip);
                let key = SocketKey { cookie_high, cookie_low, address, port, protocol, kind: BY_BACKEND };
                Ok(self.v6.get(&key)?.is_some())
            }
        }
    }
}
