//! The completion indexes of a Job: what has become of each. Pure.
//!
//! A pod that failed within an index keeps its finalizer until its replacement is there, which inherits the count.
//!
//! Reference: KEP-2214 (indexed Jobs), KEP-3850 (limits of failures per index).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::Object;
use serde_json::Value;

use super::index_set::IndexSet;
use super::plan::is_marked;
use super::policy::{self, Verdict};
use super::tally::finished_at;
use crate::fields::{int, text};
use crate::pod;

/// Which index a pod works on.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How often pods of the index failed before, those that count.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// And those that are to be ignored.
pub(super) const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// The completion index of a pod.
pub(super) fn index_of(pod: &Value) -> Option<i64> {
    pod["metadata"]["annotations"][INDEX].as_str()?.parse().ok().filter(|index| *index >= 0)
}

/// Failures that the pods of one index inherit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Failures {
    pub counted: i64,
    pub ignored: i64,
}

impl Failures {
    fn of(pod: &Value) -> Failures {
        let read = |name: &str| {
            pod["metadata"]["annotations"][name].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        Failures { counted: read(FAILURES), ignored: read(IGNORED) }
    }

    /// With the failure of the pod itself.
    pub(super) fn after(job: &Value, pod: &Object) -> Failures {
        let before = Failures::of(pod.value());
        match policy::verdict(job, pod) {
            Verdict::Ignore => Failures { ignored: before.ignored + 1, ..before },
            _ => Failures { counted: before.counted + 1, ..before },
        }
    }

    pub(super) fn all(self) -> i64 {
        self.counted + self.ignored
    }
}

/// What has become of the indexes of an indexed Job.
pub(super) struct Indexes {
    pub completions: i64,
    /// Those of pods that are not written down yet included.
    pub succeeded: IndexSet,
    /// Where failures are counted per index: the indexes that have failed for good.
    pub failed: Option<IndexSet>,
    /// The last failed pod of each index that waits for a replacement.
    pub waiting: BTreeMap<i64, Arc<Object>>,
}

impl Indexes {
    pub(super) fn of(job: &Value, own: &[Arc<Object>]) -> Option<Indexes> {
        if text(job, "/spec/completionMode") != "Indexed" {
            return None;
        }
        let completions = int(job, "/spec/completions");
        let valid = |pod: &Object| index_of(pod.value()).filter(|index| *index < completions);
        let mut succeeded = IndexSet::parse(text(job, "/status/completedIndexes"), completions);
        let over = own.iter().filter(|pod| is_marked(pod));
        let well = over.clone().filter(|pod| text(pod.value(), "/status/phase") == "Succeeded");
        well.filter_map(|pod| valid(pod)).for_each(|index| succeeded.insert(index));
        let mut all = Indexes { completions, succeeded, failed: None, waiting: BTreeMap::new() };
        let Some(limit) = job["spec"]["backoffLimitPerIndex"].as_i64() else { return Some(all) };
        let mut failed = IndexSet::parse(text(job, "/status/failedIndexes"), completions);
        let badly: Vec<_> = over.filter(|pod| policy::has_failed(job, pod.value())).collect();
        let for_good = badly.iter().filter(|pod| fails_index(job, pod, limit)).filter_map(|pod| valid(pod));
        for_good.for_each(|index| failed.insert(index));
        let failed = failed.without(&all.succeeded);
        let active: BTreeSet<i64> =
            own.iter().filter(|pod| pod::is_active(pod.value())).filter_map(|pod| valid(pod)).collect();
        for pod in badly {
            let Some(index) = valid(pod) else { continue };
            if all.succeeded.contains(index) || failed.contains(index) || active.contains(&index) {
                continue;
            }
            let last = all.waiting.entry(index).or_insert_with(|| pod.clone());
            let rank = |pod: &Object| (Failures::of(pod.value()).all(), finished_at(pod.value()));
            if rank(pod) >= rank(last) {
                *last = pod.clone();
            }
        }
        all.failed = Some(failed);
        Some(all)
    }

    /// The first indexes that have no pod and need one.
    pub(super) fn free(&self, active: &[Arc<Object>], many: usize) -> Vec<i64> {
        let taken: BTreeSet<i64> = active.iter().filter_map(|pod| index_of(pod.value())).collect();
        let over = |index| {
            let failed = self.failed.as_ref().and_then(|failed| failed.end_of_run(index));
            self.succeeded.end_of_run(index).max(failed)
        };
        let (mut free, mut index) = (Vec::new(), 0);
        while index < self.completions && free.len() < many {
            if let Some(last) = over(index) {
                index = last;
            } else if !taken.contains(&index) {
                free.push(index);
            }
            index += 1;
        }
        free
    }
}

fn fails_index(job: &Value, pod: &Object, limit: i64) -> bool {
    policy::verdict(job, pod) == Verdict::FailIndex || Failures::after(job, pod).counted > limit
}
