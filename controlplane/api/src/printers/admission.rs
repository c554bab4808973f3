//! Webhooks and policies of admission.

use serde_json::Value;

use super::{AGE, Column, NAME, age, list, name, number, or, selector, text};

pub(super) const WEBHOOKS: &[Column] = &[NAME, number("Webhooks"), AGE];

pub(super) fn webhooks(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    vec![name(object), list(object, "webhooks").count().into(), age(object, now)]
}

pub(super) const VALIDATING: &[Column] = &[NAME, number("Validations"), text("ParamKind"), AGE];
pub(super) const MUTATING: &[Column] = &[NAME, number("Mutations"), text("ParamKind"), AGE];

pub(super) fn validating(policy: &Value, now: jiff::Timestamp) -> Vec<Value> {
    self::policy(policy, "validations", now)
}

pub(super) fn mutating(policy: &Value, now: jiff::Timestamp) -> Vec<Value> {
    self::policy(policy, "mutations", now)
}

fn policy(policy: &Value, rules: &str, now: jiff::Timestamp) -> Vec<Value> {
    let spec = &policy["spec"];
    let word = |field: &str| spec["paramKind"][field].as_str().unwrap_or_default();
    let kind = match spec["paramKind"].is_object() {
        true => format!("{}/{}", word("apiVersion"), word("kind")),
        false => "<unset>".to_owned(),
    };
    vec![name(policy), list(spec, rules).count().into(), kind.into(), age(policy, now)]
}

pub(super) const BINDING: &[Column] = &[NAME, text("PolicyName"), text("ParamRef"), AGE];

pub(super) fn binding(binding: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let (spec, given) = (&binding["spec"], &binding["spec"]["paramRef"]);
    let word = |field: &str| given[field].as_str().filter(|text| !text.is_empty());
    let parameters: Value = match (word("name"), word("namespace")) {
        (Some(name), Some(namespace)) => format!("{namespace}/{name}").into(),
        (Some(name), None) => format!("*/{name}").into(),
        (None, _) if given["selector"].is_object() => selector(given.get("selector")),
        (None, _) => "<unset>".into(),
    };
    vec![name(binding), or(&spec["policyName"], ""), parameters, age(binding, now)]
}
