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
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const PROVISIONER: [&str; 2] =
    ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"];

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
/// `volumes`: the one that the claim names, or those that come into question; `waiting`: the pods without a node that mount it.
pub(super) fn claim(
    claim: &Value,
    volumes: &[Arc<Object>],
    class: Option<&Value>,
    waiting: &dyn Fn() -> Vec<String>,
) -> Vec<Step> {
    let named = text(claim, "/spec/volumeName");
    if named.is_empty() {
        return unbound(claim, volumes, class, waiting);
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
    if !is_for(volume.value(), claim) {
        return vec![];
    }
    if volume.value()["spec"]["claimRef"].is_null()
        && let Some(why) = mismatch(claim, volume.value())
    {
        let message = format!("Cannot bind to requested volume {named:?}: {why}");
        return tell(claim, true, "VolumeMismatch", &message);
    }
    bind(claim, volume.value())
}

/// Why a claim cannot have the volume that it names.
fn mismatch(claim: &Value, volume: &Value) -> Option<&'static str> {
    let wanted = size(claim, "/spec/resources/requests/storage");
    let modes = list(volume, "/spec/accessModes");
    if size(volume, "/spec/capacity/storage") < wanted {
        Some("requested PV is too small")
    } else if class_of(volume) != class_of(claim) {
        Some("storageClassName does not match")
    } else if mode(volume) != mode(claim) {
        Some("incompatible volumeMode")
    } else if !list(claim, "/spec/accessModes").iter().all(|mode| modes.contains(mode)) {
        Some("incompatible accessMode")
    } else {
        None
    }
}

fn size(object: &Value, pointer: &str) -> Option<Quantity> {
    Quantity::parse(text(object, pointer)).ok()
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
    waiting: &dyn Fn() -> Vec<String>,
) -> Vec<Step> {
    if is_deleting(claim) {
        return vec![];
    }
    // The scheduler binds a volume to the claim, or writes the node for which a driver is to make one.
    let waits = class.is_some_and(|class| class["volumeBindingMode"] == "WaitForFirstConsumer")
        && claim["metadata"]["annotations"].get(SELECTED_NODE).is_none();
    if let Some(volume) = best(claim, volumes, waits) {
        return bind(claim, volume.value());
    }
    if waits {
        return wait(claim, &waiting());
    }
    if class_of(claim).is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set";
        return tell(claim, false, "FailedBinding", message);
    }
    match class {
        Some(class) => provision(claim, text(class, "/provisioner")),
        None => {
            let message = format!("storageclass.storage.k8s.io \"{}\" not found", class_of(claim));
            tell(claim, true, "ProvisioningFailed", &message)
        }
    }
}

fn wait(claim: &Value, pods: &[String]) -> Vec<Step> {
    let (reason, message) = match pods {
        [] => ("WaitForFirstConsumer", "waiting for first consumer to be created before binding".to_owned()),
        [pod] => ("WaitForPodScheduled", format!("waiting for pod {pod} to be scheduled")),
        pods => ("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", pods.join(","))),
    };
    tell(claim, false, reason, &message)
}

/// A driver outside finds the claim by its own name on it; there is none inside.
fn provision(claim: &Value, provisioner: &str) -> Vec<Step> {
    if provisioner.starts_with("kubernetes.io/") {
        let message = format!("no volume plugin matched name: {provisioner}");
        return tell(claim, true, "ProvisioningFailed", &message);
    }
    let annotations = &claim["metadata"]["annotations"];
    if PROVISIONER.iter().any(|name| annotations[*name] != provisioner) {
        let mut fresh = claim.clone();
        PROVISIONER.iter().for_each(|name| annotate(&mut fresh, name, provisioner));
        // The rest follows when this is seen.
        return vec![Step::Claim(fresh)];
    }
    let message = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
    );
    tell(claim, false, "ExternalProvisioning", &message)
}

fn tell(claim: &Value, warning: bool, reason: &'static str, message: &str) -> Vec<Step> {
    vec![Step::Tell { claim: claim.clone(), warning, reason, message: message.to_owned() }]
}

/// The smallest volume that fits; one that is meant for the claim before all others, and alone where `meant_alone`.
fn best<'a>(claim: &Value, volumes: &'a [Arc<Object>], meant_alone: bool) -> Option<&'a Arc<Object>> {
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
        !meant_alone
            && volume.value()["spec"]["claimRef"].is_null()
            && text(volume.value(), "/status/phase") == "Available"
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
            annotate(&mut fresh, BOUND_BY_CONTROLLER, "yes");
        }
        // The rest follows when the volume's change is seen.
        return vec![Step::Volume(fresh)];
    }
    let completed = claim["metadata"]["annotations"].get(BIND_COMPLETED).is_some();
    if claim["spec"]["volumeName"] != *name || !completed {
        let mut fresh = claim.clone();
        if claim["spec"]["volumeName"] != *name {
            annotate(&mut fresh, BOUND_BY_CONTROLLER, "yes");
        }
        fresh["spec"]["volumeName"] = name.clone();
        annotate(&mut fresh, BIND_COMPLETED, "yes");
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

fn annotate(object: &mut Value, name: &str, value: &str) {
    if !object["metadata"]["annotations"].is_object() {
        object["metadata"]["annotations"] = json!({});
    }
    object["metadata"]["annotations"][name] = value.into();
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
mod tests;
