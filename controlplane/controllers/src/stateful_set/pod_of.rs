//! A pod of a StatefulSet and its claims. Pure.

use api::meta::Meta;
use client::Resource;
use serde_json::{Value, json};

use super::retention;
use crate::fields::{list, text};
use crate::history;
use crate::pod_template::{self, Name, mark};

/// The pod of an ordinal, made from a template.
pub(super) fn pod(set: &Value, template: &Value, revision: &str, ordinal: i64) -> Value {
    let mut owner = set.clone();
    owner["spec"]["template"] = template.clone();
    let name = format!("{}-{ordinal}", Meta::of(set).name());
    let mut pod = pod_template::pod(&Resource::STATEFUL_SETS, &owner, Name::Fixed(name.clone()));
    mark(&mut pod, "labels", "statefulset.kubernetes.io/pod-name", name.as_str());
    mark(&mut pod, "labels", "apps.kubernetes.io/pod-index", ordinal.to_string());
    mark(&mut pod, "labels", history::POD_LABEL, revision);
    pod["spec"]["hostname"] = name.into();
    if !text(set, "/spec/serviceName").is_empty() {
        pod["spec"]["subdomain"] = set["spec"]["serviceName"].clone();
    }
    let mut volumes = list(&pod, "/spec/volumes").to_vec();
    for wanted in list(set, "/spec/volumeClaimTemplates") {
        let volume = Meta::of(wanted).name();
        volumes.retain(|known| known["name"] != volume);
        volumes.push(
            json!({"name": volume, "persistentVolumeClaim": {"claimName": claim_name(set, wanted, ordinal)}}),
        );
    }
    if !volumes.is_empty() {
        pod["spec"]["volumes"] = volumes.into();
    }
    pod
}

fn claim_name(set: &Value, template: &Value, ordinal: i64) -> String {
    format!("{}-{}-{ordinal}", Meta::of(template).name(), Meta::of(set).name())
}

/// The names of an ordinal's claims.
pub(super) fn claim_names(set: &Value, ordinal: i64) -> impl Iterator<Item = String> {
    let templates = list(set, "/spec/volumeClaimTemplates").iter();
    templates.map(move |template| claim_name(set, template, ordinal))
}

/// The claims of an ordinal, with the owner that the set's policy gives them.
pub(super) fn claims(set: &Value, ordinal: i64) -> Vec<Value> {
    let one = |template: &Value| {
        let mut labels = set["spec"]["selector"]["matchLabels"].clone();
        if !labels.is_object() {
            labels = json!({});
        }
        for (key, value) in template["metadata"]["labels"].as_object().into_iter().flatten() {
            labels[key] = value.clone();
        }
        let mut metadata = json!({"name": claim_name(set, template, ordinal), "namespace": Meta::of(set).namespace(),
            "labels": labels});
        if let Some(owner) = retention::owner_of_new(set) {
            metadata["ownerReferences"] = json!([owner]);
        }
        if let Some(annotations) = template["metadata"].get("annotations") {
            metadata["annotations"] = annotations.clone();
        }
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"]})
    };
    list(set, "/spec/volumeClaimTemplates").iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_a_name_and_claims() {
        let set = json!({"metadata": {"name": "web", "namespace": "n", "uid": "W"}, "spec": {"serviceName": "www",
            "selector": {"matchLabels": {"a": "b"}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]}});
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"volumes": [{"name": "data", "emptyDir": {}}, {"name": "x"}]}});
        let pod = pod(&set, &template, "web-abc", 2);
        assert_eq!(pod["metadata"]["name"], "web-2");
        assert_eq!(
            pod["metadata"]["labels"],
            json!({"a": "b", "statefulset.kubernetes.io/pod-name": "web-2", "apps.kubernetes.io/pod-index": "2",
                "controller-revision-hash": "web-abc"})
        );
        assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("web-2"), &json!("www")));
        assert_eq!(
            pod["spec"]["volumes"],
            json!([{"name": "x"}, {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-2"}}])
        );
        assert_eq!(claims(&set, 2)[0]["metadata"]["name"], "data-web-2");
    }
}
