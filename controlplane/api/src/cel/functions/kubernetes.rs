//! Quantities, semantic versions and named formats.

use std::cmp::Ordering;
use std::sync::Arc;

use super::super::EvalError;
use super::super::value::Value;
use super::Maybe;
use crate::names;
use crate::quantity::Quantity;
use crate::structural::has_format;

/// A semantic version (semver.org).
#[derive(Debug)]
pub struct Semver {
    numbers: [u64; 3],
    pre: Vec<String>,
}

impl Semver {
    fn parse(text: &str, normalize: bool) -> Option<Semver> {
        let text = if normalize { text.strip_prefix('v').unwrap_or(text) } else { text };
        let text = text.split_once('+').map_or(text, |(head, _)| head);
        let (head, pre) = text.split_once('-').map_or((text, None), |(head, pre)| (head, Some(pre)));
        let mut numbers = [0; 3];
        let parts: Vec<&str> = head.split('.').collect();
        if parts.len() > 3 || (parts.len() < 3 && !normalize) {
            return None;
        }
        for (number, part) in numbers.iter_mut().zip(&parts) {
            let zeros = part.len() > 1 && part.starts_with('0');
            if part.is_empty() || (zeros && !normalize) || !part.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            *number = part.parse().ok()?;
        }
        let pre: Vec<String> = pre.map(|pre| pre.split('.').map(str::to_owned).collect()).unwrap_or_default();
        let valid =
            |part: &String| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        pre.iter().all(valid).then_some(Semver { numbers, pre })
    }

    /// Precedence.
    pub(in super::super) fn cmp(&self, other: &Semver) -> Ordering {
        let part = |a: &String, b: &String| match (a.parse::<u64>(), b.parse::<u64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            _ => a.cmp(b),
        };
        let pre = || match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => {
                let parts = self.pre.iter().zip(&other.pre).map(|(a, b)| part(a, b));
                parts.into_iter().find(|order| order.is_ne()).unwrap_or(self.pre.len().cmp(&other.pre.len()))
            }
        };
        self.numbers.cmp(&other.numbers).then_with(pre)
    }
}

pub(super) fn call<'a>(name: &str, args: &[Value<'a>]) -> Maybe<'a> {
    if let ("semver" | "isSemver", [Value::Text(text), rest @ ..]) = (name, args) {
        let normalize = matches!(rest, [Value::Bool(true)]);
        let found = Semver::parse(text, normalize);
        return Some(match (name, found) {
            ("isSemver", found) => Ok(Value::Bool(found.is_some())),
            (_, Some(found)) => Ok(Value::Semver(Arc::new(found))),
            _ => Err(EvalError(format!("No Major.Minor.Patch elements found in \"{text}\""))),
        });
    }
    let format = |name: &str| FORMATS.iter().find(|(known, _)| *known == name).map(|(known, _)| *known);
    if let (Some(found), []) = (name.strip_prefix("format.").and_then(format), args) {
        return Some(Ok(Value::Format(found)));
    }
    let [Value::Text(text)] = args else { return None };
    Some(match name {
        "quantity" => text
            .parse::<Quantity>()
            .map(|quantity| Value::Quantity(Arc::new(quantity)))
            .map_err(|error| EvalError(error.to_string())),
        "isQuantity" => Ok(Value::Bool(text.parse::<Quantity>().is_ok())),
        "format.named" => Ok(Value::Optional(format(text).map(|found| Arc::new(Value::Format(found))))),
        _ => return None,
    })
}

type Validate = fn(&str) -> Vec<String>;

