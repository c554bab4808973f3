//! Schemas and objects along them, in upstream's words.

use serde_json::{Value, json};

use super::*;
use crate::field::Path;

#[track_caller]
fn check_value(schema: Value, value: Value, expect: &[&str]) {
    let errors = check(&value, &read(&schema), None);
    let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(shown, expect, "{value}");
}

#[track_caller]
fn check_structural(schema: Value, expect: &[&str]) {
    let shown: Vec<String> = complaints(&schema, &Path::new("s")).iter().map(ToString::to_string).collect();
    assert_eq!(shown, expect, "{schema}");
}

fn object(properties: Value) -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}})
}

#[test]
fn values_are_checked_in_upstreams_words() {
    let of = |schema: Value| object(json!({"a": schema}));
    let at = |value: Value| json!({"spec": {"a": value}});
    check_value(
        of(json!({"type": "integer"})),
        at(json!("x")),
        &["spec.a: Invalid value: \"string\": spec.a in body must be of type integer: \"string\""],
    );
    check_value(
        of(json!({"type": "integer", "minimum": 1, "maximum": 10})),
        at(json!(0)),
        &["spec.a: Invalid value: 0: spec.a in body should be greater than or equal to 1"],
    );
    check_value(
        of(json!({"type": "string", "pattern": "^a+$"})),
        at(json!("b")),
        &["spec.a: Invalid value: \"b\": spec.a in body should match '^a+$'"],
    );
    check_value(
        of(json!({"type": "string", "enum": ["a", "b"]})),
        at(json!("c")),
        &["spec.a: Unsupported value: \"c\": supported values: \"a\", \"b\""],
    );
    check_value(
        of(json!({"type": "string", "maxLength": 2})),
        at(json!("abc")),
        &["spec.a: Too long: may not be more than 2 bytes"],
    );
    check_value(
        of(json!({"type": "array", "maxItems": 1, "items": {"type": "string"}})),
        at(json!(["a", 2])),
        &[
            "spec.a: Too many: 2: must have at most 1 item",
            "spec.a[1]: Invalid value: \"integer\": spec.a[1] in body must be of type string: \"integer\"",
        ],
    );
    check_value(
        of(json!({"type": "object", "required": ["b"], "properties": {"b": {"type": "string"}}})),
        at(json!({})),
        &["spec.a.b: Required value"],
    );
    check_value(
        of(json!({"type": "string"})),
        at(Value::Null),
        &["spec.a: Invalid value: \"null\": spec.a in body must be of type string: \"null\""],
    );
    check_value(of(json!({"type": "string", "nullable": true})), at(Value::Null), &[]);
    check_value(of(json!({"x-kubernetes-int-or-string": true})), at(json!("50%")), &[]);
    check_value(
        of(json!({"x-kubernetes-int-or-string": true})),
        at(json!(true)),
        &["spec.a: Invalid value: \"boolean\": spec.a in body must be of type integer,string: \"boolean\""],
    );
    check_value(
        of(json!({"type": "string", "format": "date-time"})),
        at(json!("yesterday")),
        &["spec.a: Invalid value: \"yesterday\": spec.a in body must be of type date-time: \"yesterday\""],
    );
    check_value(
        of(json!({"type": "object", "properties": {"x": {"type": "string"}, "y": {"type": "string"}},
            "oneOf": [{"required": ["x"]}, {"required": ["y"]}]})),
        at(json!({"x": "1", "y": "2"})),
        &[
            "<nil>: Invalid value: \"\": \"spec.a\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ],
    );
}

#[test]
fn what_was_wrong_and_did_not_change_is_let_through() {
    let schema = read(&object(
        json!({"a": {"type": "string", "maxLength": 1}, "b": {"type": "string", "maxLength": 1}}),
    ));
    let old = json!({"spec": {"a": "too long", "b": "b"}});
    let new = json!({"spec": {"a": "too long", "b": "long too"}});
    let errors = check(&new, &schema, Some(&old));
    assert_eq!(errors.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), ["spec.b"]);
}

