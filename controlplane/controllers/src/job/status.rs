//! The status that follows from what has become of a Job's pods. Pure.

use api::time::format_seconds;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::end::End;
use super::tally::{Tally, Written};
use crate::fields::{condition, int, list};

/// What to tell: whether it is a warning, reason, message.
pub(super) type Told = (bool, String, String);

/// What the plan makes of the Job's pods.
pub(super) struct Outcome<'a> {
    pub end: Option<&'a End>,
    /// Pods that are left once the steps are done, by what becomes of them.
    pub active: usize,
    pub ready: usize,
    pub terminating: usize,
    /// Written down and not counted yet.
    pub written: &'a Written,
    /// Nothing is left to be written down.
    pub all_written: bool,
}

/// The status as it should be, if it is not, and what to tell.
pub(super) fn status(
    job: &Value,
    tally: &Tally,
    outcome: &Outcome<'_>,
    now: Timestamp,
) -> (Option<Value>, Vec<Told>) {
    let mut events = Vec::new();
    let mut conditions = list(job, "/status/conditions").to_vec();
    let mut start = job.pointer("/status/startTime").cloned();
    let mut completion = None;
    match outcome.end {
        None => suspension(job, &mut conditions, &mut start, &mut events, now),
        Some(end) => {
            if start.is_none() {
                start = Some(format_seconds(now).into());
            }
            let first = if end.failed { "FailureTarget" } else { "SuccessCriteriaMet" };
            set(&mut conditions, first, end, now);
            // It is over when all its pods are, written down and counted.
            if outcome.active + outcome.terminating + outcome.written.len() == 0 && outcome.all_written {
                let last = if end.failed { "Failed" } else { "Complete" };
                set(&mut conditions, last, end, now);
                completion = (!end.failed).then(|| format_seconds(now));
                finished(job, tally, end, &mut events);
            }
        }
    }
    let mut fresh = Map::new();
    let mut put = |name: &str, value: Value| drop(fresh.insert(name.to_owned(), value));
    if !conditions.is_empty() {
        put("conditions", conditions.into());
    }
    if let Some(start) = start {
        put("startTime", start);
    }
    if let Some(completion) = completion {
        put("completionTime", completion.into());
    }
    let mut succeeded = int(job, "/status/succeeded") + tally.counted.0;
    if let Some(indexes) = &tally.indexes {
        succeeded = indexes.succeeded.len();
        if succeeded > 0 {
            put("completedIndexes", indexes.succeeded.to_string().into());
        }
        if let Some(failed) = &indexes.failed {
            put("failedIndexes", failed.to_string().into());
        }
    }
    let failed = int(job, "/status/failed") + tally.counted.1;
    for (name, count) in [("active", outcome.active as i64), ("succeeded", succeeded), ("failed", failed)] {
        if count > 0 {
            put(name, count.into());
        }
    }
    put("uncountedTerminatedPods", uncounted(outcome.written));
    put("ready", outcome.ready.into());
    put("terminating", outcome.terminating.into());
    let fresh = Value::Object(fresh);
    let changed = job.get("status") != Some(&fresh);
    (changed.then_some(fresh), if changed { events } else { Vec::new() })
}

fn finished(job: &Value, tally: &Tally, end: &End, events: &mut Vec<Told>) {
    if end.failed {
        events.push((true, end.reason.clone(), end.message.clone()));
        return;
    }
    let wanted = job.pointer("/spec/completions").and_then(Value::as_i64);
    if wanted.is_some_and(|wanted| tally.succeeded > wanted) {
        let message = "Too many succeeded pods running after completion count reached";
        events.push((true, "TooManySucceededPods".to_owned(), message.to_owned()));
    }
    events.push((false, "Completed".to_owned(), "Job completed".to_owned()));
}

fn uncounted(written: &Written) -> Value {
    let mut out = Map::new();
    for (name, uids) in [("succeeded", &written.succeeded), ("failed", &written.failed)] {
        if !uids.is_empty() {
            out.insert(name.into(), uids.clone().into());
        }
    }
    Value::Object(out)
}

/// A suspended Job has no start; one that is resumed starts anew.
fn suspension(
    job: &Value,
    conditions: &mut Vec<Value>,
    start: &mut Option<Value>,
    events: &mut Vec<Told>,
    now: Timestamp,
) {
    let was = condition(job, "Suspended").map(|c| c["status"] == "True");
    let mut say = |status: &str, reason: &str, message: &str, event: &str| {
        put_condition(conditions, "Suspended", status, (reason, message), now);
        events.push((false, event.to_owned(), message.to_owned()));
    };
    if job["spec"]["suspend"] == true {
        *start = None;
        if was != Some(true) {
            say("True", "JobSuspended", "Job suspended", "Suspended");
        }
        return;
    }
    if was == Some(true) {
        say("False", "JobResumed", "Job resumed", "Resumed");
        *start = None;
    }
    if start.is_none() {
        *start = Some(format_seconds(now).into());
    }
}

fn set(conditions: &mut Vec<Value>, kind: &str, end: &End, now: Timestamp) {
    if !conditions.iter().any(|c| c["type"] == kind && c["status"] == "True") {
        put_condition(conditions, kind, "True", (&end.reason, &end.message), now);
    }
}

fn put_condition(conditions: &mut Vec<Value>, kind: &str, status: &str, why: (&str, &str), now: Timestamp) {
    let now = format_seconds(now);
    let fresh = json!({"type": kind, "status": status, "lastProbeTime": now, "lastTransitionTime": now,
        "reason": why.0, "message": why.1});
    match conditions.iter_mut().find(|c| c["type"] == kind) {
        Some(known) => *known = fresh,
        None => conditions.push(fresh),
    }
}
