//! The one task that owns the node's network: it takes calls of the plugin and reasons to look again, one at a time.
//!
//! ```text
//! net.sock ───── calls ──────┐
//! rtnetlink ──── events ─────┼─▶ look: observe, plan, execute ──▶ links, routes, datapath, conflist
//! own Node, other Nodes ─────┤                                └─▶ ready: the Node's condition, STATUS
//! policies, pods ────────────┼─▶ enforce: compile, plan, execute ──▶ policy maps; waiting pods are READY
//! failed before, a while ago ┘
//! ```
//!
//! What it does to the kernel are a few system calls at a time, so it does them itself and waits for nothing else.
//!
//! **Invariants.** An event is only a reason to look. Without an answer of the API nothing that is there is taken
//! away: pods of an earlier run keep their network. The CNI configuration comes last.

mod calls;
mod policies;
mod promoter;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use client::{Backoff, Cache, Key, Object};
use datapath::{Pressure, Swept, Tables};
use ipnet::IpNet;
use netlink::Group;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::carrier::{Settings, elsewhere};
use crate::conflist;
use crate::endpoint::Registry;
use crate::events::Changes;
use crate::failure::{LookError, chain};
use crate::flows::Sight;
use crate::metrics::Figures;
use crate::names::Names;
use crate::network::{self, Desired, Host, Tunnel};
use crate::node::Node;
use crate::overlay::{self, Mode};
use crate::owner::policies::Policies;
use crate::owner::promoter::Promoter;
use crate::pods::{Pods, Seen};
use crate::policy::Knowledge;
use crate::server::Asked;
use crate::uplink::{self, Uplink};

/// Until something that failed is tried again.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The kernel's maps have no timers: flows that ended are looked for this often.
const SWEEP: Duration = Duration::from_secs(10);
/// The same where the map is nearly full.
const SWEEP_IN_HASTE: Duration = Duration::from_secs(1);

/// What the agent is told once.
#[derive(Clone, Debug)]
pub struct Plan {
    pub node: Key,
    pub names: Names,
    pub settings: Settings,
    pub uplink: Option<String>,
    pub tunnel: Mode,
    pub socket: PathBuf,
    pub ipam: PathBuf,
    pub conf_dir: PathBuf,
}

/// Where Nodes are read.
#[derive(Clone)]
pub struct Nodes {
    /// Only the own one.
    pub own: Cache,
    pub all: Cache,
}

/// Everything the task owns.
pub struct Owner {
    plan: Plan,
    nodes: Nodes,
    pods: Pods,
    policies: Policies,
    promoter: Promoter,
    ready: watch::Sender<bool>,
    figures: Arc<Figures>,
    /// Why it is not ready; what was wrong when it last looked.
    reason: String,
    unreachable: Vec<String>,
}

impl Owner {
    pub fn new(
        plan: Plan,
        nodes: Nodes,
        host: Host,
        registry: Registry,
        (knowledge, sight): (Knowledge, watch::Sender<Sight>),
        (ready, figures): (watch::Sender<bool>, Arc<Figures>),
    ) -> Owner {
        Owner {
            plan,
            nodes,
            pods: Pods::new(host, registry),
            policies: Policies::new(knowledge, sight),
            promoter: Promoter::new(),
            ready,
            figures,
            reason: "it is starting".to_owned(),
            unreachable: Vec::new(),
        }
    }

