//! Walks the tree with a budget.
//!
//! Errors are values of logic: `&&` and `||` are true or false where one side decides, whatever the other is.

use std::sync::Arc;

use super::functions;
use super::parse::{Expr, Loop, Node};
use super::value::{self, Value};
use super::{Budget, EvalError};

/// Names and what they stand for, innermost last.
#[derive(Clone)]
pub(super) struct Scope<'s, 'a> {
    pub outer: Option<&'s Scope<'s, 'a>>,
    pub names: Vec<(&'s str, Value<'a>)>,
}

impl<'a> Scope<'_, 'a> {
    fn get(&self, name: &str) -> Option<Value<'a>> {
        let own = self.names.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        own.or_else(|| self.outer?.get(name))
    }
}

/// `cel.bind` is a loop over an empty list in upstream: what making that list costs.
pub(super) const BIND_COST: u64 = 10;

type Outcome<'a> = Result<Value<'a>, EvalError>;

/// The value of an expression.
pub(super) fn eval<'a>(expr: &Expr, scope: &Scope<'_, 'a>, budget: &mut Budget) -> Outcome<'a> {
    match &expr.node {
        Node::Null => Ok(Value::Null),
        Node::Bool(flag) => Ok(Value::Bool(*flag)),
        Node::Int(number) => Ok(Value::Int(*number)),
        Node::Uint(number) => Ok(Value::Uint(*number)),
        Node::Double(number) => Ok(Value::Double(*number)),
        Node::Text(text) => Ok(Value::text(text)),
        Node::Bytes(bytes) => Ok(Value::Bytes(bytes.as_slice().into())),
        Node::Ident(name) => {
            budget.spend(1)?;
            ident(name, scope)
        }
        Node::Select { operand, field, optional } => {
            if let Some(name) = qualified(expr)
                && let Some(value) = functions::constant(&name)
            {
                return Ok(value);
            }
            budget.spend(1)?;
            let operand = eval(operand, scope, budget)?;
            pay_for_search(&operand, budget)?;
            select(operand, field, *optional)
        }
        Node::Has { operand, field } => {
            budget.spend(1)?;
            let operand = eval(operand, scope, budget)?;
            pay_for_search(&operand, budget)?;
            has(&operand, field)
        }
        Node::Index { operand, index, optional } => {
            let operand = eval(operand, scope, budget)?;
            let index = eval(index, scope, budget)?;
            budget.spend(1)?;
            indexed(&operand, &index, *optional, budget)
        }
        Node::List(items) => list(items, scope, budget),
        Node::Map(entries) => map(entries, scope, budget),
        Node::Not(inner) => {
            budget.spend(1)?;
            match eval(inner, scope, budget)? {
                Value::Bool(flag) => Ok(Value::Bool(!flag)),
                _ => Err(EvalError::no_overload()),
            }
        }
        Node::Negate(inner) => {
            budget.spend(1)?;
            match eval(inner, scope, budget)? {
                Value::Int(number) => number.checked_neg().map(Value::Int).ok_or_else(EvalError::overflow),
                Value::Double(number) => Ok(Value::Double(-number)),
                _ => Err(EvalError::no_overload()),
            }
        }
        Node::And(left, right) => logic(left, right, false, scope, budget),
        Node::Or(left, right) => logic(left, right, true, scope, budget),
        Node::Condition(test, yes, no) => match eval(test, scope, budget)? {
            Value::Bool(true) => eval(yes, scope, budget),
            Value::Bool(false) => eval(no, scope, budget),
            _ => Err(EvalError::no_overload()),
        },
        Node::Binary(sign, left, right) => {
            let (left, right) = (eval(left, scope, budget)?, eval(right, scope, budget)?);
            functions::binary(sign, &left, &right, budget)
        }
        Node::Call { function, target, args } => call(function, target.as_deref(), args, scope, budget),
        Node::Loop { kind, range, first, second, filter, body } => {
            let range = eval(range, scope, budget)?;
            let each =
                Each { kind: *kind, first, second: second.as_deref(), filter: filter.as_deref(), body };
            each.run(&range, scope, budget)
        }
        Node::OptionalMap { flat, operand, variable, body } => match eval(operand, scope, budget)? {
            Value::Optional(None) => Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => {
                let inner = Scope { outer: Some(scope), names: vec![(variable, (*inner).clone())] };
                let mapped = eval(body, &inner, budget)?;
                Ok(if *flat { mapped } else { Value::Optional(Some(Arc::new(mapped))) })
            }
            _ => Err(EvalError::no_overload()),
        },
        Node::Bind { variable, value, body } => {
            budget.spend(BIND_COST)?;
            let names = vec![(variable.as_str(), eval(value, scope, budget)?)];
            eval(body, &Scope { outer: Some(scope), names }, budget)
        }
    }
}

