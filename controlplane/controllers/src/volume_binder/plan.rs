//! Which volume fits a claim, and the next step towards their being bound. Pure.

use std::sync::Arc;

use api::quantity::Quantity;
use api::selector::LabelSelector;
use client::{Key, Object};
use serde_json::{Value, json};

use super::class_of;
use crate::fields::{is_deleting, list, map, text};

const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Volume(Value),
    VolumeStatus(Value),
    Claim(Value),
    ClaimStatus(Value),
    Tell { claim: Value, warning: bool, reason: &'static str, message: String },
}

/// The claim that a volume is for.
pub(super) fn claim_of(volume: &Value) -> Option<Key> {
    let claim = &volume["spec"]["claimRef"];
    Some(Key::new(claim["namespace"].as_str()?, claim["name"].as_str()?))
}

/// The next steps for a claim.
///
/// `volumes`: the one that the claim names, or those that come into question; `used`: whether a pod waits for it.
pub(super) fn claim(
    claim: &Value,
    volumes: &[Arc<Object>],
    class: Option<&Value>,
    used: &dyn Fn() -> bool,
) -> Vec<Step> {
    let named = text(claim, "/spec/volumeName");
    if named.is_empty() {
        return unbound(claim, volumes, class, used);
    }
    let Some(volume) = volumes.iter().find(|volume| volume.key.name == named) else {
        let completed = claim["metadata"]["annotations"].get(BIND_COMPLETED).is_some();
        return if completed && text(claim, "/status/phase") != "Lost" {
            let mut fresh = claim.clone();
            fresh["status"] = json!({"phase": "Lost"});
            let message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!".to_owned();
            let told = Step::Tell { claim: claim.clone(), warning: true, reason: "ClaimLost", message };
            vec![Step::ClaimStatus(fresh), told]
        } else {
            vec![]
        };
    };
    if is_for(volume.value(), claim) { bind(claim, volume.value()) } else { vec![] }
}

/// The volume names this very claim.
fn is_for(volume: &Value, claim: &Value) -> bool {
    let reference = &volume["spec"]["claimRef"];
    reference.is_null()
        || (reference["name"] == claim["metadata"]["name"]
            && reference["namespace"] == claim["metadata"]["namespace"]
            && (reference["uid"].is_null() || reference["uid"] == claim["metadata"]["uid"]))
}

fn unbound(
    claim: &Value,
    volumes: &[Arc<Object>],
    class: Option<&Value>,
    used: &dyn Fn() -> bool,
) -> Vec<Step> {
    if is_deleting(claim) {
        return vec![];
    }
    let waits = class.is_some_and(|class| class["volumeBindingMode"] == "WaitForFirstConsumer");
    if waits && !used() {
        return tell(
            claim,
            false,
            "WaitForFirstConsumer",
            "waiting for first consumer to be created before binding",
        );
    }
    if let Some(volume) = best(claim, volumes) {
        return bind(claim, volume.value());
    }
    let provisioner = class.map(|class| text(class, "/provisioner")).unwrap_or_default();
    if class_of(claim).is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set";
        return tell(claim, false, "FailedBinding", message);
    }
    if class.is_none() {
        let message = format!("storageclass.storage.k8s.io \"{}\" not found", class_of(claim));
        return tell(claim, true, "ProvisioningFailed", &message);
    }
    let message = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
    );
    tell(claim, false, "ExternalProvisioning", &message)
}

fn tell(claim: &Value, warning: bool, reason: &'static str, message: &str) -> Vec<Step> {
    vec![Step::Tell { claim: claim.clone(), warning, reason, message: message.to_owned() }]
}

