//! What is to be done to the datapath. Pure.

use std::collections::{BTreeMap, BTreeSet};

use datapath::Allowed;
use ipnet::IpNet;

use super::compile::Compiled;

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

/// What comes before and what comes after pods are told.
pub fn plan(desired: &Compiled, observed: &Observed) -> (Vec<Step>, Vec<Step>) {
    let new = desired.allowed.difference(&observed.allowed).map(|allowed| Step::Allow(*allowed));
    let named = desired.names.iter().filter(|(prefix, number)| observed.names.get(prefix) != Some(number));
    let before = new.chain(named.map(|(prefix, number)| Step::Name(*prefix, *number))).collect();
    let old = observed.allowed.difference(&desired.allowed).map(|allowed| Step::Withdraw(*allowed));
    let unnamed = observed.names.keys().filter(|prefix| !desired.names.contains_key(prefix));
    let after = old.chain(unnamed.map(|prefix| Step::Unname(*prefix))).collect();
    (before, after)
}
