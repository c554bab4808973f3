//! Frontends and sets of backends of Services, of both families.
//!
//! **Invariants.** A set never changes. [`Backends::install`] writes all of it under a number that no
//! set has, so a frontend that is pointed at it afterwards never leads to half a list.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use abi::{BackendKey, ChoiceTable, Ip4, Ip6, MemberKey, Protocol, Scope, ServiceFlag, ServiceKey};

use crate::error::DatapathError;
use crate::maglev;
use crate::pins::Pins;
use crate::tables::Table;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    Tcp,
    Udp,
}

/// Where a service is reached. A node port has the unspecified address of its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frontend {
    pub address: IpAddr,
    pub port: u16,
    pub transport: Transport,
    pub scope: Scope,
}

/// Which of the policies made the set; the proxy has already left out what they exclude.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// externalTrafficPolicy: Local.
    pub external_local: bool,
    /// internalTrafficPolicy: Local.
    pub internal_local: bool,
    /// A node port.
    pub node_port: bool,
    /// There are endpoints, but none that the policy admits: clients get no answer, not a refusal.
    pub silent: bool,
    /// Only clients in [`crate::Sources`] of the service's number.
    pub sources: bool,
    /// By the set's table, if it has one: see [`Backends::install_with_table`].
    pub consistent: bool,
}

/// Where a frontend leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// A number for the service's port, of the caller's choice: its frontends share affinity by it. Not 0.
    pub number: u32,
    /// None: connections are refused.
    pub set: Option<SetId>,
    /// timeoutSeconds of sessionAffinity ClientIP; None: no affinity.
    pub affinity_seconds: Option<u32>,
    pub traffic: Traffic,
}

/// A set of backends that is in the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetId {
    pub number: u32,
    pub count: u32,
}

/// One endpoint of a service.
pub type Backend = SocketAddr;

#[derive(Debug)]
pub struct Services {
    v4: Table<ServiceKey<Ip4>, abi::Service>,
    v6: Table<ServiceKey<Ip6>, abi::Service>,
}

#[derive(Debug)]
pub struct Backends {
    v4: Table<BackendKey, abi::Backend<Ip4>>,
    v6: Table<BackendKey, abi::Backend<Ip6>>,
    members4: Table<MemberKey<Ip4>, u32>,
    members6: Table<MemberKey<Ip6>, u32>,
    tables: Table<u32, ChoiceTable>,
    next: u32,
}

// === impl Transport ===

impl Transport {
    /// The IP protocol number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Transport::Tcp => Protocol::TCP,
            Transport::Udp => Protocol::UDP,
        }
    }

    pub(crate) fn of(number: u8) -> Option<Transport> {
        match number {
            Protocol::TCP => Some(Transport::Tcp),
            Protocol::UDP => Some(Transport::Udp),
            _ => None,
        }
    }
}

// === impl Services ===

impl Services {
    pub(crate) fn open(pins: &Pins) -> Result<Services, DatapathError> {
        Ok(Services { v4: Table::open(pins, "SERVICES4")?, v6: Table::open(pins, "SERVICES6")? })
    }

    /// Adds or replaces a frontend, in one step as the programs see it.
    pub fn put(&mut self, frontend: &Frontend, service: &Service) -> Result<(), DatapathError> {
        let value = record(service);
        match frontend.address {
            IpAddr::V4(address) => self.v4.put(key(frontend, Ip4::from(address)), value),
            IpAddr::V6(address) => self.v6.put(key(frontend, Ip6::from(address)), value),
        }
    }

    /// Nothing there is success; says whether something was.
    pub fn remove(&mut self, frontend: &Frontend) -> Result<bool, DatapathError> {
        match frontend.address {
            IpAddr::V4(address) => self.v4.remove(&key(frontend, Ip4::from(address))),
            IpAddr::V6(address) => self.v6.remove(&key(frontend, Ip6::from(address))),
        }
    }

    /// Where one leads.
    pub fn get(&self, frontend: &Frontend) -> Result<Option<Service>, DatapathError> {
        let found = match frontend.address {
            IpAddr::V4(address) => self.v4.get(&key(frontend, Ip4::from(address)))?,
            IpAddr::V6(address) => self.v6.get(&key(frontend, Ip6::from(address)))?,
        };
        Ok(found.as_ref().map(service))
    }

