//! Jobs and CronJobs.

use serde_json::Value;

use super::{AGE, Column, NAME, age, containers, flag, list, name, number, or, selector, since, text, wide};

pub(super) const JOB: &[Column] = &[
    NAME,
    text("Status"),
    text("Completions"),
    text("Duration"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

pub(super) fn job(job: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let (spec, status) = (&job["spec"], &job["status"]);
    let [names, images] = containers(&spec["template"]);
    let done = status["succeeded"].as_i64().unwrap_or(0);
    let completions = match (spec["completions"].as_i64(), spec["parallelism"].as_i64().unwrap_or(0)) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, parallelism) if parallelism > 1 => format!("{done}/1 of {parallelism}"),
        (None, _) => format!("{done}/1"),
    };
    vec![
        name(job),
        state(job).into(),
        completions.into(),
        duration(status, now).into(),
        age(job, now),
        names,
        images,
        selector(spec.get("selector")),
    ]
}

fn state(job: &Value) -> &'static str {
    let holds = |wanted: &str| {
        list(&job["status"], "conditions").any(|c| c["type"] == wanted && c["status"] == "True")
    };
    if holds("Complete") {
        return "Complete";
    }
    if holds("Failed") {
        return "Failed";
    }
    if job["metadata"]["deletionTimestamp"].is_string() {
        return "Terminating";
    }
    let others = ["Suspended", "FailureTarget", "SuccessCriteriaMet"];
    others.into_iter().find(|kind| holds(kind)).unwrap_or("Running")
}

fn duration(status: &Value, now: jiff::Timestamp) -> String {
    if !status["startTime"].is_string() {
        return String::new();
    }
    let end = status["completionTime"].as_str().and_then(|end| end.parse().ok()).unwrap_or(now);
    since(&status["startTime"], end)
}

pub(super) const CRON_JOB: &[Column] = &[
    NAME,
    text("Schedule"),
    text("Timezone"),
    flag("Suspend"),
    number("Active"),
    text("Last Schedule"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

pub(super) fn cron_job(job: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let (spec, status) = (&job["spec"], &job["status"]);
    let template = &spec["jobTemplate"]["spec"];
    let [names, images] = containers(&template["template"]);
    let last = &status["lastScheduleTime"];
    let suspend = match spec["suspend"].as_bool() {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    vec![
        name(job),
        or(&spec["schedule"], ""),
        or(&spec["timeZone"], "<none>"),
        suspend.into(),
        list(status, "active").count().into(),
        if last.is_string() { since(last, now).into() } else { "<none>".into() },
        age(job, now),
        names,
        images,
        selector(template.get("selector")),
    ]
}
