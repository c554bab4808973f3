//! Which Service has which frontend. Pure.
//!
//! Cluster IPs and node ports are the API's to give and unique; external addresses are whatever users write, so two
//! Services may want the same. The older one has it; the other one gets it when the older lets go.
//!
//! **Invariants**
//! - A frontend leaves the maps only when nobody wants it: it passes from one Service to another without a gap.
//! - A port keeps its number for as long as it lives, over restarts too, because clients are bound to it.

use std::collections::{BTreeSet, HashMap, HashSet};

use client::Key;
use datapath::Frontend;

use crate::desired::{DesiredPort, PortId};
use crate::observed::Observed;
use crate::plan::Numbered;

/// What a Service wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// RFC 3339 times of one zone: earlier ones sort first.
    pub created: String,
    pub ports: Vec<DesiredPort>,
}

#[derive(Debug, Default)]
pub(crate) struct Claims {
    wanted: HashMap<Key, Wanted>,
    /// The oldest first: nearly always one.
    claimants: HashMap<Frontend, Vec<(String, Key)>>,
    /// What Services wanted and do no longer, until they are planned.
    left: HashMap<Key, HashSet<Frontend>>,
    numbers: Numbers,
}

impl Claims {
    /// Sets what a Service wants; the Services whose entries may have to change, itself among them.
    pub(crate) fn set(&mut self, key: &Key, wanted: Option<Wanted>) -> BTreeSet<Key> {
        let mut touched = BTreeSet::from([key.clone()]);
        if let Some(before) = self.wanted.remove(key) {
            for frontend in before.frontends() {
                let Some(claimants) = self.claimants.get_mut(frontend) else { continue };
                claimants.retain(|(_, other)| other != key);
                touched.extend(claimants.iter().map(|(_, other)| other.clone()));
                if claimants.is_empty() {
                    self.claimants.remove(frontend);
                }
            }
            let still: HashSet<&Frontend> = wanted.iter().flat_map(Wanted::frontends).collect();
            let left: Vec<Frontend> =
                before.frontends().filter(|frontend| !still.contains(frontend)).copied().collect();
            if !left.is_empty() {
                self.left.entry(key.clone()).or_default().extend(left);
            }
            let ports = wanted.iter().flat_map(|wanted| &wanted.ports);
            let kept: HashSet<&PortId> = ports.map(|port| &port.id).collect();
            for port in before.ports.iter().filter(|port| !kept.contains(&port.id)) {
                self.numbers.release(&port.id);
            }
        }
        let Some(wanted) = wanted else { return touched };
        for frontend in wanted.frontends() {
            let claimants = self.claimants.entry(*frontend).or_default();
            touched.extend(claimants.iter().map(|(_, other)| other.clone()));
            let claim = (wanted.created.clone(), key.clone());
            if let Err(at) = claimants.binary_search(&claim) {
                claimants.reserve_exact(1);
                claimants.insert(at, claim);
            }
        }
        self.wanted.insert(key.clone(), wanted);
        touched
    }

    /// What to plan for a Service: its ports with the frontends that it has, and those that go.
    pub(crate) fn draft(&mut self, key: &Key, observed: &Observed) -> (Vec<Numbered>, Vec<Frontend>) {
        let mut desired = Vec::new();
        for port in self.wanted.get(key).into_iter().flat_map(|wanted| &wanted.ports) {
            let mut port = port.clone();
            port.leads.retain(|lead| self.owner(&lead.frontend) == Some(key));
            let known = port.leads.iter().filter_map(|lead| observed.frontend(&lead.frontend));
            let number = self.numbers.of(&port.id, known.map(|service| service.number));
            desired.push(Numbered { number, port });
        }
        let left = self.left.remove(key).unwrap_or_default();
        let gone = left.into_iter().filter(|frontend| !self.is_claimed(frontend)).collect();
        (desired, gone)
    }

    /// Whether any Service wants the frontend.
    pub(crate) fn is_claimed(&self, frontend: &Frontend) -> bool {
        self.claimants.contains_key(frontend)
    }

    /// Services that want anything.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Key> {
        self.wanted.keys()
    }

    /// No number that the maps have is given to another port.
    pub(crate) fn reserve(&mut self, observed: &Observed) {
        let highest = observed.frontends().map(|(_, service)| service.number).max();
        self.numbers.last = self.numbers.last.max(highest.unwrap_or(0));
    }

    fn owner(&self, frontend: &Frontend) -> Option<&Key> {
        self.claimants.get(frontend)?.first().map(|(_, key)| key)
    }
}

