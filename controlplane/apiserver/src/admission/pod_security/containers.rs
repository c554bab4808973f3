//! The containers of a pod, and how sentences speak of several of them.

use serde_json::Value;

/// Every container of a pod: init, ordinary, ephemeral.
pub(super) fn all(spec: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|list| spec[list].as_array())
        .flatten()
}

/// Names of the containers that a rule is against.
pub(super) fn against(spec: &Value, is: impl Fn(&Value) -> bool) -> Vec<&str> {
    all(spec).filter(|container| is(container)).map(|c| c["name"].as_str().unwrap_or_default()).collect()
}

/// `container "a"`, `containers "a", "b"`.
pub(super) fn named(what: &str, names: &[&str]) -> String {
    let quoted = quoted(names);
    if names.len() == 1 { format!("{what} {quoted}") } else { format!("{what}s {quoted}") }
}

/// `"a", "b"`.
pub(super) fn quoted<T: AsRef<str>>(names: &[T]) -> String {
    names.iter().map(|name| format!("{:?}", name.as_ref())).collect::<Vec<_>>().join(", ")
}
