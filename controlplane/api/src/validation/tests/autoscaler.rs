//! Autoscalers, and the bounds of StatefulSets' updates.

use serde_json::{Value, json};

use super::{Case, created, expect, with};

fn autoscaler(changes: &[(&str, Value)]) -> Value {
    let base = json!({
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}},
    });
    with(&base, changes)
}

fn metric(metric: Value) -> Vec<(&'static str, Value)> {
    vec![("/spec/metrics", json!([metric]))]
}

#[test]
fn autoscalers() {
    let cases: Vec<Case<'_>> = vec![
        ("fine", vec![], &[]),
        (
            "bounds",
            vec![
                ("/spec/minReplicas", json!(0)),
                ("/spec/maxReplicas", json!(-1)),
                ("/spec/scaleTargetRef/kind", json!("a/b")),
            ],
            &[
                "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
                "spec.maxReplicas: Invalid value: -1: must be greater than 0",
                "spec.maxReplicas: Invalid value: -1: must be greater than or equal to `minReplicas`",
                "spec.scaleTargetRef.kind: Invalid value: \"a/b\": may not contain '/'",
            ],
        ),
        (
            "a source without a number",
            metric(json!({"type": "Resource", "resource": {"name": "", "target": {"type": "Odd"}}})),
            &[
                "spec.metrics[0].resource.name: Required value: must specify a resource name",
                "spec.metrics[0].resource.target.type: Invalid value: \"Odd\": must be either Utilization, Value, or AverageValue",
                "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
            ],
        ),
        (
            "another source",
            metric(
                json!({"type": "Pods", "external": {"metric": {"name": "m"}, "target": {"type": "Value", "value": "0", "averageValue": "1"}}}),
            ),
            &[
                "spec.metrics[0].external.target.value: Invalid value: \"0\": must be positive",
                "spec.metrics[0].external.target.value: Forbidden: may not set both a target value for metric and a per-pod target",
                "spec.metrics[0].pods: Required value: must populate information for the given metric source",
            ],
        ),
        (
            "behavior",
            vec![(
                "/spec/behavior",
                json!({"scaleUp": {"stabilizationWindowSeconds": 4000, "selectPolicy": "Odd",
                "policies": [{"type": "Odd", "value": 0, "periodSeconds": 2000}]}}),
            )],
            &[
                "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 4000: must be less than or equal to 3600",
                "spec.behavior.scaleUp.selectPolicy: Unsupported value: \"Odd\": supported values: \"Disabled\", \"Max\", \"Min\"",
                "spec.behavior.scaleUp.policies[0].type: Unsupported value: \"Odd\": supported values: \"Percent\", \"Pods\"",
                "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
                "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 2000: must be less than or equal to 1800",
            ],
        ),
    ];
    for (what, changes, wanted) in cases {
        let kind = super::autoscaler_kind();
        expect(what, &super::created_as(kind, autoscaler(&changes)), wanted);
    }
}

#[test]
fn stateful_sets_that_update_several_at_once() {
    let set = |most: Value| {
        json!({"metadata": {"name": "a", "namespace": "default"}, "spec": {
            "selector": {"matchLabels": {"app": "a"}}, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": most}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    };
    let path = "spec.updateStrategy.rollingUpdate.maxUnavailable";
    for (most, wanted) in [
        (json!(2), None),
        (json!("50%"), None),
        (json!(0), Some(format!("{path}: Invalid value: 0: cannot be 0"))),
        (json!("0%"), Some(format!("{path}: Invalid value: \"0%\": cannot be 0"))),
        (json!("150%"), Some(format!("{path}: Invalid value: \"150%\": must not be greater than 100%"))),
    ] {
        let wanted: Vec<&str> = wanted.as_deref().into_iter().collect();
        expect(&most.to_string(), &created("apps", "StatefulSet", set(most.clone())), &wanted);
    }
}
