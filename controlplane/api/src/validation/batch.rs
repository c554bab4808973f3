//! Jobs and CronJobs.

use serde_json::Value;

use super::fields::{Fields, items};
use super::report::Report;
use super::{labels, pod};
use crate::cron::Schedule;
use crate::field::Path;
use crate::selector::LabelSelector;

/// A CronJob's name leaves room for what its Jobs' names add.
const CRON_NAME_MAX: usize = 52;
const INDEXED_PARALLELISM_MAX: i64 = 100_000;
const INDEXED_LIMIT_MAX: i64 = 100_000;

pub(super) fn job(report: &mut Report, job: &Value) {
    let (spec, path) = (&job["spec"], Path::new("spec"));
    let selector_path = path.child("selector");
    match spec.part("selector") {
        None => report.required(&selector_path, ""),
        Some(selector) => labels::selector(report, selector, &selector_path),
    }
    job_spec(report, spec, &path);
    if let Ok(selector) = LabelSelector::from_object(spec.get("selector")) {
        let found = spec["template"]["metadata"].get("labels");
        if !selector.matches(&found) {
            let why = "`selector` does not match template `labels`";
            let path = path.child("template").child("metadata").child("labels");
            report.invalid(&path, found.cloned().unwrap_or_default(), why);
        }
    }
}

fn job_spec(report: &mut Report, spec: &Value, path: &Path) {
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        report.non_negative(&path.child(name), spec.number(name));
    }
    completion_mode(report, spec, path);
    if let Some(policy) = spec.part("podReplacementPolicy") {
        let failures = spec.part("podFailurePolicy").is_some();
        let known: &[&str] = if failures { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
        if !known.contains(&policy.as_str().unwrap_or_default()) {
            report.not_supported(&path.child("podReplacementPolicy"), policy.clone(), known);
        }
    }
    if let Some(policy) = spec.part("podFailurePolicy") {
        failure_policy(report, policy, &path.child("podFailurePolicy"));
    }
    let template = path.child("template");
    pod::template(report, &spec["template"], &template);
    let policy_path = template.child("spec").child("restartPolicy");
    let policy = spec["template"]["spec"].text("restartPolicy");
    if policy == "Always" {
        report.required(&policy_path, "valid values: \"OnFailure\", \"Never\"");
    } else if spec.part("podFailurePolicy").is_some() && policy != "Never" {
        report.invalid(
            &policy_path,
            policy,
            "only \"Never\" is supported when podFailurePolicy is specified",
        );
    }
}

fn completion_mode(report: &mut Report, spec: &Value, path: &Path) {
    match spec.text("completionMode") {
        "" => {}
        "NonIndexed" => {
            for name in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(limit) = spec.number(name) {
                    report.invalid(&path.child(name), limit, "requires indexed completion mode");
                }
            }
        }
        "Indexed" => {
            let parallelism = spec.number("parallelism").unwrap_or_default();
            if spec.part("completions").is_none() {
                report.required(&path.child("completions"), "when completion mode is Indexed");
            }
            if parallelism > INDEXED_PARALLELISM_MAX {
                let why = format!(
                    "must be less than or equal to {INDEXED_PARALLELISM_MAX} when completion mode is Indexed"
                );
                report.invalid(&path.child("parallelism"), parallelism, why);
            }
            let most = spec.number("maxFailedIndexes").unwrap_or_default();
            if most > INDEXED_LIMIT_MAX {
                let why = format!("must be less than or equal to {INDEXED_LIMIT_MAX}");
                report.invalid(&path.child("maxFailedIndexes"), most, why);
            }
        }
        other => report.not_supported(&path.child("completionMode"), other, &["NonIndexed", "Indexed"]),
    }
}

fn failure_policy(report: &mut Report, policy: &Value, path: &Path) {
    for (path, rule) in items(policy, "rules", path) {
        report.one_of(
            &path.child("action"),
            rule.text("action"),
            &["Count", "FailIndex", "FailJob", "Ignore"],
        );
        let (codes, conditions) = (rule.part("onExitCodes"), rule.list("onPodConditions"));
        match (codes, conditions.is_empty()) {
            (Some(_), false) => {
                let why = "specifying both OnExitCodes and OnPodConditions is not supported";
                report.invalid(&path, Value::Null, why);
            }
            (None, true) => {
                report.invalid(
                    &path,
                    Value::Null,
                    "specifying one of OnExitCodes and OnPodConditions is required",
                );
            }
            _ => {}
        }
        if let Some(codes) = codes {
            let path = path.child("onExitCodes");
            report.one_of(&path.child("operator"), codes.text("operator"), &["In", "NotIn"]);
            if codes.list("values").is_empty() {
                report.required(&path.child("values"), "at least one value is required");
            }
        }
    }
}

