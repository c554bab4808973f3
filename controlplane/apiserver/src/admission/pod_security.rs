//! PodSecurity: the three levels of the Pod Security Standards, as a namespace's labels ask for them.
//!
//! `enforce` refuses pods; `warn` tells the client; `audit` annotates the request in the audit. Each by the standards of the
//! version that its label names. Templates of workloads are told about, never refused: their pods will be.
//!
//! Invariant: a version that is not known yet is judged by the newest that is; what cannot be read enforces the strictest.
//! Reference: KEP-2579, its sentences, and the versions of its checks.

mod baseline;
mod containers;
mod restricted;

use api::field::FieldError;
use api::status::{Qualified, Status};
use serde_json::Value;

use super::{Attributes, Operation, name_of};
use crate::registry;
use crate::server::Server;

const PREFIX: &str = "pod-security.kubernetes.io/";
const LATEST: &str = "latest";

/// What one rule says against a pod.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    reason: &'static str,
    detail: String,
}

/// How much a pod may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Level> {
        match text {
            "privileged" => Some(Level::Privileged),
            "baseline" => Some(Level::Baseline),
            "restricted" => Some(Level::Restricted),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }
}

/// A version of the standards: the 25 of `v1.25`, or the latest.
type Minor = u32;
const NEWEST: Minor = Minor::MAX;

/// What a namespace asks for in one mode.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Policy {
    level: Level,
    minor: Minor,
    /// `restricted:v1.25`.
    shown: String,
}

/// The policy of a mode as the labels ask for it.
fn asked(namespace: &Value, mode: &str) -> Policy {
    let labels = &namespace["metadata"]["labels"];
    let label = |name: String| labels[name.as_str()].as_str();
    let level = label(format!("{PREFIX}{mode}")).map_or(Some(Level::Privileged), Level::parse);
    // A label that cannot be read forbids rather than allows, where it enforces.
    let unknown = if mode == "enforce" { Level::Restricted } else { Level::Privileged };
    let level = level.unwrap_or(unknown);
    let version = label(format!("{PREFIX}{mode}-version")).filter(|text| is_version(text)).unwrap_or(LATEST);
    let minor = version.strip_prefix("v1.").and_then(|minor| minor.parse().ok()).unwrap_or(NEWEST);
    Policy { level, minor, shown: format!("{}:{version}", level.as_str()) }
}

impl Policy {
    fn violations(&self, metadata: &Value, spec: &Value) -> Vec<Violation> {
        match self.level {
            Level::Privileged => Vec::new(),
            Level::Baseline => baseline::check(metadata, spec, false, self.minor),
            Level::Restricted => {
                let mut all = baseline::check(metadata, spec, true, self.minor);
                all.extend(restricted::check(spec, self.minor));
                all
            }
        }
    }
}

/// Looks at a pod or at what will make pods.
pub(super) fn check(server: &Server, attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    let kind = attributes.kind;
    if (kind.group, kind.resource) == ("", "namespaces") {
        return namespace(server, attributes, object);
    }
    let Some((metadata, spec)) = pod_of(kind.group, kind.resource, object) else { return Ok(()) };
    let is_pod = (kind.group, kind.resource) == ("", "pods");
    if is_pod && attributes.old.is_some_and(|old| !is_significant(old, object)) {
        return Ok(());
    }
    let namespaces = server.registry.by_resource("", "v1", "namespaces").ok_or_else(Status::no_such_path)?;
    let (_, namespace) = registry::read(server, namespaces, &attributes.request.info.namespace)?;
    let Some(namespace) = namespace else { return Ok(()) };
    let trail = &attributes.request.trail;
    let would = |policy: &Policy| {
        let against = policy.violations(metadata, spec);
        (!against.is_empty())
            .then(|| format!("would violate PodSecurity {:?}: {}", policy.shown, told(&against)))
    };
    if let Some(sentence) = would(&asked(&namespace, "audit")) {
        trail.annotate(&format!("{PREFIX}audit-violations"), || sentence);
    }
    if is_pod {
        let policy = asked(&namespace, "enforce");
        let against = policy.violations(metadata, spec);
        trail.annotate(&format!("{PREFIX}enforce-policy"), || policy.shown.clone());
        if !against.is_empty() {
            let why = format!("violates PodSecurity {:?}: {}", policy.shown, told(&against));
            return Err(Status::forbidden(kind.qualified_resource(), name_of(object), why));
        }
    }
    if let Some(sentence) = would(&asked(&namespace, "warn")) {
        attributes.request.warn(sentence);
    }
    Ok(())
}

