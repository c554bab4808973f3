//! The names that definitions get, and the conditions that say so. Pure: the time is passed in.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::field::quote;

/// Whether a condition of a definition is true.
pub fn is_true(definition: &Value, condition: &str) -> bool {
    let conditions = definition["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == condition && one["status"] == "True")
}

/// Whether its resources are served.
pub fn is_established(definition: &Value) -> bool {
    is_true(definition, "Established")
}

/// The definition with its conditions changed; a time moves only where a status does.
pub fn conditions(definition: &mut Value, wanted: &[(&str, bool, &str, &str)], now: &str) {
    let status = &mut definition["status"];
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(known) = status["conditions"].as_array_mut() else { return };
    for (of, holds, reason, message) in wanted {
        let holds = if *holds { "True" } else { "False" };
        let condition = json!({"type": of, "status": holds, "lastTransitionTime": now, "reason": reason, "message": message});
        match known.iter_mut().find(|one| one["type"] == *of) {
            Some(old) => {
                let since =
                    if old["status"] == holds { old["lastTransitionTime"].clone() } else { now.into() };
                *old = condition;
                old["lastTransitionTime"] = since;
            }
            None => known.push(condition),
        }
    }
}

/// The definition with the names it may have beside the others of its group, and with what its conditions say of that.
/// Equal where nothing is to be done.
pub fn settled(definition: &Value, others: &[&Value], now: &str) -> Value {
    let wanted = &definition["spec"]["names"];
    let accepted = &definition["status"]["acceptedNames"];
    if same_names(wanted, accepted) && is_true(definition, "NamesAccepted") {
        return definition.clone();
    }
    let mut settled = definition.clone();
    let conflict = claim(&mut settled, others);
    let condition = match &conflict {
        None => ("NamesAccepted", true, "NoConflicts", "no conflicts found"),
        Some((reason, message)) => ("NamesAccepted", false, *reason, message.as_str()),
    };
    let mut all = vec![condition];
    if !is_established(definition) {
        all.push(match conflict {
            None => ("Established", false, "Installing", "the initial names have been accepted"),
            Some(_) => ("Established", false, "NotAccepted", "not all names are accepted"),
        });
    }
    conditions(&mut settled, &all, now);
    settled
}

/// The definition once its resources are served.
pub fn established(definition: &Value, now: &str) -> Value {
    let mut established = definition.clone();
    let condition = ("Established", true, "InitialNamesAccepted", "the initial names have been accepted");
    conditions(&mut established, &[condition], now);
    established
}

/// What a definition says while its objects go.
pub fn terminating(definition: &mut Value, holds: bool, reason: &str, message: &str, now: &str) {
    conditions(definition, &[("Terminating", holds, reason, message)], now);
}

fn same_names(wanted: &Value, accepted: &Value) -> bool {
    ["plural", "singular", "kind", "listKind", "shortNames", "categories"]
        .iter()
        .all(|name| wanted.get(*name) == accepted.get(*name))
}

/// Takes every name that is free; the last conflict.
fn claim(definition: &mut Value, others: &[&Value]) -> Option<(&'static str, String)> {
    let taken = |fields: &[&str]| -> BTreeSet<String> {
        let accepted = others.iter().map(|other| &other["status"]["acceptedNames"]);
        let values = accepted.flat_map(|names| fields.iter().map(move |field| &names[*field]));
        values.flat_map(texts).collect()
    };
    let (resources, kinds) = (taken(&["plural", "singular", "shortNames"]), taken(&["kind", "listKind"]));
    let wanted = definition["spec"]["names"].clone();
    let mut accepted = definition["status"]["acceptedNames"].clone();
    if !accepted.is_object() {
        accepted = json!({"plural": "", "kind": ""});
    }
    let mut conflict = None;
    for (field, reason, used) in [
        ("plural", "PluralConflict", &resources),
        ("singular", "SingularConflict", &resources),
        ("shortNames", "ShortNamesConflict", &resources),
        ("kind", "KindConflict", &kinds),
        ("listKind", "ListKindConflict", &kinds),
    ] {
        let own = texts(&accepted[field]);
        let bad: Vec<String> = texts(&wanted[field])
            .into_iter()
            .filter(|name| !own.contains(name) && used.contains(name))
            .map(|name| format!("{} is already in use", quote(&name)))
            .collect();
        match bad.len() {
            0 => take(&mut accepted, field, wanted.get(field)),
            1 => conflict = Some((reason, bad[0].clone())),
            _ => conflict = Some((reason, format!("[{}]", bad.join(", ")))),
        }
    }
    take(&mut accepted, "categories", wanted.get("categories"));
    definition["status"]["acceptedNames"] = accepted;
    conflict
}

fn take(names: &mut Value, field: &str, value: Option<&Value>) {
    if let Some(names) = names.as_object_mut() {
        match value {
            Some(value) => drop(names.insert(field.into(), value.clone())),
            None => drop(names.shift_remove(field)),
        }
    }
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) if !text.is_empty() => vec![text.clone()],
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}
