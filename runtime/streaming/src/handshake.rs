//! How client and server agree on a protocol before the connection stops being HTTP.
//!
//! ```text
//! SPDY       Connection: Upgrade, Upgrade: SPDY/3.1, X-Stream-Protocol-Version: a, b ──▶ 101, 400, 403
//! WebSocket  Connection: Upgrade, Upgrade: websocket, Sec-WebSocket-Protocol: a, b   ──▶ 101, 400, 403
//! ```
//!
//! The client's order decides. Pure: headers in, headers or a refusal out. The texts are those of
//! k8s.io/streaming, which people find when they search for them.

use http::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::header::{
    SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// What SPDY calls itself in an Upgrade header.
pub const SPDY_31: &str = "SPDY/3.1";
/// The only version of WebSocket there is.
const WEBSOCKET_VERSION: &str = "13";
/// The protocols a client offers, and the one that the server chose.
pub static PROTOCOL_VERSION: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// What a server that chose none would have taken.
pub static ACCEPTED_PROTOCOL_VERSIONS: HeaderName =
    HeaderName::from_static("x-accepted-stream-protocol-versions");

/// An answer that ends the negotiation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub text: String,
    /// Protocols that would have been accepted.
    pub accepted: Vec<&'static str>,
}

/// What was agreed on, and the answer that says so.
#[derive(Debug)]
pub struct Agreement {
    pub protocol: &'static str,
    pub answer: Response<()>,
}

/// Whether the client wants WebSocket rather than SPDY.
pub fn is_websocket(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(UPGRADE).map(HeaderValue::as_bytes).unwrap_or_default();
    upgrade.eq_ignore_ascii_case(b"websocket") && mentions(headers, &CONNECTION, "upgrade")
}

/// Agrees on one of `supported` over SPDY.
pub fn spdy(headers: &HeaderMap, supported: &[&'static str]) -> Result<Agreement, Refusal> {
    if !headers.contains_key(&PROTOCOL_VERSION) {
        let count = headers.len();
        return Err(Refusal::bad_request(format!(
            "unable to upgrade: header X-Stream-Protocol-Version does not exist in request with {count} headers"
        )));
    }
    let offered = listed(headers, &PROTOCOL_VERSION);
    if offered.is_empty() {
        return Err(Refusal::bad_request(
            "unable to upgrade: header X-Stream-Protocol-Version contains no valid protocols".into(),
        ));
    }
    let Some(protocol) = first_common(&offered, supported) else {
        return Err(Refusal {
            status: StatusCode::FORBIDDEN,
            text: format!(
                "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
                offered.join(" "),
                supported.join(" ")
            ),
            accepted: supported.to_vec(),
        });
    };
    if !mentions(headers, &CONNECTION, "upgrade") || !mentions(headers, &UPGRADE, SPDY_31) {
        return Err(Refusal::bad_request("unable to upgrade: missing upgrade headers in request".into()));
    }
    let mut answer = switching(SPDY_31);
    answer.headers_mut().insert(&PROTOCOL_VERSION, HeaderValue::from_static(protocol));
    Ok(Agreement { protocol, answer })
}

/// Agrees on one of `supported` over WebSocket. With `""` among them a client may name none.
pub fn websocket(headers: &HeaderMap, supported: &[&'static str]) -> Result<Agreement, Refusal> {
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY) else {
        return Err(Refusal::bad_request("missing or bad Sec-WebSocket-Key".into()));
    };
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != WEBSOCKET_VERSION) {
        return Err(Refusal::bad_request("missing or bad WebSocket Version".into()));
    }
    let mut offered = listed(headers, &SEC_WEBSOCKET_PROTOCOL);
    if offered.is_empty() {
        offered.push(String::new());
    }
    let Some(protocol) = first_common(&offered, supported) else {
        return Err(Refusal {
            status: StatusCode::FORBIDDEN,
            text: format!(
                "requested protocol(s) are not supported: [{}]; supports [{}]",
                offered.join(" "),
                supported.join(" ")
            ),
            accepted: Vec::new(),
        });
    };
    let mut answer = switching("websocket");
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        answer.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if !protocol.is_empty() {
        answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    Ok(Agreement { protocol, answer })
}

// === impl Refusal ===

impl Refusal {
    pub fn bad_request(text: String) -> Refusal {
        Refusal { status: StatusCode::BAD_REQUEST, text, accepted: Vec::new() }
    }

    pub fn not_found() -> Refusal {
        Refusal { status: StatusCode::NOT_FOUND, text: "404 page not found".into(), accepted: Vec::new() }
    }

    /// The answer, in the form in which Go's net/http writes errors.
    pub fn answer(&self) -> Response<String> {
        let mut answer = Response::new(format!("{}\n", self.text));
        *answer.status_mut() = self.status;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        for protocol in &self.accepted {
            headers.append(&ACCEPTED_PROTOCOL_VERSIONS, HeaderValue::from_static(protocol));
        }
        answer
    }
}

fn switching(to: &'static str) -> Response<()> {
    let mut answer = Response::new(());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.headers_mut().insert(UPGRADE, HeaderValue::from_static(to));
    answer
}

/// The comma-separated values of every header of that name.
pub fn listed(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|value| !value.is_empty())
        .map(String::from)
        .collect()
}

