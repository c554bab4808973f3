//! A FlowSchema: which requests are meant, and what tells their flows apart.

use api::path::RequestInfo;
use serde::Deserialize;
use serde_json::Value;

use crate::user::User;

/// A schema, compiled.
#[derive(Debug)]
pub(super) struct FlowSchema {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) precedence: i64,
    /// The name of its level.
    pub(super) level: String,
    distinguisher: String,
    rules: Vec<Rule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    subjects: Vec<Subject>,
    resource_rules: Vec<Resources>,
    non_resource_rules: Vec<Urls>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Subject {
    kind: String,
    user: Named,
    group: Named,
    service_account: Named,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
    namespace: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Resources {
    verbs: Vec<String>,
    api_groups: Vec<String>,
    resources: Vec<String>,
    cluster_scope: bool,
    namespaces: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Urls {
    verbs: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    urls: Vec<String>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Whether a list names something, or everything.
fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

impl FlowSchema {
    pub(super) fn new(object: &Value) -> FlowSchema {
        let spec = &object["spec"];
        FlowSchema {
            name: text(&object["metadata"]["name"]),
            uid: text(&object["metadata"]["uid"]),
            precedence: spec["matchingPrecedence"].as_i64().unwrap_or(1000),
            level: text(&spec["priorityLevelConfiguration"]["name"]),
            distinguisher: text(&spec["distinguisherMethod"]["type"]),
            rules: Vec::deserialize(&spec["rules"]).unwrap_or_default(),
        }
    }

    pub(super) fn matches(&self, user: &User, info: &RequestInfo) -> bool {
        self.rules.iter().any(|rule| {
            let wanted = if info.is_resource_request {
                rule.resource_rules.iter().any(|resources| resources.matches(info))
            } else {
                rule.non_resource_rules.iter().any(|urls| urls.matches(info))
            };
            wanted && rule.subjects.iter().any(|subject| subject.is(user))
        })
    }

    /// The flow of a request within its level.
    pub(super) fn flow(&self, user: &User, info: &RequestInfo) -> String {
        let distinguished = match self.distinguisher.as_str() {
            "ByUser" => &user.name,
            "ByNamespace" => &info.namespace,
            _ => "",
        };
        format!("{}/{distinguished}", self.name)
    }
}

impl Subject {
    fn is(&self, user: &User) -> bool {
        match self.kind.as_str() {
            "User" => self.user.name == "*" || self.user.name == user.name,
            "Group" => self.group.name == "*" || user.is_in(&self.group.name),
            "ServiceAccount" => {
                let account =
                    user.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
                let wanted = &self.service_account;
                account.is_some_and(|(namespace, name)| {
                    namespace == wanted.namespace && (wanted.name == "*" || wanted.name == name)
                })
            }
            _ => false,
        }
    }
}

impl Resources {
    fn matches(&self, info: &RequestInfo) -> bool {
        let resource = match info.subresource.is_empty() {
            true => info.resource.clone(),
            false => format!("{}/{}", info.resource, info.subresource),
        };
        let place = if info.namespace.is_empty() {
            self.cluster_scope
        } else {
            has(&self.namespaces, &info.namespace)
        };
        place
            && has(&self.verbs, info.verb.as_str())
            && has(&self.api_groups, &info.group)
            && has(&self.resources, &resource)
    }
}

impl Urls {
    fn matches(&self, info: &RequestInfo) -> bool {
        let covers = |url: &String| match url.strip_suffix('*') {
            Some(begin) => info.path.starts_with(begin),
            None => *url == info.path,
        };
        has(&self.verbs, info.verb.as_str()) && self.urls.iter().any(covers)
    }
}