impl Wanted {
    fn frontends(&self) -> impl Iterator<Item = &Frontend> {
        self.ports.iter().flat_map(|port| &port.leads).map(|lead| &lead.frontend)
    }
}

#[derive(Debug, Default)]
struct Numbers {
    by_port: HashMap<PortId, u32>,
    taken: HashSet<u32>,
    last: u32,
}

impl Numbers {
    /// A port's number: the one it has, or had before a restart, or the next that is free.
    fn of(&mut self, port: &PortId, known: impl Iterator<Item = u32>) -> u32 {
        if let Some(number) = self.by_port.get(port) {
            return *number;
        }
        let mut known = known.filter(|number| *number != 0 && !self.taken.contains(number));
        let number = known.next().unwrap_or_else(|| {
            let mut next = self.last.wrapping_add(1).max(1);
            while self.taken.contains(&next) {
                next = next.wrapping_add(1).max(1);
            }
            self.last = next;
            next
        });
        self.taken.insert(number);
        self.by_port.insert(port.clone(), number);
        number
    }

    fn release(&mut self, port: &PortId) {
        if let Some(number) = self.by_port.remove(port) {
            self.taken.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Lead;
    use datapath::{Scope, Service, Traffic, Transport};

    fn frontend(last: u8) -> Frontend {
        Frontend {
            address: [192, 0, 2, last].into(),
            port: 80,
            transport: Transport::Tcp,
            scope: Scope::External,
        }
    }

    fn wants(name: &str, created: &str, addresses: &[u8]) -> (Key, Wanted) {
        let key = Key::new("n", name);
        let leads = addresses.iter().map(|last| Lead {
            frontend: frontend(*last),
            backends: vec![],
            affinity_seconds: None,
            traffic: Traffic::default(),
        });
        let id = PortId { service: key.clone(), name: String::new(), transport: Transport::Tcp };
        (
            key,
            Wanted {
                created: created.into(),
                ports: vec![DesiredPort { id, leads: leads.collect(), sources: BTreeSet::new() }],
            },
        )
    }

    /// Last numbers of the frontends that a Service has, and of those that go.
    fn draft(claims: &mut Claims, key: &Key) -> (Vec<String>, Vec<String>) {
        let (desired, gone) = claims.draft(key, &Observed::default());
        let text = |frontend: &Frontend| frontend.address.to_string().replace("192.0.2.", "");
        let leads = desired.iter().flat_map(|numbered| &numbered.port.leads);
        (leads.map(|lead| text(&lead.frontend)).collect(), gone.iter().map(text).collect())
    }

    #[test]
    fn the_older_has_it() {
        let mut claims = Claims::default();
        let (young, young_wants) = wants("a", "2026-02-01T00:00:00Z", &[1, 2]);
        let (old, old_wants) = wants("b", "2026-01-01T00:00:00Z", &[2, 3]);
        assert_eq!(claims.set(&young, Some(young_wants.clone())).len(), 1);
        assert_eq!(draft(&mut claims, &young), (vec!["1".into(), "2".into()], vec![]));
        assert_eq!(claims.set(&old, Some(old_wants)).len(), 2);
        // It passes over without leaving the maps.
        assert_eq!(draft(&mut claims, &young), (vec!["1".into()], vec![]));
        assert_eq!(draft(&mut claims, &old), (vec!["2".into(), "3".into()], vec![]));
        assert_eq!(claims.set(&old, None).len(), 2);
        assert_eq!(draft(&mut claims, &old), (vec![], vec!["3".into()]));
        assert_eq!(draft(&mut claims, &young), (vec!["1".into(), "2".into()], vec![]));
        assert_eq!(claims.set(&young, None).len(), 1);
        assert_eq!(draft(&mut claims, &young).1.len(), 2);
        assert!(claims.claimants.is_empty() && claims.left.is_empty() && claims.numbers.by_port.is_empty());
        assert!(claims.numbers.taken.is_empty());
    }

    #[test]
    fn numbers_survive_a_restart() {
        let service =
            |number| Service { number, set: None, affinity_seconds: None, traffic: Traffic::default() };
        let observed = Observed::new([(frontend(1), service(7)), (frontend(2), service(7))], []);
        let mut claims = Claims::default();
        claims.reserve(&observed);
        let numbers: Vec<u32> = [("a", 1), ("b", 2), ("c", 3)]
            .into_iter()
            .map(|(name, last)| {
                let (key, wanted) = wants(name, "t", &[last]);
                claims.set(&key, Some(wanted));
                claims.draft(&key, &observed).0[0].number
            })
            .collect();
        assert_eq!(numbers, [7, 8, 9]);
    }
}
