//! Status of ValidatingAdmissionPolicies: what type checking says of their expressions, once per generation.
//!
//! Kinds that come later do not make it look again, as upstream; the next change of the policy does.
//!
//! Reference: upstream's pkg/controller/validatingadmissionpolicystatus.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::type_checking::{self, Described, MOST_KINDS, Named, Warning};
use client::{Client, ClientError, Key, Outcome, Resource, WorkQueue, work};
use serde_json::{Value, json};

use crate::context::Context;
use crate::discovery::resources;
use crate::fields::text;

const NAME: &str = "validatingadmissionpolicy-status-controller";

const POLICIES: Resource = Resource::fixed(
    "admissionregistration.k8s.io",
    "v1",
    "validatingadmissionpolicies",
    "ValidatingAdmissionPolicy",
    false,
);

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let client = context.client_of(NAME)?;
    let policies = context.caches.of(&POLICIES);
    policies.synced().await;
    let queue = WorkQueue::new();
    let adding = queue.clone();
    policies.subscribe(move |change| adding.add(change.key.clone()));
    work(NAME, queue, 1, move |key: Key| {
        let (context, client, policies) = (context.clone(), client.clone(), policies.clone());
        async move {
            let Some(policy) = policies.get(&key).filter(|policy| is_due(policy.value())) else {
                return Ok(Outcome::Done);
            };
            let policy = policy.value();
            let (kinds, params) = described(&context.client, policy).await?;
            let fresh = checked(policy, &type_checking::warnings(policy, &kinds, params.as_ref()));
            match client.update_subresource(&POLICIES, "status", &fresh).await {
                Err(error) if error.is_conflict() => Ok(Outcome::Again),
                Err(error) if error.is_not_found() => Ok(Outcome::Done),
                answer => answer.map(|_| Outcome::Done),
            }
        }
    })
    .await;
    Ok(())
}

/// Whether the status is of an older generation.
fn is_due(policy: &Value) -> bool {
    let number = |pointer: &str| policy.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
    number("/status/observedGeneration") < number("/metadata/generation")
}

/// The policy with its status.
fn checked(policy: &Value, warnings: &[Warning]) -> Value {
    let rows = warnings.iter().map(|one| json!({"fieldRef": one.field, "warning": one.text}));
    let rows: Vec<Value> = rows.collect();
    let mut fresh = policy.clone();
    let status = &mut fresh["status"];
    status["observedGeneration"] = policy["metadata"]["generation"].clone();
    status["typeChecking"] = if rows.is_empty() { json!({}) } else { json!({"expressionWarnings": rows}) };
    fresh
}

/// The kinds that a policy names and that are served, in the order of their names, and the kind of its parameters.
async fn described(
    client: &Client,
    policy: &Value,
) -> Result<(Vec<Described>, Option<Described>), ClientError> {
    let mut documents = Documents { client, known: BTreeMap::new() };
    let mut kinds: Vec<Named> = Vec::new();
    for (group, version, resource) in type_checking::resources(policy) {
        if kinds.len() == MOST_KINDS {
            break;
        }
        let Some(served) = documents.get(&root("", &group, &version)).await? else { continue };
        let named = |one: &Resource| one.plural == resource.as_str();
        if let Some(served) = resources(served).into_iter().map(|one| one.resource).find(named) {
            kinds.push((group, version, served.kind.into_owned()));
        }
    }
    kinds.sort();
    kinds.dedup();
    let mut found = Vec::new();
    for kind in &kinds {
        found.extend(documents.described(kind).await?);
    }
    let params = &policy["spec"]["paramKind"];
    let version = text(params, "/apiVersion");
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let params = (group.to_owned(), version.to_owned(), text(params, "/kind").to_owned());
    let params = if version.is_empty() { None } else { documents.described(&params).await? };
    Ok((found, params))
}

/// Documents of discovery and OpenAPI, each asked for once.
struct Documents<'c> {
    client: &'c Client,
    known: BTreeMap<String, Option<Value>>,
}

impl Documents<'_> {
    /// What is not served is not there, and neither is what an aggregated server that is away would serve.
    async fn get(&mut self, path: &str) -> Result<Option<&Value>, ClientError> {
        if !self.known.contains_key(path) {
            let document = match self.client.get_path(path).await {
                Err(ClientError::Refused(status)) if matches!(status.code, 404 | 503) => None,
                answer => Some(answer?),
            };
            self.known.insert(path.to_owned(), document);
        }
        Ok(self.known.get(path).and_then(Option::as_ref))
    }

    async fn described(&mut self, kind: &Named) -> Result<Option<Described>, ClientError> {
        let (group, version, kind) = kind;
        let document = self.get(&root("/openapi/v3", group, version)).await?;
        Ok(document.and_then(|document| type_checking::described(document, group, version, kind)))
    }
}

/// `/api/v1` or `/apis/apps/v1`.
fn root(before: &str, group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("{before}/api/{version}")
    } else {
        format!("{before}/apis/{group}/{version}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_written_once_per_generation() {
        let policy = |generation: i64, observed: i64| json!({"metadata": {"generation": generation}, "status": {"observedGeneration": observed}});
        assert!(is_due(&json!({"metadata": {"generation": 1}})));
        assert!(is_due(&policy(2, 1)));
        assert!(!is_due(&policy(2, 2)));
    }

    #[test]
    fn a_status_says_all_there_is_now() {
        let warning = Warning { field: "spec.validations[0].expression".into(), text: "w".into() };
        let wrong = checked(&json!({"metadata": {"generation": 1}}), &[warning]);
        let rows = json!([{"fieldRef": "spec.validations[0].expression", "warning": "w"}]);
        let status = json!({"observedGeneration": 1, "typeChecking": {"expressionWarnings": rows}});
        assert_eq!(wrong, json!({"metadata": {"generation": 1}, "status": status}));
        let mut mended = wrong;
        mended["metadata"]["generation"] = json!(2);
        assert_eq!(checked(&mended, &[])["status"], json!({"observedGeneration": 2, "typeChecking": {}}));
    }
}
