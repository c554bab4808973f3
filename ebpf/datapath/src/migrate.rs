//! Takes over what another version of the data path knows, so that an upgrade cuts nothing.
//!
//! ```text
//! share flows ─► load this version ─► copy everything ─► attach beside ─► copy flows ─► take the other off ─► copy flows
//! ```
//!
//! A map is copied if its keys and values have the same shape there; each version says so by directories named
//! `shapes/<MAP>-<hash of the shape>`. Of a map that has changed nothing is taken over, and that is said: its writer fills it anew.
//! Without flows a packet in the middle of one begins it again: what has one backend, or is not translated, goes on; what was hidden
//! behind the node gets another source port, so its other end resets it.
//!
//! Maps of flows that also have the same size are not copied but pinned here as well: both versions' programs run for a
//! moment, the kernel takes a program off some time after its pin went, and a connection that begins in between is known
//! to both. The copies of flows are for a size that has changed: a map is never copied onto itself, where what was read before
//! would put a flow back that has gone meanwhile.
//!
//! **Invariants.** Nothing of the other version is changed, but shared maps of flows are, by both. A flow that the other
//! version knows better wins over one that this version's programs have made out of its middle.

use std::path::Path;

use abi::{
    Affinity, AffinityKey, Backend, BackendKey, ChoiceTable, Endpoint, Flow, FlowState, Ip4, Ip6, MAPS,
    MemberKey, Namespace, Node, PolicyKey, Service, ServiceKey, Settings, SettingsFlag, SocketKey,
    SocketName, SourceKey,
};
use aya::Pod;
use aya::maps::lpm_trie::Key;
use aya::maps::{Array, LpmTrie, MapData};

use crate::error::DatapathError;
use crate::load::change_settings;
use crate::pins::{self, Pins};
use crate::tables::{Table, failed, open};

/// Maps of flows, written by programs alone.
const SHARED: [&str; 2] = ["FLOWS4", "FLOWS6"];

/// Nobody misses what was in these.
const PASSING: [&str; 6] = ["FRAGMENTS4", "FRAGMENTS6", "COUNTERS", "REPORTS", "HOPS", "RATES"];

/// Says of which shapes the maps of a version are.
pub(crate) fn tell(pins: &Pins) -> Result<(), DatapathError> {
    MAPS.iter().try_for_each(|map| pins::make_folder(&shapes(&pins.version).join(shape(map.name))))
}

fn shapes(version: &Path) -> std::path::PathBuf {
    version.join("shapes")
}

fn shape(map: &str) -> String {
    let hash = MAPS.iter().find(|known| known.name == map).map_or(0, abi::MapShape::hash);
    format!("{map}-{hash:016x}")
}

/// Two versions, from the other one to this.
pub(crate) struct Migration<'a> {
    other: Pins,
    own: &'a Pins,
}

