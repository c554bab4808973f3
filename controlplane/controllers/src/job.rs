//! Jobs: pods that run to their end, so many times, so many at once.
//!
//! ```text
//!   a pod ends ─► its uid is written into status.uncountedTerminatedPods ─► its finalizer goes ─► it is counted
//! ```
//!
//! A pod is counted once, whoever dies between two of these steps: it carries a finalizer until it is written down.
//!
//! Not Jobs that `spec.managedBy` gives to somebody else.
//!
//! Reference: upstream's pkg/controller/job, KEP-2307, KEP-4368 (managed by others).

mod end;
mod execute;
mod index_set;
mod indexes;
mod plan;
mod policy;
mod status;
mod tally;

pub(crate) use plan::is_finished;

use std::sync::Arc;

use client::{Cache, Change, Client, ClientError, EventRecorder, Key, Outcome, Resource, WorkQueue, work};

use crate::context::Context;
use crate::expectations::Expectations;
use crate::ownership::{owner_key, suitors};

const NAME: &str = "job-controller";
const WORKERS: usize = 5;
/// What `managedBy` says of Jobs that are ours.
const OURSELVES: &str = "kubernetes.io/job-controller";

struct Controller {
    client: Client,
    events: EventRecorder,
    jobs: Cache,
    pods: Cache,
    expectations: Arc<Expectations>,
}

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let client = context.client_of(NAME)?;
    let controller = Arc::new(Controller {
        events: EventRecorder::start(client.clone(), NAME, ""),
        client,
        jobs: context.caches.of(&Resource::JOBS),
        pods: context.caches.of(&Resource::PODS),
        expectations: Arc::default(),
    });
    controller.jobs.synced().await;
    controller.pods.synced().await;
    let queue = WorkQueue::new();
    let adding = queue.clone();
    controller.jobs.subscribe(move |change| adding.add(change.key.clone()));
    let (adding, jobs) = (queue.clone(), controller.jobs.clone());
    let expectations = controller.expectations.clone();
    controller.pods.subscribe(move |change| pod_changed(&change, &jobs, &expectations, &adding));
    work(NAME, queue, WORKERS, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
    Ok(())
}

/// Whom a change of a pod concerns: its Jobs before and after; for an orphan every Job that selects it.
fn pod_changed(change: &Change<'_>, jobs: &Cache, expectations: &Expectations, queue: &WorkQueue<Key>) {
    let (before, after) = expectations.observe(change, |pod| owner_key(pod, "Job"));
    for key in [before, after].into_iter().flatten().chain(suitors(change, jobs)) {
        queue.add(key);
    }
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, ClientError> {
        let satisfied = self.expectations.satisfied(key);
        let Some(job) = self.jobs.get(key) else {
            self.expectations.forget(key);
            return Ok(Outcome::Done);
        };
        if job.value()["spec"]["managedBy"].as_str().is_some_and(|manager| manager != OURSELVES) {
            self.expectations.forget(key);
            return Ok(Outcome::Done);
        }
        let observed = plan::Observed {
            pods: self.pods.list(&key.namespace),
            may_manage: satisfied,
            now: (self.client.surroundings().now)(),
        };
        let plan = plan::plan(job.value(), &observed);
        match execute::execute(self, &job, &plan).await {
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(Outcome::Again),
            Err(error) if error.namespace_is_terminating() => Ok(Outcome::Done),
            Err(error) => Err(error),
            Ok(()) => Ok(plan.look_again.map_or(Outcome::Done, Outcome::After)),
        }
    }
}
