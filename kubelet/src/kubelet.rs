//! The dispatcher: one worker per pod, told what concerns it.
//!
//! It decides only who looks: the API's watch says which pods there are, the runtime which changed, volumes whose
//! references changed. A pod of the same name with another UID is another pod; both workers live until the old one is
//! through.
//!
//! **Invariant.** Nothing is called an orphan before the API's first list is in.

use std::collections::HashMap;
use std::sync::Arc;

use client::{Cache, Key, WorkQueue};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::follow::Told;
use crate::orphans;
use crate::pod::{Pod, PodUid};
use crate::worker::{self, Context, Handle, Nudge, Wish};

/// The node's pods.
pub struct Kubelet {
    context: Arc<Context>,
    /// Pods bound to this node.
    pods: Cache,
    changed: WorkQueue<Key>,
    workers: HashMap<PodUid, Handle>,
    tasks: JoinSet<PodUid>,
    of_task: HashMap<Id, PodUid>,
    stopping: CancellationToken,
}

impl Kubelet {
    pub fn new(context: Arc<Context>, pods: Cache, stopping: CancellationToken) -> Kubelet {
        let changed = WorkQueue::new();
        let queue = changed.clone();
        pods.subscribe(move |change| queue.add(change.key.clone()));
        let (workers, of_task) = (HashMap::new(), HashMap::new());
        Kubelet { context, pods, changed, workers, tasks: JoinSet::new(), of_task, stopping }
    }

    /// Runs until `stopping`; pods run on.
    pub async fn run(mut self, mut told: mpsc::Receiver<Told>, mut references: mpsc::Receiver<PodUid>) {
        let synced = tokio::select! {
            () = self.pods.synced() => true,
            () = self.stopping.cancelled() => false,
        };
        if synced {
            for object in self.pods.list("") {
                self.look_at(&object.key);
            }
            self.clean_up().await;
        }
        loop {
            tokio::select! {
                () = self.stopping.cancelled() => break,
                Some(key) = self.changed.next() => {
                    self.look_at(&key);
                    self.changed.done(&key);
                }
                Some(told) = told.recv() => self.nudge(told).await,
                Some(uid) = references.recv() => {
                    if let Some(worker) = self.workers.get(&uid) {
                        worker.nudge(Nudge::References);
                    }
                }
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.ended(ended),
            }
        }
        self.changed.close();
        while self.tasks.join_next().await.is_some() {}
    }

    fn look_at(&mut self, key: &Key) {
        let pod = self.pods.get(key).map(|object| Arc::new(Pod::read(object)));
        let of_key = self.workers.iter().filter(|(_, worker)| worker.pod().key == *key);
        for (uid, worker) in of_key {
            if pod.as_ref().is_none_or(|pod| pod.uid != *uid) && !worker.is_gone() {
                worker.wish(Wish { pod: worker.pod(), gone: true });
            }
        }
        let Some(pod) = pod else { return };
        match self.workers.get(&pod.uid) {
            Some(worker) => worker.wish(Wish { pod, gone: false }),
            None => self.start(Wish { pod, gone: false }),
        }
    }

    fn start(&mut self, wish: Wish) {
        let uid = wish.pod.uid.clone();
        tracing::debug!(pod = %wish.pod.key.name, ns = %wish.pod.key.namespace, %uid, "a pod has a worker");
        let (handle, worker) = worker::create(self.context.clone(), wish);
        let stopping = self.stopping.clone();
        self.workers.insert(uid.clone(), handle);
        let key = uid.clone();
        let task = self.tasks.spawn(async move {
            worker.run(stopping).await;
            uid
        });
        self.of_task.insert(task.id(), key);
    }

    /// A worker is through; one that panicked is started again.
    fn ended(&mut self, ended: Result<(Id, PodUid), JoinError>) {
        match ended {
            Ok((task, uid)) => {
                self.of_task.remove(&task);
                self.workers.remove(&uid);
            }
            Err(error) => {
                let Some(uid) = self.of_task.remove(&error.id()) else { return };
                tracing::error!(%uid, %error, "a pod's worker failed and is started again");
                if let Some(worker) = self.workers.remove(&uid) {
                    self.start(Wish { pod: worker.pod(), gone: worker.is_gone() });
                }
            }
        }
    }

    async fn nudge(&mut self, told: Told) {
        match told {
            Told::Pod(uid) => {
                if let Some(worker) = self.workers.get(&uid) {
                    worker.nudge(Nudge::Runtime);
                }
            }
            Told::Everybody => {
                for worker in self.workers.values() {
                    worker.nudge(Nudge::Runtime);
                }
                self.take_orphans().await;
            }
        }
    }

    /// Pods that were deleted while no kubelet looked.
    async fn take_orphans(&mut self) {
        if !self.pods.is_synced() {
            return;
        }
        match orphans::find(&self.context.runtime, |uid| self.workers.contains_key(uid)).await {
            Ok(orphans) => {
                for pod in orphans {
                    tracing::info!(pod = %pod.key.name, ns = %pod.key.namespace, uid = %pod.uid, "a pod that the API does not know is ended");
                    self.start(Wish { pod: Arc::new(pod), gone: true });
                }
            }
            // The stream that broke is made again, and everybody is told again.
            Err(error) => tracing::warn!(%error, "orphaned pods are not looked for"),
        }
    }

    /// Once, at the start: what a former kubelet left of pods that are gone.
    async fn clean_up(&mut self) {
        self.take_orphans().await;
        for uid in orphans::folders(&self.context.paths) {
            if self.workers.contains_key(&uid) {
                continue;
            }
            let folder = self.context.paths.pod(&uid);
            let gone = match self.context.volumes.teardown(&uid).await {
                Ok(()) => std::fs::remove_dir_all(&folder).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = gone {
                tracing::warn!(%uid, %error, "the folder of a pod that is gone stays");
            }
        }
        orphans::remove_logs(&self.context.paths, |uid| self.workers.contains_key(uid));
    }
}
