//! Quotas, limits, budgets, classes of priorities and runtimes.

use serde_json::{Value, json};

use super::{created, expect, updated, with};

fn named(spec: &Value) -> Value {
    json!({"metadata": {"name": "a", "namespace": "default"}, "spec": spec})
}

#[test]
fn quotas() {
    let cases: Vec<(Value, &[&str])> = vec![
        (
            json!({"hard": {"pods": "4", "requests.cpu": "500m", "requests.nvidia.com/gpu": 4, "count/jobs.batch": "1",
                "gold.storageclass.storage.k8s.io/requests.storage": "5Gi", "hugepages-2Mi": "4Mi"}}),
            &[],
        ),
        (
            json!({"hard": {"poods": "4", "storage": "1", "a b": "1"}}),
            &[
                "spec.hard[poods]: Invalid value: \"poods\": must be a standard resource type or fully qualified",
                "spec.hard[poods]: Invalid value: \"poods\": must be a standard resource for quota",
                "spec.hard[storage]: Invalid value: \"storage\": must be a standard resource for quota",
                "spec.hard[a b]: Invalid value: \"a b\": name part must consist of...",
                "spec.hard[a b]: Invalid value: \"a b\": must be a standard resource for quota",
            ],
        ),
        (
            json!({"hard": {"pods": "1500m", "count/jobs.batch": "500m", "cpu": "-1"}}),
            &[
                "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
                "spec.hard[count/jobs.batch]: Invalid value: \"500m\": must be an integer",
                "spec.hard[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            ],
        ),
        (json!({"hard": {"pods": "1"}, "scopes": ["BestEffort"]}), &[]),
        (
            json!({"hard": {"persistentvolumeclaims": "1", "requests.storage": "1Gi"}, "scopes": ["VolumeAttributesClass"]}),
            &[],
        ),
        (
            json!({"hard": {"cpu": "1"}, "scopes": ["BestEffort", "NotBestEffort", "Odd"]}),
            &[
                "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\",\"Odd\"]: unsupported scope",
                "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\",\"Odd\"]: unsupported scope applied to resource",
                "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\",\"Odd\"]: conflicting scopes",
            ],
        ),
        (
            json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]},
                {"scopeName": "Terminating", "operator": "Exists"}]}}),
            &[],
        ),
        (
            json!({"hard": {"services": "1"}, "scopeSelector": {"matchExpressions": [
                {"scopeName": "Terminating", "operator": "In"}, {"scopeName": "NotTerminating", "operator": "Exists", "values": ["x"]},
                {"scopeName": "Odd", "operator": "Is"}]}}),
            &[
                "spec.scopeSelector.matchExpressions: Invalid value: {\"matchExpressions\":[...",
                "spec.scopeSelector.matchExpressions.operator: Invalid value: \"In\": must be 'Exists' when scope is any of...",
                "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
                "spec.scopeSelector.matchExpressions.values: Invalid value: [\"x\"]: must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
                "spec.scopeSelector.matchExpressions.scopeName: Invalid value: \"Odd\": unsupported scope",
                "spec.scopeSelector.matchExpressions.operator: Invalid value: \"Is\": not a valid selector operator",
                "spec.scopeSelector.matchExpressions: Invalid value: null: conflicting scopes",
            ],
        ),
    ];
    for (spec, wanted) in cases {
        expect(&spec.to_string(), &created("", "ResourceQuota", named(&spec)), wanted);
    }
    let scopes = |scopes: Value| named(&json!({"scopes": scopes}));
    let (old, new) =
        (scopes(json!(["BestEffort", "Terminating"])), scopes(json!(["Terminating", "BestEffort"])));
    expect("order", &updated("", "ResourceQuota", "", new, old.clone()), &[]);
    let wanted = ["spec.scopes: Invalid value: [\"BestEffort\"]: field is immutable"];
    expect("scopes", &updated("", "ResourceQuota", "", scopes(json!(["BestEffort"])), old), &wanted);
    let new = with(&named(&json!({})), &[("/status", json!({"hard": {"x": "1"}, "used": {"pods": "-1"}}))]);
    let wanted = [
        "status.hard[x]: Invalid value: \"x\": must be a standard resource type or fully qualified",
        "status.hard[x]: Invalid value: \"x\": must be a standard resource for quota",
        "status.used[pods]: Invalid value: \"-1\": must be greater than or equal to 0",
    ];
    expect("status", &updated("", "ResourceQuota", "status", new, named(&json!({}))), &wanted);
}

