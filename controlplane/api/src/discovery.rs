//! Discovery: which groups, versions and resources there are, in the aggregated and the older forms.
//!
//! Not OpenAPI. Documents are made from the registry's rows; whoever serves them may cache the bytes.
//!
//! Reference: KEP-3352 (aggregated discovery).

use serde_json::{Map, Value, json};

use crate::kind::{Kind, Registry, Subresource, Verb, api_version};

/// The media type of the aggregated form; `version` is `v2` or `v2beta1`.
pub fn aggregated_content_type(version: &str) -> String {
    format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList")
}

/// The aggregated document of `/api` (`core` true) or `/apis`.
pub fn aggregated(registry: &Registry, core: bool, version: &str) -> Value {
    let items: Vec<Value> = registry
        .groups()
        .into_iter()
        .filter(|group| group.is_empty() == core)
        .map(|group| {
            let versions: Vec<Value> = registry
                .versions(group)
                .into_iter()
                .map(|version| {
                    let resources: Vec<Value> =
                        registry.of_version(group, version).map(aggregated_resource).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items,
    })
}

/// `/api`, the old form. `address` is `host:port` as clients reach it.
pub fn api_versions(registry: &Registry, address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": registry.versions(""),
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`, the old form.
pub fn group_list(registry: &Registry) -> Value {
    let groups: Vec<Value> = registry
        .groups()
        .into_iter()
        .filter(|group| !group.is_empty())
        .map(|group| described(registry, group))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/{group}`.
pub fn group(registry: &Registry, group: &str) -> Option<Value> {
    let known = registry.groups().into_iter().find(|known| *known == group && !group.is_empty())?;
    let mut document = Map::new();
    document.insert("kind".into(), "APIGroup".into());
    document.insert("apiVersion".into(), "v1".into());
    if let Value::Object(fields) = described(registry, known) {
        document.extend(fields);
    }
    Some(Value::Object(document))
}

/// `/api/v1` and `/apis/{group}/{version}`, the old form.
pub fn resource_list(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let mut resources = Vec::new();
    for kind in registry.of_version(group, version) {
        resources.push(resource(kind));
        resources.extend(kind.subresources.iter().map(|sub| subresource(kind, sub)));
    }
    if resources.is_empty() {
        return None;
    }
    let mut document = Map::new();
    document.insert("kind".into(), "APIResourceList".into());
    if !group.is_empty() {
        document.insert("apiVersion".into(), "v1".into());
    }
    document.insert("groupVersion".into(), api_version(group, version).into());
    document.insert("resources".into(), resources.into());
    Some(Value::Object(document))
}

fn described(registry: &Registry, group: &str) -> Value {
    let versions: Vec<Value> = registry
        .versions(group)
        .into_iter()
        .map(|version| json!({"groupVersion": api_version(group, version), "version": version}))
        .collect();
    json!({"name": group, "preferredVersion": versions.first(), "versions": versions})
}

fn aggregated_resource(kind: &'static Kind) -> Value {
    let mut out = Map::new();
    out.insert("resource".into(), kind.resource.into());
    out.insert("responseKind".into(), response_kind(kind.group, kind.version, kind.kind));
    out.insert("scope".into(), if kind.namespaced { "Namespaced" } else { "Cluster" }.into());
    out.insert("singularResource".into(), kind.singular().into());
    out.insert("verbs".into(), verbs(kind.verbs));
    named(kind, &mut out);
    if !kind.subresources.is_empty() {
        let subresources: Vec<Value> = kind
            .subresources
            .iter()
            .map(|sub| {
                json!({
                    "subresource": sub.name,
                    "responseKind": response_kind(sub.group, sub.version, sub.kind),
                    "verbs": verbs(sub.verbs),
                })
            })
            .collect();
        out.insert("subresources".into(), subresources.into());
    }
    Value::Object(out)
}

fn resource(kind: &'static Kind) -> Value {
    let mut out = Map::new();
    out.insert("name".into(), kind.resource.into());
    out.insert("singularName".into(), kind.singular().into());
    out.insert("namespaced".into(), kind.namespaced.into());
    out.insert("kind".into(), kind.kind.into());
    out.insert("verbs".into(), verbs(kind.verbs));
    named(kind, &mut out);
    Value::Object(out)
}

fn subresource(kind: &Kind, sub: &Subresource) -> Value {
    let mut out = Map::new();
    out.insert("name".into(), format!("{}/{}", kind.resource, sub.name).into());
    out.insert("singularName".into(), "".into());
    out.insert("namespaced".into(), kind.namespaced.into());
    if sub.group != kind.group {
        out.insert("group".into(), sub.group.into());
        out.insert("version".into(), sub.version.into());
    }
    out.insert("kind".into(), sub.kind.into());
    out.insert("verbs".into(), verbs(sub.verbs));
    Value::Object(out)
}

fn named(kind: &Kind, out: &mut Map<String, Value>) {
    for (key, names) in [("shortNames", kind.short_names()), ("categories", kind.categories())] {
        if !names.is_empty() {
            out.insert(key.into(), names.into());
        }
    }
}

fn response_kind(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

fn verbs(verbs: &[Verb]) -> Value {
    verbs.iter().map(|verb| verb.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregated_documents() {
        let registry = Registry::builtin();
        let core = aggregated(&registry, true, "v2");
        assert_eq!(core["apiVersion"], "apidiscovery.k8s.io/v2");
        assert_eq!(core["items"].as_array().map(Vec::len), Some(1));
        let pods = core["items"][0]["versions"][0]["resources"]
            .as_array()
            .and_then(|all| all.iter().find(|one| one["resource"] == "pods").cloned())
            .expect("pods");
        assert_eq!(pods["shortNames"], json!(["po"]));
        assert_eq!(pods["scope"], "Namespaced");
        assert_eq!(
            pods["subresources"][3],
            json!({"subresource": "eviction", "verbs": ["create"],
            "responseKind": {"group": "policy", "version": "v1", "kind": "Eviction"}})
        );
        let groups = aggregated(&registry, false, "v2beta1");
        assert_eq!(groups["items"][1]["metadata"]["name"], "apps");
    }

    #[test]
    fn older_documents() {
        let registry = Registry::builtin();
        assert_eq!(api_versions(&registry, "10.0.0.1:6443")["versions"], json!(["v1"]));
        assert_eq!(
            group(&registry, "apps"),
            Some(json!({"kind": "APIGroup", "apiVersion": "v1", "name": "apps",
                "versions": [{"groupVersion": "apps/v1", "version": "v1"}],
                "preferredVersion": {"groupVersion": "apps/v1", "version": "v1"}}))
        );
        let apps = resource_list(&registry, "apps", "v1").expect("apps");
        let scale = apps["resources"]
            .as_array()
            .and_then(|all| all.iter().find(|one| one["name"] == "deployments/scale").cloned());
        assert_eq!(
            scale.expect("a scale"),
            json!({"name": "deployments/scale", "singularName": "", "namespaced": true, "group": "autoscaling",
                "version": "v1", "kind": "Scale", "verbs": ["get", "patch", "update"]})
        );
        assert!(resource_list(&registry, "apps", "v9").is_none() && group(&registry, "nope").is_none());
        assert_eq!(group_list(&registry)["groups"][1]["name"], "apps");
    }
}