fn first_common(offered: &[String], supported: &[&'static str]) -> Option<&'static str> {
    offered.iter().find_map(|offer| supported.iter().copied().find(|known| known == offer))
}

fn mentions(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    listed(headers, name).iter().any(|value| value.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSIONS: &[&str] = &["v4.channel.k8s.io", "channel.k8s.io"];

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn spdy_is_agreed_on_or_refused() {
        let upgrade = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
        let check = |more: &[(&'static str, &'static str)], expect: Result<&str, (u16, &str)>| {
            let all = headers(&[&upgrade, more].concat());
            match (spdy(&all, VERSIONS), expect) {
                (Ok(got), Ok(protocol)) => assert_eq!(got.protocol, protocol),
                (Err(got), Err((status, text))) => {
                    assert_eq!(got.status, status);
                    assert!(got.text.contains(text), "{}", got.text);
                }
                (got, expect) => panic!("{got:?} is not {expect:?}"),
            }
        };
        let version = "x-stream-protocol-version";
        check(&[(version, "v4.channel.k8s.io")], Ok("v4.channel.k8s.io"));
        check(&[(version, "v9.channel.k8s.io, channel.k8s.io,v4.channel.k8s.io")], Ok("channel.k8s.io"));
        check(&[(version, "v9"), (version, "v4.channel.k8s.io")], Ok("v4.channel.k8s.io"));
        check(
            &[(version, "v9")],
            Err((403, "client supports [v9], server accepts [v4.channel.k8s.io channel")),
        );
        check(&[(version, " , ")], Err((400, "no valid protocols")));
        check(&[], Err((400, "X-Stream-Protocol-Version does not exist in request with 2 headers")));
        let refused = spdy(&headers(&[(version, "channel.k8s.io")]), VERSIONS);
        assert!(refused.is_err_and(|refusal| refusal.text.contains("missing upgrade headers")));
    }

    #[test]
    fn a_refusal_lists_what_would_be_accepted() {
        let refusal = spdy(&headers(&[("x-stream-protocol-version", "v9")]), VERSIONS).expect_err("no match");
        let answer = refusal.answer();
        let listed: Vec<_> = answer.headers().get_all(&ACCEPTED_PROTOCOL_VERSIONS).iter().collect();
        assert_eq!(listed, VERSIONS);
        assert!(answer.body().ends_with('\n'));
    }

    #[test]
    fn websocket_is_agreed_on_or_refused() {
        let base = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        assert!(is_websocket(&headers(&base)));
        assert!(!is_websocket(&headers(&[("upgrade", "websocket")])));
        let offer = |value| headers(&[&base[..], &[("sec-websocket-protocol", value)]].concat());
        let agreed = websocket(&offer("v5.x, channel.k8s.io"), VERSIONS).expect("an agreement");
        assert_eq!(agreed.protocol, "channel.k8s.io");
        // The example of RFC 6455, section 1.3.
        assert_eq!(agreed.answer.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(websocket(&offer("v9"), VERSIONS).expect_err("no match").status, 403);
        assert_eq!(websocket(&headers(&base), VERSIONS).expect_err("no protocol").status, 403);
        assert_eq!(websocket(&headers(&base), &["", "v4"]).expect("none is allowed").protocol, "");
        assert_eq!(websocket(&headers(&base[..2]), VERSIONS).expect_err("no key").status, 400);
    }
}