    /// Until it is told to stop. What is in place stays.
    pub async fn run(
        mut self,
        mut calls: mpsc::Receiver<Asked>,
        stopping: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut kernel = Changes::open(&[Group::Links, Group::Addresses, Group::Routes])?;
        let (changed, mut nodes) = watch::channel(());
        for cache in [&self.nodes.own, &self.nodes.all] {
            let changed = changed.clone();
            cache.subscribe(move |change| {
                // Heartbeats come all the time, and from every node.
                let read = |object: Option<&Arc<Object>>| object.map(|node| Node::read(node.value()));
                if read(change.before) != read(change.after) {
                    changed.send_replace(());
                }
            });
        }
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut again = Some(Instant::now());
        let mut sweeping = Sweeper::new(self.figures.clone());
        let all = self.nodes.all.clone();
        let listed = all.synced();
        let known = self.policies.knowledge.policies();
        let policies_listed = known.synced();
        let mut policies = self.policies.knowledge.changes();
        tokio::pin!(listed, policies_listed);
        let mut policies_complete = false;
        let mut complete = false;
        loop {
            let (due, promotion) = (self.policies.due(), self.promoter.due());
            tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                asked = calls.recv() => match asked {
                    Some(Asked { call, answer }) => self.take(call, answer),
                    None => break,
                },
                look = kernel.next() => if look? { again = Some(Instant::now()) },
                // Only now is it known which nodes are gone.
                () = &mut listed, if !complete => {
                    complete = true;
                    again = Some(Instant::now());
                }
                () = &mut policies_listed, if !policies_complete => {
                    policies_complete = true;
                    self.policies.look_now();
                }
                Some(learnt) = self.policies.asking.join_next() => self.learn(learnt),
                _ = policies.changed() => self.policies.look_soon(),
                () = at(due) => self.enforce_and_say(),
                _ = nodes.changed() => again = Some(Instant::now()),
                () = at(again) => again = self.look_and_say(&mut backoff).err(),
                () = at(Some(sweeping.due)) => sweeping.sweep(self.pods.carrier.tables()),
                Some(outcome) = self.promoter.ended() => self.promoter.go_on(outcome),
                () = at(promotion) => self.promoter.begin(self.pods.carrier.datapath()),
            }
        }
        self.policies.asking.shutdown().await;
        sweeping.end().await;
        self.promoter.end().await;
        Ok(())
    }

    /// Looks; the time of the next try if something failed.
    fn look_and_say(&mut self, backoff: &mut Backoff) -> Result<(), Instant> {
        let begun = Instant::now();
        let looked = self.look();
        self.tell_figures();
        self.figures.syncs.observe(begun.elapsed());
        match looked {
            Ok(()) => {
                backoff.reset();
                Ok(())
            }
            Err(error) => {
                self.figures.sync_failures.fetch_add(1, Ordering::Relaxed);
                let wait = backoff.next((client::Surroundings::system()).random);
                let said = chain(&error);
                tracing::warn!(node = %self.plan.node.name, error = %said, wait = ?wait, "the network is not as it should be; trying again");
                if !*self.ready.borrow() {
                    self.reason = said;
                }
                Err(Instant::now() + wait)
            }
        }
    }

    fn tell_figures(&self) {
        let figures = &self.figures;
        figures.ready.store(*self.ready.borrow(), Ordering::Relaxed);
        figures.nodes.store(self.nodes.all.list("").len() as u64, Ordering::Relaxed);
        figures.know(self.pods.carrier.tables());
    }

    /// Observes everything and makes it what it should be.
    fn look(&mut self) -> Result<(), LookError> {
        let seen = self.pods.see()?;
        let asked = self.plan.uplink.as_deref();
        let uplink = uplink::choose(
            asked,
            &self.plan.settings.node_ips,
            &seen.links,
            &seen.addresses,
            &seen.routes,
            &self.plan.names,
        );
        let own = self.nodes.own.get(&self.plan.node).map(|node| Node::read(node.value()));
        let own = own.filter(|own| !own.ranges.is_empty());
        // Pods of an earlier run first: they wait for nobody.
        let config = self.plan.settings.config(
            &self.plan.names,
            &seen.links,
            &seen.addresses,
            uplink.as_ref(),
            own.as_ref(),
        );
        if self.pods.carrier.ensure(config)? {
            self.policies.look_now();
        }
        self.pods.look(&self.plan.names.network, &seen)?;
        match own {
            Some(own) => self.look_at_node(&own, uplink.as_ref()),
            None => {
                self.make_do(&seen);
                Ok(())
            }
        }
    }

    /// The gateway, the ways to other nodes, and the file that says that pods may come.
    fn look_at_node(&mut self, own: &Node, uplink: Option<&Uplink>) -> Result<(), LookError> {
        // Before the list is in, nobody knows which nodes are gone.
        let complete = self.nodes.all.is_synced();
        let all = self.nodes.all.list("");
        let others: Vec<Node> =
            all.iter().map(|node| Node::read(node.value())).filter(|node| node.name != own.name).collect();
        let ranges: Vec<IpNet> =
            [&self.plan.settings.cluster_cidrs[..], &self.plan.settings.service_cidrs].concat();
        let overlay = self.look_at_tunnel(own, &others, uplink, complete)?;
        let tunnel = match &overlay {
            Some(overlay) => {
                let always = self.plan.tunnel == Mode::Always;
                self.pods.link_named(&overlay.name)?.map(|link| Tunnel { index: link.index, always })
            }
            None => None,
        };
        let desired = Desired::new(&self.plan.names, own, &ranges, &others, uplink, tunnel);
        let observed = self.pods.host.observe(&desired)?;
        for step in network::plan(&desired, &observed) {
            if !complete && matches!(step, network::Step::RemoveRoute(_)) {
                continue;
            }
            tracing::info!(%step, "network of the node");
            self.pods.host.execute(&desired, &step)?;
        }
        let peer = self.pods.link_named(&desired.peer)?.map(|link| link.index);
        self.pods.carrier.attach_node(&desired, peer, uplink)?;
        if let (Some(overlay), Some(tunnel)) = (&overlay, tunnel) {
            self.pods.carrier.attach_tunnel(&overlay.name, tunnel.index)?;
        }
        self.pods.carrier.enter_nodes(&elsewhere(&others, &desired), complete)?;
        self.say_unreachable(&desired);
        let file = conflist::Desired {
            network: self.plan.names.network.clone(),
            ranges: own.ranges.clone(),
            mtu: overlay.as_ref().map(|overlay| overlay.mtu).or(uplink.map(|uplink| uplink.mtu)),
            socket: self.plan.socket.clone(),
            ipam: self.plan.ipam.clone(),
        };
        let folder = &self.plan.conf_dir;
        let written = conflist::write(folder, &file)
            .map_err(|source| LookError::Conflist { folder: folder.clone(), source })?;
        if written {
            let uplink = uplink.map_or("none", |uplink| uplink.name.as_str());
            tracing::info!(node = %own.name, ranges = ?own.ranges, uplink, file = %folder.join(conflist::FILE).display(), "pods can be connected");
        }
        self.reason.clear();
        self.ready.send_replace(true);
        Ok(())
    }

    /// The tunnel, as far as nodes need it.
    fn look_at_tunnel(
        &mut self,
        own: &Node,
        others: &[Node],
        uplink: Option<&Uplink>,
        complete: bool,
    ) -> Result<Option<overlay::Desired>, LookError> {
        let (names, mode) = (&self.plan.names, self.plan.tunnel);
        let local = self.plan.settings.node_ips.first().copied();
        let desired = overlay::Desired::new(names, mode, own, others, uplink, local);
        let observed = self.pods.host.observe_tunnel(&names.tunnel)?;
        for step in overlay::plan(desired.as_ref(), &observed, complete) {
            tracing::info!(%step, "network of the node");
            self.pods.host.execute_tunnel(desired.as_ref(), &step)?;
        }
        Ok(desired)
    }

    /// Without an answer of the API: what an earlier run has made serves on.
    fn make_do(&mut self, seen: &Seen) {
        let gateway = &self.plan.names.gateway;
        let is_up = seen.links.iter().any(|link| link.name == *gateway && link.up);
        if is_up && self.plan.conf_dir.join(conflist::FILE).exists() {
            self.ready.send_replace(true);
        } else if !*self.ready.borrow() {
            let reason = format!("node {} has no spec.podCIDR yet", self.plan.node.name);
            if reason != self.reason {
                tracing::info!(node = %self.plan.node.name, "waiting: the node has no spec.podCIDR yet");
                self.reason = reason;
            }
        }
    }

    fn say_unreachable(&mut self, desired: &Desired) {
        if desired.unreachable != self.unreachable && !desired.unreachable.is_empty() {
            tracing::warn!(nodes = ?desired.unreachable, "pods of these nodes cannot be reached: they are on no network of the uplink, and there is no tunnel (--tunnel)");
        }
        self.unreachable.clone_from(&desired.unreachable);
    }
}

