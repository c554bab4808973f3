//! Volumes and nodes that claims get with the decision for a pod, until the API has them.
//!
//! ```text
//! decided --write volume.claimRef or the claim's selected-node--> written --claims are bound--> the pod is bound
//!     |                                                              |
//!     +------------------ refused, or not within LONGEST ------------+--> all is given back
//! ```
//!
//! What was written stays written: the next decision finds it and goes on with it.
//!
//! **Invariant.** A volume is promised to one claim at a time, a claim to one node.
//!
//! Reference: upstream's `AssumePodVolumes` and `BindPodVolumes`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, ClientError, Key, Object, Resource};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::claims::{Choice, Lookup, SELECTED_NODE, is_bound};
use crate::node::NodeName;
use crate::pod::{Pod, PodUid};

const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// How long claims may take until they are bound.
const LONGEST: Duration = Duration::from_secs(600);

/// Everything that is promised.
#[derive(Debug, Default)]
pub struct Promises {
    of: HashMap<PodUid, Promise>,
}

#[derive(Debug)]
struct Promise {
    pod: Arc<Pod>,
    node: NodeName,
    choices: Vec<Choice>,
    /// None while it is being written.
    until: Option<Instant>,
    /// The versions of claims that were written: older copies do not count.
    versions: Versions,
}

/// Resource versions by claim.
pub type Versions = HashMap<Key, u64>;

/// The claims as they are now.
pub type Claims<'a> = dyn Fn(&Key) -> Option<Arc<Object>> + 'a;

/// What becomes of a pod that waits for its claims.
#[derive(Debug)]
pub enum Settled {
    Bound(Arc<Pod>, NodeName),
    Failed(Arc<Pod>, NodeName, String),
}

impl Promises {
    pub fn make(&mut self, pod: Arc<Pod>, node: NodeName, choices: Vec<Choice>) {
        self.of
            .insert(pod.uid.clone(), Promise { pod, node, choices, until: None, versions: Versions::new() });
    }

    pub fn written(&mut self, uid: &PodUid, versions: Versions, now: Instant) {
        if let Some(promise) = self.of.get_mut(uid) {
            promise.until = Some(now + LONGEST);
            promise.versions = versions;
        }
    }

    pub fn take_back(&mut self, uid: &PodUid) {
        self.of.remove(uid);
    }

    pub fn volume(&self, name: &str) -> Option<Key> {
        self.choices().find_map(|(choice, _)| match choice {
            Choice::Volume { claim, volume } if volume == name => Some(claim.clone()),
            _ => None,
        })
    }

    pub fn node(&self, wanted: &Key) -> Option<NodeName> {
        self.choices().find_map(|(choice, node)| match choice {
            Choice::Provision { claim } if claim == wanted => Some(node.clone()),
            _ => None,
        })
    }

    fn choices(&self) -> impl Iterator<Item = (&Choice, &NodeName)> {
        self.of.values().flat_map(|promise| promise.choices.iter().map(|choice| (choice, &promise.node)))
    }

    /// When the first of those that wait has waited long enough.
    pub fn next_due(&self) -> Option<Instant> {
        self.of.values().filter_map(|promise| promise.until).min()
    }

    /// Takes out the pods whose claims are bound, or will not be.
    pub fn settle(&mut self, claims: &Claims<'_>, now: Instant) -> Vec<Settled> {
        let mut settled = Vec::new();
        self.of.retain(|_, promise| {
            let Some(until) = promise.until else { return true };
            let left: Vec<Result<bool, String>> =
                promise.choices.iter().map(|choice| state(choice, promise, claims)).collect();
            let outcome = if let Some(Err(why)) = left.iter().find(|one| one.is_err()) {
                Settled::Failed(promise.pod.clone(), promise.node.clone(), why.clone())
            } else if left.iter().all(|one| *one == Ok(true)) {
                Settled::Bound(promise.pod.clone(), promise.node.clone())
            } else if until <= now {
                let why = "timed out waiting for the condition".to_owned();
                Settled::Failed(promise.pod.clone(), promise.node.clone(), why)
            } else {
                return true;
            };
            settled.push(outcome);
            false
        });
        settled
    }
}

