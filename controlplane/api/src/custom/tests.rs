//! Rows of definitions, their objects, and printer columns.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::kind::{Kind, Registry};

fn definition() -> Value {
    json!({"metadata": {"name": "tabs.x.io"},
        "spec": {"group": "x.io", "scope": "Namespaced", "names": {"kind": "Tab"}, "versions": [
            {"name": "v1beta1", "served": true, "storage": false, "deprecated": true, "schema": {"openAPIV3Schema": {"type": "object"}}},
            {"name": "v1", "served": true, "storage": true, "subresources": {"status": {}, "scale": {
                "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "additionalPrinterColumns": [
                    {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
                    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"replicas": {"type": "integer"}, "color": {"type": "string"}}},
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]},
        "status": {"storedVersions": ["v1"], "acceptedNames": {
            "plural": "tabs", "singular": "tab", "kind": "Tab", "listKind": "TabList", "shortNames": ["tb"], "categories": ["all"]}}})
}

fn served() -> Vec<&'static Kind> {
    let definition = definition();
    let mut interner = Interner::default();
    rows(&definition)
        .into_iter()
        .map(|(row, names)| {
            let custom = Custom::new(definition.to_string().into(), row.version(), names);
            let again = interner.kind(row.clone()).expect("a row");
            let kind = interner.kind(row).expect("a row");
            assert!(std::ptr::eq(again, kind), "a row has one kind");
            kind.custom.expect("a slot").set(Some(Arc::new(custom)));
            kind
        })
        .collect()
}

#[test]
fn a_definition_makes_a_row_per_served_version() {
    let kinds = served();
    assert_eq!(kinds.iter().map(|kind| kind.version).collect::<Vec<_>>(), ["v1", "v1beta1"]);
    let v1 = kinds[0];
    assert_eq!(v1.subresources.iter().map(|sub| sub.name).collect::<Vec<_>>(), ["scale", "status"]);
    assert!(v1.is_storage_version() && !kinds[1].is_storage_version());
    assert_eq!(v1.schema, "io.x.v1.Tab");
    assert!(v1.field_label("spec.color").is_ok() && v1.field_label("spec.size").is_err());
    assert_eq!(
        kinds[1].custom().and_then(|custom| custom.deprecation().map(str::to_owned)).as_deref(),
        Some("x.io/v1beta1 Tab is deprecated")
    );
    let registry = Registry::with(kinds.clone());
    assert!(registry.by_resource("x.io", "v1", "tabs").is_some_and(|kind| std::ptr::eq(kind, v1)));
    assert_eq!(registry.versions("x.io"), ["v1", "v1beta1"]);
    assert_eq!(registry.groups().last(), Some(&"x.io"));
    v1.custom.expect("a slot").set(None);
    assert!(v1.custom().is_none(), "what a definition said goes with it");
}

#[test]
fn editing_a_definition_makes_nothing_grow() {
    let mut interner = Interner::default();
    let mut definition = definition();
    let mut kinds = Vec::new();
    for number in 0..1000 {
        let name = |prefix: &str| Value::from(format!("{prefix}{number}"));
        definition["status"]["acceptedNames"] = json!({"plural": "tabs", "singular": name("s"), "kind": "Tab",
            "listKind": name("L"), "shortNames": [name("t")], "categories": [name("c")]});
        definition["spec"]["versions"][1]["selectableFields"] =
            json!([{"jsonPath": format!(".spec.f{number}")}]);
        for (row, names) in rows(&definition) {
            let custom = Custom::new(definition.to_string().into(), row.version(), names);
            let kind = interner.kind(row).expect("a row");
            kind.custom.expect("a slot").set(Some(Arc::new(custom)));
            kinds.push(kind);
        }
    }
    assert_eq!(interner.len(), 2, "one for each version");
    let v1 = kinds[1998];
    assert_eq!((v1.version, &*v1.list_kind(), &*v1.singular()), ("v1", "L999", "s999"));
    assert_eq!((v1.short_names(), v1.categories()), (vec!["t999".into()], vec!["c999".into()]));
    assert!(v1.field_label("spec.f999").is_ok() && v1.field_label("spec.f998").is_err());
}

#[test]
fn the_rows_of_a_process_are_bounded() {
    let mut interner = Interner::default();
    let mut definition = definition();
    let mut refused = 0;
    for number in 0..40_000 {
        definition["spec"]["group"] = format!("g{number}").into();
        refused +=
            rows(&definition).into_iter().filter(|(row, _)| interner.kind(row.clone()).is_none()).count();
    }
    assert_eq!((interner.len(), refused), (65_536, 80_000 - 65_536));
    assert!(rows(&self::definition()).into_iter().all(|(row, _)| interner.kind(row).is_none()));
    definition["spec"]["group"] = "g0".into();
    assert!(rows(&definition).into_iter().all(|(row, _)| interner.kind(row).is_some()), "known ones stay");
}

#[test]
fn its_columns_are_shown() {
    let kind = served()[0];
    let object = json!({"metadata": {"name": "t"}, "spec": {"replicas": 3},
        "status": {"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]}});
    let now = jiff::Timestamp::UNIX_EPOCH;
    assert_eq!(crate::printers::cells(kind, &object, now), [json!("t"), json!("True"), json!(3)]);
    assert_eq!(crate::printers::columns(kind)[1]["name"], "Ready");
}

#[test]
fn openapi_knows_it() {
    let registry = Registry::with(served());
    let document = crate::openapi::v3(&registry, "x.io", "v1", "v1.36.0").expect("a document");
    let schema = &document["components"]["schemas"]["io.x.v1.Tab"];
    assert_eq!(schema["properties"]["spec"]["properties"]["replicas"]["type"], "integer");
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "Tab");
    assert!(schema["properties"]["metadata"]["allOf"].is_array());
    assert!(document["paths"]["/apis/x.io/v1/namespaces/{namespace}/tabs/{name}/scale"].is_object());
}

#[test]
fn paths_find_what_they_name() {
    let value = json!({"a": [{"n": "x", "v": 1}, {"n": "y", "v": 2}], "m": {"a.b/c": "d"}});
    for (path, found) in [
        (".a[0].v", json!([1])),
        (".a[*].v", json!([1, 2])),
        (".a[-1].n", json!(["y"])),
        (".a[?(@.n==\"y\")].v", json!([2])),
        (".a[?(@.v!=1)].n", json!(["y"])),
        (".m['a\\.b/c']", json!(["d"])),
        (".m.a\\.b/c", json!(["d"])),
        (".nothing.there", json!([])),
    ] {
        let parsed = JsonPath::parse(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(json!(parsed.find(&value)), found, "{path}");
    }
    for bad in [".a[", ".a[x]", ".a[?(b==1)]"] {
        assert!(JsonPath::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn lists_of_its_schema_are_owned_item_by_item() {
    use crate::apply::{Alike, Of, Writer, apply};
    let mut definition = definition();
    definition["spec"]["versions"][1]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["ports"] = json!({
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
        "items": {"type": "object", "required": ["port"], "properties": {"port": {"type": "integer"},
            "protocol": {"type": "string", "default": "TCP"}, "name": {"type": "string"}}}});
    let custom = Custom::new(definition.to_string().into(), "v1", Names::default());
    let writer = |manager| Writer {
        manager,
        api_version: "x.io/v1",
        subresource: "",
        now: "2026-01-01T00:00:00Z",
        has_status: true,
    };
    let config = |port: u32, name: &str| json!({"apiVersion": "x.io/v1", "kind": "Tab", "metadata": {"name": "t"}, "spec": {"ports": [{"port": port, "name": name}]}});
    let first =
        apply(None, &config(80, "a"), Of::Custom(&custom), writer("one"), false, &Alike).expect("made");
    let both = apply(Some(&first), &config(81, "b"), Of::Custom(&custom), writer("two"), false, &Alike)
        .expect("merged");
    assert_eq!(both["spec"]["ports"].as_array().map(Vec::len), Some(2), "{both}");
    let conflict = apply(Some(&both), &config(80, "z"), Of::Custom(&custom), writer("two"), false, &Alike)
        .expect_err("owned by one");
    assert!(conflict.message.contains(".spec.ports[port=80,protocol=\"TCP\"].name"), "{}", conflict.message);
}

#[test]
fn versions_of_a_definition_are_known_whether_served_or_not() {
    let mut definition = definition();
    definition["spec"]["versions"][0]["served"] = false.into();
    let custom = Custom::new(definition.to_string().into(), "v1", Names::default());
    let known = definition["spec"]["versions"].as_array().unwrap();
    assert!(known.iter().all(|version| custom.has_version(version["name"].as_str().unwrap())));
    assert!(!custom.has_version("v0"));
}
