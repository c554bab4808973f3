//! The status of a Job, which others than our controller may write too.
//!
//! Invariant: what the status said wrongly before may stay as it is; what is made wrong is refused.

use std::collections::BTreeSet;

use serde_json::Value;

use super::policies::{count_indexes, interval};
use crate::field::Path;
use crate::validation::fields::Fields;
use crate::validation::report::Report;

pub(in crate::validation) fn job_status(report: &mut Report, new: &Value, old: &Value) {
    let path = Path::new("status");
    let status = &new["status"];
    for name in ["active", "succeeded", "failed", "ready", "terminating"] {
        report.non_negative(&path.child(name), status.number(name));
    }
    uncounted(report, status, &path.child("uncountedTerminatedPods"));
    let mut before = Report::default();
    state(&mut before, old, &path);
    let before = before.finish();
    let mut now = Report::default();
    state(&mut now, new, &path);
    now.finish()
        .into_iter()
        .filter(|error| {
            !before.iter().any(|known| known.field == error.field && known.detail == error.detail)
        })
        .for_each(|error| report.push(error));
    change(report, new, old, &path);
}

fn uncounted(report: &mut Report, status: &Value, path: &Path) {
    let mut seen = BTreeSet::new();
    for list in ["succeeded", "failed"] {
        for (index, uid) in status["uncountedTerminatedPods"].texts(list).enumerate() {
            let path = path.child(list).index(index);
            if uid.is_empty() {
                report.invalid(&path, uid, "must not be empty");
            } else if !seen.insert(uid) {
                report.duplicate(&path, uid);
            }
        }
    }
}

fn is_true(job: &Value, kind: &str) -> bool {
    let mut conditions = job["status"].list("conditions").iter();
    conditions.any(|condition| condition["type"] == kind && condition["status"] == "True")
}

/// What a status may not say at once.
fn state(report: &mut Report, job: &Value, path: &Path) {
    let status = &job["status"];
    let is = |kind: &str| is_true(job, kind);
    let (complete, failed) = (is("Complete"), is("Failed"));
    let conditions = path.child("conditions");
    for (wrong, why) in [
        (complete && failed, "cannot set Complete=True and Failed=true conditions"),
        (complete && is("FailureTarget"), "cannot set Complete=True and FailureTarget=true conditions"),
        (
            failed && !is("FailureTarget"),
            "cannot set Failed=True condition without the FailureTarget=true condition",
        ),
        (
            complete && !is("SuccessCriteriaMet"),
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        ),
        (is("SuccessCriteriaMet") && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
        (
            is("SuccessCriteriaMet") && is("FailureTarget"),
            "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
        ),
    ] {
        if wrong {
            report.invalid_rule(&conditions, why);
        }
    }
    times(report, status, complete, path);
    if job["spec"].part("successPolicy").is_some() && complete && !is("SuccessCriteriaMet") {
        let why = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        report.invalid_rule(&conditions, why);
    }
    counts(report, status, complete || failed, path);
    indexes(report, job, path);
}

fn times(report: &mut Report, status: &Value, complete: bool, path: &Path) {
    let at = |name: &str| status.part(name).and_then(Value::as_str);
    let path = path.child("completionTime");
    match at("completionTime") {
        Some(completion) if !complete => {
            let why = "cannot set completionTime when there is no Complete=True condition";
            report.invalid(&path, completion, why);
        }
        Some(completion) => {
            let parse = |text: &str| text.parse::<jiff::Timestamp>().ok();
            let start = at("startTime").and_then(parse);
            if parse(completion).zip(start).is_some_and(|(completion, start)| completion < start) {
                report.invalid(&path, completion, "must be equal to or after `startTime`");
            }
        }
        None if complete => report.required(&path, "completionTime is required for Complete jobs"),
        None => {}
    }
}

fn counts(report: &mut Report, status: &Value, finished: bool, path: &Path) {
    let many = |name: &str| status.number(name).unwrap_or_default();
    if finished {
        if many("active") > 0 {
            report.invalid(&path.child("active"), many("active"), "active>0 is invalid for finished job");
        }
        if status.part("startTime").is_none() {
            report.required(&path.child("startTime"), "startTime is required for finished job");
        }
        let uncounted = &status["uncountedTerminatedPods"];
        if uncounted.list("failed").len() + uncounted.list("succeeded").len() > 0 {
            let why = "must be empty for finished job";
            report.invalid(&path.child("uncountedTerminatedPods"), uncounted.clone(), why);
        }
        if many("terminating") > 0 {
            let why = "terminating>0 is invalid for finished job";
            report.invalid(&path.child("terminating"), many("terminating"), why);
        }
    }
    if many("ready") > many("active") {
        report.invalid(&path.child("ready"), many("ready"), "cannot set more ready pods than active");
    }
}

fn indexes(report: &mut Report, job: &Value, path: &Path) {
    let (spec, status) = (&job["spec"], &job["status"]);
    let completed = status.text("completedIndexes");
    let failed = status.part("failedIndexes").and_then(Value::as_str);
    let (completed_path, failed_path) = (path.child("completedIndexes"), path.child("failedIndexes"));
    let per_index = spec.number("backoffLimitPerIndex").is_some();
    if let Some(completions) = spec.number("completions") {
        if let Err(why) = count_indexes(completed, completions) {
            let why = format!("error parsing completedIndexes: {why}");
            report.invalid(&completed_path, completed, why);
        }
        if let Some(failed) = failed.filter(|_| per_index)
            && let Err(why) = count_indexes(failed, completions)
        {
            report.invalid(&failed_path, failed, format!("error parsing failedIndexes: {why}"));
        }
        if let Some(failed) = failed
            && let Some(index) = overlap(completed, failed, completions)
        {
            let why = format!("failedIndexes and completedIndexes overlap at index: {index}");
            report.invalid(&failed_path, failed, why);
        }
    }
    if !completed.is_empty() && spec.text("completionMode") != "Indexed" {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        report.invalid(&completed_path, completed, why);
    }
    if let Some(failed) = failed.filter(|_| !per_index) {
        let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        report.invalid(&failed_path, failed, why);
    }
}

/// The first index in both, found in one walk over two lists that should be in order; what cannot be read is passed over.
fn overlap<'a>(completed: &'a str, failed: &'a str, completions: i64) -> Option<i64> {
    let read = |text: &'a str| text.split(',').filter_map(move |part| interval(part, completions).ok());
    let (mut completed, mut failed) = (read(completed), read(failed));
    let (mut done, mut lost) = (completed.next()?, failed.next()?);
    loop {
        if done.0 <= lost.1 && lost.0 <= done.1 {
            return Some(done.0.max(lost.0));
        }
        if done.0 <= lost.0 {
            done = completed.next()?;
        } else {
            lost = failed.next()?;
        }
    }
}

