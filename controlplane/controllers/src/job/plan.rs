//! What to do about a Job and its pods. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::{Key, Object};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::end::{self, End};
use super::indexes::{Failures, index_of};
use super::policy::{self, Verdict};
use super::status::{self, Outcome, Told};
use super::tally::{Tally, Written, finished_at};
use crate::fields::{condition, int, is_deleting, list, text, time};
use crate::ownership::{Claim, claim, selector_of};
use crate::pod;
use crate::ranking::first_to_go;

/// A pod that is not written down yet carries this.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
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

/// Whose a pod is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClaimStep {
    Adopt { pod: Key, uid: String },
    Release { pod: Key, uid: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The pod is written down: it may go.
    Unmark { pod: Key },
    /// So many more without an index.
    Create(usize),
    /// One for each.
    CreateIndexes(Vec<Slot>),
    /// Too many: they go, and are no failures.
    Discard(Vec<(Key, String)>),
    /// The Job ends: they go, and are written down.
    Delete(Vec<(Key, String)>),
}

/// An index that needs a pod, and the failures that the pod inherits where they are counted per index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub index: i64,
    pub failures: Option<Failures>,
}

#[derive(Default)]
pub(super) struct Plan {
    /// Done first: the status counts on them.
    pub claims: Vec<ClaimStep>,
    /// Written before the steps are done.
    pub status: Option<Value>,
    /// Told once the status is written.
    pub events: Vec<Told>,
    pub steps: Vec<Step>,
    pub look_again: Option<Duration>,
}

/// The Job has ended: Complete or Failed is True.
pub(crate) fn is_finished(job: &Value) -> bool {
    ["Complete", "Failed"].iter().any(|kind| condition(job, kind).is_some_and(|c| c["status"] == "True"))
}

pub(super) fn plan(job: &Value, observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    let own = own(job, observed, &mut plan.claims);
    if is_finished(job) || is_deleting(job) {
        // Only the finalizers are left to be taken away.
        plan.steps
            .extend(own.iter().filter(|pod| is_marked(pod)).map(|pod| Step::Unmark { pod: pod.key.clone() }));
        return plan;
    }
    let tally = Tally::of(job, &own);
    let mut end = end::end(job, &own, &tally, observed.now);
    if end.is_some() && !observed.may_manage {
        // Pods that are not seen yet would outlive it.
        return plan;
    }
    let mut gone: Vec<Arc<Object>> = Vec::new();
    if end.is_some() {
        gone.clone_from(&tally.active);
        if !gone.is_empty() {
            plan.steps.push(Step::Delete(named(&gone)));
        }
    } else if observed.may_manage {
        (gone, plan.look_again) = manage(job, &tally, observed.now, &mut plan.steps);
        end = completed(job, &tally, tally.active.len() - gone.len());
    }
    let (written, all_written) = write_down(job, &own, &tally, end.as_ref(), &mut plan.steps);
    let stays = |pod: &&Arc<Object>| !gone.iter().any(|other| other.uid == pod.uid);
    let ready = tally.active.iter().filter(stays).filter(|pod| pod::is_ready(pod.value())).count();
    let outcome = Outcome {
        end: end.as_ref(),
        active: tally.active.len() - gone.len(),
        ready,
        terminating: tally.terminating + gone.len(),
        written: &written,
        all_written,
    };
    (plan.status, plan.events) = status::status(job, &tally, &outcome, observed.now);
    let deadline = until_deadline(job, observed.now);
    plan.look_again = [plan.look_again, deadline].into_iter().flatten().min();
    plan
}

fn own(job: &Value, observed: &Observed, claims: &mut Vec<ClaimStep>) -> Vec<Arc<Object>> {
    let selector = selector_of(job);
    let mut own = Vec::new();
    for object in &observed.pods {
        let (pod, uid) = (object.key.clone(), object.uid.clone());
        match claim(job, &selector, object.value()) {
            Claim::Owned => own.push(object.clone()),
            // Counted at once, as it will be ours before anything else is done: nobody takes its place.
            Claim::Adopt => {
                claims.push(ClaimStep::Adopt { pod, uid });
                own.push(object.clone());
            }
            Claim::Release => claims.push(ClaimStep::Release { pod, uid }),
            Claim::Foreign => {}
        }
    }
    own
}

pub(super) fn is_marked(pod: &Object) -> bool {
    list(pod.value(), "/metadata/finalizers").iter().any(|finalizer| finalizer == FINALIZER)
}

fn named(pods: &[Arc<Object>]) -> Vec<(Key, String)> {
    pods.iter().map(|pod| (pod.key.clone(), pod.uid.clone())).collect()
}

/// Enough have succeeded, and none runs any more.
fn completed(job: &Value, tally: &Tally, active: usize) -> Option<End> {
    let enough = match job.pointer("/spec/completions").and_then(Value::as_i64) {
        Some(completions) => tally.succeeded >= completions,
        None => tally.succeeded > 0,
    };
    (enough && active == 0).then(End::complete)
}

