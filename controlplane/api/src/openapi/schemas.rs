//! Schemas of types, with the extensions that clients patch and explain by.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::custom::Custom;
use crate::kind::Kind;
use crate::schema::{self, Field, ListType, Shape, Type};
use crate::structural;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";
const FIELDS_V1: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const RAW: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";

const API_VERSION_TEXT: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND_TEXT: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const LIST_META_TEXT: &str = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

const METADATA_TEXT: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// Which OpenAPI it is.
#[derive(Clone, Copy)]
pub struct Style {
    /// Before a schema's name in a reference.
    pub prefix: &'static str,
    pub v3: bool,
}

/// Every schema that the kinds need, by name.
pub fn of_kinds(kinds: &[&'static Kind], style: Style) -> Value {
    let mut out = Collector { style, done: BTreeMap::new() };
    for kind in kinds {
        if let Some(custom) = kind.custom() {
            out.custom(kind, &custom);
        }
        let names = [kind.schema].into_iter().chain(kind.subresources.iter().map(|sub| sub.schema));
        names.filter_map(schema::find).for_each(|found| out.add(found));
    }
    for name in ["Status", "DeleteOptions", "ListMeta"] {
        schema::find(&format!("{META}{name}")).into_iter().for_each(|found| out.add(found));
    }
    for kind in kinds {
        mark(&mut out.done, kind.schema, kind.group, kind.version, kind.kind);
        for sub in kind.subresources {
            mark(&mut out.done, sub.schema, sub.group, sub.version, sub.kind);
        }
        if !kind.list_kind().is_empty() {
            out.done.insert(list_name(kind), list(kind, style));
        }
    }
    mark(&mut out.done, "io.k8s.apimachinery.pkg.apis.meta.v1.Status", "", "v1", "Status");
    Value::Object(out.done.into_iter().collect())
}

/// `io.k8s.api.apps.v1.DeploymentList`.
pub fn list_name(kind: &Kind) -> String {
    let package = kind.schema.rsplit_once('.').map_or("", |(package, _)| package);
    format!("{package}.{}", kind.list_kind())
}

pub fn reference(name: &str, style: Style) -> Value {
    json!({"$ref": format!("{}{name}", style.prefix)})
}

fn mark(done: &mut BTreeMap<String, Value>, name: &str, group: &str, version: &str, kind: &str) {
    const KEY: &str = "x-kubernetes-group-version-kind";
    if let Some(Value::Object(schema)) = done.get_mut(name) {
        let row = json!({"group": group, "kind": kind, "version": version});
        let rows = schema.entry(KEY).or_insert_with(|| json!([]));
        if let Value::Array(rows) = rows
            && !rows.contains(&row)
        {
            rows.push(row);
        }
    }
}

struct Collector {
    style: Style,
    done: BTreeMap<String, Value>,
}

impl Collector {
    /// A custom resource: its own schema with what every object has.
    fn custom(&mut self, kind: &'static Kind, custom: &Custom) {
        schema::find(&format!("{META}ObjectMeta")).into_iter().for_each(|found| self.add(found));
        let document = custom.document();
        // In v2 clients take fields that are told for all that there are.
        let schema = if !self.style.v3 && document["x-kubernetes-preserve-unknown-fields"] == true {
            json!({"type": "object"})
        } else {
            let mut schema = structural::publish(&document, self.style.v3);
            self.embedded(&mut schema);
            self.own_fields(&mut schema);
            schema
        };
        self.done.insert(kind.schema.to_owned(), schema);
    }

    /// The fields that every object has.
    fn own_fields(&self, schema: &mut Value) {
        let metadata = reference(&format!("{META}ObjectMeta"), self.style);
        let metadata = if self.style.v3 {
            json!({"description": METADATA_TEXT, "allOf": [metadata]})
        } else {
            let mut metadata = metadata;
            metadata["description"] = METADATA_TEXT.into();
            metadata
        };
        let Some(fields) = schema.as_object_mut() else { return };
        let properties = fields.entry("properties").or_insert_with(|| json!({}));
        properties["apiVersion"] = json!({"description": API_VERSION_TEXT, "type": "string"});
        properties["kind"] = json!({"description": KIND_TEXT, "type": "string"});
        properties["metadata"] = metadata;
    }

    /// Embedded objects have them too, and must say what they are.
    fn embedded(&self, schema: &mut Value) {
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            properties.values_mut().for_each(|inner| self.embedded(inner));
        }
        for name in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get_mut(name).filter(|inner| inner.is_object()) {
                self.embedded(inner);
            }
        }
        if schema["x-kubernetes-embedded-resource"] == true {
            self.own_fields(schema);
            let mut required = schema["required"].as_array().cloned().unwrap_or_default();
            for name in ["kind", "apiVersion"] {
                if !required.iter().any(|known| known == name) {
                    required.push(name.into());
                }
            }
            schema["required"] = required.into();
        }
    }

    fn add(&mut self, kind: &'static Type) {
        if self.done.contains_key(kind.name) {
            return;
        }
        // Taken before the fields: types may contain themselves.
        self.done.insert(kind.name.to_owned(), Value::Null);
        let mut properties = Map::new();
        let mut required: Vec<&str> = Vec::new();
        if kind.root {
            properties
                .insert("apiVersion".into(), json!({"description": API_VERSION_TEXT, "type": "string"}));
            properties.insert("kind".into(), json!({"description": KIND_TEXT, "type": "string"}));
        }
        self.fields(kind, &mut properties, &mut required);
        required.sort_unstable();
        let mut out = Map::new();
        describe(&mut out, kind.description());
        out.insert("type".into(), "object".into());
        if !required.is_empty() {
            out.insert("required".into(), required.into());
        }
        sort(&mut properties);
        out.insert("properties".into(), Value::Object(properties));
        if kind.atomic {
            out.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        self.done.insert(kind.name.to_owned(), Value::Object(out));
    }

    fn fields(
        &mut self,
        kind: &'static Type,
        properties: &mut Map<String, Value>,
        required: &mut Vec<&'static str>,
    ) {
        for field in kind.fields {
            if let Some(part) = field.inline() {
                self.fields(part, properties, required);
                continue;
            }
            if field.required {
                required.push(field.name);
            }
            let value = self.property(field);
            properties.insert(field.name.to_owned(), value);
        }
    }

    fn property(&mut self, field: &'static Field) -> Value {
        let mut out = Map::new();
        describe(&mut out, field.description());
        let shape = self.shape(&field.shape);
        self.splice(&mut out, shape);
        if self.style.v3
            && field.always
            && !field.pointer
            && matches!(field.shape, Shape::Str | Shape::Bool | Shape::I32 | Shape::I64)
        {
            let zero = match field.shape {
                Shape::Str => json!(""),
                Shape::Bool => json!(false),
                _ => json!(0),
            };
            out.insert("default".into(), zero);
        } else if self.style.v3 && !field.pointer && matches!(field.shape, Shape::Object(_)) {
            out.insert("default".into(), json!({}));
        }
        match field.list {
            ListType::Unset => {}
            ListType::Atomic => drop(out.insert("x-kubernetes-list-type".into(), "atomic".into())),
            ListType::Set => drop(out.insert("x-kubernetes-list-type".into(), "set".into())),
            ListType::Map(keys) => {
                out.insert("x-kubernetes-list-type".into(), "map".into());
                out.insert("x-kubernetes-list-map-keys".into(), keys.into());
            }
        }
        if field.merge || field.retain_keys {
            let strategies: Vec<&str> = [("merge", field.merge), ("retainKeys", field.retain_keys)]
                .into_iter()
                .filter(|(_, on)| *on)
                .map(|(name, _)| name)
                .collect();
            out.insert("x-kubernetes-patch-strategy".into(), strategies.join(",").into());
        }
        if !field.merge_key.is_empty() {
            out.insert("x-kubernetes-patch-merge-key".into(), field.merge_key.into());
        }
        if field.atomic {
            out.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        Value::Object(out)
    }

    /// A reference beside a description needs `allOf` in v3; v2 clients accept both side by side.
    fn splice(&self, out: &mut Map<String, Value>, shape: Value) {
        let Value::Object(shape) = shape else { return };
        if self.style.v3 && shape.contains_key("$ref") {
            out.insert("allOf".into(), json!([shape]));
        } else {
            out.extend(shape);
        }
    }

    fn shape(&mut self, shape: &'static Shape) -> Value {
        match shape {
            Shape::Str => json!({"type": "string"}),
            Shape::Enum(values) => {
                let mut values = values.to_vec();
                values.sort_unstable();
                json!({"type": "string", "enum": values})
            }
            Shape::Bool => json!({"type": "boolean"}),
            Shape::I32 => json!({"type": "integer", "format": "int32"}),
            Shape::I64 => json!({"type": "integer", "format": "int64"}),
            Shape::F64 => json!({"type": "number", "format": "double"}),
            Shape::Bytes => json!({"type": "string", "format": "byte"}),
            Shape::Time => self.named(TIME, json!({"type": "string", "format": "date-time"})),
            Shape::MicroTime => self.named(MICRO_TIME, json!({"type": "string", "format": "date-time"})),
            Shape::Quantity if self.style.v3 => {
                self.named(QUANTITY, json!({"oneOf": [{"type": "string"}, {"type": "number"}]}))
            }
            Shape::Quantity => self.named(QUANTITY, json!({"type": "string"})),
            Shape::IntOrString if self.style.v3 => self.named(
                INT_OR_STRING,
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
            ),
            Shape::IntOrString => {
                self.named(INT_OR_STRING, json!({"type": "string", "format": "int-or-string"}))
            }
            Shape::Raw => self.named(RAW, json!({"type": "object"})),
            Shape::FieldsV1 => self.named(FIELDS_V1, json!({"type": "object"})),
            Shape::Strings => json!({"type": "array", "items": {"type": "string"}}),
            Shape::List(inner) => json!({"type": "array", "items": self.item(inner)}),
            Shape::Map(inner) => json!({"type": "object", "additionalProperties": self.item(inner)}),
            Shape::Object(kind) => {
                self.add(kind);
                reference(kind.name, self.style)
            }
            // Any JSON, as upstream says of them.
            Shape::OrBool(kind) | Shape::OrList(kind) => {
                self.add(kind);
                json!({})
            }
        }
    }

    fn item(&mut self, inner: &'static Shape) -> Value {
        let shape = self.shape(inner);
        let mut out = Map::new();
        self.splice(&mut out, shape);
        match inner {
            Shape::Object(_) if self.style.v3 => drop(out.insert("default".into(), json!({}))),
            Shape::Str if self.style.v3 => drop(out.insert("default".into(), json!(""))),
            _ => {}
        }
        Value::Object(out)
    }

    fn named(&mut self, name: &str, schema: Value) -> Value {
        self.done.entry(name.to_owned()).or_insert(schema);
        reference(name, self.style)
    }
}

fn list(kind: &Kind, style: Style) -> Value {
    let items = if style.v3 {
        json!({"allOf": [reference(kind.schema, style)], "default": {}})
    } else {
        reference(kind.schema, style)
    };
    let meta = reference("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta", style);
    let meta =
        if style.v3 { json!({"description": LIST_META_TEXT, "allOf": [meta], "default": {}}) } else { meta };
    json!({
        "description": format!("{} is a list of {} objects.", kind.list_kind(), kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"description": API_VERSION_TEXT, "type": "string"},
            "items": {"description": format!("Items is the list of {} objects.", kind.kind), "type": "array", "items": items},
            "kind": {"description": KIND_TEXT, "type": "string"},
            "metadata": meta,
        },
        "x-kubernetes-group-version-kind": [{"group": kind.group, "kind": kind.list_kind(), "version": kind.version}],
    })
}

fn describe(out: &mut Map<String, Value>, text: &str) {
    if !text.is_empty() {
        out.insert("description".into(), text.into());
    }
}

fn sort(map: &mut Map<String, Value>) {
    let mut entries: Vec<_> = std::mem::take(map).into_iter().collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    map.extend(entries);
}
