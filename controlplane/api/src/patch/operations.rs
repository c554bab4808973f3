//! JSON patch: operations on a document, one after the other.
//!
//! As the API's clients know it, not to the letter of RFC 6902: `replace` makes a field that is not there, a `test` for null
//! finds what is not there, a missing value is null, and indices count from the end when they are negative. What is no list
//! of objects is no patch (400); an operation that is unknown, incomplete or does not apply is all told alike (422).
//!
//! Reference: evanphx/json-patch 4, which upstream applies.

use json_patch::jsonptr::{Pointer, PointerBuf};
use json_patch::{
    AddOperation, CopyOperation, MoveOperation, PatchOperation, RemoveOperation, ReplaceOperation,
    TestOperation,
};
use serde_json::Value;

use crate::schema::{DEPTH_MAX, depth};
use crate::status::Status;

/// A JSON patch may have at most this many operations.
pub const OPERATIONS_MAX: usize = 10_000;
/// Bytes that the `copy` operations of a JSON patch may add together: copies of copies double.
pub const COPIED_BYTES_MAX: usize = 3 << 20;

/// The document that a patch makes of another one.
pub(super) fn apply(current: &Value, patch: &Value) -> Result<Value, Status> {
    let operations = decode(patch)?;
    if operations.len() > OPERATIONS_MAX {
        let count = operations.len();
        let why = format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {count}");
        return Err(Status::request_too_large(why));
    }
    let mut patched = current.clone();
    let mut copied = 0;
    for operation in operations {
        let Some(operation) = read(&patched, operation)? else { continue };
        copied += bound(&patched, &operation, copied)?;
        json_patch::patch(&mut patched, &[operation]).map_err(|_| Status::rejected_patch())?;
    }
    Ok(patched)
}

/// Its operations.
fn decode(patch: &Value) -> Result<&[Value], Status> {
    let refuse = |value: &Value, of: &str| {
        let what = match value {
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Null | Value::Object(_) => "object",
        };
        Status::bad_request(format!("json: cannot unmarshal {what} into Go value of type jsonpatch.{of}"))
    };
    let operations = match patch {
        Value::Array(operations) => operations,
        Value::Null => return Ok(&[]),
        other => return Err(refuse(other, "Patch")),
    };
    match operations.iter().find(|operation| !operation.is_object() && !operation.is_null()) {
        Some(other) => Err(refuse(other, "Operation")),
        None => Ok(operations),
    }
}

/// What of an operation there is to do on a document; an error where it is none.
fn read(document: &Value, operation: &Value) -> Result<Option<PatchOperation>, Status> {
    let text = |name: &str| operation.get(name).and_then(Value::as_str).ok_or_else(Status::rejected_patch);
    let pointer = |name: &str| {
        let pointer = PointerBuf::parse(text(name)?).map_err(|_| Status::rejected_patch())?;
        if pointer.is_root() { Err(Status::rejected_patch()) } else { Ok(pointer) }
    };
    let value = || operation.get("value").cloned().unwrap_or_default();
    let path = pointer("path")?;
    let at = |pointer: &Pointer| document.pointer(pointer.as_str());
    let field_is_missing = at(&path).is_none() && path.parent().and_then(at).is_some_and(Value::is_object);
    Ok(Some(match text("op")? {
        "add" => PatchOperation::Add(AddOperation { path: from_the_end(document, path, 1), value: value() }),
        "remove" => PatchOperation::Remove(RemoveOperation { path: from_the_end(document, path, 0) }),
        "replace" if field_is_missing => PatchOperation::Add(AddOperation { path, value: value() }),
        "replace" => PatchOperation::Replace(ReplaceOperation { path, value: value() }),
        "test" if field_is_missing && value().is_null() => return Ok(None),
        "test" => PatchOperation::Test(TestOperation { path, value: value() }),
        "move" => PatchOperation::Move(MoveOperation { from: pointer("from")?, path }),
        "copy" => PatchOperation::Copy(CopyOperation { from: pointer("from")?, path }),
        _ => return Err(Status::rejected_patch()),
    }))
}

/// A path whose last index is negative, with the index that it means; `places` are there behind the last item.
fn from_the_end(document: &Value, mut path: PointerBuf, places: usize) -> PointerBuf {
    let list = path.parent().and_then(|parent| document.pointer(parent.as_str())).and_then(Value::as_array);
    let negative = path.last().and_then(|last| last.encoded().strip_prefix('-')?.parse::<usize>().ok());
    if let (Some(list), Some(back)) = (list, negative)
        && let Some(index) = (list.len() + places).checked_sub(back)
    {
        path.pop_back();
        path.push_back(index);
    }
    path
}

/// Refuses an operation that would make the document too large or too deep; the bytes that it copies.
fn bound(document: &Value, operation: &PatchOperation, copied: usize) -> Result<usize, Status> {
    let (path, added, copies) = match operation {
        PatchOperation::Add(add) => (&add.path, Some(&add.value), false),
        PatchOperation::Replace(replace) => (&replace.path, Some(&replace.value), false),
        PatchOperation::Copy(copy) => (&copy.path, document.pointer(copy.from.as_str()), true),
        PatchOperation::Move(moved) => (&moved.path, document.pointer(moved.from.as_str()), false),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(0),
    };
    let Some(added) = added else { return Ok(0) };
    if path.as_str().matches('/').count() + depth(added) > DEPTH_MAX {
        return Err(Status::request_too_large(format!(
            "The result of the JSON patch is nested deeper than the allowed maximum of {DEPTH_MAX}"
        )));
    }
    let bytes = if copies { added.to_string().len() } else { 0 };
    if copied + bytes > COPIED_BYTES_MAX {
        return Err(Status::request_too_large(format!(
            "Unable to complete the copy, the accumulated size increase of copy is {}, exceeding the limit {COPIED_BYTES_MAX}",
            copied + bytes
        )));
    }
    Ok(bytes)
}
