//! FlowSchemas and PriorityLevelConfigurations: who is served how, when there is too much to do.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::fields::{Fields, items};
use super::report::Report;
use crate::field::Path;
use crate::names;

const PRECEDENCE_MAX: i64 = 10_000;
const QUEUES_MAX: i64 = 10_000_000;
/// Bits of a hash that choosing a hand of queues may use up.
const ENTROPY_MAX: i64 = 60;
const VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
/// Kinds of subjects, each with the field that tells of it.
const SUBJECTS: &[(&str, &str)] =
    &[("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];

pub(super) fn flow_schema(report: &mut Report, schema: &Value) {
    let (spec, path) = (&schema["spec"], Path::new("spec"));
    let name = schema["metadata"].text("name");
    let (precedence, at) =
        (spec.number("matchingPrecedence").unwrap_or_default(), path.child("matchingPrecedence"));
    if precedence <= 0 {
        report.invalid(&at, precedence, "must be a positive value");
    }
    if precedence > PRECEDENCE_MAX {
        report.invalid(&at, precedence, format!("must not be greater than {PRECEDENCE_MAX}"));
    }
    if precedence == 1 && name != "exempt" {
        let why = "only the schema named 'exempt' may have matchingPrecedence 1";
        report.invalid(&at, precedence, why);
    }
    if let Some(method) = spec.part("distinguisherMethod") {
        let known = &["ByNamespace", "ByUser"];
        if !known.contains(&method.text("type")) {
            let at = path.child("distinguisherMethod").child("type");
            report.not_supported(&at, method.clone(), known);
        }
    }
    let at = path.child("priorityLevelConfiguration").child("name");
    match spec["priorityLevelConfiguration"].text("name") {
        "" => report.required(&at, "must reference a priority level"),
        level => report.dns_subdomain(&at, level),
    }
    for (path, rule) in items(spec, "rules", &path) {
        self::rule(report, rule, &path);
    }
    if mandatory_schema(name).is_some_and(|fixed| fixed != *spec) {
        report.invalid(&path, spec.clone(), format!("spec of '{name}' must equal the fixed value"));
    }
}

fn rule(report: &mut Report, rule: &Value, path: &Path) {
    if rule.list("subjects").is_empty() {
        report.required(&path.child("subjects"), "subjects must contain at least one value");
    }
    for (path, subject) in items(rule, "subjects", path) {
        self::subject(report, subject, &path);
    }
    if rule.list("resourceRules").is_empty() && rule.list("nonResourceRules").is_empty() {
        let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
        report.required(path, why);
    }
    for (path, rule) in items(rule, "resourceRules", path) {
        resource_rule(report, rule, &path);
    }
    for (path, rule) in items(rule, "nonResourceRules", path) {
        verbs(report, rule, &path);
        let at = path.child("nonResourceURLs");
        let why = "nonResourceURLs must contain at least one value";
        if named(report, rule, "nonResourceURLs", why, "non-resource URLs", &path) {
            for (index, url) in rule.texts("nonResourceURLs").enumerate() {
                self::url(report, url, &at.index(index));
            }
        }
    }
}

fn subject(report: &mut Report, subject: &Value, path: &Path) {
    let kind = subject.text("kind");
    let Some((_, own)) = SUBJECTS.iter().find(|(known, _)| *known == kind) else {
        return report.not_supported(&path.child("kind"), kind, &["Group", "ServiceAccount", "User"]);
    };
    let at = path.child(own);
    match subject.part(own) {
        None => report.required(&at, &format!("{own} is required when subject kind is '{kind}'")),
        Some(who) => {
            match who.text("name") {
                "" => report.required(&at.child("name"), ""),
                name if kind == "ServiceAccount" && name != "*" => {
                    report.dns_subdomain(&at.child("name"), name);
                }
                _ => {}
            }
            match who.text("namespace") {
                _ if kind != "ServiceAccount" => {}
                "" => {
                    report.required(&at.child("namespace"), "must specify namespace for service account");
                }
                namespace => report.dns_label(&at.child("namespace"), namespace),
            }
        }
    }
    for (other, field) in SUBJECTS.iter().filter(|(other, _)| *other != kind) {
        if subject.part(field).is_some() {
            let why = format!("{field} is forbidden when subject kind is not '{other}'");
            report.forbidden(&path.child(field), why);
        }
    }
}

/// A list that is not empty; whether its members are to be looked at, because none is a star.
fn named(report: &mut Report, rule: &Value, list: &str, none: &str, what: &str, path: &Path) -> bool {
    let (count, path) = (rule.list(list).len(), path.child(list));
    let star = rule.texts(list).any(|text| text == "*");
    if count == 0 {
        report.required(&path, none);
    } else if star && count > 1 {
        let why = format!("if '*' is present, must not specify other {what}");
        report.invalid(&path, rule[list].clone(), why);
    }
    !star
}

fn verbs(report: &mut Report, rule: &Value, path: &Path) {
    let known = named(report, rule, "verbs", "verbs must contain at least one value", "verbs", path);
    if known && rule.texts("verbs").any(|verb| !VERBS.contains(&verb)) {
        report.not_supported(&path.child("verbs"), rule["verbs"].clone(), VERBS);
    }
}

fn resource_rule(report: &mut Report, rule: &Value, path: &Path) {
    verbs(report, rule, path);
    let why = "resource rules must supply at least one api group";
    named(report, rule, "apiGroups", why, "api groups", path);
    let why = "resource rules must supply at least one resource";
    named(report, rule, "resources", why, "resources", path);
    if rule.list("namespaces").is_empty() && rule.flag("clusterScope") {
        return;
    }
    let why = "resource rules that are not cluster scoped must supply at least one namespace";
    if named(report, rule, "namespaces", why, "namespaces", path) {
        for (index, namespace) in rule.texts("namespaces").enumerate() {
            for why in names::dns_label(namespace) {
                let why = format!("each member of this list must be '*' or a DNS-1123 label; {why}");
                report.invalid(&path.child("namespaces").index(index), namespace, why);
            }
        }
    }
}

fn url(report: &mut Report, url: &str, path: &Path) {
    let stars = url.matches('*').count();
    let why = match url {
        "" => "must not be empty",
        "/" => return,
        url if !url.starts_with('/') => "must start with slash",
        url if url.contains(' ') => "must not contain white-space",
        url if url.contains("//") => "must not contain double slash",
        url if stars > 1 || (stars == 1 && !url.ends_with("/*")) => "wildcard can only do suffix matching",
        _ => return,
    };
    report.invalid(path, url, why);
}

pub(super) fn priority_level(report: &mut Report, level: &Value) {
    let (spec, path) = (&level["spec"], Path::new("spec"));
    let (name, kind) = (level["metadata"].text("name"), spec.text("type"));
    if (name == "exempt") != (kind == "Exempt") {
        let why = "must be 'Exempt' if and only if `name` is 'exempt'";
        report.invalid(&path.child("type"), kind, why);
    }
    let (exempt, limited) = (spec.part("exempt"), spec.part("limited"));
    match kind {
        "Exempt" => {
            if limited.is_some() {
                report.forbidden(&path.child("limited"), "must be nil if the type is not Limited");
            }
            if let Some(exempt) = exempt {
                shares(report, exempt, &path.child("exempt"));
            }
        }
        "Limited" => {
            if exempt.is_some() {
                report.forbidden(&path.child("exempt"), "must be nil if the type is Limited");
            }
            match limited {
                None => report.required(&path.child("limited"), "must not be empty when type is Limited"),
                Some(limited) => self::limited(report, limited, &path.child("limited")),
            }
        }
        other => report.not_supported(&path.child("type"), other, &["Exempt", "Limited"]),
    }
    fixed_level(report, name, spec, &path);
}

fn shares(report: &mut Report, of: &Value, path: &Path) {
    if let Some(shares) = of.number("nominalConcurrencyShares").filter(|shares| *shares < 0) {
        report.invalid(&path.child("nominalConcurrencyShares"), shares, "must be a non-negative integer");
    }
    if let Some(percent) = of.number("borrowingLimitPercent").filter(|percent| *percent < 0) {
        let why = "if specified, must be a non-negative integer";
        report.invalid(&path.child("borrowingLimitPercent"), percent, why);
    }
    if let Some(percent) = of.number("lendablePercent") {
        report.in_range(&path.child("lendablePercent"), percent, 0, 100);
    }
}

fn limited(report: &mut Report, limited: &Value, path: &Path) {
    shares(report, limited, path);
    let (response, path) = (&limited["limitResponse"], path.child("limitResponse"));
    let (queuing, at) = (response.part("queuing"), path.child("queuing"));
    match (response.text("type"), queuing) {
        ("Reject", Some(_)) => {
            report.forbidden(&at, "must be nil if limited.limitResponse.type is not Limited");
        }
        ("Queue", None) => report.required(&at, "must not be empty if limited.limitResponse.type is Limited"),
        ("Queue", Some(queuing)) => queues(report, queuing, &at),
        ("Reject", None) => {}
        (other, _) => report.not_supported(&path.child("type"), other, &["Queue", "Reject"]),
    }
}

fn queues(report: &mut Report, queuing: &Value, path: &Path) {
    const POSITIVE: &str = "must be positive";
    let number = |name: &str| queuing.number(name).unwrap_or_default();
    let (length, queues, hand) = (number("queueLengthLimit"), number("queues"), number("handSize"));
    if length <= 0 {
        report.invalid(&path.child("queueLengthLimit"), length, POSITIVE);
    }
    if queues <= 0 {
        report.invalid(&path.child("queues"), queues, POSITIVE);
    } else if queues > QUEUES_MAX {
        report.invalid(&path.child("queues"), queues, format!("must not be greater than {QUEUES_MAX}"));
    }
    let at = path.child("handSize");
    if hand <= 0 {
        report.invalid(&at, hand, POSITIVE);
    } else if hand > queues {
        report.invalid(&at, hand, format!("should not be greater than queues ({queues})"));
    } else if ((queues as f64).log2() * hand as f64).ceil() as i64 > ENTROPY_MAX {
        let why = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {ENTROPY_MAX}"
        );
        report.invalid(&at, hand, why);
    }
}

/// The two levels without which nothing could be served.
fn fixed_level(report: &mut Report, name: &str, spec: &Value, path: &Path) {
    match name {
        "exempt" if spec.text("type") != "Exempt" || spec.part("limited").is_some() => {
            let why = "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value";
            report.invalid(path, spec.clone(), why);
        }
        "catch-all" => {
            let fixed = json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 5, "lendablePercent": 0,
                "limitResponse": {"type": "Reject"}}});
            if *spec != fixed {
                report.invalid(path, spec.clone(), "spec of 'catch-all' must equal the fixed value");
            }
        }
        _ => {}
    }
}

/// The two schemas that every cluster has.
fn mandatory_schema(name: &str) -> Option<Value> {
    let group = |name: &str| json!({"kind": "Group", "group": {"name": name}});
    let (precedence, subjects) = match name {
        "exempt" => (1, vec![group("system:masters")]),
        "catch-all" => (PRECEDENCE_MAX, vec![group("system:unauthenticated"), group("system:authenticated")]),
        _ => return None,
    };
    let mut spec = json!({"priorityLevelConfiguration": {"name": name}, "matchingPrecedence": precedence,
        "rules": [{"subjects": subjects,
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true,
                "namespaces": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]});
    if name == "catch-all" {
        spec["distinguisherMethod"] = json!({"type": "ByUser"});
    }
    Some(spec)
}

/// Status of either kind.
pub(super) fn status(report: &mut Report, object: &Value) {
    let mut seen = HashSet::new();
    for (path, condition) in items(&object["status"], "conditions", &Path::new("status")) {
        let (kind, at) = (condition.text("type"), path.child("type"));
        if !seen.insert(kind) {
            report.duplicate(&at, kind);
        }
        if kind.is_empty() {
            report.required(&at, "");
        }
    }
}
