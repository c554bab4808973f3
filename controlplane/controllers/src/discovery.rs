//! Which resources the API serves and what can be done with them.

use client::{Client, ClientError, Resource};
use serde_json::Value;

use crate::fields::{list, text};

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

fn resources(answer: &Value) -> Vec<Served> {
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
}