/// Whether a claim is bound; an error where it will not be on this node.
fn state(choice: &Choice, promise: &Promise, claims: &Claims<'_>) -> Result<bool, String> {
    let (Choice::Volume { claim: key, .. } | Choice::Provision { claim: key }) = choice;
    let Some(claim) = claims(key) else {
        return Err(format!("persistentvolumeclaim {:?} not found", key.name));
    };
    let claim = claim.value();
    if is_bound(claim) {
        return Ok(true);
    }
    let is_older = promise.versions.get(key).is_some_and(|written| version(claim) < *written);
    if let (Choice::Provision { .. }, false) = (choice, is_older) {
        let node = promise.node.as_str();
        // A driver that cannot make one there takes the node away.
        match claim["metadata"]["annotations"][SELECTED_NODE].as_str() {
            Some(chosen) if chosen == node => {}
            Some(chosen) => {
                return Err(format!(
                    "selectedNode annotation value {chosen:?} not set to scheduled node {node:?}"
                ));
            }
            None => return Err(format!("provisioning failed for PVC {:?}", key.name)),
        }
    }
    Ok(false)
}

/// One write.
#[derive(Debug, PartialEq)]
pub enum Write {
    Volume(Value),
    Claim(Value),
}

/// The writes that make the choices known; none for what is written already.
pub fn writes(choices: &[Choice], node: &NodeName, lookup: &dyn Lookup) -> Vec<Write> {
    let mut out = Vec::new();
    for choice in choices {
        let (Choice::Volume { claim, .. } | Choice::Provision { claim }) = choice;
        let Some(claim) = lookup.claim(claim) else { continue };
        let claim = claim.value();
        match choice {
            Choice::Volume { volume, .. } => {
                let Some(volume) = lookup.volume(volume) else { continue };
                out.extend(for_claim(volume.value(), claim).map(Write::Volume));
            }
            Choice::Provision { .. } => out.extend(for_node(claim, node).map(Write::Claim)),
        }
    }
    out
}

fn for_claim(volume: &Value, claim: &Value) -> Option<Value> {
    let meta = &claim["metadata"];
    if volume["spec"]["claimRef"]["uid"] == meta["uid"] {
        return None;
    }
    let mut fresh = volume.clone();
    if volume["spec"]["claimRef"].is_null() {
        annotate(&mut fresh, BOUND_BY_CONTROLLER, "yes");
    }
    fresh["spec"]["claimRef"] = json!({"kind": "PersistentVolumeClaim", "namespace": meta["namespace"],
        "name": meta["name"], "uid": meta["uid"], "apiVersion": "v1", "resourceVersion": meta["resourceVersion"]});
    Some(fresh)
}

fn for_node(claim: &Value, node: &NodeName) -> Option<Value> {
    if claim["metadata"]["annotations"][SELECTED_NODE] == node.as_str() {
        return None;
    }
    let mut fresh = claim.clone();
    annotate(&mut fresh, SELECTED_NODE, node.as_str());
    Some(fresh)
}

fn annotate(object: &mut Value, name: &str, value: &str) {
    if !object["metadata"]["annotations"].is_object() {
        object["metadata"]["annotations"] = json!({});
    }
    object["metadata"]["annotations"][name] = value.into();
}

