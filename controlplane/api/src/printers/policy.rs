//! Budgets, quotas, autoscalers, classes of priority and runtime, priority and fairness.

use serde_json::{Value, json};

use super::{AGE, Column, NAME, age, flag, list, name, number, or, text};

/// Targets that one cell names.
const MOST_TARGETS: usize = 2;

pub(super) const BUDGET: &[Column] =
    &[NAME, text("Min Available"), text("Max Unavailable"), number("Allowed Disruptions"), AGE];

pub(super) fn budget(budget: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let bound = |field: &str| match &budget["spec"][field] {
        Value::String(percent) => percent.clone().into(),
        Value::Number(number) => number.to_string().into(),
        _ => Value::from("N/A"),
    };
    vec![
        name(budget),
        bound("minAvailable"),
        bound("maxUnavailable"),
        budget["status"]["disruptionsAllowed"].as_i64().unwrap_or(0).into(),
        age(budget, now),
    ]
}

pub(super) const QUOTA: &[Column] = &[NAME, text("Request"), text("Limit"), AGE];

pub(super) fn quota(quota: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let status = &quota["status"];
    let mut hard: Vec<(&String, &Value)> = status["hard"].as_object().into_iter().flatten().collect();
    hard.sort_unstable_by_key(|(resource, _)| *resource);
    let part = |limits: bool| {
        let shown: Vec<String> = hard
            .iter()
            .filter(|(resource, _)| resource.starts_with("limits.") == limits)
            .map(|(resource, most)| {
                let used = status["used"][resource.as_str()].as_str().unwrap_or("0");
                format!("{resource}: {used}/{}", most.as_str().unwrap_or_default())
            })
            .collect();
        Value::from(shown.join(", "))
    };
    vec![name(quota), part(false), part(true), age(quota, now)]
}

pub(super) const AUTOSCALER: &[Column] =
    &[NAME, text("Reference"), text("Targets"), text("MinPods"), text("MaxPods"), text("Replicas"), AGE];

/// In the stored form, which is v2.
pub(super) fn autoscaler(autoscaler: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let (spec, status) = (&autoscaler["spec"], &autoscaler["status"]);
    let target = &spec["scaleTargetRef"];
    let reference = format!(
        "{}/{}",
        target["kind"].as_str().unwrap_or_default(),
        target["name"].as_str().unwrap_or_default()
    );
    vec![
        name(autoscaler),
        reference.into(),
        targets(spec, status).into(),
        spec["minReplicas"].as_i64().map_or_else(|| "<unset>".to_owned(), |n| n.to_string()).into(),
        spec["maxReplicas"].as_i64().unwrap_or(0).to_string().into(),
        status["currentReplicas"].as_i64().unwrap_or(0).into(),
        age(autoscaler, now),
    ]
}

fn targets(spec: &Value, status: &Value) -> String {
    let all: Vec<&Value> = list(spec, "metrics").collect();
    if all.is_empty() {
        return "<none>".into();
    }
    let current: Vec<&Value> = list(status, "currentMetrics").collect();
    let shown: Vec<String> = all
        .iter()
        .take(MOST_TARGETS)
        .enumerate()
        .map(|(at, metric)| self::target(metric, current.get(at)))
        .collect();
    match all.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} + {more} more...", shown.join(", ")),
    }
}

fn target(metric: &Value, current: Option<&&Value>) -> String {
    let (part, label) = match metric["type"].as_str() {
        Some("Resource") => ("resource", metric["resource"]["name"].as_str()),
        Some("ContainerResource") => ("containerResource", metric["containerResource"]["name"].as_str()),
        Some("Pods") => ("pods", None),
        Some("Object") => ("object", None),
        Some("External") => ("external", None),
        _ => return "<unknown type>".into(),
    };
    let wanted = &metric[part]["target"];
    let is = current.map(|current| &current[part]["current"]).unwrap_or(&Value::Null);
    let shown = if let Some(percent) = wanted["averageUtilization"].as_i64() {
        let now =
            is["averageUtilization"].as_i64().map_or_else(|| "<unknown>".to_owned(), |n| format!("{n}%"));
        format!("{now}/{percent}%")
    } else if let Some(average) = wanted["averageValue"].as_str() {
        let suffix = if matches!(part, "object" | "external") { " (avg)" } else { "" };
        format!("{}/{average}{suffix}", is["averageValue"].as_str().unwrap_or("<unknown>"))
    } else {
        format!(
            "{}/{}",
            is["value"].as_str().unwrap_or("<unknown>"),
            wanted["value"].as_str().unwrap_or("<auto>")
        )
    };
    label.map_or(shown.clone(), |label| format!("{label}: {shown}"))
}

pub(super) const PRIORITY_CLASS: &[Column] =
    &[NAME, number("Value"), flag("Global-Default"), AGE, text("PreemptionPolicy")];

pub(super) fn priority_class(class: &Value, now: jiff::Timestamp) -> Vec<Value> {
    vec![
        name(class),
        class["value"].as_i64().unwrap_or(0).into(),
        class["globalDefault"].as_bool().unwrap_or(false).into(),
        age(class, now),
        or(&class["preemptionPolicy"], ""),
    ]
}

pub(super) const RUNTIME_CLASS: &[Column] = &[NAME, text("Handler"), AGE];

pub(super) fn runtime_class(class: &Value, now: jiff::Timestamp) -> Vec<Value> {
    vec![name(class), or(&class["handler"], ""), age(class, now)]
}

pub(super) const FLOW_SCHEMA: &[Column] = &[
    NAME,
    text("PriorityLevel"),
    text("MatchingPrecedence"),
    text("DistinguisherMethod"),
    AGE,
    text("MissingPL"),
];

pub(super) fn flow_schema(schema: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let spec = &schema["spec"];
    let dangling = list(&schema["status"], "conditions").find(|c| c["type"] == "Dangling");
    vec![
        name(schema),
        or(&spec["priorityLevelConfiguration"]["name"], ""),
        spec["matchingPrecedence"].as_i64().unwrap_or(0).into(),
        or(&spec["distinguisherMethod"]["type"], "<none>"),
        age(schema, now),
        or(dangling.map_or(&Value::Null, |c| &c["status"]), "?"),
    ]
}

pub(super) const PRIORITY_LEVEL: &[Column] = &[
    NAME,
    text("Type"),
    text("NominalConcurrencyShares"),
    text("Queues"),
    text("HandSize"),
    text("QueueLengthLimit"),
    AGE,
];

pub(super) fn priority_level(level: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let spec = &level["spec"];
    let limited = &spec["limited"];
    let queuing = &limited["limitResponse"]["queuing"];
    let shown = |value: &Value| match value.as_i64() {
        Some(number) => json!(number),
        None => "<none>".into(),
    };
    vec![
        name(level),
        or(&spec["type"], ""),
        shown(&limited["nominalConcurrencyShares"]),
        shown(&queuing["queues"]),
        shown(&queuing["handSize"]),
        shown(&queuing["queueLengthLimit"]),
        age(level, now),
    ]
}
