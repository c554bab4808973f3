//! What the versions of a definition say: schemas, columns, subresources, selectable fields.
//!
//! Invariant: what all versions say alike is complained about once, at the place that it had when a definition had one version,
//! as upstream does.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::field_path;
use super::schema::{self, Ratchet};
use super::validation::{list, text};
use crate::field::{FieldError, Path};
use crate::names::dns_1035_label;

const WARNING_MAX_BYTES: usize = 256;
const SELECTABLE_MAX: usize = 8;
const FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

/// Versions with what they have in common taken out.
pub(super) struct Versions<'a> {
    all: &'a [Value],
    /// Of what all of them say alike, the names.
    shared: Vec<&'static str>,
    /// Schemas that were accepted before.
    old: HashMap<&'a str, &'a Value>,
    ratchet: Ratchet,
}

impl<'a> Versions<'a> {
    pub fn of(spec: &'a Value, old: Option<&'a Value>) -> Versions<'a> {
        let all = list(spec, "versions");
        let mut shared = vec!["subresources", "schema", "additionalPrinterColumns", "selectableFields"];
        shared.retain(|name| all.iter().all(|version| alike(&version[*name], &all[0][*name])));
        let before = old.map(|old| list(old, "versions")).unwrap_or_default();
        let mut ratchet = Ratchet::default();
        for version in before {
            ratchet.widen(&version["schema"]["openAPIV3Schema"]);
        }
        let old = before.iter().map(|version| (text(version, "name"), &version["schema"])).collect();
        Versions { all, shared, old, ratchet }
    }

    /// What all versions say alike.
    fn shared(&self, name: &str) -> Option<&'a Value> {
        self.all.first().filter(|_| self.shared.contains(&name)).map(|first| &first[name])
    }

    /// Versions without a schema.
    pub fn schemas(&self, path: &Path, errors: &mut Vec<FieldError>) {
        for (index, version) in self.all.iter().enumerate() {
            if version["schema"]["openAPIV3Schema"].is_null() {
                let path = path.index(index).child("schema").child("openAPIV3Schema");
                errors.push(FieldError::required(path, ""));
            }
        }
    }

    /// Each by itself.
    pub fn each(&self, path: &Path, errors: &mut Vec<FieldError>) {
        let own = |name: &str| self.shared(name).is_none();
        for (index, version) in self.all.iter().enumerate() {
            let (name, path) = (text(version, "name"), path.index(index));
            let complaints = dns_1035_label(name);
            if !complaints.is_empty() {
                errors.push(FieldError::invalid(path.child("name"), name, complaints.join(",")));
            }
            deprecation(version, &path.child("deprecationWarning"), errors);
            if own("schema") {
                let status = !version["subresources"]["status"].is_null();
                let ratchet = self.ratchet(version);
                schema::check(&version["schema"], status, &ratchet, &path.child("schema"), errors);
            }
            if own("subresources") {
                scale(&version["subresources"]["scale"], &path.child("subresources"), errors);
            }
            if own("additionalPrinterColumns") {
                columns(version, &path, errors);
            }
            if own("selectableFields") || own("schema") {
                selectable(list(version, "selectableFields"), &version["schema"], &path, errors);
            }
        }
    }

    /// What they say alike.
    pub fn together(&self, path: &Path, errors: &mut Vec<FieldError>) {
        let Some(first) = self.all.first() else { return };
        if let Some(shared) = self.shared("schema") {
            let status = self.all.iter().any(|version| !version["subresources"]["status"].is_null());
            schema::check(shared, status, &self.ratchet(first), &path.child("validation"), errors);
        }
        if let Some(shared) = self.shared("subresources") {
            scale(&shared["scale"], &path.child("subresources"), errors);
        }
        if self.shared("additionalPrinterColumns").is_some() {
            columns(first, path, errors);
        }
        if self.shared("selectableFields").is_some() && self.shared("schema").is_some() {
            selectable(list(first, "selectableFields"), &first["schema"], path, errors);
        }
    }

    fn ratchet(&self, version: &Value) -> Ratchet {
        let before = self.old.get(text(version, "name"));
        Ratchet { dear: before.is_some_and(|before| **before == version["schema"]), ..self.ratchet }
    }
}

/// Equal, where nothing is as good as an empty list.
fn alike(one: &Value, other: &Value) -> bool {
    let is_nothing = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    one == other || (is_nothing(one) && is_nothing(other))
}

