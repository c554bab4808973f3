//! `org.systemd.property.NAME` annotations: properties of the unit that the specification has no field for.
//!
//! A value is written in GVariant's text form: `true`, `7`, `uint64 7`, `int32 -1`, `'words'`, `['a', 'b']`. As with
//! systemd's own tools a name that ends with `Sec` takes seconds, as a whole number, and goes on as microseconds.
//!
//! Reference: runc's docs/systemd.md.

use zbus::zvariant::Value;

const PREFIX: &str = "org.systemd.property.";
const MICROSECONDS: u64 = 1_000_000;

pub(super) type Property = (String, Value<'static>);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation {name}={value} is not possible: {why}")]
pub struct AnnotationError {
    name: String,
    value: String,
    why: &'static str,
}

pub(super) fn properties(annotations: &[(String, String)]) -> Result<Vec<Property>, AnnotationError> {
    let ours = annotations.iter().filter_map(|(name, value)| Some((name, name.strip_prefix(PREFIX)?, value)));
    ours.map(|(name, property, value)| {
        let refused = |why| AnnotationError { name: name.clone(), value: value.clone(), why };
        let plain = property.len() >= 3
            && property.starts_with(|c: char| c.is_ascii_uppercase())
            && property.chars().all(|c| c.is_ascii_alphanumeric());
        if !plain {
            return Err(refused("a property's name is letters and digits, the first of them upper case"));
        }
        let parsed = parse(value.trim()).ok_or_else(|| {
            refused("the value is a number, a truth value, a 'string' or a list of strings")
        })?;
        match property.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) {
            None => Ok((property.to_owned(), parsed)),
            Some(stem) => {
                let seconds = whole(&parsed).and_then(|seconds| seconds.checked_mul(MICROSECONDS));
                let seconds = seconds.ok_or_else(|| refused("seconds are a whole number"))?;
                Ok((format!("{stem}USec"), seconds.into()))
            }
        }
    })
    .collect()
}

fn whole(value: &Value<'_>) -> Option<u64> {
    match value {
        Value::I32(number) => u64::try_from(*number).ok(),
        Value::I64(number) => u64::try_from(*number).ok(),
        Value::U32(number) => Some((*number).into()),
        Value::U64(number) => Some(*number),
        _ => None,
    }
}

fn parse(text: &str) -> Option<Value<'static>> {
    if let Some((kind, number)) = text.split_once(' ') {
        let number = number.trim();
        match kind {
            "int16" => return number.parse::<i16>().ok().map(Value::from),
            "uint16" => return number.parse::<u16>().ok().map(Value::from),
            "int32" => return number.parse::<i32>().ok().map(Value::from),
            "uint32" => return number.parse::<u32>().ok().map(Value::from),
            "int64" => return number.parse::<i64>().ok().map(Value::from),
            "uint64" => return number.parse::<u64>().ok().map(Value::from),
            _ => {}
        }
    }
    match text {
        "true" => return Some(true.into()),
        "false" => return Some(false.into()),
        _ => {}
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return strings(inner).map(Value::from);
    }
    match string(text) {
        Some((one, "")) => Some(one.into()),
        _ => text.parse::<i32>().ok().map(Value::from),
    }
}

fn strings(mut rest: &str) -> Option<Vec<String>> {
    let mut list = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Some(list);
        }
        let (one, after) = string(rest)?;
        list.push(one);
        rest = match after.trim_start() {
            "" => "",
            after => after.strip_prefix(',')?,
        };
    }
}

/// One quoted string at the start, and what follows it.
fn string(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut value = String::new();
    let mut rest = text[1..].char_indices();
    while let Some((at, c)) = rest.next() {
        match c {
            '\\' => value.push(rest.next()?.1),
            '\0' => return None,
            c if c == quote => return Some((value, &text[at + 2..])),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_become_properties() {
        let check = |name: &str, value: &str, expect: Option<(&str, Value<'static>)>| {
            let found = properties(&[(format!("{PREFIX}{name}"), value.to_owned())]);
            let expect = expect.map(|(name, value)| vec![(name.to_owned(), value)]);
            assert_eq!(found.ok(), expect, "{name} {value}");
        };
        check("TimeoutStopUSec", "uint64 123456789", Some(("TimeoutStopUSec", 123_456_789_u64.into())));
        check("TimeoutStopSec", "90", Some(("TimeoutStopUSec", 90_000_000_u64.into())));
        check(
            "CollectMode",
            "'inactive-or-failed'",
            Some(("CollectMode", "inactive-or-failed".to_owned().into())),
        );
        check("SendSIGHUP", "true", Some(("SendSIGHUP", true.into())));
        check("KillSignal", "9", Some(("KillSignal", 9_i32.into())));
        check(
            "After",
            "['a.service', \"b\"]",
            Some(("After", vec!["a.service".to_owned(), "b".to_owned()].into())),
        );
        check("Note", r"'it\'s'", Some(("Note", "it's".to_owned().into())));
        for (name, value) in [
            ("TimeoutStopSec", "'90'"),
            ("TimeoutStopSec", "-1"),
            ("lower", "1"),
            ("A", "1"),
            ("With-Dash", "1"),
            ("Words", "'open"),
            ("Words", "['a' 'b']"),
            ("Words", "'a' b"),
            ("Words", "uint64 -1"),
        ] {
            check(name, value, None);
        }
        assert_eq!(properties(&[("other".into(), "x".into())]), Ok(Vec::new()));
    }
}
