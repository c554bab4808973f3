//! What is acceptable and yet worth a `Warning` header: deprecated fields, and values that do not do what they seem to.
//!
//! Not errors, and not deprecated API versions as such (only Endpoints, whose successor is served too).
//! Reference: `pkg/api/pod/warnings.go`, `pkg/api/service/warnings.go` of Kubernetes 1.36, by behaviour.

mod pod;

use serde_json::Value;

use super::fields::Fields;
use crate::field::Path;
use crate::kind::Kind;
use crate::names;

const ENDPOINTS: &str = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";

/// Warnings about an object that is to be created or updated.
pub fn warnings(kind: &Kind, object: &Value) -> Vec<String> {
    let mut out = Vec::new();
    match (kind.group, kind.kind) {
        ("", "Pod") => {
            host_name(&mut out, object, "the Pod's hostname");
            pod::warnings(&mut out, object, &Path::default());
        }
        ("apps", "Deployment" | "ReplicaSet") => {
            host_name(&mut out, object, "Pod names and hostnames");
            let path = Path::new("spec").child("template");
            pod::warnings(&mut out, &object["spec"]["template"], &path);
        }
        ("", "Service") => service(&mut out, &object["spec"]),
        ("", "Endpoints") => out.push(ENDPOINTS.into()),
        ("", "Node") if !object["spec"].text("externalID").is_empty() => {
            out.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".into());
        }
        _ => {}
    }
    out
}

/// A name that is used as a host name had better be one.
fn host_name(out: &mut Vec<String>, object: &Value, used: &str) {
    let complaints = names::dns_label(object["metadata"].text("name"));
    if !complaints.is_empty() {
        let listed = complaints.join(" ");
        out.push(format!(
            "metadata.name: this is used in {used}, which can result in surprising behavior; a DNS label is recommended: [{listed}]"
        ));
    }
}

fn service(out: &mut Vec<String>, spec: &Value) {
    if spec.text("clusterIP") == "None" {
        if !spec.list("externalIPs").is_empty() {
            out.push("spec.externalIPs is ignored when spec.clusterIP is \"None\"".into());
        }
        if spec.text("sessionAffinity") == "ClientIP" {
            out.push("spec.SessionAffinity is ignored for headless services".into());
        }
    }
    if spec.text("type") != "ExternalName" && !spec.text("externalName").is_empty() {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
    if spec.text("type") != "LoadBalancer" && !spec.text("loadBalancerIP").is_empty() {
        out.push("spec.loadBalancerIP is ignored when spec.type is not \"LoadBalancer\"".into());
    }
}
