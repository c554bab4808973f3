//! The task that owns snapshot and queue: takes changes in, decides, and hands the writing to others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::meta::Meta;
use client::{Cache, Caches, Client, ClientError, EventKind, EventRecorder, Key, Resource};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::bind::{Binding, bind};
use crate::changes::Changes;
use crate::claims::Claims;
use crate::node::{Node, NodeName};
use crate::peers::labels;
use crate::plan::{Decision, plan};
use crate::pod::{Pod, PodUid};
use crate::promises::{self, Promises, Settled, Versions};
use crate::queue::{Event, Queue};
use crate::refusal::Refusal;
use crate::report::{condition, report};
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
    storage: Storage,
    promises: Promises,
    pod_changes: Changes,
    node_changes: Changes,
    namespace_changes: Changes,
    bell: Arc<Notify>,
    snapshot: Snapshot,
    queue: Queue,
    /// Each pod's UID as last seen: a pod may be replaced by one of the same name.
    known: HashMap<Key, PodUid>,
    /// Pods that have their room by our decision alone.
    assumed: HashMap<PodUid, NodeName>,
    steps: JoinSet<Done>,
}

/// What a step ended in.
enum Done {
    Bound(Arc<Pod>, NodeName, Binding),
    /// What its claims get is written, or not.
    Promised(Arc<Pod>, NodeName, Result<Versions, ClientError>),
    Reported,
}

impl Scheduler {
    /// Starts to follow pods and nodes. Must be called inside a tokio runtime.
    pub fn new(client: Client, caches: &Caches) -> Scheduler {
        let (pods, nodes) = (caches.of(&Resource::PODS), caches.of(&Resource::NODES));
        let namespaces = caches.of(&Resource::NAMESPACES);
        let bell = Arc::new(Notify::new());
        Scheduler {
            recorder: EventRecorder::start(client.clone(), NAME, ""),
            pod_changes: Changes::follow(&pods, bell.clone()),
            node_changes: Changes::follow(&nodes, bell.clone()),
            namespace_changes: Changes::follow(&namespaces, bell.clone()),
            storage: Storage::follow(caches, &bell),
            promises: Promises::default(),
            client,
            pods,
            nodes,
            namespaces,
            bell,
            snapshot: Snapshot::default(),
            queue: Queue::default(),
            known: HashMap::new(),
            assumed: HashMap::new(),
            steps: JoinSet::new(),
        }
    }

    /// Schedules until it is told to stop; lets requests under way end.
    pub async fn run(mut self, stopping: CancellationToken) {
        tokio::select! {
            () = stopping.cancelled() => return,
            // Deciding on half a picture would over-commit.
            () = async { tokio::join!(self.pods.synced(), self.nodes.synced(), self.namespaces.synced(), self.storage.synced()); } => {}
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
        let before = match &pod {
            Some(pod) => self.known.insert(key.clone(), pod.uid.clone()),
            None => self.known.remove(key),
        };
        if let Some(before) = before.filter(|before| pod.as_ref().is_none_or(|pod| pod.uid != *before)) {
            self.give_up(&before);
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
        } else {
            // An assumed pod stays assumed: this version may be older than its binding.
            self.queue.set(pod, Instant::now());
        }
    }

    /// The pod is gone or over.
    fn give_up(&mut self, uid: &PodUid) {
        self.queue.remove(uid);
        self.assumed.remove(uid);
        self.promises.take_back(uid);
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
            self.tell(pod, "SchedulerError", &why);
        }
    }

    fn refuse(&mut self, pod: &Arc<Pod>, refusal: Refusal) {
        tracing::info!(pod = %pod.key, message = %refusal.message, "no node will do");
        self.tell(pod, "Unschedulable", &refusal.message);
        self.queue.refused(&pod.uid, refusal.plugins, Instant::now());
    }

    fn finish(&mut self, done: Done) {
        let (pod, node, binding) = match done {
            Done::Bound(pod, node, binding) => (pod, node, binding),
            // The caches tell when the claims are bound.
            Done::Promised(pod, _, Ok(versions)) => {
                return self.promises.written(&pod.uid, versions, Instant::now());
            }
            Done::Promised(pod, node, Err(error)) => return self.unpromised(&pod, &node, &error.to_string()),
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
                        self.tell(&pod, "SchedulerError", &format!("binding rejected: {error}"));
                    }
                }
            }
            Binding::Elsewhere => tracing::warn!(pod = %pod.key, node = %node, "somebody else has bound it"),
        }
    }

    /// Event and condition of a pod without a node.
    fn tell(&mut self, pod: &Arc<Pod>, reason: &str, message: &str) {
        self.recorder.record(pod.reference(), EventKind::Warning, "FailedScheduling", message);
        let now = (self.client.surroundings().now)();
        let Some(condition) = condition(pod, reason, message, now) else { return };
        let (client, pod) = (self.client.clone(), pod.clone());
        self.steps.spawn(async move {
            if let Err(error) = report(&client, &pod, condition).await {
                tracing::warn!(pod = %pod.key, %error, "its condition is not written");
            }
            Done::Reported
        });
    }
}
