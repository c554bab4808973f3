//! Schemas and their rules that are refused.

use serde_json::{Value, json};

use super::super::*;
use super::{check_schema, check_version, expect, tabs};

fn object(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

fn of_list(list: Value) -> Value {
    object(json!({"l": list}))
}

#[test]
fn forms() {
    check_schema(
        json!({"type": "object", "nullable": true}),
        &[".nullable: Forbidden: nullable cannot be true at the root"],
    );
    check_schema(
        object(json!({"a": {"type": "string", "uniqueItems": true}})),
        &[
            ".properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ],
    );
    check_schema(
        object(json!({"a": {"type": "object", "x-kubernetes-preserve-unknown-fields": false}})),
        &[
            ".properties[a].x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined",
        ],
    );
    check_schema(
        object(
            json!({"a": {"type": "object", "properties": {"b": {"type": "string"}}, "additionalProperties": {"type": "string"}}}),
        ),
        &[
            ".properties[a].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ],
    );
    check_schema(
        object(json!({"a": {"type": "null"}})),
        &[
            ".properties[a].type: Unsupported value: \"null\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
            ".properties[a].type: Forbidden: type cannot be set to null, use nullable as an alternative",
        ],
    );
    let status = json!({"status": {}});
    let root = |schema: Value| json!({"subresources": status, "schema": {"openAPIV3Schema": schema}});
    check_version(root(json!({"type": "object", "description": "d", "required": ["spec"]})), &[]);
    check_version(
        root(json!({"type": "object", "anyOf": [{}]})),
        &[
            "spec.validation.openAPIV3Schema: Invalid value: {\"type\":\"object\",\"anyOf\":[{}]}: only [Description Type Format...",
        ],
    );
}

#[test]
fn maps_and_sets() {
    let set =
        |items: Value| of_list(json!({"type": "array", "x-kubernetes-list-type": "set", "items": items}));
    check_schema(set(json!({"type": "string"})), &[]);
    check_schema(
        set(object(json!({}))),
        &[
            ".properties[l].items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set",
        ],
    );
    check_schema(
        set(json!({"type": "string", "nullable": true})),
        &[".properties[l].items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is set"],
    );
    check_schema(
        object(
            json!({"a": {"type": "string", "x-kubernetes-list-type": "bag", "x-kubernetes-map-type": "rough"}}),
        ),
        &[
            ".properties[a].type: Invalid value: \"string\": must be object if x-kubernetes-map-type is specified",
            ".properties[a].x-kubernetes-map-type: Unsupported value: \"rough\": supported values: \"atomic\", \"granular\"",
            ".properties[a].type: Invalid value: \"string\": must be array if x-kubernetes-list-type is specified",
            ".properties[a].x-kubernetes-list-type: Unsupported value: \"bag\": supported values: \"atomic\", \"set\", \"map\"",
        ],
    );
    let map = |keys: Value, items: Value| {
        of_list(
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys, "items": items}),
        )
    };
    let item = json!({"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "o": {"type": "object"}}});
    check_schema(map(json!(["k"]), item.clone()), &[]);
    check_schema(
        map(json!([]), item.clone()),
        &[
            ".properties[l].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ],
    );
    check_schema(
        map(json!(["k", "k"]), item.clone()),
        &[
            ".properties[l].x-kubernetes-list-map-keys: Invalid value: [\"k\",\"k\"]: must not contain duplicate entries",
        ],
    );
    check_schema(
        map(json!(["k", "o"]), item.clone()),
        &[
            ".properties[l].items.properties[o].type: Invalid value: \"object\": must be a scalar type if parent array's x-kubernetes-list-type is map",
            ".properties[l].items.properties[o].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ],
    );
    check_schema(
        map(json!(["z"]), item),
        &[
            ".properties[l].x-kubernetes-list-map-keys: Invalid value: [\"z\"]: entries must all be names of item properties",
        ],
    );
}

#[test]
fn accepted_faults_stay() {
    let with = |items: Value| {
        let mut definition = tabs();
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = of_list(json!({"type": "array",
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": items}));
        definition
    };
    let faulty = with(object(json!({"k": {"type": "string"}})));
    assert_eq!(create(&faulty).len(), 1);
    expect("as before", &update(&faulty, &faulty), &[]);
    assert_eq!(update(&faulty, &tabs()).len(), 1);
}

#[test]
fn defaults() {
    check_schema(
        object(
            json!({"metadata": {"type": "object", "properties": {"name": {"type": "string", "default": "a"}}}}),
        ),
        &[
            ".properties[metadata].properties[name].default: Forbidden: must not be set in top-level metadata...",
        ],
    );
    check_schema(
        object(
            json!({"a": {"type": "object", "default": {"b": 1}, "properties": {"c": {"type": "string"}}}}),
        ),
        &[".properties[a].default: Invalid value: {\"b\":1}: must not have unknown fields"],
    );
    check_schema(
        object(
            json!({"a": {"type": "integer", "default": 1, "x-kubernetes-validations": [{"rule": "self > 2", "message": "small"}]}}),
        ),
        &[".properties[a].default: Invalid value: \"integer\": small"],
    );
}

#[test]
fn texts_of_rules() {
    let rule = |rule: Value| json!({"type": "object", "properties": {"a": {"type": "string"}}, "x-kubernetes-validations": [rule]});
    for (given, wanted) in [
        (json!({"rule": "self.a == ''", "fieldPath": ".a", "reason": "FieldValueRequired"}), &[][..]),
        (json!({"rule": " "}), &[".rule: Required value: rule is not specified"]),
        (
            json!({"rule": "true", "message": " "}),
            &[".message: Invalid value: \" \": must be non-empty if specified"],
        ),
        (
            json!({"rule": "true", "message": "a\nb"}),
            &[".message: Invalid value: \"a\\nb\": must not contain line breaks"],
        ),
        (
            json!({"rule": "true\n&& true"}),
            &[".message: Required value: message must be specified if rule contains line breaks"],
        ),
        (
            json!({"rule": "true", "messageExpression": " "}),
            &[".messageExpression: Required value: messageExpression must be non-empty if specified"],
        ),
        (
            json!({"rule": "true", "reason": "Odd"}),
            &[
                ".reason: Unsupported value: \"Odd\": supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\"",
            ],
        ),
        (
            json!({"rule": "true", "fieldPath": ".b"}),
            &[".fieldPath: Invalid value: \".b\": must be a valid path"],
        ),
        (
            json!({"rule": "true", "optionalOldSelf": true}),
            &[".optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"],
        ),
        (
            json!({"rule": "true", "messageExpression": "1"}),
            &[
                ".messageExpression: Invalid value: {\"rule\":\"true\",\"messageExpression\":\"1\"}: messageExpression must evaluate to a string",
            ],
        ),
    ] {
        let wanted: Vec<String> =
            wanted.iter().map(|wanted| format!(".x-kubernetes-validations[0]{wanted}")).collect();
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        check_schema(rule(given), &wanted);
    }
}

#[test]
fn old_values_are_found_again() {
    let items =
        json!({"type": "string", "maxLength": 9, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]});
    check_schema(
        of_list(json!({"type": "array", "maxItems": 9, "items": items})),
        &[
            ".properties[l].items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within spec.validation.openAPIV3Schema.properties[l]",
        ],
    );
    let items = json!({"type": "object", "required": ["k"], "properties": {"k": {"type": "string", "maxLength": 9}},
        "x-kubernetes-validations": [{"rule": "self.k == oldSelf.k"}]});
    check_schema(
        of_list(
            json!({"type": "array", "maxItems": 9, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": items}),
        ),
        &[],
    );
}
