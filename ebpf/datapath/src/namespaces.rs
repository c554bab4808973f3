//! Network namespaces whose sockets are translated, by cookie.
//!
//! A socket of a namespace that is not here is left alone: it may belong to another node on the same kernel.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use abi::Namespace;

use crate::error::DatapathError;
use crate::pins::Pins;
use crate::tables::Table;

#[derive(Debug)]
pub struct Namespaces {
    table: Table<u64, Namespace>,
}

impl Namespaces {
    pub(crate) fn open(pins: &Pins) -> Result<Namespaces, DatapathError> {
        Ok(Namespaces { table: Table::open(pins, "NAMESPACES")? })
    }

    /// The cookie of a namespace; None: of the caller's own.
    pub fn cookie(namespace: Option<BorrowedFd<'_>>) -> Result<u64, DatapathError> {
        sys::netns::cookie(namespace).map_err(|source| DatapathError::Cookie { source: Box::new(source) })
    }

    /// From now on the sockets of this namespace are translated. `addresses`: the pod's; none: the node's own.
    pub fn put(&mut self, cookie: u64, addresses: &[IpAddr]) -> Result<(), DatapathError> {
        let mut namespace = Namespace::default();
        for address in addresses {
            match *address {
                IpAddr::V4(address) => namespace.address4 = address.into(),
                IpAddr::V6(address) => namespace.address6 = address.into(),
            }
        }
        self.table.put(cookie, namespace)
    }

    /// Nothing there is success; says whether something was.
    pub fn remove(&mut self, cookie: u64) -> Result<bool, DatapathError> {
        self.table.remove(&cookie)
    }

    /// The addresses of one.
    pub fn get(&self, cookie: u64) -> Result<Option<Vec<IpAddr>>, DatapathError> {
        Ok(self.table.get(&cookie)?.map(addresses))
    }

    /// Cookies and addresses.
    pub fn observed(&self) -> Result<Vec<(u64, Vec<IpAddr>)>, DatapathError> {
        let entries = self.table.entries()?.into_iter();
        Ok(entries.map(|(cookie, namespace)| (cookie, addresses(namespace))).collect())
    }
}

fn addresses(namespace: Namespace) -> Vec<IpAddr> {
    let v4 = IpAddr::V4(namespace.address4.into());
    let v6 = IpAddr::V6(namespace.address6.into());
    [v4, v6].into_iter().filter(|address| !address.is_unspecified()).collect()
}
