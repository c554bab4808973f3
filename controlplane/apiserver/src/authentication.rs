//! Who asks: a client certificate, a ServiceAccount token, a bootstrap token, or nobody.
//!
//! One authenticator for every connection, those within the process included: nothing is marked as trusted.
//! A credential that is shown and not good is 401, never a fall back to anonymous.
//!
//! Reference: Kubernetes "Authenticating"; KEP-1205 and KEP-4193 for what tokens are bound to.

mod bootstrap;

use std::collections::BTreeMap;

use api::kind::Kind;
use api::status::Status;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use pki::{BoundTo, Claims, ClientTrust, TokenKeys};
use serve::ConnInfo;

use crate::server::Server;
use crate::user::User;

/// What the API believes.
#[derive(Debug)]
pub struct Authenticator {
    /// Authorities of client certificates.
    pub trust: ClientTrust,
    /// Keys of ServiceAccount tokens.
    pub tokens: TokenKeys,
    /// Whom tokens must be for.
    pub audiences: Vec<String>,
}

impl Authenticator {
    /// The user behind a request.
    pub fn user(&self, server: &Server, connection: &ConnInfo, headers: &HeaderMap) -> Result<User, Status> {
        let now = server.now().as_second();
        let mut refused = None;
        if !connection.certificates.is_empty() {
            match self.trust.identify(&connection.certificates, now) {
                Ok(identity) => {
                    let extra = [(CREDENTIAL_ID.to_owned(), vec![identity.credential_id])];
                    return Ok(known(identity.user, String::new(), identity.groups, extra.into()));
                }
                Err(why) => refused = Some(why.to_string()),
            }
        }
        if let Some((id, secret)) = bearer(headers).and_then(pki::bootstrap_parts) {
            match bootstrap::user(server, id, secret, server.now()) {
                Ok(user) => return Ok(user),
                Err(bootstrap::Refused::Token(why)) => refused = Some(why),
                Err(bootstrap::Refused::Expired) => {
                    return Err(Status { message: EXPIRED.into(), ..Status::unauthorized() });
                }
            }
        } else if let Some(token) = bearer(headers) {
            match self.token_user(server, token, &self.audiences, now) {
                Ok((user, _)) => return Ok(user),
                Err(why) => refused = Some(why),
            }
        }
        match refused {
            Some(why) => {
                // The client is told no more than "Unauthorized", as upstream.
                tracing::warn!(peer = %connection.peer, why, "Unable to authenticate the request");
                Err(Status::unauthorized())
            }
            None => Ok(User::anonymous()),
        }
    }

    /// The user of a token, and what it says; why not, otherwise.
    pub fn token_user(
        &self,
        server: &Server,
        token: &str,
        audiences: &[String],
        now: i64,
    ) -> Result<(User, Claims), String> {
        let claims = self.tokens.verify(token, audiences, now).map_err(|refused| refused.to_string())?;
        let bound = &claims.kubernetes;
        let (namespace, account) = (&bound.namespace, &bound.serviceaccount);
        alive(server, "serviceaccounts", namespace, account)?;
        for (resource, space, object) in [
            ("pods", namespace.as_str(), &bound.pod),
            ("secrets", namespace, &bound.secret),
            ("nodes", "", &bound.node),
        ] {
            // The node of a pod-bound token is told, not checked.
            let told = resource == "nodes" && bound.pod.is_some();
            if let Some(object) = object.as_ref().filter(|_| !told) {
                alive(server, resource, space, object)?;
            }
        }
        Ok((account_user(&claims), claims))
    }
}

/// Said to who knows the secret of a bootstrap token that is over.
const EXPIRED: &str = "the bootstrap token has expired";

/// Key in a user's extra for the id of the credential (KEP-4193).
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// The user of a ServiceAccount token.
fn account_user(claims: &Claims) -> User {
    let bound = &claims.kubernetes;
    let mut extra = BTreeMap::new();
    let mut note = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
        }
    };
    note("credential-id", claims.jti.as_ref().map(|jti| format!("JTI={jti}")));
    note("pod-name", bound.pod.as_ref().map(|pod| pod.name.clone()));
    note("pod-uid", bound.pod.as_ref().and_then(|pod| pod.uid.clone()));
    note("node-name", bound.node.as_ref().map(|node| node.name.clone()));
    note("node-uid", bound.node.as_ref().and_then(|node| node.uid.clone()));
    let name = format!("system:serviceaccount:{}:{}", bound.namespace, bound.serviceaccount.name);
    let groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{}", bound.namespace)];
    known(name, bound.serviceaccount.uid.clone().unwrap_or_default(), groups, extra)
}

fn known(name: String, uid: String, mut groups: Vec<String>, extra: BTreeMap<String, Vec<String>>) -> User {
    if name != "system:anonymous" && !groups.iter().any(|group| group == "system:authenticated") {
        groups.push("system:authenticated".into());
    }
    User { name, uid, groups, extra }
}

/// Whether an object that a token is bound to is there and is the same one.
fn alive(server: &Server, resource: &str, namespace: &str, object: &BoundTo) -> Result<(), String> {
    let kind: &Kind = server.registry.by_resource("", "v1", resource).ok_or("not served")?;
    let key = crate::registry::object_key(kind, namespace, &object.name);
    // The store, not the cache: a token of an account that was made a moment ago is good.
    let (_, found) = crate::registry::read(server, kind, &key).map_err(|status| status.message)?;
    let found = found.ok_or_else(|| format!("{resource} {key:?} not found"))?;
    let uid = found["metadata"]["uid"].as_str();
    match object.uid.as_deref() {
        Some(bound) if uid != Some(bound) => Err(format!("{resource} {key:?} is another one now")),
        _ => Ok(()),
    }
}

/// The token of an Authorization header.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
