//! How large values may be: what their schema says, or what fits into a request.

use crate::structural::{Additional, Structural};

/// The largest request, which bounds what no schema bounds.
pub(super) const REQUEST_BYTES: u64 = 3 << 20;

/// How many bytes a value of a schema has at least in a request.
fn least_bytes(schema: &Structural) -> u64 {
    match schema.of {
        "object" => {
            let required =
                schema.checks.as_ref().map(|checks| checks.required.as_slice()).unwrap_or_default();
            let field = |name: &String| {
                schema.properties.get(name).map_or(0, |below| name.len() as u64 + 3 + least_bytes(below))
            };
            2 + required.iter().map(field).sum::<u64>()
        }
        "boolean" => 4,
        "integer" | "number" => 1,
        _ => 2,
    }
}

/// How large a value of a schema may be.
pub fn most_parts(schema: &Structural) -> u64 {
    let checks = schema.checks.as_deref();
    match schema.of {
        "array" => {
            let each = schema.items.as_ref().map_or(1, |items| least_bytes(items));
            checks.and_then(|checks| checks.max_items).unwrap_or((REQUEST_BYTES - 2) / (each + 1))
        }
        "object" => match &schema.additional {
            Additional::Each(each) => checks
                .and_then(|checks| checks.max_properties)
                .unwrap_or((REQUEST_BYTES - 2) / (least_bytes(each) + 4)),
            _ => schema.properties.len() as u64,
        },
        "string" => {
            let longest =
                checks.map(|checks| checks.allowed.iter().filter_map(|v| v.as_str()).map(str::len).max());
            let format = checks.map_or(20, |checks| match checks.format.as_str() {
                "duration" => 32,
                "date" => 10,
                "date-time" => 64,
                _ => REQUEST_BYTES - 2,
            });
            let unbounded = if checks.is_some() { format } else { REQUEST_BYTES - 2 };
            longest
                .flatten()
                .map(|longest| longest as u64)
                .or(checks.and_then(|checks| checks.max_length))
                .unwrap_or(unbounded)
        }
        "" => REQUEST_BYTES,
        _ => 1,
    }
}