/// Makes pods that are missing, ends those that are too many: which these are, and when to look again.
fn manage(
    job: &Value,
    tally: &Tally,
    now: Timestamp,
    steps: &mut Vec<Step>,
) -> (Vec<Arc<Object>>, Option<Duration>) {
    let wanted = wanted(job, tally);
    let surplus = surplus(tally, wanted, now);
    if !surplus.is_empty() {
        steps.push(Step::Discard(named(&surplus)));
        return (surplus, None);
    }
    // A replacement waits for the end of what it replaces, where the Job says so.
    let going = if policy::replaces_only_failed(job) { tally.terminating } else { 0 };
    let missing = wanted.saturating_sub(tally.active.len() + going).min(BURST);
    if missing == 0 {
        return (Vec::new(), None);
    }
    let per_index = job["spec"]["backoffLimitPerIndex"].is_i64();
    if let Some(wait) = tally.failures_in_a_row.filter(|_| !per_index).and_then(|row| backoff(row, now)) {
        return (Vec::new(), Some(wait));
    }
    let Some(indexes) = &tally.indexes else {
        steps.push(Step::Create(missing));
        return (Vec::new(), None);
    };
    let (mut slots, mut waits) = (Vec::new(), Vec::new());
    for index in indexes.free(&tally.active, missing) {
        let last = indexes.waiting.get(&index);
        let row = last.map(|pod| {
            let failures = Failures::after(job, pod).all();
            (u32::try_from(failures).unwrap_or(u32::MAX), finished_at(pod.value()))
        });
        match row.and_then(|row| backoff(row, now)) {
            Some(wait) => waits.push(wait),
            None => {
                let inherited = last.map_or_else(Failures::default, |pod| Failures::after(job, pod));
                slots.push(Slot { index, failures: per_index.then_some(inherited) });
            }
        }
    }
    if !slots.is_empty() {
        steps.push(Step::CreateIndexes(slots));
    }
    (Vec::new(), waits.into_iter().min())
}

/// How many pods there should be now.
fn wanted(job: &Value, tally: &Tally) -> usize {
    let parallelism = int(job, "/spec/parallelism").max(0);
    let wanted = match job.pointer("/spec/completions").and_then(Value::as_i64) {
        _ if job["spec"]["suspend"] == true => 0,
        Some(completions) => parallelism.min((completions - tally.succeeded).max(0)),
        // One success ends it: what runs may run to its end.
        None if tally.succeeded > 0 => tally.active.len() as i64,
        None => parallelism,
    };
    usize::try_from(wanted).unwrap_or(0)
}

/// The active pods that are too many: those without an index that is wanted, doubles, then those missed least.
fn surplus(tally: &Tally, wanted: usize, now: Timestamp) -> Vec<Arc<Object>> {
    let rank = |pods: &[Arc<Object>], many: usize| first_to_go(pods, &[], &[], many, now);
    let (mut gone, mut left) = (Vec::new(), tally.active.clone());
    if tally.indexes.is_some() {
        let mut by_index: BTreeMap<Option<i64>, Vec<Arc<Object>>> = BTreeMap::new();
        for pod in &tally.active {
            let index = index_of(pod.value()).filter(|_| tally.is_valid(pod));
            by_index.entry(index).or_default().push(pod.clone());
        }
        left.clear();
        for (index, pods) in by_index {
            let doubles = rank(&pods, pods.len() - usize::from(index.is_some()));
            left.extend(pods.into_iter().filter(|pod| !doubles.iter().any(|other| other.uid == pod.uid)));
            gone.extend(doubles);
        }
    }
    let least = tally.active.len().saturating_sub(wanted);
    if gone.len() < least {
        let more = least - gone.len();
        gone.extend(rank(&left, more));
    }
    gone.truncate(BURST);
    gone
}

/// How long until another pod may be made after so many that failed, the last one then.
fn backoff((failures, last): (u32, Timestamp), now: Timestamp) -> Option<Duration> {
    let doubled = FIRST_WAIT_SECONDS << failures.saturating_sub(1).min(10);
    let wait = SignedDuration::from_secs(doubled.min(LONGEST_WAIT_SECONDS)) - now.duration_since(last);
    wait.is_positive().then(|| wait.unsigned_abs())
}

/// Writes down pods that are over; they lose their finalizer once the status is there. Whether none is left.
fn write_down(
    job: &Value,
    own: &[Arc<Object>],
    tally: &Tally,
    end: Option<&End>,
    steps: &mut Vec<Step>,
) -> (Written, bool) {
    let mut written = tally.kept.clone();
    let mut indexed = 0;
    for pod in own.iter().filter(|pod| is_marked(pod)) {
        let value = pod.value();
        let (succeeded, failed) =
            (text(value, "/status/phase") == "Succeeded", policy::has_failed(job, value));
        let waits = tally
            .indexes
            .as_ref()
            .is_some_and(|indexes| indexes.waiting.values().any(|other| other.uid == pod.uid));
        if !tally.kept.holds(&pod.uid) {
            if end.is_none() && !succeeded && (!failed || waits) {
                continue;
            }
            if written.len() + indexed >= MOST_UNCOUNTED {
                return (written, false);
            }
            // Where the Job has succeeded, those that go because of it have not failed.
            let ended_by_us = end.is_some_and(|end| !end.failed) && text(value, "/status/phase") != "Failed";
            let counts = !ended_by_us && tally.is_valid(pod) && policy::verdict(job, pod) != Verdict::Ignore;
            if succeeded {
                // An index says by itself that it is done.
                indexed += usize::from(tally.indexes.is_some());
                if tally.indexes.is_none() {
                    written.succeeded.push(pod.uid.clone());
                }
            } else if (failed || end.is_some_and(|end| end.failed)) && counts {
                written.failed.push(pod.uid.clone());
            }
        }
        steps.push(Step::Unmark { pod: pod.key.clone() });
    }
    (written, true)
}

fn until_deadline(job: &Value, now: Timestamp) -> Option<Duration> {
    let seconds = job.pointer("/spec/activeDeadlineSeconds").and_then(Value::as_i64)?;
    if !job["status"]["startTime"].is_string() || job["spec"]["suspend"] == true {
        return None;
    }
    let passed = now.duration_since(time(job, "/status/startTime"));
    let left = SignedDuration::from_secs(seconds).saturating_sub(passed);
    left.is_positive().then(|| left.unsigned_abs())
}

#[cfg(test)]
mod tests;
