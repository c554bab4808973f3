//! Texts and regular expressions.

use std::sync::Arc;

use super::super::value::{self, Value};
use super::super::{Budget, EvalError};
use super::{Maybe, Outcome, walk};
use crate::structural::compile_pattern;

/// Digits behind a point; what formats numbers panics at far more.
const MOST_DIGITS: usize = 1000;
/// A formatted text is at most this long.
const MOST_BYTES: usize = 1 << 20;

pub(super) fn call<'a>(name: &str, args: &[Value<'a>], budget: &mut Budget) -> Maybe<'a> {
    match (name, args) {
        ("matches", [..]) => method(name, args, budget),
        ("strings.quote", [Value::Text(text)]) => Some(Ok(Value::text(&crate::field::quote(text)))),
        _ => None,
    }
}

pub(super) fn method<'a>(name: &str, args: &[Value<'a>], budget: &mut Budget) -> Maybe<'a> {
    if let ("join", [list, rest @ ..]) = (name, args) {
        return join(list, rest, budget);
    }
    let [Value::Text(text), rest @ ..] = args else { return None };
    if let Err(error) = walk(budget, text.len()) {
        return Some(Err(error));
    }
    searched(name, text, rest, budget)
        .or_else(|| cut(name, text, rest))
        .or_else(|| changed(name, text, rest, budget))
}

fn searched<'a>(name: &str, text: &str, rest: &[Value<'a>], budget: &mut Budget) -> Maybe<'a> {
    Some(match (name, rest) {
        ("contains", [Value::Text(part)]) => Ok(Value::Bool(text.contains(&**part))),
        ("startsWith", [Value::Text(part)]) => Ok(Value::Bool(text.starts_with(&**part))),
        ("endsWith", [Value::Text(part)]) => Ok(Value::Bool(text.ends_with(&**part))),
        ("matches", [Value::Text(pattern)]) => {
            compiled(pattern, text, budget).map(|pattern| Value::Bool(pattern.is_match(text)))
        }
        ("find", [Value::Text(pattern)]) => compiled(pattern, text, budget)
            .map(|pattern| Value::text(pattern.find(text).map_or("", |found| found.as_str()))),
        ("findAll", [Value::Text(pattern), limit @ ..]) => {
            let most = match limit {
                [] => usize::MAX,
                [Value::Int(most)] => usize::try_from(*most).unwrap_or(usize::MAX),
                _ => return None,
            };
            compiled(pattern, text, budget).map(|pattern| {
                let found = pattern.find_iter(text).take(most).map(|found| Value::text(found.as_str()));
                Value::List(Arc::new(found.collect()))
            })
        }
        ("indexOf" | "lastIndexOf", [Value::Text(part), from @ ..]) => {
            let from = match from {
                [] => None,
                [Value::Int(from)] => Some(*from),
                _ => return None,
            };
            position(name, text, part, from)
        }
        _ => return None,
    })
}

/// Upstream's cost, which an empty text has too: the expression is read all the same.
fn compiled(pattern: &str, text: &str, budget: &mut Budget) -> Result<regex::Regex, EvalError> {
    let (looked_at, states) = ((text.len() + 1).div_ceil(10), pattern.len().div_ceil(4));
    budget.spend(looked_at.saturating_mul(states) as u64)?;
    compile_pattern(pattern).map_err(|error| EvalError(format!("error parsing regexp: {error}")))
}

fn position<'a>(name: &str, text: &str, part: &str, from: Option<i64>) -> Outcome<'a> {
    let count = text.chars().count();
    let first = name == "indexOf";
    let from = from.unwrap_or(if first { 0 } else { count as i64 });
    let at = usize::try_from(from).ok().filter(|at| *at <= count);
    let at = at.ok_or_else(|| EvalError(format!("index out of range: {from}")))?;
    let byte_of = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    let found = if first {
        let begin = byte_of(at);
        text[begin..].find(part).map(|found| begin + found)
    } else {
        // It may end behind where it has to begin.
        let end = byte_of(at.saturating_add(part.chars().count()).min(count));
        text[..end].rfind(part)
    };
    Ok(Value::Int(found.map_or(-1, |byte| text[..byte].chars().count() as i64)))
}

