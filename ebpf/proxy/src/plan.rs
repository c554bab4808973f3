//! From what a Service shall be to the changes of its map entries. Pure.
//!
//! ```text
//! Install set ─► Admit ─► Point frontend ─► Remove frontend ─► Expel ─► Retire set ─► Forget flows
//! ```
//!
//! **Invariants**
//! - Make before break: a set is whole before a frontend leads to it, and goes after the last frontend has left it.
//! - Only entries of the Service change, and only those that differ.
//! - A frontend that is desired before and after is never missing in between.

use std::collections::{BTreeSet, HashMap, HashSet};

use datapath::{Backend, Frontend, Service, SetId, Traffic, Transport};
use ipnet::IpNet;

use crate::desired::DesiredPort;
use crate::observed::Observed;

/// A port with the number by which its frontends share affinity.
#[derive(Clone, Debug)]
pub(crate) struct Numbered {
    pub number: u32,
    pub port: DesiredPort,
}

/// A change to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Writes a set, with or without a table; the first of a plan is `Target::New(0)`.
    Install(Vec<Backend>, bool),
    /// A client range of a service's number, before a frontend asks for it and after the last one does.
    Admit(u32, IpNet),
    Expel(u32, IpNet),
    Point {
        frontend: Frontend,
        aim: Aim,
    },
    Remove(Frontend),
    /// Nobody leads to the set any more: it goes once nobody can be looking at it.
    Retire(SetId),
    /// A client of a backend that is gone would be sent there for as long as it talks.
    Forget(Backend),
}

/// Where a frontend leads from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aim {
    pub number: u32,
    pub target: Target,
    pub affinity_seconds: Option<u32>,
    pub traffic: Traffic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Refused.
    Nothing,
    Known(SetId),
    /// The n-th set that the plan installs.
    New(usize),
}

/// The steps for one Service. `gone` are frontends that it had and nobody wants any more.
pub(crate) fn plan(desired: &[Numbered], gone: &[Frontend], observed: &Observed) -> Vec<Step> {
    let mut draft = Draft::new(desired, gone, observed);
    for Numbered { number, port } in desired {
        for lead in &port.leads {
            let aim = Aim {
                number: *number,
                target: draft.target(&lead.frontend, &lead.backends, lead.traffic.consistent),
                affinity_seconds: lead.affinity_seconds,
                traffic: lead.traffic,
            };
            draft.point(lead.frontend, aim);
        }
    }
    draft.finish(desired, gone)
}

/// Entries that no Service claims: what is left after all Services are planned.
pub(crate) fn leftovers(observed: &Observed, is_claimed: impl Fn(&Frontend) -> bool) -> Vec<Step> {
    let gone: Vec<Frontend> = observed
        .frontends()
        .map(|(frontend, _)| *frontend)
        .filter(|frontend| !is_claimed(frontend))
        .collect();
    let mut steps = plan(&[], &gone, observed);
    let unused = observed.sets().filter(|set| observed.leading_to(set) == 0);
    steps.extend(unused.map(|set| Step::Retire(*set)));
    let used: HashSet<u32> = observed.frontends().map(|(_, service)| service.number).collect();
    for (number, ranges) in observed.sources().filter(|(number, _)| !used.contains(number)) {
        steps.extend(ranges.iter().map(|range| Step::Expel(*number, *range)));
    }
    steps
}

struct Draft<'a> {
    observed: &'a Observed,
    /// Sets that frontends of the Service lead to now.
    reusable: HashMap<(&'a [Backend], bool), SetId>,
    installs: Vec<(Vec<Backend>, bool)>,
    points: Vec<Step>,
    /// How many frontends leave a set, less those that come to it.
    leaving: HashMap<SetId, isize>,
}

