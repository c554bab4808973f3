//! StatefulSets, DaemonSets, ReplicationControllers and revisions.

use serde_json::{Value, json};

use super::{Case, created, expect, updated, with};

fn base() -> Value {
    json!({
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    })
}

/// What creation says of the base with changes.
fn check(kind: &str, cases: Vec<Case<'_>>) {
    for (what, changes, wanted) in cases {
        expect(what, &created("apps", kind, with(&base(), &changes)), wanted);
    }
}

fn claim(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
}

#[test]
fn claims_of_a_stateful_set_can_be_mounted() {
    let mounts = |name: &str| json!([{"name": name, "mountPath": "/data"}]);
    let mounted = "/spec/template/spec/containers/0/volumeMounts";
    let claims = "/spec/volumeClaimTemplates";
    let volumes = json!([{"name": "data"}, {"name": "own", "emptyDir": {}}]);
    check(
        "StatefulSet",
        vec![
            ("fine", vec![(claims, json!([claim("data")])), (mounted, mounts("data"))], &[]),
            (
                "as a device",
                vec![
                    (claims, json!([claim("data")])),
                    (
                        "/spec/template/spec/containers/0/volumeDevices",
                        json!([{"name": "data", "devicePath": "/dev/x"}]),
                    ),
                ],
                &[],
            ),
            (
                "the claim's volume replaces another of its name",
                vec![
                    (claims, json!([claim("data")])),
                    ("/spec/template/spec/volumes", volumes),
                    (mounted, mounts("own")),
                ],
                &[],
            ),
            (
                "another",
                vec![(claims, json!([claim("data")])), (mounted, mounts("date"))],
                &["spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"date\""],
            ),
            (
                "a name that is none",
                vec![(claims, json!([claim("Data")])), (mounted, mounts("Data"))],
                &[
                    "spec.template.spec.volumes[0].name: Invalid value: \"Data\": a lowercase RFC 1123 label...",
                    "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"Data\"",
                ],
            ),
            (
                "no access mode",
                vec![(claims, json!([with(&claim("data"), &[("/spec/accessModes", json!([]))])]))],
                &[
                    "spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required",
                ],
            ),
        ],
    );
}

#[test]
fn stateful_sets() {
    check(
        "StatefulSet",
        vec![
            ("fine", vec![("/spec/serviceName", json!("s"))], &[]),
            (
                "service",
                vec![("/spec/serviceName", json!("S.x"))],
                &["spec.serviceName: Invalid value: \"S.x\": a lowercase RFC 1123 label..."],
            ),
            (
                "names that the controller gives",
                vec![
                    ("/spec/template/spec/hostname", json!("H")),
                    ("/spec/template/spec/subdomain", json!("S")),
                ],
                &[],
            ),
            (
                "policies",
                vec![
                    ("/spec/podManagementPolicy", json!("Any")),
                    ("/spec/updateStrategy", json!({"type": "Any"})),
                    (
                        "/spec/persistentVolumeClaimRetentionPolicy",
                        json!({"whenDeleted": "Any", "whenScaled": "Retain"}),
                    ),
                ],
                &[
                    "spec.podManagementPolicy: Invalid value: \"Any\": must be 'OrderedReady' or 'Parallel'",
                    "spec.updateStrategy: Invalid value: {\"type\":\"Any\"}: must be 'RollingUpdate' or 'OnDelete'",
                    "spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: \"Any\": supported values: \"Retain\", \"Delete\"",
                ],
            ),
            (
                "bad selector",
                vec![("/spec/selector", json!({"matchExpressions": [{"key": "a", "operator": "Gt"}]}))],
                &[
                    "spec.selector.matchExpressions[0].operator: Invalid value: \"Gt\": not a valid selector operator",
                    "spec.selector: Invalid value: {\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"Gt\"}]}",
                ],
            ),
        ],
    );
    let old = with(
        &base(),
        &[("/spec/serviceName", json!("s")), ("/spec/volumeClaimTemplates", json!([claim("data")]))],
    );
    let rest = "spec: Forbidden: updates to statefulset spec for fields other than...";
    for (what, changes, wanted) in [
        ("same", vec![], &[][..]),
        ("replicas", vec![("/spec/replicas", json!(3))], &[]),
        ("template", vec![("/spec/template/spec/containers/0/image", json!("j"))], &[]),
        ("service", vec![("/spec/serviceName", json!("t"))], &[rest]),
        ("claims", vec![("/spec/volumeClaimTemplates/0/metadata/name", json!("e"))], &[rest]),
    ] {
        expect(what, &updated("apps", "StatefulSet", "", with(&old, &changes), old.clone()), wanted);
    }
}

#[test]
fn daemon_sets() {
    let rolling = |unavailable: Value, surge: Value| {
        vec![(
            "/spec/updateStrategy",
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}}),
        )]
    };
    let path = "spec.updateStrategy.rollingUpdate";
    let of = |rest: &str| format!("{path}.{rest}");
    let both = of("maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero");
    let neither = of("maxUnavailable: Required value: cannot be 0 when maxSurge is 0");
    let much = of("maxUnavailable: Invalid value: \"200%\": must not be greater than 100%");
    let odd = of("maxSurge: Invalid value: \"x\": a valid percent string must be...");
    check(
        "DaemonSet",
        vec![
            ("surge", rolling(json!("0%"), json!("10%")), &[]),
            ("both", rolling(json!("1%"), json!(1)), &[&both]),
            ("neither", rolling(json!("00%"), json!(0)), &[&neither]),
            ("too much", rolling(json!("200%"), json!(0)), &[&much]),
            ("no percentage", rolling(json!(1), json!("x")), &[&odd]),
            (
                "strategy",
                vec![("/spec/updateStrategy", json!({"type": "Any"}))],
                &[
                    "spec.updateStrategy: Unsupported value: {\"type\":\"Any\"}: supported values: \"RollingUpdate\", \"OnDelete\"",
                ],
            ),
        ],
    );
}

#[test]
fn status_counts() {
    let old = with(&base(), &[("/status", json!({"collisionCount": 2}))]);
    let less = with(&base(), &[("/status", json!({"collisionCount": 1, "observedGeneration": -1}))]);
    let decremented = "status.collisionCount: Invalid value: 1: cannot be decremented";
    let negative = "status.observedGeneration: Invalid value: -1: must be greater than or equal to 0";
    for kind in ["StatefulSet", "DaemonSet", "Deployment"] {
        expect(kind, &updated("apps", kind, "status", less.clone(), old.clone()), &[negative, decremented]);
    }
    let ready = json!({"collisionCount": 2, "replicas": 2, "readyReplicas": 1, "availableReplicas": 2});
    let wanted = "status.availableReplicas: Invalid value: 2: cannot be greater than status.readyReplicas";
    let new = with(&old, &[("/status", ready)]);
    expect("available", &updated("apps", "StatefulSet", "status", new, old), &[wanted]);
}

#[test]
fn revisions() {
    let revision =
        |data: Value| json!({"metadata": {"name": "a", "namespace": "default"}, "revision": 1, "data": data});
    for (what, data, wanted) in [
        ("fine", json!({"a": 1}), &[][..]),
        ("none", Value::Null, &["data: Required value: data is mandatory"]),
        ("a list", json!([1]), &["data: Required value: data must be a valid JSON object"]),
    ] {
        expect(what, &created("apps", "ControllerRevision", revision(data)), wanted);
    }
    let changed =
        updated("apps", "ControllerRevision", "", revision(json!({"a": 2})), revision(json!({"a": 1})));
    expect("changed", &changed, &["data: Invalid value: {\"a\":2}: field is immutable"]);
}