#[test]
fn schemas_that_are_not_structural_are_refused() {
    check_structural(
        json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}}),
        &[],
    );
    check_structural(
        json!({"type": "object", "properties": {"a": {}}}),
        &["s.properties[a].type: Required value: must not be empty for specified object fields"],
    );
    check_structural(
        json!({"type": "object", "properties": {"a": {"type": "array"}}}),
        &["s.properties[a].items: Required value: must be specified"],
    );
    check_structural(
        json!({"type": "object", "anyOf": [{"type": "object", "properties": {"b": {"minimum": 1}}}]}),
        &[
            "s.anyOf[0].type: Forbidden: must be empty to be structural",
            "s.properties[b]: Required value: because it is defined in s.anyOf[0].properties[b]",
        ],
    );
    check_structural(
        json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
        &[
            "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ],
    );
    check_structural(
        json!({"type": "object", "properties": {"p": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}}}),
        &[],
    );
}

#[test]
fn unknown_fields_go_and_defaults_come() {
    let schema = read(&object(json!({
        "known": {"type": "string", "default": "d"},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"inner": {"type": "object", "properties": {"x": {"type": "integer", "default": 5}}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"y": {"type": "string", "default": "z"}}}},
        "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}}
    })));
    let mut value = json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "n"}, "extra": 1,
        "spec": {"gone": 1, "known": null, "free": {"any": [1], "inner": {"gone": 2}}, "map": {"k": {"gone": 3}},
            "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {}, "gone": 5}, "spec": {"gone": 4}}}});
    assert_eq!(
        unknown(&value, &schema, 10),
        [
            "unknown field \"extra\"",
            "unknown field \"spec.gone\"",
            "unknown field \"spec.free.inner.gone\"",
            "unknown field \"spec.map.k.gone\"",
            "unknown field \"spec.pod.metadata.gone\"",
            "unknown field \"spec.pod.spec.gone\""
        ]
    );
    prune(&mut value, &schema, true);
    without_defaulted_nulls(&mut value, &schema);
    fill(&mut value, &schema);
    assert_eq!(
        value["spec"],
        json!({"free": {"any": [1], "inner": {"x": 5}}, "map": {"k": {"y": "z"}},
            "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {}}, "spec": {}}, "known": "d"})
    );
    assert_eq!(value["metadata"], json!({"name": "n"}));
}

#[test]
fn sets_and_maps_have_no_doubles() {
    let schema = read(&object(json!({
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}}
    })));
    let value = json!({"spec": {"set": ["a", "b", "a"], "map": [{"name": "x"}, {"name": "x"}]}});
    let mut errors = Vec::new();
    check_lists(&value, &schema, &Path::default(), &mut errors);
    let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["spec.set[2]: Duplicate value: \"a\"", "spec.map[1]: Duplicate value: {\"name\":\"x\"}"]
    );
}

#[test]
fn numbers_are_written_as_go_writes_them() {
    for (number, shown) in
        [(1.0, "1"), (0.5, "0.5"), (1_000_000.0, "1e+06"), (123_456.0, "123456"), (0.00001, "1e-05")]
    {
        assert_eq!(check::go(number), shown);
    }
}

#[test]
fn rules_are_checked_with_what_was_before() {
    let schema = read(&json!({"type": "object", "properties": {"spec": {"type": "object",
        "properties": {"n": {"type": "integer"}, "max": {"type": "integer"}, "kept": {"type": "string"}},
        "x-kubernetes-validations": [
            {"rule": "self.n <= self.max", "message": "n is too large", "reason": "FieldValueForbidden", "fieldPath": ".n"},
            {"rule": "!has(oldSelf.kept) || self.kept == oldSelf.kept", "messageExpression": "'kept was ' + oldSelf.kept"},
            {"rule": "self.n > 0"}]}}}));
    let shown = |new: Value, old: Option<Value>| -> Vec<String> {
        check_rules(&json!({"spec": new}), &schema, old.map(|old| json!({"spec": old})).as_ref())
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    assert_eq!(shown(json!({"n": 1, "max": 2}), None), [""; 0]);
    assert_eq!(shown(json!({"n": 3, "max": 2}), None), ["spec.n: Forbidden: n is too large"]);
    assert_eq!(
        shown(json!({"n": 0, "max": 2}), None),
        ["spec: Invalid value: \"object\": failed rule: self.n > 0"]
    );
    assert_eq!(
        shown(json!({"n": 1, "max": 2, "kept": "b"}), Some(json!({"n": 1, "max": 2, "kept": "a"}))),
        ["spec: Invalid value: \"object\": kept was a"]
    );
    assert_eq!(
        shown(json!({"max": 2}), None),
        [
            "spec: Invalid value: \"object\": no such key: n evaluating rule: n is too large",
            "spec: Invalid value: \"object\": no such key: n evaluating rule: failed rule: self.n > 0"
        ]
    );
}