/// Metadata and spec of the pods that an object is or makes.
fn pod_of<'a>(group: &str, resource: &str, object: &'a Value) -> Option<(&'a Value, &'a Value)> {
    let template = match (group, resource) {
        ("", "pods") => object,
        ("", "podtemplates") => &object["template"],
        ("batch", "cronjobs") => &object["spec"]["jobTemplate"]["spec"]["template"],
        ("", "replicationcontrollers") | ("apps", _) | ("batch", "jobs") => &object["spec"]["template"],
        _ => return None,
    };
    template["spec"].is_object().then(|| (&template["metadata"], &template["spec"]))
}

/// Whether an update changes something that the levels are about.
fn is_significant(old: &Value, new: &Value) -> bool {
    const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
    old["metadata"]["annotations"][SECCOMP] != new["metadata"]["annotations"][SECCOMP]
        || old["spec"] != new["spec"]
}

/// New labels of a namespace must be readable, and what is there already is told of.
fn namespace(server: &Server, attributes: &Attributes<'_>, namespace: &Value) -> Result<(), Status> {
    let labels = namespace["metadata"]["labels"].as_object().into_iter().flatten();
    let mut errors = Vec::new();
    for (name, value) in labels.filter(|(name, _)| name.starts_with(PREFIX)) {
        let text = value.as_str().unwrap_or_default();
        let field = || format!("metadata.labels[{name}]");
        let unchanged = attributes.old.is_some_and(|old| old["metadata"]["labels"][name.as_str()] == *value);
        let rest = &name[PREFIX.len()..];
        let known = ["enforce", "audit", "warn"];
        if unchanged {
        } else if known.contains(&rest) && Level::parse(text).is_none() {
            errors.push(FieldError::invalid(
                field(),
                text,
                "must be one of privileged, baseline, restricted",
            ));
        } else if known.iter().any(|mode| rest.strip_suffix("-version") == Some(mode)) && !is_version(text) {
            errors.push(FieldError::invalid(field(), text, "must be \"latest\" or \"v1.x\""));
        }
    }
    if !errors.is_empty() {
        return Err(Status::invalid(Qualified { group: "", name: "Namespace" }, name_of(namespace), &errors));
    }
    let policy = asked(namespace, "enforce");
    // What allows as much or more at the same version breaks nothing.
    let stricter = |before: Policy| before.minor != policy.minor || policy.level > before.level;
    let before = attributes.old.map(|old| asked(old, "enforce"));
    if attributes.operation == Operation::Update && before.is_some_and(stricter) {
        warn_of_pods(server, attributes, name_of(namespace), &policy);
    }
    Ok(())
}

fn is_version(text: &str) -> bool {
    let minor = text.strip_prefix("v1.").filter(|minor| !minor.is_empty());
    text == LATEST || minor.is_some_and(|minor| minor.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Says which pods would not be allowed any more.
fn warn_of_pods(server: &Server, attributes: &Attributes<'_>, namespace: &str, policy: &Policy) {
    let Some(pods) = server.caches.named("", "pods") else { return };
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for pod in pods.list(namespace).0 {
        let value = pod.value();
        let against = policy.violations(&value["metadata"], &value["spec"]);
        if against.is_empty() {
            continue;
        }
        let reasons: Vec<&str> = against.iter().map(|violation| violation.reason).collect();
        let reasons = reasons.join(", ");
        match groups.iter_mut().find(|(known, _)| *known == reasons) {
            Some((_, names)) => names.push(pod.name().to_owned()),
            None => groups.push((reasons, vec![pod.name().to_owned()])),
        }
    }
    if groups.is_empty() {
        return;
    }
    let all = format!(
        "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level {:?}",
        policy.shown
    );
    attributes.request.warn(all);
    for (reasons, names) in groups {
        let first = names.first().map_or("", String::as_str);
        attributes.request.warn(match names.len() {
            1 => format!("{first}: {reasons}"),
            2 => format!("{first} (and 1 other pod): {reasons}"),
            many => format!("{first} (and {} other pods): {reasons}", many - 1),
        });
    }
}

fn told(violations: &[Violation]) -> String {
    let one = |violation: &Violation| match violation.detail.as_str() {
        "" => violation.reason.to_owned(),
        detail => format!("{} ({detail})", violation.reason),
    };
    violations.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
