//! What a pod's claims say about where it may go: those that have a volume, those that hold the pod back, and those whose
//! class waits for the pod's node.
//!
//! ```text
//! bound                                -> where the volume can be reached ([`crate::volumes`])
//! unbound, class Immediate or none     -> no node yet: "pod has unbound immediate PersistentVolumeClaims"
//! unbound, class WaitForFirstConsumer
//!     a volume fits, the node reaches it      -> promised to the claim
//!     none, but the class has a provisioner   -> the node is written on the claim
//! ```
//!
//! Pure. Not who writes it (`promises`); not how much room a driver has left for new volumes.
//!
//! Reference: upstream's plugin VolumeBinding and its `FindPodVolumes`; `FindMatchingVolume` of component-helpers.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::quantity::Quantity;
use api::selector::LabelSelector;
use client::{Key, Object};
use serde_json::{Value, json};

use crate::affinity::NodeAffinity;
use crate::node::{Node, NodeName};
use crate::pod::Pod;
use crate::volumes::Reach;

/// On a claim: the node for which its volume is to be made.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// Where claims, volumes and classes are looked up.
pub trait Lookup {
    fn claim(&self, key: &Key) -> Option<Arc<Object>>;
    fn volume(&self, name: &str) -> Option<Arc<Object>>;
    fn class(&self, name: &str) -> Option<Arc<Object>>;
    /// The volumes that are a claim's, or that are free and of its class.
    fn candidates(&self, claim: &Key, class: &str) -> Vec<Arc<Object>>;
    /// The claim to which a volume is promised.
    fn promised(&self, volume: &str) -> Option<Key>;
    /// The node that was chosen for a claim and is perhaps not written yet.
    fn chosen(&self, claim: &Key) -> Option<NodeName>;
}

/// A pod's claims, as far as a node is to be found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims {
    /// Why no node will do.
    pub refusal: Option<String>,
    /// Where the volumes of bound claims can be reached.
    pub bound: Vec<Reach>,
    /// A claim is bound to a volume that is gone.
    pub lost: bool,
    /// Those that get a volume when the pod has a node; small ones first.
    open: Vec<Open>,
}

/// A claim whose class waits for its first consumer.
#[derive(Clone, Debug, PartialEq)]
struct Open {
    claim: Key,
    /// The smallest first.
    candidates: Vec<Candidate>,
    /// Where a driver can make a volume.
    provisioned: Option<NodeAffinity>,
    /// A pod before this one has chosen.
    node: Option<NodeName>,
}

#[derive(Clone, Debug, PartialEq)]
struct Candidate {
    name: String,
    reach: Reach,
}

/// What a claim gets with a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    Volume { claim: Key, volume: String },
    Provision { claim: Key },
}

impl Claims {
    pub fn read(pod: &Pod, lookup: &dyn Lookup) -> Claims {
        let mut out = Claims::default();
        let mut sizes = Vec::new();
        for wanted in &pod.wish.claims {
            let key = Key::new(pod.key.namespace.as_str(), wanted.name.as_str());
            let Some(claim) = lookup.claim(&key) else {
                out.refusal = Some(missing(&wanted.name, wanted.ephemeral));
                return out;
            };
            let claim = claim.value();
            if let Some(why) = unfit(claim, pod, wanted.ephemeral) {
                out.refusal = Some(why);
                return out;
            }
            if is_bound(claim) {
                match lookup.volume(claim["spec"]["volumeName"].as_str().unwrap_or_default()) {
                    Some(volume) => out.bound.push(Reach::read(volume.value())),
                    None => out.lost = true,
                }
                continue;
            }
            let class = lookup.class(class_of(claim)).filter(|class| {
                class.value()["volumeBindingMode"] == "WaitForFirstConsumer"
                    && claim["spec"]["volumeName"].as_str().is_none_or(str::is_empty)
            });
            let Some(class) = class else {
                out.refusal = Some("pod has unbound immediate PersistentVolumeClaims".to_owned());
                return out;
            };
            sizes.push((
                size(claim, "/spec/resources/requests/storage"),
                open(&key, claim, class.value(), lookup),
            ));
        }
        sizes.sort_by_key(|(size, _)| *size);
        out.open = sizes.into_iter().map(|(_, open)| open).collect();
        out
    }

    /// Nothing is to be promised.
    pub fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    /// What each open claim gets on a node; none where one of them gets nothing.
    pub fn choose(&self, node: &Node) -> Option<Vec<Choice>> {
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        self.open
            .iter()
            .map(|open| {
                let claim = open.claim.clone();
                if let Some(chosen) = &open.node {
                    return (*chosen == node.name).then_some(Choice::Provision { claim });
                }
                let fits = |candidate: &&Candidate| {
                    !taken.contains(candidate.name.as_str()) && candidate.reach.admits(node)
                };
                if let Some(found) = open.candidates.iter().find(fits) {
                    taken.insert(&found.name);
                    return Some(Choice::Volume { claim, volume: found.name.clone() });
                }
                let made = open.provisioned.as_ref().is_some_and(|topologies| topologies.admits(node));
                made.then_some(Choice::Provision { claim })
            })
            .collect()
    }
}

fn missing(name: &str, ephemeral: bool) -> String {
    match ephemeral {
        true => {
            format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}")
        }
        false => format!("persistentvolumeclaim {name:?} not found"),
    }
}