/// A map that was made here is searched from its beginning.
fn pay_for_search(operand: &Value<'_>, budget: &mut Budget) -> Result<(), EvalError> {
    match operand {
        Value::Map(entries) => budget.spend_small(entries.len()),
        _ => Ok(()),
    }
}

fn ident<'a>(name: &str, scope: &Scope<'_, 'a>) -> Outcome<'a> {
    scope
        .get(name)
        .or_else(|| functions::type_named(name).map(Value::Type))
        .ok_or_else(|| EvalError(format!("no such attribute(s): {name}")))
}

/// `a.b.c` where it is nothing but names.
fn qualified(expr: &Expr) -> Option<String> {
    match &expr.node {
        Node::Ident(name) => Some(name.clone()),
        Node::Select { operand, field, optional: false } => Some(format!("{}.{field}", qualified(operand)?)),
        _ => None,
    }
}

fn select<'a>(operand: Value<'a>, field: &str, optional: bool) -> Outcome<'a> {
    match operand {
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => Ok(Value::Optional(inner.field(field).map(Arc::new))),
        Value::Map(_) | Value::Fields(..) => match (operand.field(field), optional) {
            (found, true) => Ok(Value::Optional(found.map(Arc::new))),
            (Some(value), false) => Ok(value),
            (None, false) => Err(EvalError(format!("no such key: {field}"))),
        },
        Value::Opaque(opaque) => {
            opaque.field(field).ok_or_else(|| EvalError(format!("no such key: {field}")))
        }
        _ => Err(EvalError::no_overload()),
    }
}

fn has<'a>(operand: &Value<'a>, field: &str) -> Outcome<'a> {
    match operand {
        Value::Map(_) | Value::Fields(..) => Ok(Value::Bool(operand.field(field).is_some())),
        Value::Optional(inner) => {
            Ok(Value::Bool(inner.as_ref().is_some_and(|inner| inner.field(field).is_some())))
        }
        Value::Opaque(opaque) => Ok(Value::Bool(opaque.field(field).is_some())),
        _ => Err(EvalError::no_overload()),
    }
}

fn indexed<'a>(operand: &Value<'a>, index: &Value<'a>, optional: bool, budget: &mut Budget) -> Outcome<'a> {
    if let Value::Optional(inner) = operand {
        return match inner {
            None => Ok(Value::Optional(None)),
            Some(inner) => indexed(inner, index, true, budget),
        };
    }
    let found = match (operand, index) {
        (Value::Items(items, schema), Value::Int(at)) => {
            usize::try_from(*at).ok().and_then(|at| items.get(at)).map(|item| Value::of(item, *schema))
        }
        (Value::List(items), Value::Int(at)) => {
            usize::try_from(*at).ok().and_then(|at| items.get(at)).cloned()
        }
        (Value::Fields(..), Value::Text(_)) | (Value::Map(_), _) => operand.at(index, budget)?,
        _ => return Err(EvalError::no_overload()),
    };
    match (found, optional) {
        (found, true) => Ok(Value::Optional(found.map(Arc::new))),
        (Some(value), false) => Ok(value),
        (None, false) => match index {
            Value::Int(at) => Err(EvalError(format!("index out of bounds: {at}"))),
            other => Err(EvalError(format!("no such key: {}", value::shown(other).unwrap_or_default()))),
        },
    }
}

