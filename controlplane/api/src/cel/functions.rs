//! The functions of expressions: CEL's own, and the libraries of Kubernetes.
//!
//! | library | file |
//! |---|---|
//! | operators, conversions, times | `core` |
//! | texts, regular expressions | `texts` |
//! | lists, sets, optionals | `lists` |
//! | URL, IP, CIDR | `net` |
//! | quantity, semver, named formats | `kubernetes` |
//!
//! Costs are upstream's: a call costs one, and a tenth per character or item that it has to look at.

mod core;
mod kubernetes;
mod lists;
mod net;
mod texts;

pub(super) use self::core::{binary, duration, order};
pub use kubernetes::Semver;
pub(super) use lists::sorted;
pub use net::Url;

use super::value::Value;
use super::{Budget, EvalError};

/// What asking the authorizer costs.
const CHECK_COST: u64 = 350_000;

type Outcome<'a> = Result<Value<'a>, EvalError>;
/// None: this library has no such function for these arguments.
type Maybe<'a> = Option<Outcome<'a>>;

/// Functions that are called by a name with a dot, without a receiver.
const QUALIFIED: [&str; 28] = [
    "jsonpatch.escapeKey",
    "optional.of",
    "optional.none",
    "optional.ofNonZeroValue",
    "optional.unwrap",
    "sets.contains",
    "sets.equivalent",
    "sets.intersects",
    "lists.range",
    "strings.quote",
    "ip.isCanonical",
    "cidr.isCanonical",
    "format.named",
    "format.dns1123Label",
    "format.dns1123Subdomain",
    "format.dns1035Label",
    "format.dns1123LabelPrefix",
    "format.dns1123SubdomainPrefix",
    "format.dns1035LabelPrefix",
    "format.qualifiedName",
    "format.labelValue",
    "format.uri",
    "format.uuid",
    "format.byte",
    "format.date",
    "format.datetime",
    "math.greatest",
    "math.least",
];

pub(super) fn is_qualified(name: &str) -> bool {
    QUALIFIED.contains(&name)
}

/// Types that can be spoken of.
pub(super) fn type_named(name: &str) -> Option<&'static str> {
    const TYPES: [&str; 11] = [
        "int",
        "uint",
        "double",
        "bool",
        "string",
        "bytes",
        "list",
        "map",
        "null_type",
        "type",
        "optional_type",
    ];
    TYPES.into_iter().find(|known| *known == name)
}

/// Names with dots that are types or constants.
pub(super) fn constant(name: &str) -> Option<Value<'static>> {
    const TYPES: [&str; 6] = [
        "google.protobuf.Timestamp",
        "google.protobuf.Duration",
        "kubernetes.Quantity",
        "kubernetes.URL",
        "net.IP",
        "net.CIDR",
    ];
    TYPES.into_iter().find(|known| *known == name).map(Value::Type)
}

/// A function without a receiver.
pub(super) fn call<'a>(name: &str, args: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    if let Some(found) = core::call(name, args, budget).or_else(|| lists::call(name, args, budget)) {
        return found;
    }
    if name != "matches"
        && let [Value::Text(text), ..] = args
    {
        // What reads a text looks at all of it.
        walk(budget, text.len())?;
    }
    texts::call(name, args, budget)
        .or_else(|| net::call(name, args))
        .or_else(|| kubernetes::call(name, args))
        .unwrap_or_else(|| Err(EvalError::no_overload()))
}

/// A function of its first argument.
pub(super) fn method<'a>(name: &str, args: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    if let [Value::Format(_), Value::Text(text)] = args {
        walk(budget, text.len())?;
    }
    if let [Value::Opaque(opaque), rest @ ..] = args {
        // Upstream's: two decisions in an expression, no more.
        budget.spend(if name == "check" { CHECK_COST } else { 0 })?;
        return opaque.call(name, rest);
    }
    core::method(name, args, budget)
        .or_else(|| texts::method(name, args, budget))
        .or_else(|| lists::method(name, args, budget))
        .or_else(|| net::method(name, args))
        .or_else(|| kubernetes::method(name, args))
        .unwrap_or_else(|| Err(EvalError::no_overload()))
}

/// What looking at a text or list costs.
fn walk(budget: &mut Budget, size: usize) -> Result<(), EvalError> {
    budget.spend(size.div_ceil(10) as u64)
}
