//! Whether a Job is at its end, and why. Pure.
//!
//! ```text
//!   FailureTarget ──────► all pods over and counted ──► Failed
//!   SuccessCriteriaMet ─► all pods over and counted ──► Complete
//! ```
//!
//! What was decided stays so: the first condition carries reason and message to the last one.

use std::sync::Arc;

use client::Object;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::policy::{self, Verdict};
use super::tally::Tally;
use crate::fields::{condition, int, text, time};

/// Why a Job ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub failed: bool,
    pub reason: String,
    pub message: String,
}

impl End {
    fn failure(reason: &str, message: impl Into<String>) -> End {
        End { failed: true, reason: reason.to_owned(), message: message.into() }
    }

    /// As many as were asked for have succeeded.
    pub(super) fn complete() -> End {
        let message = "Reached expected number of succeeded pods".to_owned();
        End { failed: false, reason: "CompletionsReached".to_owned(), message }
    }
}

/// The end that pods need not be waited for: all but the number of successes.
pub(super) fn end(job: &Value, own: &[Arc<Object>], tally: &Tally, now: Timestamp) -> Option<End> {
    if let Some(known) = decided(job, "SuccessCriteriaMet", false) {
        return Some(known);
    }
    decided(job, "FailureTarget", true)
        .or_else(|| failed_by_rule(job, own))
        .or_else(|| past_limits(job, tally, now))
        .or_else(|| by_indexes(job, tally))
}

fn decided(job: &Value, kind: &str, failed: bool) -> Option<End> {
    let known = condition(job, kind).filter(|known| known["status"] == "True")?;
    let (reason, message) = (text(known, "/reason").to_owned(), text(known, "/message").to_owned());
    Some(End { failed, reason, message })
}

fn failed_by_rule(job: &Value, own: &[Arc<Object>]) -> Option<End> {
    let failed = own.iter().filter(|pod| policy::has_failed(job, pod.value()));
    let mut verdicts = failed.map(|pod| policy::verdict(job, pod));
    verdicts.find_map(|verdict| match verdict {
        Verdict::FailJob(message) => Some(End::failure("PodFailurePolicy", message)),
        _ => None,
    })
}

fn past_limits(job: &Value, tally: &Tally, now: Timestamp) -> Option<End> {
    let limit = int(job, "/spec/backoffLimit");
    let in_place = text(job, "/spec/template/spec/restartPolicy") == "OnFailure";
    let restarted = if limit == 0 { tally.restarts > 0 } else { tally.restarts >= limit };
    if tally.failed > limit || (in_place && restarted) {
        return Some(End::failure("BackoffLimitExceeded", "Job has reached the specified backoff limit"));
    }
    let seconds = job.pointer("/spec/activeDeadlineSeconds").and_then(Value::as_i64)?;
    let running = job["spec"]["suspend"] != true && job["status"]["startTime"].is_string();
    let passed = now.duration_since(time(job, "/status/startTime"));
    (running && passed >= SignedDuration::from_secs(seconds))
        .then(|| End::failure("DeadlineExceeded", "Job was active longer than specified deadline"))
}

fn by_indexes(job: &Value, tally: &Tally) -> Option<End> {
    let indexes = tally.indexes.as_ref()?;
    if let Some(failed) = &indexes.failed {
        let many = failed.len();
        if job["spec"]["maxFailedIndexes"].as_i64().is_some_and(|most| many > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return Some(End::failure("MaxFailedIndexesExceeded", message));
        }
        if many > 0 && many + indexes.succeeded.len() >= indexes.completions {
            return Some(End::failure("FailedIndexes", "Job has failed indexes"));
        }
    }
    let message = policy::success(job, &indexes.succeeded)?;
    Some(End { failed: false, reason: "SuccessPolicy".to_owned(), message })
}
