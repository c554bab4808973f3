//! A token server as docker-registry's `token` login wants it: ES256 with the certificate in the header.
//!
//! Reference: the distribution project's token authentication specification.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use super::http::{Message, Server, respond, unescape};

pub const SERVICE: &str = "keelson-test";
pub const ISSUER: &str = "keelson-test-issuer";
const LIFETIME_SECONDS: u64 = 300;

/// A running token server.
pub struct TokenServer {
    pub server: Server,
    /// What the registry must trust.
    pub certificate_pem: String,
}

// === impl TokenServer ===

impl TokenServer {
    /// Gives tokens to this user; to nobody else.
    pub fn start(user: &'static str, password: &'static str) -> TokenServer {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let parameters = rcgen::CertificateParams::new(vec!["token.test".to_owned()]).expect("parameters");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let signer = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.serialize_der())
            .expect("a signer");
        let chain = STANDARD.encode(certificate.der());
        let wanted = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        let server = Server::start(move |request, stream| {
            if request.header("authorization") != Some(&wanted) {
                return respond(stream, "401 Unauthorized", &[], 0, b"");
            }
            let token = sign(&signer, &chain, user, &scope(request));
            let body = json!({"token": token, "expires_in": LIFETIME_SECONDS}).to_string();
            respond(
                stream,
                "200 OK",
                &[("content-type", "application/json".to_owned())],
                body.len(),
                body.as_bytes(),
            )
        });
        TokenServer { server, certificate_pem: certificate.pem() }
    }

    /// The value of `realm`.
    pub fn realm(&self) -> String {
        format!("http://{}/token", self.server.address)
    }

    /// A token for pushing, as the harness itself needs it.
    pub fn push_token(&self, user: &str, password: &str, repository: &str) -> String {
        let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        let target = format!("GET /token?service={SERVICE}&scope=repository:{repository}:pull,push");
        let answer = super::http::request(&self.server.address, &target, &[("authorization", &basic)], b"");
        let answer = answer.expect("the token server answers");
        let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("a token");
        json["token"].as_str().expect("a token").to_owned()
    }
}

fn scope(request: &Message) -> String {
    let query = request.target().split_once('?').map_or("", |(_, query)| query);
    let scope = query.split('&').find_map(|pair| pair.strip_prefix("scope="));
    unescape(scope.unwrap_or_default())
}

fn sign(signer: &EcdsaKeyPair, chain: &str, user: &str, scope: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    // `repository:name:pull,push`; the name has no colon here.
    let parts: Vec<&str> = scope.split(':').collect();
    let access = match parts.as_slice() {
        [kind, name, actions] => {
            let actions: Vec<&str> = actions.split(',').collect();
            json!([{"type": kind, "name": name, "actions": actions}])
        }
        _ => json!([]),
    };
    let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [chain]});
    let claims = json!({
        "iss": ISSUER, "sub": user, "aud": SERVICE, "iat": now - 5, "nbf": now - 5,
        "exp": now + LIFETIME_SECONDS, "jti": format!("{now}"), "access": access,
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = signer.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
