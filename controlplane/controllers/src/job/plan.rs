//! What to do about a Job and its pods. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use client::{Key, Object};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::indexes;
use super::status::{self, Tally};
use crate::fields::{condition, int, is_deleting, list, text, time};
use crate::ownership::{Claim, claim, selector_of};

/// A pod that is not written down yet carries this.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// Pods made or deleted in one go.
const BURST: usize = 500;
/// Waits after failures: ten seconds, doubling to ten minutes.
const FIRST_WAIT_SECONDS: i64 = 10;
const LONGEST_WAIT_SECONDS: i64 = 600;
/// Uids written down in one update.
const MOST_UNCOUNTED: usize = 500;

pub(super) struct Observed {
    /// All pods of the namespace.
    pub pods: Vec<Arc<Object>>,
    /// The last creations and deletions are all in `pods`.
    pub may_manage: bool,
    pub now: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Adopt {
        pod: Key,
        uid: String,
    },
    Release {
        pod: Key,
        uid: String,
    },
    /// The pod is written down: it may go.
    Unmark {
        pod: Key,
    },
    /// So many more without an index.
    Create(usize),
    /// One for each.
    CreateIndexes(Vec<i64>),
    Delete(Vec<(Key, String)>),
}

#[derive(Default)]
pub(super) struct Plan {
    /// Written before the steps are done.
    pub status: Option<Value>,
    /// Told once the status is written: whether it is a warning, reason, message.
    pub events: Vec<(bool, &'static str, String)>,
    pub steps: Vec<Step>,
    pub look_again: Option<Duration>,
}

/// The Job has ended: Complete or Failed is True.
pub(crate) fn is_finished(job: &Value) -> bool {
    ["Complete", "Failed"].iter().any(|kind| condition(job, kind).is_some_and(|c| c["status"] == "True"))
}

pub(super) fn plan(job: &Value, observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    let own = own(job, observed, &mut plan.steps);
    let tally = Tally::of(job, &own);
    if is_finished(job) || is_deleting(job) {
        // Only the finalizers are left to be taken away.
        plan.steps
            .extend(own.iter().filter(|pod| is_marked(pod)).map(|pod| Step::Unmark { pod: pod.key.clone() }));
        return plan;
    }
    let end = status::end(job, &tally, observed.now);
    let suspended = job["spec"]["suspend"] == true;
    let (active, mut changed) = (&tally.active, 0_usize);
    if end.is_some() || suspended {
        let gone: Vec<_> = active.iter().filter(|pod| !is_deleting(pod.value())).collect();
        if !gone.is_empty() && observed.may_manage {
            plan.steps
                .push(Step::Delete(gone.iter().map(|pod| (pod.key.clone(), pod.uid.clone())).collect()));
        }
        changed = gone.len();
    } else if observed.may_manage {
        plan.look_again = manage(job, &tally, observed.now, &mut plan.steps);
    }
    // Those that are written down now lose their finalizer in the same round, after the status is there.
    let fresh: Vec<_> = tally.fresh.iter().take(MOST_UNCOUNTED).collect();
    let written = |pod: &Arc<Object>| {
        is_marked(pod) && (tally.is_written(&pod.uid) || fresh.iter().any(|other| other.uid == pod.uid))
    };
    plan.steps.extend(own.iter().filter(|pod| written(pod)).map(|pod| Step::Unmark { pod: pod.key.clone() }));
    let left = tally.active.len().saturating_sub(changed);
    (plan.status, plan.events) = status::status(job, &tally, end.as_ref(), left, observed.now);
    let deadline = until_deadline(job, observed.now);
    plan.look_again = [plan.look_again, deadline].into_iter().flatten().min();
    plan
}

fn own(job: &Value, observed: &Observed, steps: &mut Vec<Step>) -> Vec<Arc<Object>> {
    let selector = selector_of(job);
    let mut own = Vec::new();
    for object in &observed.pods {
        let (pod, uid) = (object.key.clone(), object.uid.clone());
        match claim(job, &selector, object.value()) {
            Claim::Owned => own.push(object.clone()),
            Claim::Adopt => steps.push(Step::Adopt { pod, uid }),
            Claim::Release => steps.push(Step::Release { pod, uid }),
            Claim::Foreign => {}
        }
    }
    own
}

pub(super) fn is_marked(pod: &Object) -> bool {
    list(pod.value(), "/metadata/finalizers").iter().any(|finalizer| finalizer == FINALIZER)
}

/// Makes pods that are missing, ends those that are too many; when to look again.
fn manage(job: &Value, tally: &Tally, now: Timestamp, steps: &mut Vec<Step>) -> Option<Duration> {
    let parallelism = int(job, "/spec/parallelism").max(0);
    let completions = job.pointer("/spec/completions").and_then(Value::as_i64);
    let active = tally.active.iter().filter(|pod| !is_deleting(pod.value())).count() as i64;
    let wanted = match completions {
        Some(completions) => parallelism.min((completions - tally.succeeded).max(0)),
        // One success ends it; until then as many as are allowed.
        None if tally.succeeded > 0 => active.min(parallelism),
        None => parallelism,
    };
    // A replacement waits for the end of what it replaces, where the Job says so.
    let going = if text(job, "/spec/podReplacementPolicy") == "Failed" { tally.going as i64 } else { 0 };
    if active > wanted {
        let surplus = usize::try_from(active - wanted).unwrap_or(0).min(BURST);
        let running = |pod: &&Arc<Object>| text(pod.value(), "/status/phase") == "Running";
        let mut candidates: Vec<_> = tally.active.iter().filter(|pod| !is_deleting(pod.value())).collect();
        candidates.sort_by_key(|pod| running(pod));
        let chosen = candidates.into_iter().take(surplus).map(|pod| (pod.key.clone(), pod.uid.clone()));
        steps.push(Step::Delete(chosen.collect()));
        return None;
    }
    let missing = usize::try_from(wanted - active - going).unwrap_or(0).min(BURST);
    if missing == 0 {
        return None;
    }
    if let Some(wait) = tally.backoff(now) {
        return Some(wait);
    }
    if text(job, "/spec/completionMode") == "Indexed" {
        let taken: BTreeSet<i64> = tally.active.iter().filter_map(|pod| index_of(pod.value())).collect();
        let done = tally.completed_indexes(job);
        let free =
            (0..completions.unwrap_or(0)).filter(|index| !taken.contains(index) && !done.contains(index));
        let chosen: Vec<i64> = free.take(missing).collect();
        if !chosen.is_empty() {
            steps.push(Step::CreateIndexes(chosen));
        }
    } else {
        steps.push(Step::Create(missing));
    }
    None
}

/// The completion index of a pod.
pub(super) fn index_of(pod: &Value) -> Option<i64> {
    pod["metadata"]["annotations"][INDEX].as_str()?.parse().ok()
}

impl Tally {
    /// How long until another pod may be made after those that failed.
    fn backoff(&self, now: Timestamp) -> Option<Duration> {
        let (failures, last) = self.failures_in_a_row?;
        let doubled = FIRST_WAIT_SECONDS << failures.saturating_sub(1).min(10);
        let wait = SignedDuration::from_secs(doubled.min(LONGEST_WAIT_SECONDS)) - now.duration_since(last);
        wait.is_positive().then(|| wait.unsigned_abs())
    }

    /// The indexes that are done, those of pods that are not counted yet included.
    pub(super) fn completed_indexes(&self, job: &Value) -> BTreeSet<i64> {
        let mut done = indexes::parse(text(job, "/status/completedIndexes"));
        done.extend(self.succeeded_indexes.iter().copied());
        done
    }
}

fn until_deadline(job: &Value, now: Timestamp) -> Option<Duration> {
    let seconds = job.pointer("/spec/activeDeadlineSeconds").and_then(Value::as_i64)?;
    if !job["status"]["startTime"].is_string() || job["spec"]["suspend"] == true {
        return None;
    }
    let passed = now.duration_since(time(job, "/status/startTime"));
    let left = SignedDuration::from_secs(seconds) - passed;
    left.is_positive().then(|| left.unsigned_abs())
}

#[cfg(test)]
mod tests;
