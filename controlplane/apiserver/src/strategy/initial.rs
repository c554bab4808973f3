//! What a new object says besides what was asked: its first status, the labels and the selector of a Job, what a claim is filled from.
//!
//! Pure. The first status has the fields that upstream writes even when they are zero.

use api::kind::Kind;
use serde_json::{Map, Value, json};

const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
const OLD_UID_LABEL: &str = "controller-uid";
const OLD_NAME_LABEL: &str = "job-name";
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// The status of a new object; `None`: it begins without one.
pub(super) fn status(kind: &Kind) -> Option<Value> {
    Some(match (kind.group, kind.resource) {
        ("apps", "deployments") => json!({}),
        ("batch", "jobs" | "cronjobs") | ("" | "resource.k8s.io", "resourcequotas" | "resourceclaims") => {
            json!({})
        }
        ("apps", "replicasets") | ("", "replicationcontrollers") => json!({"replicas": 0}),
        ("apps", "statefulsets") => json!({"replicas": 0, "availableReplicas": 0}),
        ("apps", "daemonsets") => {
            json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0})
        }
        ("policy", "poddisruptionbudgets") => {
            json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0})
        }
        ("autoscaling", _) if kind.version == "v2" => json!({"desiredReplicas": 0, "currentMetrics": null}),
        ("autoscaling", _) => json!({"currentReplicas": 0, "desiredReplicas": 0}),
        ("", "services") | ("networking.k8s.io", "ingresses") => json!({"loadBalancer": {}}),
        ("", "persistentvolumes" | "persistentvolumeclaims") => json!({"phase": "Pending"}),
        ("storage.k8s.io", "volumeattachments") => json!({"attached": false}),
        ("flowcontrol.apiserver.k8s.io", _) => json!({}),
        _ => return None,
    })
}

/// A Job finds its pods by its uid, unless it says how itself.
pub(super) fn job(job: &mut Value) {
    if job["spec"]["manualSelector"] == true {
        return;
    }
    let (name, uid) = (job["metadata"]["name"].clone(), job["metadata"]["uid"].clone());
    let template = &mut job["spec"]["template"];
    if let Some(labels) = inner(template, &["metadata", "labels"]) {
        for (label, value) in
            [(UID_LABEL, &uid), (OLD_UID_LABEL, &uid), (NAME_LABEL, &name), (OLD_NAME_LABEL, &name)]
        {
            labels.entry(label).or_insert_with(|| value.clone());
        }
    }
    if let Some(labels) = inner(&mut job["spec"], &["selector", "matchLabels"]) {
        labels.entry(UID_LABEL).or_insert(uid);
    }
}

/// What a claim is filled from stands in two fields. The older one takes claims and snapshots alone; what else stands
/// there is dropped, as if nothing had been said.
pub(super) fn data_sources(spec: &mut Value, old: Option<&Value>) {
    const FIELDS: [&str; 3] = ["apiGroup", "kind", "name"];
    let Some(fields) = spec.as_object_mut() else { return };
    fields.retain(|name, value| !matches!(name.as_str(), "dataSource" | "dataSourceRef") || !value.is_null());
    let elsewhere =
        |spec: &Value| spec["dataSourceRef"]["namespace"].as_str().is_some_and(|name| !name.is_empty());
    let reference = fields.get("dataSourceRef").map(|reference| json!({"dataSourceRef": reference}));
    if reference.as_ref().is_some_and(elsewhere) && !old.is_some_and(elsewhere) {
        fields.shift_remove("dataSourceRef");
    }
    let from_before = old.is_some_and(|old| !old["dataSource"].is_null());
    let known = |source: &Value| {
        let kind =
            (source["apiGroup"].as_str().unwrap_or_default(), source["kind"].as_str().unwrap_or_default());
        matches!(kind, ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot"))
    };
    if !from_before
        && !fields.contains_key("dataSourceRef")
        && fields.get("dataSource").is_some_and(|source| !known(source))
    {
        fields.shift_remove("dataSource");
    }
    match (fields.get("dataSource").cloned(), fields.get("dataSourceRef").cloned()) {
        (Some(source), None) => drop(fields.insert("dataSourceRef".into(), source)),
        (None, Some(Value::Object(mut reference))) if !reference.contains_key("namespace") => {
            reference.retain(|name, _| FIELDS.contains(&name.as_str()));
            fields.insert("dataSource".into(), reference.into());
        }
        _ => {}
    }
}

/// Of the secrets of an account only the names count.
pub(super) fn secrets(account: &mut Value) {
    for secret in account.get_mut("secrets").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(fields) = secret.as_object_mut() {
            fields.retain(|name, _| name == "name");
        }
    }
}

