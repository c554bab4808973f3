//! The task that owns the maps: looks again at Services that changed, plans, executes.
//!
//! ```text
//! waiting for caches ─► opening the maps ─► adopting what is there ─► following changes
//!                              ^──────────────── an error, after a while ──────┘
//! ```
//!
//! **Invariants**
//! - One task writes. Between errors a change costs the entries of its Services and no more.
//! - After an error nothing is believed: the maps are read again and every Service is planned anew. So they are once
//!   in [`AUDIT`].
//! - Nothing is removed from the maps before every Service is known.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use client::{Backoff, Cache, Client, EventKind, EventRecorder, Key, Object, Reference, Resource, Selection};
use datapath::{Backend, Config, DatapathError, Led, SetId};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::claims::{Claims, Wanted};
use crate::desired::{NodePorts, desired};
use crate::ending;
use crate::execute::{Later, Maps};
use crate::health::Health;
use crate::inbox::Inbox;
use crate::node::{PortAddresses, is_eligible, zone};
use crate::observed::Observed;
use crate::plan::{leftovers, plan};
use crate::responder::Responders;
use crate::select::{Place, ready_here};
use crate::{service, slice};

/// Upstream's name in events.
const COMPONENT: &str = "kube-proxy";
/// How long a set outlives its last frontend: programs that have just looked at the frontend are done by then.
const GRACE: Duration = Duration::from_millis(500);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How often the maps are read again although nothing failed: nobody tells when somebody else has pinned new ones.
const AUDIT: Duration = Duration::from_secs(300);
/// Services planned between two chances for other tasks.
const AT_ONCE: usize = 64;

pub(crate) struct Proxy {
    config: Config,
    port_addresses: PortAddresses,
    services: Cache,
    slices: Cache,
    node: Cache,
    inbox: Arc<Inbox>,
    health: Arc<Health>,
    recorder: EventRecorder,
    random: fn(u64) -> u64,
    responders: Responders,
    /// What was told of each Service that asks for what cannot be had.
    told: HashMap<Key, Vec<String>>,
    /// Version of the Node that was looked at; inside, `None` where there was none.
    seen: Option<Option<String>>,
    place: Place,
    node_ports: NodePorts,
    claims: Claims,
    open: Option<Open>,
    /// Backends whose flows are to be forgotten, and the one who does it.
    forgotten: BTreeSet<Backend>,
    /// The maps were adopted, and who had them before may have died with something to forget.
    doubtful: bool,
    /// What it tells is where clients are led: only that which looks, not that which ends.
    forgetting: JoinSet<HashSet<Led>>,
}

/// The maps and what is in them.
struct Open {
    since: Instant,
    maps: Maps,
    observed: Observed,
    /// Sets by when they go.
    retired: VecDeque<(Instant, SetId)>,
}

impl Proxy {
    /// Starts to follow Services and EndpointSlices. Must be called inside a tokio runtime.
    pub(crate) fn new(
        client: &Client,
        node: &str,
        config: Config,
        port_addresses: PortAddresses,
        health: Arc<Health>,
    ) -> Proxy {
        let follow =
            |resource, reduce| Cache::reduced(client.clone(), resource, Selection::default(), reduce);
        let services = follow(Resource::SERVICES, service::reduce as fn(Object) -> Object);
        let slices = follow(Resource::ENDPOINT_SLICES, slice::reduce);
        let own = Selection { fields: format!("metadata.name={node}"), ..Selection::default() };
        let random = client.surroundings().random;
        let inbox = Inbox::follow(&services, &slices, health.clone());
        let own = Cache::start(client.clone(), Resource::NODES, own);
        let ringing = inbox.clone();
        own.subscribe(move |_| ringing.add([]));
        Proxy {
            config,
            port_addresses,
            services,
            slices,
            node: own,
            inbox,
            recorder: EventRecorder::start(client.clone(), COMPONENT, node),
            random,
            responders: Responders::new(health.clone(), random),
            health,
            told: HashMap::new(),
            seen: None,
            place: Place { node: node.to_owned(), zone: String::new() },
            node_ports: NodePorts::default(),
            claims: Claims::default(),
            open: None,
            forgotten: BTreeSet::new(),
            doubtful: false,
            forgetting: JoinSet::new(),
        }
    }

