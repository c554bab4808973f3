//! CertificateSigningRequests: who asks is written down by the server, and who decides or signs must hold the right to.
//!
//! Reference: admission plugins CertificateApproval, CertificateSigning and CertificateSubjectRestriction.

use api::field::quote;
use api::status::Status;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Attributes, Operation, name_of};
use crate::authorization::Attributes as Asked;
use crate::registry::meta;
use crate::server::Server;

pub(super) const GROUP: &str = "certificates.k8s.io";
/// The signer of certificates for users: it makes no members of this group.
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";
const MASTERS: &str = "system:masters";

/// Runs on every write of a request.
pub(super) fn admit(server: &Server, attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let signer = object["spec"]["signerName"].as_str().unwrap_or_default().to_owned();
    match (attributes.operation, attributes.request.info.subresource.as_str()) {
        (Operation::Create, "") => {
            sign_up(attributes, object);
            if signer == CLIENT_SIGNER && asks_for_masters(&object["spec"]) {
                let why = format!("use of {signer} signer with {MASTERS} group is not allowed");
                return Err(forbidden(attributes, object, why));
            }
            Ok(())
        }
        (Operation::Update, "approval") => {
            stamp(object, attributes);
            require(server, attributes, object, "approve", &signer)
        }
        (Operation::Update, "status") => {
            stamp(object, attributes);
            let decided = |object: &Value| {
                (object["status"]["certificate"].clone(), object["status"]["conditions"].clone())
            };
            if attributes.old.is_some_and(|old| decided(old) == decided(object)) {
                return Ok(());
            }
            require(server, attributes, object, "sign", &signer)
        }
        _ => Ok(()),
    }
}

/// Who asks: never what the request itself says.
fn sign_up(attributes: &Attributes<'_>, object: &mut Value) {
    let user = &attributes.request.user;
    let Some(spec) = object["spec"].as_object_mut() else { return };
    spec.insert("username".into(), user.name.clone().into());
    spec.insert("groups".into(), json!(user.groups));
    for (name, value) in [("uid", json!(user.uid)), ("extra", json!(user.extra))] {
        if value.as_str() == Some("") || value.as_object().is_some_and(serde_json::Map::is_empty) {
            spec.shift_remove(name);
        } else {
            spec.insert(name.into(), value);
        }
    }
}

fn asks_for_masters(spec: &Value) -> bool {
    let pem = STANDARD.decode(spec["request"].as_str().unwrap_or_default()).unwrap_or_default();
    let asked = pki::Asked::read(&String::from_utf8_lossy(&pem));
    asked.is_ok_and(|asked| asked.organizations.iter().any(|group| group == MASTERS))
}

/// Conditions say since when.
fn stamp(object: &mut Value, attributes: &Attributes<'_>) {
    let now = meta::time(attributes.request.now);
    let Some(conditions) = object["status"]["conditions"].as_array_mut() else { return };
    for condition in conditions {
        for field in ["lastUpdateTime", "lastTransitionTime"] {
            if condition[field].is_null() {
                condition[field] = now.clone();
            }
        }
    }
}

/// The right is one to the signer's name, or to all names of its domain.
fn require(
    server: &Server,
    attributes: &Attributes<'_>,
    object: &Value,
    verb: &str,
    signer: &str,
) -> Result<(), Status> {
    let domain = signer.split('/').next().unwrap_or_default();
    let may = |name: &str| {
        let asked = Asked {
            verb,
            group: GROUP,
            version: "v1",
            resource: "signers",
            subresource: "",
            namespace: "",
            name,
            path: "",
            fields: "",
        };
        server.authorizer.decide(&server.caches, &attributes.request.user, &asked).allowed
    };
    if may(signer) || may(&format!("{domain}/*")) {
        return Ok(());
    }
    let why = format!("user not permitted to {verb} requests with signerName {}", quote(signer));
    Err(forbidden(attributes, object, why))
}

fn forbidden(attributes: &Attributes<'_>, object: &Value, why: String) -> Status {
    Status::forbidden(attributes.kind.qualified_resource(), name_of(object), why)
}
