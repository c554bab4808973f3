//! Devices: claims for them, their classes, and the slices by which drivers announce them.
//!
//! Not the fields of a device that a selector's expression looks at: to it a device is of any type.
//! Reference: `pkg/apis/resource/validation`, by behaviour.

mod claim;
mod slice;

pub(super) use claim::{claim, class, status, template};
pub(super) use slice::{slice, slice_update};

use std::collections::HashSet;

use serde_json::Value;

use super::fields::{Fields, items};
use super::report::Report;
use super::storage::driver_name;
use crate::field::Path;
use crate::names;

const POOL_NAME_MAX: usize = 253;
const IDENTIFIER_MAX: usize = 32;
const NOT_AN_IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";

/// A claim or its template stays as it is.
pub(super) fn unchanged(report: &mut Report, new: &Value, old: &Value) {
    report.immutable(&Path::new("spec"), &new["spec"], &old["spec"]);
}

/// Whether a list is short enough to be looked at.
fn few(report: &mut Report, of: &Value, name: &str, most: usize, path: &Path) -> bool {
    let count = of.list(name).len();
    if count > most {
        report.too_many(&path.child(name), count, most);
    }
    count <= most
}

/// Says which items of a list have the key of an earlier one.
fn distinct(report: &mut Report, of: &Value, name: &str, path: &Path, key: impl Fn(&Value) -> Value) {
    let mut seen = HashSet::new();
    for (path, item) in items(of, name, path) {
        let key = key(item);
        if !seen.insert(key.to_string()) {
            report.duplicate(&path, key);
        }
    }
}

fn pool_name(report: &mut Report, name: &str, path: &Path) {
    if name.is_empty() {
        return report.required(path, "");
    }
    if name.len() > POOL_NAME_MAX {
        report.too_long(path, POOL_NAME_MAX);
    }
    for part in name.split('/') {
        report.dns_subdomain(path, part);
    }
}

/// `[domain/]identifier`.
fn attribute_name(report: &mut Report, name: &str, path: &Path) {
    match name.split('/').collect::<Vec<_>>()[..] {
        [name] => identifier(report, name, path),
        [domain, name] => {
            if domain.is_empty() {
                report.invalid(path, "", "the domain must not be empty");
            } else {
                driver_name(report, domain, path);
            }
            if name.is_empty() {
                report.invalid(path, "", "the name must not be empty");
            } else {
                identifier(report, name, path);
            }
        }
        // As upstream: nothing is said of more.
        _ => {}
    }
}

/// `domain/identifier`.
fn full_attribute_name(report: &mut Report, name: &str, path: &Path) {
    attribute_name(report, name, path);
    if !name.contains('/') {
        let why = "a fully qualified name must be a domain and a name separated by a slash";
        report.invalid(path, name, why);
    }
}

fn identifier(report: &mut Report, name: &str, path: &Path) {
    if name.len() > IDENTIFIER_MAX {
        report.too_long(path, IDENTIFIER_MAX);
    }
    let mut bytes = name.bytes();
    let begins = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !begins || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        report.invalid(path, name, NOT_AN_IDENTIFIER);
    }
}

/// The name of a node, where it is a name.
fn node_name(report: &mut Report, name: &str, path: &Path) {
    report.complaints(path, name, names::dns_subdomain(name));
}
