//! Which volumes and claims concern each other: a change of one is looked at with those alone.

use std::collections::BTreeSet;

use client::{Cache, Change, Index, Key, Object};
use serde_json::Value;

use super::{class_of, plan};
use crate::fields::text;

/// Volumes and claims by what the others know of them.
#[derive(Clone)]
pub(super) struct Found {
    volumes: Index,
    claims: Index,
}

impl Found {
    /// To be made before anybody follows the two.
    pub(super) fn follow(volumes: &Cache, claims: &Cache) -> Found {
        Found { volumes: Index::of(volumes, volume_words), claims: Index::of(claims, claim_words) }
    }

    /// The volumes that say that they are a claim's.
    pub(super) fn volumes_for(&self, claim: &Key) -> Vec<Key> {
        self.volumes.at(&of_claim(claim))
    }

    /// The volumes that come into question for a claim: the one it names; or those that are for it or of its class and free.
    pub(super) fn candidates(&self, claim: &Value) -> Vec<Key> {
        match text(claim, "/spec/volumeName") {
            "" => {
                let key = Key::new(text(claim, "/metadata/namespace"), text(claim, "/metadata/name"));
                let mut all = self.volumes.at(&of_claim(&key));
                all.extend(self.volumes.at(&of_class(class_of(claim))));
                all
            }
            name => vec![Key::new("", name)],
        }
    }

    /// The claims of a class that have no volume.
    pub(super) fn claims_without(&self, class: &str) -> Vec<Key> {
        self.claims.at(&of_class(class))
    }

    /// The claims to which a volume's change matters: those that name it, the one that it names, and where it is free those
    /// of its class that have none.
    pub(super) fn claims_concerned(&self, change: &Change<'_>) -> BTreeSet<Key> {
        let mut all: BTreeSet<Key> = self.claims.at(&of_volume(&change.key.name)).into_iter().collect();
        if let Some(volume) = change.after {
            match plan::claim_of(volume.value()) {
                Some(claim) => drop(all.insert(claim)),
                None => all.extend(self.claims_without(class_of(volume.value()))),
            }
        }
        all
    }
}

fn of_claim(claim: &Key) -> String {
    format!("claim {}/{}", claim.namespace, claim.name)
}

fn of_volume(name: &str) -> String {
    format!("volume {name}")
}

fn of_class(class: &str) -> String {
    format!("class {class}")
}

fn volume_words(volume: &Object) -> BTreeSet<String> {
    let claim = plan::claim_of(volume.value());
    BTreeSet::from([claim.map_or_else(|| of_class(class_of(volume.value())), |claim| of_claim(&claim))])
}

fn claim_words(claim: &Object) -> BTreeSet<String> {
    BTreeSet::from([match text(claim.value(), "/spec/volumeName") {
        "" => of_class(class_of(claim.value())),
        name => of_volume(name),
    }])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use client::{Client, Config, Resource, Surroundings};
    use serde_json::json;

    use super::*;

    fn volume(name: &str, class: &str, claim: &str) -> Object {
        let mut volume = json!({"metadata": {"name": name}, "spec": {"storageClassName": class}});
        if !claim.is_empty() {
            volume["spec"]["claimRef"] = json!({"namespace": "n", "name": claim});
        }
        Object::of(&Resource::VOLUMES, volume)
    }

    fn claim(name: &str, class: &str, volume: &str) -> Object {
        Object::of(
            &Resource::VOLUME_CLAIMS,
            json!({"metadata": {"name": name, "namespace": "n"},
            "spec": {"storageClassName": class, "volumeName": volume}}),
        )
    }

    #[tokio::test]
    async fn only_what_concerns_each_other_is_looked_at() {
        let config = Config::of_server("https://127.0.0.1:1", Vec::new()).unwrap();
        let client = Client::new(config, "test", Surroundings::system()).unwrap();
        let volumes = vec![volume("free", "s", ""), volume("meant", "s", "b"), volume("other", "t", "")];
        let claims =
            vec![claim("a", "s", ""), claim("b", "s", ""), claim("c", "t", ""), claim("d", "s", "v")];
        let volumes = Cache::fixed(client.clone(), Resource::VOLUMES, volumes);
        let claims = Cache::fixed(client, Resource::VOLUME_CLAIMS, claims);
        let found = Found::follow(&volumes, &claims);

        let names = |keys: Vec<Key>| keys.into_iter().map(|key| key.name).collect::<Vec<_>>();
        assert_eq!(names(found.candidates(claim("a", "s", "").value())), ["free"]);
        assert_eq!(names(found.candidates(claim("b", "s", "").value())), ["meant", "free"]);
        assert_eq!(names(found.candidates(claim("d", "s", "v").value())), ["v"]);
        assert_eq!(names(found.volumes_for(&Key::new("n", "b"))), ["meant"]);
        let concerned = |name: &str, after: Option<Object>| {
            let (key, after) = (Key::new("", name), after.map(Arc::new));
            let change = Change { key: &key, before: None, after: after.as_ref() };
            names(found.claims_concerned(&change).into_iter().collect())
        };
        assert_eq!(concerned("free", Some(volume("free", "s", ""))), ["a", "b"]);
        assert_eq!(concerned("meant", Some(volume("meant", "s", "b"))), ["b"]);
        assert_eq!(concerned("v", Some(volume("v", "x", ""))), ["d"]);
        assert_eq!(concerned("v", None), ["d"], "who has lost its volume is told");
    }
}
