//! The audit policy (audit.k8s.io/v1, Policy): the first rule that matches a request says what is told of it.

use api::path::RequestInfo;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::configuration_file::{ConfigurationError, invalid, read};
use crate::user::User;

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    None,
    /// Who, what, and how it ended.
    Metadata,
    /// And what was sent.
    Request,
    /// And what was answered.
    RequestResponse,
}

/// When it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Before anything is done.
    RequestReceived,
    /// A stream begins.
    ResponseStarted,
    /// It is over.
    ResponseComplete,
    /// The handler broke.
    Panic,
}

impl Level {
    /// As events spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::None => "None",
            Level::Metadata => "Metadata",
            Level::Request => "Request",
            Level::RequestResponse => "RequestResponse",
        }
    }
}

impl Stage {
    /// As events spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::RequestReceived => "RequestReceived",
            Stage::ResponseStarted => "ResponseStarted",
            Stage::ResponseComplete => "ResponseComplete",
            Stage::Panic => "Panic",
        }
    }
}

const LEVELS: [Level; 4] = [Level::None, Level::Metadata, Level::Request, Level::RequestResponse];
const STAGES: [Stage; 4] =
    [Stage::RequestReceived, Stage::ResponseStarted, Stage::ResponseComplete, Stage::Panic];

/// A policy.
#[derive(Debug)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// What a policy says of a request.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// How much is told.
    pub level: Level,
    /// When nothing is told.
    pub omitted: Vec<Stage>,
    /// Whether objects are told without managedFields.
    pub omit_managed_fields: bool,
}

