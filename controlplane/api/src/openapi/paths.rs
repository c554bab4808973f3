//! Paths and their operations, with the parameters that clients look for.

use serde_json::{Map, Value, json};

use super::base_path;
use super::schemas::{Style, list_name, reference};
use crate::kind::{Kind, Subresource, Verb};
use crate::wire::{Encoding, PatchType};

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

const LIST_PARAMETERS: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const WRITE_PARAMETERS: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const PATCH_PARAMETERS: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
const DELETE_PARAMETERS: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

pub fn of_kinds(kinds: &[&'static Kind], style: Style) -> Value {
    let mut paths = Map::new();
    for kind in kinds {
        let base = base_path(kind.group, kind.version);
        let collection = if kind.namespaced {
            format!("{base}/namespaces/{{namespace}}/{}", kind.resource)
        } else {
            format!("{base}/{}", kind.resource)
        };
        let target =
            Target { group: kind.group, version: kind.version, kind: kind.kind, schema: kind.schema };
        let mut operations = Operations { style, row: kind, target, map: Map::new() };
        for (verb, method) in
            [(Verb::List, "get"), (Verb::Create, "post"), (Verb::DeleteCollection, "delete")]
        {
            operations.add(kind.verbs, verb, method);
        }
        paths.insert(collection.clone(), operations.finish(false));
        if kind.namespaced && kind.serves(Verb::List) {
            let mut operations = Operations { style, row: kind, target, map: Map::new() };
            operations.add(kind.verbs, Verb::List, "get");
            let mut everywhere = operations.finish(false);
            everywhere["parameters"] = json!([]);
            paths.insert(format!("{base}/{}", kind.resource), everywhere);
        }
        let item = format!("{collection}/{{name}}");
        let mut operations = Operations { style, row: kind, target, map: Map::new() };
        // A named path never creates the object itself; only subresources are created there.
        for (verb, method) in ITEM_VERBS.into_iter().filter(|(verb, _)| *verb != Verb::Create) {
            operations.add(kind.verbs, verb, method);
        }
        if !operations.map.is_empty() {
            paths.insert(item.clone(), operations.finish(true));
        }
        for sub in kind.subresources {
            paths.insert(format!("{item}/{}", sub.name), subresource(kind, sub, style));
        }
    }
    Value::Object(paths)
}

const ITEM_VERBS: [(Verb, &str); 5] = [
    (Verb::Get, "get"),
    (Verb::Create, "post"),
    (Verb::Update, "put"),
    (Verb::Patch, "patch"),
    (Verb::Delete, "delete"),
];

fn subresource(kind: &'static Kind, sub: &'static Subresource, style: Style) -> Value {
    let target = Target { group: sub.group, version: sub.version, kind: sub.kind, schema: sub.schema };
    let mut operations = Operations { style, row: kind, target, map: Map::new() };
    for (verb, method) in ITEM_VERBS {
        operations.add(sub.verbs, verb, method);
    }
    operations.finish(true)
}

#[derive(Clone, Copy)]
struct Target {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    schema: &'static str,
}

struct Operations {
    style: Style,
    row: &'static Kind,
    target: Target,
    map: Map<String, Value>,
}

impl Operations {
    fn add(&mut self, offered: &[Verb], verb: Verb, method: &str) {
        if !offered.contains(&verb) {
            return;
        }
        let (action, parameters): (_, &[(&str, &str)]) = match verb {
            Verb::List => ("list", LIST_PARAMETERS),
            Verb::Create => ("post", WRITE_PARAMETERS),
            Verb::Update => ("put", WRITE_PARAMETERS),
            Verb::Patch => ("patch", PATCH_PARAMETERS),
            Verb::Delete => ("delete", DELETE_PARAMETERS),
            Verb::DeleteCollection => ("deletecollection", DELETE_PARAMETERS),
            _ => ("get", &[]),
        };
        let Target { group, version, kind, .. } = self.target;
        let mut operation = json!({
            "tags": [tag(group, version)],
            "operationId": format!("{action}{}{kind}", capitalized(&tag(group, version))),
            "responses": self.responses(verb),
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": version},
        });
        operation["parameters"] =
            parameters.iter().map(|(name, kind)| self.parameter(name, kind, "query")).collect();
        self.body(&mut operation, verb);
        self.map.insert(method.to_owned(), operation);
    }

    fn finish(mut self, named: bool) -> Value {
        let mut parameters = Vec::new();
        if named {
            parameters.push(self.parameter("name", "string", "path"));
        }
        if self.row.namespaced {
            parameters.push(self.parameter("namespace", "string", "path"));
        }
        parameters.push(self.parameter("pretty", "string", "query"));
        self.map.insert("parameters".into(), parameters.into());
        Value::Object(self.map)
    }

    fn parameter(&self, name: &str, kind: &str, place: &str) -> Value {
        let mut out = json!({"name": name, "in": place});
        if place == "path" {
            out["required"] = true.into();
        }
        if self.style.v3 {
            out["schema"] = json!({"type": kind, "uniqueItems": true});
        } else {
            out["type"] = kind.into();
            out["uniqueItems"] = true.into();
        }
        out
    }

    fn responses(&self, verb: Verb) -> Value {
        let schema = match verb {
            Verb::List => reference(&list_name(self.row), self.style),
            Verb::Delete | Verb::DeleteCollection => reference(STATUS, self.style),
            _ if self.target.schema.is_empty() => json!({"type": "string"}),
            _ => reference(self.target.schema, self.style),
        };
        let ok = if self.style.v3 {
            let content: Map<String, Value> = Encoding::ALL
                .iter()
                .filter(|encoding| !self.row.is_custom() || **encoding != Encoding::Protobuf)
                .map(|encoding| (encoding.content_type().to_owned(), json!({"schema": schema})))
                .collect();
            json!({"description": "OK", "content": content})
        } else {
            json!({"description": "OK", "schema": schema})
        };
        json!({"200": ok, "401": {"description": "Unauthorized"}})
    }

    fn body(&self, operation: &mut Value, verb: Verb) {
        let (schema, types): (Value, Vec<&str>) = match verb {
            Verb::Create | Verb::Update if !self.target.schema.is_empty() => {
                (reference(self.target.schema, self.style), vec!["*/*"])
            }
            Verb::Delete | Verb::DeleteCollection => (reference(DELETE_OPTIONS, self.style), vec!["*/*"]),
            Verb::Patch => {
                let mut types = vec![PatchType::Apply, PatchType::Json, PatchType::Merge];
                // What has no merge keys: kubectl sends what stands here.
                if !self.row.is_custom() {
                    types.push(PatchType::StrategicMerge);
                }
                (json!({"type": "object"}), types.into_iter().map(PatchType::content_type).collect())
            }
            _ => return,
        };
        if self.style.v3 {
            let content: Map<String, Value> =
                types.into_iter().map(|name| (name.to_owned(), json!({"schema": schema}))).collect();
            operation["requestBody"] = json!({"content": content});
        } else {
            operation["consumes"] = types.into();
            if let Some(parameters) = operation["parameters"].as_array_mut() {
                parameters.push(json!({"name": "body", "in": "body", "schema": schema}));
            }
        }
    }
}

/// `apps_v1`, `core_v1`, `rbacAuthorization_v1`.
fn tag(group: &str, version: &str) -> String {
    let group = if group.is_empty() { "core" } else { group.strip_suffix(".k8s.io").unwrap_or(group) };
    let mut out = String::new();
    for (index, part) in group.split('.').enumerate() {
        if index == 0 { out.push_str(part) } else { out.push_str(&capitalized(part)) }
    }
    format!("{out}_{version}")
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_ascii_uppercase())
        .into_iter()
        .chain(chars.filter(|c| *c != '_'))
        .collect()
}
