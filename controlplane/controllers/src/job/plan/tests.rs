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

/// The pod, with changes to it by pointer.
fn but(pod: &Arc<Object>, changes: Value) -> Arc<Object> {
    let mut value = pod.value().clone();
    for (pointer, change) in changes.as_object().unwrap() {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        value.pointer_mut(parent).unwrap()[name] = change.clone();
    }
    Arc::new(Object::of(&Resource::PODS, value))
}

/// A pod of an index that ended an hour ago, with the annotations of earlier failures.
fn of_index(name: &str, phase: &str, index: i64, failures: i64) -> Arc<Object> {
    let annotations = json!({super::super::indexes::INDEX: index.to_string(),
        super::super::indexes::FAILURES: failures.to_string()});
    but(&pod(name, phase, true), json!({"/metadata/annotations": annotations}))
}

fn exited(pod: &Arc<Object>, code: i64) -> Arc<Object> {
    let ended = json!([{"name": "c", "state": {"terminated": {"exitCode": code, "finishedAt": "2026-01-01T00:00:01Z"}}}]);
    but(pod, json!({"/status/containerStatuses": ended}))
}

fn slot(index: i64) -> Slot {
    Slot { index, failures: None }
}

fn inheriting(index: i64, counted: i64, ignored: i64) -> Slot {
    Slot { index, failures: Some(Failures { counted, ignored }) }
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
    // One that is taken back counts at once: it is not replaced.
    let orphan = but(&pod("a", "Running", true), json!({"/metadata/ownerReferences": []}));
    let plan = planned(&two, vec![orphan]);
    assert_eq!(plan.claims, [ClaimStep::Adopt { pod: key("a"), uid: "a".into() }]);
    assert_eq!(plan.steps, [Step::Create(1)]);
    let fewer = job(json!({"parallelism": 0, "completions": 3}), json!({}));
    let steps = planned(&fewer, vec![pod("a", "Running", true)]).steps;
    assert_eq!(steps, [Step::Discard(vec![(key("a"), "a".into())])]);
    let indexed = job(
        json!({"parallelism": 2, "completions": 4, "completionMode": "Indexed"}),
        json!({"completedIndexes": "1", "succeeded": 1}),
    );
    assert_eq!(planned(&indexed, vec![]).steps, [Step::CreateIndexes(vec![slot(0), slot(2)])]);
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
    assert_eq!(second.events, [(false, "Completed".into(), "Job completed".into())]);
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
    assert_eq!(plan.steps, [Step::Delete(vec![(key("a"), "a".into())]), Step::Unmark { pod: key("a") }]);
    let status = plan.status.unwrap();
    assert_eq!(status["conditions"][0]["reason"], "DeadlineExceeded");
    // What still ran has failed, and the Job has not until it is gone.
    assert_eq!(status["uncountedTerminatedPods"], json!({"failed": ["a"]}));
    assert_eq!(
        (&status["terminating"], status.get("active"), status["conditions"].as_array().unwrap().len()),
        (&json!(1), None, 1)
    );
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
    assert_eq!(plan.steps, [Step::Discard(vec![(key("a"), "a".into())])]);
    let status = plan.status.unwrap();
    assert_eq!(status["conditions"][0]["reason"], "JobSuspended");
    assert!(status.get("startTime").is_none());
}

fn reasons(status: &Value) -> Vec<(String, String)> {
    let all = list(status, "/conditions").iter();
    all.map(|c| (text(c, "/type").to_owned(), text(c, "/reason").to_owned())).collect()
}

fn pair(kind: &str, reason: &str) -> (String, String) {
    (kind.to_owned(), reason.to_owned())
}

