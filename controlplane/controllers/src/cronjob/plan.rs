//! Which Jobs a CronJob starts, ends and forgets. Pure but for the zone's rules.

use std::sync::Arc;
use std::time::Duration;

use api::cron::Schedule;
use api::meta::Meta;
use api::time::format_seconds;
use client::{Object, Resource};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::fields::{condition, controller_reference, int, is_deleting, list, text, time};
use crate::job::is_finished as job_is_finished;

/// When the Job was due, in an annotation.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// More times than this were missed: something is wrong with the clock or the schedule.
const MOST_MISSED: usize = 100;
/// A Job that was made a moment ago may not be seen yet.
const UNSEEN: SignedDuration = SignedDuration::from_secs(10);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Create { job: Value, at: String },
    Delete { name: String, uid: String },
}

pub(super) struct Plan {
    pub steps: Vec<Step>,
    pub status: Value,
    /// Whether it is a warning, reason, message.
    pub events: Vec<(bool, &'static str, String)>,
    pub look_again: Option<Duration>,
}

pub(super) fn plan(cron_job: &Value, jobs: &[Arc<Object>], now: Timestamp) -> Plan {
    let mut plan = Plan {
        steps: Vec::new(),
        status: cron_job.get("status").cloned().unwrap_or_else(|| json!({})),
        events: Vec::new(),
        look_again: None,
    };
    note_ends(cron_job, jobs, now, &mut plan);
    forget_old(cron_job, jobs, &mut plan.steps);
    if is_deleting(cron_job) || cron_job["spec"]["suspend"] == true {
        return plan;
    }
    let (schedule, zone) = match (schedule(cron_job), zone(cron_job)) {
        (Ok(schedule), Ok(zone)) => (schedule, zone),
        (Err(why), _) => {
            plan.events.push((true, "UnparseableSchedule", format!("unparseable schedule: {why}")));
            return plan;
        }
        (_, Err(why)) => {
            plan.events.push((true, "UnknownTimeZone", format!("invalid timeZone: {why}")));
            return plan;
        }
    };
    if let Some(next) = schedule.next(now, &zone) {
        let next = next.duration_since(now).unsigned_abs();
        plan.look_again = Some(plan.look_again.map_or(next, |soon| soon.min(next)));
    }
    if let Some(due) = due(cron_job, &schedule, &zone, now, &mut plan.events) {
        start(cron_job, jobs, (due, &zone), &mut plan);
    }
    plan
}

fn schedule(cron_job: &Value) -> Result<Schedule, String> {
    Schedule::parse(text(cron_job, "/spec/schedule"))
}

fn zone(cron_job: &Value) -> Result<TimeZone, String> {
    match text(cron_job, "/spec/timeZone") {
        "" => Ok(TimeZone::UTC),
        name => TimeZone::get(name).map_err(|error| error.to_string()),
    }
}

/// The last time that has come and was not served.
fn due(
    cron_job: &Value,
    schedule: &Schedule,
    zone: &TimeZone,
    now: Timestamp,
    events: &mut Vec<(bool, &'static str, String)>,
) -> Option<Timestamp> {
    let served =
        time(cron_job, "/status/lastScheduleTime").max(time(cron_job, "/metadata/creationTimestamp"));
    let mut from = served;
    if let Some(seconds) = cron_job.pointer("/spec/startingDeadlineSeconds").and_then(Value::as_i64) {
        from = from.max(now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(from));
    }
    let (mut due, mut missed) = (None, 0);
    let mut at = from;
    while let Some(next) = schedule.next(at, zone).filter(|next| *next <= now) {
        (due, at, missed) = (Some(next), next, missed + 1);
        if missed > MOST_MISSED {
            // Far behind: the last one is found by coming from nearby.
            let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            if !events.iter().any(|(_, reason, _)| *reason == "TooManyMissedTimes") {
                events.push((true, "TooManyMissedTimes", message.to_owned()));
            }
            let near = now.checked_sub(SignedDuration::from_hours(1)).unwrap_or(at);
            at = at.max(near);
            missed = 0;
            if schedule.next(at, zone).is_none_or(|next| next > now) {
                break;
            }
        }
    }
    due
}

fn start(cron_job: &Value, jobs: &[Arc<Object>], (due, zone): (Timestamp, &TimeZone), plan: &mut Plan) {
    let active: Vec<&Arc<Object>> = jobs.iter().filter(|job| !job_is_finished(job.value())).collect();
    let name = format!("{}-{}", Meta::of(cron_job).name(), due.as_second() / 60);
    if jobs.iter().any(|job| job.key.name == name) {
        return;
    }
    match text(cron_job, "/spec/concurrencyPolicy") {
        "Forbid" if !active.is_empty() => {
            let message =
                "Not starting job because prior execution is running and concurrency policy is Forbid";
            plan.events.push((false, "JobAlreadyActive", message.to_owned()));
            return;
        }
        "Replace" => {
            let gone =
                active.iter().map(|job| Step::Delete { name: job.key.name.clone(), uid: job.uid.clone() });
            plan.steps.extend(gone);
        }
        _ => {}
    }
    let at = format_seconds(due);
    plan.steps.push(Step::Create { job: job_of(cron_job, &name, &local(due, zone)), at });
}

/// The time as it is in the zone of the schedule.
fn local(at: Timestamp, zone: &TimeZone) -> String {
    let shown = at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    shown.strip_suffix("+00:00").map_or(shown.clone(), |utc| format!("{utc}Z"))
}

fn job_of(cron_job: &Value, name: &str, at: &str) -> Value {
    let template = &cron_job["spec"]["jobTemplate"];
    let mut annotations = template["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.insert(SCHEDULED.into(), at.into());
    let mut metadata = json!({"name": name, "namespace": Meta::of(cron_job).namespace(), "annotations": annotations,
        "ownerReferences": [controller_reference(&Resource::CRON_JOBS, cron_job)]});
    if let Some(labels) = template["metadata"].get("labels") {
        metadata["labels"] = labels.clone();
    }
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]})
}

