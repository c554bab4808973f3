//! What a Job says of pods that fail, and of when it has succeeded. Pure.
//!
//! Reference: KEP-3329 (pod failure policy), KEP-3998 (success policy), KEP-3939 (replacement of pods).

use client::Object;
use serde_json::Value;

use super::index_set::IndexSet;
use crate::fields::{int, is_deleting, list, text};

/// What follows from a pod's failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// One more failure; also where no rule speaks of it.
    Count,
    /// As if it had not happened.
    Ignore,
    /// The index of the pod has failed for good.
    FailIndex,
    /// The whole Job has failed; the message says of which pod.
    FailJob(String),
}

/// Replacements wait until a pod is over.
pub(super) fn replaces_only_failed(job: &Value) -> bool {
    text(job, "/spec/podReplacementPolicy") == "Failed" || job["spec"]["podFailurePolicy"].is_object()
}

/// The pod counts as failed: it says so, or it goes and nobody waits for what it says.
pub(super) fn has_failed(job: &Value, pod: &Value) -> bool {
    let never_ran = text(pod, "/spec/nodeName").is_empty();
    match text(pod, "/status/phase") {
        "Failed" => true,
        "Succeeded" => false,
        _ => is_deleting(pod) && (never_ran || !replaces_only_failed(job)),
    }
}

/// The first rule that speaks of the failed pod decides.
pub(super) fn verdict(job: &Value, pod: &Object) -> Verdict {
    for (index, rule) in list(job, "/spec/podFailurePolicy/rules").iter().enumerate() {
        let Some(cause) = cause(rule, pod) else { continue };
        return match text(rule, "/action") {
            "Ignore" => Verdict::Ignore,
            "FailIndex" => Verdict::FailIndex,
            "FailJob" => Verdict::FailJob(format!("{cause} matching FailJob rule at index {index}")),
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

/// What of the pod a rule speaks of.
fn cause(rule: &Value, pod: &Object) -> Option<String> {
    let (namespace, name, value) = (&pod.key.namespace, &pod.key.name, pod.value());
    if let Some(wanted) = rule.get("onExitCodes").filter(|wanted| wanted.is_object()) {
        let statuses = ["/status/containerStatuses", "/status/initContainerStatuses"];
        let mut ended = statuses.iter().flat_map(|statuses| list(value, statuses));
        let status = ended.find(|status| matches_exit(wanted, status))?;
        let code = int(status, "/state/terminated/exitCode");
        let container = text(status, "/name");
        return Some(format!(
            "Container {container} for pod {namespace}/{name} failed with exit code {code}"
        ));
    }
    let patterns = list(rule, "/onPodConditions");
    let known = list(value, "/status/conditions").iter();
    let mut matching = known.filter(|condition| {
        patterns
            .iter()
            .any(|pattern| pattern["type"] == condition["type"] && pattern["status"] == condition["status"])
    });
    let kind = text(matching.next()?, "/type");
    Some(format!("Pod {namespace}/{name} has condition {kind}"))
}

fn matches_exit(wanted: &Value, status: &Value) -> bool {
    let Some(code) = status.pointer("/state/terminated/exitCode").and_then(Value::as_i64) else {
        return false;
    };
    let container = wanted["containerName"].as_str();
    if code == 0 || container.is_some_and(|container| container != text(status, "/name")) {
        return false;
    }
    let listed = list(wanted, "/values").iter().any(|value| value.as_i64() == Some(code));
    match text(wanted, "/operator") {
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    }
}

/// The rule by which an indexed Job has succeeded although indexes are left.
pub(super) fn success(job: &Value, succeeded: &IndexSet) -> Option<String> {
    if succeeded.is_empty() {
        return None;
    }
    let completions = int(job, "/spec/completions");
    let met = |rule: &Value| {
        let count = rule["succeededCount"].as_i64();
        let Some(wanted) = rule["succeededIndexes"].as_str() else {
            return count.is_some_and(|count| succeeded.len() >= count);
        };
        let wanted = IndexSet::parse(wanted, completions);
        let there = wanted.shared(succeeded);
        !wanted.is_empty() && (there == wanted.len() || count.is_some_and(|count| there >= count))
    };
    let index = list(job, "/spec/successPolicy/rules").iter().position(met)?;
    Some(format!("Matched rules at index {index}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::Resource;
    use serde_json::json;

    fn failed(status: Value) -> Object {
        Object::of(&Resource::PODS, json!({"metadata": {"name": "p", "namespace": "n"}, "status": status}))
    }

    fn check(rules: Value, status: Value, expect: &Verdict) {
        let job = json!({"spec": {"podFailurePolicy": {"rules": rules}}});
        assert_eq!(&verdict(&job, &failed(status)), expect, "{rules}");
    }

    #[test]
    fn failures() {
        let exited = |code: i64| json!({"containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": code}}}]});
        let codes = |action: &str, operator: &str, values: Value| json!([{"action": action, "onExitCodes": {"operator": operator, "values": values}}]);
        let fail = |text: &str| Verdict::FailJob(text.to_owned());
        check(json!([]), exited(1), &Verdict::Count);
        check(codes("Ignore", "In", json!([1, 2])), exited(2), &Verdict::Ignore);
        check(codes("Ignore", "In", json!([1, 2])), exited(3), &Verdict::Count);
        check(codes("FailIndex", "NotIn", json!([1])), exited(3), &Verdict::FailIndex);
        // Who ended well is nobody's concern.
        check(codes("FailIndex", "NotIn", json!([1])), exited(0), &Verdict::Count);
        check(
            codes("FailJob", "In", json!([42])),
            exited(42),
            &fail("Container c for pod n/p failed with exit code 42 matching FailJob rule at index 0"),
        );
        let mut other = codes("Ignore", "In", json!([1]));
        other[0]["onExitCodes"]["containerName"] = "d".into();
        check(other, exited(1), &Verdict::Count);
        let init =
            json!({"initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 7}}}]});
        check(codes("Ignore", "In", json!([7])), init, &Verdict::Ignore);
        let disrupted = json!({"conditions": [{"type": "DisruptionTarget", "status": "True"}]});
        let on = |action: &str| {
            json!([{"action": "Count", "onExitCodes": {"operator": "In", "values": [9]}},
            {"action": action, "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}])
        };
        check(on("Ignore"), disrupted.clone(), &Verdict::Ignore);
        check(
            on("FailJob"),
            disrupted,
            &fail("Pod n/p has condition DisruptionTarget matching FailJob rule at index 1"),
        );
    }

    #[test]
    fn successes() {
        for (rules, succeeded, expect) in [
            (json!([{"succeededCount": 2}]), "0,4", Some(0)),
            (json!([{"succeededCount": 3}]), "0,4", None),
            (json!([{"succeededIndexes": "0,2-3"}]), "0,2-4", Some(0)),
            (json!([{"succeededIndexes": "0,2-3"}]), "0,2", None),
            (
                json!([{"succeededIndexes": "5"}, {"succeededIndexes": "0-3", "succeededCount": 1}]),
                "2",
                Some(1),
            ),
            (json!([{"succeededCount": 0}]), "", None),
        ] {
            let job = json!({"spec": {"completions": 10, "successPolicy": {"rules": rules}}});
            let expect = expect.map(|index: usize| format!("Matched rules at index {index}"));
            assert_eq!(success(&job, &IndexSet::parse(succeeded, 10)), expect, "{rules} {succeeded}");
        }
    }
}
