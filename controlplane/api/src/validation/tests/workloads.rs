//! Deployments, ReplicaSets, Scales.

use serde_json::{Value, json};

use super::{Case, created, expect, updated, with};

fn deployment(changes: &[(&str, Value)]) -> Value {
    let base = json!({
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    });
    with(&base, changes)
}

#[test]
fn deployments() {
    let rolling = |unavailable: Value, surge: Value| json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}});
    let cases: Vec<Case<'_>> = vec![
        ("fine", vec![], &[]),
        (
            "replicas",
            vec![("/spec/replicas", json!(-1))],
            &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            "no selector",
            vec![("/spec/selector", Value::Null)],
            &[
                "spec.selector: Required value",
                "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`",
            ],
        ),
        (
            "empty selector",
            vec![("/spec/selector", json!({}))],
            &["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
        ),
        (
            "other labels",
            vec![("/spec/template/metadata/labels", json!({"app": "b"}))],
            &[
                "spec.template.metadata.labels: Invalid value: {\"app\":\"b\"}: `selector` does not match template `labels`",
            ],
        ),
        (
            "selector expressions",
            vec![(
                "/spec/selector",
                json!({"matchExpressions": [
                {"key": "a", "operator": "In"}, {"key": "b", "operator": "Exists", "values": ["x"]}, {"key": "c", "operator": "Gt"}]}),
            )],
            &[
                "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                "spec.selector.matchExpressions[1].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                "spec.selector.matchExpressions[2].operator: Invalid value: \"Gt\": not a valid selector operator",
                "spec.selector: Invalid value: {...",
            ],
        ),
        (
            "restart policy and deadline",
            vec![
                ("/spec/template/spec/restartPolicy", json!("Never")),
                ("/spec/template/spec/activeDeadlineSeconds", json!(5)),
            ],
            &[
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
                "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported",
            ],
        ),
        (
            "recreate",
            vec![("/spec/strategy", json!({"type": "Recreate", "rollingUpdate": {}}))],
            &[
                "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
            ],
        ),
        (
            "strategy",
            vec![("/spec/strategy", json!({"type": "Odd"}))],
            &[
                "spec.strategy: Unsupported value: {\"type\":\"Odd\"}: supported values: \"Recreate\", \"RollingUpdate\"",
            ],
        ),
        (
            "both zero",
            vec![("/spec/strategy", rolling(json!(0), json!("0%")))],
            &[
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
            ],
        ),
        (
            "percentages",
            vec![("/spec/strategy", rolling(json!("200%"), json!("x")))],
            &[
                "spec.strategy.rollingUpdate.maxSurge: Invalid value: \"x\": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"200%\": must not be greater than 100%",
            ],
        ),
        (
            "seconds",
            vec![("/spec/minReadySeconds", json!(700)), ("/spec/revisionHistoryLimit", json!(-1))],
            &[
                "spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
                "spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds",
            ],
        ),
        (
            "template",
            vec![
                ("/spec/template/spec/containers/0/image", Value::Null),
                ("/spec/template/spec/ephemeralContainers", json!([{"name": "e", "image": "i"}])),
            ],
            &[
                "spec.template.spec.containers[0].image: Required value",
                "spec.template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template",
            ],
        ),
        ("image with space", vec![("/spec/template/spec/containers/0/image", json!(" "))], &[]),
        (
            "no template",
            vec![("/spec/template", json!({"metadata": {"labels": {"app": "a"}}}))],
            &["spec.template.spec.containers: Required value"],
        ),
    ];
    for (what, changes, wanted) in cases {
        expect(what, &created("apps", "Deployment", deployment(&changes)), wanted);
    }
}

#[test]
fn updates() {
    let changed = deployment(&[
        ("/spec/selector", json!({"matchLabels": {"app": "b"}})),
        ("/spec/template/metadata/labels", json!({"app": "b"})),
    ]);
    let wanted = ["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable"];
    for kind in ["Deployment", "ReplicaSet"] {
        expect(kind, &updated("apps", kind, "", changed.clone(), deployment(&[])), &wanted);
        expect(kind, &updated("apps", kind, "scale", deployment(&[]), deployment(&[])), &[]);
    }
    let old = deployment(&[("/status", json!({"collisionCount": 2}))]);
    let new = deployment(&[(
        "/status",
        json!({"replicas": 1, "updatedReplicas": 2, "readyReplicas": 0,
        "availableReplicas": 1, "unavailableReplicas": -1, "collisionCount": 1}),
    )]);
    let wanted = [
        "status.unavailableReplicas: Invalid value: -1: must be greater than or equal to 0",
        "status.updatedReplicas: Invalid value: 2: cannot be greater than status.replicas",
        "status.availableReplicas: Invalid value: 1: cannot be greater than readyReplicas",
        "status.collisionCount: Invalid value: 1: cannot be decremented",
    ];
    expect("status", &updated("apps", "Deployment", "status", new, old), &wanted);
    let new = deployment(&[("/status", json!({"replicas": 1, "fullyLabeledReplicas": 2}))]);
    let wanted = ["status.fullyLabeledReplicas: Invalid value: 2: cannot be greater than status.replicas"];
    expect("set status", &updated("apps", "ReplicaSet", "status", new, deployment(&[])), &wanted);
    let scale =
        json!({"kind": "Scale", "metadata": {"name": "a", "namespace": "b"}, "spec": {"replicas": -1}});
    let got = crate::validation::update(super::kind("apps", "Deployment"), "scale", &scale, &json!({}));
    let got: Vec<String> = got.iter().map(ToString::to_string).collect();
    expect("scale", &got, &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]);
}

/// What is written as empty is what is not written.
#[test]
fn empty_parts_change_nothing() {
    let old = deployment(&[]);
    let new = with(&old, &[("/spec/selector/matchExpressions", json!([]))]);
    expect("no expressions", &updated("apps", "Deployment", "", new, old), &[]);
}
