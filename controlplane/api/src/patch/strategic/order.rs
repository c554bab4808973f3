//! The order of merged lists: the patch's order for what it names, the server's for the rest, interleaved.

use serde_json::{Map, Value};

use super::list::merge_field;
use super::{DIRECTIVE, ORDER_PREFIX, Place, StrategicError, stripped};

/// Carries out `$setElementOrder/field`, merging the field on the way; both vanish from the patch.
pub fn apply(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    place: Place,
) -> Result<(), StrategicError> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(ORDER_PREFIX)).cloned().collect();
    for directive in directives {
        let Some(Value::Array(order)) = patch.shift_remove(&directive) else {
            return Err(StrategicError::ElementOrder);
        };
        let name = directive.trim_start_matches(ORDER_PREFIX);
        let field = place.field(name);
        let key = field.map_or("", |field| field.merge_key);
        let new = match patch.shift_remove(name) {
            None => None,
            Some(Value::Array(items)) => Some(items),
            Some(_) => return Err(StrategicError::ElementOrder),
        };
        check(new.as_deref().unwrap_or_default(), &order, key)?;
        let old = match original.get(name) {
            Some(Value::Array(items)) => Some(items.clone()),
            _ => None,
        };
        let merged = match (old.clone(), new) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => match stripped(Value::Array(new)) {
                Value::Array(items) => items,
                _ => vec![],
            },
            (Some(old), Some(new)) => merge_field(old, new, field)?,
        };
        let arranged = arrange(merged, &order, &old.unwrap_or_default(), key);
        original.insert(name.to_owned(), Value::Array(arranged));
    }
    Ok(())
}

/// Items of the patch must be in the order list, in the same order.
fn check(patch: &[Value], order: &[Value], key: &str) -> Result<(), StrategicError> {
    let mut at = 0;
    for item in patch.iter().filter(|item| item.get(DIRECTIVE).and_then(Value::as_str) != Some("delete")) {
        if item.get(DIRECTIVE).is_some() {
            continue;
        }
        match order.iter().skip(at).position(|known| same(item, known, key)) {
            Some(steps) => at += steps + 1,
            None => return Err(StrategicError::ElementOrder),
        }
    }
    Ok(())
}

/// Items named in `wanted` come in its order; the others keep their place among them as in `server`.
pub fn arrange(merged: Vec<Value>, wanted: &[Value], server: &[Value], key: &str) -> Vec<Value> {
    let mut named: Vec<(usize, Value)> = Vec::new();
    let mut others: Vec<(usize, Value)> = Vec::new();
    for item in merged {
        match present_in(&item, wanted, key) {
            Some(index) => named.push((index, item)),
            None => others.push((present_in(&item, server, key).unwrap_or(usize::MAX), item)),
        }
    }
    named.sort_by_key(|(index, _)| *index);
    others.sort_by_key(|(index, _)| *index);
    let mut left = others.into_iter().map(|(_, item)| item).peekable();
    let mut right = named.into_iter().map(|(_, item)| item).peekable();
    let mut out = Vec::with_capacity(left.len() + right.len());
    loop {
        let take_left = match (left.peek(), right.peek()) {
            (None, None) => return out,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(left), Some(right)) => {
                match (present_in(left, server, key), present_in(right, server, key)) {
                    (Some(left), Some(right)) => left < right,
                    _ => false,
                }
            }
        };
        out.extend(if take_left { left.next() } else { right.next() });
    }
}

/// Where an item stands in a list.
pub fn present_in(item: &Value, list: &[Value], key: &str) -> Option<usize> {
    list.iter().position(|known| same(item, known, key))
}

fn same(a: &Value, b: &Value, key: &str) -> bool {
    match (key.is_empty(), a.get(key), b.get(key)) {
        (true, ..) => a == b,
        (false, Some(a), Some(b)) => a == b,
        _ => false,
    }
}
