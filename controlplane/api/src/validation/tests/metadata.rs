//! Metadata, at creation and at updates.

use serde_json::{Value, json};

use super::{Case, UpdateCase, created, expect, updated, with};

fn map(changes: &[(&str, Value)]) -> Value {
    with(&json!({"metadata": {"name": "a", "namespace": "default"}}), changes)
}

#[test]
fn creation() {
    let long = "x".repeat(256 * 1024);
    let owner =
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": true});
    let cases: Vec<Case<'_>> = vec![
        ("fine", vec![], &[]),
        (
            "no name",
            vec![("/metadata/name", Value::Null)],
            &["metadata.name: Required value: name or generateName is required"],
        ),
        (
            "bad name",
            vec![("/metadata/name", json!("A_b"))],
            &["metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain must consist of..."],
        ),
        (
            "bad generateName",
            vec![("/metadata/generateName", json!("AB-"))],
            &["metadata.generateName: Invalid value: \"AB-\": a lowercase RFC 1123 subdomain..."],
        ),
        ("trailing dash", vec![("/metadata/generateName", json!("web-"))], &[]),
        ("no namespace", vec![("/metadata/namespace", Value::Null)], &["metadata.namespace: Required value"]),
        (
            "labels",
            vec![("/metadata/labels", json!({"a/b/c": "v", "k": "a b"}))],
            &[
                "metadata.labels: Invalid value: \"a/b/c\": a valid label key must consist of...",
                "metadata.labels: Invalid value: \"a b\": a valid label must be an empty string or...",
            ],
        ),
        (
            "annotations",
            vec![("/metadata/annotations", json!({"Up.example.com/Key": "1", "/x": "2"}))],
            &["metadata.annotations: Invalid value: \"/x\": prefix part must be non-empty"],
        ),
        (
            "large annotations",
            vec![("/metadata/annotations", json!({"k": long}))],
            &["metadata.annotations: Too long: may not be more than 262144 bytes"],
        ),
        (
            "empty owner",
            vec![("/metadata/ownerReferences", json!([{}]))],
            &[
                "metadata.ownerReferences.apiVersion: Invalid value: \"\": version must not be empty",
                "metadata.ownerReferences.kind: Invalid value: \"\": must not be empty",
                "metadata.ownerReferences.name: Invalid value: \"\": must not be empty",
                "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty",
            ],
        ),
        (
            "two controllers",
            vec![("/metadata/ownerReferences", json!([owner, owner]))],
            &["metadata.ownerReferences: Invalid value: [..."],
        ),
        (
            "owned by an event",
            vec![(
                "/metadata/ownerReferences",
                json!([{"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "u"}]),
            )],
            &["metadata.ownerReferences: Invalid value: {..."],
        ),
        (
            "finalizers",
            vec![("/metadata/finalizers", json!(["mine", "orphan", "foregroundDeletion", "example.com/x"]))],
            &[
                "metadata.finalizers: Invalid value: [\"mine\",\"orphan\",\"foregroundDeletion\",\"example.com/x\"]: finalizer orphan and foregroundDeletion cannot be both set",
                "metadata.finalizers[0]: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified",
            ],
        ),
        (
            "managed fields",
            vec![("/metadata/managedFields", json!([{"operation": "Merge", "fieldsType": "V2"}]))],
            &[
                "metadata.managedFields[0].operation: Invalid value: \"Merge\": must be `Apply` or `Update`",
                "metadata.managedFields[0].fieldsType: Invalid value: \"V2\": must be `FieldsV1`",
            ],
        ),
        (
            "generation",
            vec![("/metadata/generation", json!(-1))],
            &["metadata.generation: Invalid value: -1: must be greater than or equal to 0"],
        ),
    ];
    for (what, changes, wanted) in cases {
        expect(what, &created("", "ConfigMap", map(&changes)), wanted);
    }
}

#[test]
fn names_by_kind() {
    let cases: &[(&str, &str, &str, Value, &[&str])] = &[
        (
            "",
            "Namespace",
            "a.b",
            json!({}),
            &["metadata.name: Invalid value: \"a.b\": must not contain dots"],
        ),
        ("rbac.authorization.k8s.io", "ClusterRole", "system:Node", json!({}), &[]),
        (
            "rbac.authorization.k8s.io",
            "ClusterRole",
            "a/b%",
            json!({}),
            &[
                "metadata.name: Invalid value: \"a/b%\": may not contain '/'",
                "metadata.name: Invalid value: \"a/b%\": may not contain '%'",
            ],
        ),
        (
            "",
            "Namespace",
            "a",
            json!({"namespace": "b"}),
            &["metadata.namespace: Forbidden: not allowed on this type"],
        ),
    ];
    for (group, kind, name, extra, wanted) in cases {
        let mut object = json!({"metadata": {"name": name}});
        for (key, value) in extra.as_object().into_iter().flatten() {
            object["metadata"][key] = value.clone();
        }
        expect(name, &created(group, kind, object), wanted);
    }
}

#[test]
fn updates() {
    let old = map(&[("/metadata/uid", json!("u")), ("/metadata/generation", json!(2))]);
    let deleted = with(&old, &[("/metadata/deletionTimestamp", json!("2024-01-01T00:00:00Z"))]);
    let cases: Vec<UpdateCase<'_>> = vec![
        ("same", &old, vec![], &[]),
        (
            "name",
            &old,
            vec![("/metadata/name", json!("b"))],
            &["metadata.name: Invalid value: \"b\": field is immutable"],
        ),
        (
            "uid and namespace",
            &old,
            vec![("/metadata/uid", json!("v")), ("/metadata/namespace", json!("other"))],
            &[
                "metadata.namespace: Invalid value: \"other\": field is immutable",
                "metadata.uid: Invalid value: \"v\": field is immutable",
            ],
        ),
        (
            "generation",
            &old,
            vec![("/metadata/generation", json!(1))],
            &["metadata.generation: Invalid value: 1: must not be decremented"],
        ),
        (
            "new finalizer on the way out",
            &deleted,
            vec![("/metadata/finalizers", json!(["example.com/b", "example.com/a"]))],
            &[
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"example.com/a\", \"example.com/b\"}",
            ],
        ),
    ];
    for (what, old, changes, wanted) in cases {
        expect(what, &updated("", "ConfigMap", "", with(old, &changes), old.clone()), wanted);
    }
    let kind = super::kind("", "ConfigMap");
    let errors = crate::validation::update(kind, "", &old, &old);
    assert_eq!(
        errors[0].to_string(),
        "metadata.resourceVersion: Invalid value: \"\": must be specified for an update"
    );
}

#[test]
fn some_names_are_only_parts_of_paths() {
    let request = |name: &str| {
        created("certificates.k8s.io", "CertificateSigningRequest", json!({"metadata": {"name": name}}))
    };
    let complaint = "metadata.name: Invalid value: \"a/b\": may not contain '/'";
    assert!(!request("Any_name").iter().any(|error| error.starts_with("metadata.name")));
    assert!(request("a/b").iter().any(|error| error == complaint));
}
