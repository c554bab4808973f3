//! What is not an object: health, figures, version, discovery, OpenAPI, the token issuer's documents.

mod discovery;
mod health;
mod metrics;
mod openapi;
mod swagger;
mod tagged;

use api::kind::Verb;
use api::status::Status;
use bytes::Bytes;
use serde_json::json;

pub use openapi::Published;

use crate::answer::Answer;
use crate::api_server::ApiServer;
use crate::request::Request;

/// The Kubernetes version that is served: what clients decide by.
const VERSION: (&str, &str, &str) = ("1", "36", "v1.36.0");

/// Answers a request for a document.
pub async fn answer(api: &ApiServer, request: &Request) -> Result<Answer, Status> {
    let path = request.info.path.trim_end_matches('/');
    if !matches!(request.info.verb, Verb::Get | Verb::Head) {
        return Err(Status::method_not_allowed());
    }
    let words: Vec<&str> = path.split('/').skip(1).collect();
    match words.as_slice() {
        [] => Ok(Answer::json(&json!({"paths": paths(api)}))),
        ["version"] => Ok(version()),
        ["metrics"] => Ok(metrics::answer(api)),
        ["healthz" | "livez" | "readyz", ..] => health::answer(api, request, &words),
        ["api", ..] | ["apis", ..] => discovery::answer(api, request, &words),
        ["openapi", ..] => openapi::answer(api, request, &words).await,
        [".well-known", "openid-configuration"] => Ok(issuer(api)),
        ["openid", "v1", "jwks"] => Ok(Answer::Document {
            code: 200,
            content_type: "application/jwk-set+json".into(),
            bytes: Bytes::from(api.authenticator.tokens.key_set().to_string()),
        }),
        _ => Err(Status::no_such_path()),
    }
}

fn version() -> Answer {
    let (major, minor, git) = VERSION;
    Answer::json(&json!({
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": "35",
        "gitVersion": format!("{git}+keelson"),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("linux/{}", architecture()),
    }))
}

/// The machine's name as Go spells it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn paths(api: &ApiServer) -> Vec<String> {
    let mut paths =
        vec!["/.well-known/openid-configuration".to_owned(), "/api".into(), "/api/v1".into(), "/apis".into()];
    let registry = api.server.registry.current();
    for group in registry.groups().into_iter().filter(|group| !group.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(registry.versions(group).iter().map(|version| format!("/apis/{group}/{version}")));
    }
    paths.extend(
        [
            "/healthz",
            "/livez",
            "/metrics",
            "/openapi/v2",
            "/openapi/v3",
            "/openid/v1/jwks",
            "/readyz",
            "/version",
        ]
        .map(String::from),
    );
    paths
}

fn issuer(api: &ApiServer) -> Answer {
    let issuer = &api.issuer;
    Answer::json(&json!({
        "issuer": issuer,
        "jwks_uri": format!("{}/openid/v1/jwks", issuer.trim_end_matches('/')),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }))
}
