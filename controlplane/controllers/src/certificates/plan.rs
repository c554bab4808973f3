//! What is to be done about one request. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use client::Object;
use pki::{Authority, Profile};
use serde_json::{Value, json};

use super::recognise::{self, KUBELET_SERVING, Wanted};

/// A certificate's life unless less is asked for: a year, as upstream's `--cluster-signing-duration`.
const LONGEST_SECONDS: i64 = 365 * 86_400;
const SHORTEST_SECONDS: i64 = 600;
/// What is decided is kept for an hour, what nobody decides for a day.
const DECIDED_SECONDS: i64 = 3600;
const PENDING_SECONDS: i64 = 24 * 3600;
/// Names that servers of the cluster answer to: no node is called so.
const RESERVED: &[&str] = &["localhost", "kubernetes"];

/// What decisions rest on.
pub(super) struct Facts<'a> {
    pub nodes: &'a [Arc<Object>],
    /// Where the API is reached.
    pub api: &'a [IpAddr],
    /// Whether who asks may be approved without a person; nothing where that was not asked.
    pub allowed: Option<bool>,
    /// Seconds since 1970.
    pub now: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Nothing now; look again then.
    Wait(u64),
    /// Too old.
    Delete,
    /// A condition Approved or Denied.
    Decide(Value),
    /// The certificate, PEM.
    Issue(String),
    /// A condition Failed.
    Fail(Value),
}

/// Decides.
pub(super) fn plan(request: &Value, facts: &Facts<'_>, authority: &Authority) -> Step {
    let made = request["metadata"]["creationTimestamp"].as_str().unwrap_or_default();
    let made = made.parse::<jiff::Timestamp>().map_or(facts.now, |time| time.as_second());
    let keep = if is_decided(request) { DECIDED_SECONDS } else { PENDING_SECONDS };
    let left = made + keep - facts.now;
    if left <= 0 {
        return Step::Delete;
    }
    let wait = Step::Wait(left.unsigned_abs());
    let done =
        has(request, "Failed") || !request["status"]["certificate"].as_str().unwrap_or_default().is_empty();
    if done || has(request, "Denied") {
        return wait;
    }
    match recognise::wanted(request) {
        None => wait,
        Some(Err(why)) if has(request, "Approved") => {
            Step::Fail(condition("Failed", "SignerValidationFailure", &why))
        }
        Some(Err(_)) => wait,
        Some(Ok(wanted)) if has(request, "Approved") => sign(request, &wanted, authority, facts.now),
        Some(Ok(wanted)) => decide(request, &wanted, facts).unwrap_or(wait),
    }
}

/// Approved or denied, whoever did it.
pub(super) fn is_decided(request: &Value) -> bool {
    has(request, "Approved") || has(request, "Denied") || has(request, "Failed")
}

fn has(request: &Value, wanted: &str) -> bool {
    let conditions = request["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| condition["type"] == wanted)
}

fn condition(of: &str, reason: &str, message: &str) -> Value {
    json!({"type": of, "status": "True", "reason": reason, "message": message})
}

fn decide(request: &Value, wanted: &Wanted, facts: &Facts<'_>) -> Option<Step> {
    if facts.allowed != Some(true) {
        return None;
    }
    let node = recognise::node(wanted)?;
    let own = recognise::is_own(request, wanted);
    let deny = |reason: &str, why: String| Some(Step::Decide(condition("Denied", reason, &why)));
    if RESERVED.iter().any(|name| node == *name || node.starts_with(&format!("{name}."))) {
        return deny("NameReserved", format!("no node can be called {node}: give --node-name"));
    }
    if !own && facts.nodes.iter().any(|other| other.key.name == node) {
        let why = format!(
            "a Node named {node} exists already: give this machine another --node-name, or delete that Node first (kubectl delete node {node})"
        );
        return deny("NodeExists", why);
    }
    if request["spec"]["signerName"] == KUBELET_SERVING
        && let Some(foreign) = wanted.names.iter().find(|name| !is_of_node(name, node, facts))
    {
        return deny("ForeignName", format!("{foreign} is not this node's to serve"));
    }
    let message = if own {
        "Auto approving self kubelet client certificate after SubjectAccessReview."
    } else {
        "Auto approving kubelet client certificate after SubjectAccessReview."
    };
    Some(Step::Decide(condition("Approved", "AutoApproved", message)))
}

/// Whether a node may serve under a name: its own, or an address that is nobody else's.
fn is_of_node(name: &str, node: &str, facts: &Facts<'_>) -> bool {
    let Ok(address) = name.parse::<IpAddr>() else { return name == node };
    if address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || facts.api.contains(&address)
    {
        return false;
    }
    let has_it = |other: &Value| {
        let addresses = other["status"]["addresses"].as_array();
        addresses.into_iter().flatten().any(|known| {
            known["address"].as_str().and_then(|text| text.parse::<IpAddr>().ok()) == Some(address)
        })
    };
    !facts.nodes.iter().any(|other| other.key.name != node && has_it(other.value()))
}

fn sign(request: &Value, wanted: &Wanted, authority: &Authority, now: i64) -> Step {
    let asked = request["spec"]["expirationSeconds"].as_i64().unwrap_or(LONGEST_SECONDS);
    let profile = Profile {
        common_name: wanted.common_name.clone(),
        organization: wanted.organization.clone(),
        names: wanted.names.clone(),
        usage: wanted.usage,
        lifetime_seconds: asked.clamp(SHORTEST_SECONDS, LONGEST_SECONDS),
    };
    let pem = recognise::asked(request).map(|(pem, _)| pem).unwrap_or_default();
    match authority.sign_request(&pem, &profile, now) {
        Ok(certificate) => Step::Issue(certificate),
        Err(error) => Step::Fail(condition("Failed", "SigningError", &error.to_string())),
    }
}

#[cfg(test)]
mod tests;
