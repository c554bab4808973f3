//! What is in the maps: read from them at the start and after every error, and between that kept by the one writer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use datapath::{Backend, Frontend, Led, Service, SetId, Transport};
use ipnet::IpNet;

/// Frontends, and sets with how many frontends lead to each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    frontends: HashMap<Frontend, Service>,
    sets: HashMap<SetId, Set>,
    sources: BTreeMap<u32, BTreeSet<IpNet>>,
}

static NOBODY: BTreeSet<IpNet> = BTreeSet::new();

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Set {
    /// In order; what the kernel has may be in another one.
    backends: Vec<Backend>,
    table: bool,
    frontends: usize,
}

impl Observed {
    pub(crate) fn new(
        frontends: impl IntoIterator<Item = (Frontend, Service)>,
        sets: impl IntoIterator<Item = (SetId, Vec<Backend>)>,
    ) -> Observed {
        let mut observed = Observed::default();
        for (id, backends) in sets {
            observed.installed(id, backends, false);
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

    pub(crate) fn has_table(&self, set: &SetId) -> bool {
        self.sets.get(set).is_some_and(|set| set.table)
    }

    /// Client ranges by the numbers of ports.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&u32, &BTreeSet<IpNet>)> {
        self.sources.iter()
    }

    pub(crate) fn sources_of(&self, number: u32) -> &BTreeSet<IpNet> {
        self.sources.get(&number).unwrap_or(&NOBODY)
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

    /// Whether a client of datagrams is with a backend that its frontend does not lead to.
    pub(crate) fn is_stray(&self, led: &Led) -> bool {
        let everywhere = match led.asked {
            std::net::SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            std::net::SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        // By its own address, or as a node port.
        let frontend = [led.asked.ip(), everywhere].into_iter().find_map(|address| {
            let (port, scope) = (led.asked.port(), led.scope);
            self.frontend(&Frontend { address, port, transport: Transport::Udp, scope })
        });
        let set = frontend.and_then(|service| self.backends(&service.set?));
        !set.is_some_and(|backends| backends.contains(&led.backend))
    }

    // === What the writer has done ===

    /// A set under a new number: nobody leads to it yet.
    pub(crate) fn installed(&mut self, id: SetId, mut backends: Vec<Backend>, table: bool) {
        backends.sort_unstable();
        self.sets.insert(id, Set { backends, table, frontends: 0 });
    }

    /// What else was read from the maps: numbers of sets with tables, and client ranges.
    pub(crate) fn with(
        mut self,
        tables: &BTreeSet<u32>,
        sources: BTreeMap<u32, BTreeSet<IpNet>>,
    ) -> Observed {
        for (id, set) in &mut self.sets {
            set.table = tables.contains(&id.number);
        }
        self.sources = sources;
        self
    }

    pub(crate) fn admitted(&mut self, number: u32, range: IpNet) {
        self.sources.entry(number).or_default().insert(range);
    }

    pub(crate) fn expelled(&mut self, number: u32, range: IpNet) {
        if let Some(ranges) = self.sources.get_mut(&number) {
            ranges.remove(&range);
            if ranges.is_empty() {
                self.sources.remove(&number);
            }
        }
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
