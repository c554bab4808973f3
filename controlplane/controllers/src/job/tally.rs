//! What has become of a Job's pods. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use client::Object;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::indexes::Indexes;
use super::plan::is_marked;
use super::policy::{self, Verdict};
use crate::fields::{condition, int, is_deleting, list, text, time};
use crate::pod;

/// The pods of a Job by what has become of them.
pub(super) struct Tally {
    /// Neither over nor on their way out.
    pub active: Vec<Arc<Object>>,
    /// On their way out, and not over.
    pub terminating: usize,
    /// All successes: counted, written down, fresh.
    pub succeeded: i64,
    /// All failures that count: counted, written down, fresh.
    pub failed: i64,
    /// Restarts of containers of pods that are restarted in place.
    pub restarts: i64,
    pub indexes: Option<Indexes>,
    /// Failures since the last success, and when the last one was.
    pub failures_in_a_row: Option<(u32, Timestamp)>,
    /// Uids written down whose pods still carry their finalizer.
    pub kept: Written,
    /// Uids written down whose pods are rid of it: to be counted.
    pub counted: (i64, i64),
}

/// Uids of pods that are over, by how they ended.
#[derive(Clone, Default)]
pub(super) struct Written {
    pub succeeded: Vec<String>,
    pub failed: Vec<String>,
}

impl Written {
    pub(super) fn holds(&self, uid: &str) -> bool {
        self.succeeded.iter().chain(&self.failed).any(|known| known == uid)
    }

    pub(super) fn len(&self) -> usize {
        self.succeeded.len() + self.failed.len()
    }
}

impl Tally {
    pub(super) fn of(job: &Value, own: &[Arc<Object>]) -> Tally {
        let marked: BTreeSet<&str> =
            own.iter().filter(|pod| is_marked(pod)).map(|pod| pod.uid.as_str()).collect();
        let split = |field: &str| -> (Vec<String>, i64) {
            let all = list(job, &format!("/status/uncountedTerminatedPods/{field}"));
            let kept = all.iter().filter_map(Value::as_str).filter(|uid| marked.contains(uid));
            let kept: Vec<String> = kept.map(str::to_owned).collect();
            let counted = (all.len() - kept.len()) as i64;
            (kept, counted)
        };
        let ((well, counted_well), (badly, counted_badly)) = (split("succeeded"), split("failed"));
        let mut tally = Tally {
            active: Vec::new(),
            terminating: 0,
            succeeded: int(job, "/status/succeeded") + counted_well + well.len() as i64,
            failed: int(job, "/status/failed") + counted_badly + badly.len() as i64,
            restarts: 0,
            indexes: Indexes::of(job, own),
            failures_in_a_row: failures_in_a_row(own),
            kept: Written { succeeded: well, failed: badly },
            counted: (counted_well, counted_badly),
        };
        for pod in own {
            tally.add(job, pod);
        }
        if let Some(indexes) = &tally.indexes {
            tally.succeeded = indexes.succeeded.len();
        }
        tally
    }

    fn add(&mut self, job: &Value, pod: &Arc<Object>) {
        let value = pod.value();
        let fresh = is_marked(pod) && !self.kept.holds(&pod.uid) && self.is_valid(pod);
        if text(value, "/status/phase") == "Succeeded" {
            self.succeeded += i64::from(fresh);
        } else if policy::has_failed(job, value) && fresh && policy::verdict(job, pod) != Verdict::Ignore {
            self.failed += 1;
        }
        if pod::is_over(value) {
            return;
        }
        if text(job, "/spec/template/spec/restartPolicy") == "OnFailure" {
            let statuses = ["/status/containerStatuses", "/status/initContainerStatuses"];
            let statuses = statuses.iter().flat_map(|statuses| list(value, statuses));
            self.restarts += statuses.filter_map(|status| status["restartCount"].as_i64()).sum::<i64>();
        }
        if is_deleting(value) {
            self.terminating += 1;
        } else {
            self.active.push(pod.clone());
        }
    }

    /// A pod of an indexed Job has an index that the Job has.
    pub(super) fn is_valid(&self, pod: &Object) -> bool {
        let index = super::indexes::index_of(pod.value());
        self.indexes.as_ref().is_none_or(|known| index.is_some_and(|index| index < known.completions))
    }
}

/// When a pod ended, as well as can be told.
pub(super) fn finished_at(pod: &Value) -> Timestamp {
    let statuses = list(pod, "/status/containerStatuses").iter();
    let last = statuses.map(|status| time(status, "/state/terminated/finishedAt")).max();
    if let Some(last) = last.filter(|at| *at != Timestamp::UNIX_EPOCH) {
        return last;
    }
    if let Some(unready) = condition(pod, "Ready").filter(|ready| ready["status"] == "False") {
        return time(unready, "/lastTransitionTime");
    }
    if is_deleting(pod) {
        let grace = SignedDuration::from_secs(int(pod, "/metadata/deletionGracePeriodSeconds"));
        let ends = time(pod, "/metadata/deletionTimestamp");
        // Whoever deletes says how long: longer than there is time.
        return ends.checked_sub(grace).unwrap_or(ends);
    }
    time(pod, "/metadata/creationTimestamp")
}

fn failures_in_a_row(own: &[Arc<Object>]) -> Option<(u32, Timestamp)> {
    let of = |phase: &str| {
        let phase = phase.to_owned();
        let ended = own.iter().filter(move |pod| text(pod.value(), "/status/phase") == phase);
        ended.map(|pod| finished_at(pod.value()))
    };
    let success = of("Succeeded").max().unwrap_or(Timestamp::UNIX_EPOCH);
    let failures: Vec<Timestamp> = of("Failed").filter(|at| *at > success).collect();
    let last = failures.iter().max().copied()?;
    Some((u32::try_from(failures.len()).unwrap_or(u32::MAX), last))
}
