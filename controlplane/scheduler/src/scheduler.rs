//! The task that owns snapshot and queue: takes changes in, decides, and hands the writing to others.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use api::meta::Meta;
use client::{Cache, Caches, Client, ClientError, EventKind, EventRecorder, Key, Resource};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::bind::{Binding, bind};
use crate::budgets::Budget;
use crate::changes::Changes;
use crate::claims::Claims;
use crate::evict::evict;
use crate::node::{Node, NodeName};
use crate::peers::labels;
use crate::plan::{Decision, plan};
use crate::pod::{Pod, PodUid};
use crate::preemption::{Candidate, Preemption};
use crate::promises::{self, Promises, Settled, Versions};
use crate::queue::{Event, Queue};
use crate::refusal::Refusal;
use crate::report::{Nomination, condition, patch, report};
use crate::snapshot::{NodeChange, Snapshot};
use crate::volume_lookup::{Look, Storage};

/// The name that pods choose us by, and that events carry.
const NAME: &str = "default-scheduler";
/// Requests under way at once.
const MOST_STEPS: usize = 64;
/// How long requests under way may take when we are to stop.
const LAST_STEPS: Duration = Duration::from_secs(5);

pub struct Scheduler {
    client: Client,
    recorder: EventRecorder,
    pods: Cache,
    nodes: Cache,
    namespaces: Cache,
    budgets: Cache,
    storage: Storage,
    promises: Promises,
    pod_changes: Changes,
    node_changes: Changes,
    namespace_changes: Changes,
    budget_changes: Changes,
    bell: Arc<Notify>,
    snapshot: Snapshot,
    queue: Queue,
    known: HashMap<Key, Known>,
    /// Pods that have their room by our decision alone.
    assumed: HashMap<PodUid, NodeName>,
    /// Pods whose victims are being told: they are not decided for until that is done.
    preempting: HashSet<PodUid>,
    steps: JoinSet<Done>,
}

/// A pod as last seen.
struct Known {
    /// It may be replaced by one of the same name.
    uid: PodUid,
    /// A version that says nothing new of the node that the pod is promised may be older than our promise.
    nominated: Option<NodeName>,
}

/// What a step ended in.
enum Done {
    Bound(Arc<Pod>, NodeName, Binding),
    /// What its claims get is written, or not.
    Promised(Arc<Pod>, NodeName, Result<Versions, ClientError>),
    /// Whether the victims were told, and are being deleted.
    Preempted(Arc<Pod>, Result<bool, ClientError>),
    Reported,
}

impl Scheduler {
    /// Starts to follow pods and nodes. Must be called inside a tokio runtime.
    pub fn new(client: Client, caches: &Caches) -> Scheduler {
        let (pods, nodes) = (caches.of(&Resource::PODS), caches.of(&Resource::NODES));
        let (namespaces, budgets) =
            (caches.of(&Resource::NAMESPACES), caches.of(&Resource::DISRUPTION_BUDGETS));
        let bell = Arc::new(Notify::new());
        Scheduler {
            recorder: EventRecorder::start(client.clone(), NAME, ""),
            pod_changes: Changes::follow(&pods, bell.clone()),
            node_changes: Changes::follow(&nodes, bell.clone()),
            namespace_changes: Changes::follow(&namespaces, bell.clone()),
            budget_changes: Changes::follow(&budgets, bell.clone()),
            storage: Storage::follow(caches, &bell),
            promises: Promises::default(),
            client,
            pods,
            nodes,
            namespaces,
            budgets,
            bell,
            snapshot: Snapshot::default(),
            queue: Queue::default(),
            known: HashMap::new(),
            assumed: HashMap::new(),
            preempting: HashSet::new(),
            steps: JoinSet::new(),
        }
    }