    /// Every frontend that is in the maps.
    pub fn observed(&self) -> Result<Vec<(Frontend, Service)>, DatapathError> {
        let mut all = Vec::new();
        for (key, value) in self.v4.entries()? {
            let address = IpAddr::V4(key.address.into());
            all.extend(frontend(address, key.port, key.protocol, key.scope).map(|f| (f, service(&value))));
        }
        for (key, value) in self.v6.entries()? {
            let address = IpAddr::V6(key.address.into());
            all.extend(frontend(address, key.port, key.protocol, key.scope).map(|f| (f, service(&value))));
        }
        Ok(all)
    }
}

fn key<A>(frontend: &Frontend, address: A) -> ServiceKey<A> {
    ServiceKey {
        address,
        port: frontend.port.to_be(),
        protocol: frontend.transport.number(),
        scope: frontend.scope as u8,
    }
}

fn frontend(address: IpAddr, port: u16, protocol: u8, scope: u8) -> Option<Frontend> {
    let scope = if scope == Scope::External as u8 { Scope::External } else { Scope::Cluster };
    Some(Frontend { address, port: u16::from_be(port), transport: Transport::of(protocol)?, scope })
}

fn record(service: &Service) -> abi::Service {
    let mut flags = 0;
    let Traffic { external_local, internal_local, node_port, silent, sources, consistent } = service.traffic;
    for (set, flag) in [
        (service.affinity_seconds.is_some(), ServiceFlag::AFFINITY),
        (external_local, ServiceFlag::EXTERNAL_LOCAL),
        (internal_local, ServiceFlag::INTERNAL_LOCAL),
        (node_port, ServiceFlag::NODE_PORT),
        (silent, ServiceFlag::SILENT),
        (sources, ServiceFlag::SOURCES),
        (consistent, ServiceFlag::CONSISTENT),
    ] {
        if set {
            flags |= flag;
        }
    }
    abi::Service {
        service: service.number,
        set: service.set.map_or(0, |set| set.number),
        count: service.set.map_or(0, |set| set.count),
        affinity_seconds: service.affinity_seconds.unwrap_or(0),
        flags,
        pad: 0,
    }
}

fn service(record: &abi::Service) -> Service {
    let has = |flag: u16| record.flags & flag != 0;
    Service {
        number: record.service,
        set: (record.count > 0).then_some(SetId { number: record.set, count: record.count }),
        affinity_seconds: has(ServiceFlag::AFFINITY).then_some(record.affinity_seconds),
        traffic: Traffic {
            external_local: has(ServiceFlag::EXTERNAL_LOCAL),
            internal_local: has(ServiceFlag::INTERNAL_LOCAL),
            node_port: has(ServiceFlag::NODE_PORT),
            silent: has(ServiceFlag::SILENT),
            sources: has(ServiceFlag::SOURCES),
            consistent: has(ServiceFlag::CONSISTENT),
        },
    }
}

// === impl Backends ===

impl Backends {
    pub(crate) fn open(pins: &Pins) -> Result<Backends, DatapathError> {
        let mut backends = Backends {
            v4: Table::open(pins, "BACKENDS4")?,
            v6: Table::open(pins, "BACKENDS6")?,
            members4: Table::open(pins, "MEMBERS4")?,
            members6: Table::open(pins, "MEMBERS6")?,
            tables: Table::open(pins, "TABLES")?,
            next: 1,
        };
        let highest = backends.observed()?.keys().map(|set| set.number).max();
        backends.next = highest.map_or(1, |number| number.wrapping_add(1).max(1));
        Ok(backends)
    }

    /// Writes a set under a number of its own. All of one family; at least one.
    ///
    /// # Errors
    /// On an error nothing of the set is left.
    pub fn install(&mut self, backends: &[Backend]) -> Result<SetId, DatapathError> {
        let wanted = backends.first().map(SocketAddr::is_ipv6);
        if wanted.is_none() || backends.iter().any(|b| Some(b.is_ipv6()) != wanted) {
            return Err(DatapathError::Family { what: format!("a set of backends {backends:?}") });
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1).max(1);
        for (slot, backend) in (0..).zip(backends) {
            if let Err(error) = self.write(number, slot, backend) {
                let _ = self.erase(number, &backends[..=slot as usize]);
                return Err(error);
            }
        }
        Ok(SetId { number, count: backends.len() as u32 })
    }

