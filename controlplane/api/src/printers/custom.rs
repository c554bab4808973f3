//! Custom resources: the columns of their definition, or the age alone.

use serde_json::{Value, json};

use super::{age, name, since};
use crate::custom::{Custom, PrinterColumn};

const NAME_TEXT: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
const AGE_TEXT: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.";

pub(super) fn columns(custom: &Custom) -> Value {
    let head =
        json!({"name": "Name", "type": "string", "format": "name", "description": NAME_TEXT, "priority": 0});
    let rest: Vec<Value> = custom
        .columns()
        .iter()
        .map(|column| {
            let description = match column.description.as_str() {
                "" => "Custom resource definition column (in JSONPath format)",
                own => own,
            };
            json!({"name": column.name, "type": column.of, "format": column.format, "description": description, "priority": column.priority})
        })
        .collect();
    let rest = if rest.is_empty() {
        vec![json!({"name": "Age", "type": "date", "format": "", "description": AGE_TEXT, "priority": 0})]
    } else {
        rest
    };
    std::iter::once(head).chain(rest).collect()
}

pub(super) fn cells(custom: &Custom, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let columns = custom.columns();
    if columns.is_empty() {
        return vec![name(object), age(object, now)];
    }
    std::iter::once(name(object)).chain(columns.iter().map(|column| cell(column, object, now))).collect()
}

fn cell(column: &PrinterColumn, object: &Value, now: jiff::Timestamp) -> Value {
    let found = column.path.find(object);
    let Some(first) = found.first() else { return Value::Null };
    match (column.of.as_str(), first) {
        ("integer", Value::Number(number)) => {
            number.as_i64().or_else(|| number.as_f64().map(|number| number as i64)).into()
        }
        ("number", value @ Value::Number(_)) | ("boolean", value @ Value::Bool(_)) => (*value).clone(),
        ("date", value @ Value::String(_)) => since(value, now).into(),
        ("string", _) => found.iter().map(|value| shown(value)).collect::<Vec<_>>().join(" ").into(),
        _ => Value::Null,
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
