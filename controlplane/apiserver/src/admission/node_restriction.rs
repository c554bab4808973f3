//! NodeRestriction: a node changes its own Node, its own lease and the status of its own pods; nothing by which it
//! could draw work or secrets to itself.
//!
//! What it may ask for at all is the node authorizer's (`authorization::node`). One function per kind, each over the
//! objects alone; the sentences are upstream's.
//!
//! Reference: Kubernetes, admission controller NodeRestriction.

use std::collections::BTreeSet;

use api::field::quote;
use api::status::Status;
use serde_json::{Map, Value};

use super::{Attributes, Operation};
use crate::authorization::{confined_to, node_of, references};
use crate::registry;
use crate::server::Server;

const MIRROR: &str = "kubernetes.io/config.mirror";
const LEASES: &str = "kube-node-lease";
/// The one Service whose endpoints a node writes: DNS runs on every node.
const DNS_SERVICE: &str = "kube-dns";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Labels of Kubernetes' own that a kubelet sets.
const OWN_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];
/// Domains of labels that are a kubelet's to set.
const OWN_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// The domain that is never one's.
const RESTRICTED: &str = "node-restriction.kubernetes.io";

/// Refuses what a node may not do; others are not its business.
pub(super) fn check(server: &Server, attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    let user = &attributes.request.user;
    let Some(node) = confined_to(user) else { return Ok(()) };
    let info = &attributes.request.info;
    let name = match text(&object["metadata"]["name"]) {
        "" => info.name.as_str(),
        name => name,
    };
    let refused = |why: String| Status::forbidden(attributes.kind.qualified_resource(), name, why);
    if node.is_empty() {
        return Err(refused(format!("could not determine node from user {}", quote(&user.name))));
    }
    let (operation, old) = (attributes.operation, attributes.old.unwrap_or(&Value::Null));
    let subresource = info.subresource.as_str();
    match (attributes.kind.group, attributes.kind.resource) {
        ("", "pods") => pod(node, operation, subresource, old, object).map_err(refused)?,
        ("", "nodes") => node_object(node, operation, name, old, object).map_err(refused)?,
        ("coordination.k8s.io", "leases") => lease(node, &info.namespace, name).map_err(refused)?,
        ("discovery.k8s.io", "endpointslices") => slice(node, old, object).map_err(refused)?,
        _ => {}
    }
    if attributes.creates("", "pods") {
        let nodes = server.registry.by_resource("", "v1", "nodes").ok_or_else(Status::no_such_path)?;
        let (_, found) = registry::read(server, nodes, node)?;
        let found = found.ok_or_else(|| Status::not_found(nodes.qualified_resource(), node))?;
        let (owner, uid) =
            (text(&object["metadata"]["ownerReferences"][0]["uid"]), text(&found["metadata"]["uid"]));
        if owner != uid {
            return Err(refused(format!("node {node} UID mismatch: expected {owner} got {uid}")));
        }
    }
    Ok(())
}

/// A token that a node asks for is bound to a pod that runs on it.
pub fn check_token(server: &Server, request: &crate::request::Request, bound: &Value) -> Result<(), Status> {
    let Some(node) = node_of(&request.user) else { return Ok(()) };
    let resource = api::status::Qualified { group: "", name: "serviceaccounts" };
    let refused = |why: String| Status::forbidden(resource, &request.info.name, why);
    let name = text(&bound["name"]);
    if bound["apiVersion"] != "v1" || bound["kind"] != "Pod" || name.is_empty() {
        return Err(refused("node requested token not bound to a pod".into()));
    }
    if text(&bound["uid"]).is_empty() {
        return Err(refused("node requested token with a pod binding without a uid".into()));
    }
    let pods = server.registry.by_resource("", "v1", "pods").ok_or_else(Status::no_such_path)?;
    let (_, pod) = registry::read(server, pods, &registry::object_key(pods, &request.info.namespace, name))?;
    let pod = pod.ok_or_else(|| Status::not_found(pods.qualified_resource(), name))?;
    if pod["metadata"]["uid"] != bound["uid"] {
        return Err(refused(format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
            text(&bound["uid"])
        )));
    }
    if pod["spec"]["nodeName"] != node {
        return Err(refused("node requested token bound to a pod scheduled on a different node".into()));
    }
    Ok(())
}