#[derive(Debug)]
struct Rule {
    verdict: Verdict,
    of: Row,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    #[serde(default, rename = "metadata")]
    _metadata: IgnoredAny,
    #[serde(default)]
    rules: Vec<Row>,
    #[serde(default)]
    omit_stages: Vec<String>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Row {
    level: String,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<Resources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Resources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

impl Policy {
    /// Reads a policy.
    pub fn parse(text: &str) -> Result<Policy, ConfigurationError> {
        let file: File = read(text, "audit.k8s.io/v1", "Policy")?;
        if file.rules.is_empty() {
            return Err(ConfigurationError::Unusable("loaded illegal policy with 0 rules"));
        }
        let everywhere = stages("omitStages", &file.omit_stages)?;
        let rules = file.rules.into_iter().enumerate().map(|(position, row)| {
            let at = format!("rules[{position}]");
            check(&at, &row)?;
            let mut omitted = stages(&format!("{at}.omitStages"), &row.omit_stages)?;
            omitted.extend(&everywhere);
            let omit_managed_fields = row.omit_managed_fields.unwrap_or(file.omit_managed_fields);
            let verdict = Verdict { level: level(&at, &row.level)?, omitted, omit_managed_fields };
            Ok(Rule { verdict, of: row })
        });
        Ok(Policy { rules: rules.collect::<Result<_, _>>()? })
    }

    /// What is told of a request.
    pub fn judge(&self, user: &User, info: &RequestInfo) -> Verdict {
        let matching = self.rules.iter().find(|rule| rule.of.matches(user, info));
        let nothing = || Verdict { level: Level::None, omitted: Vec::new(), omit_managed_fields: false };
        matching.map_or_else(nothing, |rule| rule.verdict.clone())
    }
}

impl Row {
    fn matches(&self, user: &User, info: &RequestInfo) -> bool {
        let any = |list: &[String], found: &str| list.is_empty() || list.iter().any(|item| item == found);
        if !any(&self.users, &user.name)
            || !any(&self.verbs, info.verb.as_str())
            || !(self.user_groups.is_empty() || self.user_groups.iter().any(|group| user.is_in(group)))
        {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return info.is_resource_request
                && any(&self.namespaces, &info.namespace)
                && (self.resources.is_empty()
                    || self.resources.iter().any(|resources| resources.matches(info)));
        }
        if !self.non_resource_urls.is_empty() {
            return !info.is_resource_request
                && self.non_resource_urls.iter().any(|url| covers(url, &info.path));
        }
        true
    }
}

impl Resources {
    fn matches(&self, info: &RequestInfo) -> bool {
        if self.group != info.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !self.resource_names.is_empty() && !self.resource_names.contains(&info.name) {
            return false;
        }
        let whole = |wanted: &str| match wanted.split_once('/') {
            None => info.subresource.is_empty() && wanted == info.resource,
            Some(("*", sub)) => !info.subresource.is_empty() && sub == info.subresource,
            Some((resource, "*")) => resource == info.resource,
            Some((resource, sub)) => resource == info.resource && sub == info.subresource,
        };
        self.resources.iter().any(|wanted| wanted == "*" || whole(wanted))
    }
}

fn covers(url: &str, path: &str) -> bool {
    match url.strip_suffix('*') {
        Some(begin) => path.starts_with(begin),
        None => url == path,
    }
}

fn level(at: &str, text: &str) -> Result<Level, ConfigurationError> {
    let at = format!("{at}.level");
    if text.is_empty() {
        return Err(invalid(at, "Required value"));
    }
    let known = LEVELS.into_iter().find(|level| level.as_str() == text);
    let why = || {
        format!(
            "Unsupported value: {text:?}: supported values: \"None\", \"Metadata\", \"Request\", \"RequestResponse\""
        )
    };
    known.ok_or_else(|| invalid(at, why()))
}

fn stages(at: &str, texts: &[String]) -> Result<Vec<Stage>, ConfigurationError> {
    let read = |(position, text): (usize, &String)| {
        let known = STAGES.into_iter().find(|stage| stage.as_str() == text);
        let why = || {
            format!(
                "Invalid value: {text:?}: allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic"
            )
        };
        known.ok_or_else(|| invalid(format!("{at}[{position}]"), why()))
    };
    texts.iter().enumerate().map(read).collect()
}

fn check(at: &str, row: &Row) -> Result<(), ConfigurationError> {
    for (position, url) in row.non_resource_urls.iter().enumerate() {
        let at = format!("{at}.nonResourceURLs[{position}]");
        if url != "*" && !url.starts_with('/') {
            let why =
                format!("Invalid value: {url:?}: non-resource URL rules must begin with a '/' character");
            return Err(invalid(at, why));
        }
        if url.strip_suffix('*').unwrap_or(url).contains('*') {
            let why = format!(
                "Invalid value: {url:?}: non-resource URL wildcards '*' must be the final character of the rule"
            );
            return Err(invalid(at, why));
        }
    }
    for (position, resources) in row.resources.iter().enumerate() {
        if !resources.resource_names.is_empty() && resources.resources.is_empty() {
            let why = "Invalid value: using resourceNames requires at least one resource";
            return Err(invalid(format!("{at}.resources[{position}].resourceNames"), why));
        }
    }
    if !row.non_resource_urls.is_empty() && (!row.resources.is_empty() || !row.namespaces.is_empty()) {
        let why = "Invalid value: rules cannot apply to both regular resources and non-resource URLs";
        return Err(invalid(format!("{at}.nonResourceURLs"), why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::path::Query;

    fn parse(rules: &str) -> Result<Policy, ConfigurationError> {
        Policy::parse(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}"))
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let policy = parse(concat!(
            "omitStages: [RequestReceived]\nomitManagedFields: true\nrules:\n",
            "- {level: None, users: ['system:kube-proxy'], verbs: [watch]}\n",
            "- {level: None, nonResourceURLs: ['/healthz*', /version]}\n",
            "- {level: Metadata, userGroups: ['system:nodes'], resources: [{group: '', resources: ['pods/*', '*/status']}]}\n",
            "- {level: Request, resources: [{group: '', resources: [configmaps], resourceNames: [c]}], namespaces: [kube-system], omitManagedFields: false}\n",
            "- {level: RequestResponse, resources: [{group: apps}], omitStages: [Panic]}\n",
            "- {level: Metadata, verbs: [get], resources: [{group: '', resources: [pods]}]}\n",
        ))
        .unwrap();
        for (user, method, path, level) in [
            ("system:kube-proxy", "GET", "/api/v1/services?watch=1", Level::None),
            ("a", "GET", "/api/v1/services?watch=1", Level::None),
            ("a", "GET", "/healthz/ping", Level::None),
            ("node", "GET", "/api/v1/namespaces/x/pods/p/log", Level::Metadata),
            ("node", "PUT", "/api/v1/nodes/n/status", Level::Metadata),
            ("a", "PUT", "/api/v1/nodes/n/status", Level::None),
            ("a", "PUT", "/api/v1/namespaces/kube-system/configmaps/c", Level::Request),
            ("a", "PUT", "/api/v1/namespaces/kube-system/configmaps/d", Level::None),
            ("a", "PUT", "/api/v1/namespaces/x/configmaps/c", Level::None),
            ("a", "POST", "/apis/apps/v1/namespaces/x/deployments", Level::RequestResponse),
            ("a", "GET", "/api/v1/namespaces/x/pods/p", Level::Metadata),
            ("a", "GET", "/api/v1/namespaces/x/pods/p/status", Level::None),
        ] {
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let info = RequestInfo::parse(method, path, &Query::parse(query)).unwrap();
            let groups = if user == "node" { vec!["system:nodes".into()] } else { Vec::new() };
            let user = User { name: user.into(), groups, ..User::default() };
            let verdict = policy.judge(&user, &info);
            assert_eq!(verdict.level, level, "{method} {path}");
            let omits = matches!(level, Level::Metadata | Level::RequestResponse);
            assert!(level == Level::None || verdict.omit_managed_fields == omits, "{method} {path}");
            assert!(level == Level::None || verdict.omitted.contains(&Stage::RequestReceived));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (rules, said) in [
            ("rules: []", "loaded illegal policy with 0 rules"),
            ("rules: [{}]", "rules[0].level: Required value"),
            ("rules: [{level: Everything}]", "rules[0].level: Unsupported value: \"Everything\""),
            (
                "rules: [{level: None}, {level: None, omitStages: [x]}]",
                "rules[1].omitStages[0]: Invalid value: \"x\"",
            ),
            (
                "rules: [{level: None, nonResourceURLs: [a]}]",
                "rules[0].nonResourceURLs[0]: Invalid value: \"a\"",
            ),
            ("rules: [{level: None, nonResourceURLs: ['/*/a']}]", "must be the final character"),
            ("rules: [{level: None, nonResourceURLs: [/a], namespaces: [b]}]", "rules cannot apply to both"),
            (
                "rules: [{level: None, resources: [{resourceNames: [a]}]}]",
                "using resourceNames requires at least one resource",
            ),
            ("rules: [{level: None, user: [a]}]", "user"),
        ] {
            let error = parse(rules).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let error = Policy::parse("apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"audit.k8s.io/v1beta1, Kind=Policy\" is not audit.k8s.io/v1, Kind=Policy"
        );
    }
}
