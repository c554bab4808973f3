//! CronJobs: a Job at every time that its schedule names.
//!
//! Not the Job's pods. A Job's name is made from the time it stands for, so that no time has two of them, whoever dies
//! between looking and making.
//!
//! Reference: upstream's pkg/controller/cronjob.

mod plan;

use std::sync::Arc;

use client::{
    Cache, Client, ClientError, EventKind, EventRecorder, Key, Object, Outcome, Propagation, Reference,
    Resource, WorkQueue, work,
};
use serde_json::Value;

use crate::context::Context;
use plan::Step;

const NAME: &str = "cronjob-controller";
const WORKERS: usize = 5;

struct Controller {
    client: Client,
    events: EventRecorder,
    cron_jobs: Cache,
    jobs: Cache,
}

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let client = context.client_of(NAME)?;
    let controller = Arc::new(Controller {
        events: EventRecorder::start(client.clone(), NAME, ""),
        client,
        cron_jobs: context.caches.of(&Resource::CRON_JOBS),
        jobs: context.caches.of(&Resource::JOBS),
    });
    controller.cron_jobs.synced().await;
    controller.jobs.synced().await;
    let queue = WorkQueue::new();
    let adding = queue.clone();
    controller.cron_jobs.subscribe(move |change| adding.add(change.key.clone()));
    let adding = queue.clone();
    controller.jobs.subscribe(move |change| {
        for job in [change.before, change.after].into_iter().flatten() {
            if let Some(owner) = job.meta().controller().filter(|owner| owner.kind == "CronJob") {
                adding.add(Key::new(job.key.namespace.clone(), owner.name));
            }
        }
    });
    work(NAME, queue, WORKERS, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
    Ok(())
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, ClientError> {
        let Some(cron_job) = self.cron_jobs.get(key) else { return Ok(Outcome::Done) };
        let own = |job: &Arc<Object>| job.meta().controller().is_some_and(|owner| owner.uid == cron_job.uid);
        let jobs: Vec<Arc<Object>> = self.jobs.list(&key.namespace).into_iter().filter(own).collect();
        let now = (self.client.surroundings().now)();
        let plan = plan::plan(cron_job.value(), &jobs, now);
        for (warning, reason, message) in &plan.events {
            let kind = if *warning { EventKind::Warning } else { EventKind::Normal };
            self.events.record(Reference::to(&cron_job), kind, reason, message.clone());
        }
        let mut status = plan.status;
        for step in plan.steps {
            match self.execute(&cron_job, step, &mut status).await {
                Err(error) if error.is_conflict() || error.is_not_found() => return Ok(Outcome::Again),
                Err(error) if error.namespace_is_terminating() => return Ok(Outcome::Done),
                done => done?,
            }
        }
        if cron_job.value().get("status").unwrap_or(&Value::Null) != &status {
            let mut fresh = cron_job.value().clone();
            fresh["status"] = status;
            match self.client.update_subresource(&Resource::CRON_JOBS, "status", &fresh).await {
                Err(error) if error.is_conflict() || error.is_not_found() => return Ok(Outcome::Again),
                answer => drop(answer?),
            }
        }
        Ok(plan.look_again.map_or(Outcome::Done, Outcome::After))
    }

    async fn execute(
        &self,
        cron_job: &Arc<Object>,
        step: Step,
        status: &mut Value,
    ) -> Result<(), ClientError> {
        let namespace = &cron_job.key.namespace;
        match step {
            Step::Delete { name, uid } => {
                let background = Some(Propagation::Background);
                match self.client.delete(&Resource::JOBS, namespace, &name, Some(&uid), background).await {
                    Err(error) if error.is_not_found() || error.is_conflict() => {}
                    answer => {
                        answer?;
                        let message = format!("Deleted job {name}");
                        self.events.record(
                            Reference::to(cron_job),
                            EventKind::Normal,
                            "SuccessfulDelete",
                            message,
                        );
                    }
                }
                Ok(())
            }
            Step::Create { job, at } => match self.client.create(&Resource::JOBS, namespace, &job).await {
                Ok(made) => {
                    let message =
                        format!("Created job {}", made["metadata"]["name"].as_str().unwrap_or_default());
                    self.events.record(
                        Reference::to(cron_job),
                        EventKind::Normal,
                        "SuccessfulCreate",
                        message,
                    );
                    plan::started(status, &made, &at);
                    Ok(())
                }
                // Made before, and not in the cache yet.
                Err(error) if error.already_exists() => Ok(()),
                Err(error) => {
                    if !error.namespace_is_terminating() {
                        let message = format!("Error creating job: {error}");
                        self.events.record(
                            Reference::to(cron_job),
                            EventKind::Warning,
                            "FailedCreate",
                            message,
                        );
                    }
                    Err(error)
                }
            },
        }
    }
}
