//! A live object and a configuration become one; what the applier once wanted and nobody wants any more goes.

use serde_json::{Map, Value};

use super::field_set::FieldSet;
use super::place::{self, Place};

/// The live value with what the configuration says about it.
pub(super) fn merge(live: Value, config: Value, place: Place<'_>) -> Value {
    match (place, live, config) {
        (place, Value::Object(mut live), Value::Object(config)) if place.has_fields() => {
            for (name, wanted) in config {
                let inner = place::below(place, &format!("f:{name}"));
                let merged = match live.get_mut(&name).map(Value::take) {
                    Some(old) => merge(old, wanted, inner),
                    None => wanted,
                };
                live.insert(name, merged);
            }
            Value::Object(live)
        }
        (place, Value::Array(live), Value::Array(config)) if place.has_list_items() => {
            Value::Array(merge_items(live, config, place))
        }
        (_, _, config) => config,
    }
}

/// Items of the configuration in their order; items that only live has stay where they are among them.
fn merge_items(live: Vec<Value>, config: Vec<Value>, place: Place<'_>) -> Vec<Value> {
    let named = |items: Vec<Value>| -> Vec<(String, Option<Value>)> {
        items.into_iter().map(|item| (name_of(&item, place), Some(item))).collect()
    };
    let (mut live, config) = (named(live), named(config));
    let wanted: std::collections::BTreeSet<&String> = config.iter().map(|(name, _)| name).collect();
    let mut merged = Vec::with_capacity(live.len() + config.len());
    let mut at = 0;
    for (name, item) in &config {
        let found = live.iter().position(|(other, _)| other == name);
        let old = found.and_then(|found| {
            while at <= found {
                let (other, item) = &mut live[at];
                if !wanted.contains(other) {
                    merged.extend(item.take());
                }
                at += 1;
            }
            live[found].1.take()
        });
        match (old, item.clone()) {
            (Some(old), Some(item)) => merged.push(merge(old, item, place::below(place, name))),
            (None, Some(item)) => merged.push(item),
            (_, None) => {}
        }
    }
    for (other, item) in live.into_iter().skip(at) {
        if !wanted.contains(&other) {
            merged.extend(item);
        }
    }
    merged
}

fn name_of(item: &Value, place: Place<'_>) -> String {
    place.keys().map_or_else(|| format!("v:{item}"), |keys| place::key_of(item, &keys))
}

/// Without what is in `last` and nobody owns now. A removed item of a list or map goes with all that is in it.
pub(super) fn pruned(value: Value, place: Place<'_>, last: &FieldSet, owned: &FieldSet) -> Value {
    if last.is_empty() {
        return value;
    }
    let keep = |element: &str, child: Value| -> Option<Value> {
        let nothing = FieldSet::default();
        if !last.touches(element) {
            return Some(child);
        }
        if last.has(element) && !owned.touches(element) {
            return None;
        }
        let had_parts = !is_empty(&child);
        let inner_last = last.below(element).unwrap_or(&nothing);
        let inner_owned = owned.below(element).unwrap_or(&nothing);
        let rest = pruned(child, place::below(place, element), inner_last, inner_owned);
        // What held nothing but removed fields goes with them.
        (!(had_parts && is_empty(&rest) && !owned.has(element))).then_some(rest)
    };
    match (place, value) {
        (place, Value::Object(fields)) if place.has_fields() => {
            let kept = fields
                .into_iter()
                .filter_map(|(name, child)| keep(&format!("f:{name}"), child).map(|child| (name, child)));
            Value::Object(kept.collect::<Map<_, _>>())
        }
        (place, Value::Array(items)) if place.has_list_items() => {
            Value::Array(items.into_iter().filter_map(|item| keep(&name_of(&item, place), item)).collect())
        }
        (_, other) => other,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