#[test]
fn limits() {
    let range = |item: Value| named(&json!({"limits": [item]}));
    let cases: Vec<(Value, &[&str])> = vec![
        (
            json!({"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "100m"}, "default": {"cpu": "1"}}),
            &[],
        ),
        (json!({"type": "example.com/other", "max": {"storage": "2"}}), &[]),
        (
            json!({"type": "Containers"}),
            &[
                "spec.limits[0].type: Invalid value: \"Containers\": must be a standard limit type or fully qualified",
            ],
        ),
        (
            json!({"type": "Container", "max": {"storage": "1", "gpu": "1"}}),
            &[
                "spec.limits[0].max[storage]: Invalid value: \"storage\": must be a standard resource for containers",
                "spec.limits[0].max[gpu]: Invalid value: \"gpu\": must be a standard resource type or fully qualified",
                "spec.limits[0].max[gpu]: Invalid value: \"gpu\": must be a standard resource for containers",
                "spec.limits[0].default[storage]...",
                "spec.limits[0].default[gpu]...",
                "spec.limits[0].default[gpu]...",
                "spec.limits[0].defaultRequest[storage]...",
                "spec.limits[0].defaultRequest[gpu]...",
                "spec.limits[0].defaultRequest[gpu]...",
            ],
        ),
        (
            json!({"type": "Pod", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}}),
            &[
                "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
                "spec.limits[0].defaultRequest: Forbidden: may not be specified when `type` is 'Pod'",
            ],
        ),
        (
            json!({"type": "PersistentVolumeClaim"}),
            &[
                "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
            ],
        ),
        (
            json!({"type": "Container", "min": {"cpu": "3"}, "max": {"cpu": "1"}, "default": {"cpu": "2"}, "defaultRequest": {"cpu": "2500m"}}),
            &[
                "spec.limits[0].min[cpu]: Invalid value: \"3\": min value 3 is greater than max value 1",
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"2500m\": min value 3 is greater than default request value 2500m",
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"2500m\": default request value 2500m is greater than max value 1",
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"2500m\": default request value 2500m is greater than default limit value 2",
                "spec.limits[0].default[cpu]: Invalid value: \"3\": min value 3 is greater than default value 2",
                "spec.limits[0].default[cpu]: Invalid value: \"1\": default value 2 is greater than max value 1",
            ],
        ),
        (
            json!({"type": "Pod", "min": {"cpu": "100m"}, "max": {"cpu": "200m"}, "maxLimitRequestRatio": {"cpu": "500m", "memory": "2"}}),
            &["spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"500m\": ratio 500m is less than 1"],
        ),
        (
            json!({"type": "Pod", "min": {"cpu": "100m"}, "max": {"cpu": "200m"}, "maxLimitRequestRatio": {"cpu": "3"}}),
            &[
                "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"3\": ratio 3 is greater than max/min = 2.000000",
            ],
        ),
        (
            json!({"type": "Pod", "min": {"cpu": "0"}, "max": {"cpu": "0"}, "maxLimitRequestRatio": {"cpu": "3"}}),
            &[],
        ),
        (
            json!({"type": "Container", "default": {"example.com/gpu": "2"}, "defaultRequest": {"example.com/gpu": "1"}}),
            &[
                "spec.limits[0].defaultRequest[example.com/gpu]: Invalid value: \"1\": default value 2 must equal to defaultRequest value 1 in example.com/gpu",
            ],
        ),
    ];
    for (item, wanted) in cases {
        expect(&item.to_string(), &created("", "LimitRange", range(item.clone())), wanted);
    }
    let twice = named(&json!({"limits": [{"type": "Pod"}, {"type": "Pod"}]}));
    let wanted = ["spec.limits[1].type: Duplicate value: \"Pod\""];
    expect("twice", &created("", "LimitRange", twice), &wanted);
}

#[test]
fn budgets() {
    let budget = |spec: Value| named(&spec);
    let cases: Vec<(Value, &[&str])> = vec![
        (json!({"minAvailable": 1}), &[]),
        (
            json!({"minAvailable": 1, "maxUnavailable": "101%", "unhealthyPodEvictionPolicy": ""}),
            &[
                "spec: Invalid value: {...",
                "spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
                "spec.unhealthyPodEvictionPolicy: Unsupported value: \"\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"",
            ],
        ),
    ];
    for (spec, wanted) in cases {
        expect(&spec.to_string(), &created("policy", "PodDisruptionBudget", budget(spec.clone())), wanted);
    }
    let name = with(&budget(json!({})), &[("/metadata/name", json!("My_budget"))]);
    expect("any name", &created("policy", "PodDisruptionBudget", name), &[]);
}

#[test]
fn priorities() {
    let class = |name: &str, rest: Value| {
        let mut class = json!({"metadata": {"name": name}});
        for (key, value) in rest.as_object().into_iter().flatten() {
            class[key] = value.clone();
        }
        class
    };
    let reserved = "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error:";
    let cases: Vec<(&str, Value, Vec<String>)> = vec![
        ("a", json!({"value": 1_000_000_000}), vec![]),
        ("system-node-critical", json!({"value": 2_000_001_000}), vec![]),
        (
            "a",
            json!({"value": 1_000_000_001}),
            vec!["value: Forbidden: maximum allowed value of a user defined priority is 1000000000".into()],
        ),
        ("system-x", json!({"value": 1}), vec![format!("{reserved} system-x is not a known system priority class")]),
        (
            "system-node-critical",
            json!({"value": 1}),
            vec![format!("{reserved} value of system-node-critical PriorityClass must be 2000001000")],
        ),
        (
            "system-node-critical",
            json!({"value": 2_000_001_000, "globalDefault": true}),
            vec![format!("{reserved} globalDefault of system-node-critical PriorityClass must be false")],
        ),
        (
            "a",
            json!({"value": 1, "preemptionPolicy": "Odd"}),
            vec!["preemptionPolicy: Unsupported value: \"Odd\": supported values: \"Never\", \"PreemptLowerPriority\"".into()],
        ),
    ];
    for (name, rest, wanted) in cases {
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let what = format!("{name} {rest}");
        expect(&what, &created("scheduling.k8s.io", "PriorityClass", class(name, rest)), &wanted);
    }
    let wanted = ["value: Forbidden: may not be changed in an update."];
    let (old, new) = (class("a", json!({"value": 1})), class("a", json!({"value": 2})));
    expect("value", &updated("scheduling.k8s.io", "PriorityClass", "", new, old), &wanted);
}

#[test]
fn runtimes() {
    let class = |rest: Value| {
        let mut class = json!({"metadata": {"name": "a"}, "handler": "h"});
        for (key, value) in rest.as_object().into_iter().flatten() {
            class[key] = value.clone();
        }
        class
    };
    let cases: Vec<(Value, &[&str])> = vec![
        (json!({"overhead": {"podFixed": {"cpu": "1m", "memory": "1Mi"}}}), &[]),
        (json!({"handler": "a.b"}), &["handler: Invalid value: \"a.b\": must not contain dots"]),
        (
            json!({"overhead": {"podFixed": {"pods": "1", "cpu": "-1"}}}),
            &[
                "overhead.limits[pods]: Invalid value: \"pods\": must be a standard resource for containers",
                "overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            ],
        ),
        (
            json!({"scheduling": {"nodeSelector": {"/": "a"}, "tolerations": [{"key": "a", "operator": "Odd"}]}}),
            &[
                "scheduling.nodeSelector: Invalid value: \"/\": prefix part must be non-empty",
                "scheduling.nodeSelector: Invalid value: \"/\": name part must be non-empty",
                "scheduling.nodeSelector: Invalid value: \"/\": name part must consist...",
                "scheduling.tolerations[0].operator: Unsupported value: \"Odd\"...",
            ],
        ),
    ];
    for (rest, wanted) in cases {
        expect(&rest.to_string(), &created("node.k8s.io", "RuntimeClass", class(rest.clone())), wanted);
    }
}
