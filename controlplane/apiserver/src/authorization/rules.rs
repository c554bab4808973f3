//! What is asked, and whether a rule covers it.

use api::path::RequestInfo;
use serde::{Deserialize, Serialize};

/// What a request wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// `get`, `list`, ... or the lower-case HTTP method.
    pub verb: &'a str,
    /// Empty for non-resource requests, and for the core group.
    pub group: &'a str,
    /// Version of the group.
    pub version: &'a str,
    /// Plural.
    pub resource: &'a str,
    /// Below the object.
    pub subresource: &'a str,
    /// Empty: cluster scope or all namespaces.
    pub namespace: &'a str,
    /// Empty: not about one object.
    pub name: &'a str,
    /// Of a non-resource request; empty otherwise.
    pub path: &'a str,
    /// The field selector of a list or watch, as it came; empty otherwise.
    pub fields: &'a str,
}

impl<'a> Attributes<'a> {
    /// What a request asks for.
    pub fn of(info: &'a RequestInfo) -> Attributes<'a> {
        Attributes {
            verb: info.verb.as_str(),
            group: &info.group,
            version: &info.version,
            resource: &info.resource,
            subresource: &info.subresource,
            namespace: &info.namespace,
            name: &info.name,
            path: if info.is_resource_request { "" } else { &info.path },
            fields: info.field_selector.as_deref().unwrap_or_default(),
        }
    }
}

/// A PolicyRule of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// Verbs, or `*`.
    pub verbs: Vec<String>,
    /// Groups, or `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// `pods`, `pods/log`, `*/scale`, or `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Empty: all names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// Paths, `*` at the end for any rest.
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
}

impl Rule {
    /// Whether this rule allows what is asked.
    pub fn allows(&self, asked: &Attributes<'_>) -> bool {
        has(&self.verbs, asked.verb)
            && if asked.path.is_empty() { self.allows_resource(asked) } else { self.allows_path(asked.path) }
    }

    fn allows_resource(&self, asked: &Attributes<'_>) -> bool {
        has(&self.api_groups, asked.group)
            && self.resources.iter().any(|resource| covers(resource, asked))
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == asked.name))
    }

    fn allows_path(&self, path: &str) -> bool {
        self.non_resource_urls.iter().any(|url| match url.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => url == path,
        })
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

fn covers(resource: &str, asked: &Attributes<'_>) -> bool {
    if resource == "*" {
        return true;
    }
    if asked.subresource.is_empty() {
        return resource == asked.resource;
    }
    resource
        .split_once('/')
        .is_some_and(|(main, sub)| sub == asked.subresource && (main == "*" || main == asked.resource))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked<'a>(verb: &'a str, resource: &'a str, subresource: &'a str, name: &'a str) -> Attributes<'a> {
        Attributes {
            verb,
            group: "",
            version: "v1",
            resource,
            subresource,
            namespace: "default",
            name,
            path: "",
            fields: "",
        }
    }

    fn rule(verbs: &[&str], resources: &[&str], names: &[&str]) -> Rule {
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        Rule {
            verbs: list(verbs),
            api_groups: vec![String::new()],
            resources: list(resources),
            resource_names: list(names),
            ..Rule::default()
        }
    }

    #[test]
    fn rules_cover_what_upstream_says_they_cover() {
        for (rule, asked, allowed) in [
            (rule(&["get"], &["pods"], &[]), asked("get", "pods", "", "a"), true),
            (rule(&["get"], &["pods"], &[]), asked("list", "pods", "", ""), false),
            (rule(&["get"], &["pods"], &[]), asked("get", "pods", "log", "a"), false),
            (rule(&["get"], &["pods/log"], &[]), asked("get", "pods", "log", "a"), true),
            (rule(&["get"], &["pods/log"], &[]), asked("get", "pods", "", "a"), false),
            (rule(&["*"], &["*/scale"], &[]), asked("update", "deployments", "scale", "a"), true),
            (rule(&["*"], &["*"], &[]), asked("update", "deployments", "scale", "a"), true),
            (rule(&["get"], &["pods"], &["a"]), asked("get", "pods", "", "a"), true),
            (rule(&["get"], &["pods"], &["a"]), asked("get", "pods", "", "b"), false),
            (rule(&["list"], &["pods"], &["a"]), asked("list", "pods", "", ""), false),
        ] {
            assert_eq!(rule.allows(&asked), allowed, "{rule:?} {asked:?}");
        }
        let urls = Rule {
            verbs: vec!["get".into()],
            non_resource_urls: vec!["/healthz".into(), "/api/*".into()],
            ..Rule::default()
        };
        for (path, allowed) in
            [("/healthz", true), ("/healthz/x", false), ("/api/v1", true), ("/apis", false)]
        {
            let asked = Attributes { path, ..asked("get", "", "", "") };
            assert_eq!(urls.allows(&asked), allowed, "{path}");
        }
        assert!(
            !rule(&["*"], &["*"], &[]).allows(&Attributes { path: "/metrics", ..asked("get", "", "", "") })
        );
    }
}
