//! Definitions that are refused, in upstream's words, and what they get when they are not.

use serde_json::{Value, json};

use super::*;

fn tabs() -> Value {
    let mut definition = json!({"metadata": {"name": "tabs.x.io"}, "spec": {"group": "x.io", "scope": "Namespaced",
        "names": {"plural": "tabs", "kind": "Tab"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    fill(&mut definition);
    definition
}

#[track_caller]
fn check(change: impl FnOnce(&mut Value), expect: &[&str]) {
    let mut definition = tabs();
    change(&mut definition);
    let shown: Vec<String> = create(&definition).iter().map(ToString::to_string).collect();
    assert_eq!(shown, expect);
}

#[test]
fn defaults_are_upstreams() {
    let definition = tabs();
    assert_eq!(definition["spec"]["names"]["singular"], "tab");
    assert_eq!(definition["spec"]["names"]["listKind"], "TabList");
    assert_eq!(definition["spec"]["conversion"]["strategy"], "None");
}

#[test]
fn complaints_are_upstreams() {
    check(|_| {}, &[]);
    check(
        |definition| definition["metadata"]["name"] = "other.x.io".into(),
        &["metadata.name: Invalid value: \"other.x.io\": must be spec.names.plural+\".\"+spec.group"],
    );
    check(
        |definition| definition["spec"]["scope"] = "Global".into(),
        &["spec.scope: Unsupported value: \"Global\": supported values: \"Cluster\", \"Namespaced\""],
    );
    check(
        |definition| drop(definition["spec"]["versions"][0]["schema"].take()),
        &["spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required"],
    );
    check(
        |definition| definition["spec"]["conversion"] = json!({"strategy": "Webhook"}),
        &[
            "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
            "spec.conversion.conversionReviewVersions: Required value: the list must not be empty",
        ],
    );
    let list = |items: Value| {
        json!({"type": "object", "properties": {"l": {"type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k"], "items": items}}})
    };
    let base = "spec.versions[0].schema.openAPIV3Schema.properties[l]";
    check(
        |definition| {
            definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] =
                list(json!({"type": "object", "properties": {"k": {"type": "string"}}}));
        },
        &[&format!(
            "{base}.items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
        )],
    );
    check(
        |definition| {
            definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 3, "default": 1}}});
        },
        &[
            "spec.versions[0].schema.openAPIV3Schema.properties[n].default: Invalid value: 1:  in body should be greater than or equal to 3",
        ],
    );
}

#[test]
fn rules_are_programs_that_are_not_too_dear() {
    let with = |rule: &str, items: Value| {
        json!({"type": "object", "properties": {"l": {"type": "array", "items": items}},
            "x-kubernetes-validations": [{"rule": rule}]})
    };
    let fails = |rule: &str, items: Value, why: &str| {
        let mut definition = tabs();
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = with(rule, items);
        let errors = create(&definition);
        assert!(errors.iter().any(|error| error.to_string().contains(why)), "{rule}: {errors:?}");
    };
    let text = || json!({"type": "string"});
    fails("self.nope > 1", text(), "compilation failed: ERROR: <input>:1:5: undefined field 'nope'");
    fails("self.l", text(), "compilation failed: must evaluate to a bool");
    fails(
        "self.l.all(x, self.l.all(y, x == y))",
        text(),
        "estimated rule cost exceeds budget by factor of more than 100x",
    );
}

#[test]
fn what_is_established_keeps_its_kind() {
    let mut old = established(&settled(&tabs(), &[], "2026-01-01T00:00:00Z"), "2026-01-01T00:00:00Z");
    note_storage_version(&mut old);
    let mut new = old.clone();
    new["spec"]["names"]["kind"] = "Other".into();
    new["spec"]["versions"][0]["name"] = "v2".into();
    let fields: Vec<String> = update(&new, &old).into_iter().map(|error| error.field).collect();
    assert_eq!(fields, ["spec.names.kind", "status.storedVersions[0]"]);
}
