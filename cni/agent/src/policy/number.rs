//! Numbers of identities.
//!
//! **Invariants.** Of two identities with one hash the one that sorts later gets the next free number, so the same
//! identities always get the same numbers, and two never share one.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use ipnet::IpNet;

use super::cluster::Class;

/// Numbers below are reserved.
const FIRST: u32 = 256;

/// Who has an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// None: no pod that is known.
    pub class: Option<Arc<Class>>,
    /// The longest prefix of any policy that holds the address.
    pub prefix: Option<IpNet>,
}

/// Gives each its number.
pub fn number(identities: &BTreeSet<Identity>) -> BTreeMap<&Identity, u32> {
    let mut taken = BTreeSet::new();
    let mut numbers = BTreeMap::new();
    for identity in identities {
        let mut number = hash(identity);
        while !taken.insert(number) {
            number = if number == u32::MAX { FIRST } else { number + 1 };
        }
        numbers.insert(identity, number);
    }
    numbers
}

fn hash(identity: &Identity) -> u32 {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    identity.hash(&mut hasher);
    let folded = hasher.finish() ^ (hasher.finish() >> 32);
    let span = u64::from(u32::MAX - FIRST) + 1;
    FIRST + u32::try_from(folded % span).unwrap_or(0)
}

/// The same in every build, unlike the standard library's.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
