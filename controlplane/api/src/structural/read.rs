//! From the JSON of an `openAPIV3Schema` to its nodes.

use serde_json::{Map, Value};

use super::{Additional, Checks, List, Pattern, Rule, Structural};

/// Types by their name in a schema.
const TYPES: [&str; 6] = ["object", "array", "string", "integer", "number", "boolean"];

/// Reads a schema.
pub fn read(schema: &Value) -> Structural {
    let flag = |name: &str| schema[name].as_bool().unwrap_or(false);
    let text = |name: &str| schema[name].as_str().unwrap_or_default();
    let mut node = Structural {
        of: TYPES.into_iter().find(|known| *known == text("type")).unwrap_or_default(),
        nullable: flag("nullable"),
        preserves: flag("x-kubernetes-preserve-unknown-fields"),
        embedded: flag("x-kubernetes-embedded-resource"),
        int_or_string: flag("x-kubernetes-int-or-string"),
        atomic_map: text("x-kubernetes-map-type") == "atomic",
        default: schema.get("default").filter(|default| !default.is_null()).cloned(),
        properties: properties(&schema["properties"]),
        additional: match &schema["additionalProperties"] {
            Value::Bool(true) => Additional::Any,
            Value::Object(_) => Additional::Each(Box::new(read(&schema["additionalProperties"]))),
            _ => Additional::None,
        },
        items: schema.get("items").filter(|items| items.is_object()).map(|items| Box::new(read(items))),
        list: match text("x-kubernetes-list-type") {
            "set" => List::Set,
            "map" => List::Map(texts(&schema["x-kubernetes-list-map-keys"])),
            _ => List::Atomic,
        },
        checks: checks(schema).map(Box::new),
        rules: list(&schema["x-kubernetes-validations"]).iter().map(rule).collect(),
        has_defaults: false,
        has_rules: false,
    };
    let mut below: Vec<&Structural> = node.properties.values().chain(node.items.as_deref()).collect();
    if let Additional::Each(each) = &node.additional {
        below.push(each);
    }
    node.has_defaults = node.default.is_some() || below.iter().any(|child| child.has_defaults);
    node.has_rules = !node.rules.is_empty() || below.iter().any(|child| child.has_rules);
    node
}

fn properties(value: &Value) -> std::collections::BTreeMap<String, Structural> {
    value.as_object().into_iter().flatten().map(|(name, schema)| (name.clone(), read(schema))).collect()
}

fn checks(schema: &Value) -> Option<Checks> {
    const KEYS: [&str; 21] = [
        "format",
        "maximum",
        "minimum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "multipleOf",
        "maxLength",
        "minLength",
        "maxItems",
        "minItems",
        "maxProperties",
        "minProperties",
        "pattern",
        "enum",
        "required",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "maximum",
        "minimum",
    ];
    let fields: &Map<String, Value> = schema.as_object()?;
    if !KEYS.iter().any(|key| fields.contains_key(*key)) {
        return None;
    }
    let number = |name: &str| schema[name].as_f64();
    let count = |name: &str| schema[name].as_u64();
    let flag = |name: &str| schema[name].as_bool().unwrap_or(false);
    let nested = |name: &str| list(&schema[name]).iter().map(read).collect();
    Some(Checks {
        format: schema["format"].as_str().unwrap_or_default().to_owned(),
        maximum: number("maximum"),
        exclusive_maximum: flag("exclusiveMaximum"),
        minimum: number("minimum"),
        exclusive_minimum: flag("exclusiveMinimum"),
        multiple_of: number("multipleOf"),
        max_length: count("maxLength"),
        min_length: count("minLength"),
        max_items: count("maxItems"),
        min_items: count("minItems"),
        max_properties: count("maxProperties"),
        min_properties: count("minProperties"),
        pattern: schema["pattern"].as_str().filter(|text| !text.is_empty()).map(Pattern::new),
        allowed: list(&schema["enum"]).to_vec(),
        required: texts(&schema["required"]),
        all_of: nested("allOf"),
        any_of: nested("anyOf"),
        one_of: nested("oneOf"),
        not: schema.get("not").filter(|not| not.is_object()).map(|not| Box::new(read(not))),
    })
}

fn rule(value: &Value) -> Rule {
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    Rule {
        rule: text("rule"),
        message: text("message"),
        message_expression: text("messageExpression"),
        reason: text("reason"),
        field_path: text("fieldPath"),
        optional_old_self: value["optionalOldSelf"].as_bool().unwrap_or(false),
        compiled: super::Compiled::default(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn texts(value: &Value) -> Vec<String> {
    list(value).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
