//! PATCH bodies applied to an object: JSON patch, merge patch and strategic merge patch.
//!
//! Not server-side apply, which is a merge of owners rather than of documents (`apply`); not validation of the result.
//!
//! Invariant: the result is canonical; a patch that cannot be applied leaves no trace.
//! Reference: RFC 6902, RFC 7396, the "strategic merge patch" page of the API documentation.

mod operations;
mod strategic;

use serde_json::Value;

pub use operations::{COPIED_BYTES_MAX, OPERATIONS_MAX};
pub use strategic::{StrategicError, strategic_merge};

use crate::field::{FieldError, quote};
use crate::path::FieldValidation;
use crate::schema::{self, Decoded, canonical};
use crate::status::{Qualified, Status};
use crate::wire::{Body, BodyOf, PatchType, patch_body};

/// Applies a patch to an object (in the version of the request) and checks the fields of what comes out.
///
/// `Apply` is refused here: it needs the managed fields.
pub fn apply(
    patch_type: PatchType,
    current: &Value,
    patch: &[u8],
    wanted: BodyOf,
    validation: FieldValidation,
) -> Result<Body, Status> {
    let custom = match wanted.custom {
        Some(slot) => Some(slot.get().ok_or_else(Status::no_such_path)?),
        None => None,
    };
    let kind = || {
        schema::find(wanted.schema).ok_or_else(|| Status::internal(format!("no schema for {}", wanted.kind)))
    };
    // What a complaint shows: the patch of a strategic merge, what came out of the other two.
    let (patched, shown, mut issues) = match patch_type {
        PatchType::Json => {
            let decoded = patch_body(patch, false)?;
            let issues = issues_of_operations(&decoded);
            (operations::apply(current, &decoded.value)?, None, issues)
        }
        PatchType::Merge => {
            let decoded = patch_body(patch, false)?;
            let mut patched = current.clone();
            json_patch::merge(&mut patched, &decoded.value);
            (patched, None, decoded.issues)
        }
        PatchType::StrategicMerge if custom.is_some() => {
            return Err(Status::unsupported_media_type(&CUSTOM.map(PatchType::content_type)));
        }
        PatchType::StrategicMerge => {
            let decoded = patch_body(patch, false)?;
            let shown = go_form(&decoded.value);
            let Value::Object(_) = decoded.value else {
                return Err(Status::bad_request(
                    "error decoding patch: json: cannot unmarshal a non-object into a patch",
                ));
            };
            let patched = strategic_merge(current.clone(), decoded.value, kind()?)
                .map_err(StrategicError::into_status)?;
            (patched, Some(shown), decoded.issues)
        }
        PatchType::Apply => {
            return Err(Status::unsupported_media_type(&SUPPORTED.map(PatchType::content_type)));
        }
    };
    let refuse = |patched: &Value, why: String| {
        let shown = shown.clone().unwrap_or_else(|| patched.to_string());
        let error = FieldError::invalid("patch", shown, why);
        Status::invalid(Qualified { group: "", name: "" }, "", &[error])
    };
    let mut patched = patched;
    // A strategic merge is made within the type; the other two are read anew.
    if let Some(other) = changed_type(&mut patched, current)
        && shown.is_none()
    {
        return Err(refuse(&patched, other));
    }
    match validation {
        FieldValidation::Ignore => issues.clear(),
        _ => issues.extend(match &custom {
            Some(custom) => custom.issues(&patched),
            None => schema::unknown_fields(&patched, kind()?),
        }),
    }
    if validation == FieldValidation::Strict && !issues.is_empty() {
        return Err(refuse(&patched, format!("strict decoding error: {}", issues.join(", "))));
    }
    let kept = if shown.is_none() { patched.clone() } else { Value::Null };
    let object = match &custom {
        Some(custom) => custom.accept(patched),
        None => canonical(patched, kind()?),
    };
    let object = object.map_err(|error| refuse(&kept, error.0))?;
    Ok(Body { object, warnings: issues })
}

/// Puts back what the object is, where the patch took it away or said otherwise; what is wrong with what it said.
fn changed_type(patched: &mut Value, current: &Value) -> Option<String> {
    let text = |object: &Value, name: &str| object[name].as_str().unwrap_or_default().to_owned();
    let differs =
        |name: &&str| patched.is_object() && !current[name].is_null() && patched[name] != current[name];
    let names: Vec<&str> = ["apiVersion", "kind"].into_iter().filter(|name| differs(name)).collect();
    let says = names.iter().any(|name| !text(patched, name).is_empty());
    let complaint = says.then(|| {
        let (version, kind) = (text(patched, "apiVersion"), text(patched, "kind"));
        format!("no kind {} is registered for version {} in scheme", quote(&kind), quote(&version))
    });
    for name in names {
        patched[name] = current[name].clone();
    }
    complaint
}

/// What a strict decoder says of the operations of a JSON patch themselves.
fn issues_of_operations(patch: &Decoded) -> Vec<String> {
    const KNOWN: [&str; 4] = ["op", "path", "from", "value"];
    let mut issues = patch.issues.clone();
    for (at, operation) in patch.value.as_array().into_iter().flatten().enumerate() {
        let names = operation.as_object().into_iter().flatten().map(|(name, _)| name);
        let unknown = names.filter(|name| !KNOWN.contains(&name.as_str()));
        issues.extend(unknown.map(|name| format!("unknown field {}", quote(&format!("[{at}].{name}")))));
    }
    issues.into_iter().map(|issue| format!("json patch {issue}")).collect()
}

/// Custom resources have no merge keys beyond those of server-side apply.
const CUSTOM: [PatchType; 3] = [PatchType::Json, PatchType::Merge, PatchType::Apply];
const SUPPORTED: [PatchType; 3] = [PatchType::Json, PatchType::Merge, PatchType::StrategicMerge];

/// Go's `%+v` of a decoded document, in which upstream quotes strategic merge patches.
fn go_form(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_form).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            let entries: Vec<_> =
                entries.into_iter().map(|(key, value)| format!("{key}:{}", go_form(value))).collect();
            format!("map[{}]", entries.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
