//! OpenAPI v2 as protobuf, the form that kubectl and client-go ask for first.
//!
//! A transcoder over tables: what a message holds under which number. Only what our documents use is in them; a field that no table
//! has cannot be told in this form and is left out, as upstream leaves it out.
//!
//! Reference: `openapi.v2.Document` of gnostic's OpenAPIv2.proto. Any value lies in it as YAML, and JSON is YAML.

use std::convert::Infallible;

use serde_json::Value;

use crate::wire::protobuf::Writer;

/// How a field is written.
enum Of {
    Text,
    Flag,
    Float,
    Count,
    /// A list of texts.
    Texts,
    Any,
    /// A list of anything.
    Anys,
    Message(&'static [Field]),
    /// A list of messages.
    Messages(&'static [Field]),
    /// A map, as a message of names and values under this number.
    Map(u32, &'static Of),
    /// A message around another one, told apart by its number.
    In(u32, &'static Of),
    /// `type`: one text or several.
    Type,
    /// `additionalProperties`: a schema or a flag.
    SchemaOrFlag,
    /// Parameters: of the body or of something else.
    Parameters,
}

struct Field(&'static str, u32, Of);

/// Whatever begins with `x-`; the last of a table.
const fn extensions(number: u32) -> Field {
    Field("x-", number, Of::Any)
}

static DOCUMENT: [Field; 5] = [
    Field("swagger", 1, Of::Text),
    Field("info", 2, Of::Message(&INFO)),
    Field("paths", 8, Of::Map(2, &A_PATH)),
    Field("definitions", 9, Of::Map(1, &A_SCHEMA)),
    Field("securityDefinitions", 13, Of::Map(1, &AN_API_KEY)),
];

static A_SCHEMA: Of = Of::Message(&SCHEMA);
static A_PATH: Of = Of::Message(&PATH);
static A_RESPONSE: Of = Of::In(1, &A_WHOLE_RESPONSE);
static A_WHOLE_RESPONSE: Of = Of::Message(&RESPONSE);
/// The one kind of security that is used.
static AN_API_KEY: Of = Of::In(2, &A_WHOLE_API_KEY);
static A_WHOLE_API_KEY: Of = Of::Message(&API_KEY);

static INFO: [Field; 3] =
    [Field("title", 1, Of::Text), Field("version", 2, Of::Text), Field("description", 3, Of::Text)];

static API_KEY: [Field; 4] = [
    Field("type", 1, Of::Text),
    Field("name", 2, Of::Text),
    Field("in", 3, Of::Text),
    Field("description", 4, Of::Text),
];

static PATH: [Field; 9] = [
    Field("get", 2, Of::Message(&OPERATION)),
    Field("put", 3, Of::Message(&OPERATION)),
    Field("post", 4, Of::Message(&OPERATION)),
    Field("delete", 5, Of::Message(&OPERATION)),
    Field("options", 6, Of::Message(&OPERATION)),
    Field("head", 7, Of::Message(&OPERATION)),
    Field("patch", 8, Of::Message(&OPERATION)),
    Field("parameters", 9, Of::Parameters),
    extensions(10),
];

static OPERATION: [Field; 11] = [
    Field("tags", 1, Of::Texts),
    Field("summary", 2, Of::Text),
    Field("description", 3, Of::Text),
    Field("operationId", 5, Of::Text),
    Field("produces", 6, Of::Texts),
    Field("consumes", 7, Of::Texts),
    Field("parameters", 8, Of::Parameters),
    Field("responses", 9, Of::Map(1, &A_RESPONSE)),
    Field("schemes", 10, Of::Texts),
    Field("deprecated", 11, Of::Flag),
    extensions(13),
];

static RESPONSE: [Field; 3] =
    [Field("description", 1, Of::Text), Field("schema", 2, Of::In(1, &A_SCHEMA)), extensions(5)];

static BODY: [Field; 6] = [
    Field("description", 1, Of::Text),
    Field("name", 2, Of::Text),
    Field("in", 3, Of::Text),
    Field("required", 4, Of::Flag),
    Field("schema", 5, Of::Message(&SCHEMA)),
    extensions(6),
];

/// Parameters in the query or in a form.
static QUERY: [Field; 10] = [
    Field("required", 1, Of::Flag),
    Field("in", 2, Of::Text),
    Field("description", 3, Of::Text),
    Field("name", 4, Of::Text),
    Field("type", 6, Of::Text),
    Field("format", 7, Of::Text),
    Field("default", 10, Of::Any),
    Field("uniqueItems", 20, Of::Flag),
    Field("enum", 21, Of::Anys),
    extensions(23),
];

/// Parameters in the path or in a header.
static PLACED: [Field; 10] = [
    Field("required", 1, Of::Flag),
    Field("in", 2, Of::Text),
    Field("description", 3, Of::Text),
    Field("name", 4, Of::Text),
    Field("type", 5, Of::Text),
    Field("format", 6, Of::Text),
    Field("default", 9, Of::Any),
    Field("uniqueItems", 19, Of::Flag),
    Field("enum", 20, Of::Anys),
    extensions(22),
];

static SCHEMA: [Field; 27] = [
    Field("$ref", 1, Of::Text),
    Field("format", 2, Of::Text),
    Field("title", 3, Of::Text),
    Field("description", 4, Of::Text),
    Field("default", 5, Of::Any),
    Field("multipleOf", 6, Of::Float),
    Field("maximum", 7, Of::Float),
    Field("exclusiveMaximum", 8, Of::Flag),
    Field("minimum", 9, Of::Float),
    Field("exclusiveMinimum", 10, Of::Flag),
    Field("maxLength", 11, Of::Count),
    Field("minLength", 12, Of::Count),
    Field("pattern", 13, Of::Text),
    Field("maxItems", 14, Of::Count),
    Field("minItems", 15, Of::Count),
    Field("uniqueItems", 16, Of::Flag),
    Field("maxProperties", 17, Of::Count),
    Field("minProperties", 18, Of::Count),
    Field("required", 19, Of::Texts),
    Field("enum", 20, Of::Anys),
    Field("additionalProperties", 21, Of::SchemaOrFlag),
    Field("type", 22, Of::Type),
    Field("items", 23, Of::In(1, &A_SCHEMA)),
    Field("allOf", 24, Of::Messages(&SCHEMA)),
    Field("properties", 25, Of::Map(1, &A_SCHEMA)),
    Field("example", 30, Of::Any),
    extensions(31),
];

/// The document of `openapi::v2` as bytes.
pub fn encode(document: &Value) -> Vec<u8> {
    let mut out = Writer::default();
    message(document, &DOCUMENT, &mut out);
    out.into_bytes()
}

fn message(value: &Value, fields: &[Field], out: &mut Writer) {
    for (name, value) in value.as_object().into_iter().flatten() {
        if let Some(Field(_, number, of)) = fields.iter().find(|Field(known, ..)| known == name) {
            field(value, *number, of, out);
        } else if let Some(Field(_, number, _)) =
            fields.last().filter(|last| last.0 == "x-" && name.starts_with("x-"))
        {
            nested(*number, out, |out| {
                out.string(1, name);
                nested(2, out, |out| out.string(2, &value.to_string()));
            });
        }
    }
}

/// Names and values under one number.
fn named(value: &Value, number: u32, of: &Of, out: &mut Writer) {
    for (name, value) in value.as_object().into_iter().flatten() {
        nested(number, out, |out| {
            out.string(1, name);
            field(value, 2, of, out);
        });
    }
}

/// A field; what is empty, zero or false is not written, as of every scalar in proto3.
fn field(value: &Value, number: u32, of: &Of, out: &mut Writer) {
    let items = || value.as_array().into_iter().flatten();
    match of {
        Of::Text => text(value.as_str().unwrap_or_default(), number, out),
        Of::Flag => {
            if value == true {
                out.integer(number, 1);
            }
        }
        Of::Float => {
            if let Some(float) = value.as_f64().filter(|float| *float != 0.0) {
                out.double(number, float);
            }
        }
        Of::Count => {
            if let Some(count) = value.as_i64().filter(|count| *count != 0) {
                out.integer(number, count);
            }
        }
        Of::Texts => items().filter_map(Value::as_str).for_each(|text| out.string(number, text)),
        Of::Any => nested(number, out, |out| out.string(2, &value.to_string())),
        Of::Anys => items().for_each(|one| nested(number, out, |out| out.string(2, &one.to_string()))),
        Of::Message(fields) => nested(number, out, |out| message(value, fields, out)),
        Of::Messages(fields) => items().for_each(|one| nested(number, out, |out| message(one, fields, out))),
        Of::Map(inner, of) => nested(number, out, |out| named(value, *inner, of, out)),
        Of::In(inner, of) => nested(number, out, |out| field(value, *inner, of, out)),
        Of::Type => nested(number, out, |out| match value {
            Value::String(one) => out.string(1, one),
            _ => items().filter_map(Value::as_str).for_each(|text| out.string(1, text)),
        }),
        Of::SchemaOrFlag => nested(number, out, |out| match value {
            Value::Bool(flag) => out.integer(2, i64::from(*flag)),
            schema => nested(1, out, |out| message(schema, &SCHEMA, out)),
        }),
        Of::Parameters => {
            items().for_each(|one| nested(number, out, |out| nested(1, out, |out| parameter(one, out))))
        }
    }
}

fn parameter(value: &Value, out: &mut Writer) {
    let (number, fields): (u32, &[Field]) = match value["in"].as_str() {
        Some("body") => return nested(1, out, |out| message(value, &BODY, out)),
        Some("header") => (1, &PLACED),
        Some("formData") => (2, &QUERY),
        Some("path") => (4, &PLACED),
        _ => (3, &QUERY),
    };
    nested(2, out, |out| nested(number, out, |out| message(value, fields, out)));
}

fn text(text: &str, number: u32, out: &mut Writer) {
    if !text.is_empty() {
        out.string(number, text);
    }
}

fn nested(number: u32, out: &mut Writer, fill: impl FnOnce(&mut Writer)) {
    let filled: Result<(), Infallible> = out.message(number, |out| {
        fill(out);
        Ok(())
    });
    match filled {
        Ok(()) => {}
        Err(never) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(document: Value, expect: &[u8]) {
        assert_eq!(encode(&document), expect, "{document}");
    }

    #[test]
    fn documents_are_messages() {
        check(
            json!({"swagger": "2.0", "info": {"title": "K", "version": "v1"}}),
            b"\x0a\x032.0\x12\x07\x0a\x01K\x12\x02v1",
        );
        // definitions(9) { named(1) { name(1) "T", schema(2) { type(22) { value(1) "object" } } } }
        check(
            json!({"definitions": {"T": {"type": "object"}}}),
            b"\x4a\x12\x0a\x10\x0a\x01T\x12\x0b\xb2\x01\x08\x0a\x06object",
        );
        // What is an extension is kept as YAML; what has no number is left out.
        check(
            json!({"definitions": {"T": {"x-a": [1], "oneOf": []}}}),
            b"\x4a\x16\x0a\x14\x0a\x01T\x12\x0f\xfa\x01\x0c\x0a\x03x-a\x12\x05\x12\x03[1]",
        );
        // paths(8) { path(2) { name(1), item(2) { get(2) { responses(9) { code(1) { name(1), value(2) { response(1) } } } } } } }
        check(
            json!({"paths": {"/a": {"get": {"responses": {"200": {"description": "OK"}}}}}}),
            b"\x42\x1b\x12\x19\x0a\x02/a\x12\x13\x12\x11\x4a\x0f\x0a\x0d\x0a\x03200\x12\x06\x0a\x04\x0a\x02OK",
        );
    }

    #[test]
    fn parameters_say_where_they_are() {
        let check = |parameter: Value, expect: &[u8]| {
            let mut out = Writer::default();
            super::parameter(&parameter, &mut out);
            assert_eq!(out.into_bytes(), expect, "{parameter}");
        };
        check(json!({"in": "body", "name": "b"}), b"\x0a\x09\x1a\x04body\x12\x01b");
        check(json!({"in": "query", "type": "string"}), b"\x12\x11\x1a\x0f\x12\x05query\x32\x06string");
        check(json!({"in": "path", "required": true}), b"\x12\x0a\x22\x08\x12\x04path\x08\x01");
    }
}
