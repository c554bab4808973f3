//! How full the maps are. Counting walks a map: for people, not for every second.

use std::os::fd::{AsFd as _, AsRawFd as _};

use abi::{Affinity, AffinityKey, BackendKey, Flow, FlowState, Ip4, Ip6, MemberKey, ServiceKey};
use aya::maps::MapData;

use crate::error::DatapathError;
use crate::tables::{Table, Tables, failed};

/// One map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    pub name: &'static str,
    pub entries: usize,
    pub capacity: u32,
}

impl Tables {
    /// What each map holds of the kernel's memory, in bytes, as the kernel tells it.
    pub fn memory(&self) -> Result<Vec<(&'static str, u64)>, DatapathError> {
        let mut all = Vec::new();
        for map in abi::MAPS {
            let opened =
                MapData::from_pin(self.pins.map(map.name)).map_err(failed(map.name, "opening it"))?;
            let path = format!("/proc/self/fdinfo/{}", opened.fd().as_fd().as_raw_fd());
            // Only for people: a kernel that does not tell has none.
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let told = text.lines().find_map(|line| line.strip_prefix("memlock:"));
            all.push((map.name, told.and_then(|value| value.trim().parse().ok()).unwrap_or(0)));
        }
        Ok(all)
    }

    /// Every map that can run full, by its name.
    pub fn fill(&self) -> Result<Vec<Fill>, DatapathError> {
        let of_both =
            |v4: bool, addresses: Vec<bool>| addresses.into_iter().filter(|four| *four == v4).count();
        let endpoints: Vec<bool> =
            self.endpoints()?.observed()?.iter().map(|(address, _)| address.is_ipv4()).collect();
        let nodes: Vec<bool> =
            self.nodes()?.observed()?.iter().map(|(prefix, _)| prefix.addr().is_ipv4()).collect();
        let mut counted = vec![
            ("ENDPOINTS4", of_both(true, endpoints.clone())),
            ("ENDPOINTS6", of_both(false, endpoints)),
            ("NODES4", of_both(true, nodes.clone())),
            ("NODES6", of_both(false, nodes)),
            ("NAMESPACES", self.namespaces()?.observed()?.len()),
            ("POLICY", self.policies()?.allowed()?.len()),
        ];
        let named = self.policies()?.named()?;
        let four = named.iter().filter(|(prefix, _)| prefix.addr().is_ipv4()).count();
        counted.extend([("IDENTITIES4", four), ("IDENTITIES6", named.len() - four)]);
        macro_rules! count {
            ($($name:literal: $key:ty => $value:ty),* $(,)?) => {
                $( counted.push(($name, Table::<$key, $value>::open(&self.pins, $name)?.entries()?.len())); )*
            };
        }
        count! {
            "SERVICES4": ServiceKey<Ip4> => abi::Service,
            "SERVICES6": ServiceKey<Ip6> => abi::Service,
            "BACKENDS4": BackendKey => abi::Backend<Ip4>,
            "BACKENDS6": BackendKey => abi::Backend<Ip6>,
            "MEMBERS4": MemberKey<Ip4> => u32,
            "MEMBERS6": MemberKey<Ip6> => u32,
            "FLOWS4": Flow<Ip4> => FlowState<Ip4>,
            "FLOWS6": Flow<Ip6> => FlowState<Ip6>,
            "AFFINITY4": AffinityKey<Ip4> => Affinity<Ip4>,
            "AFFINITY6": AffinityKey<Ip6> => Affinity<Ip6>,
        }
        let capacity =
            |name: &str| abi::MAPS.iter().find(|map| map.name == name).map_or(0, |map| map.entries);
        Ok(counted
            .into_iter()
            .map(|(name, entries)| Fill { name, entries, capacity: capacity(name) })
            .collect())
    }
}
