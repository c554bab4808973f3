//! Rows, lookups, field labels and the two faces of an Event.

use serde_json::json;

use super::*;

#[test]
fn rows_are_unique_and_sorted() {
    let registry = Registry::builtin();
    for group in registry.groups() {
        for version in registry.versions(group) {
            let names: Vec<_> = registry.of_version(group, version).map(|kind| kind.resource).collect();
            let mut sorted = names.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(names, sorted, "{group}/{version}");
        }
    }
    for kind in registry.kinds() {
        assert!(kind.verbs.is_sorted(), "{}", kind.resource);
        assert!(kind.subresources.is_sorted_by_key(|sub| sub.name), "{}", kind.resource);
        assert_eq!(
            registry.by_kind(kind.group, kind.version, kind.kind).map(|row| row.resource),
            Some(kind.resource)
        );
    }
}

#[test]
fn lookups() {
    let registry = Registry::builtin();
    let deployments = registry.by_resource("apps", "v1", "deployments").expect("deployments");
    assert_eq!(deployments.qualified_kind().to_string(), "Deployment.apps");
    assert_eq!(deployments.subresource("scale").map(|sub| sub.kind), Some("Scale"));
    assert!(registry.by_resource("", "v1", "deployments").is_none());
    assert_eq!(registry.groups()[..3], ["", "apiregistration.k8s.io", "apps"]);
}

#[test]
fn api_versions() {
    assert_eq!(split_api_version("apps/v1"), Ok(("apps", "v1")));
    assert_eq!(split_api_version("v1"), Ok(("", "v1")));
    assert_eq!(split_api_version("a/b/c"), Err("unexpected GroupVersion string: a/b/c".into()));
}

#[test]
fn field_labels() {
    let registry = Registry::builtin();
    let pods = registry.by_resource("", "v1", "pods").expect("pods");
    let pod = json!({"spec": {"nodeName": "n1", "hostNetwork": true}});
    let value = |label| pods.field_label(label).map(|field| field.value(&pod).into_owned());
    assert_eq!(value("spec.nodeName"), Ok("n1".into()));
    assert_eq!(value("spec.hostNetwork"), Ok("true".into()));
    assert_eq!(value("status.phase"), Ok(String::new()));
    assert_eq!(value("spec.foo").unwrap_err().to_string(), "field label not supported: spec.foo");
    let leases = registry.by_resource("coordination.k8s.io", "v1", "leases").expect("leases");
    assert_eq!(
        leases.field_label("spec.x").unwrap_err().to_string(),
        "\"spec.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
    );
}

#[test]
fn events_have_two_faces() {
    let core = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod"},
        "message": "m", "count": 2, "source": {"component": "kubelet"}, "reportingComponent": "kubelet"});
    let core = core.as_object().cloned().expect("object");
    let new = events_event_of(core.clone());
    assert_eq!(new["regarding"], json!({"kind": "Pod"}));
    assert_eq!(new["apiVersion"], "events.k8s.io/v1");
    assert_eq!(new["deprecatedCount"], 2);
    assert_eq!(core_event_of(new), core);
}