impl Migration<'_> {
    pub(crate) fn new<'a>(version: &Path, own: &'a Pins) -> Migration<'a> {
        Migration { other: Pins { instance: own.instance.clone(), version: version.to_owned() }, own }
    }

    /// Before this version is loaded: its maps of flows are the other's, where they are alike.
    pub(crate) fn share(&self) -> Result<(), DatapathError> {
        for name in SHARED {
            let (own, entries) = (self.own.map(name), MAPS.iter().find(|map| map.name == name));
            if own.exists() || !self.has(name) {
                continue;
            }
            let map = MapData::from_pin(self.other.map(name)).map_err(failed(name, "opening it"))?;
            let size = map.info().map_err(failed(name, "asking for its size"))?.max_entries();
            if entries.is_some_and(|wanted| wanted.entries == size) {
                map.pin(&own)
                    .map_err(|source| DatapathError::Pin { path: own.clone(), source: Box::new(source) })?;
            }
        }
        Ok(())
    }

    /// What the writers of maps have entered, and all that the programs have.
    pub(crate) fn everything(&self) -> Result<(), DatapathError> {
        self.copy::<ServiceKey<Ip4>, Service>("SERVICES4")?;
        self.copy::<ServiceKey<Ip6>, Service>("SERVICES6")?;
        self.copy::<BackendKey, Backend<Ip4>>("BACKENDS4")?;
        self.copy::<BackendKey, Backend<Ip6>>("BACKENDS6")?;
        self.copy::<MemberKey<Ip4>, u32>("MEMBERS4")?;
        self.copy::<MemberKey<Ip6>, u32>("MEMBERS6")?;
        self.copy::<u32, ChoiceTable>("TABLES")?;
        self.copy_prefixes::<SourceKey<Ip4>, u32>("SOURCES4")?;
        self.copy_prefixes::<SourceKey<Ip6>, u32>("SOURCES6")?;
        self.copy::<ServiceKey<Ip4>, Backend<Ip4>>("HOSTPORTS4")?;
        self.copy::<ServiceKey<Ip6>, Backend<Ip6>>("HOSTPORTS6")?;
        self.copy::<Ip4, Endpoint>("ENDPOINTS4")?;
        self.copy::<Ip6, Endpoint>("ENDPOINTS6")?;
        self.copy_prefixes::<Ip4, Node>("NODES4")?;
        self.copy_prefixes::<Ip6, Node>("NODES6")?;
        self.copy_prefixes::<PolicyKey, u32>("POLICY")?;
        self.copy_prefixes::<Ip4, u32>("IDENTITIES4")?;
        self.copy_prefixes::<Ip6, u32>("IDENTITIES6")?;
        self.copy::<u64, Namespace>("NAMESPACES")?;
        self.copy::<AffinityKey<Ip4>, Affinity<Ip4>>("AFFINITY4")?;
        self.copy::<AffinityKey<Ip6>, Affinity<Ip6>>("AFFINITY6")?;
        self.copy::<SocketKey<Ip4>, SocketName<Ip4>>("SOCKETS4")?;
        self.copy::<SocketKey<Ip6>, SocketName<Ip6>>("SOCKETS6")?;
        self.settings()?;
        self.flows()
    }

    /// Maps of which nothing can be taken over.
    pub(crate) fn lost(&self) -> impl Iterator<Item = &'static str> + '_ {
        let names = MAPS.iter().map(|map| map.name).filter(|name| !PASSING.contains(name));
        names.filter(|name| self.other.map(name).exists() && !self.has(name))
    }

    /// What may have changed since.
    pub(crate) fn flows(&self) -> Result<(), DatapathError> {
        self.copy_flows::<Ip4>("FLOWS4")?;
        self.copy_flows::<Ip6>("FLOWS6")
    }

    /// Whether the other version has the map in the shape that it has here.
    fn has(&self, map: &str) -> bool {
        self.other.map(map).exists() && shapes(&self.other.version).join(shape(map)).exists()
    }

    /// Whether both versions have the one map pinned.
    fn shares(&self, map: &'static str) -> Result<bool, DatapathError> {
        Ok(id(self.own, map)? == id(&self.other, map)?)
    }

    fn copy<K: Pod, V: Pod>(&self, map: &'static str) -> Result<(), DatapathError> {
        if !self.has(map) {
            return Ok(());
        }
        let mut own = Table::<K, V>::open(self.own, map)?;
        for (key, value) in Table::<K, V>::open(&self.other, map)?.entries()? {
            if own.get(&key)?.is_none() {
                own.put(key, value)?;
            }
        }
        Ok(())
    }

    fn copy_flows<A: Copy + Eq>(&self, map: &'static str) -> Result<(), DatapathError>
    where
        Flow<A>: Pod,
        FlowState<A>: Pod,
    {
        if !self.has(map) || self.shares(map)? {
            return Ok(());
        }
        let mut own = Table::<Flow<A>, FlowState<A>>::open(self.own, map)?;
        for (flow, state) in Table::<Flow<A>, FlowState<A>>::open(&self.other, map)?.entries()? {
            let same = own.get(&flow)?.is_some_and(|there| there.partner(0) == state.partner(0));
            if !same {
                own.put(flow, state)?;
            }
        }
        Ok(())
    }

    fn copy_prefixes<K: Pod, V: Pod>(&self, map: &'static str) -> Result<(), DatapathError> {
        if !self.has(map) {
            return Ok(());
        }
        let other: LpmTrie<MapData, K, V> =
            LpmTrie::try_from(open(&self.other, map)?).map_err(failed(map, "opening it"))?;
        let mut own: LpmTrie<MapData, K, V> =
            LpmTrie::try_from(open(self.own, map)?).map_err(failed(map, "opening it"))?;
        for entry in other.iter() {
            let (key, value) = entry.map_err(failed(map, "reading it"))?;
            own.insert(&Key::new(key.prefix_len(), key.data()), value, 0)
                .map_err(failed(map, "writing a prefix"))?;
        }
        Ok(())
    }

    /// What was learned when links were attached; the rest is entered anew.
    fn settings(&self) -> Result<(), DatapathError> {
        if !self.has("SETTINGS") {
            return Ok(());
        }
        let map = Array::<MapData, Settings>::try_from(open(&self.other, "SETTINGS")?)
            .map_err(failed("SETTINGS", "opening it"))?;
        let other = map.get(&0, 0).map_err(failed("SETTINGS", "reading it"))?;
        change_settings(self.own, |settings| {
            settings.flags |= other.flags & (SettingsFlag::GATEWAY | SettingsFlag::HOST_PORTS);
            settings.policy_epoch = other.policy_epoch;
            settings.gateway_peer = other.gateway_peer;
            settings.gateway_mac = other.gateway_mac;
            settings.uplink = other.uplink;
            (settings.gateway4, settings.gateway6) = (other.gateway4, other.gateway6);
        })
    }
}

/// The kernel's number of a map.
fn id(pins: &Pins, map: &'static str) -> Result<u32, DatapathError> {
    let map_data = MapData::from_pin(pins.map(map)).map_err(failed(map, "opening it"))?;
    Ok(map_data.info().map_err(failed(map, "asking for its number"))?.id())
}
