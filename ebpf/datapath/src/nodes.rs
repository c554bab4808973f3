//! What lies behind addresses that are not pods of this node.

use aya::maps::lpm_trie::Key;
use aya::maps::{LpmTrie, MapData, MapError};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use abi::{Ip4, Ip6, NodeFlag};

use crate::error::DatapathError;
use crate::pins::Pins;
use crate::tables::{failed, open};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Numeric identity; 0..255 are reserved.
    pub identity: u32,
    /// Pods keep their address towards it: pods of other nodes, and whatever else routes pods' addresses.
    pub keeps_source: bool,
    /// Another node of the cluster.
    pub node: bool,
}

#[derive(Debug)]
pub struct Nodes {
    v4: LpmTrie<MapData, Ip4, abi::Node>,
    v6: LpmTrie<MapData, Ip6, abi::Node>,
}

impl Nodes {
    pub(crate) fn open(pins: &Pins) -> Result<Nodes, DatapathError> {
        let v4 = LpmTrie::try_from(open(pins, "NODES4")?).map_err(failed("NODES4", "opening it"))?;
        let v6 = LpmTrie::try_from(open(pins, "NODES6")?).map_err(failed("NODES6", "opening it"))?;
        Ok(Nodes { v4, v6 })
    }

    /// Adds or replaces a prefix; the longest one that matches counts.
    pub fn put(&mut self, prefix: IpNet, node: Node) -> Result<(), DatapathError> {
        let mut flags = 0;
        if node.keeps_source {
            flags |= NodeFlag::NO_MASQUERADE;
        }
        if node.node {
            flags |= NodeFlag::NODE;
        }
        let value = abi::Node { identity: node.identity, flags };
        match prefix {
            IpNet::V4(prefix) => {
                self.v4.insert(&key4(prefix), value, 0).map_err(failed("NODES4", "writing a prefix"))
            }
            IpNet::V6(prefix) => {
                self.v6.insert(&key6(prefix), value, 0).map_err(failed("NODES6", "writing a prefix"))
            }
        }
    }

    /// Nothing there is success.
    pub fn remove(&mut self, prefix: IpNet) -> Result<(), DatapathError> {
        let (map, removed) = match prefix {
            IpNet::V4(prefix) => ("NODES4", self.v4.remove(&key4(prefix))),
            IpNet::V6(prefix) => ("NODES6", self.v6.remove(&key6(prefix))),
        };
        match removed {
            Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => {
                Ok(())
            }
            other => other.map_err(failed(map, "removing a prefix")),
        }
    }

    pub fn observed(&self) -> Result<Vec<(IpNet, Node)>, DatapathError> {
        let mut all = Vec::new();
        for entry in self.v4.iter() {
            let (key, value) = entry.map_err(failed("NODES4", "reading it"))?;
            let prefix = Ipv4Net::new(key.data().into(), key.prefix_len() as u8);
            all.extend(prefix.ok().map(|prefix| (IpNet::V4(prefix), node(&value))));
        }
        for entry in self.v6.iter() {
            let (key, value) = entry.map_err(failed("NODES6", "reading it"))?;
            let prefix = Ipv6Net::new(key.data().into(), key.prefix_len() as u8);
            all.extend(prefix.ok().map(|prefix| (IpNet::V6(prefix), node(&value))));
        }
        Ok(all)
    }
}

fn key4(prefix: Ipv4Net) -> Key<Ip4> {
    Key::new(u32::from(prefix.prefix_len()), prefix.network().into())
}

fn key6(prefix: Ipv6Net) -> Key<Ip6> {
    Key::new(u32::from(prefix.prefix_len()), prefix.network().into())
}

fn node(record: &abi::Node) -> Node {
    Node {
        identity: record.identity,
        keeps_source: record.flags & NodeFlag::NO_MASQUERADE != 0,
        node: record.flags & NodeFlag::NODE != 0,
    }
}