    /// Schedules until it is told to stop; lets requests under way end.
    pub async fn run(mut self, stopping: CancellationToken) {
        tokio::select! {
            () = stopping.cancelled() => return,
            // Deciding on half a picture would over-commit.
            () = self.synced() => {}
        }
        tracing::info!("pods and nodes are known");
        loop {
            self.observe();
            self.settle();
            self.queue.release(Instant::now());
            self.decide();
            let due = [self.queue.next_due(), self.promises.next_due()].into_iter().flatten().min();
            tokio::select! {
                () = stopping.cancelled() => break,
                () = self.bell.notified() => {}
                Some(done) = self.steps.join_next() => match done {
                    Ok(done) => self.finish(done),
                    Err(error) => tracing::error!(%error, "a step has failed"),
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
        // What is cut off here is found in the caches by the next scheduler.
        let ended = timeout(LAST_STEPS, async { while self.steps.join_next().await.is_some() {} });
        if ended.await.is_err() {
            tracing::warn!(left = self.steps.len(), "requests under way are given up");
        }
    }

    async fn synced(&self) {
        let caches = [&self.pods, &self.nodes, &self.namespaces, &self.budgets];
        for cache in caches {
            cache.synced().await;
        }
        self.storage.synced().await;
    }

    // === Observing ===

    fn observe(&mut self) {
        for key in self.node_changes.take() {
            self.look_at_node(&key);
        }
        if self.storage.has_changed() {
            self.queue.wake(Event::VolumesChanged, Instant::now());
        }
        for key in self.namespace_changes.take() {
            self.look_at_namespace(&key);
        }
        for key in self.budget_changes.take() {
            match self.budgets.get(&key) {
                Some(budget) => self.snapshot.set_budget(key, Budget::read(budget.value())),
                None => self.snapshot.remove_budget(&key),
            }
        }
        for key in self.pod_changes.take() {
            self.look_at_pod(&key);
        }
    }

    fn look_at_node(&mut self, key: &Key) {
        let Some(object) = self.nodes.get(key) else {
            self.snapshot.remove_node(&NodeName::new(key.name.as_str()));
            return;
        };
        let event = match self.snapshot.set_node(Node::read(object.value())) {
            NodeChange::Added => Event::NodeAdded,
            NodeChange::Changed(what) => Event::NodeChanged(what),
        };
        self.queue.wake(event, Instant::now());
    }

    fn look_at_namespace(&mut self, key: &Key) {
        match self.namespaces.get(key) {
            Some(namespace) => {
                let labels = labels(Meta::of(namespace.value()));
                if self.snapshot.set_namespace(&key.name, labels) {
                    self.queue.wake(Event::NamespaceChanged, Instant::now());
                }
            }
            None => self.snapshot.remove_namespace(&key.name),
        }
    }

    fn look_at_pod(&mut self, key: &Key) {
        let pod = self.pods.get(key).map(|object| Arc::new(Pod::read(object.value())));
        let known = |pod: &Arc<Pod>| Known { uid: pod.uid.clone(), nominated: pod.nominated.clone() };
        let mut before = match &pod {
            Some(pod) => self.known.insert(key.clone(), known(pod)),
            None => self.known.remove(key),
        };
        if let Some(gone) = before.take_if(|before| pod.as_ref().is_none_or(|pod| pod.uid != before.uid)) {
            self.give_up(&gone.uid);
        }
        let Some(pod) = pod else { return };
        if pod.finished {
            self.give_up(&pod.uid);
        } else if pod.node.is_some() {
            let is_new = self.assumed.remove(&pod.uid).is_some();
            self.promises.take_back(&pod.uid);
            self.queue.remove(&pod.uid);
            let before = self.snapshot.pod(&pod.uid);
            let looks_new = before.is_none_or(|before| {
                before.identity != pod.identity || before.terminating != pod.terminating
            });
            let shrinks = before
                .is_some_and(|before| pod.wish.requests.exact.is_less_than(&before.wish.requests.exact));
            self.snapshot.place(pod);
            if is_new || looks_new {
                self.queue.wake(Event::PodPlaced, Instant::now());
            }
            if shrinks {
                self.queue.wake(Event::RoomFreed, Instant::now());
            }
        } else if pod.scheduler != NAME || pod.wish.gated || pod.terminating {
            self.queue.remove(&pod.uid);
            self.withdraw(&pod.uid);
        } else {
            let nominated = before.and_then(|before| before.nominated);
            self.look_at_nomination(&pod, nominated.as_ref());
            // An assumed pod stays assumed: this version may be older than its binding.
            self.queue.set(pod, Instant::now());
        }
    }

    /// Follows what the API says of a pending pod's node where that is new; keeps what we have promised where it is not.
    fn look_at_nomination(&mut self, pod: &Arc<Pod>, before: Option<&NodeName>) {
        let node = match pod.nominated.as_ref() == before {
            true => self.snapshot.nominations().of(&pod.uid).cloned(),
            false => pod.nominated.clone(),
        };
        match node {
            // An assumed pod has its room.
            Some(_) if self.snapshot.holds(&pod.uid) => {}
            Some(node) => self.snapshot.nominate(pod.clone(), node),
            None => self.withdraw(&pod.uid),
        }
    }

    /// A pod is promised no node any more; others may have the room.
    fn withdraw(&mut self, uid: &PodUid) {
        if self.snapshot.withdraw(uid) {
            self.queue.wake(Event::RoomFreed, Instant::now());
        }
    }

    /// The pod is gone or over.
    fn give_up(&mut self, uid: &PodUid) {
        self.queue.remove(uid);
        self.assumed.remove(uid);
        self.promises.take_back(uid);
        self.withdraw(uid);
        if self.snapshot.remove(uid) {
            self.queue.wake(Event::RoomFreed, Instant::now());
        }
    }

    // === Deciding ===

    fn decide(&mut self) {
        let mut random = self.client.surroundings().random;
        while self.steps.len() < MOST_STEPS {
            let Some(pod) = self.queue.pop() else { return };
            if self.snapshot.holds(&pod.uid) {
                continue;
            }
            if self.preempting.contains(&pod.uid) {
                self.queue.failed(&pod.uid, Instant::now());
                continue;
            }
            let pod = self.with_claims(pod);
            match plan(&self.snapshot, &pod, &mut random) {
                Decision::Assign(node) => self.assign(pod, node),
                Decision::Refuse(refusal) => self.refuse(&pod, refusal),
            }
        }
    }

    /// The pod with what its claims say now.
    fn with_claims(&self, pod: Arc<Pod>) -> Arc<Pod> {
        if pod.wish.claims.is_empty() {
            return pod;
        }
        let claims = Claims::read(&pod, &self.look_at_storage());
        Arc::new(pod.claiming(claims))
    }

    fn look_at_storage(&self) -> Look<'_> {
        Look { storage: &self.storage, promises: &self.promises }
    }

    fn assign(&mut self, pod: Arc<Pod>, node: NodeName) {
        self.snapshot.place(Arc::new(pod.placed(node.clone())));
        self.assumed.insert(pod.uid.clone(), node.clone());
        if pod.claims.is_settled() {
            return self.bind(pod, node);
        }
        let choices = self.snapshot.node(&node).and_then(|node| pod.claims.choose(node)).unwrap_or_default();
        let writes = promises::writes(&choices, &node, &self.look_at_storage());
        self.promises.make(pod.clone(), node.clone(), choices);
        let client = self.client.clone();
        self.steps.spawn(async move {
            let written = promises::write(&client, writes).await;
            Done::Promised(pod, node, written)
        });
    }

    fn bind(&mut self, pod: Arc<Pod>, node: NodeName) {
        let client = self.client.clone();
        self.steps.spawn(async move {
            let binding = bind(&client, &pod, &node).await;
            Done::Bound(pod, node, binding)
        });
    }

    /// Pods whose claims got their volumes.
    fn settle(&mut self) {
        let claims = &self.storage.claims;
        for settled in self.promises.settle(&|key: &Key| claims.get(key), Instant::now()) {
            match settled {
                Settled::Bound(pod, node) => self.bind(pod, node),
                Settled::Failed(pod, node, why) => self.unpromised(&pod, &node, &why),
            }
        }
    }

    /// The claims of a pod do not get what they were promised.
    fn unpromised(&mut self, pod: &Arc<Pod>, node: &NodeName, why: &str) {
        tracing::warn!(pod = %pod.key, node = %node, why, "its claims are not bound");
        self.promises.take_back(&pod.uid);
        if self.assumed.remove(&pod.uid).is_some() {
            self.snapshot.remove(&pod.uid);
            self.queue.wake(Event::RoomFreed, Instant::now());
            self.queue.failed(&pod.uid, Instant::now());
            let why = format!("running PreBind plugin \"VolumeBinding\": binding volumes: {why}");
            let nomination = self.cleared(pod);
            self.tell(pod, "SchedulerError", &why, nomination);
        }
    }

    /// The node is promised at once, so that nobody takes the room that is made.
    fn preempt(&mut self, pod: &Arc<Pod>, candidate: Candidate, message: &str) {
        let Candidate { node, victims, .. } = candidate;
        tracing::info!(pod = %pod.key, node = %node, victims = victims.len(), "others make room");
        let less_important: Vec<Arc<Pod>> = self
            .snapshot
            .nominations()
            .on(&node)
            .filter(|other| other.wish.priority < pod.wish.priority)
            .cloned()
            .collect();
        for other in less_important {
            // They may find another place sooner than room is made here twice.
            self.snapshot.withdraw(&other.uid);
            self.write(&other, None, Nomination::Cleared);
            self.queue.retry(&other.uid, Instant::now());
        }
        self.snapshot.nominate(pod.clone(), node.clone());
        self.preempting.insert(pod.uid.clone());
        let condition = self.failed_scheduling(pod, "Unschedulable", message);
        let patch = patch(pod, condition, &Nomination::Of(node.clone()));
        let (client, recorder, pod) = (self.client.clone(), self.recorder.clone(), pod.clone());
        self.steps.spawn(async move {
            let told = match patch {
                Some(patch) => report(&client, &pod, &patch).await,
                None => Ok(true),
            };
            let evicted = match told {
                Ok(true) => evict(&client, &recorder, &pod, &node, &victims).await.map(|()| true),
                // For a pod that is gone nobody has to go.
                told => told,
            };
            Done::Preempted(pod, evicted)
        });
    }

    fn refuse(&mut self, pod: &Arc<Pod>, refusal: Refusal) {
        let Refusal { message, plugins, preemption } = refusal;
        tracing::info!(pod = %pod.key, message, "no node will do");
        match preemption {
            Preemption::Found(candidate) => self.preempt(pod, candidate, &message),
            Preemption::Ineligible(_) => self.tell(pod, "Unschedulable", &message, Nomination::Stays),
            Preemption::Useless(_) => {
                let nomination = self.cleared(pod);
                self.tell(pod, "Unschedulable", &message, nomination);
            }
        }
        self.queue.refused(&pod.uid, plugins, Instant::now());
    }

    fn finish(&mut self, done: Done) {
        let (pod, node, binding) = match done {
            Done::Bound(pod, node, binding) => (pod, node, binding),
            // The caches tell when the claims are bound.
            Done::Promised(pod, _, Ok(versions)) => {
                return self.promises.written(&pod.uid, versions, Instant::now());
            }
            Done::Promised(pod, node, Err(error)) => return self.unpromised(&pod, &node, &error.to_string()),
            Done::Preempted(pod, ended) => {
                self.preempting.remove(&pod.uid);
                if let Err(error) = &ended {
                    tracing::warn!(pod = %pod.key, %error, "others do not make room");
                }
                if !matches!(ended, Ok(true)) {
                    self.queue.retry(&pod.uid, Instant::now());
                }
                return;
            }
            Done::Reported => return,
        };
        match binding {
            Binding::Made => {
                tracing::info!(pod = %pod.key, node = %node, "bound");
                let message = format!("Successfully assigned {} to {node}", pod.key);
                self.recorder.record(pod.reference(), EventKind::Normal, "Scheduled", message);
                self.queue.remove(&pod.uid);
            }
            Binding::Refused(error) => {
                tracing::warn!(pod = %pod.key, node = %node, %error, "not bound");
                // Whatever has happened meanwhile is in the cache already, or will be.
                if self.assumed.remove(&pod.uid).is_some() {
                    self.snapshot.remove(&pod.uid);
                    self.queue.wake(Event::RoomFreed, Instant::now());
                    self.queue.failed(&pod.uid, Instant::now());
                    if !error.is_not_found() && !error.is_conflict() {
                        let nomination = self.cleared(&pod);
                        let why = format!("binding rejected: {error}");
                        self.tell(&pod, "SchedulerError", &why, nomination);
                    }
                }
            }
            Binding::Elsewhere => tracing::warn!(pod = %pod.key, node = %node, "somebody else has bound it"),
        }
    }

    /// A pod without a node is promised none; what is left to be said of that.
    fn cleared(&mut self, pod: &Pod) -> Nomination {
        let promised = self.snapshot.nominations().of(&pod.uid).is_some();
        self.withdraw(&pod.uid);
        match promised || pod.nominated.is_some() {
            true => Nomination::Cleared,
            false => Nomination::Stays,
        }
    }

    /// Event and condition of a pod without a node.
    fn tell(&mut self, pod: &Arc<Pod>, reason: &str, message: &str, nomination: Nomination) {
        let condition = self.failed_scheduling(pod, reason, message);
        self.write(pod, condition, nomination);
    }

    /// Records the event; the condition, where it is a new one.
    fn failed_scheduling(&self, pod: &Pod, reason: &str, message: &str) -> Option<Value> {
        self.recorder.record(pod.reference(), EventKind::Warning, "FailedScheduling", message);
        condition(pod, reason, message, (self.client.surroundings().now)())
    }

    fn write(&mut self, pod: &Arc<Pod>, condition: Option<Value>, nomination: Nomination) {
        let Some(patch) = patch(pod, condition, &nomination) else { return };
        let (client, pod) = (self.client.clone(), pod.clone());
        self.steps.spawn(async move {
            if let Err(error) = report(&client, &pod, &patch).await {
                tracing::warn!(pod = %pod.key, %error, "its status is not written");
            }
            Done::Reported
        });
    }
}