/// Writes into the status that a Job has started.
pub(super) fn started(status: &mut Value, job: &Value, at: &str) {
    let meta = Meta::of(job);
    let reference = json!({"kind": "Job", "namespace": meta.namespace(), "name": meta.name(), "uid": meta.uid(),
        "apiVersion": "batch/v1", "resourceVersion": meta.resource_version()});
    let mut active = list(status, "/active").to_vec();
    active.push(reference);
    status["active"] = active.into();
    status["lastScheduleTime"] = at.into();
}

/// Takes Jobs that have ended, or are gone, from the list of active ones.
fn note_ends(cron_job: &Value, jobs: &[Arc<Object>], now: Timestamp, plan: &mut Plan) {
    let since_start = now.duration_since(time(cron_job, "/status/lastScheduleTime"));
    let mut left = Vec::new();
    let mut last = text(cron_job, "/status/lastSuccessfulTime").to_owned();
    for reference in list(cron_job, "/status/active") {
        let job = jobs.iter().find(|job| reference["uid"] == job.uid.as_str());
        match job {
            Some(job) if !job_is_finished(job.value()) => left.push(reference.clone()),
            Some(job) => {
                let failed = condition(job.value(), "Failed").is_some_and(|c| c["status"] == "True");
                let how = if failed { "Failed" } else { "Complete" };
                let message = format!("Saw completed job: {}, condition: {how}", job.key.name);
                plan.events.push((false, "SawCompletedJob", message));
            }
            None if since_start < UNSEEN => {
                left.push(reference.clone());
                plan.look_again = Some(UNSEEN.unsigned_abs());
            }
            None => {
                let message = format!("Active job went missing: {}", text(reference, "/name"));
                plan.events.push((false, "MissingJob", message));
            }
        }
    }
    for job in jobs.iter().filter(|job| !job_is_finished(job.value())) {
        // Started by an earlier life whose status was not written.
        if !left.iter().any(|reference| reference["uid"] == job.uid.as_str()) {
            let meta = job.meta();
            left.push(
                json!({"kind": "Job", "namespace": meta.namespace(), "name": meta.name(), "uid": meta.uid(),
                "apiVersion": "batch/v1", "resourceVersion": meta.resource_version()}),
            );
        }
    }
    for job in jobs {
        let completed = text(job.value(), "/status/completionTime");
        if completed > last.as_str() {
            completed.clone_into(&mut last);
        }
    }
    if let Some(fields) = plan.status.as_object_mut() {
        if left.is_empty() {
            fields.shift_remove("active");
        } else {
            fields.insert("active".into(), left.into());
        }
        if !last.is_empty() {
            fields.insert("lastSuccessfulTime".into(), last.into());
        }
    }
    // What the template's annotations say of the last time is true even where the status was not written.
    let scheduled = jobs.iter().filter_map(|job| job.value()["metadata"]["annotations"][SCHEDULED].as_str());
    let latest = scheduled.filter_map(|at| at.parse::<Timestamp>().ok()).max();
    if let Some(latest) = latest.filter(|at| *at > time(&plan.status, "/lastScheduleTime")) {
        plan.status["lastScheduleTime"] = format_seconds(latest).into();
    }
}

