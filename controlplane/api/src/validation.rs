//! Validation: what makes an object of a kind acceptable, at creation and at every later write.
//!
//! Not here: types of fields (`schema`), defaults (`defaulting`), what depends on other objects (admission, the registry).
//! Objects come in canonical form, with defaults, in the row's own version.
//!
//! Invariants: an empty list means valid; the order, paths and sentences are upstream's, clients match on them; no object,
//! however odd, makes validation panic.
//! Reference: `pkg/apis/*/validation` of Kubernetes 1.36, by behaviour.

use serde_json::Value;

use crate::field::FieldError;
use crate::kind::Kind;

/// What is wrong with an object that is to be created.
pub fn create(_kind: &Kind, _object: &Value) -> Vec<FieldError> {
    vec![]
}

/// What is wrong with `new` as the successor of `old`.
///
/// `subresource` is `""` for the object itself, else `status`, `finalize`, `scale`, `binding`, `ephemeralcontainers`, `resize`.
pub fn update(_kind: &Kind, _subresource: &str, _new: &Value, _old: &Value) -> Vec<FieldError> {
    vec![]
}

/// What is acceptable and yet worth a `Warning` header.
pub fn warnings(_kind: &Kind, _object: &Value) -> Vec<String> {
    vec![]
}
