//! What is in the maps: read from them at the start and after every error, and between that kept by the one writer.

use std::collections::HashMap;

use datapath::{Backend, Frontend, Service, SetId};

/// Frontends, and sets with how many frontends lead to each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    frontends: HashMap<Frontend, Service>,
    sets: HashMap<SetId, Set>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Set {
    /// In order; what the kernel has may be in another one.
    backends: Vec<Backend>,
    frontends: usize,
}

impl Observed {
    pub(crate) fn new(
        frontends: impl IntoIterator<Item = (Frontend, Service)>,
        sets: impl IntoIterator<Item = (SetId, Vec<Backend>)>,
    ) -> Observed {
        let mut observed = Observed::default();
        for (id, backends) in sets {
            observed.installed(id, backends);
        }
        for (frontend, service) in frontends {
            observed.pointed(frontend, service);
        }
        observed
    }

    pub(crate) fn frontend(&self, frontend: &Frontend) -> Option<&Service> {
        self.frontends.get(frontend)
    }

    pub(crate) fn frontends(&self) -> impl Iterator<Item = (&Frontend, &Service)> {
        self.frontends.iter()
    }

    pub(crate) fn sets(&self) -> impl Iterator<Item = &SetId> {
        self.sets.keys()
    }

    /// How many frontends and sets there are.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.frontends.len(), self.sets.len())
    }

    /// The whole of a set; `None` where any of it is missing.
    pub(crate) fn backends(&self, set: &SetId) -> Option<&[Backend]> {
        let backends = &self.sets.get(set)?.backends;
        (backends.len() == set.count as usize).then_some(backends.as_slice())
    }

    /// How many frontends lead to a set.
    pub(crate) fn leading_to(&self, set: &SetId) -> usize {
        self.sets.get(set).map_or(0, |set| set.frontends)
    }

    // === What the writer has done ===

    /// A set under a new number: nobody leads to it yet.
    pub(crate) fn installed(&mut self, id: SetId, mut backends: Vec<Backend>) {
        backends.sort_unstable();
        self.sets.insert(id, Set { backends, frontends: 0 });
    }

    pub(crate) fn pointed(&mut self, frontend: Frontend, service: Service) {
        let before = self.frontends.insert(frontend, service);
        self.count(before.and_then(|before| before.set), Some(service).and_then(|service| service.set));
    }

    pub(crate) fn removed(&mut self, frontend: &Frontend) {
        let before = self.frontends.remove(frontend);
        self.count(before.and_then(|before| before.set), None);
    }

    pub(crate) fn erased(&mut self, set: &SetId) {
        self.sets.remove(set);
    }

    fn count(&mut self, before: Option<SetId>, after: Option<SetId>) {
        if let Some(set) = before.and_then(|id| self.sets.get_mut(&id)) {
            set.frontends = set.frontends.saturating_sub(1);
        }
        if let Some(set) = after.and_then(|id| self.sets.get_mut(&id)) {
            set.frontends += 1;
        }
    }
}
