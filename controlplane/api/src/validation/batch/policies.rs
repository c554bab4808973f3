//! What a Job says of failures and of success: `podFailurePolicy`, `successPolicy`, limits per index.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field::Path;
use crate::validation::fields::{Fields, items};
use crate::validation::report::Report;

const INDEXED_PARALLELISM_MAX: i64 = 100_000;
const INDEXED_LIMIT_MAX: i64 = 100_000;
/// More completions than these are only for Jobs whose limits are lower.
const COMPLETIONS_SOFT_LIMIT: i64 = 100_000;
const MANY_COMPLETIONS_LIMIT: i64 = 10_000;
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const PATTERNS_MAX: usize = 20;
const SUCCEEDED_INDEXES_MAX_BYTES: usize = 64 << 10;

pub(super) fn completion_mode(report: &mut Report, spec: &Value, path: &Path) {
    match spec.text("completionMode") {
        "" | "NonIndexed" => {
            for name in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(limit) = spec.number(name) {
                    report.invalid(&path.child(name), limit, "requires indexed completion mode");
                }
            }
        }
        "Indexed" => indexed(report, spec, path),
        other => report.not_supported(&path.child("completionMode"), other, &["NonIndexed", "Indexed"]),
    }
}

fn indexed(report: &mut Report, spec: &Value, path: &Path) {
    let parallelism = spec.number("parallelism").unwrap_or_default();
    let (completions, most) = (spec.number("completions"), spec.number("maxFailedIndexes"));
    let most_path = path.child("maxFailedIndexes");
    if completions.is_none() {
        report.required(&path.child("completions"), "when completion mode is Indexed");
    }
    if parallelism > INDEXED_PARALLELISM_MAX {
        let why = format!(
            "must be less than or equal to {INDEXED_PARALLELISM_MAX} when completion mode is Indexed"
        );
        report.invalid(&path.child("parallelism"), parallelism, why);
    }
    if let (Some(completions), Some(most)) = (completions, most)
        && most > completions
    {
        report.invalid(&most_path, most, "must be less than or equal to completions");
    }
    if let Some(most) = most.filter(|most| *most > INDEXED_LIMIT_MAX) {
        report.invalid(&most_path, most, format!("must be less than or equal to {INDEXED_LIMIT_MAX}"));
    }
    let many = completions.is_some_and(|completions| completions > COMPLETIONS_SOFT_LIMIT);
    if !many || spec.number("backoffLimitPerIndex").is_none() {
        return;
    }
    let why = format!(
        "must be less than or equal to {MANY_COMPLETIONS_LIMIT} when completions are above {COMPLETIONS_SOFT_LIMIT} and used with backoff limit per index"
    );
    if most.is_none() {
        let why = format!("must be specified when completions is above {COMPLETIONS_SOFT_LIMIT}");
        report.required(&most_path, &why);
    }
    if parallelism > MANY_COMPLETIONS_LIMIT {
        report.invalid(&path.child("parallelism"), parallelism, why.clone());
    }
    if let Some(most) = most.filter(|most| *most > MANY_COMPLETIONS_LIMIT) {
        report.invalid(&most_path, most, why);
    }
}

