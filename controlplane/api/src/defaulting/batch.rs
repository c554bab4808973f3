//! Jobs and CronJobs.

use serde_json::{Value, json};

use super::{items, pod, set};

/// How often a Job's pods may fail, where nothing is said.
const BACKOFF_LIMIT: i64 = 6;

/// One pod that must succeed once.
pub(super) fn job(job: &mut Value) {
    let spec = &mut job["spec"];
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        set(spec, "completions", 1);
    }
    set(spec, "parallelism", 1);
    let per_index = spec["backoffLimitPerIndex"].is_i64();
    set(spec, "backoffLimit", if per_index { i64::from(i32::MAX) } else { BACKOFF_LIMIT });
    set(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    set(spec, "manualSelector", false);
    let failures = !spec["podFailurePolicy"].is_null();
    set(spec, "podReplacementPolicy", if failures { "Failed" } else { "TerminatingOrFailed" });
    if let Some(policy) = spec.get_mut("podFailurePolicy") {
        for rule in items(policy, "rules") {
            for pattern in items(rule, "onPodConditions") {
                // A field that is always there: nothing is the empty text.
                if pattern["status"].as_str().is_none_or(str::is_empty) {
                    pattern["status"] = "True".into();
                }
            }
        }
    }
    pod::spec(&mut spec["template"]["spec"]);
    let labels = spec["template"]["metadata"]["labels"].clone();
    let own = &job["metadata"]["labels"];
    if labels.is_object() && own.as_object().is_none_or(serde_json::Map::is_empty) {
        job["metadata"]["labels"] = labels;
    }
}

/// Runs as they come, and a few are kept.
pub(super) fn cron_job(cron_job: &mut Value) {
    let spec = &mut cron_job["spec"];
    set(spec, "concurrencyPolicy", "Allow");
    set(spec, "suspend", false);
    set(spec, "successfulJobsHistoryLimit", 3);
    set(spec, "failedJobsHistoryLimit", 1);
    if spec["jobTemplate"]["spec"].is_null() {
        spec["jobTemplate"]["spec"] = json!({});
    }
    pod::spec(&mut spec["jobTemplate"]["spec"]["template"]["spec"]);
}
