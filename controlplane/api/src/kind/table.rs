//! The rows of the built-in kinds, in discovery order: core first, then groups by upstream's priority.
//!
//! To add a kind, add its row to a file below and its type to the schema's roots in `build.rs`; what a kind does
//! besides being stored is a match in `defaulting`, `validation`, `printers` and the API server's `strategy`.

mod access;
mod cluster;
mod core;
mod extension;
mod network;
mod storage;
mod workloads;

use super::Verb::{Create, Delete, DeleteCollection, Get, List, Patch, Update, Watch};
use super::{Kind, Storage, Subresource, Verb};

pub const ALL: &[Verb] = &[Create, Delete, DeleteCollection, Get, List, Patch, Update, Watch];
const NO_COLLECTION: &[Verb] = &[Create, Delete, Get, List, Patch, Update, Watch];
const READ: &[Verb] = &[Get, List];
const CREATE: &[Verb] = &[Create];
pub const STATUS: &[Verb] = &[Get, Patch, Update];
const STREAM: &[Verb] = &[Create, Get];
const PROXY: &[Verb] = &[Create, Delete, Get, Patch, Update];

/// The groups' rows; a group's name stands in its rows only.
static GROUPS: &[&[Kind]] = &[
    core::KINDS,
    extension::SERVICES,
    workloads::APPS,
    cluster::EVENTS,
    access::AUTHENTICATION,
    access::AUTHORIZATION,
    workloads::AUTOSCALING,
    workloads::BATCH,
    access::CERTIFICATES,
    network::NETWORKING,
    workloads::POLICY,
    access::RBAC,
    storage::STORAGE,
    extension::ADMISSION,
    extension::DEFINITIONS,
    cluster::SCHEDULING,
    cluster::COORDINATION,
    cluster::NODE,
    network::DISCOVERY,
    storage::RESOURCE,
    cluster::FLOW_CONTROL,
];

/// Every built-in row.
pub fn builtin() -> impl Iterator<Item = &'static Kind> {
    GROUPS.iter().flat_map(|group| group.iter())
}

const SCALE: Subresource =
    own("scale", "autoscaling", "v1", "Scale", "io.k8s.api.autoscaling.v1.Scale", STATUS);

/// What rows have in common: a namespaced, stored kind with every verb.
const ROW: Kind = Kind {
    group: "",
    version: "",
    kind: "",
    list_kind: "",
    resource: "",
    singular: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
    verbs: ALL,
    subresources: &[],
    storage: None,
    selectable: &[],
    schema: "",
    custom: None,
};

/// A namespaced, stored kind with every verb: its group, the package of its type, version, kind, plural, singular.
macro_rules! stored {
    ($group:expr, $package:literal, $version:literal, $kind:literal, $resource:literal, $singular:literal) => {
        Kind {
            group: $group,
            version: $version,
            kind: $kind,
            list_kind: concat!($kind, "List"),
            resource: $resource,
            singular: $singular,
            storage: Some(Storage { group: $group, version: $version, kind: $kind, resource: $resource }),
            schema: concat!("io.k8s.api.", $package, ".", $version, ".", $kind),
            ..ROW
        }
    };
}
/// The same at cluster scope.
macro_rules! at_cluster {
    ($($row:tt)*) => { Kind { namespaced: false, ..stored!($($row)*) } };
}
/// A kind that is posted and answered, never stored, at cluster scope.
macro_rules! asked {
    ($($row:tt)*) => { Kind { namespaced: false, verbs: CREATE, storage: None, list_kind: "", ..stored!($($row)*) } };
}
/// A subresource whose body is the whole object.
macro_rules! part {
    ($name:literal, $group:expr, $package:literal, $version:literal, $kind:literal, $verbs:expr) => {
        own(
            $name,
            $group,
            $version,
            $kind,
            concat!("io.k8s.api.", $package, ".", $version, ".", $kind),
            $verbs,
        )
    };
}
/// `status`.
macro_rules! status {
    ($group:expr, $package:literal, $version:literal, $kind:literal) => {
        part!("status", $group, $package, $version, $kind, STATUS)
    };
}
use {asked, at_cluster, part, status, stored};

/// A subresource with a body.
const fn own(
    name: &'static str,
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    schema: &'static str,
    verbs: &'static [Verb],
) -> Subresource {
    Subresource { name, group, version, kind, verbs, schema, connects: false }
}

/// A subresource that is a connection.
const fn connect(name: &'static str, kind: &'static str, verbs: &'static [Verb]) -> Subresource {
    Subresource { connects: true, ..own(name, "", "v1", kind, "", verbs) }
}
