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
    Some(match (name, args) {
        ("optional.none", []) => Ok(Value::Optional(None)),
        ("optional.of", [value]) => Ok(Value::Optional(Some(Arc::new(value.clone())))),
        ("optional.ofNonZeroValue", [value]) => {
            Ok(Value::Optional((!is_zero(value)).then(|| Arc::new(value.clone()))))
        }
        ("optional.unwrap", [list]) => {
            let items = list.items()?;
            walk(budget, items.len()).and_then(|()| unwrapped(&items))
        }
        ("sets.contains" | "sets.equivalent" | "sets.intersects", [a, b]) => {
            let (a, b) = (a.items()?, b.items()?);
            if let Err(error) = budget.spend((a.len() * b.len()) as u64) {
                return Some(Err(error));
            }
            related(name, &a, &b, budget).map(Value::Bool)
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

/// The relations of sets.
fn related(name: &str, a: &[Value<'_>], b: &[Value<'_>], budget: &mut Budget) -> Result<bool, EvalError> {
    let covers = |a: &[Value<'_>], b: &[Value<'_>], budget: &mut Budget| {
        for item in b {
            if !has(a, item, budget)? {
                return Ok(false);
            }
        }
        Ok(true)
    };
    match name {
        "sets.contains" => covers(a, b, budget),
        "sets.equivalent" => Ok(covers(a, b, budget)? && covers(b, a, budget)?),
        _ => {
            for item in b {
                if has(a, item, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }
}

fn has(items: &[Value<'_>], item: &Value<'_>, budget: &mut Budget) -> Result<bool, EvalError> {
    for known in items {
        if equal(known, item, budget)? {
            return Ok(true);
        }
    }
    Ok(false)
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
    measured(name, &items, rest, budget).or_else(|| arranged(name, items, rest, budget))
}

fn measured<'a>(name: &str, items: &[Value<'a>], rest: &[Value<'a>], budget: &mut Budget) -> Maybe<'a> {
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
        ("sum", []) => sum(items, budget),
        ("indexOf" | "lastIndexOf", [wanted]) => {
            let places = 0..items.len();
            let mut found = |mut places: Box<dyn Iterator<Item = usize>>| loop {
                let Some(at) = places.next() else { return Ok(Value::Int(-1)) };
                if equal(&items[at], wanted, budget)? {
                    return Ok(Value::Int(at as i64));
                }
            };
            if name == "indexOf" { found(Box::new(places)) } else { found(Box::new(places.rev())) }
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

fn sum<'a>(items: &[Value<'a>], budget: &mut Budget) -> Result<Value<'a>, EvalError> {
    let sums = |item: &Value<'a>| {
        matches!(item, Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Duration(_))
    };
    let mut items = items.iter();
    let Some(first) = items.next() else { return Ok(Value::Int(0)) };
    items.try_fold(first.clone(), |sum, item| match sums(&sum) && sums(item) {
        true => super::core::binary("+", &sum, item, budget),
        false => Err(EvalError::no_overload()),
    })
}

fn arranged<'a>(name: &str, mut items: Vec<Value<'a>>, rest: &[Value<'a>], budget: &mut Budget) -> Maybe<'a> {
    match (name, rest) {
        ("distinct", []) => {
            if let Err(error) = budget.spend((items.len() * items.len()) as u64) {
                return Some(Err(error));
            }
            let mut distinct: Vec<Value<'a>> = Vec::new();
            for item in items {
                match has(&distinct, &item, budget) {
                    Ok(true) => {}
                    Ok(false) => distinct.push(item),
                    Err(error) => return Some(Err(error)),
                }
            }
            Some(Ok(Value::List(Arc::new(distinct))))
        }
        ("reverse", []) => {
            items.reverse();
            Some(Ok(Value::List(Arc::new(items))))
        }
        ("sort", []) => Some(sorted(items.into_iter().map(|item| (item.clone(), item)).collect())),
        ("unwrapOpt", []) => Some(unwrapped(&items)),
        ("slice", [Value::Int(from), Value::Int(to)]) => {
            let range = usize::try_from(*from).ok().zip(usize::try_from(*to).ok());
            let found = range.and_then(|(from, to)| items.get(from..to));
            let refuse = || EvalError(format!("cannot slice({from}, {to}), list is length {}", items.len()));
            Some(found.map(|found| Value::List(Arc::new(found.to_vec()))).ok_or_else(refuse))
        }
        ("flatten", depth @ ([] | [Value::Int(_)])) => {
            let depth = if let [Value::Int(depth)] = depth { *depth } else { 1 };
            let mut out = Vec::new();
            Some(
                flatten(&Value::List(Arc::new(items)), depth, &mut out, budget)
                    .map(|()| Value::List(Arc::new(out))),
            )
        }
        _ => None,
    }
}

/// The values in the order of their keys.
pub(in super::super) fn sorted<'a>(mut pairs: Vec<(Value<'a>, Value<'a>)>) -> Result<Value<'a>, EvalError> {
    if pairs.windows(2).any(|pair| order(&pair[0].0, &pair[1].0).is_none()) {
        return Err(EvalError::no_overload());
    }
    pairs.sort_by(|(a, _), (b, _)| order(a, b).unwrap_or(Ordering::Equal));
    Ok(Value::List(Arc::new(pairs.into_iter().map(|(_, value)| value).collect())))
}

/// What is in the optionals of a list that are not empty.
fn unwrapped<'a>(items: &[Value<'a>]) -> Result<Value<'a>, EvalError> {
    let mut out = Vec::new();
    for item in items {
        match item {
            Value::Optional(inner) => out.extend(inner.as_deref().cloned()),
            _ => return Err(EvalError::no_overload()),
        }
    }
    Ok(Value::List(Arc::new(out)))
}

/// Every item is paid for before it is put there: lists that share parts are small, and very large when they are flat.
fn flatten<'a>(
    list: &Value<'a>,
    depth: i64,
    out: &mut Vec<Value<'a>>,
    budget: &mut Budget,
) -> Result<(), EvalError> {
    for (_, item) in list.parts() {
        budget.spend_small(1)?;
        if depth > 0 && matches!(item, Value::List(_) | Value::Items(..)) {
            flatten(&item, depth - 1, out, budget)?;
        } else {
            out.push(item);
        }
    }
    Ok(())
}