fn unfit(claim: &Value, pod: &Pod, ephemeral: bool) -> Option<String> {
    let meta = &claim["metadata"];
    let name = meta["name"].as_str().unwrap_or_default();
    if claim["status"]["phase"] == "Lost" {
        let volume = claim["spec"]["volumeName"].as_str().unwrap_or_default();
        return Some(format!(
            "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"
        ));
    }
    if meta["deletionTimestamp"].is_string() {
        return Some(format!("persistentvolumeclaim {name:?} is being deleted"));
    }
    let mut owners = meta["ownerReferences"].as_array().into_iter().flatten();
    if ephemeral && !owners.any(|owner| owner["uid"] == pod.uid.as_str()) {
        let key = &pod.key;
        return Some(format!(
            "PVC {}/{name} was not created for pod {key} (pod is not owner)",
            key.namespace
        ));
    }
    None
}

/// The controller has written all that there is to write.
pub fn is_bound(claim: &Value) -> bool {
    claim["spec"]["volumeName"].as_str().is_some_and(|name| !name.is_empty())
        && claim["metadata"]["annotations"].get(BIND_COMPLETED).is_some()
}

fn open(key: &Key, claim: &Value, class: &Value, lookup: &dyn Lookup) -> Open {
    let written = claim["metadata"]["annotations"][SELECTED_NODE].as_str().map(NodeName::new);
    let mut volumes: Vec<(Option<Quantity>, Arc<Object>)> = lookup
        .candidates(key, class_of(claim))
        .into_iter()
        .filter(|volume| fits(volume.value(), claim))
        .filter(|volume| lookup.promised(&volume.key.name).is_none_or(|promised| promised == *key))
        .map(|volume| (size(volume.value(), "/spec/capacity/storage"), volume))
        .collect();
    // One that is the claim's already is the only one.
    let is_its_own = |volume: &Object| {
        !volume.value()["spec"]["claimRef"].is_null() || lookup.promised(&volume.key.name).is_some()
    };
    if volumes.iter().any(|(_, volume)| is_its_own(volume)) {
        volumes.retain(|(_, volume)| is_its_own(volume));
    }
    volumes.sort_by(|(one, a), (other, b)| one.cmp(other).then_with(|| a.key.name.cmp(&b.key.name)));
    let candidates = volumes
        .into_iter()
        .map(|(_, volume)| Candidate { name: volume.key.name.clone(), reach: Reach::read(volume.value()) });
    let provisioner = class["provisioner"].as_str().unwrap_or_default();
    Open {
        claim: key.clone(),
        candidates: candidates.collect(),
        provisioned: (!provisioner.is_empty() && provisioner != NO_PROVISIONER).then(|| topologies(class)),
        node: written.or_else(|| lookup.chosen(key)),
    }
}

/// A volume that the claim could have, wherever it is.
fn fits(volume: &Value, claim: &Value) -> bool {
    let wanted = size(claim, "/spec/resources/requests/storage");
    let (reference, meta) = (&volume["spec"]["claimRef"], &claim["metadata"]);
    let is_its_own = !reference.is_null()
        && reference["name"] == meta["name"]
        && reference["namespace"] == meta["namespace"]
        && (reference["uid"].is_null() || reference["uid"] == meta["uid"]);
    let is_free = reference.is_null() && volume["status"]["phase"] == "Available";
    let list = |object: &Value| object["spec"]["accessModes"].as_array().cloned().unwrap_or_default();
    let mode = |object: &Value| object["spec"]["volumeMode"].as_str().unwrap_or("Filesystem").to_owned();
    let modes = list(volume);
    let chosen = || {
        let selector = &claim["spec"]["selector"];
        let empty = serde_json::Map::new();
        let labels = volume["metadata"]["labels"].as_object().unwrap_or(&empty);
        !selector.is_object()
            || LabelSelector::from_object(Some(selector)).is_ok_and(|selector| selector.matches(labels))
    };
    volume["metadata"]["deletionTimestamp"].is_null()
        && (is_its_own || is_free)
        && size(volume, "/spec/capacity/storage") >= wanted
        && wanted.is_some()
        && list(claim).iter().all(|wanted| modes.contains(wanted))
        && class_of(volume) == class_of(claim)
        && mode(volume) == mode(claim)
        && (is_its_own || chosen())
}

fn size(object: &Value, pointer: &str) -> Option<Quantity> {
    Quantity::parse(object.pointer(pointer)?.as_str()?).ok()
}

/// The name of a class; empty where there is none.
pub fn class_of(object: &Value) -> &str {
    let old = object["metadata"]["annotations"][BETA_CLASS].as_str();
    old.or_else(|| object["spec"]["storageClassName"].as_str()).unwrap_or_default()
}

/// Where a class lets volumes be made; everywhere where it says nothing.
fn topologies(class: &Value) -> NodeAffinity {
    let terms: Vec<Value> = class["allowedTopologies"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|term| {
            let expressions = term["matchLabelExpressions"].as_array().into_iter().flatten();
            let expressions =
                expressions.map(|one| json!({"key": one["key"], "operator": "In", "values": one["values"]}));
            json!({"matchExpressions": expressions.collect::<Vec<_>>()})
        })
        .collect();
    match terms.is_empty() {
        true => NodeAffinity::default(),
        false => NodeAffinity::of_volume(&json!({"required": {"nodeSelectorTerms": terms}})),
    }
}