fn deprecation(version: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let Some(warning) = version["deprecationWarning"].as_str() else { return };
    let mut refuse = |why: String| errors.push(FieldError::invalid(path, warning, why));
    if version["deprecated"] != true {
        return refuse("can only be set for deprecated versions".into());
    }
    if warning.len() > WARNING_MAX_BYTES {
        refuse(format!("must be <= {WARNING_MAX_BYTES} characters long"));
    }
    if warning.is_empty() {
        refuse("must not be an empty string".into());
    }
    let hidden = |c: char| c.is_control() || (c.is_whitespace() && c != ' ');
    if let Some((at, _)) = warning.char_indices().find(|(_, c)| hidden(*c)) {
        refuse(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        ));
    }
}

/// Whether a path is one that begins with a field: more is not asked.
fn simple_path<'a>(path: &'a str, at: &Path, errors: &mut Vec<FieldError>) -> Option<&'a str> {
    if path.starts_with('.') {
        return Some(path);
    }
    errors.push(FieldError::invalid(at, path, "must be a simple json path starting with ."));
    None
}

fn columns(version: &Value, place: &Path, errors: &mut Vec<FieldError>) {
    for (index, column) in list(version, "additionalPrinterColumns").iter().enumerate() {
        let at = place.child("additionalPrinterColumns").index(index);
        if text(column, "name").is_empty() {
            errors.push(FieldError::required(at.child("name"), ""));
        }
        let known = ["boolean", "date", "integer", "number", "string"];
        let why = format!("must be one of {}", known.join(","));
        match text(column, "type") {
            "" => errors.push(FieldError::required(at.child("type"), why)),
            of if !known.contains(&of) => errors.push(FieldError::invalid(at.child("type"), of, why)),
            _ => {}
        }
        let format = text(column, "format");
        if !format.is_empty() && !FORMATS.contains(&format) {
            let why = format!("must be one of {}", FORMATS.join(","));
            errors.push(FieldError::invalid(at.child("format"), format, why));
        }
        // The capital letters are upstream's.
        let at = at.child("JSONPath");
        match text(column, "jsonPath") {
            "" => errors.push(FieldError::required(at, "")),
            path => drop(simple_path(path, &at, errors)),
        }
    }
}

fn scale(scale: &Value, place: &Path, errors: &mut Vec<FieldError>) {
    if !scale.is_object() {
        return;
    }
    let cases: [(&str, &[&str], &str); 3] = [
        ("specReplicasPath", &[".spec."], ".spec"),
        ("statusReplicasPath", &[".status."], ".status"),
        // A selector may also be desired.
        ("labelSelectorPath", &[".spec.", ".status."], "either .spec or .status"),
    ];
    for (name, under, shown) in cases {
        let (at, path) = (place.child(&format!("scale.{name}")), text(scale, name));
        if path.is_empty() {
            if name != "labelSelectorPath" {
                errors.push(FieldError::required(at, ""));
            }
        } else if let Some(path) = simple_path(path, &at, errors)
            && !under.iter().any(|under| path.starts_with(under))
        {
            let why = format!("should be a json path under {shown}");
            errors.push(FieldError::invalid(at, path, why));
        }
    }
}

/// Fields that selectors may speak of: scalars that the schema knows.
fn selectable(fields: &[Value], schema: &Value, place: &Path, errors: &mut Vec<FieldError>) {
    let base = place.child("selectableFields");
    let document = &schema["openAPIV3Schema"];
    if document.is_null() {
        if !fields.is_empty() {
            let why = "may only be set when `version.schema.openAPIV3Schema` is not included";
            errors.push(FieldError::invalid(base, "", why));
        }
        return;
    }
    let mut seen = HashSet::new();
    for (index, field) in fields.iter().enumerate() {
        let (at, path) = (base.index(index).child("jsonPath"), text(field, "jsonPath"));
        if path.is_empty() {
            errors.push(FieldError::required(&at, ""));
            continue;
        }
        let (names, found) = match field_path::find(path, document, false) {
            Ok(found) => found,
            Err(why) => {
                errors.push(FieldError::invalid(&at, path, format!("is an invalid path: {why}")));
                continue;
            }
        };
        if names.first().is_some_and(|name| name == "metadata") {
            errors.push(FieldError::invalid(&at, path, "must not point to fields in metadata"));
        }
        if !matches!(text(found, "type"), "string" | "boolean" | "integer") {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(FieldError::invalid(&at, path, why));
        }
        if !seen.insert(names) {
            errors.push(FieldError::duplicate(&at, path));
        }
    }
    if seen.len() > SELECTABLE_MAX {
        errors.push(FieldError::too_many(&base, seen.len(), SELECTABLE_MAX));
    }
}