#[test]
fn rules_say_what_a_failure_means() {
    let rule = |action: &str| {
        let rules = json!([{"action": action, "onExitCodes": {"operator": "In", "values": [42]}}]);
        job(
            json!({"parallelism": 2, "completions": 2, "podReplacementPolicy": "Failed", "podFailurePolicy": {"rules": rules}}),
            json!({"startTime": NOW}),
        )
    };
    let pods = || vec![exited(&pod("a", "Failed", true), 42), pod("b", "Running", true)];
    let failed = planned(&rule("FailJob"), pods());
    let unmark = |name: &str| Step::Unmark { pod: key(name) };
    assert_eq!(failed.steps, [Step::Delete(vec![(key("b"), "b".into())]), unmark("a"), unmark("b")]);
    let status = failed.status.unwrap();
    assert_eq!(reasons(&status), [pair("FailureTarget", "PodFailurePolicy")]);
    let message = "Container c for pod n/a failed with exit code 42 matching FailJob rule at index 0";
    assert_eq!(status["conditions"][0]["message"], message);
    assert_eq!(status["uncountedTerminatedPods"], json!({"failed": ["a", "b"]}));
    // The reason stays when the pods are gone.
    let mut over = rule("FailJob");
    over["status"] = status;
    let last = planned(&over, vec![]);
    let status = last.status.unwrap();
    assert_eq!(reasons(&status)[1], pair("Failed", "PodFailurePolicy"));
    assert_eq!(
        (status["failed"].as_i64(), &last.events),
        (Some(2), &vec![(true, "PodFailurePolicy".into(), message.into())])
    );
    let ignored = planned(&rule("Ignore"), pods());
    assert_eq!(ignored.steps, [Step::Create(1), unmark("a")]);
    assert_eq!(ignored.status.unwrap()["uncountedTerminatedPods"], json!({}));
    let counted = planned(&rule("Count"), pods());
    assert_eq!(counted.status.unwrap()["uncountedTerminatedPods"], json!({"failed": ["a"]}));
}

#[test]
fn failures_are_counted_per_index() {
    let spec = json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 1,
        "backoffLimit": i64::from(i32::MAX), "podReplacementPolicy": "TerminatingOrFailed"});
    let at = |status: Value| job(spec.clone(), status);
    let start = || json!({"startTime": NOW});
    let first = planned(&at(start()), vec![]);
    assert_eq!(first.steps, [Step::CreateIndexes((0..3).map(|index| inheriting(index, 0, 0)).collect())]);
    // The one that failed keeps its mark until its replacement is there.
    let failed = exited(&of_index("a", "Failed", 0, 0), 1);
    let others = || vec![of_index("b", "Running", 1, 0), of_index("c", "Running", 2, 0)];
    let mut pods = others();
    pods.push(failed.clone());
    let plan = planned(&at(start()), pods.clone());
    assert_eq!(plan.steps, [Step::CreateIndexes(vec![inheriting(0, 1, 0)])]);
    pods.push(of_index("d", "Pending", 0, 1));
    let plan = planned(&at(start()), pods);
    assert_eq!(plan.steps, [Step::Unmark { pod: key("a") }]);
    assert_eq!(plan.status.unwrap()["failedIndexes"], "");
    // A second failure is one too many for the index, not for the Job.
    let mut pods = others();
    pods.push(exited(&of_index("d", "Failed", 0, 1), 1));
    let plan = planned(&at(start()), pods);
    assert_eq!(plan.steps, [Step::Unmark { pod: key("d") }]);
    let status = plan.status.unwrap();
    assert_eq!((&status["failedIndexes"], reasons(&status)), (&json!("0"), vec![]));
    // All others have succeeded: it has failed.
    let status =
        planned(&at(json!({"startTime": NOW, "failedIndexes": "0", "completedIndexes": "1,2"})), vec![])
            .status;
    assert_eq!(
        reasons(&status.unwrap()),
        [pair("FailureTarget", "FailedIndexes"), pair("Failed", "FailedIndexes")]
    );
    let mut most = at(json!({"startTime": NOW, "failedIndexes": "0,1"}));
    most["spec"]["maxFailedIndexes"] = 1.into();
    let status = planned(&most, vec![]).status.unwrap();
    assert_eq!(reasons(&status)[0], pair("FailureTarget", "MaxFailedIndexesExceeded"));
    let mut rules = at(start());
    rules["spec"]["podFailurePolicy"] =
        json!({"rules": [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [1]}}]});
    let mut pods = others();
    pods.push(failed.clone());
    assert_eq!(planned(&rules, pods.clone()).status.unwrap()["failedIndexes"], "0");
    rules["spec"]["podFailurePolicy"]["rules"][0]["action"] = "Ignore".into();
    assert_eq!(planned(&rules, pods).steps, [Step::CreateIndexes(vec![inheriting(0, 0, 1)])]);
}

