//! What every cluster has: its first namespaces, the roles that its parts need, the system's priority classes, what
//! machines that join are told, and the API's own Service.
//!
//! Ensured at every start, some of it always (`upkeep`): what is missing is made, a bootstrap role that lost a rule gets it back, and what
//! people added stays. A role annotated `rbac.authorization.kubernetes.io/autoupdate: "false"` is left alone.

mod cluster_info;
pub mod kubernetes_service;
mod policy;
mod roles;
pub mod upkeep;

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::kind::Kind;
use api::schema;
use api::status::Status;
use futures::future::try_join_all;
use serde_json::{Value, json};
use store::Revision;

pub use roles::node_rules;

use crate::admission::system_priority_classes;
use crate::api_server::ApiServer;
use crate::fairness;
use crate::registry::{self, Change, object_key};
use crate::server::Server;

/// Namespaces that are always there.
const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// What the cluster is told of.
pub struct Announced<'a> {
    /// Where others reach this server.
    pub address: (IpAddr, u16),
    /// Whom they shall trust, PEM.
    pub authorities_pem: &'a str,
    /// Whom aggregated servers shall believe what it says of others, PEM.
    pub front_proxy_pem: &'a str,
    /// What nodes that join are told of the cluster.
    pub facts: &'a BTreeMap<String, String>,
}

/// Makes what is missing.
pub async fn ensure(api: &ApiServer, announced: &Announced<'_>) -> Result<(), Status> {
    let server = &api.server;
    namespaces(server).await?;
    policy::ensure(server).await?;
    flow_control(server).await?;
    for class in system_priority_classes() {
        create(server, "scheduling.k8s.io", "priorityclasses", class).await?;
    }
    cluster_info::ensure(server, announced.authorities_pem, announced.address, announced.facts).await?;
    cluster_info::extensions(server, announced.authorities_pem, announced.front_proxy_pem).await?;
    kubernetes_service::ensure(server, announced.address.1).await
}

async fn namespaces(server: &Server) -> Result<(), Status> {
    for name in NAMESPACES {
        let namespace = json!({"metadata": {"name": name}});
        create(server, "", "namespaces", namespace).await?;
    }
    Ok(())
}

/// Who waits when many ask at once. Written together: none depends on another.
async fn flow_control(server: &Server) -> Result<(), Status> {
    let one = |resource, object| create(server, "flowcontrol.apiserver.k8s.io", resource, object);
    let levels = fairness::bootstrap::priority_levels().into_iter();
    let levels = levels.map(|object| one("prioritylevelconfigurations", object));
    let schemas = fairness::bootstrap::flow_schemas().into_iter().map(|object| one("flowschemas", object));
    try_join_all(levels.chain(schemas)).await.map(drop)
}

/// The row of a kind that is always served.
fn row(server: &Server, group: &str, resource: &str) -> Result<&'static Kind, Status> {
    server.registry.by_resource(group, "v1", resource).ok_or_else(Status::no_such_path)
}

/// Makes an object that is not there yet.
async fn create(server: &Server, group: &str, resource: &str, mut object: Value) -> Result<(), Status> {
    let kind = row(server, group, resource)?;
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    let key = object_key(kind, &text("namespace"), &text("name"));
    // A restart writes nothing, and asks nobody.
    if registry::read(server, kind, &key)?.1.is_some() {
        return Ok(());
    }
    object["kind"] = kind.kind.into();
    object["apiVersion"] = kind.api_version().into();
    object["metadata"]["uid"] = server.uid().into();
    object["metadata"]["creationTimestamp"] = registry::meta::time(server.now());
    crate::strategy::prepare_create(kind, &mut object);
    api::defaulting::apply(kind, &mut object);
    let object = as_sent(kind, object)?;
    // Somebody else may have made it: that is as good.
    registry::write(server, kind, &key, Revision(0), &Change::Put(object)).await.map(drop)
}

/// The form that the same object has when somebody sends it: without what is empty, in the order of its type.
fn as_sent(kind: &Kind, object: Value) -> Result<Value, Status> {
    match schema::find(kind.schema) {
        Some(of) => schema::canonical(object, of).map_err(Status::internal),
        None => Ok(object),
    }
}

/// Changes an object by `change`, which gives nothing where it is as it should be.
async fn mend(
    server: &Server,
    kind: &'static Kind,
    key: &str,
    change: impl Fn(&Value) -> Option<Value>,
) -> Result<(), Status> {
    loop {
        let (revision, object) = registry::read(server, kind, key)?;
        let Some(mended) = object.as_ref().and_then(&change) else { return Ok(()) };
        let mended = as_sent(kind, mended)?;
        if object.as_ref() == Some(&mended) {
            return Ok(());
        }
        if registry::write(server, kind, key, revision, &Change::Put(mended)).await?.is_ok() {
            return Ok(());
        }
    }
}
