//! The part of JSONPath that printer columns use: fields, indices, `[*]`, slices of one, and filters on one field.
//!
//! ```text
//!   .status.conditions[?(@.type=="Ready")].status     .spec.ports[0].name     .metadata.labels['a\.b/c']
//! ```

use serde_json::Value;

/// A parsed path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    /// Items whose field (by path) compares so with a value.
    Filter(Vec<String>, Compare, Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equal,
    Unequal,
    Exists,
}

impl JsonPath {
    /// Reads a path, with or without the braces of a template.
    ///
    /// # Errors
    /// In a sentence, where it is none.
    pub fn parse(text: &str) -> Result<JsonPath, String> {
        let text = text.trim().trim_start_matches('{').trim_end_matches('}').trim_start_matches('$');
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            rest = if let Some(inner) = rest.strip_prefix('[') {
                let end = closing(inner).ok_or_else(|| format!("unterminated array in {text:?}"))?;
                steps.push(bracket(&inner[..end])?);
                &inner[end + 1..]
            } else {
                let rest = rest.strip_prefix('.').unwrap_or(rest);
                let (name, rest) = field(rest);
                match name.as_str() {
                    "" if rest.is_empty() && steps.is_empty() => {}
                    "" => return Err(format!("unrecognized character in {text:?}")),
                    "*" => steps.push(Step::All),
                    _ => steps.push(Step::Field(name)),
                }
                rest
            };
        }
        Ok(JsonPath(steps))
    }

    /// Everything that lies at the path.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.apply(value)).collect();
        }
        found
    }
}

/// Where a bracket ends, quotes considered.
fn closing(text: &str) -> Option<usize> {
    let (mut quote, mut depth) = (None, 0);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[' | '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

/// A name up to the next dot or bracket; a backslash takes what follows as it is.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut letters = text.char_indices();
    while let Some((at, c)) = letters.next() {
        match c {
            '.' | '[' => return (name, &text[at..]),
            '\\' => name.extend(letters.next().map(|(_, c)| c)),
            c => name.push(c),
        }
    }
    (name, "")
}

fn bracket(text: &str) -> Result<Step, String> {
    let text = text.trim();
    if text == "*" {
        return Ok(Step::All);
    }
    if let Some(name) = quoted(text) {
        return Ok(Step::Field(name));
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return self::filter(filter);
    }
    text.parse().map(Step::Index).map_err(|_| format!("invalid array index {text}"))
}

fn quoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    Some(inner.replace("\\.", ".").replace("\\/", "/"))
}

fn filter(text: &str) -> Result<Step, String> {
    let path = |text: &str| -> Result<Vec<String>, String> {
        let path = text.trim().strip_prefix('@').ok_or_else(|| format!("unrecognized filter {text:?}"))?;
        let steps = JsonPath::parse(path)?.0;
        steps
            .into_iter()
            .map(|step| match step {
                Step::Field(name) => Ok(name),
                _ => Err(format!("unrecognized filter {text:?}")),
            })
            .collect()
    };
    for (sign, compare) in [("==", Compare::Equal), ("!=", Compare::Unequal)] {
        if let Some((left, right)) = text.split_once(sign) {
            let right = right.trim();
            let value = match quoted(right) {
                Some(text) => text.into(),
                None => serde_json::from_str(right).map_err(|_| format!("unrecognized value {right}"))?,
            };
            return Ok(Step::Filter(path(left)?, compare, value));
        }
    }
    Ok(Step::Filter(path(text)?, Compare::Exists, Value::Null))
}

impl Step {
    fn apply<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Step::Field(name), Value::Object(fields)) => fields.get(name).into_iter().collect(),
            (Step::Index(at), Value::Array(items)) => {
                let at = if *at < 0 { items.len() as i64 + at } else { *at };
                usize::try_from(at).ok().and_then(|at| items.get(at)).into_iter().collect()
            }
            (Step::All, Value::Array(items)) => items.iter().collect(),
            (Step::All, Value::Object(fields)) => fields.values().collect(),
            (Step::Filter(path, compare, wanted), Value::Array(items)) => {
                let at = |item: &'a Value| path.iter().try_fold(item, |at, name| at.get(name));
                let fits = |item: &&'a Value| match (compare, at(item)) {
                    (Compare::Exists, found) => found.is_some(),
                    (Compare::Equal, Some(found)) => found == wanted,
                    (Compare::Unequal, Some(found)) => found != wanted,
                    (_, None) => false,
                };
                items.iter().filter(fits).collect()
            }
            _ => Vec::new(),
        }
    }
}