impl<'a> Draft<'a> {
    fn new(desired: &[Numbered], gone: &[Frontend], observed: &'a Observed) -> Draft<'a> {
        let mut reusable = HashMap::new();
        for frontend in frontends(desired).chain(gone) {
            let set = observed.frontend(frontend).and_then(|service| service.set);
            if let Some((set, backends)) = set.and_then(|set| Some((set, observed.backends(&set)?))) {
                reusable.entry((backends, observed.has_table(&set))).or_insert(set);
            }
        }
        Draft { observed, reusable, installs: Vec::new(), points: Vec::new(), leaving: HashMap::new() }
    }

    fn target(&mut self, frontend: &Frontend, backends: &[Backend], table: bool) -> Target {
        if backends.is_empty() {
            return Target::Nothing;
        }
        // Its own set first, so that nothing changes where two sets are alike.
        let own = self.observed.frontend(frontend).and_then(|service| service.set);
        let same = |own: &SetId| {
            self.observed.backends(own) == Some(backends) && self.observed.has_table(own) == table
        };
        if let Some(own) = own.filter(same) {
            return Target::Known(own);
        }
        if let Some(set) = self.reusable.get(&(backends, table)) {
            return Target::Known(*set);
        }
        let known = self.installs.iter().position(|(known, has)| known == backends && *has == table);
        Target::New(known.unwrap_or_else(|| {
            self.installs.push((backends.to_vec(), table));
            self.installs.len() - 1
        }))
    }

    fn point(&mut self, frontend: Frontend, aim: Aim) {
        let before = self.observed.frontend(&frontend);
        if before.is_some_and(|before| aim.leads_as(before)) {
            return;
        }
        if let Some(set) = before.and_then(|before| before.set) {
            *self.leaving.entry(set).or_default() += 1;
        }
        if let Target::Known(set) = aim.target {
            *self.leaving.entry(set).or_default() -= 1;
        }
        self.points.push(Step::Point { frontend, aim });
    }

    fn finish(mut self, desired: &[Numbered], gone: &[Frontend]) -> Vec<Step> {
        for frontend in gone {
            if let Some(set) = self.observed.frontend(frontend).and_then(|service| service.set) {
                *self.leaving.entry(set).or_default() += 1;
            }
        }
        let installs = self.installs.into_iter();
        let mut steps: Vec<Step> = installs.map(|(backends, table)| Step::Install(backends, table)).collect();
        let (admitted, expelled) = sources(desired, gone, self.observed);
        steps.extend(admitted);
        steps.append(&mut self.points);
        let there = |frontend: &&Frontend| self.observed.frontend(frontend).is_some();
        steps.extend(gone.iter().filter(there).map(|frontend| Step::Remove(*frontend)));
        steps.extend(expelled);
        let mut retired: Vec<SetId> = self
            .leaving
            .into_iter()
            .filter(|(set, leaving)| usize::try_from(*leaving) == Ok(self.observed.leading_to(set)))
            .map(|(set, _)| set)
            .collect();
        retired.sort_unstable();
        steps.extend(retired.into_iter().map(Step::Retire));
        steps.extend(left_behind(desired, gone, self.observed).into_iter().map(Step::Forget));
        steps
    }
}

/// Ranges that come, and ranges that go, by the numbers of the ports.
fn sources(desired: &[Numbered], gone: &[Frontend], observed: &Observed) -> (Vec<Step>, Vec<Step>) {
    let (mut admitted, mut expelled) = (Vec::new(), Vec::new());
    let mut numbers: BTreeSet<u32> = desired.iter().map(|numbered| numbered.number).collect();
    for Numbered { number, port } in desired {
        let there = observed.sources_of(*number);
        admitted.extend(port.sources.difference(there).map(|range| Step::Admit(*number, *range)));
        expelled.extend(there.difference(&port.sources).map(|range| Step::Expel(*number, *range)));
    }
    for service in gone.iter().filter_map(|frontend| observed.frontend(frontend)) {
        if numbers.insert(service.number) {
            let there = observed.sources_of(service.number).iter();
            expelled.extend(there.map(|range| Step::Expel(service.number, *range)));
        }
    }
    (admitted, expelled)
}

/// UDP backends that some frontend led to, and none does any more.
fn left_behind(desired: &[Numbered], gone: &[Frontend], observed: &Observed) -> BTreeSet<Backend> {
    let udp = |frontend: &&Frontend| frontend.transport == Transport::Udp;
    let mut before: BTreeSet<Backend> = BTreeSet::new();
    for frontend in frontends(desired).chain(gone).filter(udp) {
        let set = observed.frontend(frontend).and_then(|service| service.set);
        before.extend(set.and_then(|set| observed.backends(&set)).into_iter().flatten());
    }
    let leads = desired.iter().flat_map(|numbered| &numbered.port.leads);
    let after: HashSet<&Backend> =
        leads.filter(|lead| udp(&&lead.frontend)).flat_map(|lead| &lead.backends).collect();
    before.retain(|backend| !after.contains(backend));
    before
}

fn frontends(desired: &[Numbered]) -> impl Iterator<Item = &Frontend> {
    desired.iter().flat_map(|numbered| &numbered.port.leads).map(|lead| &lead.frontend)
}

// === impl Aim ===

impl Aim {
    /// Whether a frontend is already as it shall be.
    fn leads_as(&self, service: &Service) -> bool {
        match self.target {
            Target::New(_) => false,
            Target::Nothing => *service == self.service(None),
            Target::Known(set) => *service == self.service(Some(set)),
        }
    }

    pub(crate) fn service(&self, set: Option<SetId>) -> Service {
        Service { number: self.number, set, affinity_seconds: self.affinity_seconds, traffic: self.traffic }
    }
}

#[cfg(test)]
mod tests;
