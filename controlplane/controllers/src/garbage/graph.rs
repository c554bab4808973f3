//! Who owns whom, as the caches show it. Pure.
//!
//! Invariant: `dependents` holds exactly the reversed references of `nodes`.

use std::collections::{BTreeSet, HashMap};

use api::meta::{FOREGROUND, Meta, ORPHAN};
use client::{Change, Key, Object, Resource};
use serde_json::Value;

/// A reference to an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    pub blocks: bool,
}

/// What matters of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub resource: Resource,
    pub key: Key,
    pub owners: Vec<Owner>,
    pub deleting: bool,
    /// Waits for its dependents.
    pub foreground: bool,
    pub orphan: bool,
}

impl Node {
    pub(super) fn of(resource: &Resource, object: &Value) -> Node {
        let meta = Meta::of(object);
        let owner = |owner: api::meta::Owner<'_>| Owner {
            api_version: owner.api_version.to_owned(),
            kind: owner.kind.to_owned(),
            name: owner.name.to_owned(),
            uid: owner.uid.to_owned(),
            blocks: owner.blocks_deletion,
        };
        Node {
            resource: resource.clone(),
            key: Key::new(meta.namespace(), meta.name()),
            owners: meta.owners().map(owner).collect(),
            deleting: meta.deletion_timestamp().is_some(),
            foreground: meta.finalizers().any(|finalizer| finalizer == FOREGROUND),
            orphan: meta.finalizers().any(|finalizer| finalizer == ORPHAN),
        }
    }

    /// Deleted, and stays until its dependents are gone.
    pub(super) fn waits(&self) -> bool {
        self.deleting && self.foreground
    }
}

#[derive(Default)]
pub(super) struct Graph {
    nodes: HashMap<String, Node>,
    dependents: HashMap<String, BTreeSet<String>>,
}

impl Graph {
    pub(super) fn node(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    pub(super) fn dependents(&self, uid: &str) -> Vec<(String, Node)> {
        let uids = self.dependents.get(uid).into_iter().flatten();
        uids.filter_map(|uid| Some((uid.clone(), self.nodes.get(uid)?.clone()))).collect()
    }

    /// Takes a change in; the UIDs to look at because of it.
    pub(super) fn apply(&mut self, change: &Change<'_>) -> Vec<String> {
        let mut look = Vec::new();
        if let Some(before) = change.before
            && change.after.is_none_or(|after| after.uid != before.uid)
        {
            self.remove(&before.uid, &mut look);
        }
        if let Some(after) = change.after {
            self.insert(after, &mut look);
        }
        look
    }

    fn insert(&mut self, object: &Object, look: &mut Vec<String>) {
        let (uid, node) = (&object.uid, Node::of(object.resource(), object.value()));
        let before = self.unlink(uid);
        for owner in &node.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
        }
        let known = |owner: &Owner| self.nodes.get(&owner.uid);
        if node.owners.iter().any(|owner| known(owner).is_none_or(Node::waits)) || node.waits() || node.orphan
        {
            look.push(uid.clone());
        }
        // An owner may have waited for what is not its own any more, or does not block it any more.
        let owners = before.iter().flat_map(|before| &before.owners).chain(&node.owners);
        look.extend(
            owners.filter(|owner| known(owner).is_some_and(Node::waits)).map(|owner| owner.uid.clone()),
        );
        self.nodes.insert(uid.clone(), node);
    }

    fn remove(&mut self, uid: &str, look: &mut Vec<String>) {
        let gone = self.unlink(uid);
        for owner in gone.iter().flat_map(|node| &node.owners) {
            if self.nodes.get(&owner.uid).is_some_and(Node::waits) {
                look.push(owner.uid.clone());
            }
        }
        look.extend(self.dependents.get(uid).into_iter().flatten().cloned());
    }

    fn unlink(&mut self, uid: &str) -> Option<Node> {
        let node = self.nodes.remove(uid)?;
        for owner in &node.owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use serde_json::json;

    fn object(uid: &str, owner: Option<&str>, waits: bool) -> Arc<Object> {
        let owners = owner.map_or(json!([]), |uid| json!([{"uid": uid, "kind": "K", "name": uid}]));
        let mut value =
            json!({"metadata": {"name": uid, "namespace": "n", "uid": uid, "ownerReferences": owners}});
        if waits {
            value["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            value["metadata"]["finalizers"] = json!([FOREGROUND]);
        }
        Arc::new(Object::of(&Resource::PODS, value))
    }

    fn change(graph: &mut Graph, before: Option<Arc<Object>>, after: Option<Arc<Object>>) -> Vec<String> {
        let key = before.as_ref().or(after.as_ref()).unwrap().key.clone();
        graph.apply(&Change { key: &key, before: before.as_ref(), after: after.as_ref() })
    }

    #[test]
    fn changes_say_whom_to_look_at() {
        let mut graph = Graph::default();
        let (owner, dependent) = (object("o", None, false), object("d", Some("o"), false));
        assert_eq!(change(&mut graph, None, Some(dependent.clone())), ["d"], "its owner is not known");
        assert_eq!(change(&mut graph, None, Some(owner.clone())), [""; 0]);
        assert_eq!(change(&mut graph, None, Some(object("e", Some("o"), false))), [""; 0]);
        let waiting = object("o", None, true);
        assert_eq!(change(&mut graph, Some(owner), Some(waiting.clone())), ["o"]);
        assert_eq!(change(&mut graph, Some(dependent), None), ["o"], "it waited for this one");
        assert_eq!(change(&mut graph, Some(waiting), None), ["e"], "its owner is gone");
        assert!(graph.node("o").is_none() && graph.node("e").is_some());
        change(&mut graph, Some(object("e", Some("o"), false)), None);
        assert!(graph.dependents.is_empty());
    }

    #[test]
    fn another_of_the_same_name_is_another() {
        let mut graph = Graph::default();
        change(&mut graph, None, Some(object("o", None, false)));
        change(&mut graph, None, Some(object("d", Some("o"), false)));
        let look = change(&mut graph, Some(object("o", None, false)), Some(object("o2", None, false)));
        assert_eq!(look, ["d"]);
    }
}