fn cut<'a>(name: &str, text: &str, rest: &[Value<'a>]) -> Maybe<'a> {
    let letters = || text.chars().collect::<Vec<char>>();
    let out_of_range = |at: i64| Some(Err(EvalError(format!("index out of range: {at}"))));
    match (name, rest) {
        ("charAt", [Value::Int(at)]) => {
            let letters = letters();
            match usize::try_from(*at) {
                Ok(at) if at < letters.len() => Some(Ok(Value::text(&letters[at].to_string()))),
                Ok(at) if at == letters.len() => Some(Ok(Value::text(""))),
                _ => out_of_range(*at),
            }
        }
        ("substring", [Value::Int(from), to @ ..]) => {
            let letters = letters();
            let to = match to {
                [] => letters.len() as i64,
                [Value::Int(to)] => *to,
                _ => return None,
            };
            if from > &to {
                return Some(Err(EvalError(format!("invalid substring range. start: {from}, end: {to}"))));
            }
            match (usize::try_from(*from), usize::try_from(to)) {
                (Ok(from), Ok(to)) if to <= letters.len() => {
                    Some(Ok(Value::text(&letters[from..to].iter().collect::<String>())))
                }
                (Err(_), _) => out_of_range(*from),
                _ => out_of_range(to),
            }
        }
        ("split", [Value::Text(by), most @ ..]) => {
            let most = match most {
                [] => -1,
                [Value::Int(most)] => *most,
                _ => return None,
            };
            let parts: Vec<Value<'a>> = match most {
                0 => Vec::new(),
                _ if by.is_empty() => letter_by_letter(text, most).map(Value::text).collect(),
                most if most < 0 => text.split(&**by).map(Value::text).collect(),
                most => text.splitn(most as usize, &**by).map(Value::text).collect(),
            };
            Some(Ok(Value::List(Arc::new(parts))))
        }
        _ => None,
    }
}

/// Each letter by itself; the last of `most` parts is the rest.
fn letter_by_letter(text: &str, most: i64) -> impl Iterator<Item = &str> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let last = most.saturating_sub(1);
    let places = text.char_indices().enumerate().take(most);
    places.map(
        move |(number, (at, letter))| {
            if number == last { &text[at..] } else { &text[at..at + letter.len_utf8()] }
        },
    )
}

fn changed<'a>(name: &str, text: &str, rest: &[Value<'a>], budget: &mut Budget) -> Maybe<'a> {
    let result = match (name, rest) {
        ("lowerAscii", []) => text.to_ascii_lowercase(),
        ("upperAscii", []) => text.to_ascii_uppercase(),
        ("trim", []) => text.trim().to_owned(),
        ("reverse", []) => text.chars().rev().collect(),
        ("replace", [Value::Text(old), Value::Text(new), most @ ..]) => {
            // As long as it will be, before it is made.
            let count = text.matches(&**old).count();
            let longest = text.len().saturating_add(count.saturating_mul(new.len()));
            if let Err(error) = walk(budget, longest) {
                return Some(Err(error));
            }
            match most {
                [] => text.replace(&**old, new),
                [Value::Int(most)] if *most < 0 => text.replace(&**old, new),
                [Value::Int(most)] => text.replacen(&**old, new, usize::try_from(*most).unwrap_or(0)),
                _ => return None,
            }
        }
        ("format", [list]) => return Some(format(text, &list.items()?, budget)),
        _ => return None,
    };
    Some(Ok(Value::Text(result.into())))
}

