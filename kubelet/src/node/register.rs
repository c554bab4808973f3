//! The Node object as this kubelet makes it, and what it corrects in one that is there. Pure.

use serde_json::{Map, Value, json};

use super::NodeOptions;

/// The labels that the kubelet owns, and those from the command line.
pub fn labels(name: &str, architecture: &str, more: &[(String, String)]) -> Map<String, Value> {
    let own = [
        ("beta.kubernetes.io/arch", architecture),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture),
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
    ];
    let mut labels: Map<String, Value> =
        own.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    labels.extend(more.iter().map(|(key, value)| (key.clone(), value.clone().into())));
    labels
}

pub(super) fn object(options: &NodeOptions) -> Value {
    let name = &options.facts.name;
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name,
            "labels": labels(name, &options.machine.architecture, &options.labels),
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": {},
    });
    if !options.taints.is_empty() {
        node["spec"]["taints"] = options.taints.clone().into();
    }
    node
}

/// A patch where labels or annotations of ours are missing or other.
pub(super) fn correction(node: &Value, wanted: &Value) -> Option<Value> {
    let mut patch = Map::new();
    for field in ["labels", "annotations"] {
        let wrong: Map<String, Value> = wanted["metadata"][field]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, value)| node["metadata"][field].get(key.as_str()) != Some(*value))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if !wrong.is_empty() {
            patch.insert(field.to_owned(), wrong.into());
        }
    }
    if patch.is_empty() { None } else { Some(json!({"metadata": patch})) }
}

/// `key=value:Effect`, or `key:Effect`.
pub fn taint(text: &str) -> Result<Value, String> {
    let wrong = || format!("{text:?} is no taint such as key=value:NoSchedule");
    let (words, effect) = text.rsplit_once(':').ok_or_else(wrong)?;
    if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
        return Err(wrong());
    }
    let (key, value) = words.split_once('=').unwrap_or((words, ""));
    if key.is_empty() {
        return Err(wrong());
    }
    let mut taint = json!({"key": key, "effect": effect});
    if !value.is_empty() {
        taint["value"] = value.into();
    }
    Ok(taint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints() {
        assert_eq!(taint("a=b:NoSchedule"), Ok(json!({"key": "a", "effect": "NoSchedule", "value": "b"})));
        assert_eq!(taint("a/b:NoExecute"), Ok(json!({"key": "a/b", "effect": "NoExecute"})));
        for wrong in ["a", "a:", "=b:NoSchedule", "a:Never"] {
            assert!(taint(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_ours_is_corrected() {
        let wanted = json!({"metadata": {"labels": {"a": "1", "b": "2"}, "annotations": {}}});
        let node = json!({"metadata": {"labels": {"a": "1", "b": "3", "theirs": "x"}}});
        assert_eq!(correction(&node, &wanted), Some(json!({"metadata": {"labels": {"b": "2"}}})));
        assert_eq!(correction(&wanted, &wanted), None);
    }
}
