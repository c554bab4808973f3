//! Definitions in the published OpenAPI documents, v2 and v3.

use serde_json::{Value, json};

use super::Behaviour;
use super::cluster::Cluster;
use super::definitions::{Definition, anything};

pub(super) const ALL: &[Behaviour] = &[
    ("the schema of a definition is published", with_schema),
    ("a definition without a schema is published as one that keeps everything", without_schema),
    ("a definition that keeps unknown fields at its root is published so", keeps_at_root),
    ("a definition that keeps unknown fields in an embedded object is published so", keeps_embedded),
    ("definitions of several groups are published", several_groups),
    ("definitions of several versions of a group are published", several_versions),
    ("definitions of several kinds of one version are published", several_kinds),
    ("a renamed version is published by its new name", renamed),
    ("a version that is served no longer is published no longer", no_longer_served),
];

fn schema() -> Value {
    json!({"type": "object", "description": "A thing.", "required": ["spec"], "properties": {
        "spec": {"type": "object", "description": "What it is.", "required": ["size"], "properties": {
            "size": {"type": "integer", "description": "How large it is."},
            "parts": {"type": "array", "items": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string"}, "age": {"type": "string", "format": "date-time"}}}}}},
        "status": {"type": "object", "properties": {"seen": {"type": "boolean"}}}}})
}

/// The name under which a kind is published: its group backwards.
fn published_name(group: &str, version: &str, kind: &str) -> String {
    let mut labels: Vec<&str> = group.split('.').collect();
    labels.reverse();
    format!("{}.{version}.{kind}", labels.join("."))
}

/// A kind's schema in the documents of v3 and v2, once it is in both.
fn published(cluster: &Cluster, group: &str, version: &str, kind: &str) -> (Value, Value) {
    let name = published_name(group, version, kind);
    let v3 =
        cluster.until_shows("its document", &format!("/openapi/v3/apis/{group}/{version}"), |document| {
            document["components"]["schemas"][&name].is_object()
        });
    let v2 = cluster
        .until_shows("its definition", "/openapi/v2", |document| document["definitions"][&name].is_object());
    let index = cluster.get("/openapi/v3");
    let at = format!("apis/{group}/{version}");
    let url = index["paths"][&at]["serverRelativeURL"].as_str().unwrap_or_default();
    assert!(url.starts_with(&format!("/openapi/v3/{at}?hash=")), "{url}");
    (v3["components"]["schemas"][&name].clone(), v2["definitions"][&name].clone())
}

fn gone(cluster: &Cluster, group: &str, version: &str, kind: &str) {
    let name = published_name(group, version, kind);
    cluster.until("no document", || cluster.is_gone(&format!("/openapi/v3/apis/{group}/{version}")));
    cluster.until("no definition", || cluster.get("/openapi/v2")["definitions"][&name].is_null());
    assert!(cluster.get("/openapi/v3")["paths"][format!("apis/{group}/{version}")].is_null());
}

fn group(namespace: &str) -> String {
    format!("{namespace}.published.test")
}

fn with_schema(cluster: &Cluster, namespace: &str) {
    let (group, versions) = (group(namespace), [("v1", schema())]);
    let definition = Definition { group: &group, plural: "tubs", kind: "Tub", versions: &versions };
    definition.define(cluster);
    let (v3, v2) = published(cluster, &group, "v1", "Tub");
    for shown in [&v3, &v2] {
        assert_eq!((&shown["description"], &shown["required"]), (&json!("A thing."), &json!(["spec"])));
        let spec = &shown["properties"]["spec"];
        assert_eq!(spec["properties"]["size"]["description"], "How large it is.");
        assert_eq!(spec["properties"]["parts"]["items"]["required"], json!(["name"]));
        for field in ["apiVersion", "kind", "metadata"] {
            assert!(shown["properties"][field]["description"].is_string(), "{field} of {shown}");
        }
        let named = json!([{"group": group, "version": "v1", "kind": "Tub"}]);
        assert_eq!(shown["x-kubernetes-group-version-kind"], named);
    }
    cluster.delete(&definition.path());
    gone(cluster, &group, "v1", "Tub");
}

fn without_schema(cluster: &Cluster, namespace: &str) {
    let (group, versions) =
        (group(namespace), [("v1", json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}))]);
    let definition = Definition { group: &group, plural: "jars", kind: "Jar", versions: &versions };
    definition.define(cluster);
    let (v3, v2) = published(cluster, &group, "v1", "Jar");
    assert_eq!((&v3["x-kubernetes-preserve-unknown-fields"], &v3["type"]), (&json!(true), &json!("object")));
    assert!(v2["x-kubernetes-group-version-kind"].is_array());
    cluster.delete(&definition.path());
}

fn keeps_at_root(cluster: &Cluster, namespace: &str) {
    let mut root = schema();
    root["x-kubernetes-preserve-unknown-fields"] = true.into();
    let (group, versions) = (group(namespace), [("v1", root)]);
    let definition = Definition { group: &group, plural: "pots", kind: "Pot", versions: &versions };
    definition.define(cluster);
    let (v3, v2) = published(cluster, &group, "v1", "Pot");
    assert_eq!(v3["x-kubernetes-preserve-unknown-fields"], true);
    // In v2 a client could refuse what the server keeps: nothing is said of its fields there.
    assert!(v2["properties"].is_null(), "{v2}");
    cluster.create(
        &definition.collection("v1"),
        &json!({"apiVersion": format!("{group}/v1"), "kind": "Pot",
        "metadata": {"name": "a"}, "spec": {"size": 1}, "more": {"unknown": true}}),
    );
    assert_eq!(cluster.get(&format!("{}/a", definition.collection("v1")))["more"]["unknown"], true);
    cluster.delete(&definition.path());
}

fn keeps_embedded(cluster: &Cluster, namespace: &str) {
    let embedded = json!({"type": "object", "properties": {"spec": {"type": "object",
        "x-kubernetes-preserve-unknown-fields": true, "properties": {"inner": {"type": "object",
            "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}}}});
    let (group, versions) = (group(namespace), [("v1", embedded)]);
    let definition = Definition { group: &group, plural: "pans", kind: "Pan", versions: &versions };
    definition.define(cluster);
    let (v3, v2) = published(cluster, &group, "v1", "Pan");
    let inner = &v3["properties"]["spec"]["properties"]["inner"];
    assert_eq!(inner["x-kubernetes-embedded-resource"], true, "{v3}");
    assert_eq!(inner["required"], json!(["kind", "apiVersion"]), "{v3}");
    assert!(inner["properties"]["metadata"]["description"].is_string(), "{v3}");
    assert!(v2["properties"]["spec"].is_object(), "{v2}");
    assert!(v2["properties"]["spec"]["properties"].is_null(), "{v2}");
    cluster.delete(&definition.path());
}

fn several_groups(cluster: &Cluster, namespace: &str) {
    let groups = ["a", "b"].map(|label| format!("{label}.{}", group(namespace)));
    let versions = [("v1", schema())];
    let definitions =
        groups.each_ref().map(|group| Definition { group, plural: "cans", kind: "Can", versions: &versions });
    for definition in &definitions {
        definition.define(cluster);
    }
    for group in &groups {
        published(cluster, group, "v1", "Can");
    }
    for definition in &definitions {
        cluster.delete(&definition.path());
    }
}

fn several_versions(cluster: &Cluster, namespace: &str) {
    let (group, versions) = (group(namespace), [("v1", schema()), ("v2", anything())]);
    let definition = Definition { group: &group, plural: "kegs", kind: "Keg", versions: &versions };
    definition.define(cluster);
    let first = published(cluster, &group, "v1", "Keg").0;
    let second = published(cluster, &group, "v2", "Keg").0;
    assert!(first["properties"]["spec"].is_object() && second["properties"]["spec"].is_null());
    cluster.delete(&definition.path());
}

fn several_kinds(cluster: &Cluster, namespace: &str) {
    let (group, versions) = (group(namespace), [("v1", schema())]);
    let definitions = [("cups", "Cup"), ("mugs", "Mug")].map(|(plural, kind)| Definition {
        group: &group,
        plural,
        kind,
        versions: &versions,
    });
    for definition in &definitions {
        definition.define(cluster);
    }
    for kind in ["Cup", "Mug"] {
        published(cluster, &group, "v1", kind);
    }
    for definition in &definitions {
        cluster.delete(&definition.path());
    }
}

fn renamed(cluster: &Cluster, namespace: &str) {
    let (group, versions) = (group(namespace), [("v2", schema()), ("v3", schema())]);
    let definition = Definition { group: &group, plural: "bins", kind: "Bin", versions: &versions };
    definition.define(cluster);
    published(cluster, &group, "v3", "Bin");
    let before = published(cluster, &group, "v2", "Bin");
    let rename = json!([{"op": "replace", "path": "/spec/versions/1/name", "value": "v4"}]);
    cluster.admin.patch(&definition.path(), "json", &rename).expect(200);
    published(cluster, &group, "v4", "Bin");
    gone(cluster, &group, "v3", "Bin");
    assert_eq!(published(cluster, &group, "v2", "Bin"), before, "the other one as it was");
    cluster.delete(&definition.path());
}

fn no_longer_served(cluster: &Cluster, namespace: &str) {
    let (group, versions) = (group(namespace), [("v5", schema()), ("v6alpha1", schema())]);
    let definition = Definition { group: &group, plural: "urns", kind: "Urn", versions: &versions };
    definition.define(cluster);
    published(cluster, &group, "v6alpha1", "Urn");
    let before = published(cluster, &group, "v5", "Urn");
    let unserved = json!([{"op": "replace", "path": "/spec/versions/1/served", "value": false}]);
    cluster.admin.patch(&definition.path(), "json", &unserved).expect(200);
    gone(cluster, &group, "v6alpha1", "Urn");
    assert_eq!(published(cluster, &group, "v5", "Urn"), before);
    cluster.delete(&definition.path());
}