pub(super) fn failure(report: &mut Report, spec: &Value, path: &Path) {
    let policy = &spec["podFailurePolicy"];
    let rules = policy.list("rules").len();
    if rules > RULES_MAX {
        report.too_many(&path.child("rules"), rules, RULES_MAX);
    }
    let pod = &spec["template"]["spec"];
    let containers = pod.list("containers").iter().chain(pod.list("initContainers"));
    let containers = containers.map(|container| container.text("name")).collect();
    for (path, rule) in items(policy, "rules", path) {
        action(report, spec, rule.text("action"), &path.child("action"));
        let (codes, conditions) = (rule.part("onExitCodes"), rule.list("onPodConditions"));
        if let Some(codes) = codes {
            exit_codes(report, &containers, codes, &path.child("onExitCodes"));
        }
        pod_conditions(report, rule, &path);
        let why = match (codes, conditions.is_empty()) {
            (Some(_), false) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (None, true) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        report.invalid_rule(&path, why);
    }
}

fn action(report: &mut Report, spec: &Value, action: &str, path: &Path) {
    let known = &["Count", "FailIndex", "FailJob", "Ignore"];
    if action.is_empty() {
        report.required(path, "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]");
    } else if !known.contains(&action) {
        report.not_supported(path, action, known);
    } else if action == "FailIndex" && spec.number("backoffLimitPerIndex").is_none() {
        report.invalid(path, action, "requires the backoffLimitPerIndex to be set");
    }
}

fn pod_conditions(report: &mut Report, rule: &Value, path: &Path) {
    let many = rule.list("onPodConditions").len();
    if many > PATTERNS_MAX {
        report.too_many(&path.child("onPodConditions"), many, PATTERNS_MAX);
    }
    for (path, pattern) in items(rule, "onPodConditions", path) {
        report.qualified_name(&path.child("type"), pattern.text("type"));
        let (status, path) = (pattern.text("status"), path.child("status"));
        let known = &["False", "True", "Unknown"];
        if status.is_empty() {
            report.required(&path, "valid values: [\"False\" \"True\" \"Unknown\"]");
        } else if !known.contains(&status) {
            report.not_supported(&path, status, known);
        }
    }
}

fn exit_codes(report: &mut Report, containers: &BTreeSet<&str>, codes: &Value, path: &Path) {
    let operator = codes.text("operator");
    match operator {
        "" => report.required(&path.child("operator"), "valid values: [\"In\" \"NotIn\"]"),
        "In" | "NotIn" => {}
        other => report.not_supported(&path.child("operator"), other, &["In", "NotIn"]),
    }
    if let Some(name) = codes.part("containerName").and_then(Value::as_str)
        && !containers.contains(name)
    {
        let why = "must be one of the container or initContainer names in the pod template";
        report.invalid(&path.child("containerName"), name, why);
    }
    let (values, values_path) = (codes.list("values"), path.child("values"));
    if values.is_empty() {
        report.invalid(&values_path, Value::Array(Vec::new()), "at least one value is required");
    } else if values.len() > EXIT_CODES_MAX {
        report.too_many(&values_path, values.len(), EXIT_CODES_MAX);
    }
    let numbers: Vec<i64> = values.iter().map(|value| value.as_i64().unwrap_or_default()).collect();
    let mut seen = BTreeSet::new();
    for (index, number) in numbers.iter().enumerate() {
        let path = values_path.index(index);
        if operator == "In" && *number == 0 {
            report.invalid(&path, *number, "must not be 0 for the In operator");
        }
        if !seen.insert(number) {
            report.duplicate(&path, *number);
        }
    }
    if !numbers.is_sorted() {
        report.invalid(&values_path, numbers, "must be ordered");
    }
}

pub(super) fn success(report: &mut Report, spec: &Value, path: &Path) {
    let policy = &spec["successPolicy"];
    if spec.text("completionMode") != "Indexed" {
        return report.invalid(path, policy.clone(), "requires indexed completion mode");
    }
    let (many, rules_path) = (policy.list("rules").len(), path.child("rules"));
    if many == 0 {
        let why = "at least one rules must be specified when the successPolicy is specified";
        report.required(&rules_path, why);
    } else if many > RULES_MAX {
        report.too_many(&rules_path, many, RULES_MAX);
    }
    let completions = spec.number("completions").unwrap_or_default();
    for (path, rule) in items(policy, "rules", path) {
        let (count, indexes) =
            (rule.number("succeededCount"), rule.part("succeededIndexes").and_then(Value::as_str));
        if count.is_none() && indexes.is_none() {
            report.required(&path, "at least one of succeededCount or succeededIndexes must be specified");
        }
        let mut listed = 0;
        if let Some(indexes) = indexes {
            let path = path.child("succeededIndexes");
            if indexes.len() > SUCCEEDED_INDEXES_MAX_BYTES {
                report.too_long(&path, SUCCEEDED_INDEXES_MAX_BYTES);
            }
            match count_indexes(indexes, completions) {
                Ok(total) => listed = total,
                Err(why) => report.invalid(&path, indexes, format!("error parsing succeededIndexes: {why}")),
            }
        }
        let Some(count) = count else { continue };
        let path = path.child("succeededCount");
        report.non_negative(&path, Some(count));
        let mut bound = |most: i64, of: &str| {
            if count > most {
                report.invalid(
                    &path,
                    count,
                    format!("must be less than or equal to {most} (the number of {of})"),
                );
            }
        };
        bound(completions, "specified completions");
        if indexes.is_some() {
            bound(listed, "indexes in the specified succeededIndexes field");
        }
    }
}

/// How many indexes a text like `0-2,5` names, each below `completions`; why it is none.
pub(super) fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut last) = (0, None);
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, end) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

/// The first and the last index of a part of such a text.
pub(super) fn interval(part: &str, completions: i64) -> Result<(i64, i64), String> {
    let limits: Vec<&str> = part.split('-').collect();
    if limits.len() > 2 {
        return Err(format!(
            "the fragment {part:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let read = |text: &str| {
        let index: i64 =
            text.parse().map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
        if index >= completions { Err(format!("too large index: {text:?}")) } else { Ok(index) }
    };
    let first = read(limits[0])?;
    let Some(last) = limits.get(1) else { return Ok((first, first)) };
    let last = read(last)?;
    if first >= last {
        return Err(format!("non-increasing order, previous: {first}, current: {last}"));
    }
    Ok((first, last))
}
