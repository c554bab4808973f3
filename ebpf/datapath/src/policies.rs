//! Who may talk to whom, by numbers: POLICY and IDENTITIES.
//!
//! Not here: what the numbers stand for (the agent's).

use abi::{Direction, Ip4, Ip6, PolicyKey, policy_prefix};
use aya::maps::lpm_trie::Key;
use aya::maps::{LpmTrie, MapData, MapError};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::error::DatapathError;
use crate::pins::Pins;
use crate::tables::{failed, is_full, is_missing, open};

/// Something that an isolated pod may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Allowed {
    /// Identity of the isolated pod.
    pub subject: u32,
    /// Identity of the other end, or [`abi::ANYBODY`].
    pub peer: u32,
    pub direction: Direction,
    pub what: Ports,
}

/// Which packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ports {
    /// Of every protocol.
    All,
    /// Of one protocol, to ports whose first `bits` are those of `first`.
    Of { protocol: u8, first: u16, bits: u8 },
}

#[derive(Debug)]
pub struct Policies {
    policy: LpmTrie<MapData, PolicyKey, u32>,
    v4: LpmTrie<MapData, Ip4, u32>,
    v6: LpmTrie<MapData, Ip6, u32>,
}

// === impl Policies ===

impl Policies {
    pub(crate) fn open(pins: &Pins) -> Result<Policies, DatapathError> {
        let identities = |name| open(pins, name);
        Ok(Policies {
            policy: LpmTrie::try_from(open(pins, "POLICY")?).map_err(failed("POLICY", "opening it"))?,
            v4: LpmTrie::try_from(identities("IDENTITIES4")?).map_err(failed("IDENTITIES4", "opening it"))?,
            v6: LpmTrie::try_from(identities("IDENTITIES6")?).map_err(failed("IDENTITIES6", "opening it"))?,
        })
    }

    /// # Errors
    /// [`DatapathError::Full`] where there is no room: what is not allowed stays denied.
    pub fn allow(&mut self, allowed: &Allowed) -> Result<(), DatapathError> {
        written("POLICY", self.policy.insert(&key(allowed), 1, 0))
    }

    /// Nothing there is success.
    pub fn withdraw(&mut self, allowed: &Allowed) -> Result<(), DatapathError> {
        removed("POLICY", self.policy.remove(&key(allowed)))
    }

    pub fn allowed(&self) -> Result<Vec<Allowed>, DatapathError> {
        let mut all = Vec::new();
        for entry in self.policy.iter() {
            match entry {
                Ok((key, _)) => all.extend(allowed(&key)),
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(failed("POLICY", "reading it")(error)),
            }
        }
        Ok(all)
    }

    /// From now on addresses of the prefix are somebody's; the longest one that matches counts.
    pub fn name(&mut self, prefix: IpNet, identity: u32) -> Result<(), DatapathError> {
        match prefix {
            IpNet::V4(prefix) => written("IDENTITIES4", self.v4.insert(&key4(prefix), identity, 0)),
            IpNet::V6(prefix) => written("IDENTITIES6", self.v6.insert(&key6(prefix), identity, 0)),
        }
    }

    /// Nothing there is success.
    pub fn unname(&mut self, prefix: IpNet) -> Result<(), DatapathError> {
        match prefix {
            IpNet::V4(prefix) => removed("IDENTITIES4", self.v4.remove(&key4(prefix))),
            IpNet::V6(prefix) => removed("IDENTITIES6", self.v6.remove(&key6(prefix))),
        }
    }

    pub fn named(&self) -> Result<Vec<(IpNet, u32)>, DatapathError> {
        let mut all = Vec::new();
        for entry in self.v4.iter() {
            match entry {
                Ok((key, identity)) => {
                    let prefix = Ipv4Net::new(key.data().into(), key.prefix_len() as u8);
                    all.extend(prefix.ok().map(|prefix| (IpNet::V4(prefix), identity)));
                }
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(failed("IDENTITIES4", "reading it")(error)),
            }
        }
        for entry in self.v6.iter() {
            match entry {
                Ok((key, identity)) => {
                    let prefix = Ipv6Net::new(key.data().into(), key.prefix_len() as u8);
                    all.extend(prefix.ok().map(|prefix| (IpNet::V6(prefix), identity)));
                }
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(failed("IDENTITIES6", "reading it")(error)),
            }
        }
        Ok(all)
    }
}

fn written(map: &'static str, result: Result<(), MapError>) -> Result<(), DatapathError> {
    result.map_err(|error| {
        if is_full(&error) {
            let entries = abi::MAPS.iter().find(|shape| shape.name == map).map_or(0, |shape| shape.entries);
            DatapathError::Full { map, entries }
        } else {
            failed(map, "writing an entry")(error)
        }
    })
}

fn removed(map: &'static str, result: Result<(), MapError>) -> Result<(), DatapathError> {
    match result {
        Err(error) if is_missing(&error) => Ok(()),
        other => other.map_err(failed(map, "removing an entry")),
    }
}

fn key(allowed: &Allowed) -> Key<PolicyKey> {
    let mut key = PolicyKey {
        subject: allowed.subject,
        peer: allowed.peer,
        direction: allowed.direction as u8,
        protocol: 0,
        port: 0,
    };
    match allowed.what {
        Ports::All => Key::new(policy_prefix(false, 0), key),
        Ports::Of { protocol, first, bits } => {
            key.protocol = protocol;
            key.port = first.to_be();
            Key::new(policy_prefix(true, bits), key)
        }
    }
}

fn allowed(key: &Key<PolicyKey>) -> Option<Allowed> {
    let (length, data) = (key.prefix_len(), key.data());
    let direction = match data.direction {
        0 => Direction::Ingress,
        1 => Direction::Egress,
        _ => return None,
    };
    let whole = policy_prefix(true, 0);
    let what = if length < whole {
        Ports::All
    } else {
        let bits = u8::try_from(length - whole).ok()?;
        Ports::Of { protocol: data.protocol, first: u16::from_be(data.port), bits }
    };
    Some(Allowed { subject: data.subject, peer: data.peer, direction, what })
}

fn key4(prefix: Ipv4Net) -> Key<Ip4> {
    Key::new(u32::from(prefix.prefix_len()), prefix.network().into())
}

fn key6(prefix: Ipv6Net) -> Key<Ip6> {
    Key::new(u32::from(prefix.prefix_len()), prefix.network().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_prefixes_and_can_be_read_back() {
        let check = |what: Ports, length: u32| {
            let wanted = Allowed { subject: 300, peer: 7, direction: Direction::Egress, what };
            let key = key(&wanted);
            assert_eq!(key.prefix_len(), length);
            assert_eq!(super::allowed(&key), Some(wanted));
        };
        check(Ports::All, 72);
        check(Ports::Of { protocol: 6, first: 0, bits: 0 }, 80);
        check(Ports::Of { protocol: 17, first: 53, bits: 16 }, 96);
        check(Ports::Of { protocol: 6, first: 8080, bits: 12 }, 92);
    }
}
