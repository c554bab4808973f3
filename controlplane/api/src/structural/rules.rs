//! The rules of a schema, `x-kubernetes-validations`, over an object and what it was before.
//!
//! Reference: KEP-2876; apiextensions-apiserver `schema/cel` 1.36, by behaviour.

use std::sync::OnceLock;

use serde_json::Value as Json;

use super::{Additional, List, Rule, Structural};
use crate::cel::{Budget, CALL_LIMIT, OBJECT_LIMIT, Program, Type, Value};
use crate::field::{ErrorType, FieldError, Path};

/// A rule as it runs; compiled at its first use.
#[derive(Debug, Default)]
pub struct Compiled(OnceLock<Result<Programs, String>>);

#[derive(Debug)]
struct Programs {
    rule: Program,
    message: Option<Program>,
}

impl Rule {
    /// Its programs for values of a schema.
    fn programs(&self, schema: &Structural, root: bool) -> &Result<Programs, String> {
        self.compiled.0.get_or_init(|| {
            let names = names(self, schema, root);
            let rule =
                Program::compile(&self.rule, &names, &Type::Bool).map_err(|error| error.to_string())?;
            let message = Program::compile(&self.message_expression, &names, &Type::Text).ok();
            Ok(Programs { rule, message: message.filter(|_| !self.message_expression.is_empty()) })
        })
    }

    /// What a client is told where no expression says it.
    fn message(&self) -> String {
        match self.message.trim() {
            "" => format!("failed rule: {}", self.rule.split_whitespace().collect::<Vec<_>>().join(" ")),
            message => message.to_owned(),
        }
    }
}

/// What a rule may speak of.
pub(crate) fn names<'s>(rule: &Rule, schema: &'s Structural, root: bool) -> [(&'static str, Type<'s>); 2] {
    let of = Type::of(schema, root);
    let old = if rule.optional_old_self { Type::Optional(Box::new(of.clone())) } else { of.clone() };
    [("self", of), ("oldSelf", old)]
}

/// What the rules of a schema say against an object.
pub fn check_rules(object: &Json, schema: &Structural, old: Option<&Json>) -> Vec<FieldError> {
    check_rules_within(object, schema, old, true, &mut Budget::new(OBJECT_LIMIT))
}

/// The same of a value, which is a whole object where it is at the root, and of what it may cost.
pub fn check_rules_within(
    value: &Json,
    schema: &Structural,
    old: Option<&Json>,
    root: bool,
    budget: &mut Budget,
) -> Vec<FieldError> {
    let mut walk = Walk { budget: Budget::new(budget.left()), errors: Vec::new() };
    if schema.has_rules {
        walk.node(value, old, schema, root, &Path::default());
    }
    *budget = walk.budget;
    walk.errors
}

struct Walk {
    budget: Budget,
    errors: Vec<FieldError>,
}

impl Walk {
    fn node(&mut self, value: &Json, old: Option<&Json>, schema: &Structural, root: bool, path: &Path) {
        if !schema.has_rules || value.is_null() {
            return;
        }
        for rule in &schema.rules {
            if self.budget.left() == 0 {
                return;
            }
            self.rule(rule, value, old, schema, root, path);
        }
        match value {
            Json::Object(fields) => {
                for (name, inner) in fields {
                    let own = schema.properties.get(name);
                    let each = match &schema.additional {
                        Additional::Each(each) => Some(&**each),
                        _ => None,
                    };
                    let Some(below) = own.or(each) else { continue };
                    let place = if own.is_some() { path.child(name) } else { path.key(name) };
                    self.node(inner, old.and_then(|old| old.get(name)), below, false, &place);
                }
            }
            Json::Array(items) => {
                let Some(below) = &schema.items else { return };
                for (index, item) in items.iter().enumerate() {
                    let before = before(item, &schema.list, old);
                    self.node(item, before, below, false, &path.index(index));
                }
            }
            _ => {}
        }
    }

    fn rule(
        &mut self,
        rule: &Rule,
        value: &Json,
        old: Option<&Json>,
        schema: &Structural,
        root: bool,
        path: &Path,
    ) {
        let of = if schema.of.is_empty() { "object" } else { schema.of };
        let programs = match rule.programs(schema, root) {
            Ok(programs) => programs,
            Err(why) => {
                return self.errors.push(FieldError::invalid(path, of, format!("rule compile error: {why}")));
            }
        };
        let transition = programs.rule.mentions("oldSelf");
        if (transition && old.is_none() && !rule.optional_old_self) || (!transition && old == Some(value)) {
            return;
        }
        let mut bound = vec![("self", Value::of(value, Some(schema)))];
        let before = old.map(|old| Value::of(old, Some(schema)));
        match (rule.optional_old_self, before) {
            (true, before) => bound.push(("oldSelf", Value::Optional(before.map(std::sync::Arc::new)))),
            (false, Some(before)) => bound.push(("oldSelf", before)),
            (false, None) => {}
        }
        let allowed = self.budget.left().min(CALL_LIMIT);
        let mut budget = Budget::new(allowed);
        let outcome = programs.rule.holds(&bound, &mut budget);
        self.budget = Budget::new(self.budget.left() - (allowed - budget.left()));
        match outcome {
            Ok(true) => {}
            Ok(false) => {
                let message = self.message(rule, programs, &bound);
                self.errors.push(complaint(rule, of, path, message));
            }
            Err(error) if error.is_out_of_budget() => {
                let why = if self.budget.left() == 0 {
                    "validation failed due to running out of cost budget, no further validation rules will be run".to_owned()
                } else {
                    format!(
                        "call cost exceeds limit for rule: {}, no further validation rules will be run",
                        rule.message()
                    )
                };
                self.budget = Budget::new(0);
                self.errors.push(FieldError::invalid(path, of, why));
            }
            Err(error) => {
                let why = format!("{error} evaluating rule: {}", rule.message());
                self.errors.push(FieldError::invalid(path, of, why));
            }
        }
    }

    fn message(&mut self, rule: &Rule, programs: &Programs, bound: &[(&str, Value<'_>)]) -> String {
        let Some(program) = &programs.message else { return rule.message() };
        let mut budget = Budget::new(self.budget.left().min(CALL_LIMIT));
        match program.run(bound, &mut budget) {
            Ok(Value::Text(text)) if !text.trim().is_empty() && !text.contains('\n') => {
                text.trim().to_owned()
            }
            _ => rule.message(),
        }
    }
}

fn complaint(rule: &Rule, of: &str, path: &Path, message: String) -> FieldError {
    let field = match rule.field_path.strip_prefix('.') {
        Some(below) => path.child(below).to_string(),
        None => format!("{path}{}", rule.field_path),
    };
    match rule.reason.as_str() {
        "FieldValueRequired" => FieldError::required(field, message),
        "FieldValueForbidden" => FieldError::forbidden(field, message),
        "FieldValueDuplicate" => FieldError::new(ErrorType::Duplicate, field, Some(of.into()), message),
        _ => FieldError::invalid(field, of, message),
    }
}

/// The item of the old list that an item continues.
fn before<'a>(item: &Json, list: &List, old: Option<&'a Json>) -> Option<&'a Json> {
    let old = old?.as_array()?;
    match list {
        List::Map(keys) => old.iter().find(|other| keys.iter().all(|key| other.get(key) == item.get(key))),
        List::Set => old.iter().find(|other| *other == item),
        List::Atomic => None,
    }
}
