//! Looks at one object, live, and does what the plan says.

use std::sync::{MutexGuard, PoisonError};

use api::meta::{FOREGROUND, Meta, ORPHAN};
use client::{ClientError, Outcome, Patch, Propagation, Resource};
use serde_json::{Value, json};

use super::Collector;
use super::graph::{Graph, Node, Owner};
use super::plan::{Dependents, OwnerState, Step, Wish, plan};

impl Collector {
    pub(super) async fn reconcile(&self, uid: &str) -> Result<Outcome, ClientError> {
        let Some(node) = self.graph().node(uid).cloned() else { return Ok(Outcome::Done) };
        let live = match self.client.get(&node.resource, &node.key.namespace, &node.key.name).await {
            Err(error) if error.is_not_found() => return Ok(Outcome::Done),
            answer => answer?,
        };
        if Meta::of(&live).uid() != uid {
            return Ok(Outcome::Done);
        }
        let node = Node::of(&node.resource, &live);
        let done = match (node.deleting, node.orphan, node.foreground) {
            (true, true, _) => self.orphan_dependents(uid, &node, &live).await,
            (true, false, true) => self.wait_for_dependents(uid, &node, &live).await,
            (true, false, false) => Ok(()),
            (false, ..) => self.judge(uid, &node).await,
        };
        match done {
            Err(error) if error.is_not_found() => Ok(Outcome::Done),
            Err(error) if error.is_conflict() => Ok(Outcome::Again),
            done => done.map(|()| Outcome::Done),
        }
    }

    async fn judge(&self, uid: &str, node: &Node) -> Result<(), ClientError> {
        let mut owners = Vec::new();
        for owner in &node.owners {
            owners.push(self.state_of(owner, node).await?);
        }
        let wish = Wish { orphan: node.orphan, foreground: node.foreground };
        let known = self.graph().dependents(uid);
        let dependents =
            Dependents { some: !known.is_empty(), waiting: known.iter().any(|(_, its)| its.waits()) };
        match plan(&owners, wish, dependents) {
            Step::Nothing => Ok(()),
            Step::Unlink(gone) => self.unlink(uid, node, &gone).await,
            Step::Delete(propagation) => self.delete(uid, node, propagation).await,
            Step::BreakCircle => {
                let freed: Vec<Value> = node
                    .owners
                    .iter()
                    .map(|owner| json!({"uid": owner.uid, "blockOwnerDeletion": false}))
                    .collect();
                let patch = json!({"metadata": {"uid": uid, "ownerReferences": freed}});
                self.patch(node, Patch::Strategic, &patch).await?;
                self.delete(uid, node, Propagation::Foreground).await
            }
        }
    }

    async fn delete(&self, uid: &str, node: &Node, propagation: Propagation) -> Result<(), ClientError> {
        let (namespace, name) = (&node.key.namespace, &node.key.name);
        tracing::debug!(resource = %node.resource, key = %node.key, ?propagation, "nobody's any more");
        self.client.delete(&node.resource, namespace, name, Some(uid), Some(propagation)).await.map(drop)
    }

    /// By the graph where it knows the owner, else live.
    async fn state_of(&self, owner: &Owner, node: &Node) -> Result<OwnerState, ClientError> {
        let uid = owner.uid.clone();
        let known = self.graph().node(&owner.uid).map(Node::waits);
        if let Some(waits) = known {
            return Ok(if waits { OwnerState::Waiting { uid } } else { OwnerState::Solid });
        }
        let Some(resource) = self.resource_of(owner) else {
            tracing::warn!(key = %node.key, api_version = owner.api_version, kind = owner.kind, "an owner of a kind that is not served");
            return Ok(OwnerState::Solid);
        };
        if resource.namespaced && node.key.namespace.is_empty() {
            // A reference that says nothing: which namespace is meant?
            return Ok(OwnerState::Solid);
        }
        let namespace = if resource.namespaced { node.key.namespace.as_str() } else { "" };
        match self.client.get(&resource, namespace, &owner.name).await {
            Err(error) if error.is_not_found() => Ok(OwnerState::Absent { uid }),
            Err(error) => Err(error),
            Ok(live) if Meta::of(&live).uid() != uid => Ok(OwnerState::Absent { uid }),
            Ok(live) if Node::of(&resource, &live).waits() => Ok(OwnerState::Waiting { uid }),
            Ok(_) => Ok(OwnerState::Solid),
        }
    }

    fn resource_of(&self, owner: &Owner) -> Option<Resource> {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let of = |resource: &&Resource| resource.group == group && resource.kind == owner.kind.as_str();
        self.custom.find(group, &owner.kind).or_else(|| self.resources.iter().find(of).cloned())
    }

    /// All dependents lose their reference, then the object may go.
    async fn orphan_dependents(&self, uid: &str, node: &Node, live: &Value) -> Result<(), ClientError> {
        let gone = [uid.to_owned()];
        let dependents = self.graph().dependents(uid);
        for (dependent, its) in dependents {
            match self.unlink(&dependent, &its, &gone).await {
                Err(error) if error.is_not_found() => {}
                done => done?,
            }
        }
        self.drop_finalizer(node, live, ORPHAN).await
    }

    /// Dependents are looked at, as they may be deleted now; with none left that block it the object may go.
    async fn wait_for_dependents(&self, uid: &str, node: &Node, live: &Value) -> Result<(), ClientError> {
        let dependents = self.graph().dependents(uid);
        let blocks = |its: &Node| its.owners.iter().any(|owner| owner.uid == uid && owner.blocks);
        let blocked = dependents.iter().any(|(_, its)| blocks(its));
        for (dependent, its) in dependents {
            if !its.deleting {
                self.queue.add(dependent);
            }
        }
        if blocked { Ok(()) } else { self.drop_finalizer(node, live, FOREGROUND).await }
    }

    async fn drop_finalizer(&self, node: &Node, live: &Value, finalizer: &str) -> Result<(), ClientError> {
        let meta = Meta::of(live);
        let rest: Vec<&str> = meta.finalizers().filter(|known| *known != finalizer).collect();
        let patch = json!({"metadata": {"resourceVersion": meta.resource_version(), "finalizers": rest}});
        self.patch(node, Patch::Merge, &patch).await
    }

    async fn unlink(&self, uid: &str, node: &Node, owners: &[String]) -> Result<(), ClientError> {
        let gone: Vec<Value> = owners.iter().map(|uid| json!({"$patch": "delete", "uid": uid})).collect();
        self.patch(node, Patch::Strategic, &json!({"metadata": {"uid": uid, "ownerReferences": gone}})).await
    }

    async fn patch(&self, node: &Node, kind: Patch, patch: &Value) -> Result<(), ClientError> {
        self.client.patch(&node.resource, &node.key.namespace, &node.key.name, kind, patch).await.map(drop)
    }

    fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
