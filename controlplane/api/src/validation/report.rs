//! The list of complaints that grows while an object is walked, and the small rules that many fields share.
//!
//! Not the walk itself. Invariant: complaints stay in the order in which they were made; none is there twice, and they are not
//! more than [`MOST`].

use serde_json::Value;

use super::fields::equal;
use crate::field::{ErrorType, FieldError, Path};
use crate::names::{self, Complaints};
use crate::quantity::Quantity;

pub(super) const IMMUTABLE: &str = "field is immutable";
pub(super) const NEGATIVE: &str = "must be greater than or equal to 0";
pub(super) const NOT_POSITIVE: &str = "must be greater than zero";
pub(super) const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// Complaints about one object: whoever mends so many asks again.
const MOST: usize = 1000;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    errors: Vec<FieldError>,
}

impl Report {
    pub(super) fn finish(self) -> Vec<FieldError> {
        self.errors
    }

    pub(super) fn len(&self) -> usize {
        self.errors.len()
    }

    pub(super) fn push(&mut self, error: FieldError) {
        if self.errors.len() < MOST && !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    pub(super) fn invalid(&mut self, path: &Path, value: impl Into<Value>, why: impl Into<String>) {
        self.push(FieldError::invalid(path, value, why));
    }

    /// Where no value stands for what is wrong.
    pub(super) fn invalid_rule(&mut self, path: &Path, why: &str) {
        self.push(FieldError::new(ErrorType::Invalid, path, None, why));
    }

    pub(super) fn required(&mut self, path: &Path, why: &str) {
        self.push(FieldError::required(path, why));
    }

    pub(super) fn forbidden(&mut self, path: &Path, why: impl Into<String>) {
        self.push(FieldError::forbidden(path, why));
    }

    pub(super) fn duplicate(&mut self, path: &Path, value: impl Into<Value>) {
        self.push(FieldError::duplicate(path, value));
    }

    pub(super) fn duplicate_because(&mut self, path: &Path, value: impl Into<Value>, why: &str) {
        self.push(FieldError::new(ErrorType::Duplicate, path, Some(value.into()), why));
    }

    pub(super) fn not_found(&mut self, path: &Path, value: impl Into<Value>) {
        self.push(FieldError::not_found(path, value));
    }

    pub(super) fn not_supported(&mut self, path: &Path, value: impl Into<Value>, known: &[&str]) {
        self.push(FieldError::not_supported(path, value, known));
    }

    pub(super) fn too_long(&mut self, path: &Path, most_bytes: usize) {
        self.push(FieldError::too_long(path, most_bytes));
    }

    pub(super) fn too_many(&mut self, path: &Path, actual: usize, most: usize) {
        self.push(FieldError::too_many(path, actual, most));
    }

    /// One error per complaint about a name.
    pub(super) fn complaints(&mut self, path: &Path, value: &str, complaints: Complaints) {
        for why in complaints {
            self.invalid(path, value, why);
        }
    }

    pub(super) fn dns_label(&mut self, path: &Path, value: &str) {
        self.complaints(path, value, names::dns_label(value));
    }

    pub(super) fn dns_subdomain(&mut self, path: &Path, value: &str) {
        self.complaints(path, value, names::dns_subdomain(value));
    }

    pub(super) fn qualified_name(&mut self, path: &Path, value: &str) {
        self.complaints(path, value, names::qualified_name(value));
    }

    /// A value out of a closed set; an empty one is missing.
    pub(super) fn one_of(&mut self, path: &Path, value: &str, known: &[&str]) {
        if value.is_empty() {
            self.required(path, "");
        } else if !known.contains(&value) {
            self.not_supported(path, value, known);
        }
    }

    pub(super) fn non_negative(&mut self, path: &Path, value: Option<i64>) {
        if let Some(value) = value.filter(|value| *value < 0) {
            self.invalid(path, value, NEGATIVE);
        }
    }

    /// A number in a closed range.
    pub(super) fn in_range(&mut self, path: &Path, value: i64, least: i64, most: i64) {
        if !(least..=most).contains(&value) {
            self.invalid(path, value, format!("must be between {least} and {most}, inclusive"));
        }
    }

    pub(super) fn port_number(&mut self, path: &Path, value: i64) {
        self.in_range(path, value, 1, 65535);
    }

    /// A port by number or by name.
    pub(super) fn port(&mut self, path: &Path, value: &Value) {
        match value {
            Value::String(name) => self.complaints(path, name, names::port_name(name)),
            number => self.port_number(path, number.as_i64().unwrap_or_default()),
        }
    }

    pub(super) fn non_negative_quantity(&mut self, path: &Path, value: &Quantity) {
        if value.sign() < 0 {
            self.invalid(path, value.to_string(), NEGATIVE);
        }
    }

    pub(super) fn immutable(&mut self, path: &Path, new: &Value, old: &Value) {
        if !equal(new, old) {
            self.invalid(path, new.clone(), IMMUTABLE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_few_and_never_twice() {
        let mut report = Report::default();
        for index in 0..MOST + 10 {
            let path = Path::new("items").index(index);
            report.required(&path, "");
            report.required(&path, "");
        }
        let errors = report.finish();
        assert_eq!((errors.len(), errors[1].field.as_str()), (MOST, "items[1]"));
    }
}
