//! Whether the rules of a schema are programs, and what they may cost together.

use serde_json::Value;

use super::field_path;
use super::validation::{list, text};
use crate::cel::{ESTIMATE_LIMIT, ESTIMATE_TOTAL, Program, Type, most_parts};
use crate::field::{FieldError, Path};
use crate::structural::{self, Additional, List, Structural, rule_names};

const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
const RULES: &str = "x-kubernetes-validations";
/// Rules that are named when all together are too dear, each of which is at least a hundredth of that.
const DEAREST: usize = 4;
const HINT: &str = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";

/// What is wrong with the texts of the rules of one node, before anything is compiled.
pub(super) fn texts(schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    const EMPTY: &str = "must be non-empty if specified";
    const BROKEN: &str = "must not contain line breaks";
    let breaks = |text: &str| text.contains(['\n', '\r']);
    for (index, rule) in list(schema, RULES).iter().enumerate() {
        let at = path.child(RULES).index(index);
        let (source, message) = (text(rule, "rule").trim(), text(rule, "message"));
        if source.is_empty() {
            errors.push(FieldError::required(at.child("rule"), "rule is not specified"));
        } else if !message.is_empty() && message.trim().is_empty() {
            errors.push(FieldError::invalid(at.child("message"), message, EMPTY));
        } else if breaks(message.trim()) {
            errors.push(FieldError::invalid(at.child("message"), message, BROKEN));
        } else if breaks(source) && message.is_empty() {
            let why = "message must be specified if rule contains line breaks";
            errors.push(FieldError::required(at.child("message"), why));
        }
        let expression = text(rule, "messageExpression");
        if !expression.is_empty() && expression.trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            errors.push(FieldError::required(at.child("messageExpression"), why));
        }
        if let Some(reason) = rule["reason"].as_str().filter(|reason| !REASONS.contains(reason)) {
            errors.push(FieldError::not_supported(at.child("reason"), reason, &REASONS));
        }
        let (field, at) = (text(rule, "fieldPath"), at.child("fieldPath"));
        if field.is_empty() {
            continue;
        }
        if field.trim().is_empty() {
            errors.push(FieldError::invalid(&at, field, EMPTY));
        }
        if breaks(field) {
            errors.push(FieldError::invalid(&at, field, BROKEN));
        }
        if field_path::find(field, schema, true).is_err() {
            errors.push(FieldError::invalid(&at, field, "must be a valid path"));
        }
    }
}

/// Everything that is wrong with the rules of a schema as programs; `dear` where each may cost what it does.
pub(super) fn check(schema: &Value, dear: bool, path: &Path, errors: &mut Vec<FieldError>) {
    let read = structural::read(schema);
    let mut walk = Walk { errors, dear, total: 0, dearest: Vec::new() };
    walk.node(schema, &read, path, &Place { root: true, times: 1, torn: None });
    let Walk { total, mut dearest, .. } = walk;
    if total > ESTIMATE_TOTAL {
        dearest.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
        for (path, _) in dearest.into_iter().take(DEAREST) {
            let why =
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(FieldError::forbidden(path, why));
        }
        let factor = factor(total, ESTIMATE_TOTAL);
        let why = format!(
            "{RULES} estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of {factor} {HINT}"
        );
        errors.push(FieldError::forbidden(path, why));
    }
}

/// Where a node is.
#[derive(Clone, Debug)]
struct Place {
    root: bool,
    /// How often its values may occur.
    times: u64,
    /// Below what a value cannot be told from the one that it replaces.
    torn: Option<Path>,
}

struct Walk<'e> {
    errors: &'e mut Vec<FieldError>,
    dear: bool,
    total: u64,
    dearest: Vec<(Path, u64)>,
}

impl Walk<'_> {
    fn node(&mut self, schema: &Value, read: &Structural, path: &Path, place: &Place) {
        for (index, rule) in read.rules.iter().enumerate() {
            let at = path.child(RULES).index(index);
            self.rule(rule, &schema[RULES][index], read, &at, place);
        }
        if !read.has_rules {
            return;
        }
        let torn = |apart: bool| place.torn.clone().or_else(|| apart.then(|| path.clone()));
        let below = Place { root: false, times: place.times, torn: torn(read.atomic_map) };
        for (name, inner) in &read.properties {
            let at = path.child("properties").key(name);
            self.node(&schema["properties"][name.as_str()], inner, &at, &below);
        }
        let times = place.times.saturating_mul(most_parts(read));
        if let Some(items) = &read.items {
            let torn = torn(!matches!(read.list, List::Map(_)));
            self.node(&schema["items"], items, &path.child("items"), &Place { root: false, times, torn });
        }
        if let Additional::Each(each) = &read.additional {
            let (at, torn) = (path.child("additionalProperties"), place.torn.clone());
            self.node(&schema["additionalProperties"], each, &at, &Place { root: false, times, torn });
        }
    }

    fn rule(&mut self, rule: &structural::Rule, shown: &Value, read: &Structural, at: &Path, place: &Place) {
        let names = rule_names(rule, read, place.root);
        let program = match Program::compile(&rule.rule, &names, &Type::Bool) {
            Ok(program) => Some(program),
            Err(error) => {
                let why = match error.is_of_type() {
                    true => "cel expression must evaluate to a bool".to_owned(),
                    false => format!("compilation failed: {error}"),
                };
                self.errors.push(FieldError::invalid(at.child("rule"), shown.clone(), why));
                None
            }
        };
        if let Some(program) = &program {
            self.pays(program, "rule cost", at.child("rule"), place);
            self.message(rule, &names, shown, at, place);
        }
        if program.is_some_and(|program| program.mentions("oldSelf")) {
            if let Some(torn) = &place.torn {
                let why = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {torn}"
                );
                self.errors.push(FieldError::invalid(at.child("rule"), rule.rule.as_str(), why));
            }
        } else if let Some(optional) = shown["optionalOldSelf"].as_bool() {
            let why = "may not be set if oldSelf is not used in rule";
            self.errors.push(FieldError::invalid(at.child("optionalOldSelf"), optional, why));
        }
    }

    fn message(
        &mut self,
        rule: &structural::Rule,
        names: &[(&str, Type<'_>)],
        shown: &Value,
        at: &Path,
        place: &Place,
    ) {
        if rule.message_expression.is_empty() {
            return;
        }
        let at = at.child("messageExpression");
        match Program::compile(&rule.message_expression, names, &Type::Text) {
            Ok(program) => self.pays(&program, "messageExpression cost", at, place),
            Err(error) => {
                let why = match error.is_of_type() {
                    true => "messageExpression must evaluate to a string".to_owned(),
                    false => format!("messageExpression compilation failed: {error}"),
                };
                self.errors.push(FieldError::invalid(at, shown.clone(), why));
            }
        }
    }

    fn pays(&mut self, program: &Program, what: &str, at: Path, place: &Place) {
        let cost = program.estimate.saturating_mul(place.times);
        self.total = self.total.saturating_add(cost);
        if cost > ESTIMATE_LIMIT && !self.dear {
            let why = format!(
                "estimated {what} exceeds budget by factor of {} {HINT}",
                factor(cost, ESTIMATE_LIMIT)
            );
            self.errors.push(FieldError::forbidden(&at, why));
        }
        if cost >= ESTIMATE_TOTAL / 100 {
            self.dearest.push((at, cost));
        }
    }
}

/// By how much a cost is too high, as upstream says it.
fn factor(cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    if factor > 100.0 {
        "more than 100x".into()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    }
}
