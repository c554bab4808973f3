//! What a pod that runs leaves behind and nobody needs: old containers and old sandboxes. Pure.
//!
//! Of each container the newest and the one before stay, for `kubectl logs --previous` and `lastState`.
//!
//! Reference: upstream's container GC with one dead container per name.

use std::collections::{BTreeMap, BTreeSet};

use crate::observed::{Observed, State};

/// Containers of a name that stay.
const KEPT: usize = 2;

/// Ids to remove from the runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    pub containers: Vec<String>,
    pub sandboxes: Vec<String>,
}

pub fn of(observed: &Observed) -> Garbage {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut containers = BTreeSet::new();
    for container in &observed.containers {
        let count = seen.entry(&container.name).or_default();
        *count += 1;
        if *count > KEPT && matches!(container.state, State::Exited | State::Created) {
            containers.insert(container.id.clone());
        }
    }
    let is_empty = |sandbox: &str| {
        !observed
            .containers
            .iter()
            .any(|container| container.sandbox == sandbox && !containers.contains(&container.id))
    };
    let old = observed.sandboxes.iter().skip(1).filter(|sandbox| !sandbox.ready && is_empty(&sandbox.id));
    Garbage {
        sandboxes: old.map(|sandbox| sandbox.id.clone()).collect(),
        containers: containers.into_iter().collect(),
    }
}
