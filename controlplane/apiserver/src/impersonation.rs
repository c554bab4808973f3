//! Impersonation: asking as somebody else, where RBAC lets one.
//!
//! Reference: Kubernetes "User impersonation".

use api::status::{Denied, Status};
use http::HeaderMap;

use crate::api_server::ApiServer;
use crate::authorization::Attributes;
use crate::request::Request;
use crate::user::User;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// The request with the user that it asks to be, if it may.
pub fn apply(api: &ApiServer, mut request: Request) -> Result<Request, Status> {
    let headers = &request.headers;
    let user = texts(headers, USER)?.into_iter().next().unwrap_or_default();
    let groups = texts(headers, GROUP)?;
    let uid = texts(headers, UID)?.into_iter().next().unwrap_or_default();
    let mut extra = std::collections::BTreeMap::<String, Vec<String>>::new();
    for name in headers.keys() {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            extra.entry(api::path::percent_decode(key)).or_default().extend(texts(headers, name.as_str())?);
        }
    }
    if user.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(request);
        }
        return Err(Status::bad_request("requested [{Group}] without impersonating a user"));
    }
    match user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':')) {
        Some((namespace, name)) => require(api, &request.user, "", "serviceaccounts", "", namespace, name)?,
        None => require(api, &request.user, "", "users", "", "", &user)?,
    }
    for group in &groups {
        require(api, &request.user, "", "groups", "", "", group)?;
    }
    if !uid.is_empty() {
        require(api, &request.user, AUTHENTICATION, "uids", "", "", &uid)?;
    }
    for (key, values) in &extra {
        for value in values {
            require(api, &request.user, AUTHENTICATION, "userextras", key, "", value)?;
        }
    }
    request.user = User { groups: all_groups(&user, groups), name: user, uid, extra };
    request.trail.impersonated(&request.user);
    Ok(request)
}

/// The values of a header. One that cannot be read refuses the request: leaving it out would let the request go
/// on as somebody else.
fn texts(headers: &HeaderMap, name: &str) -> Result<Vec<String>, Status> {
    let text = |value: &http::HeaderValue| {
        std::str::from_utf8(value.as_bytes())
            .map(str::to_owned)
            .map_err(|_| Status::bad_request(format!("the header {name} is not valid UTF-8")))
    };
    headers.get_all(name).iter().map(text).collect()
}

const AUTHENTICATION: &str = "authentication.k8s.io";

/// The groups of an impersonated user: those of a service account are known, and everybody but the
/// anonymous user is authenticated.
fn all_groups(user: &str, mut groups: Vec<String>) -> Vec<String> {
    if groups.is_empty()
        && let Some((namespace, _)) =
            user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'))
    {
        groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    let own = if user == "system:anonymous" { "system:unauthenticated" } else { "system:authenticated" };
    if !groups.iter().any(|group| group == own) {
        groups.push(own.into());
    }
    groups
}

fn require(
    api: &ApiServer,
    user: &User,
    group: &str,
    resource: &str,
    subresource: &str,
    namespace: &str,
    name: &str,
) -> Result<(), Status> {
    let asked = Attributes {
        verb: "impersonate",
        group,
        version: "v1",
        resource,
        subresource,
        namespace,
        name,
        path: "",
        fields: "",
    };
    if api.server.authorizer.decide(&api.server.caches, user, &asked).allowed {
        return Ok(());
    }
    Err(Status::access_denied(&Denied {
        user: &user.name,
        verb: asked.verb,
        is_resource_request: true,
        path: "",
        group,
        resource,
        subresource,
        namespace,
        name,
        reason: "",
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_name_beyond_ascii_is_a_name_and_nonsense_is_refused() {
        for (bytes, expected) in
            [(&b"jane"[..], Some("jane")), ("ren\u{e9}e".as_bytes(), Some("ren\u{e9}e")), (b"ren\xe9e", None)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(USER, HeaderValue::from_bytes(bytes).unwrap());
            let found = texts(&headers, USER).ok().map(|mut names| names.remove(0));
            assert_eq!(found.as_deref(), expected, "{bytes:?}");
        }
    }
}
