//! What changed between two forms of an object, field by field.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::field_set::FieldSet;
use super::place::{self, Place};

/// Fields that are new or other, and fields that are gone.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub set: FieldSet,
    pub gone: FieldSet,
}

/// Compares two objects of one type.
pub(super) fn changes(old: &Value, new: &Value, root: Place<'_>) -> Changes {
    let mut changes = Changes::default();
    compare(Some(old), Some(new), root, &mut Vec::new(), &mut changes);
    changes
}

fn compare(
    old: Option<&Value>,
    new: Option<&Value>,
    place: Place<'_>,
    path: &mut Vec<String>,
    out: &mut Changes,
) {
    let old = old.filter(|value| !value.is_null());
    let new = new.filter(|value| !value.is_null());
    if old == new {
        return;
    }
    let granular = |side: Option<&Value>| side.is_none_or(|value| place.is_granular(value));
    let empty = |side: Option<&Value>| match side {
        None => true,
        Some(value) => {
            value.as_object().is_none_or(Map::is_empty) && value.as_array().is_none_or(Vec::is_empty)
        }
    };
    if place.is_whole() || !granular(old) || !granular(new) || (empty(old) && empty(new)) {
        match new {
            Some(_) => out.set.insert(path),
            None => out.gone.insert(path),
        }
        return;
    }
    let parts = |side: Option<&'_ Value>| -> BTreeMap<String, Value> {
        let parts = side.map(|value| place::children(value, place)).unwrap_or_default();
        parts.into_iter().map(|(element, child, _)| (element, child.clone())).collect()
    };
    let (mut before, after) = (parts(old), parts(new));
    for (element, now) in &after {
        let then = before.remove(element);
        path.push(element.clone());
        compare(then.as_ref(), Some(now), place::below(place, element), path, out);
        path.pop();
    }
    for (element, then) in &before {
        path.push(element.clone());
        compare(Some(then), None, place::below(place, element), path, out);
        path.pop();
    }
    match (old, new) {
        (None, Some(_)) => out.set.insert(path),
        (Some(_), None) => out.gone.insert(path),
        _ => {}
    }
}
