//! Values against their schema, in upstream's words.
//!
//! Ratcheting (KEP-4008): what was wrong before and did not change is not held against an update.

use serde_json::{Map, Value};

use super::{Checks, List, Structural, formats};
use crate::field::{ErrorType, FieldError};

/// What is wrong with a value; `old` is what it was before.
pub fn check(value: &Value, schema: &Structural, old: Option<&Value>) -> Vec<FieldError> {
    let mut walk = Walk { path: String::new(), errors: Vec::new() };
    walk.node(value, schema, old, true);
    walk.errors
}

struct Walk {
    path: String,
    errors: Vec<FieldError>,
}

impl Walk {
    fn node(&mut self, value: &Value, schema: &Structural, old: Option<&Value>, root: bool) {
        if old == Some(value) {
            return;
        }
        if value.is_null() && schema.nullable {
            return;
        }
        if !self.has_type(value, schema) {
            return;
        }
        if let Some(checks) = &schema.checks {
            self.values(value, checks);
        }
        match value {
            Value::Object(fields) => self.fields(fields, schema, old, root),
            Value::Array(items) => self.items(items, schema, old),
            _ => {}
        }
        if schema.embedded {
            self.embedded(value);
        }
    }

    fn fields(&mut self, fields: &Map<String, Value>, schema: &Structural, old: Option<&Value>, root: bool) {
        let length = self.path.len();
        for (name, value) in fields {
            let own = (root || schema.embedded) && name == "metadata";
            let Some(below) = schema.field(name).filter(|_| !own) else { continue };
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(name);
            self.node(value, below, old.and_then(|old| old.get(name)), false);
            self.path.truncate(length);
        }
    }

    fn items(&mut self, items: &[Value], schema: &Structural, old: Option<&Value>) {
        let Some(below) = &schema.items else { return };
        let length = self.path.len();
        for (index, item) in items.iter().enumerate() {
            self.path.push_str(&format!("[{index}]"));
            self.node(item, below, correlated(item, &schema.list, old), false);
            self.path.truncate(length);
        }
    }

    fn has_type(&mut self, value: &Value, schema: &Structural) -> bool {
        let fits = match schema.of {
            "" if schema.int_or_string => value.is_string() || is_integer(value),
            "" => true,
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => is_integer(value),
            _ => value.is_number(),
        };
        if !fits {
            let wanted = if schema.of.is_empty() { "integer,string" } else { schema.of };
            let found = type_name(value);
            let why = format!("{} must be of type {wanted}: \"{found}\"", self.name());
            self.push(FieldError::type_invalid(self.path.as_str(), found, why));
        }
        fits
    }

    /// How upstream names the place in a sentence.
    fn name(&self) -> String {
        format!("{} in body", self.path)
    }

    fn push(&mut self, error: FieldError) {
        self.errors.push(error);
    }

    fn invalid(&mut self, value: &Value, why: &str) {
        let why = format!("{} {why}", self.name());
        self.push(FieldError::invalid(self.path.as_str(), value.clone(), why));
    }

    fn values(&mut self, value: &Value, checks: &Checks) {
        self.composites(value, checks);
        match value {
            Value::String(text) => self.text(value, text, checks),
            Value::Number(_) => self.number(value, checks),
            Value::Array(items) => self.array(value, items.len() as u64, checks),
            Value::Object(fields) => self.object(value, fields, checks),
            _ => {}
        }
        if !checks.allowed.is_empty() && !checks.allowed.contains(value) {
            let shown: Vec<String> = checks.allowed.iter().map(shown).collect();
            let names: Vec<&str> = shown.iter().map(String::as_str).collect();
            self.push(FieldError::not_supported(self.path.as_str(), value.clone(), &names));
        }
    }

