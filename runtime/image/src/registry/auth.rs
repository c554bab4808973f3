//! Log-in: a `WWW-Authenticate` challenge becomes an `Authorization` header.
//!
//! Pure, but for the token request, which `client.rs` sends. Reference: RFC 9110 section 11; the
//! distribution project's token and OAuth 2 authentication specifications.

use serde::Deserialize;

use crate::credentials::Credentials;

/// What a server wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    Basic,
    Bearer { realm: String, service: String, scope: String },
}

/// A token server's answer.
#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

// === impl Challenge ===

impl Challenge {
    /// The strongest challenge of all headers that is understood.
    pub fn strongest<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
        let mut basic = None;
        for header in headers {
            let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
            if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            } else if scheme.eq_ignore_ascii_case("bearer") {
                let parameters = parameters(rest);
                let get = |name: &str| {
                    let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.clone()).unwrap_or_default()
                };
                if !get("realm").is_empty() {
                    return Some(Challenge::Bearer {
                        realm: get("realm"),
                        service: get("service"),
                        scope: get("scope"),
                    });
                }
            }
        }
        basic
    }
}

/// `key="quoted, \"value\"", key=token`.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim_matches(|c: char| c == ',' || c.is_whitespace()).to_owned();
        let mut value = String::new();
        let mut end = after.len();
        if let Some(quoted) = after.strip_prefix('"') {
            let mut escaped = false;
            for (at, c) in quoted.char_indices() {
                match c {
                    _ if escaped => {
                        value.push(c);
                        escaped = false;
                    }
                    '\\' => escaped = true,
                    '"' => {
                        end = at + 2;
                        break;
                    }
                    _ => value.push(c),
                }
            }
        } else {
            end = after.find(',').unwrap_or(after.len());
            value = after[..end].trim().to_owned();
        }
        found.push((key, value));
        rest = &after[end.min(after.len())..];
    }
    found
}

/// The query of a token request: `?service=..&scope=..`.
pub fn token_query(service: &str, scope: &str) -> String {
    let mut query = String::new();
    for (key, value) in [("service", service), ("scope", scope)] {
        if !value.is_empty() {
            query.push(if query.is_empty() { '?' } else { '&' });
            query.push_str(&format!("{key}={}", escape(value)));
        }
    }
    query
}

/// The form that exchanges an identity token.
pub fn refresh_form(credentials: &Credentials, service: &str, scope: &str) -> String {
    format!(
        "grant_type=refresh_token&client_id=keelson&service={}&scope={}&refresh_token={}",
        escape(service),
        escape(scope),
        escape(&credentials.identity_token)
    )
}

/// The token in a token server's answer.
pub fn token(answer: &[u8]) -> Option<String> {
    let answer: TokenAnswer = serde_json::from_slice(answer).ok()?;
    let token = answer.token.filter(|t| !t.is_empty()).or(answer.access_token)?;
    // It goes into a header.
    token.bytes().all(|b| b.is_ascii_graphic()).then_some(token).filter(|t| !t.is_empty())
}

/// Percent-encoding of everything but unreserved characters.
pub fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, b| {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let bearer = |realm: &str, service: &str, scope: &str| {
            Some(Challenge::Bearer { realm: realm.into(), service: service.into(), scope: scope.into() })
        };
        for (headers, wanted) in [
            (vec![r#"Basic realm="x""#], Some(Challenge::Basic)),
            (
                vec![
                    r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                ],
                bearer("https://auth.docker.io/token", "registry.docker.io", "repository:a/b:pull,push"),
            ),
            (
                vec!["basic", r#"bearer realm="https://x/t?a=b", service=plain"#],
                bearer("https://x/t?a=b", "plain", ""),
            ),
            (vec![r#"Bearer realm="a\"b""#], bearer("a\"b", "", "")),
            (vec!["Bearer service=x"], None),
            (vec!["Negotiate"], None),
            (vec!["Bearer realm=\"open", "Bearer ====", "", " "], bearer("open", "", "")),
        ] {
            assert_eq!(Challenge::strongest(headers.iter().copied()), wanted, "{headers:?}");
        }
    }

    #[test]
    fn tokens_are_asked_for_and_read() {
        assert_eq!(
            token_query("a b", "repository:x/y:pull"),
            "?service=a%20b&scope=repository%3Ax%2Fy%3Apull"
        );
        assert_eq!(token_query("", ""), "");
        assert_eq!(token(br#"{"token":"t"}"#).as_deref(), Some("t"));
        assert_eq!(token(br#"{"token":"","access_token":"a","expires_in":3}"#).as_deref(), Some("a"));
        for wrong in [r#"{}"#, "", r#"{"token":"a\r\nX: y"}"#, r#"{"token":""}"#] {
            assert_eq!(token(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
