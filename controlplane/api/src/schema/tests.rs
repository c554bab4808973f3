//! Strict decoding, canonical form and type errors.

use serde_json::json;

use super::*;

fn deployment() -> &'static Type {
    find("io.k8s.api.apps.v1.Deployment").expect("Deployment")
}

#[test]
fn every_kind_has_its_type() {
    for kind in crate::kind::builtin() {
        let found = find(kind.schema).unwrap_or_else(|| panic!("{}", kind.schema));
        assert!(found.root && found.field("metadata").is_some(), "{}", kind.schema);
        for sub in kind.subresources.iter().filter(|sub| !sub.schema.is_empty()) {
            assert!(find(sub.schema).is_some(), "{}", sub.schema);
        }
    }
    assert!(deployment().description().starts_with("Deployment enables declarative updates"));
    assert!(
        deployment()
            .field("spec")
            .expect("spec")
            .description()
            .starts_with("Specification of the desired behavior")
    );
}

#[test]
fn unknown_and_doubled_fields_are_named() {
    let text = br#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x","labels":{"a":"1","a":"2"}},"nope":1,
        "spec":{"replicas":1,"replicas":2,"foo":{},"template":{"spec":{"containers":[{"name":"c","img":"x"}],"volumes":[{"emptyDir":{},"x":1}]}}}}"#;
    let decoded = decode_json(text, Some(deployment())).expect("parses");
    assert_eq!(
        decoded.issues,
        [
            "duplicate field \"metadata.labels.a\"",
            "unknown field \"nope\"",
            "duplicate field \"spec.replicas\"",
            "unknown field \"spec.foo\"",
            "unknown field \"spec.template.spec.containers[0].img\"",
            "unknown field \"spec.template.spec.volumes[0].x\"",
        ]
    );
    assert!(decode_json("[".repeat(10_000).as_bytes(), None).is_err());
}

#[test]
fn canonical_form_is_gos() {
    let value = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "creationTimestamp": null, "labels": {}},
        "unknown": 1,
        "spec": {"replicas": 0, "paused": false, "minReadySeconds": 0, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
                {"name": "c", "image": "", "resources": {"limits": {"cpu": 1.5, "memory": "1024Mi"}}, "ports": [], "securityContext": {}}]}}},
    });
    let once = canonical(value, deployment()).expect("fits");
    let expect = json!({
        "kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
                {"name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}}, "securityContext": {}}]}},
            "strategy": {}},
        "status": {},
    });
    assert_eq!(once, expect);
    assert_eq!(once.to_string(), expect.to_string(), "order is Go's");
    assert_eq!(canonical(once.clone(), deployment()), Ok(once));
}

#[test]
fn type_errors_are_gos() {
    let cases = [
        (
            json!({"spec": {"replicas": "3"}}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"replicas": 1.5}}),
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": {"a": 1}}}}}),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            json!({"metadata": {"labels": {"a": 1}}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (json!([]), "json: cannot unmarshal array into Go value of type v1.Deployment"),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "1x"}}}]}}}}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ];
    for (value, expect) in cases {
        assert_eq!(canonical(value, deployment()).unwrap_err().to_string(), expect);
    }
}

#[test]
fn merge_keys_are_there() {
    let spec = find("io.k8s.api.core.v1.PodSpec").expect("PodSpec");
    let containers = spec.field("containers").expect("containers");
    assert!(
        containers.merge && containers.merge_key == "name" && containers.list == ListType::Map(&["name"])
    );
    assert!(spec.field("volumes").expect("volumes").retain_keys);
    let ports = find("io.k8s.api.core.v1.ServiceSpec").and_then(|spec| spec.field("ports")).expect("ports");
    assert_eq!((ports.merge_key, ports.list), ("port", ListType::Map(&["port", "protocol"])));
}