const FORMATS: [(&str, Validate); 13] = [
    ("dns1123Label", names::dns_label),
    ("dns1123Subdomain", names::dns_subdomain),
    ("dns1035Label", names::dns_1035_label),
    ("dns1123LabelPrefix", |text| names::dns_label(&names::mask_trailing_dash(text))),
    ("dns1123SubdomainPrefix", |text| names::dns_subdomain(&names::mask_trailing_dash(text))),
    ("dns1035LabelPrefix", |text| names::dns_1035_label(&names::mask_trailing_dash(text))),
    ("qualifiedName", names::qualified_name),
    ("labelValue", names::label_value),
    ("uri", |text| format_complaint("uri", text, "invalid URI")),
    ("uuid", |text| format_complaint("uuid", text, "does not match the UUID format")),
    ("byte", |text| format_complaint("byte", text, "invalid base64")),
    ("date", |text| format_complaint("date", text, "invalid date")),
    ("datetime", |text| format_complaint("date-time", text, "invalid datetime")),
];

fn format_complaint(format: &str, text: &str, why: &str) -> Vec<String> {
    if has_format(format, text) { Vec::new() } else { vec![why.to_owned()] }
}

pub(super) fn method<'a>(name: &str, args: &[Value<'a>]) -> Maybe<'a> {
    match args {
        [Value::Quantity(quantity), rest @ ..] => quantity_method(name, quantity, rest),
        [Value::Semver(version), rest @ ..] => semver_method(name, version, rest),
        [Value::Format(format), Value::Text(text)] if name == "validate" => {
            let (_, validate) = FORMATS.iter().find(|(known, _)| known == format)?;
            let complaints: Vec<Value<'a>> = validate(text).iter().map(|why| Value::text(why)).collect();
            let found = (!complaints.is_empty()).then(|| Arc::new(Value::List(Arc::new(complaints))));
            Some(Ok(Value::Optional(found)))
        }
        _ => None,
    }
}

fn quantity_method<'a>(name: &str, quantity: &Arc<Quantity>, rest: &[Value<'a>]) -> Maybe<'a> {
    let sum = |other: &Value<'_>, negative: bool| {
        let other = match other {
            Value::Quantity(other) => **other,
            Value::Int(number) => Quantity::from_units(*number, quantity.format()),
            _ => return None,
        };
        let sum = if negative { **quantity - other } else { **quantity + other };
        Some(Ok(Value::Quantity(Arc::new(sum))))
    };
    Some(match (name, rest) {
        ("sign", []) => Ok(Value::Int(quantity.sign().into())),
        ("isInteger", []) => Ok(Value::Bool(quantity.as_i64().is_some())),
        ("asInteger", []) => quantity
            .as_i64()
            .map(Value::Int)
            .ok_or_else(|| EvalError("cannot convert value to integer".into())),
        ("asApproximateFloat", []) => Ok(Value::Double(quantity.as_f64())),
        ("add", [other]) => return sum(other, false),
        ("sub", [other]) => return sum(other, true),
        ("isGreaterThan", [Value::Quantity(other)]) => Ok(Value::Bool(quantity.cmp(other).is_gt())),
        ("isLessThan", [Value::Quantity(other)]) => Ok(Value::Bool(quantity.cmp(other).is_lt())),
        ("compareTo", [Value::Quantity(other)]) => Ok(Value::Int(quantity.cmp(other) as i64)),
        _ => return None,
    })
}

fn semver_method<'a>(name: &str, version: &Arc<Semver>, rest: &[Value<'a>]) -> Maybe<'a> {
    let number = |at: usize| Ok(Value::Int(i64::try_from(version.numbers[at]).unwrap_or(i64::MAX)));
    Some(match (name, rest) {
        ("major", []) => number(0),
        ("minor", []) => number(1),
        ("patch", []) => number(2),
        ("isGreaterThan", [Value::Semver(other)]) => Ok(Value::Bool(version.cmp(other).is_gt())),
        ("isLessThan", [Value::Semver(other)]) => Ok(Value::Bool(version.cmp(other).is_lt())),
        ("compareTo", [Value::Semver(other)]) => Ok(Value::Int(version.cmp(other) as i64)),
        _ => return None,
    })
}