/// The oldest of the Jobs that have ended, beyond what is to be kept.
fn forget_old(cron_job: &Value, jobs: &[Arc<Object>], steps: &mut Vec<Step>) {
    for (kind, limit) in [("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")] {
        if cron_job["spec"][limit].is_null() {
            continue;
        }
        let keep = usize::try_from(int(cron_job, &format!("/spec/{limit}"))).unwrap_or(0);
        let mut ended: Vec<&Arc<Object>> = jobs
            .iter()
            .filter(|job| condition(job.value(), kind).is_some_and(|c| c["status"] == "True"))
            .collect();
        ended.sort_by_key(|job| (time(job.value(), "/status/startTime"), job.key.name.clone()));
        let surplus = ended.len().saturating_sub(keep);
        let gone = ended.into_iter().take(surplus);
        steps.extend(gone.map(|job| Step::Delete { name: job.key.name.clone(), uid: job.uid.clone() }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-01T10:00:30Z";

    fn cron_job(policy: &str, status: Value) -> Value {
        json!({"metadata": {"name": "c", "namespace": "n", "uid": "C", "creationTimestamp": "2026-01-01T09:58:30Z"},
            "spec": {"schedule": "* * * * *", "concurrencyPolicy": policy, "successfulJobsHistoryLimit": 1,
                "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {}}}}, "status": status})
    }

    fn job(name: &str, condition: Option<&str>, start: &str) -> Arc<Object> {
        let conditions = condition.map_or(json!([]), |kind| json!([{"type": kind, "status": "True"}]));
        Arc::new(Object::of(
            &Resource::JOBS,
            json!({"metadata": {"name": name, "namespace": "n", "uid": name}, "status": {"conditions": conditions,
                "startTime": start}}),
        ))
    }

    fn names(steps: &[Step]) -> Vec<String> {
        let one = |step: &Step| match step {
            Step::Create { job, at } => format!("+{} {at}", Meta::of(job).name()),
            Step::Delete { name, .. } => format!("-{name}"),
        };
        steps.iter().map(one).collect()
    }

    fn check(cron_job: &Value, jobs: &[Arc<Object>], expect: &[&str]) -> Plan {
        let plan = plan(cron_job, jobs, NOW.parse().unwrap());
        assert_eq!(names(&plan.steps), expect);
        plan
    }

    #[test]
    fn the_last_missed_time_is_served() {
        let plan = check(&cron_job("Allow", json!({})), &[], &["+c-29454360 2026-01-01T10:00:00Z"]);
        assert_eq!(plan.look_again, Some(Duration::from_secs(30)));
        let served = cron_job("Allow", json!({"lastScheduleTime": "2026-01-01T10:00:00Z"}));
        check(&served, &[], &[]);
        let mut suspended = cron_job("Allow", json!({}));
        suspended["spec"]["suspend"] = true.into();
        check(&suspended, &[], &[]);
    }

    #[test]
    fn a_zone_is_said_and_a_long_sleep_is_told() {
        let mut zoned = cron_job("Allow", json!({}));
        zoned["spec"]["timeZone"] = "Asia/Tokyo".into();
        let plan = check(&zoned, &[], &["+c-29454360 2026-01-01T10:00:00Z"]);
        let Step::Create { job, .. } = &plan.steps[0] else { panic!("a Job is made") };
        assert_eq!(job["metadata"]["annotations"][SCHEDULED], "2026-01-01T19:00:00+09:00");
        let mut late = cron_job("Allow", json!({}));
        late["metadata"]["creationTimestamp"] = "2025-12-30T00:00:00Z".into();
        let plan = check(&late, &[], &["+c-29454360 2026-01-01T10:00:00Z"]);
        assert_eq!(plan.events.iter().filter(|(_, reason, _)| *reason == "TooManyMissedTimes").count(), 1);
        let gone = json!({"lastScheduleTime": "2026-01-01T10:00:00Z", "active": [{"uid": "x", "name": "x"}]});
        let plan = check(&cron_job("Allow", gone), &[], &[]);
        assert_eq!(plan.events, [(false, "MissingJob", "Active job went missing: x".to_owned())]);
    }

    #[test]
    fn concurrency() {
        let running = job("r", None, "2026-01-01T09:59:00Z");
        let plan = check(&cron_job("Forbid", json!({})), std::slice::from_ref(&running), &[]);
        assert_eq!(plan.events[0].1, "JobAlreadyActive");
        assert_eq!(plan.status["active"][0]["name"], "r");
        check(
            &cron_job("Replace", json!({})),
            std::slice::from_ref(&running),
            &["-r", "+c-29454360 2026-01-01T10:00:00Z"],
        );
        check(&cron_job("Allow", json!({})), &[running], &["+c-29454360 2026-01-01T10:00:00Z"]);
    }

    #[test]
    fn history_is_short() {
        let served = json!({"lastScheduleTime": "2026-01-01T10:00:00Z", "active": [{"uid": "b"}]});
        let done = [
            job("a", Some("Complete"), "2026-01-01T09:00:00Z"),
            job("b", Some("Complete"), "2026-01-01T09:01:00Z"),
        ];
        let plan = check(&cron_job("Allow", served), &done, &["-a"]);
        assert_eq!(plan.events[0].2, "Saw completed job: b, condition: Complete");
        assert!(plan.status.get("active").is_none());
    }
}
