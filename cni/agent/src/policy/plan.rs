//! What is to be done to the datapath. Pure.

use std::collections::{BTreeMap, BTreeSet};

use datapath::Allowed;
use ipnet::IpNet;

use super::compiled::{Changed, Compiled};

/// What the datapath has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    pub allowed: BTreeSet<Allowed>,
    pub names: BTreeMap<IpNet, u32>,
}

/// Before pods are told of their isolation come [`Step::Allow`] and [`Step::Name`], after it the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Allow(Allowed),
    Name(IpNet, u32),
    Withdraw(Allowed),
    Unname(IpNet),
}

/// What comes before and what comes after pods are told. Only entries that have changed are looked at.
pub fn plan(desired: &Compiled, observed: &Observed, changed: &Changed) -> (Vec<Step>, Vec<Step>) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for allowed in &changed.allowed {
        match (desired.allows(allowed), observed.allowed.contains(allowed)) {
            (true, false) => before.push(Step::Allow(*allowed)),
            (false, true) => after.push(Step::Withdraw(*allowed)),
            _ => {}
        }
    }
    for prefix in &changed.names {
        match (desired.name(prefix), observed.names.get(prefix)) {
            (Some(number), there) if there != Some(&number) => before.push(Step::Name(*prefix, number)),
            (None, Some(_)) => after.push(Step::Unname(*prefix)),
            _ => {}
        }
    }
    (before, after)
}

// === impl Changed ===

impl Changed {
    /// Everything that there is or should be.
    pub fn all(desired: &Compiled, observed: &Observed) -> Changed {
        Changed {
            allowed: desired.allowed().chain(&observed.allowed).copied().collect(),
            names: desired.names().keys().chain(observed.names.keys()).copied().collect(),
        }
    }

    /// What steps are about.
    pub fn of<'a>(steps: impl IntoIterator<Item = &'a Step>) -> Changed {
        let mut changed = Changed::default();
        for step in steps {
            match step {
                Step::Allow(allowed) | Step::Withdraw(allowed) => changed.allowed.extend([*allowed]),
                Step::Name(prefix, _) | Step::Unname(prefix) => changed.names.extend([*prefix]),
            }
        }
        changed
    }

    pub fn add(&mut self, other: Changed) {
        self.allowed.extend(other.allowed);
        self.names.extend(other.names);
    }
}