#[test]
fn a_success_policy_ends_it_early() {
    let spec = json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed",
        "successPolicy": {"rules": [{"succeededIndexes": "0"}]}});
    let pods = vec![of_index("a", "Succeeded", 0, 0), of_index("b", "Running", 1, 0)];
    let plan = planned(&job(spec.clone(), json!({"startTime": NOW})), pods);
    let unmark = |name: &str| Step::Unmark { pod: key(name) };
    assert_eq!(plan.steps, [Step::Delete(vec![(key("b"), "b".into())]), unmark("a"), unmark("b")]);
    let status = plan.status.unwrap();
    assert_eq!(reasons(&status), [pair("SuccessCriteriaMet", "SuccessPolicy")]);
    assert_eq!(status["uncountedTerminatedPods"], json!({}));
    // It is seen on its way out before its mark is gone.
    let going = but(&of_index("b", "Running", 1, 0), json!({"/metadata/deletionTimestamp": NOW}));
    let again =
        planned(&job(spec.clone(), status.clone()), vec![going]).status.unwrap_or_else(|| status.clone());
    assert_eq!(again["uncountedTerminatedPods"], json!({}));
    let plan = planned(&job(spec, status), vec![]);
    let status = plan.status.unwrap();
    assert_eq!(reasons(&status)[1], pair("Complete", "SuccessPolicy"));
    assert_eq!(status["conditions"][1]["message"], "Matched rules at index 0");
    assert_eq!((&status["succeeded"], &status["completedIndexes"]), (&json!(1), &json!("0")));
}

#[test]
fn replacements_wait_or_do_not() {
    let going = || but(&pod("a", "Running", true), json!({"/metadata/deletionTimestamp": NOW}));
    let of = |policy: &str| {
        job(
            json!({"parallelism": 1, "completions": 1, "podReplacementPolicy": policy}),
            json!({"startTime": NOW}),
        )
    };
    let plan = planned(&of("Failed"), vec![going()]);
    assert_eq!(plan.steps, []);
    let status = plan.status.unwrap();
    assert_eq!((&status["terminating"], status.get("active")), (&json!(1), None));
    let plan = planned(&of("TerminatingOrFailed"), vec![going()]);
    assert_eq!(plan.steps, [Step::Create(1), Step::Unmark { pod: key("a") }]);
    assert_eq!(plan.status.unwrap()["uncountedTerminatedPods"], json!({"failed": ["a"]}));
}

#[test]
fn an_index_has_one_pod() {
    let spec = json!({"parallelism": 2, "completions": 2, "completionMode": "Indexed"});
    let pods = vec![
        of_index("a", "Running", 0, 0),
        of_index("b", "Pending", 0, 0),
        of_index("c", "Running", 5, 0),
        pod("d", "Running", true),
    ];
    let steps = planned(&job(spec, json!({"startTime": NOW})), pods).steps;
    let gone = ["c", "d", "b"].map(|name| (key(name), name.to_owned()));
    assert_eq!(steps, [Step::Discard(gone.to_vec())]);
}

#[test]
fn no_time_is_too_long_for_the_clock() {
    let begun = json!({"startTime": "9999-01-01T00:00:00Z"});
    let spec =
        json!({"parallelism": 1, "completions": 1, "backoffLimit": 6, "activeDeadlineSeconds": i64::MAX});
    let gone = json!({"/metadata/deletionTimestamp": "9999-12-30T22:00:00Z", "/metadata/deletionGracePeriodSeconds": i64::MAX});
    let pods = vec![but(&pod("a", "Failed", true), gone)];
    let plan = planned(&job(spec, begun), pods);
    assert!(plan.look_again.is_some());
}