fn pod(node: &str, operation: Operation, subresource: &str, old: &Value, new: &Value) -> Result<(), String> {
    let is_own = old["spec"]["nodeName"] == node;
    match (subresource, operation) {
        ("", Operation::Create) => mirror_pod(node, new),
        ("", Operation::Delete) if is_own => Ok(()),
        ("", Operation::Delete) => {
            Err(format!("node {} can only delete pods with spec.nodeName set to itself", quote(node)))
        }
        ("", Operation::Update) => Err(format!(
            "unexpected operation \"UPDATE\", node {} can only create and delete mirror pods",
            quote(node)
        )),
        // An eviction comes as the delete that it leads to.
        ("eviction", _) if is_own => Ok(()),
        ("eviction", _) => Err(format!("node {node} can only evict pods with spec.nodeName set to itself")),
        ("status", Operation::Update) => pod_status(node, old, new),
        (other, _) => Err(format!(
            "unexpected pod subresource {}, only 'status' and 'eviction' are allowed",
            quote(other)
        )),
    }
}

fn pod_status(node: &str, old: &Value, new: &Value) -> Result<(), String> {
    if old["spec"]["nodeName"] != node {
        return Err(format!(
            "node {} can only update pod status for pods with spec.nodeName set to itself",
            quote(node)
        ));
    }
    if !modified(&old["metadata"]["labels"], &new["metadata"]["labels"]).is_empty() {
        return Err(format!("node {} cannot update labels through pod status", quote(node)));
    }
    if old["status"]["resourceClaimStatuses"] != new["status"]["resourceClaimStatuses"] {
        return Err(format!("node {} cannot update resource claim statues", quote(node)));
    }
    Ok(())
}

/// A pod that the node runs from a file of its own, shown in the API.
fn mirror_pod(node: &str, pod: &Value) -> Result<(), String> {
    let me = quote(node);
    if !references::is_mirror(pod) {
        return Err(format!(
            "pod does not have {} annotation, node {me} can only create mirror pods",
            quote(MIRROR)
        ));
    }
    if pod["spec"]["nodeName"] != node {
        return Err(format!("node {me} can only create pods with spec.nodeName set to itself"));
    }
    let owners = pod["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let [owner] = owners else {
        let how = if owners.is_empty() { "an owner" } else { "a single owner" };
        return Err(format!("node {me} can only create pods with {how} reference set to itself"));
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return Err(format!("node {me} can only create pods with an owner reference set to itself"));
    }
    if owner["controller"] != true {
        return Err(format!(
            "node {me} can only create pods with a controller owner reference set to itself"
        ));
    }
    if owner["blockOwnerDeletion"] == true {
        return Err(format!("node {me} must not set blockOwnerDeletion on an owner reference"));
    }
    references_nothing(&me, pod)
}

/// By what a pod names, its node gets to read it.
fn references_nothing(me: &str, pod: &Value) -> Result<(), String> {
    let refused = |what: &str| Err(format!("node {me} can not create pods that reference {what}"));
    let projects = |source: &str| {
        let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        let mut sources =
            volumes.flat_map(|volume| volume["projected"]["sources"].as_array().into_iter().flatten());
        sources.any(|projected| projected[source].is_object())
    };
    if !text(&pod["spec"]["serviceAccountName"]).is_empty() {
        return refused("a service account");
    }
    if !references::secrets(pod).is_empty() {
        return refused("secrets");
    }
    if !references::config_maps(pod).is_empty() {
        return refused("configmaps");
    }
    if projects("clusterTrustBundle") {
        return refused("clustertrustbundles");
    }
    if projects("podCertificate") {
        return refused("podcertificates");
    }
    if !references::claims(pod).is_empty() {
        return refused("persistentvolumeclaims");
    }
    if pod["spec"]["resourceClaims"].as_array().is_some_and(|claims| !claims.is_empty()) {
        return refused("resourceclaims");
    }
    Ok(())
}

