//! Opens pinned maps by name.

use std::borrow::Borrow;
use std::io;

use abi::SettingsFlag;
use aya::Pod;
use aya::maps::{HashMap, Map, MapData, MapError};

use crate::attach;
use crate::config::Config;
use crate::conntrack::Conntrack;
use crate::counters::Counters;
use crate::endpoints::Endpoints;
use crate::error::DatapathError;
use crate::host_ports::HostPorts;
use crate::load::change_settings;
use crate::namespaces::Namespaces;
use crate::nodes::Nodes;
use crate::pins::{self, Pins};
use crate::policies::Policies;
use crate::reports::Reports;
use crate::services::{Backends, Services};
use crate::sockets::Sockets;
use crate::sources::Sources;

/// The maps of a data path that somebody has loaded. Each call opens its maps anew; keep what it gives.
#[derive(Clone, Debug)]
pub struct Tables {
    pub(crate) pins: Pins,
}

impl Tables {
    /// # Errors
    /// [`DatapathError::NotLoaded`] until [`crate::Datapath::ensure`] has run for the same directory.
    pub fn open(config: &Config) -> Result<Tables, DatapathError> {
        let pins = Pins::of(config);
        // They are pinned one after the other, in no order.
        let loaded = abi::MAPS.iter().all(|map| pins.map(map.name).exists());
        if loaded { Ok(Tables { pins }) } else { Err(DatapathError::NotLoaded { path: pins.version }) }
    }

    /// Frontends. Writer: the proxy.
    pub fn services(&self) -> Result<Services, DatapathError> {
        Services::open(&self.pins)
    }

    /// Sets of backends. Writer: the proxy.
    pub fn backends(&self) -> Result<Backends, DatapathError> {
        Backends::open(&self.pins)
    }

    /// Clients of services that not everybody may use. Writer: the proxy.
    pub fn sources(&self) -> Result<Sources, DatapathError> {
        Sources::open(&self.pins)
    }

    /// Host ports of pods of this node. Writer: the agent.
    pub fn host_ports(&self) -> Result<HostPorts, DatapathError> {
        HostPorts::open(&self.pins)
    }

    /// Pods of this node. Writer: the agent.
    pub fn endpoints(&self) -> Result<Endpoints, DatapathError> {
        Endpoints::open(&self.pins)
    }

    /// Addresses elsewhere. Writer: the agent.
    pub fn nodes(&self) -> Result<Nodes, DatapathError> {
        Nodes::open(&self.pins)
    }

    /// Network namespaces whose sockets are translated. Writer: the agent; the node's own is entered by `ensure`.
    pub fn namespaces(&self) -> Result<Namespaces, DatapathError> {
        Namespaces::open(&self.pins)
    }

    /// Flows. Writer: the programs; here they are only removed.
    pub fn conntrack(&self) -> Result<Conntrack, DatapathError> {
        Conntrack::open(&self.pins)
    }

    /// Where sockets were led. Writer: the programs.
    pub fn sockets(&self) -> Result<Sockets, DatapathError> {
        Sockets::open(&self.pins)
    }

    /// Who may talk to whom. Writer: the agent.
    pub fn policies(&self) -> Result<Policies, DatapathError> {
        Policies::open(&self.pins)
    }

    /// From now on every flow is judged again at its next packet: something that was allowed may be no longer.
    pub fn judge_flows_again(&self) -> Result<(), DatapathError> {
        change_settings(&self.pins, |settings| {
            settings.policy_epoch = settings.policy_epoch.wrapping_add(1);
        })
    }

    /// Reports of packets. One reader.
    pub fn reports(&self) -> Result<Reports, DatapathError> {
        Reports::open(&self.pins)
    }

    /// Whether packets that are not dropped are reported too.
    pub fn report_flows(&self, all: bool) -> Result<(), DatapathError> {
        change_settings(&self.pins, |settings| {
            settings.flags &= !SettingsFlag::REPORT;
            if all {
                settings.flags |= SettingsFlag::REPORT;
            }
        })
    }