/// At a time, or never.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Looks for flows that ended, beside everything else: a full map takes a while.
struct Sweeper {
    figures: Arc<Figures>,
    due: Instant,
    running: Option<JoinHandle<()>>,
    /// What the last sweep found.
    full: Arc<AtomicBool>,
}

impl Sweeper {
    fn new(figures: Arc<Figures>) -> Sweeper {
        Sweeper { figures, due: Instant::now() + SWEEP, running: None, full: Arc::default() }
    }

    fn sweep(&mut self, tables: Option<Tables>) {
        let wait = if self.full.load(Ordering::Relaxed) { SWEEP_IN_HASTE } else { SWEEP };
        self.due = Instant::now() + wait;
        if self.running.as_ref().is_some_and(|running| !running.is_finished()) {
            return;
        }
        let Some(tables) = tables else { return };
        let (full, figures) = (self.full.clone(), self.figures.clone());
        self.running = Some(tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            let swept = tables.conntrack().and_then(|mut conntrack| conntrack.sweep());
            figures.swept(begun.elapsed(), swept.as_ref().ok());
            match swept {
                Ok(swept) => {
                    let Swept { entries, removed, pressure } = swept;
                    let was = full.swap(pressure > Pressure::None, Ordering::Relaxed);
                    if pressure == Pressure::Full {
                        tracing::warn!(
                            entries,
                            removed,
                            "the table of flows is full: new ones are dropped, idle ones go"
                        );
                    } else if pressure > Pressure::None && !was {
                        tracing::warn!(
                            entries,
                            removed,
                            "the table of flows is filling: silent flows end early"
                        );
                    } else {
                        tracing::debug!(entries, removed, "flows were looked at");
                    }
                }
                Err(error) => tracing::warn!(error = %chain(&error), "flows that ended stay in the datapath"),
            }
        }));
    }

    async fn end(self) {
        if let Some(running) = self.running {
            // It has said itself what it could not do.
            let _ = running.await;
        }
    }
}
