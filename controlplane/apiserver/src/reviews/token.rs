//! TokenReview: whose token is this, and is it good.

use serde_json::{Value, json};

use super::subject;
use crate::api_server::ApiServer;
use crate::request::Request;

/// The status. A token that is not good is an answer, not an error.
pub(super) fn status(api: &ApiServer, request: &Request, spec: &Value) -> Value {
    let token = spec["token"].as_str().unwrap_or_default();
    let mut audiences: Vec<String> = spec["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    let asked = !audiences.is_empty();
    if !asked {
        audiences.clone_from(&api.authenticator.audiences);
    }
    match api.authenticator.token_user(&api.server, token, &audiences, request.now.as_second()) {
        Ok((user, claims)) => {
            let good: Vec<&String> =
                claims.aud.iter().filter(|audience| audiences.contains(audience)).collect();
            json!({"authenticated": true, "user": subject::info(&user), "audiences": good})
        }
        Err(why) => json!({"user": {}, "error": format!("[{why}]")}),
    }
}
