//! What a new object says besides what was asked: its first status, the labels and the selector of a Job.
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
