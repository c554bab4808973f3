//! Which requests a webhook or policy is about.

use api::kind::Kind;
use serde_json::Value;

use crate::admission::Operation;

/// Rules, of which one has to fit.
#[derive(Debug, Default)]
pub(in crate::admission) struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    /// Of policies alone; empty: all.
    names: Vec<String>,
    scope: String,
}

impl Rules {
    /// Of a configuration.
    pub(in crate::admission) fn read(rules: &Value) -> Rules {
        let texts = |value: &Value| {
            value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let rule = |rule: &Value| Rule {
            operations: texts(&rule["operations"]),
            groups: texts(&rule["apiGroups"]),
            versions: texts(&rule["apiVersions"]),
            resources: texts(&rule["resources"]),
            names: texts(&rule["resourceNames"]),
            scope: rule["scope"].as_str().unwrap_or("*").to_owned(),
        };
        Rules(rules.as_array().into_iter().flatten().map(rule).collect())
    }

    /// Whether one of them fits.
    pub(in crate::admission) fn fit(
        &self,
        operation: Operation,
        kind: &Kind,
        subresource: &str,
        name: &str,
    ) -> bool {
        let named = |rule: &Rule| rule.names.is_empty() || rule.names.iter().any(|known| known == name);
        self.0.iter().any(|rule| named(rule) && rule.fits(operation, kind, subresource))
    }
}

impl Rule {
    fn fits(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        let any = |names: &[String], name: &str| names.iter().any(|known| known == "*" || known == name);
        let scope = match self.scope.as_str() {
            "Namespaced" => kind.namespaced,
            "Cluster" => !kind.namespaced,
            _ => true,
        };
        let resource = self.resources.iter().any(|pattern| {
            let (resource, sub) = pattern.split_once('/').unwrap_or((pattern, ""));
            (resource == "*" || resource == kind.resource) && (sub == "*" || sub == subresource)
        });
        scope
            && resource
            && any(&self.operations, operation.name())
            && any(&self.groups, kind.group)
            && any(&self.versions, kind.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kind::Registry;
    use serde_json::json;

    #[test]
    fn rules_are_upstreams() {
        let registry = Registry::builtin();
        let check = |rule: Value, operation, group: &str, resource: &str, subresource: &str, fits: bool| {
            let kind = registry.by_resource(group, "v1", resource).unwrap();
            assert_eq!(
                Rules::read(&json!([rule])).fit(operation, kind, subresource, ""),
                fits,
                "{rule} {resource}/{subresource}"
            );
        };
        let rule = |resources: &[&str]| json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["*"], "resources": resources});
        check(rule(&["pods"]), Operation::Create, "", "pods", "", true);
        check(rule(&["pods"]), Operation::Update, "", "pods", "", false);
        check(rule(&["pods"]), Operation::Create, "", "pods", "binding", false);
        check(rule(&["pods/*"]), Operation::Create, "", "pods", "binding", true);
        check(rule(&["*"]), Operation::Create, "", "pods", "binding", false);
        check(rule(&["*/*"]), Operation::Create, "", "pods", "binding", true);
        check(rule(&["*"]), Operation::Create, "apps", "deployments", "", false);
        let mut scoped = rule(&["*"]);
        scoped["scope"] = "Cluster".into();
        check(scoped.clone(), Operation::Create, "", "pods", "", false);
        check(scoped, Operation::Create, "", "nodes", "", true);
    }
}