/// Writes, one after the other; the first that fails is the last.
pub async fn write(client: &Client, writes: Vec<Write>) -> Result<Versions, ClientError> {
    let mut versions = Versions::new();
    for write in writes {
        match write {
            Write::Volume(volume) => drop(client.update(&Resource::VOLUMES, &volume).await?),
            Write::Claim(claim) => {
                let written = client.update(&Resource::VOLUME_CLAIMS, &claim).await?;
                let text = |field: &str| written["metadata"][field].as_str().unwrap_or_default().to_owned();
                versions.insert(Key::new(text("namespace"), text("name")), version(&written));
            }
        }
    }
    Ok(versions)
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices() -> Vec<Choice> {
        vec![
            Choice::Volume { claim: Key::new("n", "c"), volume: "v".into() },
            Choice::Provision { claim: Key::new("n", "d") },
        ]
    }

    /// A claim: bound, or with a node written on it.
    fn claim(name: &str, volume: &str, node: Option<&str>, version: &str) -> Value {
        let mut annotations = json!({});
        if !volume.is_empty() {
            annotate_in(&mut annotations, "pv.kubernetes.io/bind-completed", "yes");
        }
        if let Some(node) = node {
            annotate_in(&mut annotations, SELECTED_NODE, node);
        }
        let meta = json!({"namespace": "n", "name": name, "uid": name, "resourceVersion": version, "annotations": annotations});
        json!({"metadata": meta, "spec": {"volumeName": volume}})
    }

    fn annotate_in(annotations: &mut Value, name: &str, value: &str) {
        annotations[name] = value.into();
    }

    /// The pod's end on node `a` with these claims after so many seconds.
    fn check(claims: &[Value], seconds: u64, expected: &str) {
        let pod = Arc::new(Pod::read(&json!({"metadata": {"name": "p", "namespace": "n", "uid": "P"}})));
        let mut promises = Promises::default();
        let now = Instant::now();
        promises.make(pod.clone(), NodeName::new("a"), choices());
        assert_eq!((promises.volume("v"), promises.volume("w")), (Some(Key::new("n", "c")), None));
        assert_eq!(promises.node(&Key::new("n", "d")), Some(NodeName::new("a")));
        let found = |key: &Key| {
            let found = claims.iter().find(|claim| claim["metadata"]["name"] == key.name.as_str())?;
            Some(Arc::new(Object::of(&Resource::VOLUME_CLAIMS, found.clone())))
        };
        assert!(promises.settle(&found, now).is_empty(), "nothing is written yet");
        promises.written(&pod.uid, Versions::from([(Key::new("n", "d"), 7)]), now);
        let told = match promises.settle(&found, now + Duration::from_secs(seconds)).as_slice() {
            [] => "waits".to_owned(),
            [Settled::Bound(_, node)] => format!("bound {}", node.as_str()),
            [Settled::Failed(_, _, why)] => why.clone(),
            many => format!("{many:?}"),
        };
        assert_eq!(told, expected, "{claims:?}");
        assert_eq!(promises.next_due().is_some(), expected == "waits");
    }

    #[test]
    fn a_pod_waits_until_its_claims_are_bound() {
        let (free, bound) = (claim("c", "", None, "1"), claim("c", "v", None, "1"));
        let chosen = || claim("d", "", Some("a"), "7");
        check(&[free.clone(), chosen()], 1, "waits");
        check(&[bound.clone(), chosen()], 1, "waits");
        check(&[bound.clone(), claim("d", "w", Some("a"), "8")], 1, "bound a");
        check(&[free, chosen()], 600, "timed out waiting for the condition");
        check(std::slice::from_ref(&bound), 1, "persistentvolumeclaim \"d\" not found");
        // The copy is older than what was written.
        check(&[bound.clone(), claim("d", "", None, "6")], 1, "waits");
        check(&[bound.clone(), claim("d", "", None, "8")], 1, "provisioning failed for PVC \"d\"");
        let elsewhere = "selectedNode annotation value \"b\" not set to scheduled node \"a\"";
        check(&[bound, claim("d", "", Some("b"), "8")], 1, elsewhere);
    }

    #[test]
    fn what_is_written_is_not_written_again() {
        let (wanted, volume) = (claim("c", "", None, "1"), json!({"metadata": {"name": "v"}, "spec": {}}));
        let fresh = for_claim(&volume, &wanted).expect("it is new");
        assert_eq!(fresh["spec"]["claimRef"]["uid"], "c");
        assert_eq!(fresh["metadata"]["annotations"][BOUND_BY_CONTROLLER], "yes");
        assert_eq!(for_claim(&fresh, &wanted), None);
        let node = NodeName::new("a");
        let fresh = for_node(&wanted, &node).expect("it is new");
        assert_eq!(fresh["metadata"]["annotations"][SELECTED_NODE], "a");
        assert_eq!(for_node(&fresh, &node), None);
    }
}