fn list<'a>(items: &[(Expr, bool)], scope: &Scope<'_, 'a>, budget: &mut Budget) -> Outcome<'a> {
    budget.spend(10)?;
    budget.spend_small(items.len())?;
    let mut out = Vec::with_capacity(items.len());
    for (item, optional) in items {
        match (eval(item, scope, budget)?, optional) {
            (Value::Optional(inner), true) => out.extend(inner.map(|inner| (*inner).clone())),
            (value, _) => out.push(value),
        }
    }
    Ok(Value::List(Arc::new(out)))
}

fn map<'a>(entries: &[(Expr, Expr, bool)], scope: &Scope<'_, 'a>, budget: &mut Budget) -> Outcome<'a> {
    budget.spend(30)?;
    let mut out: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
    for (key, value, optional) in entries {
        let key = eval(key, scope, budget)?;
        for (known, _) in &out {
            if value::equal(known, &key, budget)? {
                return Err(EvalError("Failed with repeated key".into()));
            }
        }
        match (eval(value, scope, budget)?, optional) {
            (Value::Optional(inner), true) => out.extend(inner.map(|inner| (key, (*inner).clone()))),
            (value, _) => out.push((key, value)),
        }
    }
    Ok(Value::Map(Arc::new(out)))
}

/// `&&` (decided by false) and `||` (decided by true).
fn logic<'a>(
    left: &Expr,
    right: &Expr,
    decides: bool,
    scope: &Scope<'_, 'a>,
    budget: &mut Budget,
) -> Outcome<'a> {
    let left = eval(left, scope, budget);
    if let Ok(Value::Bool(flag)) = left
        && flag == decides
    {
        return left;
    }
    if matches!(&left, Err(error) if error.is_fatal()) {
        return left;
    }
    let right = eval(right, scope, budget);
    match (left, right) {
        (_, Ok(Value::Bool(flag))) if flag == decides => Ok(Value::Bool(decides)),
        (_, Err(error)) if error.is_fatal() => Err(error),
        (Err(error), _) | (_, Err(error)) => Err(error),
        (Ok(Value::Bool(_)), Ok(Value::Bool(_))) => Ok(Value::Bool(!decides)),
        _ => Err(EvalError::no_overload()),
    }
}

fn call<'a>(
    function: &str,
    target: Option<&Expr>,
    args: &[Expr],
    scope: &Scope<'_, 'a>,
    budget: &mut Budget,
) -> Outcome<'a> {
    // `optional.of(x)`, `ip.isCanonical(x)`: the receiver is the name of a library.
    if let Some(prefix) = target.and_then(qualified).filter(|name| scope.get(name).is_none()) {
        let name = format!("{prefix}.{function}");
        if functions::is_qualified(&name) {
            let values = args.iter().map(|arg| eval(arg, scope, budget)).collect::<Result<Vec<_>, _>>()?;
            budget.spend(1)?;
            return functions::call(&name, &values, budget);
        }
    }
    let mut values = Vec::with_capacity(args.len() + 1);
    if let Some(target) = target {
        let target = eval(target, scope, budget)?;
        // `or` and `orValue` look at their argument only where it is needed.
        if let (Value::Optional(inner), "or" | "orValue", [arg]) = (&target, function, args) {
            budget.spend(1)?;
            return match (inner, function) {
                (Some(_), "or") => Ok(target),
                (Some(inner), _) => Ok((**inner).clone()),
                (None, _) => eval(arg, scope, budget),
            };
        }
        values.push(target);
    }
    for arg in args {
        values.push(eval(arg, scope, budget)?);
    }
    budget.spend(1)?;
    if target.is_some() {
        functions::method(function, &values, budget)
    } else {
        functions::call(function, &values, budget)
    }
}

