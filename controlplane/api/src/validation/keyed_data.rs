//! ConfigMaps and Secrets: keys, size, what their type promises, and that the immutable ones stay.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::fields::Fields;
use super::report::Report;
use crate::field::{Path, quote};
use crate::names;

/// All values of an object together.
const SIZE_MAX: usize = 1024 * 1024;
const FROZEN: &str = "field is immutable when `immutable` is set";
const REDACTED: &str = "<secret contents redacted>";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

pub(super) fn config_map(report: &mut Report, map: &Value) {
    let data = Path::new("data");
    let mut size = 0;
    for (key, value) in map.entries("data") {
        let path = data.key(key);
        report.complaints(&path, key, names::config_key(key));
        if map["binaryData"].get(key).is_some() {
            report.invalid(&path, key, "duplicate of key present in binaryData");
        }
        size += value.as_str().map_or(0, str::len);
    }
    for (key, value) in map.entries("binaryData") {
        report.complaints(&Path::new("binaryData").key(key), key, names::config_key(key));
        size += decoded_length(value);
    }
    if size > SIZE_MAX {
        report.too_long(&Path::default(), SIZE_MAX);
    }
}

pub(super) fn secret(report: &mut Report, secret: &Value) {
    let path = Path::new("data");
    let mut size = 0;
    for (key, value) in secret.entries("data") {
        report.complaints(&path.key(key), key, names::config_key(key));
        size += decoded_length(value);
    }
    if size > SIZE_MAX {
        report.too_long(&path, SIZE_MAX);
    }
    promised_keys(report, secret, &path);
}

fn promised_keys(report: &mut Report, secret: &Value, path: &Path) {
    let has = |key: &str| secret["data"].get(key).is_some();
    let mut need = |keys: &[&str]| {
        for key in keys.iter().filter(|key| !has(key)) {
            report.required(&path.key(key), "");
        }
    };
    match secret.text("type") {
        "kubernetes.io/service-account-token"
            if secret["metadata"]["annotations"].text(ACCOUNT_NAME).is_empty() =>
        {
            report.required(&Path::new("metadata").child("annotations").key(ACCOUNT_NAME), "");
        }
        "kubernetes.io/dockercfg" => json(report, secret, ".dockercfg", path),
        "kubernetes.io/dockerconfigjson" => json(report, secret, ".dockerconfigjson", path),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            need(&["username", "password"]);
        }
        "kubernetes.io/ssh-auth" if secret["data"].text("ssh-privatekey").is_empty() => {
            report.required(&path.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => need(&["tls.crt", "tls.key"]),
        _ => {}
    }
}

fn json(report: &mut Report, secret: &Value, key: &str, path: &Path) {
    let Some(value) = secret["data"].get(key) else {
        report.required(&path.key(key), "");
        return;
    };
    let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
    let why = match serde_json::from_slice::<Value>(&bytes) {
        Ok(Value::Object(_) | Value::Null) => return,
        Ok(other) => {
            let kind = match other {
                Value::Array(_) => "array",
                Value::String(_) => "string",
                Value::Bool(_) => "bool",
                _ => "number",
            };
            format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}")
        }
        Err(error) if error.is_eof() => "unexpected end of JSON input".to_owned(),
        Err(_) => match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(first) if !b"{[\"-0123456789tfn".contains(first) => {
                format!("invalid character {} looking for beginning of value", character(*first))
            }
            _ => "invalid character in JSON input".to_owned(),
        },
    };
    report.invalid(&path.key(key), REDACTED, why);
}

/// A byte as Go's complaints about JSON show it.
fn character(byte: u8) -> String {
    match char::from(byte) {
        '\'' => r"'\''".into(),
        '"' => "'\"'".into(),
        other => {
            let shown = quote(&other.to_string());
            format!("'{}'", &shown[1..shown.len() - 1])
        }
    }
}

/// What an update of a ConfigMap may not change.
pub(super) fn config_map_update(report: &mut Report, new: &Value, old: &Value) {
    frozen(report, new, old, &["data", "binaryData"]);
}

/// What an update of a Secret may not change.
pub(super) fn secret_update(report: &mut Report, new: &Value, old: &Value) {
    report.immutable(&Path::new("type"), &new["type"], &old["type"]);
    frozen(report, new, old, &["data"]);
}

fn frozen(report: &mut Report, new: &Value, old: &Value, names: &[&str]) {
    if !old.flag("immutable") {
        return;
    }
    if !new.flag("immutable") {
        report.forbidden(&Path::new("immutable"), FROZEN);
    }
    for name in names.iter().filter(|name| new[**name] != old[**name]) {
        report.forbidden(&Path::new(name), FROZEN);
    }
}

/// Bytes behind base64.
fn decoded_length(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default();
    let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}
