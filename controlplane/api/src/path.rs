//! From an HTTP request line to what it asks: verb, group, version, namespace, resource, subresource, name.
//!
//! Not routing (whether the resource exists is the registry's business) and not authorization.
//!
//! ```text
//! /api /{version}                         [/watch] [/namespaces/{ns}] /{resource}[/{name}[/{subresource}[/rest]]]
//! /apis/{group}/{version}                 [/watch] ...
//! anything else: a non-resource request, its verb the lower-case HTTP method
//! ```
//!
//! Invariant: the answer equals upstream's `RequestInfoFactory`, also for odd paths: RBAC decides on it.

mod options;
mod query;

pub use options::{
    CreateOptions, DeleteOptions, FieldValidation, ListOptions, PatchOptions, Preconditions, Propagation,
    UpdateOptions, VersionMatch,
};
pub use query::{Query, percent_decode};

use crate::kind::Verb;

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestInfo {
    pub is_resource_request: bool,
    /// The decoded path.
    pub path: String,
    pub verb: Verb,
    /// `api` or `apis`.
    pub prefix: &'static str,
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    /// What follows the subresource, without a leading slash (`proxy` paths).
    pub rest: String,
    /// The raw selectors, for authorizers that look at them.
    pub field_selector: Option<String>,
    pub label_selector: Option<String>,
}

/// A path that speaks of a resource but ends too early.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unable to determine kind and namespace from url, {0}")]
pub struct PathError(pub String);

impl RequestInfo {
    /// `path` is still percent-encoded, `query` is the part after `?`.
    pub fn parse(method: &str, path: &str, query: &Query) -> Result<RequestInfo, PathError> {
        let path = percent_decode(path);
        let mut info = RequestInfo::non_resource(method, path.clone());
        let trimmed = path.trim_matches('/');
        let mut parts: Vec<&str> = if trimmed.is_empty() { Vec::new() } else { trimmed.split('/').collect() };
        if parts.len() < 3 {
            return Ok(info);
        }
        match parts[0] {
            "api" => info.prefix = "api",
            "apis" => {
                info.prefix = "apis";
                if parts.len() < 4 {
                    return Ok(info);
                }
                info.group = parts.remove(1).to_owned();
            }
            _ => return Ok(info),
        }
        info.is_resource_request = true;
        info.version = parts[1].to_owned();
        info.resource_part(method, &parts[2..])?;
        info.settle_collection_verb(query);
        Ok(info)
    }

    fn non_resource(method: &str, path: String) -> RequestInfo {
        RequestInfo {
            is_resource_request: false,
            path,
            verb: non_resource_verb(method),
            prefix: "",
            group: String::new(),
            version: String::new(),
            namespace: String::new(),
            resource: String::new(),
            subresource: String::new(),
            name: String::new(),
            rest: String::new(),
            field_selector: None,
            label_selector: None,
        }
    }

    /// Everything after the version.
    fn resource_part(&mut self, method: &str, mut parts: &[&str]) -> Result<(), PathError> {
        match parts.first() {
            Some(&special @ ("watch" | "proxy")) => {
                if parts.len() < 2 {
                    return Err(PathError(self.path.clone()));
                }
                self.verb = if special == "watch" { Verb::Watch } else { Verb::Proxy };
                parts = &parts[1..];
            }
            _ => self.verb = resource_verb(method),
        }
        if parts.first() == Some(&"namespaces")
            && let Some(namespace) = parts.get(1)
        {
            self.namespace = (*namespace).to_owned();
            // `status` and `finalize` belong to the namespace itself; anything else is a resource inside it.
            if parts.get(2).is_some_and(|third| !matches!(*third, "status" | "finalize")) {
                parts = &parts[2..];
            }
        }
        self.resource = parts.first().copied().unwrap_or_default().to_owned();
        self.name = parts.get(1).copied().unwrap_or_default().to_owned();
        if self.verb != Verb::Proxy {
            self.subresource = parts.get(2).copied().unwrap_or_default().to_owned();
            self.rest = parts.get(3..).unwrap_or_default().join("/");
        } else {
            self.rest = parts.get(2..).unwrap_or_default().join("/");
        }
        Ok(())
    }

    /// Without a name a get is a list or a watch, and a delete is a deletecollection.
    fn settle_collection_verb(&mut self, query: &Query) {
        if self.name.is_empty() && self.verb == Verb::Get {
            self.verb = if query.flag("watch") { Verb::Watch } else { Verb::List };
            if let Some(name) = query.get("fieldSelector").and_then(exact_name) {
                self.name = name;
            }
        }
        if self.name.is_empty() && self.verb == Verb::Delete {
            self.verb = Verb::DeleteCollection;
        }
        if matches!(self.verb, Verb::List | Verb::Watch | Verb::DeleteCollection) {
            self.field_selector =
                query.get("fieldSelector").filter(|text| !text.is_empty()).map(str::to_owned);
            self.label_selector =
                query.get("labelSelector").filter(|text| !text.is_empty()).map(str::to_owned);
        }
    }

    /// Whether the path names the object (`/pods/p`), as opposed to a collection narrowed to one name.
    pub fn names_object(&self) -> bool {
        !self.name.is_empty() && !matches!(self.verb, Verb::List | Verb::Watch | Verb::DeleteCollection)
    }
}

/// `metadata.name=x` makes the request one about x: a role with resourceNames may then list and watch it.
fn exact_name(selector: &str) -> Option<String> {
    let selector = crate::selector::FieldSelector::parse(selector).ok()?;
    let name = selector.exact("metadata.name")?;
    let usable = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '%']);
    usable.then(|| name.to_owned())
}

fn resource_verb(method: &str) -> Verb {
    match method {
        "POST" => Verb::Create,
        "GET" | "HEAD" => Verb::Get,
        "PUT" => Verb::Update,
        "PATCH" => Verb::Patch,
        "DELETE" => Verb::Delete,
        _ => Verb::Unknown,
    }
}

fn non_resource_verb(method: &str) -> Verb {
    match method {
        "GET" => Verb::Get,
        "HEAD" => Verb::Head,
        "POST" => Verb::Post,
        "PUT" => Verb::Put,
        "PATCH" => Verb::Patch,
        "DELETE" => Verb::Delete,
        "OPTIONS" => Verb::Options,
        _ => Verb::Unknown,
    }
}

#[cfg(test)]
mod tests;