/// The smallest volume that fits; one that is meant for the claim before all others.
fn best<'a>(claim: &Value, volumes: &'a [Arc<Object>]) -> Option<&'a Arc<Object>> {
    let size = |object: &Value, pointer: &str| Quantity::parse(text(object, pointer)).ok();
    let wanted = size(claim, "/spec/resources/requests/storage")?;
    let selector = LabelSelector::from_object(claim.pointer("/spec/selector")).ok();
    let chosen = claim["spec"]["selector"].is_object();
    let fits = |volume: &&Arc<Object>| {
        let value = volume.value();
        let modes = list(value, "/spec/accessModes");
        let empty = serde_json::Map::new();
        let labels = map(value, "/metadata/labels").unwrap_or(&empty);
        !is_deleting(value)
            && size(value, "/spec/capacity/storage").is_some_and(|size| size >= wanted)
            && list(claim, "/spec/accessModes").iter().all(|mode| modes.contains(mode))
            && class_of(value) == class_of(claim)
            && mode(value) == mode(claim)
            && (!chosen || selector.as_ref().is_some_and(|selector| selector.matches(labels)))
    };
    let meant = |volume: &&Arc<Object>| {
        !volume.value()["spec"]["claimRef"].is_null() && is_for(volume.value(), claim)
    };
    let free = |volume: &&Arc<Object>| {
        volume.value()["spec"]["claimRef"].is_null() && text(volume.value(), "/status/phase") != "Released"
    };
    let smallest = |a: &&Arc<Object>, b: &&Arc<Object>| {
        let of = |volume: &Arc<Object>| size(volume.value(), "/spec/capacity/storage");
        of(a).cmp(&of(b)).then_with(|| a.key.name.cmp(&b.key.name))
    };
    volumes
        .iter()
        .filter(meant)
        .find(fits)
        .or_else(|| volumes.iter().filter(free).filter(fits).min_by(smallest))
}

fn mode(object: &Value) -> &str {
    object["spec"]["volumeMode"].as_str().unwrap_or("Filesystem")
}

/// What is missing for the two to be bound: the volume first.
fn bind(claim: &Value, volume: &Value) -> Vec<Step> {
    let mut steps = Vec::new();
    let meta = &claim["metadata"];
    let reference = json!({"kind": "PersistentVolumeClaim", "namespace": meta["namespace"], "name": meta["name"],
        "uid": meta["uid"], "apiVersion": "v1", "resourceVersion": meta["resourceVersion"]});
    let name = &volume["metadata"]["name"];
    if volume["spec"]["claimRef"]["uid"] != meta["uid"] {
        let by_us = volume["spec"]["claimRef"].is_null();
        let mut fresh = volume.clone();
        fresh["spec"]["claimRef"] = reference;
        if by_us {
            annotate(&mut fresh, BOUND_BY_CONTROLLER);
        }
        // The rest follows when the volume's change is seen.
        return vec![Step::Volume(fresh)];
    }
    let completed = claim["metadata"]["annotations"].get(BIND_COMPLETED).is_some();
    if claim["spec"]["volumeName"] != *name || !completed {
        let mut fresh = claim.clone();
        if claim["spec"]["volumeName"] != *name {
            annotate(&mut fresh, BOUND_BY_CONTROLLER);
        }
        fresh["spec"]["volumeName"] = name.clone();
        annotate(&mut fresh, BIND_COMPLETED);
        steps.push(Step::Claim(fresh));
        return steps;
    }
    let status = json!({"phase": "Bound", "accessModes": volume["spec"]["accessModes"], "capacity": volume["spec"]["capacity"]});
    let same =
        ["phase", "accessModes", "capacity"].iter().all(|field| claim["status"][*field] == status[*field]);
    if !same {
        let mut fresh = claim.clone();
        for (field, value) in status.as_object().into_iter().flatten() {
            fresh["status"][field] = value.clone();
        }
        steps.push(Step::ClaimStatus(fresh));
    }
    steps
}

fn annotate(object: &mut Value, name: &str) {
    if !object["metadata"]["annotations"].is_object() {
        object["metadata"]["annotations"] = json!({});
    }
    object["metadata"]["annotations"][name] = "yes".into();
}

