//! `fieldRef`: what a pod says of itself, as text. Environment and downward API volumes share it.

use serde_json::{Map, Value};

use crate::facts::NodeFacts;
use crate::pod::{Addresses, Pod};

/// The field's value; the error is upstream's sentence.
pub fn value(path: &str, pod: &Pod, addresses: &Addresses, node: &NodeFacts) -> Result<String, String> {
    let meta = pod.meta();
    let join = |list: &[std::net::IpAddr]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    if let Some((field, key)) = subscript(path) {
        let found = match field {
            "metadata.labels" => meta.label(key),
            "metadata.annotations" => meta.annotation(key),
            _ => return Err(format!("fieldPath \"{field}\" does not support subscript")),
        };
        return Ok(found.unwrap_or_default().to_owned());
    }
    Ok(match path {
        "metadata.name" => pod.key.name.clone(),
        "metadata.namespace" => pod.key.namespace.clone(),
        "metadata.uid" => pod.uid.to_string(),
        "metadata.labels" => lines(meta.labels()),
        "metadata.annotations" => lines(pod.value()["metadata"]["annotations"].as_object()),
        "spec.nodeName" | "spec.host" => text(&pod.spec()["nodeName"]),
        "spec.serviceAccountName" => text(&pod.spec()["serviceAccountName"]),
        "status.hostIP" => node.addresses.first().map(ToString::to_string).unwrap_or_default(),
        "status.hostIPs" => join(&node.addresses),
        "status.podIP" => addresses.first().map(ToString::to_string).unwrap_or_default(),
        "status.podIPs" => join(addresses),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// `metadata.labels['key']`
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (field, rest) = path.split_once("['")?;
    Some((field, rest.strip_suffix("']")?))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// `key="value"` by key, one a line.
fn lines(map: Option<&Map<String, Value>>) -> String {
    let mut lines: Vec<String> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", quoted(value.as_str().unwrap_or_default())))
        .collect();
    lines.sort();
    lines.join("\n")
}

/// A string literal of Go.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c == '\x7f' => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_become_text() {
        let pod = Pod::of(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u-1",
                "labels": {"b": "2", "a/x": "1"}, "annotations": {"note": "two\nlines \"quoted\" \u{1}"}},
            "spec": {"nodeName": "n1", "serviceAccountName": "sa"}}));
        let addresses = vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let node = NodeFacts { addresses: vec!["192.0.2.1".parse().unwrap()], ..Default::default() };
        let check = |path: &str, expect: Result<&str, &str>| {
            let found = value(path, &pod, &addresses, &node);
            assert_eq!(found.as_deref().map_err(String::as_str), expect, "{path}");
        };
        check("metadata.name", Ok("web"));
        check("metadata.namespace", Ok("shop"));
        check("metadata.uid", Ok("u-1"));
        check("metadata.labels", Ok("a/x=\"1\"\nb=\"2\""));
        check("metadata.labels['a/x']", Ok("1"));
        check("metadata.labels['none']", Ok(""));
        check("metadata.annotations", Ok(r#"note="two\nlines \"quoted\" \x01""#));
        check("metadata.annotations['note']", Ok("two\nlines \"quoted\" \u{1}"));
        check("spec.nodeName", Ok("n1"));
        check("spec.serviceAccountName", Ok("sa"));
        check("status.hostIP", Ok("192.0.2.1"));
        check("status.podIP", Ok("10.0.0.2"));
        check("status.podIPs", Ok("10.0.0.2,fd00::2"));
        check("status.phase", Err("unsupported fieldPath: status.phase"));
        check("metadata.name['x']", Err("fieldPath \"metadata.name\" does not support subscript"));
    }
}
