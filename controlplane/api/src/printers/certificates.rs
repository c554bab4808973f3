//! Certificate signing requests.

use serde_json::Value;

use super::{AGE, Column, NAME, age, human_duration, list, name, or, text};

pub(super) const REQUEST: &[Column] =
    &[NAME, AGE, text("SignerName"), text("Requestor"), text("RequestedDuration"), text("Condition")];

pub(super) fn request(request: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let spec = &request["spec"];
    let duration = spec["expirationSeconds"].as_i64().map(human_duration);
    vec![
        name(request),
        age(request, now),
        or(&spec["signerName"], "<none>"),
        spec["username"].clone(),
        duration.unwrap_or_else(|| "<none>".into()).into(),
        condition(&request["status"]).into(),
    ]
}

/// What was decided, and whether it was done.
fn condition(status: &Value) -> String {
    let has = |wanted: &str| list(status, "conditions").any(|condition| condition["type"] == wanted);
    // A denial wins, as upstream.
    let mut words = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied".to_owned(),
        (false, true) => "Approved".to_owned(),
        (false, false) => "Pending".to_owned(),
    };
    if has("Failed") {
        words.push_str(",Failed");
    }
    if status["certificate"].as_str().is_some_and(|certificate| !certificate.is_empty()) {
        words.push_str(",Issued");
    }
    words
}
