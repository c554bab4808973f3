//! Operators, conversions and times.

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::super::value::{self, Value};
use super::super::{Budget, EvalError};
use super::{Maybe, Outcome, walk};

/// How two values of an order stand; none where they have none.
pub(in super::super) fn order(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    let number = |value: &Value<'_>| match value {
        Value::Int(number) => Some(i128::from(*number)),
        Value::Uint(number) => Some(i128::from(*number)),
        _ => None,
    };
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Double(a), b) => a.partial_cmp(&(number(b)? as f64)),
        (a, Value::Double(b)) => (number(a)? as f64).partial_cmp(b),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
        (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
        (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
        (a, b) => Some(number(a)?.cmp(&number(b)?)),
    }
}

/// An operator between two values.
pub(in super::super) fn binary<'a>(
    sign: &str,
    a: &Value<'a>,
    b: &Value<'a>,
    budget: &mut Budget,
) -> Outcome<'a> {
    budget.spend(1)?;
    match sign {
        "==" | "!=" => {
            walk(budget, a.size().min(b.size()))?;
            Ok(Value::Bool(value::equal(a, b, budget)? == (sign == "==")))
        }
        "<" | "<=" | ">" | ">=" => {
            walk(budget, a.size().min(b.size()))?;
            let order = order(a, b).ok_or_else(EvalError::no_overload)?;
            Ok(Value::Bool(match sign {
                "<" => order.is_lt(),
                "<=" => order.is_le(),
                ">" => order.is_gt(),
                _ => order.is_ge(),
            }))
        }
        "in" => contained(a, b, budget),
        _ => arithmetic(sign, a, b, budget),
    }
}

fn contained<'a>(needle: &Value<'a>, haystack: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    match haystack {
        Value::List(_) | Value::Items(..) => {
            budget.spend(haystack.size() as u64)?;
            for (_, item) in haystack.parts() {
                if value::equal(&item, needle, budget)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        Value::Fields(fields, _) => {
            Ok(Value::Bool(matches!(needle, Value::Text(name) if fields.contains_key(&**name))))
        }
        Value::Map(_) => Ok(Value::Bool(haystack.at(needle, budget)?.is_some())),
        _ => Err(EvalError::no_overload()),
    }
}

fn arithmetic<'a>(sign: &str, a: &Value<'a>, b: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    let whole = |value: Option<i64>| value.map(Value::Int).ok_or_else(EvalError::overflow);
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => match sign {
            "+" => whole(a.checked_add(*b)),
            "-" => whole(a.checked_sub(*b)),
            "*" => whole(a.checked_mul(*b)),
            "/" if *b == 0 => Err(EvalError("division by zero".into())),
            "%" if *b == 0 => Err(EvalError("modulus by zero".into())),
            "/" => whole(a.checked_div(*b)),
            _ => whole(a.checked_rem(*b)),
        },
        (Value::Uint(a), Value::Uint(b)) => {
            let result = match sign {
                "+" => a.checked_add(*b),
                "-" => a.checked_sub(*b),
                "*" => a.checked_mul(*b),
                "/" if *b == 0 => return Err(EvalError("division by zero".into())),
                "%" if *b == 0 => return Err(EvalError("modulus by zero".into())),
                "/" => a.checked_div(*b),
                _ => a.checked_rem(*b),
            };
            result.map(Value::Uint).ok_or_else(|| EvalError("unsigned integer overflow".into()))
        }
        (Value::Double(a), Value::Double(b)) => match sign {
            "+" => Ok(Value::Double(a + b)),
            "-" => Ok(Value::Double(a - b)),
            "*" => Ok(Value::Double(a * b)),
            "/" => Ok(Value::Double(a / b)),
            _ => Err(EvalError::no_overload()),
        },
        (Value::Text(a), Value::Text(b)) if sign == "+" => {
            walk(budget, a.len() + b.len())?;
            Ok(Value::Text(format!("{a}{b}").into()))
        }
        (Value::Bytes(a), Value::Bytes(b)) if sign == "+" => {
            walk(budget, a.len() + b.len())?;
            Ok(Value::Bytes([&**a, &**b].concat().into()))
        }
        (Value::Items(..) | Value::List(_), Value::Items(..) | Value::List(_)) if sign == "+" => {
            // Paid for before there is anything: what is added to itself again and again grows fast.
            budget.spend((a.size() + b.size()) as u64)?;
            Ok(Value::List(Arc::new(a.parts().chain(b.parts()).map(|(_, item)| item).collect())))
        }
        _ => times(sign, a, b),
    }
}

