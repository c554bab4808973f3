//! The revisions of a StatefulSet's or DaemonSet's template, each a ControllerRevision. Plans are pure.
//!
//! A revision's name is made from its template, so that whoever made it knows it again.
//!
//! Reference: upstream's pkg/controller/history; label `controller.kubernetes.io/hash`.

use std::sync::Arc;

use api::meta::Meta;
use client::{Cache, Client, ClientError, Object, Resource};
use serde_json::{Value, json};

use crate::deployment::template_hash;
use crate::fields::{controller_reference, int};

/// Label of pods: the revision that they were made from.
pub(crate) const POD_LABEL: &str = "controller-revision-hash";
const HASH_LABEL: &str = "controller.kubernetes.io/hash";

/// The revisions of one set, oldest first, and what is missing in them.
pub(crate) struct History {
    pub revisions: Vec<Arc<Object>>,
    /// Name and hash of the revision of the template as it is now.
    pub name: String,
    pub hash: String,
    step: Option<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Create(Value),
    /// An old template is the current one again: its revision becomes the newest.
    Renumber(Value),
}

/// What a revision keeps of a set.
fn data(set: &Value) -> Value {
    let mut template = set["spec"]["template"].clone();
    template["$patch"] = "replace".into();
    json!({"spec": {"template": template}})
}

/// The template that a revision keeps.
pub(crate) fn template(revision: &Value) -> Value {
    let mut template = revision["data"]["spec"]["template"].clone();
    if let Some(fields) = template.as_object_mut() {
        fields.shift_remove("$patch");
    }
    template
}

impl History {
    /// Reads the revisions of a set from a cache.
    pub(crate) fn read(cache: &Cache, owner: &Resource, set: &Object) -> History {
        let own = |revision: &Arc<Object>| revision.meta().controller().is_some_and(|o| o.uid == set.uid);
        History::of(cache.list(&set.key.namespace).into_iter().filter(own).collect(), owner, set.value())
    }

    fn of(mut revisions: Vec<Arc<Object>>, owner: &Resource, set: &Value) -> History {
        revisions.sort_by_key(|revision| (int(revision.value(), "/revision"), revision.key.name.clone()));
        let wanted = data(set);
        let newest = revisions.last().map_or(0, |revision| int(revision.value(), "/revision"));
        let hash = template_hash(&wanted, 0);
        let found = revisions.iter().rposition(|revision| revision.value()["data"] == wanted);
        let Some(at) = found else {
            let name = format!("{}-{hash}", Meta::of(set).name());
            let mut labels = set["spec"]["template"]["metadata"]["labels"].clone();
            if !labels.is_object() {
                labels = json!({});
            }
            labels[HASH_LABEL] = hash.as_str().into();
            let revision = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision",
                "metadata": {"name": name, "namespace": Meta::of(set).namespace(), "labels": labels,
                    "ownerReferences": [controller_reference(owner, set)]},
                "data": wanted, "revision": newest + 1});
            return History { revisions, name, hash, step: Some(Step::Create(revision)) };
        };
        let current = revisions[at].clone();
        let hash = current.value()["metadata"]["labels"][HASH_LABEL].as_str().unwrap_or(&hash).to_owned();
        let step = (int(current.value(), "/revision") < newest).then(|| {
            let mut fresh = current.value().clone();
            fresh["revision"] = (newest + 1).into();
            Step::Renumber(fresh)
        });
        History { name: current.key.name.clone(), hash, step, revisions }
    }

    /// Makes the revision of the current template where it is missing.
    pub(crate) async fn keep(&self, client: &Client) -> Result<(), ClientError> {
        let revisions = &Resource::CONTROLLER_REVISIONS;
        match &self.step {
            None => Ok(()),
            Some(Step::Create(revision)) => {
                let namespace = Meta::of(revision).namespace();
                match client.create(revisions, namespace, revision).await {
                    // Made before, and not in the cache yet.
                    Err(error) if error.already_exists() => Ok(()),
                    answer => answer.map(drop),
                }
            }
            Some(Step::Renumber(revision)) => client.update(revisions, revision).await.map(drop),
        }
    }

    /// Deletes the oldest revisions that nothing lives of, beyond `limit`.
    pub(crate) async fn forget(&self, client: &Client, limit: i64, live: &[&str]) -> Result<(), ClientError> {
        for revision in self.surplus(limit, live) {
            let (namespace, name) = (&revision.key.namespace, &revision.key.name);
            let answer = client
                .delete(&Resource::CONTROLLER_REVISIONS, namespace, name, Some(&revision.uid), None)
                .await;
            if let Err(error) = answer
                && !error.is_not_found()
            {
                return Err(error);
            }
        }
        Ok(())
    }

    fn surplus(&self, limit: i64, live: &[&str]) -> Vec<&Arc<Object>> {
        let is_live = |revision: &&Arc<Object>| {
            let hash = revision.value()["metadata"]["labels"][HASH_LABEL].as_str().unwrap_or_default();
            revision.key.name == self.name
                || live.contains(&revision.key.name.as_str())
                || live.contains(&hash)
        };
        let old: Vec<&Arc<Object>> = self.revisions.iter().filter(|revision| !is_live(revision)).collect();
        let many = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        old.into_iter().take(many).collect()
    }

    /// The template of a revision by its name.
    pub(crate) fn template_of(&self, name: &str) -> Option<Value> {
        self.revisions
            .iter()
            .find(|revision| revision.key.name == name)
            .map(|revision| template(revision.value()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(image: &str) -> Value {
        json!({"metadata": {"name": "s", "namespace": "n", "uid": "S"}, "spec": {"template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"image": image}}}})
    }

    fn made(history: &History) -> Arc<Object> {
        let Some(Step::Create(revision)) = &history.step else { panic!("{:?}", history.step) };
        Arc::new(Object::of(&Resource::CONTROLLER_REVISIONS, revision.clone()))
    }

    #[test]
    fn templates_come_and_come_back() {
        let owner = &Resource::STATEFUL_SETS;
        let first = History::of(vec![], owner, &set("1"));
        let one = made(&first);
        assert_eq!(History::of(vec![one.clone()], owner, &set("1")).step, None);
        let two = made(&History::of(vec![one.clone()], owner, &set("2")));
        assert_eq!(int(two.value(), "/revision"), 2);
        let back = History::of(vec![one.clone(), two.clone()], owner, &set("1"));
        assert_eq!(back.name, first.name);
        assert!(matches!(&back.step, Some(Step::Renumber(revision)) if revision["revision"] == 3));
        assert_eq!(back.template_of(&two.key.name), Some(set("2")["spec"]["template"].clone()));
        assert_eq!(back.surplus(0, &[]).len(), 1);
        assert_eq!(back.surplus(0, &[&two.key.name]).len(), 0);
        assert_eq!(back.surplus(1, &[]).len(), 0);
    }
}