/// What may not be taken back.
fn change(report: &mut Report, new: &Value, old: &Value, path: &Path) {
    let conditions = path.child("conditions");
    let stays = |kind: &str| is_true(old, kind) && !is_true(new, kind);
    for kind in ["Failed", "Complete", "FailureTarget"].into_iter().filter(|kind| stays(kind)) {
        report.invalid_rule(&conditions, &format!("cannot disable the terminal {kind}=True condition"));
    }
    let (spec, status, before) = (&new["spec"], &new["status"], &old["status"]);
    let many = |status: &Value, name: &str| status.number(name).unwrap_or_default();
    // An indexed Job whose completions follow its parallelism may become smaller.
    let elastic = spec.text("completionMode") == "Indexed" && spec["completions"] == spec["parallelism"];
    for name in ["failed", "succeeded"] {
        if many(status, name) < many(before, name) && !(elastic && name == "succeeded") {
            let why = format!("cannot decrease the {name} counter");
            report.invalid(&path.child(name), many(status, name), why);
        }
    }
    if let (Some(completion), Some(known)) = (status.part("completionTime"), before.part("completionTime"))
        && completion != known
    {
        report.immutable(&path.child("completionTime"), completion, known);
    }
    if let Some(known) = before.part("startTime")
        && status.part("startTime") != Some(known)
        && !spec.flag("suspend")
    {
        let why = "field is immutable for unsuspended job once set";
        report.invalid(&path.child("startTime"), status["startTime"].clone(), why);
    }
    if stays("SuccessCriteriaMet") {
        report.invalid_rule(&conditions, "cannot disable the SuccessCriteriaMet=True condition");
    }
    let met = |job: &Value| is_true(job, "SuccessCriteriaMet");
    if is_true(old, "Complete") && !met(old) && met(new) {
        let why = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        report.invalid_rule(&conditions, why);
    }
}
