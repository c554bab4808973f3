//! Discovery and OpenAPI of aggregated group versions, put among our own.

use std::collections::{BTreeMap, HashMap};

use api::kind::Registry;
use serde_json::{Map, Value, json};

use super::{Backend, Routes, local};

/// Puts the aggregated groups into a list of groups: `name` finds a group's name in an item, `item` makes one.
pub fn merge_groups(registry: &Registry, routes: &Routes, items: &mut Vec<Value>, aggregated: bool) {
    if routes.is_empty() {
        return;
    }
    let mut priorities: BTreeMap<String, i64> = BTreeMap::new();
    for backend in routes.values() {
        let own = local::group_priority(registry, &backend.group);
        let ours = registry.of_group(&backend.group).next().map(|_| own);
        let priority = priorities.entry(backend.group.clone()).or_insert(ours.unwrap_or(0));
        *priority = backend.group_priority.max(*priority);
    }
    for group in priorities.keys() {
        let at = items.iter().position(|item| name_of(item, aggregated) == group);
        let mut item = at.map_or_else(|| empty(group, aggregated), |at| items.remove(at));
        add_versions(&mut item, routes, group, aggregated);
        if item["versions"].as_array().is_some_and(|versions| !versions.is_empty()) {
            items.push(item);
        }
    }
    let priority = |item: &Value| {
        let name = name_of(item, aggregated);
        priorities.get(name).copied().unwrap_or_else(|| local::group_priority(registry, name))
    };
    items.sort_by_cached_key(|item| std::cmp::Reverse(priority(item)));
}

/// `/apis/<group>` of a group with aggregated versions; `own` is what is served here of it.
pub fn remote_group(routes: &Routes, group: &str, own: Option<Value>) -> Option<Value> {
    if !routes.keys().any(|(known, _)| known == group) {
        return own;
    }
    let mut item = own.unwrap_or_else(|| empty(group, false));
    add_versions(&mut item, routes, group, false);
    let mut document = Map::new();
    document.insert("kind".into(), "APIGroup".into());
    document.insert("apiVersion".into(), "v1".into());
    document.extend(item.as_object().cloned().unwrap_or_default());
    Some(Value::Object(document))
}

fn name_of(item: &Value, aggregated: bool) -> &str {
    let name = if aggregated { &item["metadata"]["name"] } else { &item["name"] };
    name.as_str().unwrap_or_default()
}

fn empty(group: &str, aggregated: bool) -> Value {
    if aggregated {
        json!({"metadata": {"name": group}, "versions": []})
    } else {
        json!({"name": group, "versions": []})
    }
}

fn add_versions(item: &mut Value, routes: &Routes, group: &str, aggregated: bool) {
    let mut remote: Vec<&Backend> =
        routes.values().map(|backend| &**backend).filter(|backend| backend.group == group).collect();
    // Highest first; equal ones stay in the order of their names.
    remote.sort_by_key(|backend| std::cmp::Reverse(backend.version_priority));
    let versions = item["versions"].as_array().cloned().unwrap_or_default();
    let known = |version: &str| versions.iter().any(|known| known["version"] == version);
    let more = remote.iter().filter(|backend| !known(&backend.version)).filter_map(|backend| {
        if aggregated {
            return aggregated_version(backend);
        }
        let shown =
            json!({"groupVersion": format!("{group}/{}", backend.version), "version": backend.version});
        backend.available.then_some(shown)
    });
    let versions: Vec<Value> = more.chain(versions.iter().cloned()).collect();
    if !aggregated {
        item["preferredVersion"] = versions.first().cloned().unwrap_or_default();
    }
    item["versions"] = versions.into();
}

/// A version in the aggregated form, made of its APIResourceList; stale where the backend is away.
fn aggregated_version(backend: &Backend) -> Option<Value> {
    let list = backend.resources.as_ref()?["resources"].as_array().cloned().unwrap_or_default();
    let kind_of = |row: &Value| {
        let or = |name: &str, own: &str| {
            row[name].as_str().filter(|text| !text.is_empty()).unwrap_or(own).to_owned()
        };
        json!({"group": or("group", &backend.group), "version": or("version", &backend.version), "kind": row["kind"]})
    };
    let mut resources: Vec<Value> = Vec::new();
    // A backend may have thousands.
    let mut places: HashMap<&str, usize> = HashMap::new();
    for row in list.iter().filter(|row| !row["name"].as_str().unwrap_or_default().contains('/')) {
        let namespaced = row["namespaced"] == true;
        let mut resource = json!({"resource": row["name"], "responseKind": kind_of(row),
            "scope": if namespaced { "Namespaced" } else { "Cluster" }, "singularResource": row["singularName"], "verbs": row["verbs"]});
        for name in ["shortNames", "categories"] {
            if row[name].is_array() {
                resource[name] = row[name].clone();
            }
        }
        places.entry(row["name"].as_str().unwrap_or_default()).or_insert(resources.len());
        resources.push(resource);
    }
    for row in &list {
        let Some((of, name)) = row["name"].as_str().and_then(|name| name.split_once('/')) else { continue };
        let parent = places.get(of).and_then(|at| resources.get_mut(*at));
        let Some(parent) = parent.and_then(Value::as_object_mut) else { continue };
        let subresources = parent.entry("subresources").or_insert_with(|| json!([]));
        if let Some(subresources) = subresources.as_array_mut() {
            subresources
                .push(json!({"subresource": name, "responseKind": kind_of(row), "verbs": row["verbs"]}));
        }
    }
    let freshness = if backend.available { "Current" } else { "Stale" };
    Some(json!({"version": backend.version, "resources": resources, "freshness": freshness}))
}

/// The index of OpenAPI v3 documents with those of backends.
pub fn merge_index(routes: &Routes, index: &mut Value) {
    for backend in routes.values() {
        if let Some(url) = &backend.openapi {
            let path = format!("apis/{}/{}", backend.group, backend.version);
            index["paths"][path] = json!({"serverRelativeURL": url});
        }
    }
}

/// The OpenAPI v2 document with paths and definitions of backends; ours stay where both have one.
pub fn merge_swagger(routes: &Routes, document: &mut Value) {
    for backend in routes.values() {
        let Some(swagger) = &backend.swagger else { continue };
        let prefix = format!("/apis/{}/", backend.group);
        for part in ["paths", "definitions"] {
            let (Some(into), Some(from)) = (document[part].as_object_mut(), swagger[part].as_object()) else {
                continue;
            };
            for (name, value) in from.iter().filter(|(name, _)| part != "paths" || name.starts_with(&prefix))
            {
                into.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
    }
}
