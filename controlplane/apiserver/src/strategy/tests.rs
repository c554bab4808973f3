//! What each request touches of an object, and what counts as a change.

use super::*;
use api::kind::Registry;

fn kind(group: &str, resource: &str) -> &'static Kind {
    Registry::builtin().by_resource(group, "v1", resource).expect("a built-in kind")
}

#[test]
fn each_request_touches_its_own_part() {
    let deployments = kind("apps", "deployments");
    let old = json!({"metadata": {"name": "d", "generation": 3, "labels": {"a": "1"}}, "spec": {"replicas": 1}, "status": {"replicas": 1}});
    let sent = json!({"metadata": {"name": "d", "generation": 3, "labels": {"a": "2"}}, "spec": {"replicas": 2}, "status": {"replicas": 2}});
    let mut new = sent.clone();
    prepare_update(deployments, "", &mut new, &old);
    bump_generation(deployments, &mut new, &old);
    assert_eq!(
        new,
        json!({"metadata": {"name": "d", "generation": 4, "labels": {"a": "2"}}, "spec": {"replicas": 2}, "status": {"replicas": 1}})
    );
    let mut new = sent;
    prepare_update(deployments, "status", &mut new, &old);
    bump_generation(deployments, &mut new, &old);
    assert_eq!(
        new,
        json!({"metadata": {"name": "d", "generation": 3, "labels": {"a": "1"}}, "spec": {"replicas": 1}, "status": {"replicas": 2}})
    );
}

#[test]
fn a_subresource_of_a_pod_changes_nothing_else() {
    let pods = kind("", "pods");
    let old = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "a", "image": "x"}]}, "status": {"phase": "Running"}});
    let sent = json!({"metadata": {"name": "p", "finalizers": ["f"]}, "spec": {"hostPID": true, "containers": [{"name": "a", "image": "evil"}],
        "ephemeralContainers": [{"name": "e"}]}, "status": {"phase": "Failed"}});
    let mut new = sent.clone();
    prepare_update(pods, "ephemeralcontainers", &mut new, &old);
    let mut expected = old.clone();
    expected["spec"]["ephemeralContainers"] = json!([{"name": "e"}]);
    assert_eq!(new, expected);

    let mut new = sent.clone();
    prepare_update(pods, "resize", &mut new, &old);
    assert_eq!((&new["metadata"], &new["status"]), (&old["metadata"], &old["status"]));

    let mut bound = old.clone();
    bound["status"]["conditions"] = json!([{"type": "PodScheduled"}]);
    let mut new = bound.clone();
    prepare_update(pods, "binding", &mut new, &old);
    assert_eq!(new, bound, "the condition of a binding is kept");
}

#[test]
fn a_pod_gets_its_grace_only_where_it_may_run() {
    let pods = kind("", "pods");
    for (pod, asked, seconds) in [
        (json!({"spec": {"nodeName": "n"}}), None, 30),
        (json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 5}}), None, 5),
        (json!({"spec": {"nodeName": "n"}}), Some(0), 0),
        (json!({"spec": {}}), None, 0),
        (json!({"spec": {"nodeName": "n"}, "status": {"phase": "Failed"}}), Some(9), 0),
    ] {
        assert_eq!(grace_seconds(pods, &pod, asked), seconds, "{pod} {asked:?}");
    }
    assert_eq!(grace_seconds(kind("", "configmaps"), &json!({}), Some(9)), 0);
}

#[test]
fn the_status_is_written_with_what_each_kind_allows_beside_it() {
    let metadata = |value: &str| json!({"labels": {"a": value}, "annotations": {"b": value}, "ownerReferences": [{"name": value}], "finalizers": [value]});
    for (group, resource, kept) in [
        ("apps", "deployments", &["labels"][..]),
        ("apps", "replicasets", &[]),
        ("", "pods", &["ownerReferences"]),
        ("", "services", &[]),
        ("", "nodes", &[]),
        ("storage.k8s.io", "volumeattachments", &["labels", "annotations", "ownerReferences", "finalizers"]),
    ] {
        let old = json!({"metadata": metadata("old"), "spec": {"x": 1}, "status": {"y": 1}});
        let mut new = json!({"metadata": metadata("new"), "spec": {"x": 2}, "status": {"y": 2}});
        prepare_update(kind(group, resource), "status", &mut new, &old);
        assert_eq!((&new["spec"], &new["status"]), (&old["spec"], &json!({"y": 2})), "{resource}");
        for (name, value) in metadata("new").as_object().unwrap() {
            let expect = if kept.contains(&name.as_str()) { &old["metadata"][name] } else { value };
            assert_eq!(&new["metadata"][name], expect, "{resource} {name}");
        }
    }
}

#[test]
fn generations_count_what_is_desired() {
    // Of each kind: what it begins with, and what of it is desired.
    for (group, resource, first, desired) in [
        ("", "podtemplates", 1, "template"),
        ("", "services", 0, ""),
        ("", "configmaps", 0, ""),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations", 1, "webhooks"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicies", 1, "spec"),
        ("scheduling.k8s.io", "priorityclasses", 1, ""),
        ("resource.k8s.io", "deviceclasses", 1, "spec"),
        ("resource.k8s.io", "resourceclaims", 0, ""),
        ("storage.k8s.io", "csidrivers", 0, "spec"),
        ("batch", "cronjobs", 1, "spec"),
    ] {
        let kind = kind(group, resource);
        let mut old = json!({"metadata": {"name": "a", "generation": 7}, "template": {}, "webhooks": [], "description": "x"});
        if resource != "podtemplates" {
            old["spec"] = json!({});
        }
        prepare_create(kind, &mut old);
        let generation = |object: &Value| object["metadata"]["generation"].as_i64().unwrap_or_default();
        assert_eq!(generation(&old), first, "{resource}");
        for field in
            ["template", "webhooks", "description", desired].into_iter().filter(|field| !field.is_empty())
        {
            let mut new = old.clone();
            new[field] = json!({"changed": true});
            bump_generation(kind, &mut new, &old);
            assert_eq!(generation(&new), first + i64::from(field == desired), "{resource} {field}");
        }
    }
}

#[test]
fn a_volume_says_since_when() {
    let volumes = kind("", "persistentvolumes");
    let old = json!({"status": {"phase": "Available", "lastPhaseTransitionTime": "then"}});
    for (status, since) in [
        (json!({"phase": "Available"}), "then"),
        (json!({"phase": "Bound", "lastPhaseTransitionTime": "then"}), "now"),
        (json!({"phase": "Bound"}), "now"),
        (json!({"phase": "Bound", "lastPhaseTransitionTime": "said"}), "said"),
    ] {
        let mut new = json!({"status": status});
        note_phase(volumes, "status", &mut new, &old, "now");
        assert_eq!(new["status"]["lastPhaseTransitionTime"], since, "{status}");
    }
}