/// The next step for a volume: its phase.
pub(super) fn volume(volume: &Value, claim: Option<&Value>) -> Vec<Step> {
    let reference = &volume["spec"]["claimRef"];
    let phase = match (reference.is_null() || reference["uid"].is_null(), claim) {
        (true, _) => "Available",
        (false, Some(claim)) if claim["metadata"]["uid"] == reference["uid"] => "Bound",
        // Its claim is gone; what it holds is not for anybody else.
        (false, _) => "Released",
    };
    if text(volume, "/status/phase") == phase {
        return vec![];
    }
    let mut fresh = volume.clone();
    fresh["status"]["phase"] = phase.into();
    vec![Step::VolumeStatus(fresh)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::Resource;

    fn pv(name: &str, size: &str, class: &str) -> Arc<Object> {
        Arc::new(Object::of(
            &Resource::VOLUMES,
            json!({"metadata": {"name": name}, "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"],
                "storageClassName": class}, "status": {"phase": "Available"}}),
        ))
    }

    fn pvc(class: &str) -> Value {
        json!({"metadata": {"name": "c", "namespace": "n", "uid": "C"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "storageClassName": class, "resources": {"requests": {"storage": "2Gi"}}}, "status": {"phase": "Pending"}})
    }

    #[test]
    fn the_smallest_that_fits() {
        let volumes = [
            pv("big", "9Gi", "s"),
            pv("small", "1Gi", "s"),
            pv("right", "3Gi", "s"),
            pv("other", "2Gi", "t"),
        ];
        assert_eq!(best(&pvc("s"), &volumes).map(|volume| volume.key.name.as_str()), Some("right"));
        assert!(best(&pvc("u"), &volumes).is_none());
        let mut block = pvc("s");
        block["spec"]["volumeMode"] = "Block".into();
        assert!(best(&block, &volumes).is_none());
        let mut meant = pv("meant", "5Gi", "s").value().clone();
        meant["spec"]["claimRef"] = json!({"namespace": "n", "name": "c"});
        let volumes = [pv("right", "3Gi", "s"), Arc::new(Object::of(&Resource::VOLUMES, meant))];
        assert_eq!(best(&pvc("s"), &volumes).map(|volume| volume.key.name.as_str()), Some("meant"));
    }

    #[test]
    fn step_by_step_to_bound() {
        let (mut there, mut wanted) = (pv("v", "3Gi", "s").value().clone(), pvc("s"));
        let mut rounds = 0;
        loop {
            let volumes = [Arc::new(Object::of(&Resource::VOLUMES, there.clone()))];
            let mut steps = claim(&wanted, &volumes, None, &|| false);
            steps.extend(volume(&there, Some(&wanted)));
            if steps.is_empty() || rounds > 9 {
                break;
            }
            rounds += 1;
            for step in steps {
                match step {
                    Step::Volume(fresh) | Step::VolumeStatus(fresh) => there = fresh,
                    Step::Claim(fresh) | Step::ClaimStatus(fresh) => wanted = fresh,
                    Step::Tell { .. } => {}
                }
            }
        }
        assert_eq!(
            (&there["status"]["phase"], &wanted["status"]["phase"]),
            (&json!("Bound"), &json!("Bound"))
        );
        assert_eq!(
            (&wanted["spec"]["volumeName"], &wanted["status"]["capacity"]["storage"]),
            (&json!("v"), &json!("3Gi"))
        );
        let released = volume(&there, None);
        assert!(
            matches!(released.as_slice(), [Step::VolumeStatus(fresh)] if fresh["status"]["phase"] == "Released")
        );
    }

    #[test]
    fn a_claim_that_waits_says_why() {
        let reason = |steps: Vec<Step>| match steps.as_slice() {
            [Step::Tell { reason, .. }] => *reason,
            _ => "",
        };
        assert_eq!(reason(claim(&pvc(""), &[], None, &|| false)), "FailedBinding");
        let class = json!({"provisioner": "p", "volumeBindingMode": "WaitForFirstConsumer"});
        assert_eq!(reason(claim(&pvc("s"), &[], Some(&class), &|| false)), "WaitForFirstConsumer");
        assert_eq!(reason(claim(&pvc("s"), &[], Some(&class), &|| true)), "ExternalProvisioning");
        assert_eq!(reason(claim(&pvc("s"), &[], None, &|| true)), "ProvisioningFailed");
    }
}