    /// As [`Backends::install`], with a table by which every node chooses the same backend for a flow. Too many
    /// backends for a table get none, and are chosen by chance.
    pub fn install_with_table(&mut self, backends: &[Backend]) -> Result<SetId, DatapathError> {
        let set = self.install(backends)?;
        if let Some(table) = maglev::table(backends)
            && let Err(error) = self.tables.put(set.number, table)
        {
            let _ = self.remove(set);
            return Err(error);
        }
        Ok(set)
    }

    /// Numbers of the sets that have a table.
    pub fn with_tables(&self) -> Result<BTreeSet<u32>, DatapathError> {
        Ok(self.tables.entries()?.into_iter().map(|(number, _)| number).collect())
    }

    /// Removes a set that no frontend leads to any more.
    pub fn remove(&mut self, set: SetId) -> Result<(), DatapathError> {
        self.tables.remove(&set.number)?;
        let mut found = Vec::new();
        for slot in 0..set.count {
            found.extend(self.read(set.number, slot)?);
        }
        self.erase(set.number, &found)?;
        for slot in 0..set.count {
            let key = BackendKey { set: set.number, slot };
            self.v4.remove(&key)?;
            self.v6.remove(&key)?;
        }
        Ok(())
    }

    /// Every set that is in the maps, its backends in the order of their slots.
    pub fn observed(&self) -> Result<BTreeMap<SetId, Vec<Backend>>, DatapathError> {
        let mut sets: BTreeMap<u32, BTreeMap<u32, Backend>> = BTreeMap::new();
        for (key, value) in self.v4.entries()? {
            sets.entry(key.set).or_default().insert(key.slot, socket4(&value));
        }
        for (key, value) in self.v6.entries()? {
            sets.entry(key.set).or_default().insert(key.slot, socket6(&value));
        }
        let named = |(number, slots): (u32, BTreeMap<u32, Backend>)| {
            let count = slots.keys().max().map_or(0, |slot| slot + 1);
            (SetId { number, count }, slots.into_values().collect())
        };
        Ok(sets.into_iter().map(named).collect())
    }

    fn read(&self, set: u32, slot: u32) -> Result<Option<Backend>, DatapathError> {
        let key = BackendKey { set, slot };
        if let Some(value) = self.v4.get(&key)? {
            return Ok(Some(socket4(&value)));
        }
        Ok(self.v6.get(&key)?.map(|value| socket6(&value)))
    }

    fn write(&mut self, set: u32, slot: u32, backend: &Backend) -> Result<(), DatapathError> {
        let (key, port) = (BackendKey { set, slot }, backend.port().to_be());
        match backend.ip() {
            IpAddr::V4(ip) => {
                let address = Ip4::from(ip);
                self.members4.put(MemberKey { set, address, port, pad: 0 }, slot)?;
                self.v4.put(key, abi::Backend { address, port, pad: 0 })
            }
            IpAddr::V6(ip) => {
                let address = Ip6::from(ip);
                self.members6.put(MemberKey { set, address, port, pad: 0 }, slot)?;
                self.v6.put(key, abi::Backend { address, port, pad: 0 })
            }
        }
    }

    fn erase(&mut self, set: u32, backends: &[Backend]) -> Result<(), DatapathError> {
        for (slot, backend) in (0..).zip(backends) {
            let (key, port) = (BackendKey { set, slot }, backend.port().to_be());
            match backend.ip() {
                IpAddr::V4(ip) => {
                    self.v4.remove(&key)?;
                    self.members4.remove(&MemberKey { set, address: ip.into(), port, pad: 0 })?;
                }
                IpAddr::V6(ip) => {
                    self.v6.remove(&key)?;
                    self.members6.remove(&MemberKey { set, address: ip.into(), port, pad: 0 })?;
                }
            }
        }
        Ok(())
    }
}

fn socket4(backend: &abi::Backend<Ip4>) -> Backend {
    SocketAddr::new(IpAddr::V4(backend.address.into()), u16::from_be(backend.port))
}

fn socket6(backend: &abi::Backend<Ip6>) -> Backend {
    SocketAddr::new(IpAddr::V6(backend.address.into()), u16::from_be(backend.port))
}
