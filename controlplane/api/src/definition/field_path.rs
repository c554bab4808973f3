//! Paths to fields of a schema: `.spec.names['a.b']`.

use serde_json::Value;

/// The names on a path and the schema at its end; `quoted` where `['name']` may stand in it.
///
/// # Errors
/// In upstream's words, where it leads nowhere.
pub(super) fn find<'s>(
    path: &str,
    schema: &'s Value,
    quoted: bool,
) -> Result<(Vec<String>, &'s Value), String> {
    let (mut names, mut at, mut rest) = (Vec::new(), schema, path);
    while !rest.is_empty() {
        let token = take(&mut rest);
        match token {
            "." => {
                let name = some(&mut rest)?;
                at = below(at, name)?;
                names.push(name.to_owned());
            }
            "[" if !quoted => return Err("array notation is not allowed".into()),
            "[" => {
                let token = some(&mut rest)?;
                let inner = token.strip_prefix('\'').and_then(|token| token.strip_suffix('\''));
                let Some(inner) = inner else {
                    return Err(format!("expected single quoted string but got {token}"));
                };
                let name = inner.replace("\\'", "'");
                at = below(at, &name)?;
                names.push(name);
                match some(&mut rest)? {
                    "]" => {}
                    other => return Err(format!("expected ] but got {other}")),
                }
            }
            other => return Err(format!("expected [ or . but got: {other}")),
        }
    }
    Ok((names, at))
}

fn below<'s>(schema: &'s Value, name: &str) -> Result<&'s Value, String> {
    let found = match (&schema["properties"], &schema["additionalProperties"]) {
        (Value::Object(known), _) => known.get(name),
        (_, each @ Value::Object(_)) => Some(each),
        _ => None,
    };
    found.ok_or_else(|| "does not refer to a valid field".to_owned())
}

fn some<'p>(rest: &mut &'p str) -> Result<&'p str, String> {
    if rest.is_empty() {
        return Err("unexpected end of JSON path".into());
    }
    Ok(take(rest))
}

/// The next delimiter, quoted name or name.
fn take<'p>(rest: &mut &'p str) -> &'p str {
    let bytes = rest.as_bytes();
    let is_end = |at: usize| match bytes[0] {
        b'\'' => at > 1 && bytes[at - 1] == b'\'' && (at == 2 || bytes[at - 2] != b'\\'),
        b'.' | b'[' | b']' => at > 0,
        _ => at > 0 && matches!(bytes[at], b'.' | b'[' | b']'),
    };
    let end = (1..bytes.len()).find(|at| is_end(*at)).unwrap_or(bytes.len());
    let (token, after) = rest.split_at(end);
    *rest = after;
    token
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_to_schemas() {
        let schema = json!({"properties": {"spec": {"properties": {"a": {"type": "string"},
            "it's": {"type": "integer"}, "map": {"additionalProperties": {"type": "boolean"}}}}}});
        for (path, quoted, wanted) in [
            (".spec.a", false, Ok("string")),
            (".spec.map.x", false, Ok("boolean")),
            (".spec['a']", true, Ok("string")),
            (".spec['it\\'s']", true, Ok("integer")),
            (".spec['a']", false, Err("array notation is not allowed")),
            (".spec.b", false, Err("does not refer to a valid field")),
            (".spec.a.b", false, Err("does not refer to a valid field")),
            ("spec", false, Err("expected [ or . but got: spec")),
            (".spec.", false, Err("unexpected end of JSON path")),
            (".spec[a]", true, Err("expected single quoted string but got a")),
            (".spec['a'", true, Err("unexpected end of JSON path")),
            (".spec['", true, Err("expected single quoted string but got '")),
        ] {
            let found = find(path, &schema, quoted);
            let got =
                found.as_ref().map(|(_, at)| at["type"].as_str().unwrap_or_default()).map_err(String::as_str);
            assert_eq!(got, wanted, "{path}");
        }
    }
}