    /// Keeps the maps as the API says until `stopping`; leaves them as they are then.
    pub(crate) async fn run(mut self, stopping: CancellationToken) {
        tokio::select! {
            () = stopping.cancelled() => return self.responders.stop().await,
            // Removing what half a picture does not know would cut what is there.
            () = async { tokio::join!(self.services.synced(), self.slices.synced(), self.node.synced()); } => {}
        }
        let node = Reference { api_version: "v1".into(), kind: "Node".into(), ..Reference::default() };
        let name = self.place.node.clone();
        // Upstream's event, with upstream's UID for a Node that it does not look up.
        let node = Reference { uid: name.clone(), name, ..node };
        self.recorder.record(node, EventKind::Normal, "Starting", "");
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let wake = match self.sync().await {
                Ok(next) => {
                    backoff.reset();
                    self.health.updated();
                    next
                }
                Err(error) => Instant::now() + self.failed(&error, &mut backoff),
            };
            self.forget();
            tokio::select! {
                () = stopping.cancelled() => break,
                () = self.inbox.rung(), if self.open.is_some() => {}
                Some(led) = self.forgetting.join_next() => self.judge(&led.unwrap_or_default()),
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        self.responders.stop().await;
        while self.forgetting.join_next().await.is_some() {}
    }

    fn failed(&mut self, error: &DatapathError, backoff: &mut Backoff) -> Duration {
        let wait = backoff.next(self.random);
        self.health.counts.failures.fetch_add(1, Ordering::Relaxed);
        self.health.pending();
        self.open = None;
        match error {
            // Nothing is wrong where the agent is still starting.
            DatapathError::NotLoaded { .. } => tracing::info!(%error, ?wait, "waiting for the data path"),
            _ => {
                let cause = std::error::Error::source(error).map(ToString::to_string);
                tracing::warn!(%error, cause, ?wait, "the maps are not right yet");
            }
        }
        wait
    }

    // === From changes to maps ===

    /// Brings the maps to what the API says; when to look again if nothing changes.
    async fn sync(&mut self) -> Result<Instant, DatapathError> {
        let begun = Instant::now();
        self.look_at_node();
        let mut touched = BTreeSet::new();
        for key in self.inbox.take() {
            touched.extend(self.look_at(&key));
        }
        let kept = self.open.take().filter(|open| open.since.elapsed() < AUDIT);
        let adopting = kept.is_none();
        let mut open = match kept {
            Some(open) => open,
            None => {
                let open = Open::new(&self.config)?;
                self.claims.reserve(&open.observed);
                touched.extend(self.claims.services().cloned());
                open
            }
        };
        let mut changes = 0;
        for (index, key) in touched.iter().enumerate() {
            let (desired, gone) = self.claims.draft(key, &open.observed);
            let steps = plan(&desired, &gone, &open.observed);
            if !steps.is_empty() {
                tracing::debug!(service = %key, steps = steps.len(), "changing");
            }
            changes += open.execute(steps, &mut self.forgotten)?;
            if index % AT_ONCE == AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
        }
        if adopting {
            let steps = leftovers(&open.observed, |frontend| self.claims.is_claimed(frontend));
            let left = steps.len();
            changes += open.execute(steps, &mut self.forgotten)?;
            self.doubtful = true;
            let services = touched.len();
            if changes > 0 || self.health.counts.syncs.load(Ordering::Relaxed) == 0 {
                tracing::info!(services, changes, left, "the maps are right");
            }
        }
        open.erase_due()?;
        let counts = &self.health.counts;
        counts.syncs.fetch_add(1, Ordering::Relaxed);
        counts.steps.fetch_add(changes as u64, Ordering::Relaxed);
        let (frontends, sets) = open.observed.size();
        counts.frontends.store(frontends as u64, Ordering::Relaxed);
        counts.sets.store(sets as u64, Ordering::Relaxed);
        counts.took.observe(begun.elapsed());
        let next = open.next();
        self.open = Some(open);
        Ok(next)
    }

    /// Where the node is has a say in every Service.
    fn look_at_node(&mut self) {
        let node = self.node.get(&Key::new("", self.place.node.as_str()));
        let version = node.as_ref().map(|node| node.resource_version.clone());
        if self.seen.as_ref() == Some(&version) {
            return;
        }
        self.seen = Some(version);
        let node = node.as_ref().map(|node| node.value());
        self.health.set_eligible(node.is_none_or(is_eligible));
        let zone = node.map(zone).unwrap_or_default();
        let node_ports = self.port_addresses.resolve(node, own_addresses);
        if zone != self.place.zone || node_ports != self.node_ports {
            self.place.zone = zone;
            self.node_ports = node_ports;
            self.inbox.add(self.services.list("").iter().map(|service| service.key.clone()));
        }
    }

    /// The Services whose entries may have to change.
    fn look_at(&mut self, key: &Key) -> BTreeSet<Key> {
        let object = self.services.get(key);
        let service = object.as_deref().and_then(service::extract);
        let port = service.and_then(|service| service.health_check_port);
        let here = self.inbox.with_slices(|slices| ready_here(slices.of(key), &self.place));
        self.responders.set(key, port, here);
        let refusals = service.map(|service| service.refusals.clone()).unwrap_or_default();
        if refusals.is_empty() {
            self.told.remove(key);
        } else if let Some(object) = &object {
            self.tell(key, &Reference::to(object), &refusals);
            self.told.insert(key.clone(), refusals);
        }
        let wanted = service.map(|service| Wanted {
            created: service.created.clone(),
            ports: self.inbox.with_slices(|slices| {
                desired(key, service, || slices.of(key), &self.place, &self.node_ports)
            }),
        });
        self.claims.set(key, wanted)
    }

    fn tell(&self, key: &Key, about: &Reference, refusals: &[String]) {
        let told = self.told.get(key).map_or(&[][..], Vec::as_slice);
        for message in refusals.iter().filter(|message| !told.contains(message)) {
            tracing::warn!(service = %key, why = message, "not all of a Service is proxied");
            self.recorder.record(about.clone(), EventKind::Warning, "NotProxied", message.as_str());
        }
    }

    /// Lets clients of UDP backends that are gone be sent elsewhere; one run at a time, beside everything else.
    fn forget(&mut self) {
        if !self.forgetting.is_empty() {
            return;
        }
        let Some(open) = &self.open else { return };
        let tables = open.maps.tables.clone();
        if !self.forgotten.is_empty() {
            let backends = std::mem::take(&mut self.forgotten);
            self.forgetting.spawn_blocking(move || {
                ending::end(&tables, &backends);
                HashSet::new()
            });
        } else if std::mem::take(&mut self.doubtful) {
            self.forgetting.spawn_blocking(move || ending::led(&tables));
        }
    }

    /// What was seen is older than what the maps are known to hold: a backend that is in neither is gone.
    fn judge(&mut self, led: &HashSet<Led>) {
        let Some(open) = &self.open else { return };
        let strays = led.iter().filter(|led| open.observed.is_stray(led)).map(|led| led.backend);
        self.forgotten.extend(strays);
    }
}

/// All that the node has; none where the kernel does not say.
fn own_addresses() -> Vec<IpAddr> {
    let dump = netlink::Socket::open().and_then(|mut socket| socket.addresses());
    match dump {
        Ok(addresses) => addresses.iter().map(|address| address.address.addr()).collect(),
        Err(error) => {
            tracing::warn!(%error, "the node's addresses are unknown: no node port is answered");
            Vec::new()
        }
    }
}

// === impl Open ===

impl Open {
    fn new(config: &Config) -> Result<Open, DatapathError> {
        let maps = Maps::open(config)?;
        let observed = maps.observed()?;
        Ok(Open { since: Instant::now(), maps, observed, retired: VecDeque::new() })
    }

    /// How many steps were done.
    fn execute(
        &mut self,
        steps: Vec<crate::plan::Step>,
        forgotten: &mut BTreeSet<Backend>,
    ) -> Result<usize, DatapathError> {
        let (count, mut later) = (steps.len(), Later::default());
        let done = self.maps.execute(steps, &mut self.observed, &mut later);
        let due = Instant::now() + GRACE;
        self.retired.extend(later.retired.into_iter().map(|set| (due, set)));
        forgotten.append(&mut later.forgotten);
        done.map(|()| count)
    }

    /// When there is something to do even if nothing changes.
    fn next(&self) -> Instant {
        let audit = self.since + AUDIT;
        self.retired.front().map_or(audit, |(due, _)| audit.min(*due))
    }

    fn erase_due(&mut self) -> Result<(), DatapathError> {
        let now = Instant::now();
        while let Some((_, set)) = self.retired.pop_front_if(|(due, _)| *due <= now) {
            self.maps.erase(set, &mut self.observed)?;
        }
        Ok(())
    }
}
