//! Jobs, pods, and what is to be done.

use super::*;
use client::Resource;
use serde_json::json;

const NOW: &str = "2026-01-01T01:00:00Z";

fn job(spec: Value, status: Value) -> Value {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"j": "x"}});
    spec["backoffLimit"] = spec["backoffLimit"].as_i64().unwrap_or(6).into();
    json!({"metadata": {"name": "j", "namespace": "n", "uid": "J"}, "spec": spec, "status": status})
}

fn pod(name: &str, phase: &str, marked: bool) -> Arc<Object> {
    let finalizers = if marked { json!([FINALIZER]) } else { json!([]) };
    Arc::new(Object::of(
        &Resource::PODS,
        json!({"metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"j": "x"}, "finalizers": finalizers,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [{"kind": "Job", "uid": "J", "controller": true}]},
            "spec": {"nodeName": "x"}, "status": {"phase": phase}}),
    ))
}

fn planned(job: &Value, pods: Vec<Arc<Object>>) -> Plan {
    plan(job, &Observed { pods, may_manage: true, now: NOW.parse().unwrap() })
}

fn key(name: &str) -> Key {
    Key::new("n", name)
}

#[test]
fn as_many_as_are_missing() {
    let two = job(json!({"parallelism": 2, "completions": 3}), json!({}));
    assert_eq!(planned(&two, vec![]).steps, [Step::Create(2)]);
    assert_eq!(planned(&two, vec![pod("a", "Running", true)]).steps, [Step::Create(1)]);
    let nearly = job(json!({"parallelism": 2, "completions": 3}), json!({"succeeded": 2}));
    assert_eq!(planned(&nearly, vec![]).steps, [Step::Create(1)]);
    let fewer = job(json!({"parallelism": 0, "completions": 3}), json!({}));
    let steps = planned(&fewer, vec![pod("a", "Running", true)]).steps;
    assert_eq!(steps, [Step::Delete(vec![(key("a"), "a".into())])]);
    let indexed = job(
        json!({"parallelism": 2, "completions": 4, "completionMode": "Indexed"}),
        json!({"completedIndexes": "1", "succeeded": 1}),
    );
    assert_eq!(planned(&indexed, vec![]).steps, [Step::CreateIndexes(vec![0, 2])]);
}

#[test]
fn a_pod_is_counted_once() {
    let spec = || json!({"parallelism": 1, "completions": 1});
    let first = planned(&job(spec(), json!({"startTime": NOW})), vec![pod("a", "Succeeded", true)]);
    let status = first.status.unwrap();
    assert_eq!(status["uncountedTerminatedPods"], json!({"succeeded": ["a"]}));
    assert!(status.get("succeeded").is_none());
    assert_eq!(status["conditions"][0]["type"], "SuccessCriteriaMet");
    assert_eq!(first.steps, [Step::Unmark { pod: key("a") }]);
    // The finalizer is gone.
    let second = planned(&job(spec(), status), vec![pod("a", "Succeeded", false)]);
    let status = second.status.unwrap();
    assert_eq!((&status["succeeded"], &status["uncountedTerminatedPods"]), (&json!(1), &json!({})));
    assert_eq!(status["conditions"][1]["type"], "Complete");
    assert_eq!(status["completionTime"], NOW);
    assert_eq!(second.events, [(false, "Completed", "Job completed".to_owned())]);
    // And then nothing more.
    let third = planned(&job(spec(), status), vec![pod("a", "Succeeded", false)]);
    assert!(third.status.is_none() && third.steps.is_empty());
}

#[test]
fn failures_end_it() {
    let spec = json!({"parallelism": 1, "completions": 1, "backoffLimit": 1});
    let failed = job(spec.clone(), json!({"startTime": NOW, "failed": 2}));
    let status = planned(&failed, vec![]).status.unwrap();
    let kinds: Vec<_> = list(&status, "/conditions").iter().map(|c| text(c, "/type")).collect();
    assert_eq!(kinds, ["FailureTarget", "Failed"]);
    assert_eq!(status["conditions"][1]["reason"], "BackoffLimitExceeded");
    let late = job(
        json!({"parallelism": 1, "activeDeadlineSeconds": 5}),
        json!({"startTime": "2026-01-01T00:59:50Z"}),
    );
    let plan = planned(&late, vec![pod("a", "Running", true)]);
    assert_eq!(plan.steps, [Step::Delete(vec![(key("a"), "a".into())])]);
    assert_eq!(plan.status.unwrap()["conditions"][0]["reason"], "DeadlineExceeded");
}

#[test]
fn a_failed_pod_is_replaced_later() {
    let mut broken = pod("a", "Failed", false).value().clone();
    broken["status"]["containerStatuses"] =
        json!([{"state": {"terminated": {"finishedAt": "2026-01-01T00:59:56Z"}}}]);
    let broken = Arc::new(Object::of(&Resource::PODS, broken));
    let plan = planned(
        &job(json!({"parallelism": 1, "completions": 1}), json!({"failed": 1, "startTime": NOW})),
        vec![broken],
    );
    assert_eq!((plan.steps, plan.look_again), (vec![], Some(Duration::from_secs(6))));
}

#[test]
fn a_suspended_job_has_no_pods() {
    let spec = json!({"parallelism": 1, "completions": 1, "suspend": true});
    let plan = planned(&job(spec, json!({"startTime": NOW})), vec![pod("a", "Running", true)]);
    assert_eq!(plan.steps, [Step::Delete(vec![(key("a"), "a".into())])]);
    let status = plan.status.unwrap();
    assert_eq!(status["conditions"][0]["reason"], "JobSuspended");
    assert!(status.get("startTime").is_none());
}
