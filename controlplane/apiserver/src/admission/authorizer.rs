//! `authorizer` in expressions: whether who sent a request, or a service account, may do something else too.
//!
//! ```text
//!   authorizer ─ path ──────────────────────────────────────────► check ─► allowed, reason
//!              ├ group ─► resource ─► subresource, namespace, name ─┘
//!              ├ requestResource ─────────────────────────────────┘
//!              └ serviceAccount ─► authorizer
//! ```
//!
//! Label selectors are taken and decide nothing: no authorizer here looks at them.
//!
//! Reference: apiserver `cel/library/authz.go` 1.36, by behaviour.

use std::fmt;
use std::sync::Arc;

use api::cel::{EvalError, Opaque, Value};

use super::Attributes as Request;
use crate::authorization::{Attributes, Authorizer, Decision};
use crate::cache::Caches;
use crate::server::Server;
use crate::user::User;

/// Who decides about whom.
#[derive(Clone)]
struct Court {
    authorizer: Arc<Authorizer>,
    caches: Arc<Caches>,
    user: Arc<User>,
    /// What the request itself is about.
    own: Arc<Resource>,
}

#[derive(Clone, Debug, Default)]
struct Resource {
    group: String,
    version: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    fields: String,
}

/// What stands before a dot.
#[derive(Clone)]
enum Asked {
    Anything(Court),
    Path(Court, String),
    Group(Court, String),
    Resource(Court, Resource),
    Decided(Decision),
}

/// The value of `authorizer` for a request.
pub(super) fn authorizer(server: &Server, request: &Request<'_>) -> Value<'static> {
    let info = &request.request.info;
    let own = Resource {
        group: info.group.clone(),
        version: info.version.clone(),
        resource: info.resource.clone(),
        subresource: info.subresource.clone(),
        namespace: info.namespace.clone(),
        name: info.name.clone(),
        fields: String::new(),
    };
    let court = Court {
        authorizer: server.authorizer.clone(),
        caches: server.caches.clone(),
        user: Arc::new(request.request.user.clone()),
        own: Arc::new(own),
    };
    opaque(Asked::Anything(court))
}

fn opaque(asked: Asked) -> Value<'static> {
    Value::Opaque(Arc::new(asked))
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.type_name())
    }
}

impl Opaque for Asked {
    fn type_name(&self) -> &'static str {
        match self {
            Asked::Anything(_) => "kubernetes.authorization.Authorizer",
            Asked::Path(..) => "kubernetes.authorization.PathCheck",
            Asked::Group(..) => "kubernetes.authorization.GroupCheck",
            Asked::Resource(..) => "kubernetes.authorization.ResourceCheck",
            Asked::Decided(_) => "kubernetes.authorization.Decision",
        }
    }

    fn field(&self, name: &str) -> Option<Value<'static>> {
        match self {
            Asked::Anything(court) if name == "requestResource" => {
                Some(opaque(Asked::Resource(court.clone(), (*court.own).clone())))
            }
            _ => None,
        }
    }

    fn call<'a>(&self, name: &str, args: &[Value<'a>]) -> Result<Value<'a>, EvalError> {
        let texts: Option<Vec<&str>> = args
            .iter()
            .map(|arg| match arg {
                Value::Text(text) => Some(&**text),
                _ => None,
            })
            .collect();
        let texts = texts.ok_or_else(|| EvalError::new("no such overload"))?;
        match self {
            Asked::Anything(court) => begun(court, name, &texts),
            Asked::Group(court, group) => match (name, texts.as_slice()) {
                ("resource", [resource]) if resource.trim().is_empty() => {
                    Err(EvalError::new("resource must not be empty"))
                }
                ("resource", [resource]) => {
                    let of = Resource {
                        group: group.clone(),
                        resource: (*resource).to_owned(),
                        version: "*".to_owned(),
                        ..Resource::default()
                    };
                    Ok(opaque(Asked::Resource(court.clone(), of)))
                }
                _ => Err(EvalError::new("no such overload")),
            },
            Asked::Path(court, path) => match (name, texts.as_slice()) {
                ("check", [verb]) => Ok(court.decided(verb, &Resource::default(), path)),
                _ => Err(EvalError::new("no such overload")),
            },
            Asked::Resource(court, of) => narrowed(court, of, name, &texts),
            Asked::Decided(decision) => match (name, texts.as_slice()) {
                ("allowed", []) => Ok(Value::Bool(decision.allowed)),
                ("reason", []) => Ok(Value::text(&decision.reason)),
                // Decisions come out of memory: there is nothing that can go wrong.
                ("errored", []) => Ok(Value::Bool(false)),
                ("error", []) => Ok(Value::text("")),
                _ => Err(EvalError::new("no such overload")),
            },
        }
    }
}

fn begun(court: &Court, name: &str, texts: &[&str]) -> Result<Value<'static>, EvalError> {
    match (name, texts) {
        ("path", [path]) if path.trim().is_empty() => Err(EvalError::new("path must not be empty")),
        ("path", [path]) => Ok(opaque(Asked::Path(court.clone(), (*path).to_owned()))),
        ("group", [group]) => Ok(opaque(Asked::Group(court.clone(), (*group).to_owned()))),
        ("serviceAccount", [namespace, name]) => {
            let valid =
                api::names::dns_label(namespace).is_empty() && api::names::dns_subdomain(name).is_empty();
            if !valid {
                let why = format!("Invalid service account name or namespace: {namespace}/{name}");
                return Err(EvalError::new(why));
            }
            let user = User {
                name: format!("system:serviceaccount:{namespace}:{name}"),
                groups: vec![
                    "system:serviceaccounts".to_owned(),
                    format!("system:serviceaccounts:{namespace}"),
                ],
                ..User::default()
            };
            Ok(opaque(Asked::Anything(Court { user: Arc::new(user), ..court.clone() })))
        }
        _ => Err(EvalError::new("no such overload")),
    }
}

fn narrowed(court: &Court, of: &Resource, name: &str, texts: &[&str]) -> Result<Value<'static>, EvalError> {
    let [text] = texts else { return Err(EvalError::new("no such overload")) };
    let mut of = of.clone();
    match name {
        "check" => return Ok(court.decided(text, &of, "")),
        "subresource" => (*text).clone_into(&mut of.subresource),
        "namespace" => (*text).clone_into(&mut of.namespace),
        "name" => (*text).clone_into(&mut of.name),
        "fieldSelector" => (*text).clone_into(&mut of.fields),
        "labelSelector" => {}
        _ => return Err(EvalError::new("no such overload")),
    }
    Ok(opaque(Asked::Resource(court.clone(), of)))
}

impl Court {
    fn decided(&self, verb: &str, of: &Resource, path: &str) -> Value<'static> {
        let attributes = Attributes {
            verb,
            group: &of.group,
            version: &of.version,
            resource: &of.resource,
            subresource: &of.subresource,
            namespace: &of.namespace,
            name: &of.name,
            path,
            fields: &of.fields,
        };
        opaque(Asked::Decided(self.authorizer.decide(&self.caches, &self.user, &attributes)))
    }
}
