//! What the datapath should have, and what of it has changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use datapath::Allowed;
use ipnet::IpNet;

/// Entries of POLICY and IDENTITIES.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// With how many reasons there are for each.
    allowed: HashMap<Allowed, u32>,
    names: BTreeMap<IpNet, u32>,
    changed: Changed,
}

/// Entries to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    pub allowed: BTreeSet<Allowed>,
    pub names: BTreeSet<IpNet>,
}

// === impl Compiled ===

impl Compiled {
    pub fn allows(&self, allowed: &Allowed) -> bool {
        self.allowed.contains_key(allowed)
    }

    pub fn allowed(&self) -> impl Iterator<Item = &Allowed> {
        self.allowed.keys()
    }

    /// Whose the addresses of a prefix are.
    pub fn name(&self, prefix: &IpNet) -> Option<u32> {
        self.names.get(prefix).copied()
    }

    pub fn names(&self) -> &BTreeMap<IpNet, u32> {
        &self.names
    }

    /// There is one more reason, or one less.
    pub fn count(&mut self, allowed: Allowed, more: bool) {
        let reasons = self.allowed.entry(allowed).or_insert(0);
        *reasons = if more { *reasons + 1 } else { reasons.saturating_sub(1) };
        let reasons = *reasons;
        if reasons == 0 {
            self.allowed.remove(&allowed);
        }
        if reasons == 0 || more && reasons == 1 {
            self.changed.allowed.insert(allowed);
        }
    }

    /// None: nobody's.
    pub fn set_name(&mut self, prefix: IpNet, number: Option<u32>) {
        let before = match number {
            Some(number) => self.names.insert(prefix, number),
            None => self.names.remove(&prefix),
        };
        if before != number {
            self.changed.names.insert(prefix);
        }
    }

    /// What has changed since this was last asked.
    pub fn take_changed(&mut self) -> Changed {
        std::mem::take(&mut self.changed)
    }
}
