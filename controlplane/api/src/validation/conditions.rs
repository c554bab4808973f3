//! Lists of `metav1.Condition`: one of each type, each whole.

use std::collections::HashSet;

use serde_json::Value;

use super::fields::{Fields, items};
use super::report::Report;
use crate::field::Path;

const REASON_MAX: usize = 1024;
const MESSAGE_MAX: usize = 32768;
const NOT_A_REASON: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

/// `conditions` of a status.
pub(super) fn check(report: &mut Report, status: &Value, path: &Path) {
    let mut seen = HashSet::new();
    for (path, condition) in items(status, "conditions", path) {
        let (name, state) = (condition.text("type"), condition.text("status"));
        if !seen.insert(name) {
            report.duplicate(&path.child("type"), name);
        }
        report.qualified_name(&path.child("type"), name);
        if !matches!(state, "True" | "False" | "Unknown") {
            report.not_supported(&path.child("status"), state, &["False", "True", "Unknown"]);
        }
        if let Some(generation) = condition.number("observedGeneration").filter(|number| *number < 0) {
            report.invalid(
                &path.child("observedGeneration"),
                generation,
                "must be greater than or equal to zero",
            );
        }
        if condition.part("lastTransitionTime").is_none() {
            report.required(&path.child("lastTransitionTime"), "");
        }
        let (reason, at) = (condition.text("reason"), path.child("reason"));
        match reason {
            "" => report.required(&at, ""),
            reason if !is_reason(reason) => report.invalid(&at, reason, NOT_A_REASON),
            _ => {}
        }
        if reason.len() > REASON_MAX {
            report.too_long(&at, REASON_MAX);
        }
        if condition.text("message").len() > MESSAGE_MAX {
            report.too_long(&path.child("message"), MESSAGE_MAX);
        }
    }
}

fn is_reason(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_,:".contains(&byte);
    let (first, last) = (text.bytes().next(), text.bytes().last());
    first.is_some_and(|byte| byte.is_ascii_alphabetic())
        && last.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && text.bytes().all(inner)
}
