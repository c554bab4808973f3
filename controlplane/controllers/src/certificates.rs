//! CertificateSigningRequests: those of nodes are approved, approved ones are signed, old ones are removed.
//!
//! ```text
//! pending ─┬─ a machine that joins, a node about itself ──▶ Approved ──▶ signed
//!          ├─ a name that is taken, an address that is not its own ──▶ Denied, with the reason
//!          └─ anything else: a person decides (`kubectl certificate approve`)
//! ```
//!
//! The right to be approved is asked from the API (SubjectAccessReview on `certificatesigningrequests/nodeclient` and
//! `.../selfnodeclient`), so roles decide who may join. Two signers go further than upstream: `kubelet-serving` is approved
//! where every name in it is the node's own, and `keelson.dev/node-parts` is what a joined node's agent, proxy and DNS use.
//!
//! Reference: upstream's csrapproving, csrsigning and csrcleaner controllers, whose names, messages and times these are.

mod plan;
mod recognise;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use client::{Cache, Client, ClientError, Key, Object, Outcome, Resource, WorkQueue, work};
use pki::Authority;
use serde_json::{Value, json};

use crate::context::Context;
use plan::{Facts, Step};

const NAME: &str = "certificate-controller";
/// Decisions read what Nodes there are: one after the other.
const WORKERS: usize = 1;
const REQUESTS: Resource = Resource::fixed(
    "certificates.k8s.io",
    "v1",
    "certificatesigningrequests",
    "CertificateSigningRequest",
    false,
);
const REVIEWS: Resource =
    Resource::fixed("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", false);

struct Controller {
    client: Client,
    requests: Cache,
    nodes: Cache,
    services: Cache,
    slices: Cache,
    authority: Arc<Authority>,
}

pub(crate) async fn run(context: Arc<Context>, authority: Arc<Authority>) -> Result<(), ClientError> {
    let caches = &context.caches;
    let controller = Arc::new(Controller {
        client: context.client_of(NAME)?,
        requests: caches.of(&REQUESTS),
        nodes: caches.of(&Resource::NODES),
        services: caches.of(&Resource::SERVICES),
        slices: caches.of(&Resource::ENDPOINT_SLICES),
        authority,
    });
    for cache in [&controller.requests, &controller.nodes, &controller.services, &controller.slices] {
        cache.synced().await;
    }
    let queue = WorkQueue::new();
    let adding = queue.clone();
    controller.requests.subscribe(move |change| adding.add(change.key.clone()));
    let again = queue.clone();
    work("certificate-controller", queue, WORKERS, move |key: Key| {
        let (controller, again) = (controller.clone(), again.clone());
        async move { controller.reconcile(&key, &again).await }
    })
    .await;
    Ok(())
}

impl Controller {
    async fn reconcile(&self, key: &Key, again: &WorkQueue<Key>) -> Result<Outcome, ClientError> {
        let Some(request) = self.requests.get(key) else { return Ok(Outcome::Done) };
        let now = (self.client.surroundings().now)().as_second();
        let allowed = match recognise::permission(request.value()) {
            Some(permission) => Some(self.may(request.value(), permission).await?),
            None => None,
        };
        // Every Node is looked at only where something is decided.
        let nodes = if allowed == Some(true) { self.nodes.list("") } else { Vec::new() };
        let facts = Facts { nodes: &nodes, api: &self.api_addresses(), allowed, now };
        match plan::plan(request.value(), &facts, &self.authority) {
            Step::Wait(seconds) => {
                again.add_after(key.clone(), Duration::from_secs(seconds));
                Ok(Outcome::Done)
            }
            step => self.execute(&request, step).await,
        }
    }

    async fn execute(&self, request: &Object, step: Step) -> Result<Outcome, ClientError> {
        let name = &request.key.name;
        let answer = match step {
            Step::Wait(_) => return Ok(Outcome::Done),
            Step::Delete => self.client.delete(&REQUESTS, "", name, Some(&request.uid), None).await.map(drop),
            Step::Decide(condition) => {
                tracing::info!(request = name, decision = %condition["type"], why = %condition["message"], "decided");
                self.write(request, "approval", &[condition], None).await
            }
            Step::Issue(certificate) => {
                tracing::info!(request = name, "signed");
                self.write(request, "status", &[], Some(&certificate)).await
            }
            Step::Fail(condition) => {
                tracing::warn!(request = name, why = %condition["message"], "not signed");
                self.write(request, "status", &[condition], None).await
            }
        };
        match answer {
            Err(error) if error.is_not_found() => Ok(Outcome::Done),
            Err(error) if error.is_conflict() => Ok(Outcome::Again),
            answer => answer.map(|()| Outcome::Done),
        }
    }

    /// With the version that was decided about.
    async fn write(
        &self,
        request: &Object,
        subresource: &str,
        conditions: &[Value],
        certificate: Option<&str>,
    ) -> Result<(), ClientError> {
        use base64::Engine as _;
        let mut changed = request.value().clone();
        let mut all = changed["status"]["conditions"].as_array().cloned().unwrap_or_default();
        all.extend_from_slice(conditions);
        if !all.is_empty() {
            changed["status"]["conditions"] = all.into();
        }
        if let Some(certificate) = certificate {
            let encoded = base64::engine::general_purpose::STANDARD.encode(certificate);
            changed["status"]["certificate"] = encoded.into();
        }
        self.client.update_subresource(&REQUESTS, subresource, &changed).await.map(drop)
    }

    /// Whether who asks may have this approved by itself.
    async fn may(&self, request: &Value, permission: &str) -> Result<bool, ClientError> {
        let spec = &request["spec"];
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {
                "user": spec["username"], "uid": spec["uid"], "groups": spec["groups"], "extra": spec["extra"],
                "resourceAttributes": {"group": "certificates.k8s.io", "resource": "certificatesigningrequests",
                    "verb": "create", "subresource": permission, "version": "*"},
            },
        });
        let answer = self.client.create(&REVIEWS, "", &review).await?;
        Ok(answer["status"]["allowed"] == true)
    }

    /// Where the API is reached: nobody else may say that it is there.
    fn api_addresses(&self) -> Vec<IpAddr> {
        let key = Key::new("default", "kubernetes");
        let texts = |value: &Value| -> Vec<String> {
            value
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|text| text.as_str().map(str::to_owned))
                .collect()
        };
        let mut found = Vec::new();
        if let Some(service) = self.services.get(&key) {
            found.extend(texts(&service.value()["spec"]["clusterIPs"]));
        }
        if let Some(slice) = self.slices.get(&key) {
            let endpoints = slice.value()["endpoints"].as_array().cloned().unwrap_or_default();
            found.extend(endpoints.iter().flat_map(|endpoint| texts(&endpoint["addresses"])));
        }
        found.iter().filter_map(|text| text.parse().ok()).collect()
    }
}
