//! Merging of lists: of scalars as sets, of maps by their merge key; everything else is replaced.

use serde_json::Value;

use super::order::arrange;
use super::{DIRECTIVE, Place, StrategicError, merge_map, stripped};
use crate::schema::{Field, Shape};

/// The list of a field, merged as the field's strategy says.
pub fn merge_field(
    original: Vec<Value>,
    patch: Vec<Value>,
    field: Option<&'static Field>,
) -> Result<Vec<Value>, StrategicError> {
    let Some((field, Shape::List(inner))) =
        field.filter(|field| field.merge).map(|field| (field, &field.shape))
    else {
        return Ok(replaced(patch));
    };
    let is_maps = original.iter().chain(&patch).any(Value::is_object);
    if !is_maps {
        return Ok(merge_scalars(original, patch));
    }
    if field.merge_key.is_empty() {
        return Err(StrategicError::NoKeyDeclared(field.name.to_owned()));
    }
    let key = field.merge_key;
    let server_order = original.clone();
    let Some((original, patch)) = directives(original, patch, key)? else {
        return Ok(vec![]);
    };
    let patch_order = patch.clone();
    let merged = merge_maps(original, patch, key, Place::of(inner))?;
    Ok(arrange(merged, &patch_order, &server_order, key))
}

fn replaced(patch: Vec<Value>) -> Vec<Value> {
    match stripped(Value::Array(patch)) {
        Value::Array(items) => items,
        _ => vec![],
    }
}

fn merge_scalars(original: Vec<Value>, patch: Vec<Value>) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::with_capacity(original.len() + patch.len());
    for item in original.iter().chain(&patch) {
        if !merged.contains(item) {
            merged.push(item.clone());
        }
    }
    arrange(merged, &patch, &original, "")
}

/// Items with `$patch` act on the list itself. A list that is replaced comes back with nothing left to merge.
type Split = Option<(Vec<Value>, Vec<Value>)>;

fn directives(mut original: Vec<Value>, patch: Vec<Value>, key: &str) -> Result<Split, StrategicError> {
    let mut rest = Vec::with_capacity(patch.len());
    let mut replace = false;
    for mut item in patch {
        let Some(directive) = item.as_object_mut().and_then(|map| map.shift_remove(DIRECTIVE)) else {
            rest.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                let value = item.get(key).ok_or(StrategicError::DeleteWithoutKey)?;
                original.retain(|known| known.get(key) != Some(value));
            }
            Some("replace") => {
                replace = true;
                // A lone directive is a marker, one among fields replaces the list with its item.
                if item.as_object().is_some_and(|map| !map.is_empty()) {
                    rest.push(item);
                }
            }
            Some("merge") => return Err(StrategicError::MergeDirective),
            other => return Err(StrategicError::Directive(other.unwrap_or_default().to_owned())),
        }
    }
    if replace {
        return Ok(Some((vec![], replaced(rest))));
    }
    Ok(Some((original, rest)))
}

fn merge_maps(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
    place: Place,
) -> Result<Vec<Value>, StrategicError> {
    for item in patch {
        let Some(value) = item.get(key) else {
            return Err(StrategicError::NoMergeKey {
                item: super::super::go_form(&item),
                key: key.to_owned(),
            });
        };
        let found = original.iter().position(|known| known.get(key) == Some(value));
        match (found, item) {
            (Some(index), Value::Object(new)) => {
                if let Value::Object(old) = original[index].take() {
                    original[index] = Value::Object(merge_map(old, new, place)?);
                }
            }
            (_, item) => original.push(stripped(item)),
        }
    }
    Ok(original)
}
