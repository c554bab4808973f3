//! What has become of a Job's pods, and the status that follows. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::time::format_seconds;
use client::Object;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::indexes;
use super::plan::{index_of, is_marked};
use crate::fields::{condition, int, is_deleting, list, text, time};
use crate::pod;

/// The pods of a Job by what has become of them.
#[derive(Default)]
pub(super) struct Tally {
    /// Neither over nor written off; those on their way out included until they are over.
    pub active: Vec<Arc<Object>>,
    pub ready: usize,
    /// Of the active ones those that are being deleted.
    pub going: usize,
    /// Over, carrying their finalizer, and not written down yet.
    pub fresh: Vec<Arc<Object>>,
    /// All successes: counted, written down, fresh.
    pub succeeded: i64,
    pub failed: i64,
    /// Restarts of containers of active pods that are restarted in place.
    pub restarts: i64,
    pub succeeded_indexes: BTreeSet<i64>,
    /// Failures since the last success, and when the last one was.
    pub failures_in_a_row: Option<(u32, Timestamp)>,
    /// Uids written down whose pods still carry their finalizer.
    kept: (Vec<String>, Vec<String>),
    /// Uids written down whose pods are rid of it: to be counted.
    counted: (i64, i64),
    written: BTreeSet<String>,
}

/// Why a Job ends.
pub(super) struct End {
    failed: bool,
    reason: &'static str,
    message: &'static str,
}

impl Tally {
    pub(super) fn of(job: &Value, own: &[Arc<Object>]) -> Tally {
        let mut tally = Tally::default();
        let uids = |field: &str| -> Vec<String> {
            let list = list(job, &format!("/status/uncountedTerminatedPods/{field}"));
            list.iter().filter_map(|uid| uid.as_str().map(str::to_owned)).collect()
        };
        let (succeeded, failed) = (uids("succeeded"), uids("failed"));
        tally.written.extend(succeeded.iter().chain(&failed).cloned());
        let still = |uid: &String| own.iter().any(|pod| pod.uid == *uid && is_marked(pod));
        let split = |uids: Vec<String>| -> (Vec<String>, i64) {
            let all = uids.len();
            let kept: Vec<String> = uids.into_iter().filter(still).collect();
            let counted = (all - kept.len()) as i64;
            (kept, counted)
        };
        let (kept_succeeded, counted_succeeded) = split(succeeded);
        let (kept_failed, counted_failed) = split(failed);
        tally.succeeded = int(job, "/status/succeeded") + kept_succeeded.len() as i64 + counted_succeeded;
        tally.failed = int(job, "/status/failed") + kept_failed.len() as i64 + counted_failed;
        tally.kept = (kept_succeeded, kept_failed);
        tally.counted = (counted_succeeded, counted_failed);
        for pod in own {
            tally.add(job, pod);
        }
        tally.failures_in_a_row = failures_in_a_row(own);
        tally
    }

    fn add(&mut self, job: &Value, pod: &Arc<Object>) {
        let value = pod.value();
        if pod::is_over(value) || is_lost(value) {
            let succeeded = text(value, "/status/phase") == "Succeeded";
            if succeeded {
                self.succeeded_indexes.extend(index_of(value));
            }
            if is_marked(pod) && !self.written.contains(&pod.uid) {
                *(if succeeded { &mut self.succeeded } else { &mut self.failed }) += 1;
                self.fresh.push(pod.clone());
            }
            return;
        }
        if text(job, "/spec/template/spec/restartPolicy") == "OnFailure" {
            let statuses = list(value, "/status/containerStatuses");
            self.restarts +=
                statuses.iter().filter_map(|status| status["restartCount"].as_i64()).sum::<i64>();
        }
        self.going += usize::from(is_deleting(value));
        self.ready += usize::from(pod::is_ready(value) && !is_deleting(value));
        self.active.push(pod.clone());
    }

    pub(super) fn is_written(&self, uid: &str) -> bool {
        self.written.contains(uid)
    }
}

/// Deleted before it ran: nobody will ever say how it ended.
fn is_lost(pod: &Value) -> bool {
    is_deleting(pod) && text(pod, "/spec/nodeName").is_empty()
}

fn failures_in_a_row(own: &[Arc<Object>]) -> Option<(u32, Timestamp)> {
    let ended = |pod: &Value| {
        let statuses = list(pod, "/status/containerStatuses").iter();
        let ends = statuses.map(|status| time(status, "/state/terminated/finishedAt"));
        ends.max()
            .filter(|at| *at != Timestamp::UNIX_EPOCH)
            .unwrap_or_else(|| time(pod, "/metadata/creationTimestamp"))
    };
    let of = |phase: &str| {
        let phase = phase.to_owned();
        own.iter()
            .filter(move |pod| text(pod.value(), "/status/phase") == phase)
            .map(|pod| ended(pod.value()))
    };
    let success = of("Succeeded").max().unwrap_or(Timestamp::UNIX_EPOCH);
    let failures: Vec<Timestamp> = of("Failed").filter(|at| *at > success).collect();
    let last = failures.iter().max().copied()?;
    Some((u32::try_from(failures.len()).unwrap_or(u32::MAX), last))
}

