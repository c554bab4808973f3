//! All roles and bindings in a form that answers quickly.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use store::Revision;

use super::rules::{Attributes, Rule};
use crate::cache::{Caches, KindCache};
use crate::user::User;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Whom a binding is about.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Subject {
    /// `User`, `Group` or `ServiceAccount`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Of a ServiceAccount.
    #[serde(default)]
    pub namespace: String,
}

#[derive(Debug)]
struct Binding {
    /// Empty: cluster-wide.
    namespace: String,
    subjects: Vec<Subject>,
    rules: Vec<Rule>,
    /// For the reason: the binding and its role as upstream prints them.
    shown: String,
}

/// Every binding with the rules of its role.
#[derive(Debug, Default)]
pub struct Policy {
    bindings: Vec<Binding>,
}

impl Policy {
    /// The latest revision of a role or binding.
    pub fn latest(caches: &Caches) -> Revision {
        let resources = ["clusterroles", "roles", "clusterrolebindings", "rolebindings"];
        resources
            .iter()
            .filter_map(|resource| cache(caches, resource))
            .map(|cache| *cache.latest().borrow())
            .max()
            .unwrap_or_default()
    }

    /// Resolves each binding's role. A binding without its role gives nothing.
    pub fn compile(caches: &Caches) -> Policy {
        let mut roles: HashMap<(String, String), Vec<Rule>> = HashMap::new();
        for resource in ["clusterroles", "roles"] {
            for object in objects(caches, resource) {
                let rules = Vec::<Rule>::deserialize(&object["rules"]).unwrap_or_default();
                roles.insert(
                    (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"])),
                    rules,
                );
            }
        }
        let mut bindings = Vec::new();
        for (resource, kind) in
            [("clusterrolebindings", "ClusterRoleBinding"), ("rolebindings", "RoleBinding")]
        {
            for object in objects(caches, resource) {
                let (namespace, name) =
                    (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
                let role = &object["roleRef"];
                let place = if role["kind"] == "Role" { namespace.clone() } else { String::new() };
                let Some(rules) = roles.get(&(place, text(&role["name"]))) else { continue };
                let object_name = if namespace.is_empty() { name } else { format!("{name}/{namespace}") };
                let shown =
                    format!("{kind} {object_name:?} of {} {:?}", text(&role["kind"]), text(&role["name"]));
                let subjects = Vec::deserialize(&object["subjects"]).unwrap_or_default();
                bindings.push(Binding { namespace, subjects, rules: rules.clone(), shown });
            }
        }
        Policy { bindings }
    }

    /// Why a request is allowed; `None` where it is not.
    pub fn allows(&self, user: &User, asked: &Attributes<'_>) -> Option<String> {
        self.bindings.iter().filter(|binding| binding.reaches(asked.namespace)).find_map(|binding| {
            if !binding.rules.iter().any(|rule| rule.allows(asked)) {
                return None;
            }
            let subject = binding.subjects.iter().find(|subject| subject.is(user))?;
            Some(format!("RBAC: allowed by {} to {}", binding.shown, subject.shown()))
        })
    }

    /// Every rule that a user has in a namespace.
    pub fn rules_of<'a>(&'a self, user: &'a User, namespace: &'a str) -> impl Iterator<Item = &'a Rule> {
        self.bindings
            .iter()
            .filter(move |binding| binding.reaches(namespace) && binding.subjects.iter().any(|s| s.is(user)))
            .flat_map(|binding| &binding.rules)
    }
}

impl Binding {
    fn reaches(&self, namespace: &str) -> bool {
        self.namespace.is_empty() || self.namespace == namespace
    }
}

impl Subject {
    fn is(&self, user: &User) -> bool {
        match self.kind.as_str() {
            "User" => self.name == user.name,
            "Group" => user.is_in(&self.name),
            "ServiceAccount" => user
                .name
                .strip_prefix("system:serviceaccount:")
                .and_then(|rest| rest.split_once(':'))
                .is_some_and(|(namespace, name)| namespace == self.namespace && name == self.name),
            _ => false,
        }
    }

    fn shown(&self) -> String {
        match self.kind.as_str() {
            "ServiceAccount" => format!("ServiceAccount {:?}", format!("{}/{}", self.name, self.namespace)),
            kind => format!("{kind} {:?}", self.name),
        }
    }
}

fn cache(caches: &Caches, resource: &str) -> Option<Arc<KindCache>> {
    caches.named(GROUP, resource)
}

fn objects(caches: &Caches, resource: &'static str) -> Vec<Value> {
    cache(caches, resource)
        .map_or_else(Vec::new, |cache| cache.list("").0.iter().map(|object| object.value()).collect())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
