//! The completion indexes of a Job: sets in their text form `0-2,5`, and what has become of each index. Pure.
//!
//! A pod that failed within an index keeps its finalizer until its replacement is there, which inherits the count.
//!
//! Reference: KEP-2214 (indexed Jobs), KEP-3850 (limits of failures per index).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::Object;
use serde_json::Value;

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

/// Reads the text form, of indexes below a bound; what cannot be read is left out.
pub(super) fn parse(text: &str, below: i64) -> BTreeSet<i64> {
    let mut all = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) {
            all.extend(first..=last.min(below - 1));
        }
    }
    all
}

/// The text form: runs of three and more, and of two as upstream has them, between dashes.
pub(super) fn format(indexes: &BTreeSet<i64>) -> String {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for index in indexes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => runs.push((*index, *index)),
        }
    }
    let shown = runs.into_iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    });
    shown.collect::<Vec<_>>().join(",")
}

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
    pub succeeded: BTreeSet<i64>,
    /// Where failures are counted per index: the indexes that have failed for good.
    pub failed: Option<BTreeSet<i64>>,
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
        let mut succeeded = parse(text(job, "/status/completedIndexes"), completions);
        let over = own.iter().filter(|pod| is_marked(pod));
        let well = over.clone().filter(|pod| text(pod.value(), "/status/phase") == "Succeeded");
        succeeded.extend(well.filter_map(|pod| valid(pod)));
        let mut all = Indexes { completions, succeeded, failed: None, waiting: BTreeMap::new() };
        let Some(limit) = job["spec"]["backoffLimitPerIndex"].as_i64() else { return Some(all) };
        let mut failed = parse(text(job, "/status/failedIndexes"), completions);
        let badly: Vec<_> = over.filter(|pod| policy::has_failed(job, pod.value())).collect();
        failed.extend(badly.iter().filter(|pod| fails_index(job, pod, limit)).filter_map(|pod| valid(pod)));
        failed.retain(|index| !all.succeeded.contains(index));
        let active: BTreeSet<i64> =
            own.iter().filter(|pod| pod::is_active(pod.value())).filter_map(|pod| valid(pod)).collect();
        for pod in badly {
            let Some(index) = valid(pod) else { continue };
            if all.succeeded.contains(&index) || failed.contains(&index) || active.contains(&index) {
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
        let free = (0..self.completions).filter(|index| {
            let failed = self.failed.as_ref().is_some_and(|failed| failed.contains(index));
            !failed && !taken.contains(index) && !self.succeeded.contains(index)
        });
        free.take(many).collect()
    }
}

fn fails_index(job: &Value, pod: &Object, limit: i64) -> bool {
    policy::verdict(job, pod) == Verdict::FailIndex || Failures::after(job, pod).counted > limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for text in ["", "0", "0,1", "0-2,5", "1,3,5-9"] {
            assert_eq!(format(&parse(text, 100)), text);
        }
        assert_eq!(format(&parse("1,3-9,12", 6)), "1,3-5");
    }
}