/// Whether the Job is at its end, and how.
pub(super) fn end(job: &Value, tally: &Tally, now: Timestamp) -> Option<End> {
    // What was decided stays so.
    if condition(job, "FailureTarget").is_some_and(|c| c["status"] == "True") {
        let reason = text(condition(job, "FailureTarget").unwrap_or(&Value::Null), "/reason");
        return Some(if reason == "DeadlineExceeded" { DEADLINE } else { BACKOFF });
    }
    if condition(job, "SuccessCriteriaMet").is_some_and(|c| c["status"] == "True") {
        return Some(COMPLETE);
    }
    let limit = int(job, "/spec/backoffLimit");
    let in_place = text(job, "/spec/template/spec/restartPolicy") == "OnFailure";
    if tally.failed > limit
        || (in_place && tally.restarts > 0 && tally.restarts >= limit && limit > 0)
        || (in_place && limit == 0 && tally.restarts > 0)
    {
        return Some(BACKOFF);
    }
    let deadline = job.pointer("/spec/activeDeadlineSeconds").and_then(Value::as_i64);
    if let Some(seconds) =
        deadline.filter(|_| job["spec"]["suspend"] != true && job["status"]["startTime"].is_string())
        && now.duration_since(time(job, "/status/startTime")) >= SignedDuration::from_secs(seconds)
    {
        return Some(DEADLINE);
    }
    let complete = match job.pointer("/spec/completions").and_then(Value::as_i64) {
        Some(completions) => tally.succeeded >= completions,
        None => tally.succeeded > 0 && tally.active.is_empty(),
    };
    complete.then_some(COMPLETE)
}

const COMPLETE: End =
    End { failed: false, reason: "CompletionsReached", message: "Reached expected number of succeeded pods" };
const BACKOFF: End = End {
    failed: true,
    reason: "BackoffLimitExceeded",
    message: "Job has reached the specified backoff limit",
};
const DEADLINE: End = End {
    failed: true,
    reason: "DeadlineExceeded",
    message: "Job was active longer than specified deadline",
};

/// The status as it should be, if it is not, and what to tell.
pub(super) fn status(
    job: &Value,
    tally: &Tally,
    end: Option<&End>,
    active: usize,
    now: Timestamp,
) -> (Option<Value>, Vec<(bool, &'static str, String)>) {
    let mut events = Vec::new();
    let mut conditions = list(job, "/status/conditions").to_vec();
    let mut start = job.pointer("/status/startTime").cloned();
    let mut completion = None;
    suspension(job, &mut conditions, &mut start, &mut events, now);
    if let Some(end) = end {
        let interim = if end.failed { "FailureTarget" } else { "SuccessCriteriaMet" };
        set(&mut conditions, interim, end.reason, end.message, now);
        // It is over when all its pods are, written down and counted.
        let kept = tally.kept.0.len() + tally.kept.1.len() + tally.fresh.len();
        if tally.active.is_empty() && active == 0 && kept == 0 {
            let last = if end.failed { "Failed" } else { "Complete" };
            set(&mut conditions, last, end.reason, end.message, now);
            if end.failed {
                events.push((true, end.reason, end.message.to_owned()));
            } else {
                completion = Some(format_seconds(now));
                events.push((false, "Completed", "Job completed".to_owned()));
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
    let counted =
        (int(job, "/status/succeeded") + tally.counted.0, int(job, "/status/failed") + tally.counted.1);
    for (name, count) in [("active", active as i64), ("succeeded", counted.0), ("failed", counted.1)] {
        if count > 0 {
            put(name, count.into());
        }
    }
    if text(job, "/spec/completionMode") == "Indexed" {
        let done = indexes::format(&tally.completed_indexes(job));
        if !done.is_empty() {
            put("completedIndexes", done.into());
        }
    }
    put("uncountedTerminatedPods", uncounted(tally));
    put("ready", tally.ready.into());
    put("terminating", tally.going.into());
    let fresh = Value::Object(fresh);
    let changed = job.get("status") != Some(&fresh);
    (changed.then_some(fresh), if changed { events } else { Vec::new() })
}

fn uncounted(tally: &Tally) -> Value {
    let (mut succeeded, mut failed) = tally.kept.clone();
    for pod in &tally.fresh {
        let list =
            if text(pod.value(), "/status/phase") == "Succeeded" { &mut succeeded } else { &mut failed };
        list.push(pod.uid.clone());
    }
    let mut out = Map::new();
    for (name, uids) in [("succeeded", succeeded), ("failed", failed)] {
        if !uids.is_empty() {
            out.insert(name.into(), uids.into());
        }
    }
    Value::Object(out)
}

/// A suspended Job has no start; one that is resumed starts anew.
fn suspension(
    job: &Value,
    conditions: &mut Vec<Value>,
    start: &mut Option<Value>,
    events: &mut Vec<(bool, &'static str, String)>,
    now: Timestamp,
) {
    let was = condition(job, "Suspended").map(|c| c["status"] == "True");
    if job["spec"]["suspend"] == true {
        *start = None;
        if was != Some(true) {
            set(conditions, "Suspended", "JobSuspended", "Job suspended", now);
            events.push((false, "Suspended", "Job suspended".to_owned()));
        }
        return;
    }
    if was == Some(true) {
        set(conditions, "Suspended", "JobResumed", "Job resumed", now);
        if let Some(condition) = conditions.iter_mut().find(|c| c["type"] == "Suspended") {
            condition["status"] = "False".into();
        }
        events.push((false, "Resumed", "Job resumed".to_owned()));
        *start = None;
    }
    if start.is_none() {
        *start = Some(format_seconds(now).into());
    }
}

fn set(conditions: &mut Vec<Value>, kind: &str, reason: &str, message: &str, now: Timestamp) {
    if conditions.iter().any(|c| c["type"] == kind && c["status"] == "True" && c["reason"] == reason) {
        return;
    }
    let now = format_seconds(now);
    conditions.retain(|c| c["type"] != kind);
    conditions.push(json!({"type": kind, "status": "True", "lastProbeTime": now, "lastTransitionTime": now,
        "reason": reason, "message": message}));
}