/// A DaemonSet counts its templates in an annotation.
pub(super) fn daemon_set(set: &mut Value, old: Option<&Value>) {
    let generation = match old {
        None => 1,
        Some(old) => {
            let text = old["metadata"]["annotations"][TEMPLATE_GENERATION].as_str().unwrap_or("1");
            let known = text.parse::<i64>().unwrap_or(1);
            known + i64::from(set["spec"]["template"] != old["spec"]["template"])
        }
    };
    if let Some(annotations) = inner(set, &["metadata", "annotations"]) {
        annotations.insert(TEMPLATE_GENERATION.into(), generation.to_string().into());
    }
}

/// An object within an object; what is missing on the way is made.
fn inner<'a>(object: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    let mut at = object;
    for name in path {
        at = at.as_object_mut()?.entry(*name).or_insert_with(|| json!({}));
        if at.is_null() {
            *at = json!({});
        }
    }
    at.as_object_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_finds_its_pods() {
        let mut object = json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": {"metadata": {}, "spec": {}}}});
        job(&mut object);
        assert_eq!(object["spec"]["selector"], json!({"matchLabels": {UID_LABEL: "u"}}));
        let labels = object["spec"]["template"]["metadata"]["labels"].as_object().unwrap();
        assert_eq!((labels.len(), &labels[OLD_NAME_LABEL]), (4, &json!("j")));
        let own = json!({"metadata": {"name": "j"}, "spec": {"manualSelector": true, "template": {}}});
        let mut same = own.clone();
        job(&mut same);
        assert_eq!(same, own);
    }

    #[test]
    fn a_claim_is_filled_from_one_thing() {
        let claim = json!({"kind": "PersistentVolumeClaim", "name": "a"});
        let other = json!({"apiGroup": "example.com", "kind": "Backup", "name": "b"});
        let far = json!({"kind": "PersistentVolumeClaim", "name": "a", "namespace": "far"});
        for (what, spec, old, expect) in [
            ("nothing", json!({}), None, json!({})),
            (
                "a claim",
                json!({"dataSource": claim}),
                None,
                json!({"dataSource": claim, "dataSourceRef": claim}),
            ),
            (
                "the newer field",
                json!({"dataSourceRef": other}),
                None,
                json!({"dataSource": other, "dataSourceRef": other}),
            ),
            ("dropped", json!({"dataSource": other}), None, json!({})),
            (
                "kept, because it was there",
                json!({"dataSource": other}),
                Some(json!({"dataSource": other})),
                json!({"dataSource": other, "dataSourceRef": other}),
            ),
            ("from elsewhere", json!({"dataSourceRef": far}), None, json!({})),
        ] {
            let mut spec = spec;
            data_sources(&mut spec, old.as_ref());
            assert_eq!(spec, expect, "{what}");
        }
        let mut account = json!({"secrets": [{"name": "a", "namespace": "b"}]});
        secrets(&mut account);
        assert_eq!(account, json!({"secrets": [{"name": "a"}]}));
    }

    #[test]
    fn templates_are_counted() {
        let mut first = json!({"metadata": {}, "spec": {"template": 1}});
        daemon_set(&mut first, None);
        let mut second = json!({"metadata": {}, "spec": {"template": 2}});
        daemon_set(&mut second, Some(&first));
        assert_eq!(second["metadata"]["annotations"][TEMPLATE_GENERATION], "2");
        let mut third = second.clone();
        daemon_set(&mut third, Some(&second));
        assert_eq!(third, second);
    }
}
