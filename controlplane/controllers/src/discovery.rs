//! Which resources the API serves and what can be done with them.

use client::{Client, ClientError, Resource};
use serde_json::Value;

use crate::fields::{list, text};

pub(crate) const DEFINITIONS: Resource = Resource::fixed(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    false,
);

/// A resource as discovery tells it.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub resource: Resource,
    verbs: Vec<String>,
}

impl Served {
    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }
}

/// All resources in their preferred versions; subresources left out.
pub(crate) async fn served(client: &Client) -> Result<Vec<Served>, ClientError> {
    let mut all = resources(&client.get_path("/api/v1").await?);
    let groups = client.get_path("/apis").await?;
    for group in list(&groups, "/groups") {
        let preferred = text(group, "/preferredVersion/groupVersion");
        all.extend(resources(&client.get_path(&format!("/apis/{preferred}")).await?));
    }
    Ok(all)
}

/// Those of one group version, as its discovery document names them.
pub(crate) fn resources(answer: &Value) -> Vec<Served> {
    let (group, version) = match text(answer, "/groupVersion").split_once('/') {
        Some((group, version)) => (group.to_owned(), version.to_owned()),
        None => (String::new(), text(answer, "/groupVersion").to_owned()),
    };
    let rows = list(answer, "/resources").iter().filter(|row| !text(row, "/name").contains('/'));
    rows.map(|row| Served {
        resource: Resource {
            group: group.clone().into(),
            version: version.clone().into(),
            plural: text(row, "/name").to_owned().into(),
            kind: text(row, "/kind").to_owned().into(),
            namespaced: row["namespaced"] == true,
        },
        verbs: list(row, "/verbs").iter().filter_map(|verb| verb.as_str().map(str::to_owned)).collect(),
    })
    .collect()
}

/// What an established definition serves, in its storage version.
pub(crate) fn defined(definition: &Value) -> Option<Resource> {
    let established = |condition: &&Value| {
        text(condition, "/type") == "Established" && text(condition, "/status") == "True"
    };
    list(definition, "/status/conditions").iter().find(established)?;
    let served = |version: &&Value| version["served"] == true;
    let versions = list(definition, "/spec/versions");
    let stored = versions.iter().filter(served).find(|version| version["storage"] == true);
    let version = stored.or_else(|| versions.iter().find(served))?;
    Some(Resource {
        group: text(definition, "/spec/group").to_owned().into(),
        version: text(version, "/name").to_owned().into(),
        plural: text(definition, "/status/acceptedNames/plural").to_owned().into(),
        kind: text(definition, "/status/acceptedNames/kind").to_owned().into(),
        namespaced: text(definition, "/spec/scope") == "Namespaced",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows() {
        let answer = json!({"groupVersion": "apps/v1", "resources": [
            {"name": "deployments", "kind": "Deployment", "namespaced": true, "verbs": ["list"]},
            {"name": "deployments/status", "kind": "Deployment", "namespaced": true, "verbs": ["get"]}]});
        let rows = resources(&answer);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].resource, Resource::DEPLOYMENTS);
        assert!(rows[0].can("list") && !rows[0].can("watch"));
    }

    #[test]
    fn a_definition_is_a_kind_when_it_is_established() {
        let mut definition = json!({"spec": {"group": "example.com", "scope": "Namespaced", "versions": [
            {"name": "v2", "served": true, "storage": false}, {"name": "v1", "served": true, "storage": true}]},
            "status": {"acceptedNames": {"plural": "widgets", "kind": "Widget"}}});
        assert_eq!(defined(&definition), None);
        definition["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
        let found = defined(&definition).unwrap();
        assert_eq!(
            (found.version.as_ref(), found.plural.as_ref(), found.namespaced),
            ("v1", "widgets", true)
        );
        definition["spec"]["versions"][1]["served"] = false.into();
        assert_eq!(defined(&definition).unwrap().version.as_ref(), "v2");
    }
}