/// A duration is at most what upstream's 64 bits hold.
fn lasting<'a>(nanos: Option<i128>) -> Outcome<'a> {
    let nanos = nanos.filter(|nanos| i64::try_from(*nanos).is_ok());
    nanos.map(Value::Duration).ok_or_else(EvalError::overflow)
}

fn times<'a>(sign: &str, a: &Value<'a>, b: &Value<'a>) -> Outcome<'a> {
    let moved = |time: &jiff::Timestamp, nanos: i128| {
        let nanos = time.as_nanosecond().checked_add(nanos).ok_or_else(EvalError::overflow)?;
        jiff::Timestamp::from_nanosecond(nanos)
            .map(Value::Timestamp)
            .map_err(|_| EvalError("timestamp overflow".into()))
    };
    match (sign, a, b) {
        ("+", Value::Timestamp(time), Value::Duration(nanos))
        | ("+", Value::Duration(nanos), Value::Timestamp(time)) => moved(time, *nanos),
        ("-", Value::Timestamp(time), Value::Duration(nanos)) => moved(time, nanos.saturating_neg()),
        ("-", Value::Timestamp(a), Value::Timestamp(b)) => {
            lasting(a.as_nanosecond().checked_sub(b.as_nanosecond()))
        }
        ("+", Value::Duration(a), Value::Duration(b)) => lasting(a.checked_add(*b)),
        ("-", Value::Duration(a), Value::Duration(b)) => lasting(a.checked_sub(*b)),
        _ => Err(EvalError::no_overload()),
    }
}

/// `size(x)`, conversions.
pub(super) fn call<'a>(name: &str, args: &[Value<'a>], budget: &mut Budget) -> Maybe<'a> {
    let [arg] = args else { return None };
    Some(match (name, arg) {
        ("size", _) => return size(arg),
        ("dyn", value) => Ok(value.clone()),
        ("type", value) => Ok(Value::Type(value.type_name())),
        ("int", value) => int(value),
        ("uint", value) => uint(value),
        ("double", value) => double(value),
        ("bool", value @ Value::Bool(_)) => Ok(value.clone()),
        ("bool", Value::Text(text)) => match &**text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
            other => Err(EvalError(format!("strconv.ParseBool: parsing \"{other}\": invalid syntax"))),
        },
        ("string", value) => {
            if let Err(error) = walk(budget, value.size()) {
                return Some(Err(error));
            }
            value::shown(value).map(|text| Value::text(&text)).ok_or_else(EvalError::no_overload)
        }
        ("bytes", Value::Text(text)) => {
            walk(budget, text.len()).map(|()| Value::Bytes(text.as_bytes().into()))
        }
        ("bytes", value @ Value::Bytes(_)) => Ok(value.clone()),
        ("timestamp", Value::Text(text)) => text
            .parse()
            .map(Value::Timestamp)
            .map_err(|_| EvalError(format!("parsing time \"{text}\" as RFC 3339 failed"))),
        ("timestamp", Value::Int(seconds)) => jiff::Timestamp::from_second(*seconds)
            .map(Value::Timestamp)
            .map_err(|_| EvalError("timestamp overflow".into())),
        ("timestamp", value @ Value::Timestamp(_)) | ("duration", value @ Value::Duration(_)) => {
            Ok(value.clone())
        }
        ("duration", Value::Text(text)) => duration(text)
            .map(Value::Duration)
            .ok_or_else(|| EvalError(format!("time: invalid duration \"{text}\""))),
        _ => return None,
    })
}

fn size<'a>(value: &Value<'a>) -> Maybe<'a> {
    let counts = matches!(
        value,
        Value::Text(_)
            | Value::Bytes(_)
            | Value::List(_)
            | Value::Items(..)
            | Value::Map(_)
            | Value::Fields(..)
    );
    counts.then(|| Ok(Value::Int(value.size() as i64)))
}

