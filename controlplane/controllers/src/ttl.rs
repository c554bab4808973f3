//! TTL after finished: Jobs that have ended and say how long they are of interest go after that time.
//!
//! Reference: upstream's pkg/controller/ttlafterfinished; `spec.ttlSecondsAfterFinished`.

use std::sync::Arc;
use std::time::Duration;

use client::{Cache, Client, ClientError, Key, Outcome, Propagation, Resource, WorkQueue, work};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::context::Context;
use crate::fields::{condition, is_deleting, time};

const NAME: &str = "ttl-after-finished-controller";

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let client = context.client_of(NAME)?;
    let jobs = context.caches.of(&Resource::JOBS);
    jobs.synced().await;
    let queue = WorkQueue::new();
    let adding = queue.clone();
    jobs.subscribe(move |change| {
        if change.after.is_some_and(|job| !job.value()["spec"]["ttlSecondsAfterFinished"].is_null()) {
            adding.add(change.key.clone());
        }
    });
    work(NAME, queue, 1, move |key| {
        let (client, jobs) = (client.clone(), jobs.clone());
        async move { reconcile(&client, &jobs, &key).await }
    })
    .await;
    Ok(())
}

async fn reconcile(client: &Client, jobs: &Cache, key: &Key) -> Result<Outcome, ClientError> {
    let Some(job) = jobs.get(key) else { return Ok(Outcome::Done) };
    match left(job.value(), (client.surroundings().now)()) {
        None => Ok(Outcome::Done),
        Some(wait) if !wait.is_zero() => Ok(Outcome::After(wait)),
        Some(_) => {
            let foreground = Some(Propagation::Foreground);
            let uid = Some(job.uid.as_str());
            match client.delete(&Resource::JOBS, &key.namespace, &key.name, uid, foreground).await {
                Err(error) if error.is_not_found() || error.is_conflict() => Ok(Outcome::Done),
                answer => answer.map(|_| Outcome::Done),
            }
        }
    }
}

/// How long the Job is still of interest; `None` where that is not asked.
fn left(job: &Value, now: Timestamp) -> Option<Duration> {
    let seconds = job["spec"]["ttlSecondsAfterFinished"].as_i64().filter(|_| !is_deleting(job))?;
    let end = ["Complete", "Failed"]
        .iter()
        .find_map(|kind| condition(job, kind).filter(|c| c["status"] == "True"))?;
    let left = SignedDuration::from_secs(seconds)
        .saturating_sub(now.duration_since(time(end, "/lastTransitionTime")));
    Some(if left.is_positive() { left.unsigned_abs() } else { Duration::ZERO })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn time_left() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let job = |seconds: Value, end: &str| {
            json!({"spec": {"ttlSecondsAfterFinished": seconds}, "status": {"conditions": [
                {"type": end, "status": "True", "lastTransitionTime": "2026-01-01T00:00:30Z"}]}})
        };
        for (job, expect) in [
            (job(json!(40), "Complete"), Some(10)),
            (job(json!(0), "Failed"), Some(0)),
            (job(json!(40), "Suspended"), None),
            (job(Value::Null, "Complete"), None),
        ] {
            assert_eq!(left(&job, now), expect.map(Duration::from_secs), "{job}");
        }
    }
}
