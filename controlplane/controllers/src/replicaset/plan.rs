//! What to do about a ReplicaSet's pods. Pure.

use std::sync::Arc;
use std::time::Duration;

use client::{Key, Object};
use jiff::Timestamp;
use serde_json::Value;

use crate::fields::{int, is_deleting, text};
use crate::ownership::{Claim, claim, selector_of};
use crate::pod;
use crate::ranking;

/// Pods made or deleted in one go.
const BURST: usize = 500;

pub(super) struct Observed {
    /// All pods of the namespace.
    pub pods: Vec<Arc<Object>>,
    /// UIDs of the sets under the same owner, this one included.
    pub related: Vec<String>,
    /// The last creations and deletions are all in `pods`.
    pub may_manage: bool,
    pub now: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Adopt {
        pod: Key,
        uid: String,
    },
    Release {
        pod: Key,
        uid: String,
    },
    /// So many more.
    Create(usize),
    Delete(Vec<(Key, String)>),
}

pub(super) struct Plan {
    pub steps: Vec<Step>,
    /// The active pods that are its own, for the status.
    pub owned: Vec<Arc<Object>>,
    /// Its pods that are on their way out.
    pub terminating: usize,
    /// A ready pod becomes available by time alone.
    pub look_again: Option<Duration>,
}

pub(super) fn plan(set: &Value, observed: &Observed) -> Plan {
    let mut steps = Vec::new();
    let mut owned = Vec::new();
    let selector = selector_of(set);
    for object in observed.pods.iter().filter(|object| pod::is_active(object.value())) {
        let (pod, uid) = (object.key.clone(), object.uid.clone());
        match claim(set, &selector, object.value()) {
            Claim::Owned => owned.push(object.clone()),
            Claim::Adopt => {
                steps.push(Step::Adopt { pod, uid });
                owned.push(object.clone());
            }
            Claim::Release => steps.push(Step::Release { pod, uid }),
            Claim::Foreign => {}
        }
    }
    if observed.may_manage && !is_deleting(set) {
        let wanted = usize::try_from(int(set, "/spec/replicas")).unwrap_or(0);
        if owned.len() < wanted {
            steps.push(Step::Create((wanted - owned.len()).min(BURST)));
        } else if owned.len() > wanted {
            let many = (owned.len() - wanted).min(BURST);
            let chosen = ranking::first_to_go(&owned, &observed.pods, &observed.related, many, observed.now);
            steps.push(Step::Delete(chosen.iter().map(|pod| (pod.key.clone(), pod.uid.clone())).collect()));
        }
    }
    let min_ready = int(set, "/spec/minReadySeconds");
    let waits = owned.iter().filter_map(|pod| pod::until_available(pod.value(), min_ready, observed.now));
    let look_again = waits.filter(|wait| wait.is_positive()).min().map(|wait| wait.unsigned_abs());
    let terminating = observed.pods.iter().filter(|pod| is_terminating_of(set, pod)).count();
    Plan { steps, owned, terminating, look_again }
}

fn is_terminating_of(set: &Value, pod: &Object) -> bool {
    let owner = pod.meta().controller();
    pod::is_terminating(pod.value()) && owner.is_some_and(|owner| owner.uid == text(set, "/metadata/uid"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::Resource;
    use serde_json::json;

    fn set(replicas: i64) -> Value {
        json!({"metadata": {"name": "s", "namespace": "n", "uid": "S"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}}}})
    }

    fn pod(name: &str, label: &str, owner: Option<&str>, phase: &str) -> Arc<Object> {
        let owners =
            owner.map_or(json!([]), |uid| json!([{"kind": "ReplicaSet", "uid": uid, "controller": true}]));
        Arc::new(Object::of(
            &Resource::PODS,
            json!({"metadata": {"name": name, "namespace": "n", "uid": name,
            "labels": {"a": label}, "ownerReferences": owners}, "spec": {"nodeName": "x"}, "status": {"phase": phase}}),
        ))
    }

    fn check(replicas: i64, pods: Vec<Arc<Object>>, may_manage: bool, expect: Vec<Step>) {
        let observed = Observed { pods, related: vec!["S".into()], may_manage, now: Timestamp::UNIX_EPOCH };
        assert_eq!(plan(&set(replicas), &observed).steps, expect);
    }

    fn key(name: &str) -> (Key, String) {
        (Key::new("n", name), name.to_owned())
    }

    #[test]
    fn counts_what_is_its_own() {
        let own = |name| pod(name, "b", Some("S"), "Running");
        check(3, vec![], true, vec![Step::Create(3)]);
        check(3, vec![], false, vec![]);
        check(900, vec![own("a")], true, vec![Step::Create(500)]);
        check(1, vec![own("a")], true, vec![]);
        check(2, vec![own("a"), pod("b", "b", Some("S"), "Failed")], true, vec![Step::Create(1)]);
        check(1, vec![own("a"), pod("b", "b", Some("T"), "Running")], true, vec![]);
        check(0, vec![own("a")], true, vec![Step::Delete(vec![key("a")])]);
        check(0, vec![own("a")], false, vec![]);
    }

    #[test]
    fn adopts_and_releases() {
        let (adopted, released) = (pod("o", "b", None, "Running"), pod("r", "c", Some("S"), "Running"));
        let adopt = Step::Adopt { pod: Key::new("n", "o"), uid: "o".into() };
        let release = Step::Release { pod: Key::new("n", "r"), uid: "r".into() };
        check(1, vec![adopted.clone()], true, vec![adopt.clone()]);
        check(2, vec![adopted, released], true, vec![adopt, release, Step::Create(1)]);
    }

    #[test]
    fn pending_pods_go_first() {
        let pods = vec![pod("a", "b", Some("S"), "Running"), pod("b", "b", Some("S"), "Pending")];
        check(1, pods, true, vec![Step::Delete(vec![key("b")])]);
    }
}