    fn text(&mut self, value: &Value, text: &str, checks: &Checks) {
        let length = text.chars().count() as u64;
        if let Some(most) = checks.max_length.filter(|most| length > *most) {
            self.push(FieldError::too_long(self.path.as_str(), most as usize));
        }
        if let Some(least) = checks.min_length.filter(|least| length < *least) {
            self.invalid(value, &format!("should be at least {least} chars long"));
        }
        if let Some(pattern) = checks.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
            self.invalid(value, &format!("should match '{}'", pattern.text));
        }
        if !formats::matches(&checks.format, text) {
            let why =
                format!("{} must be of type {}: {}", self.name(), checks.format, crate::field::quote(text));
            self.push(FieldError::type_invalid(self.path.as_str(), value.clone(), why));
        }
    }

    fn number(&mut self, value: &Value, checks: &Checks) {
        let number = value.as_f64().unwrap_or_default();
        if let Some(most) = checks.maximum {
            match checks.exclusive_maximum {
                true if number >= most => self.invalid(value, &format!("should be less than {}", go(most))),
                false if number > most => {
                    self.invalid(value, &format!("should be less than or equal to {}", go(most)));
                }
                _ => {}
            }
        }
        if let Some(least) = checks.minimum {
            match checks.exclusive_minimum {
                true if number <= least => {
                    self.invalid(value, &format!("should be greater than {}", go(least)));
                }
                false if number < least => {
                    self.invalid(value, &format!("should be greater than or equal to {}", go(least)));
                }
                _ => {}
            }
        }
        if let Some(of) = checks.multiple_of.filter(|of| *of > 0.0) {
            let quotient = number / of;
            if (quotient - quotient.round()).abs() > f64::EPSILON * quotient.abs().max(1.0) {
                self.invalid(value, &format!("should be a multiple of {}", go(of)));
            }
        }
        if !formats::holds(&checks.format, value) {
            let why = format!("{} must be of type {}: {}", self.name(), checks.format, shown(value));
            self.push(FieldError::type_invalid(self.path.as_str(), value.clone(), why));
        }
    }

    fn array(&mut self, value: &Value, count: u64, checks: &Checks) {
        if let Some(least) = checks.min_items.filter(|least| count < *least) {
            self.invalid(value, &format!("should have at least {least} items"));
        }
        if let Some(most) = checks.max_items.filter(|most| count > *most) {
            self.push(FieldError::too_many(self.path.as_str(), count as usize, most as usize));
        }
    }

    fn object(&mut self, value: &Value, fields: &Map<String, Value>, checks: &Checks) {
        let count = fields.len() as u64;
        if let Some(least) = checks.min_properties.filter(|least| count < *least) {
            self.invalid(value, &format!("should have at least {least} properties"));
        }
        if let Some(most) = checks.max_properties.filter(|most| count > *most) {
            self.push(FieldError::too_many(self.path.as_str(), count as usize, most as usize));
        }
        for name in checks.required.iter().filter(|name| !fields.contains_key(*name)) {
            let path = self.child(name);
            self.push(FieldError::required(path, ""));
        }
    }

    fn child(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn composites(&mut self, value: &Value, checks: &Checks) {
        let fits = |schema: &Structural| self.nested(value, schema).is_empty();
        let place = crate::field::quote(&self.path);
        let mut sentences = Vec::new();
        if !checks.any_of.is_empty() && !checks.any_of.iter().any(fits) {
            sentences.push(format!("{place} must validate at least one schema (anyOf)"));
        }
        if !checks.one_of.is_empty() {
            match checks.one_of.iter().filter(|schema| fits(schema)).count() {
                1 => {}
                0 => sentences
                    .push(format!("{place} must validate one and only one schema (oneOf). Found none valid")),
                valid => sentences.push(format!(
                    "{place} must validate one and only one schema (oneOf). Found {valid} valid alternatives"
                )),
            }
        }
        let mut inner: Vec<FieldError> = Vec::new();
        if !checks.all_of.is_empty() {
            inner.extend(checks.all_of.iter().flat_map(|schema| self.nested(value, schema)));
            if !inner.is_empty() {
                sentences.push(format!("{place} must validate all the schemas (allOf)"));
            }
        }
        if checks.not.as_ref().is_some_and(|schema| fits(schema)) {
            sentences.push(format!("{place} must not validate the schema (not)"));
        }
        // The errors of upstream's composites name no field.
        let nowhere = |why| FieldError::new(ErrorType::Invalid, "<nil>", Some("".into()), why);
        self.errors.extend(inner);
        self.errors.extend(sentences.into_iter().map(nowhere));
        for alternatives in [&checks.any_of, &checks.one_of] {
            self.closest(value, alternatives);
        }
    }

    /// Of several alternatives of which none fits, the errors of the one that fits best, as upstream tells them.
    fn closest(&mut self, value: &Value, alternatives: &[Structural]) {
        let tried: Vec<Vec<FieldError>> =
            alternatives.iter().map(|schema| self.nested(value, schema)).collect();
        if tried.iter().any(Vec::is_empty) {
            return;
        }
        if let Some(best) = tried.into_iter().min_by_key(Vec::len) {
            self.errors.extend(best);
        }
    }

    fn nested(&self, value: &Value, schema: &Structural) -> Vec<FieldError> {
        let mut walk = Walk { path: self.path.clone(), errors: Vec::new() };
        walk.node(value, schema, None, false);
        walk.errors
    }

    /// An object in an object says what it is.
    fn embedded(&mut self, value: &Value) {
        for name in ["apiVersion", "kind"] {
            if value[name].as_str().unwrap_or_default().is_empty() {
                let path = self.child(name);
                self.push(FieldError::required(path, "must not be empty"));
            }
        }
    }
}

/// The item of the old list that an item continues: by its keys, where the list has any.
fn correlated<'a>(item: &Value, list: &List, old: Option<&'a Value>) -> Option<&'a Value> {
    let old = old?.as_array()?;
    match list {
        List::Map(keys) => old.iter().find(|other| keys.iter().all(|key| other.get(key) == item.get(key))),
        _ => None,
    }
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A number as Go's `%v` writes it: large and small ones with an exponent of two digits.
pub(super) fn go(number: f64) -> String {
    const MOST_DIGITS: i32 = 6;
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..MOST_DIGITS).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}
