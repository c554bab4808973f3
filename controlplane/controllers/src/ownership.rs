//! Which objects a controller owns: by reference, and by selector where nobody does.
//!
//! Reference: upstream's ControllerRefManager.

use api::meta::Meta;
use api::selector::LabelSelector;
use client::{Cache, Change, Client, ClientError, Key, Object, Patch, Resource};
use serde_json::{Value, json};

use crate::fields::{controller_reference, is_deleting};

/// The owner of this kind that manages an object.
pub(crate) fn owner_key(object: &Object, kind: &str) -> Option<Key> {
    let meta = object.meta();
    let owner = meta.controller().filter(|owner| owner.kind == kind)?;
    Some(Key::new(meta.namespace(), owner.name))
}

/// What an owner selects by; a ReplicationController's selector is a map. One that cannot be read selects nothing.
pub(crate) fn selector_of(owner: &Value) -> LabelSelector {
    let selector = owner.pointer("/spec/selector");
    if owner["kind"] == "ReplicationController" {
        let labels = selector.and_then(Value::as_object);
        return labels.map_or_else(LabelSelector::nothing, LabelSelector::from_map);
    }
    LabelSelector::from_object(selector).unwrap_or_else(|_| LabelSelector::nothing())
}

/// Who may want an object that nobody manages now: the owners of its namespace that select it.
pub(crate) fn suitors(change: &Change<'_>, owners: &Cache) -> Vec<Key> {
    let Some(orphan) = change.after.filter(|object| object.meta().controller().is_none()) else {
        return Vec::new();
    };
    let wants = |owner: &Object| selects(&selector_of(owner.value()), orphan);
    let owners = owners.list(&orphan.key.namespace);
    owners.iter().filter(|owner| wants(owner)).map(|owner| owner.key.clone()).collect()
}

/// A selector of everything is somebody's mistake and takes nothing.
fn selects(selector: &LabelSelector, object: &Object) -> bool {
    !selector.is_everything() && object.meta().labels().is_some_and(|labels| selector.matches(labels))
}

/// What an object is to a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Managed, and to be managed further.
    Owned,
    /// Nobody's, and selected: to be taken.
    Adopt,
    /// Managed, but not selected any more: to be let go.
    Release,
    /// Somebody else's, or not selected.
    Foreign,
}

pub(crate) fn claim(owner: &Value, selector: &LabelSelector, object: &Value) -> Claim {
    let meta = Meta::of(object);
    let selected = meta.labels().is_some_and(|labels| selector.matches(labels));
    match meta.controller() {
        Some(controller) if controller.uid == Meta::of(owner).uid() => match selected {
            true => Claim::Owned,
            false if is_deleting(owner) => Claim::Foreign,
            false => Claim::Release,
        },
        Some(_) => Claim::Foreign,
        None if !selected || is_deleting(owner) || is_deleting(object) => Claim::Foreign,
        None => Claim::Adopt,
    }
}

/// Makes an object ours. The owner is asked for first, live: a deleted one must not adopt.
pub(crate) async fn adopt(
    client: &Client,
    owner: (&Resource, &Value),
    resource: &Resource,
    key: &Key,
    uid: &str,
) -> Result<(), ClientError> {
    let (owner_resource, owner) = owner;
    let meta = Meta::of(owner);
    let live = client.get(owner_resource, meta.namespace(), meta.name()).await?;
    if Meta::of(&live).uid() != meta.uid() || is_deleting(&live) {
        return Ok(());
    }
    let patch =
        json!({"metadata": {"uid": uid, "ownerReferences": [controller_reference(owner_resource, owner)]}});
    patch_object(client, resource, key, &patch).await
}

/// Lets an object go.
pub(crate) async fn release(
    client: &Client,
    owner: &Value,
    resource: &Resource,
    key: &Key,
    uid: &str,
) -> Result<(), ClientError> {
    let gone = json!({"$patch": "delete", "uid": Meta::of(owner).uid()});
    patch_object(client, resource, key, &json!({"metadata": {"uid": uid, "ownerReferences": [gone]}})).await
}

async fn patch_object(
    client: &Client,
    resource: &Resource,
    key: &Key,
    patch: &Value,
) -> Result<(), ClientError> {
    match client.patch(resource, &key.namespace, &key.name, Patch::Strategic, patch).await {
        // Gone, or another one by now.
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        answer => answer.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims() {
        let owner = json!({"metadata": {"name": "o", "uid": "1"}});
        let deleting = json!({"metadata": {"name": "o", "uid": "1", "deletionTimestamp": "x"}});
        let selector = LabelSelector::parse("a=b").unwrap();
        let object = |label: &str, owner: Option<&str>| {
            let owners = owner.map_or(json!([]), |uid| json!([{"uid": uid, "controller": true}]));
            json!({"metadata": {"labels": {"a": label}, "ownerReferences": owners}})
        };
        for (who, object, expect) in [
            (&owner, object("b", Some("1")), Claim::Owned),
            (&owner, object("c", Some("1")), Claim::Release),
            (&deleting, object("c", Some("1")), Claim::Foreign),
            (&owner, object("b", Some("2")), Claim::Foreign),
            (&owner, object("b", None), Claim::Adopt),
            (&deleting, object("b", None), Claim::Foreign),
            (&owner, object("c", None), Claim::Foreign),
        ] {
            assert_eq!(claim(who, &selector, &object), expect, "{object}");
        }
    }
}
