//! Bootstrap tokens: `id.secret`, known to a Secret of kube-system, good for joining and little else.
//!
//! Reference: Kubernetes "Authenticating with Bootstrap Tokens"; names of keys and groups are upstream's.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use crate::registry;
use crate::server::Server;
use crate::user::User;

const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";
/// The longest name of an extra group, after the prefix.
const GROUP_BYTES_MAX: usize = 256;

/// Why a bootstrap token is not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// Unknown, wrong or of no use: which is not told to who shows it.
    Token(String),
    /// The right one, too late: who knows the secret may know that.
    Expired,
}

/// The user behind a token.
pub fn user(server: &Server, id: &str, secret: &str, now: Timestamp) -> Result<User, Refused> {
    let kind = server.registry.by_resource("", "v1", "secrets").ok_or_else(|| unknown("not served"))?;
    let key = registry::object_key(kind, "kube-system", &format!("bootstrap-token-{id}"));
    // The store, not the cache: a token that was made a moment ago is good.
    let (_, found) = registry::read(server, kind, &key).map_err(|status| unknown(&status.message))?;
    let found = found.ok_or_else(|| unknown(&format!("secret {key:?} not found")))?;
    judge(&found, id, secret, now)
}

fn unknown(why: &str) -> Refused {
    Refused::Token(why.to_owned())
}

/// What a Secret says about the token that was shown.
fn judge(found: &Value, id: &str, secret: &str, now: Timestamp) -> Result<User, Refused> {
    let text = |name: &str| {
        let bytes = STANDARD.decode(found["data"][name].as_str().unwrap_or_default()).unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    };
    if found["type"] != SECRET_TYPE || found["metadata"]["deletionTimestamp"].is_string() {
        return Err(unknown("the secret is no bootstrap token, or is being deleted"));
    }
    let known = text("token-secret");
    if known.is_empty() || verify_slices_are_equal(known.as_bytes(), secret.as_bytes()).is_err() {
        return Err(unknown("the token's secret is wrong"));
    }
    if text("token-id") != id {
        return Err(unknown("the token's id is not the secret's"));
    }
    let expiration = text("expiration");
    if !expiration.is_empty() {
        let ends: Timestamp =
            expiration.parse().map_err(|_| unknown("the token's expiration cannot be read"))?;
        if ends <= now {
            return Err(Refused::Expired);
        }
    }
    if text("usage-bootstrap-authentication") != "true" {
        return Err(unknown("the token is not for authentication"));
    }
    let mut groups = vec![GROUP.to_owned()];
    for group in text("auth-extra-groups").split(',').map(str::trim).filter(|group| !group.is_empty()) {
        if !is_bootstrap_group(group) {
            return Err(unknown("the token has a group that no bootstrap token may have"));
        }
        groups.push(group.to_owned());
    }
    groups.push("system:authenticated".into());
    Ok(User { name: format!("system:bootstrap:{id}"), groups, ..User::default() })
}

/// `system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]`
fn is_bootstrap_group(group: &str) -> bool {
    let Some(name) = group.strip_prefix("system:bootstrappers:") else { return false };
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= GROUP_BYTES_MAX
        && name.bytes().all(|byte| fits(byte) || matches!(byte, b':' | b'-'))
        && name.bytes().last().is_some_and(fits)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn check(change: impl Fn(&mut Value), expect: Result<&[&str], &str>) {
        let text = |text: &str| Value::from(STANDARD.encode(text));
        let mut found = json!({"type": SECRET_TYPE, "metadata": {}, "data": {
            "token-id": text("abcdef"), "token-secret": text(SECRET), "usage-bootstrap-authentication": text("true"),
            "expiration": text("2026-01-01T01:00:00Z"), "auth-extra-groups": text("system:bootstrappers:a-b")}});
        change(&mut found);
        let now = "2026-01-01T00:59:59Z".parse().unwrap();
        match (judge(&found, "abcdef", SECRET, now), expect) {
            (Ok(user), Ok(groups)) => {
                assert_eq!(
                    (user.name.as_str(), user.groups),
                    ("system:bootstrap:abcdef", groups.iter().map(|g| (*g).to_owned()).collect())
                );
            }
            (Err(Refused::Expired), Err("expired")) => {}
            (Err(Refused::Token(why)), Err(part)) => assert!(why.contains(part), "{why}"),
            (got, expect) => panic!("{got:?}, not {expect:?}"),
        }
    }

    #[test]
    fn a_token_is_what_its_secret_says() {
        let text = |text: &str| Value::from(STANDARD.encode(text));
        let usual = [GROUP, "system:bootstrappers:a-b", "system:authenticated"];
        check(|_| {}, Ok(&usual));
        check(|s| s["data"]["expiration"] = Value::Null, Ok(&usual));
        check(|s| s["data"]["expiration"] = text("2026-01-01T00:59:59Z"), Err("expired"));
        check(|s| s["data"]["expiration"] = text("soon"), Err("cannot be read"));
        check(|s| s["type"] = "Opaque".into(), Err("no bootstrap token"));
        check(|s| s["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into(), Err("being deleted"));
        check(|s| s["data"]["token-secret"] = text("0123456789abcdeg"), Err("secret is wrong"));
        check(|s| s["data"]["token-secret"] = Value::Null, Err("secret is wrong"));
        check(|s| s["data"]["token-id"] = text("abcdeg"), Err("id is not"));
        check(|s| s["data"]["usage-bootstrap-authentication"] = text("false"), Err("not for authentication"));
        for group in
            ["system:masters", "system:bootstrappers:", "system:bootstrappers:A", "system:bootstrappers:a-"]
        {
            check(|s| s["data"]["auth-extra-groups"] = text(group), Err("a group"));
        }
    }
}