fn join<'a>(list: &Value<'a>, rest: &[Value<'a>], budget: &mut Budget) -> Maybe<'a> {
    let between = match rest {
        [] => "",
        [Value::Text(between)] => between,
        _ => return None,
    };
    let items = list.items()?;
    let mut texts: Vec<&str> = Vec::with_capacity(items.len());
    for item in &items {
        let Value::Text(text) = item else { return Some(Err(EvalError::no_overload())) };
        texts.push(text);
    }
    let own: usize = texts.iter().map(|text| text.len()).sum();
    let length = own.saturating_add(texts.len().saturating_mul(between.len()));
    Some(walk(budget, length).map(|()| Value::Text(texts.join(between).into())))
}

/// `"%s is %d".format([x, y])`.
fn format<'a>(pattern: &str, args: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let mut out = String::new();
    let mut args = args.iter();
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut precision = None;
        if letters.peek() == Some(&'.') {
            letters.next();
            let mut digits = String::new();
            while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            let wanted = digits.parse::<usize>().ok().filter(|wanted| *wanted <= MOST_DIGITS);
            precision = Some(wanted.ok_or_else(|| EvalError(format!("precision {digits} is too large")))?);
        }
        let Some(verb) = letters.next() else { return Err(EvalError("unexpected end of string".into())) };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let arg = args.next().ok_or_else(|| EvalError("index out of range".into()))?;
        out.push_str(&formatted(verb, precision, arg, budget)?);
        if out.len() > MOST_BYTES {
            return Err(EvalError("formatted string is too long".into()));
        }
    }
    walk(budget, out.len())?;
    Ok(Value::Text(out.into()))
}

fn formatted(
    verb: char,
    precision: Option<usize>,
    arg: &Value<'_>,
    budget: &mut Budget,
) -> Result<String, EvalError> {
    let refuse = || EvalError(format!("could not format {} with %{verb}", arg.type_name()));
    let whole = || match arg {
        Value::Int(number) => Some(i128::from(*number)),
        Value::Uint(number) => Some(i128::from(*number)),
        _ => None,
    };
    let number = || match arg {
        Value::Double(number) => Some(*number),
        _ => whole().map(|number| number as f64),
    };
    match verb {
        's' => {
            let mut text = String::new();
            display(arg, &mut text, budget).map(|()| text)
        }
        'd' => whole().map(|number| number.to_string()).ok_or_else(refuse),
        'f' => number().map(|number| format!("{number:.*}", precision.unwrap_or(6))).ok_or_else(refuse),
        'e' => number().map(|number| format!("{number:.*e}", precision.unwrap_or(6))).ok_or_else(refuse),
        'b' => match arg {
            Value::Bool(flag) => Ok(u8::from(*flag).to_string()),
            _ => whole().map(|number| format!("{number:b}")).ok_or_else(refuse),
        },
        'o' => whole().map(|number| format!("{number:o}")).ok_or_else(refuse),
        'x' | 'X' => {
            let text = match arg {
                Value::Text(text) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
                Value::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                _ => whole().map(|number| format!("{number:x}")).ok_or_else(refuse)?,
            };
            Ok(if verb == 'X' { text.to_uppercase() } else { text })
        }
        other => Err(EvalError(format!("unrecognized formatting clause \"{other}\""))),
    }
}

/// What `%s` makes of a value.
fn display(value: &Value<'_>, out: &mut String, budget: &mut Budget) -> Result<(), EvalError> {
    budget.spend_small(1)?;
    if out.len() > MOST_BYTES {
        return Err(EvalError("formatted string is too long".into()));
    }
    match value {
        Value::List(_) | Value::Items(..) => {
            out.push('[');
            for (at, (_, item)) in value.parts().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                display(&item, out, budget)?;
            }
            out.push(']');
        }
        Value::Map(_) | Value::Fields(..) => {
            out.push('{');
            for (at, (key, value)) in value.parts().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                display(&key, out, budget)?;
                out.push_str(": ");
                display(&value, out, budget)?;
            }
            out.push('}');
        }
        Value::Null => out.push_str("null"),
        Value::Type(name) => out.push_str(name),
        other => out.push_str(&value::shown(other).unwrap_or_else(|| other.type_name().into())),
    }
    Ok(())
}