/// A new entry; there must be none of its key.
fn put<'a>(
    entries: &mut Vec<(Value<'a>, Value<'a>)>,
    key: Value<'a>,
    value: Value<'a>,
    budget: &mut Budget,
) -> Result<(), EvalError> {
    for (known, _) in entries.iter() {
        if value::equal(known, &key, budget)? {
            let key = value::shown(&key).unwrap_or_default();
            return Err(EvalError(format!("insert failed: key {key} already exists")));
        }
    }
    entries.push((key, value));
    Ok(())
}

/// A macro over a range.
struct Each<'e> {
    kind: Loop,
    first: &'e str,
    second: Option<&'e str>,
    filter: Option<&'e Expr>,
    body: &'e Expr,
}

impl Each<'_> {
    fn run<'a>(&self, range: &Value<'a>, scope: &Scope<'_, 'a>, budget: &mut Budget) -> Outcome<'a> {
        let is_map = match range {
            Value::List(_) | Value::Items(..) => false,
            Value::Map(_) | Value::Fields(..) => true,
            _ => return Err(EvalError::no_overload()),
        };
        let (mut decided, mut failed, mut count) = (false, None, 0);
        let mut out = Vec::new();
        // One by one: what is left of early has not been looked at.
        for (key, item) in range.parts() {
            budget.spend(1)?;
            let subject = if is_map { key.clone() } else { item.clone() };
            let mut names = match self.second {
                Some(second) => vec![(self.first, key.clone()), (second, item.clone())],
                None => vec![(self.first, subject.clone())],
            };
            names.shrink_to_fit();
            let inner = Scope { outer: Some(scope), names };
            if let Some(filter) = self.filter {
                match eval(filter, &inner, budget)? {
                    Value::Bool(true) => {}
                    Value::Bool(false) => continue,
                    _ => return Err(EvalError::no_overload()),
                }
            }
            let found = eval(self.body, &inner, budget);
            match (self.kind, found) {
                (_, Err(error)) if error.is_fatal() => return Err(error),
                (Loop::All | Loop::Exists, Err(error)) => failed = Some(error),
                (_, Err(error)) => return Err(error),
                (Loop::All, Ok(Value::Bool(false))) | (Loop::Exists, Ok(Value::Bool(true))) => {
                    decided = true;
                    break;
                }
                (Loop::All | Loop::Exists, Ok(Value::Bool(_))) => {}
                (Loop::ExistsOne, Ok(Value::Bool(flag))) => count += usize::from(flag),
                (Loop::Filter, Ok(Value::Bool(flag))) => {
                    if flag {
                        out.push((key, subject));
                    }
                }
                (Loop::Map | Loop::TransformList | Loop::TransformMap, Ok(value)) => out.push((key, value)),
                (Loop::SortBy, Ok(value)) => out.push((value, item)),
                (Loop::TransformMapEntry, Ok(made @ (Value::Map(_) | Value::Fields(..)))) => {
                    for (key, value) in made.parts() {
                        put(&mut out, key, value, budget)?;
                    }
                }
                _ => return Err(EvalError::no_overload()),
            }
        }
        match (self.kind, decided, failed) {
            (Loop::All, true, _) => Ok(Value::Bool(false)),
            (Loop::Exists, true, _) => Ok(Value::Bool(true)),
            (_, _, Some(error)) => Err(error),
            (Loop::All, ..) => Ok(Value::Bool(true)),
            (Loop::Exists, ..) => Ok(Value::Bool(false)),
            (Loop::ExistsOne, ..) => Ok(Value::Bool(count == 1)),
            (Loop::TransformMap | Loop::TransformMapEntry, ..) => Ok(Value::Map(Arc::new(out))),
            (Loop::SortBy, ..) => functions::sorted(out),
            _ => Ok(Value::List(Arc::new(out.into_iter().map(|(_, value)| value).collect()))),
        }
    }
}
