//! Definitions that are refused, in upstream's words, and what they get when they are not.

use serde_json::{Value, json};

use super::*;
use crate::field::FieldError;

mod schemas;
mod versions;

const ROOT: &str = "spec.validation.openAPIV3Schema";

fn tabs() -> Value {
    let mut definition = json!({"metadata": {"name": "tabs.x.io"}, "spec": {"group": "x.io", "scope": "Namespaced",
        "names": {"plural": "tabs", "kind": "Tab"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    fill(&mut definition);
    note_storage_version(&mut definition);
    definition
}

/// Complaints, where a long enumeration of what else there is ends in an ellipsis.
#[track_caller]
fn expect(what: &str, errors: &[FieldError], wanted: &[&str]) {
    let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let fits = |(shown, wanted): (&String, &&str)| match wanted.strip_suffix("...") {
        Some(head) => shown.starts_with(head),
        None => shown == wanted,
    };
    let all = shown.len() == wanted.len() && shown.iter().zip(wanted).all(fits);
    assert!(all, "{what}\n got: {shown:#?}\nwant: {wanted:#?}");
}

#[track_caller]
fn check(change: impl FnOnce(&mut Value), wanted: &[&str]) {
    let mut definition = tabs();
    change(&mut definition);
    expect("definition", &create(&definition), wanted);
}

/// With this under its only version.
#[track_caller]
fn check_version(part: Value, wanted: &[&str]) {
    let mut definition = tabs();
    for (name, value) in part.as_object().unwrap() {
        definition["spec"]["versions"][0][name.as_str()] = value.clone();
    }
    expect(&part.to_string(), &create(&definition), wanted);
}

/// With this schema; what is complained about begins at the schema's root.
#[track_caller]
fn check_schema(schema: Value, wanted: &[&str]) {
    let wanted: Vec<String> = wanted.iter().map(|wanted| format!("{ROOT}{wanted}")).collect();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    check_version(json!({"schema": {"openAPIV3Schema": schema}}), &wanted);
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
        &["spec.versions[0].schema.openAPIV3Schema: Required value"],
    );
    check(
        |definition| definition["spec"]["conversion"] = json!({"strategy": "Webhook"}),
        &[
            "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
            "spec.conversion.conversionReviewVersions: Required value",
        ],
    );
    let list = |items: Value| {
        json!({"type": "object", "properties": {"l": {"type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k"], "items": items}}})
    };
    let base = format!("{ROOT}.properties[l]");
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
        &[&format!(
            "{ROOT}.properties[n].default: Invalid value: 1:  in body should be greater than or equal to 3"
        )],
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
    fails("self.l", text(), "cel expression must evaluate to a bool");
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
    assert_eq!(fields, ["spec.names.kind", "status.storedVersions", "status.storedVersions[0]"]);
    note_storage_version(&mut new);
    let fields: Vec<String> = update(&new, &old).into_iter().map(|error| error.field).collect();
    assert_eq!(fields, ["spec.names.kind", "status.storedVersions[0]"]);
}