pub(super) fn job_update(report: &mut Report, new: &Value, old: &Value) {
    let path = Path::new("spec");
    let (new, old) = (&new["spec"], &old["spec"]);
    let elastic =
        |spec: &Value| spec.text("completionMode") == "Indexed" && spec["completions"] == spec["parallelism"];
    if new["completions"] != old["completions"] && !(elastic(new) && elastic(old)) {
        report.immutable(&path.child("completions"), &new["completions"], &old["completions"]);
    }
    for name in [
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        report.immutable(&path.child(name), &new[name], &old[name]);
    }
    let mut template = new["template"].clone();
    // A Job that does not run yet may still be told where to run.
    if old.flag("suspend") {
        for name in ["affinity", "nodeSelector", "tolerations", "schedulingGates"] {
            put(&mut template["spec"], name, &old["template"]["spec"][name]);
        }
        put(&mut template["metadata"], "annotations", &old["template"]["metadata"]["annotations"]);
        put(&mut template["metadata"], "labels", &old["template"]["metadata"]["labels"]);
    }
    if template != old["template"] {
        report.immutable(&path.child("template"), &new["template"], &old["template"]);
    }
}

fn put(object: &mut Value, name: &str, value: &Value) {
    let Some(fields) = object.as_object_mut() else { return };
    if value.is_null() {
        fields.shift_remove(name);
    } else {
        fields.insert(name.to_owned(), value.clone());
    }
}

pub(super) fn job_status(report: &mut Report, job: &Value) {
    let (status, path) = (&job["status"], Path::new("status"));
    for name in ["active", "succeeded", "failed", "ready", "terminating"] {
        report.non_negative(&path.child(name), status.number(name));
    }
}

pub(super) fn cron_job(report: &mut Report, cron_job: &Value, old: Option<&Value>) {
    let name = cron_job["metadata"].text("name");
    if old.is_none() && name.len() > CRON_NAME_MAX {
        let why = format!("must be no more than {CRON_NAME_MAX} characters");
        report.invalid(&Path::new("metadata").child("name"), name, why);
    }
    let (spec, path) = (&cron_job["spec"], Path::new("spec"));
    schedule(report, spec, old.map(|old| old["spec"].text("schedule")), &path);
    for name in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        report.non_negative(&path.child(name), spec.number(name));
    }
    report.one_of(
        &path.child("concurrencyPolicy"),
        spec.text("concurrencyPolicy"),
        &["Allow", "Forbid", "Replace"],
    );
    let (template, template_path) = (&spec["jobTemplate"]["spec"], path.child("jobTemplate").child("spec"));
    if let Some(selector) = template.part("selector") {
        report.invalid(
            &template_path.child("selector"),
            selector.clone(),
            "`selector` will be auto-generated",
        );
    }
    if template.flag("manualSelector") {
        report.not_supported(&template_path.child("manualSelector"), true, &["nil", "false"]);
    }
    job_spec(report, template, &template_path);
}

fn schedule(report: &mut Report, spec: &Value, before: Option<&str>, path: &Path) {
    let (schedule, zone) = (spec.text("schedule"), spec.part("timeZone"));
    let schedule_path = path.child("schedule");
    if schedule.is_empty() {
        report.required(&schedule_path, "");
    } else if schedule.contains("TZ") && before != Some(schedule) {
        let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        report.invalid(&schedule_path, schedule, why);
    } else if let Err(why) = Schedule::parse(schedule) {
        report.invalid(&schedule_path, schedule, why);
    }
    let Some(zone) = zone.and_then(Value::as_str) else { return };
    let path = path.child("timeZone");
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+');
    if zone.is_empty() {
        report.invalid(&path, zone, "timeZone must be nil or non-empty string");
    } else if zone.eq_ignore_ascii_case("Local") {
        let why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        report.invalid(&path, zone, why);
    } else if !zone.chars().all(known) || zone.starts_with('/') {
        report.invalid(&path, zone, format!("unknown time zone {zone}"));
    }
}
