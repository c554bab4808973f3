//! Label and field selectors: their string forms, `metav1.LabelSelector`, and matching.
//!
//! Not which labels or fields exist: field labels are checked by `kind` before matching.
//!
//! Invariants: errors are upstream's sentences; the empty selector matches everything; `to_string` of a parsed
//! selector parses to an equal one.

mod field;
mod label;
mod parse;

pub use field::{FieldRequirement, FieldSelector, FieldSelectorError};
pub use label::{LabelSelector, LabelSelectorError, Labels, Operator, Requirement};

#[cfg(test)]
mod tests;