fn int<'a>(value: &Value<'a>) -> Outcome<'a> {
    let overflow = || EvalError::overflow();
    match value {
        Value::Int(_) => Ok(value.clone()),
        Value::Uint(number) => i64::try_from(*number).map(Value::Int).map_err(|_| overflow()),
        Value::Double(number) if number.is_finite() && number.abs() < i64::MAX as f64 => {
            Ok(Value::Int(*number as i64))
        }
        Value::Double(_) => Err(overflow()),
        Value::Text(text) => text
            .parse()
            .map(Value::Int)
            .map_err(|_| EvalError(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"))),
        Value::Timestamp(time) => Ok(Value::Int(time.as_second())),
        Value::Duration(nanos) => i64::try_from(*nanos).map(Value::Int).map_err(|_| overflow()),
        _ => Err(EvalError::no_overload()),
    }
}

fn uint<'a>(value: &Value<'a>) -> Outcome<'a> {
    let overflow = || EvalError("unsigned integer overflow".into());
    match value {
        Value::Uint(_) => Ok(value.clone()),
        Value::Int(number) => u64::try_from(*number).map(Value::Uint).map_err(|_| overflow()),
        Value::Double(number) if *number >= 0.0 && *number < u64::MAX as f64 => {
            Ok(Value::Uint(*number as u64))
        }
        Value::Double(_) => Err(overflow()),
        Value::Text(text) => text
            .parse()
            .map(Value::Uint)
            .map_err(|_| EvalError(format!("strconv.ParseUint: parsing \"{text}\": invalid syntax"))),
        _ => Err(EvalError::no_overload()),
    }
}

fn double<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Double(_) => Ok(value.clone()),
        Value::Int(number) => Ok(Value::Double(*number as f64)),
        Value::Uint(number) => Ok(Value::Double(*number as f64)),
        Value::Text(text) => text
            .parse()
            .map(Value::Double)
            .map_err(|_| EvalError(format!("strconv.ParseFloat: parsing \"{text}\": invalid syntax"))),
        _ => Err(EvalError::no_overload()),
    }
}

/// Go's durations, in nanoseconds.
pub(in super::super) fn duration(text: &str) -> Option<i128> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: f64 = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (digits, tail) = rest.split_at(number);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += digits.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    let nanos = total.round() as i128;
    i64::try_from(nanos).ok()?;
    Some(if negative { -nanos } else { nanos })
}

/// `x.size()` and the parts of times.
pub(super) fn method<'a>(name: &str, args: &[Value<'a>], _budget: &mut Budget) -> Maybe<'a> {
    match args {
        [value] if name == "size" => size(value),
        [Value::Timestamp(time), rest @ ..] => time_part(name, *time, rest),
        [Value::Duration(nanos)] => {
            let whole = |scale: i128| Some(Ok(Value::Int((nanos / scale) as i64)));
            match name {
                "getHours" => whole(3_600_000_000_000),
                "getMinutes" => whole(60_000_000_000),
                "getSeconds" => whole(1_000_000_000),
                "getMilliseconds" => Some(Ok(Value::Int((nanos / 1_000_000 % 1000) as i64))),
                _ => None,
            }
        }
        _ => None,
    }
}

fn time_part<'a>(name: &str, time: jiff::Timestamp, rest: &[Value<'a>]) -> Maybe<'a> {
    let zone = match rest {
        [] => TimeZone::UTC,
        [Value::Text(name)] => match zone(name) {
            Some(zone) => zone,
            None => return Some(Err(EvalError(format!("unknown time zone {name}")))),
        },
        _ => return None,
    };
    let local = time.to_zoned(zone);
    let part = match name {
        "getFullYear" => i64::from(local.year()),
        "getMonth" => i64::from(local.month()) - 1,
        "getDayOfYear" => i64::from(local.day_of_year()) - 1,
        "getDayOfMonth" => i64::from(local.day()) - 1,
        "getDate" => i64::from(local.day()),
        "getDayOfWeek" => i64::from(local.weekday().to_sunday_zero_offset()),
        "getHours" => i64::from(local.hour()),
        "getMinutes" => i64::from(local.minute()),
        "getSeconds" => i64::from(local.second()),
        "getMilliseconds" => i64::from(local.millisecond()),
        _ => return None,
    };
    Some(Ok(Value::Int(part)))
}

/// `UTC`, or an offset such as `+02:00`: names of places would need a database.
fn zone(name: &str) -> Option<TimeZone> {
    if matches!(name, "UTC" | "Z") {
        return Some(TimeZone::UTC);
    }
    let (sign, rest) = match name.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, name.strip_prefix('+').unwrap_or(name)),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes) = (hours.parse::<i16>().ok()?, minutes.parse::<i16>().ok()?);
    let seconds = i32::from(hours) * 3600 + i32::from(minutes) * 60;
    jiff::tz::Offset::from_seconds(sign * seconds).ok().map(TimeZone::fixed)
}
