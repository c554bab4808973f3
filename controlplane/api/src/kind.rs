//! Kinds as data: one row says everything the generic API engine needs to know about a resource.
//!
//! Not the fields of the objects (`schema`), nor what makes them valid (`validation`). A CustomResourceDefinition
//! makes the same row at run time: what may change while its objects stay is not in the row but in its [`Slot`].
//!
//! Invariants: rows are grouped by API group in discovery order, resources of a group version are sorted by name;
//! `(group, version, resource)` and `(group, version, kind)` are unique.

mod autoscaler;
mod events;
mod fields;
mod registry;
mod table;

pub use autoscaler::{autoscaler_of_v1, v1_of_autoscaler};
pub use events::{core_event_of, events_event_of};
pub use fields::{FieldLabelError, Selectable};
pub use registry::{Registry, version_order};
pub use table::{ALL as EVERY_VERB, STATUS as STATUS_VERBS, builtin};

use std::borrow::Cow;
use std::sync::Arc;

use crate::custom::{Custom, Names, Slot};
use crate::status::Qualified;

/// What a request does to a resource; the words RBAC rules use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    Create,
    Delete,
    DeleteCollection,
    Get,
    List,
    Patch,
    Update,
    Watch,
    /// The old `/api/v1/proxy/...` prefix.
    Proxy,
    // Non-resource requests are spoken of by their HTTP method.
    Post,
    Put,
    Head,
    Options,
    /// A method that maps to nothing; never allowed.
    Unknown,
}

impl Verb {
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Patch => "patch",
            Verb::Update => "update",
            Verb::Watch => "watch",
            Verb::Proxy => "proxy",
            Verb::Post => "post",
            Verb::Put => "put",
            Verb::Head => "head",
            Verb::Options => "options",
            Verb::Unknown => "",
        }
    }
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One resource of one version of one API group.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub(crate) list_kind: &'static str,
    /// Plural, as in the path.
    pub resource: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) short_names: &'static [&'static str],
    pub(crate) categories: &'static [&'static str],
    pub namespaced: bool,
    /// Sorted; empty where only subresources are served.
    pub verbs: &'static [Verb],
    /// Sorted by name.
    pub subresources: &'static [Subresource],
    /// Where its objects live; `None` for kinds that are only asked (reviews, bindings).
    pub storage: Option<Storage>,
    /// Field labels beyond `metadata.name` and `metadata.namespace`.
    pub(crate) selectable: &'static [Selectable],
    /// Name of the type in the schema, as in OpenAPI v3.
    pub schema: &'static str,
    /// Of custom resources: where their definition is.
    pub custom: Option<&'static Slot>,
}

/// A path below a named object, often with a kind of its own.
#[derive(Clone, Copy, Debug)]
pub struct Subresource {
    pub name: &'static str,
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub verbs: &'static [Verb],
    /// Type of the body in the schema; empty where the request has none (connect options travel in the query).
    pub schema: &'static str,
    /// Whether requests are upgraded or streamed (exec, attach, port-forward, proxy, log).
    pub connects: bool,
}

/// The storage version: `/registry/<group>/<resource>` holds objects of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub resource: &'static str,
}

impl Kind {
    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        api_version(self.group, self.version)
    }

    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// The kind of its lists; empty where there are none.
    pub fn list_kind(&self) -> Cow<'static, str> {
        self.named(Cow::Borrowed(self.list_kind), |names| names.list_kind.clone().into())
    }

    pub fn singular(&self) -> Cow<'static, str> {
        self.named(Cow::Borrowed(self.singular), |names| names.singular.clone().into())
    }

    pub fn short_names(&self) -> Vec<Cow<'static, str>> {
        let own = || self.short_names.iter().map(|name| Cow::Borrowed(*name)).collect();
        self.custom().map_or_else(own, |custom| owned(&custom.names().short_names))
    }

    pub fn categories(&self) -> Vec<Cow<'static, str>> {
        let own = || self.categories.iter().map(|name| Cow::Borrowed(*name)).collect();
        self.custom().map_or_else(own, |custom| owned(&custom.names().categories))
    }

    /// Field labels beyond `metadata.name` and `metadata.namespace`; with these two, where there are others.
    pub fn selectable(&self) -> Cow<'static, [Selectable]> {
        self.named(Cow::Borrowed(self.selectable), |names| names.selectable.clone().into())
    }

    /// What a definition says now, or the row's own.
    fn named<T>(&self, own: T, of: impl FnOnce(&Names) -> T) -> T {
        match self.custom() {
            Some(custom) => of(custom.names()),
            None => own,
        }
    }

    /// Whether a definition made it.
    pub fn is_custom(&self) -> bool {
        self.custom.is_some()
    }

    /// What its definition says now; none for built-in kinds, and for definitions that are gone.
    pub fn custom(&self) -> Option<Arc<Custom>> {
        self.custom.and_then(Slot::get)
    }

    pub fn serves(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }

    /// `deployments.apps`: as errors about an object name it.
    pub fn qualified_resource(&self) -> Qualified<'static> {
        Qualified { group: self.group, name: self.resource }
    }

    /// `Deployment.apps`: as validation errors name it.
    pub fn qualified_kind(&self) -> Qualified<'static> {
        Qualified { group: self.group, name: self.kind }
    }

    /// Whether the stored form is this row's own form.
    pub fn is_storage_version(&self) -> bool {
        self.storage.is_some_and(|at| at.group == self.group && at.version == self.version)
    }
}

fn owned(names: &[String]) -> Vec<Cow<'static, str>> {
    names.iter().map(|name| Cow::Owned(name.clone())).collect()
}

/// `group/version`, the core group without its slash.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// The reverse of [`api_version`]; upstream's sentence when there are too many slashes.
pub fn split_api_version(text: &str) -> Result<(&str, &str), String> {
    match text.matches('/').count() {
        0 => Ok(("", text)),
        1 => Ok(text.split_once('/').unwrap_or(("", text))),
        _ => Err(format!("unexpected GroupVersion string: {text}")),
    }
}

#[cfg(test)]
mod tests;
