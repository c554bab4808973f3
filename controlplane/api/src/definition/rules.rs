//! Whether the rules of a schema are programs, and what they may cost together.

use serde_json::Value;

use crate::cel::{ESTIMATE_LIMIT, ESTIMATE_TOTAL, Program, Type, most_parts};
use crate::field::{FieldError, Path};
use crate::structural::{self, Additional, List, Structural, rule_names};

const REASONS: [&str; 4] =
    ["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired", "FieldValueDuplicate"];
const HINT: &str = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";

/// Everything that is wrong with the rules of a schema.
pub(super) fn check(schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let read = structural::read(schema);
    let mut walk = Walk { errors, total: 0 };
    walk.node(schema, &read, path, Place { root: true, times: 1, correlated: true });
    let total = walk.total;
    if total > ESTIMATE_TOTAL {
        let factor = factor(total, ESTIMATE_TOTAL);
        let why = format!(
            "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of {factor} {HINT}"
        );
        errors.push(FieldError::forbidden(path, why));
    }
}

/// Where a node is.
#[derive(Clone, Copy)]
struct Place {
    root: bool,
    /// How often its values may occur.
    times: u64,
    /// Whether a value can be told from the one that it replaces.
    correlated: bool,
}

struct Walk<'e> {
    errors: &'e mut Vec<FieldError>,
    total: u64,
}

impl Walk<'_> {
    fn node(&mut self, schema: &Value, read: &Structural, path: &Path, place: Place) {
        for (index, rule) in read.rules.iter().enumerate() {
            let at = path.child("x-kubernetes-validations").index(index);
            let shown = &schema["x-kubernetes-validations"][index];
            self.rule(rule, shown, read, &at, place);
        }
        let below = Place { root: false, ..place };
        for (name, inner) in &read.properties {
            let at = path.child("properties").key(name);
            self.node(&schema["properties"][name.as_str()], inner, &at, below);
        }
        let many = Place { times: place.times.saturating_mul(most_parts(read)), ..below };
        if let Some(items) = &read.items {
            let correlated = place.correlated && read.list != List::Atomic;
            self.node(&schema["items"], items, &path.child("items"), Place { correlated, ..many });
        }
        if let Additional::Each(each) = &read.additional {
            self.node(&schema["additionalProperties"], each, &path.child("additionalProperties"), many);
        }
    }

    fn rule(&mut self, rule: &structural::Rule, shown: &Value, read: &Structural, at: &Path, place: Place) {
        if rule.rule.trim().is_empty() {
            return self.errors.push(FieldError::required(at.child("rule"), "rule is not specified"));
        }
        if !rule.reason.is_empty() && !REASONS.contains(&rule.reason.as_str()) {
            let reason = rule.reason.as_str();
            self.errors.push(FieldError::not_supported(at.child("reason"), reason, &REASONS));
        }
        let names = rule_names(rule, read, place.root);
        self.program(&rule.rule, "rule", &Type::Bool, &names, shown, at, place);
        if !rule.message_expression.is_empty() {
            self.program(
                &rule.message_expression,
                "messageExpression",
                &Type::Text,
                &names,
                shown,
                at,
                place,
            );
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn program(
        &mut self,
        source: &str,
        name: &str,
        of: &Type<'_>,
        names: &[(&str, Type<'_>)],
        shown: &Value,
        at: &Path,
        place: Place,
    ) {
        let program = match Program::compile(source, names, of) {
            Ok(program) => program,
            Err(error) => {
                let why = format!("compilation failed: {error}");
                return self.errors.push(FieldError::invalid(at.child(name), shown.clone(), why));
            }
        };
        if program.mentions("oldSelf") && !place.correlated {
            let why = "oldSelf cannot be used on the uncorrelatable portion of the schema";
            self.errors.push(FieldError::invalid(at.child(name), shown.clone(), why));
        }
        let cost = program.estimate.saturating_mul(place.times);
        self.total = self.total.saturating_add(cost);
        if cost > ESTIMATE_LIMIT {
            let what = if name == "rule" { "rule cost" } else { "messageExpression cost" };
            let why = format!(
                "estimated {what} exceeds budget by factor of {} {HINT}",
                factor(cost, ESTIMATE_LIMIT)
            );
            self.errors.push(FieldError::forbidden(at.child(name), why));
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