    /// Where programs are attached: `<ifindex>-<program>` and `cgroup-<inode>-<program>`, by whatever means.
    pub fn attached(&self) -> Result<Vec<String>, DatapathError> {
        let names = pins::names(&self.pins.links())?;
        let place = |name: String| match attach::clsact::parse(&name) {
            Some((index, program)) => format!("{index}-{program}"),
            None => name,
        };
        let mut names: Vec<String> = names.into_iter().map(place).collect();
        names.sort();
        Ok(names)
    }

    /// Whether the program is attached to the link of this index, by whatever means.
    #[must_use]
    pub fn is_attached(&self, index: u32, program: &str) -> bool {
        attach::is_attached(&self.pins, index, program)
    }

    /// What was dropped and why.
    pub fn counters(&self) -> Result<Counters, DatapathError> {
        Counters::read(&self.pins)
    }
}

/// A hash map, open.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    name: &'static str,
    map: HashMap<MapData, K, V>,
}

impl<K: Pod, V: Pod> Table<K, V> {
    pub fn open(pins: &Pins, name: &'static str) -> Result<Table<K, V>, DatapathError> {
        let map = open(pins, name)?;
        HashMap::try_from(map).map(|map| Table { name, map }).map_err(|e| failed(name, "opening it")(e))
    }

    /// Overwrites.
    pub fn put(&mut self, key: impl Borrow<K>, value: impl Borrow<V>) -> Result<(), DatapathError> {
        let name = self.name;
        self.map.insert(key, value, 0).map_err(|error| {
            if is(&error, io::ErrorKind::ArgumentListTooLong) {
                let entries = abi::MAPS.iter().find(|map| map.name == name).map_or(0, |map| map.entries);
                DatapathError::Full { map: name, entries }
            } else {
                failed(name, "writing an entry")(error)
            }
        })
    }

    /// Nothing there is success; says whether something was.
    pub fn remove(&mut self, key: &K) -> Result<bool, DatapathError> {
        match self.map.remove(key) {
            Ok(()) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(failed(self.name, "removing an entry")(error)),
        }
    }

    pub fn get(&self, key: &K) -> Result<Option<V>, DatapathError> {
        match self.map.get(key, 0) {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failed(self.name, "reading an entry")(error)),
        }
    }

    /// Everything that is there; what comes or goes meanwhile may be missing.
    pub fn entries(&self) -> Result<Vec<(K, V)>, DatapathError> {
        let mut entries = Vec::new();
        for entry in self.map.iter() {
            match entry {
                Ok(entry) => entries.push(entry),
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(failed(self.name, "reading it")(error)),
            }
        }
        Ok(entries)
    }
}

pub(crate) fn open(pins: &Pins, name: &'static str) -> Result<Map, DatapathError> {
    MapData::from_pin(pins.map(name)).and_then(Map::from_map_data).map_err(|error| {
        if is_missing(&error) {
            DatapathError::NotLoaded { path: pins.version.clone() }
        } else {
            failed(name, "opening it")(error)
        }
    })
}

pub(crate) fn failed(map: &'static str, doing: &'static str) -> impl Fn(MapError) -> DatapathError {
    move |source| DatapathError::Map { map, doing, source: Box::new(source) }
}

pub(crate) fn is_missing(error: &MapError) -> bool {
    matches!(error, MapError::KeyNotFound | MapError::ElementNotFound) || is(error, io::ErrorKind::NotFound)
}

pub(crate) fn is_full(error: &MapError) -> bool {
    is(error, io::ErrorKind::ArgumentListTooLong) || is(error, io::ErrorKind::StorageFull)
}

fn is(error: &MapError, kind: io::ErrorKind) -> bool {
    match error {
        MapError::SyscallError(error) => error.io_error.kind() == kind,
        MapError::PinError { error: aya::pin::PinError::SyscallError(error), .. } => {
            error.io_error.kind() == kind
        }
        _ => false,
    }
}