fn node_object(node: &str, operation: Operation, name: &str, old: &Value, new: &Value) -> Result<(), String> {
    let me = quote(node);
    if name != node {
        return Err(format!("node {me} is not allowed to modify node {}", quote(name)));
    }
    let labels = |object: &Value| object["metadata"]["labels"].clone();
    let forbidden = forbidden_labels(&modified(&labels(old), &labels(new)));
    match operation {
        Operation::Create if !forbidden.is_empty() => {
            Err(format!("node {me} is not allowed to set the following labels: {forbidden}"))
        }
        Operation::Update if list(&old["spec"]["taints"]) != list(&new["spec"]["taints"]) => {
            Err(format!("node {me} is not allowed to modify taints"))
        }
        Operation::Update if !forbidden.is_empty() => {
            Err(format!("is not allowed to modify labels: {forbidden}"))
        }
        Operation::Update
            if list(&old["metadata"]["ownerReferences"]) != list(&new["metadata"]["ownerReferences"]) =>
        {
            Err(format!("node {me} is not allowed to modify ownerReferences"))
        }
        _ => Ok(()),
    }
}

fn lease(node: &str, namespace: &str, name: &str) -> Result<(), String> {
    if namespace != LEASES {
        return Err(format!("can only access leases in the {} system namespace", quote(LEASES)));
    }
    if name != node {
        return Err("can only access node lease with the same name as the requesting node".into());
    }
    Ok(())
}

/// A slice of DNS: what it names is on the node, before and after.
fn slice(node: &str, old: &Value, new: &Value) -> Result<(), String> {
    let foreign = |endpoint: &Value| endpoint["nodeName"] != node;
    let endpoints = |slice: &Value| list(&slice["endpoints"]).to_vec();
    if text(&new["metadata"]["labels"][SERVICE_NAME]) != DNS_SERVICE {
        return Err(format!("node {} can only write slices of the Service {DNS_SERVICE}", quote(node)));
    }
    if endpoints(old).iter().chain(&endpoints(new)).any(foreign)
        || (!old.is_null() && endpoints(old).is_empty())
    {
        return Err(format!("node {} can only write slices with endpoints on itself", quote(node)));
    }
    Ok(())
}

/// Labels that were added, removed or changed.
fn modified(old: &Value, new: &Value) -> BTreeSet<String> {
    let nothing = Map::new();
    let (old, new) = (old.as_object().unwrap_or(&nothing), new.as_object().unwrap_or(&nothing));
    let differs = |key: &&String| old.get(*key) != new.get(*key);
    old.keys().chain(new.keys()).filter(differs).cloned().collect()
}

/// Those of Kubernetes' labels that are not the kubelet's, as a sentence lists them.
fn forbidden_labels(modified: &BTreeSet<String>) -> String {
    let within = |domain: &str, of: &str| {
        domain == of || domain.strip_suffix(of).is_some_and(|before| before.ends_with('.'))
    };
    let forbidden = modified.iter().filter(|label| {
        let domain = label.split_once('/').map_or("", |(domain, _)| domain);
        let kubernetes = within(domain, "kubernetes.io") || within(domain, "k8s.io");
        let own = OWN_LABELS.contains(&label.as_str()) || OWN_DOMAINS.iter().any(|of| within(domain, of));
        within(domain, RESTRICTED) || (kubernetes && !own)
    });
    forbidden.cloned().collect::<Vec<_>>().join(", ")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests;
