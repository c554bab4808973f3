//! Lists, sets and optionals.

use std::cmp::Ordering;
use std::sync::Arc;

use super::super::value::{Value, equal};
use super::super::{Budget, EvalError};
use super::core::order;
use super::{Maybe, walk};

/// `lists.range` makes no more.
const MOST_ITEMS: i64 = 100_000;

pub(super) fn call<'a>(name: &str, args: &[Value<'a>], budget: &mut Budget) -> Maybe<'a> {
    let has = |items: &[Value<'a>], item: &Value<'a>| items.iter().any(|known| equal(known, item));
    Some(match (name, args) {
        ("optional.none", []) => Ok(Value::Optional(None)),
        ("optional.of", [value]) => Ok(Value::Optional(Some(Arc::new(value.clone())))),
        ("optional.ofNonZeroValue", [value]) => {
            Ok(Value::Optional((!is_zero(value)).then(|| Arc::new(value.clone()))))
        }
        ("sets.contains" | "sets.equivalent" | "sets.intersects", [a, b]) => {
            let (a, b) = (a.items()?, b.items()?);
            if let Err(error) = budget.spend((a.len() * b.len()) as u64) {
                return Some(Err(error));
            }
            let covers = |a: &[Value<'a>], b: &[Value<'a>]| b.iter().all(|item| has(a, item));
            Ok(Value::Bool(match name {
                "sets.contains" => covers(&a, &b),
                "sets.equivalent" => covers(&a, &b) && covers(&b, &a),
                _ => b.iter().any(|item| has(&a, item)),
            }))
        }
        ("lists.range", [Value::Int(count)]) => {
            if let Err(error) = budget.spend(count.unsigned_abs()) {
                return Some(Err(error));
            }
            Ok(Value::List(Arc::new((0..(*count).clamp(0, MOST_ITEMS)).map(Value::Int).collect())))
        }
        ("math.greatest" | "math.least", [_, ..]) => {
            let items = args.first().filter(|_| args.len() == 1).and_then(Value::items);
            extreme(items.as_deref().unwrap_or(args), name == "math.least")
        }
        _ => return None,
    })
}

fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Int(number) => *number == 0,
        Value::Uint(number) => *number == 0,
        Value::Double(number) => *number == 0.0,
        Value::Optional(inner) => inner.is_none(),
        Value::Duration(nanos) => *nanos == 0,
        other => other.size() == 0,
    }
}

pub(super) fn method<'a>(name: &str, args: &[Value<'a>], budget: &mut Budget) -> Maybe<'a> {
    let (receiver, rest) = args.split_first()?;
    if let Value::Optional(inner) = receiver {
        return match (name, rest) {
            ("hasValue", []) => Some(Ok(Value::Bool(inner.is_some()))),
            ("value", []) => Some(
                inner
                    .as_ref()
                    .map(|inner| (**inner).clone())
                    .ok_or_else(|| EvalError("optional.none() dereference".into())),
            ),
            _ => None,
        };
    }
    let items = receiver.items()?;
    if let Err(error) = walk(budget, items.len()) {
        return Some(Err(error));
    }
    measured(name, &items, rest).or_else(|| arranged(name, items, rest, budget))
}

fn measured<'a>(name: &str, items: &[Value<'a>], rest: &[Value<'a>]) -> Maybe<'a> {
    let unordered = || EvalError::no_overload();
    Some(match (name, rest) {
        ("isSorted", []) => {
            let mut sorted = true;
            for pair in items.windows(2) {
                match order(&pair[0], &pair[1]) {
                    Some(found) => sorted &= found != Ordering::Greater,
                    None => return Some(Err(unordered())),
                }
            }
            Ok(Value::Bool(sorted))
        }
        ("min" | "max", []) => extreme(items, name == "min"),
        ("sum", []) => sum(items),
        ("indexOf" | "lastIndexOf", [wanted]) => {
            let mut at =
                items.iter().enumerate().filter(|(_, item)| equal(item, wanted)).map(|(at, _)| at as i64);
            Ok(Value::Int(if name == "indexOf" { at.next() } else { at.next_back() }.unwrap_or(-1)))
        }
        ("first", []) => Ok(Value::Optional(items.first().cloned().map(Arc::new))),
        ("last", []) => Ok(Value::Optional(items.last().cloned().map(Arc::new))),
        _ => return None,
    })
}

fn extreme<'a>(items: &[Value<'a>], least: bool) -> Result<Value<'a>, EvalError> {
    let name = if least { "min" } else { "max" };
    let mut found = items.first().ok_or_else(|| EvalError(format!("{name} called on empty list")))?;
    for item in &items[1..] {
        let order = order(item, found).ok_or_else(EvalError::no_overload)?;
        if order == (if least { Ordering::Less } else { Ordering::Greater }) {
            found = item;
        }
    }
    Ok(found.clone())
}

fn sum<'a>(items: &[Value<'a>]) -> Result<Value<'a>, EvalError> {
    let mut budget = Budget::unlimited();
    let mut items = items.iter();
    let Some(first) = items.next() else { return Ok(Value::Int(0)) };
    items.try_fold(first.clone(), |sum, item| super::core::binary("+", &sum, item, &mut budget))
}

fn arranged<'a>(name: &str, mut items: Vec<Value<'a>>, rest: &[Value<'a>], budget: &mut Budget) -> Maybe<'a> {
    match (name, rest) {
        ("distinct", []) => {
            if let Err(error) = budget.spend((items.len() * items.len()) as u64) {
                return Some(Err(error));
            }
            let mut distinct: Vec<Value<'a>> = Vec::new();
            for item in items {
                if !distinct.iter().any(|known| equal(known, &item)) {
                    distinct.push(item);
                }
            }
            Some(Ok(Value::List(Arc::new(distinct))))
        }
        ("reverse", []) => {
            items.reverse();
            Some(Ok(Value::List(Arc::new(items))))
        }
        ("sort", []) => {
            if items.windows(2).any(|pair| order(&pair[0], &pair[1]).is_none()) {
                return Some(Err(EvalError::no_overload()));
            }
            items.sort_by(|a, b| order(a, b).unwrap_or(Ordering::Equal));
            Some(Ok(Value::List(Arc::new(items))))
        }
        ("slice", [Value::Int(from), Value::Int(to)]) => {
            let range = usize::try_from(*from).ok().zip(usize::try_from(*to).ok());
            let found = range.and_then(|(from, to)| items.get(from..to));
            let refuse = || EvalError(format!("cannot slice({from}, {to}), list is length {}", items.len()));
            Some(found.map(|found| Value::List(Arc::new(found.to_vec()))).ok_or_else(refuse))
        }
        ("flatten", depth @ ([] | [Value::Int(_)])) => {
            let depth = if let [Value::Int(depth)] = depth { *depth } else { 1 };
            let mut out = Vec::new();
            flatten(items, depth, &mut out);
            Some(walk(budget, out.len()).map(|()| Value::List(Arc::new(out))))
        }
        _ => None,
    }
}

fn flatten<'a>(items: Vec<Value<'a>>, depth: i64, out: &mut Vec<Value<'a>>) {
    for item in items {
        match item.items().filter(|_| depth > 0) {
            Some(inner) => flatten(inner, depth - 1, out),
            None => out.push(item),
        }
    }
}
