//! Clients of Services that not everybody may use: loadBalancerSourceRanges.

use std::collections::{BTreeMap, BTreeSet};

use abi::{Ip4, Ip6, SourceKey};
use aya::maps::lpm_trie::Key;
use aya::maps::{LpmTrie, MapData, MapError};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::error::DatapathError;
use crate::pins::Pins;
use crate::tables::{failed, open};

/// Bits of the service's number, which goes before the address.
const NUMBER_BITS: u32 = 32;

/// Ranges by the number of the service's port.
#[derive(Debug)]
pub struct Sources {
    v4: LpmTrie<MapData, SourceKey<Ip4>, u32>,
    v6: LpmTrie<MapData, SourceKey<Ip6>, u32>,
}

impl Sources {
    pub(crate) fn open(pins: &Pins) -> Result<Sources, DatapathError> {
        let v4 = LpmTrie::try_from(open(pins, "SOURCES4")?).map_err(failed("SOURCES4", "opening it"))?;
        let v6 = LpmTrie::try_from(open(pins, "SOURCES6")?).map_err(failed("SOURCES6", "opening it"))?;
        Ok(Sources { v4, v6 })
    }

    pub fn put(&mut self, service: u32, range: IpNet) -> Result<(), DatapathError> {
        match range {
            IpNet::V4(range) => {
                self.v4.insert(&key4(service, range), 1, 0).map_err(failed("SOURCES4", "writing a range"))
            }
            IpNet::V6(range) => {
                self.v6.insert(&key6(service, range), 1, 0).map_err(failed("SOURCES6", "writing a range"))
            }
        }
    }

    /// Nothing there is success.
    pub fn remove(&mut self, service: u32, range: IpNet) -> Result<(), DatapathError> {
        let (map, removed) = match range {
            IpNet::V4(range) => ("SOURCES4", self.v4.remove(&key4(service, range))),
            IpNet::V6(range) => ("SOURCES6", self.v6.remove(&key6(service, range))),
        };
        match removed {
            Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => {
                Ok(())
            }
            other => other.map_err(failed(map, "removing a range")),
        }
    }

    pub fn observed(&self) -> Result<BTreeMap<u32, BTreeSet<IpNet>>, DatapathError> {
        let mut all: BTreeMap<u32, BTreeSet<IpNet>> = BTreeMap::new();
        for entry in self.v4.iter() {
            let (key, _) = entry.map_err(failed("SOURCES4", "reading it"))?;
            let (data, bits) = (key.data(), key.prefix_len().saturating_sub(NUMBER_BITS) as u8);
            let range = Ipv4Net::new(data.client.into(), bits).ok().map(IpNet::V4);
            all.entry(data.service).or_default().extend(range);
        }
        for entry in self.v6.iter() {
            let (key, _) = entry.map_err(failed("SOURCES6", "reading it"))?;
            let (data, bits) = (key.data(), key.prefix_len().saturating_sub(NUMBER_BITS) as u8);
            let range = Ipv6Net::new(data.client.into(), bits).ok().map(IpNet::V6);
            all.entry(data.service).or_default().extend(range);
        }
        Ok(all)
    }
}

fn key4(service: u32, range: Ipv4Net) -> Key<SourceKey<Ip4>> {
    let client = range.network().into();
    Key::new(NUMBER_BITS + u32::from(range.prefix_len()), SourceKey { service, client })
}

fn key6(service: u32, range: Ipv6Net) -> Key<SourceKey<Ip6>> {
    let client = range.network().into();
    Key::new(NUMBER_BITS + u32::from(range.prefix_len()), SourceKey { service, client })
}
