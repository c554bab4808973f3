//! Structural schemas: what a CustomResourceDefinition says about its objects, read once and walked often.
//!
//! ```text
//!   openAPIV3Schema ─► complaints (is it structural?) ─► Structural ─► prune ─► fill (defaults) ─► check (values)
//! ```
//!
//! Not the definition around it (`definition`) and not its rules in CEL, which are kept here as text.
//! Invariants: reading never fails, what is wrong with a schema is found by [`complaints`]; an object is walked along its
//! schema, never the other way round, so that a deep schema costs nothing where the object is flat.
//! Reference: API documentation "Specifying a structural schema"; apiextensions-apiserver 1.36 by behaviour.

mod check;
mod complaints;
mod fill;
mod formats;
mod lists;
mod prune;
mod publish;
mod read;
mod rules;

pub use check::check;
pub use complaints::complaints;
pub use fill::{fill, without_defaulted_nulls};
pub use lists::check_lists;
pub use prune::{prune, unknown};
pub use publish::publish;
pub use read::read;
pub(crate) use rules::names as rule_names;
pub use rules::{Compiled, check_rules, check_rules_within};

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value;

/// A schema node.
#[derive(Debug, Default)]
pub struct Structural {
    /// `type`, empty where it says nothing.
    pub of: &'static str,
    pub nullable: bool,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserves: bool,
    /// `x-kubernetes-embedded-resource`.
    pub embedded: bool,
    /// `x-kubernetes-int-or-string`.
    pub int_or_string: bool,
    /// A map that is owned as one piece.
    pub atomic_map: bool,
    pub default: Option<Value>,
    pub properties: BTreeMap<String, Structural>,
    pub additional: Additional,
    pub items: Option<Box<Structural>>,
    pub list: List,
    pub checks: Option<Box<Checks>>,
    pub rules: Vec<Rule>,
    /// Whether a default lies here or below.
    pub has_defaults: bool,
    /// Whether a rule lies here or below.
    pub has_rules: bool,
}

/// `additionalProperties`.
#[derive(Debug, Default)]
pub enum Additional {
    #[default]
    None,
    /// `true`.
    Any,
    Each(Box<Structural>),
}

/// `x-kubernetes-list-type`.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum List {
    #[default]
    Atomic,
    Set,
    /// With its keys.
    Map(Vec<String>),
}

/// What a value must be beyond its shape.
#[derive(Debug, Default)]
pub struct Checks {
    pub format: String,
    pub maximum: Option<f64>,
    pub exclusive_maximum: bool,
    pub minimum: Option<f64>,
    pub exclusive_minimum: bool,
    pub multiple_of: Option<f64>,
    pub max_length: Option<u64>,
    pub min_length: Option<u64>,
    pub max_items: Option<u64>,
    pub min_items: Option<u64>,
    pub max_properties: Option<u64>,
    pub min_properties: Option<u64>,
    pub pattern: Option<Pattern>,
    pub allowed: Vec<Value>,
    pub required: Vec<String>,
    pub all_of: Vec<Structural>,
    pub any_of: Vec<Structural>,
    pub one_of: Vec<Structural>,
    pub not: Option<Box<Structural>>,
}

/// A regular expression, compiled at its first use: most are never used between two changes of their definition.
#[derive(Debug)]
pub struct Pattern {
    pub text: String,
    compiled: OnceLock<Option<regex::Regex>>,
}

/// A rule of `x-kubernetes-validations`.
#[derive(Debug, Default)]
pub struct Rule {
    pub rule: String,
    pub message: String,
    pub message_expression: String,
    pub reason: String,
    pub field_path: String,
    pub optional_old_self: bool,
    /// Its programs, made at the first use.
    pub compiled: Compiled,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Pattern {
        Pattern { text: text.to_owned(), compiled: OnceLock::new() }
    }

    /// Whether a text matches; one that is no regular expression matches everything (it was refused before).
    pub fn matches(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| compile_pattern(&self.text).ok());
        compiled.as_ref().is_none_or(|pattern| pattern.is_match(text))
    }
}

/// Whether a text has a format; a format that is not known says nothing.
pub(crate) fn has_format(format: &str, text: &str) -> bool {
    formats::matches(format, text)
}

/// Compiles an expression with a bound on what it may need.
pub(crate) fn compile_pattern(pattern: &str) -> Result<regex::Regex, regex::Error> {
    const MOST_BYTES: usize = 4 << 20;
    regex::RegexBuilder::new(pattern).size_limit(MOST_BYTES).build()
}

impl Structural {
    /// The schema of a field: its own, or that of all fields that have none.
    pub fn field(&self, name: &str) -> Option<&Structural> {
        match (self.properties.get(name), &self.additional) {
            (Some(own), _) => Some(own),
            (None, Additional::Each(schema)) => Some(schema),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
