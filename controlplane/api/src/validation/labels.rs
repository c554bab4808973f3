//! Labels, annotations and label selectors, wherever they stand.
//!
//! Not how selectors match (`selector`).

use serde_json::Value;

use super::fields::{Fields, items};
use super::report::Report;
use crate::field::Path;
use crate::names;

/// Keys and values of all annotations of an object together.
const ANNOTATIONS_MAX: usize = 256 * 1024;

/// A map of labels at `path`.
pub(super) fn labels(report: &mut Report, map: &Value, path: &Path) {
    for (key, value) in map.as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        report.qualified_name(path, key);
        report.complaints(path, value, names::label_value(value));
    }
}

/// A map of annotations at `path`.
pub(super) fn annotations(report: &mut Report, map: &Value, path: &Path) {
    let mut size = 0;
    for (key, value) in map.as_object().into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        report.complaints(path, key, names::qualified_name(&key.to_lowercase()));
    }
    if size > ANNOTATIONS_MAX {
        report.too_long(path, ANNOTATIONS_MAX);
    }
}

/// A `metav1.LabelSelector` at `path`; an absent one is fine.
pub(super) fn selector(report: &mut Report, selector: &Value, path: &Path) {
    labels(report, &selector["matchLabels"], &path.child("matchLabels"));
    for (path, expression) in items(selector, "matchExpressions", path) {
        let values = path.child("values");
        match expression.text("operator") {
            "In" | "NotIn" if expression.list("values").is_empty() => {
                report.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" => {
                if !expression.list("values").is_empty() {
                    report.forbidden(
                        &values,
                        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                    );
                }
            }
            other => report.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
        report.qualified_name(&path.child("key"), expression.text("key"));
        for (index, value) in expression.texts("values").enumerate() {
            report.complaints(&values.index(index), value, names::label_value(value));
        }
    }
}

/// Whether a selector that is there has no condition.
pub(super) fn is_everything(selector: &Value) -> bool {
    selector.list("matchExpressions").is_empty() && selector.entries("matchLabels").next().is_none()
}
