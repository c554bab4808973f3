//! The task: keeps APIServices of what is served here, checks those of others, and publishes the routes.
//!
//! It wakes when APIServices, Services, EndpointSlices or definitions change, and when a request found a backend away. That one
//! is there again is no event, so each is asked again after [`CHECK_EVERY`]. Several servers of a cluster may write the same condition: the slower is refused
//! by the store and looks again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use api::kind::Kind;
use api::status::Status;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use store::Revision;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::availability::{Finding, Unavailable, condition, judge, with_condition};
use super::{Backend, FrontProxy, Routes, local};
use crate::cache::KindCache;
use crate::object::Object;
use crate::registry::{self, Change, meta};
use crate::server::Server;

/// How often a backend is asked whether it is there.
const CHECK_EVERY: Duration = Duration::from_secs(30);
/// After a failure, such as a full disk.
const RETRY: Duration = Duration::from_secs(2);
/// Changes that come together are looked at together.
const TOGETHER: Duration = Duration::from_millis(50);
/// Writes, and checks, under way at once.
const AT_ONCE: usize = 16;

/// A backend, and of what it was judged.
struct Seen {
    fingerprint: String,
    at: Instant,
    backend: Arc<Backend>,
}

struct Work {
    server: Arc<Server>,
    front_proxy: FrontProxy,
    routes: Arc<RwLock<Arc<Routes>>>,
    kind: &'static Kind,
    cache: Arc<KindCache>,
    seen: HashMap<String, Seen>,
    /// Our own that are as they should be, at their revisions: with a thousand definitions they are not read at every change.
    settled: HashMap<String, Revision>,
}

/// Runs until it is aborted.
pub(super) async fn run(
    server: Arc<Server>,
    front_proxy: FrontProxy,
    routes: Arc<RwLock<Arc<Routes>>>,
    look: Arc<Notify>,
) {
    let Some(kind) = server.registry.by_resource("apiregistration.k8s.io", "v1", "apiservices") else {
        return;
    };
    let Ok(cache) = server.cache(kind) else { return };
    let follow =
        |group: &str, resource: &str| server.caches.named(group, resource).map(|cache| cache.latest());
    let mut own = cache.latest();
    let Some(mut definitions) = follow("apiextensions.k8s.io", "customresourcedefinitions") else { return };
    let Some(mut services) = follow("", "services") else { return };
    let Some(mut slices) = follow("discovery.k8s.io", "endpointslices") else { return };
    let mut work =
        Work { server, front_proxy, routes, kind, cache, seen: HashMap::new(), settled: HashMap::new() };
    loop {
        for changes in [&mut own, &mut definitions, &mut services, &mut slices] {
            changes.mark_unchanged();
        }
        let again = match work.round().await {
            Ok(()) if work.seen.is_empty() => None,
            Ok(()) => Some(CHECK_EVERY),
            Err(error) => {
                tracing::debug!(%error, "APIServices are looked at again");
                Some(RETRY)
            }
        };
        let remote = !work.seen.is_empty();
        let changed = tokio::select! {
            changed = own.changed() => changed.is_ok(),
            changed = definitions.changed() => changed.is_ok(),
            changed = services.changed(), if remote => changed.is_ok(),
            changed = slices.changed(), if remote => changed.is_ok(),
            () = look.notified() => true,
            () = tokio::time::sleep(again.unwrap_or(CHECK_EVERY)), if again.is_some() => true,
        };
        if !changed {
            return;
        }
        tokio::time::sleep(TOGETHER).await;
    }
}

impl Work {
    async fn round(&mut self) -> Result<(), Status> {
        let objects: BTreeMap<String, Arc<Object>> =
            self.cache.list("").0.into_iter().map(|object| (object.name().to_owned(), object)).collect();
        let local = self.settle_local(&objects).await;
        let mut remote: Vec<(Arc<Object>, Value)> = Vec::new();
        for object in objects.values().filter(|object| !self.is_settled(object)) {
            let value = object.value();
            if value["spec"]["service"].is_object() {
                remote.push((object.clone(), value));
            }
        }
        self.seen.retain(|name, _| remote.iter().any(|(object, _)| object.name() == name));
        let work = &*self;
        let looked: Vec<(Seen, Option<Change>, Arc<Object>)> = stream::iter(remote)
            .map(|(object, value)| async move {
                let (seen, change) = work.look(&value).await;
                (seen, change, object)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut changes = Vec::new();
        for (seen, change, object) in looked {
            self.seen.insert(object.name().to_owned(), seen);
            changes.extend(change.map(|change| (object, change)));
        }
        // Before anybody can read of it.
        self.publish();
        let mut written = Ok(());
        for (object, change) in &changes {
            written = written.and(self.write(object, change).await);
        }
        local.and(written)
    }

    fn publish(&self) {
        let registry = self.server.registry.current();
        let served =
            |backend: &Backend| registry.of_version(&backend.group, &backend.version).next().is_some();
        let backends = self.seen.values().map(|seen| seen.backend.clone()).filter(|backend| !served(backend));
        let routes =
            backends.map(|backend| ((backend.group.clone(), backend.version.clone()), backend)).collect();
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(routes);
    }

    /// Makes what is missing of our own, takes away what is served no more, and says that it is there.
    async fn settle_local(&mut self, objects: &BTreeMap<String, Arc<Object>>) -> Result<(), Status> {
        let wanted = local::wanted(&self.server.registry.current());
        let now = meta::time(self.server.now());
        let now = now.as_str().unwrap_or_default();
        let mut changes: Vec<(String, Revision, Change)> = Vec::new();
        for (name, (label, spec)) in wanted.iter().filter(|(name, _)| !objects.contains_key(*name)) {
            let object = json!({
                "kind": self.kind.kind, "apiVersion": self.kind.api_version(),
                "metadata": {"name": name, "uid": self.server.uid(), "creationTimestamp": now, "labels": {local::MANAGED: label}},
                "spec": spec, "status": {"conditions": [local::condition(now)]},
            });
            changes.push((name.clone(), Revision(0), Change::Put(object)));
        }
        for (name, object) in objects {
            if object.labels.contains_key(local::MANAGED) && !wanted.contains_key(name) {
                changes.push((name.clone(), object.revision, Change::Delete));
                continue;
            }
            if self.is_settled(object) {
                continue;
            }
            let value = object.value();
            if !value["spec"]["service"].is_null() {
                continue;
            }
            match with_condition(&value, local::condition(now)) {
                Some(mended) => changes.push((name.clone(), object.revision, Change::Put(mended))),
                None => drop(self.settled.insert(name.clone(), object.revision)),
            }
        }
        self.settled.retain(|name, _| objects.contains_key(name));
        let (server, kind) = (&self.server, self.kind);
        stream::iter(changes)
            .map(|(key, revision, change)| async move {
                registry::write(server, kind, &key, revision, &change).await.map(drop)
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await
    }

    fn is_settled(&self, object: &Object) -> bool {
        self.settled.get(object.name()) == Some(&object.revision)
    }

    /// Looks at a backend; the object with another condition, where it has changed.
    async fn look(&self, object: &Value) -> (Seen, Option<Change>) {
        let (service, slices) = self.service_of(object);
        let revisions: Vec<u64> = slices.iter().chain(&service).map(|object| object.revision.0).collect();
        let fingerprint = format!("{}{revisions:?}", object["spec"]);
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let known = self.seen.get(name).filter(|seen| seen.fingerprint == fingerprint);
        if let Some(seen) =
            known.filter(|seen| seen.at.elapsed() < CHECK_EVERY && !seen.backend.is_suspected())
        {
            return (Seen { fingerprint, at: seen.at, backend: seen.backend.clone() }, None);
        }
        let mut backend = match Backend::new(object, &self.front_proxy) {
            Ok(backend) => backend,
            Err(message) => {
                // Kept as it is until its APIService changes: there is no way to reach it.
                tracing::warn!(name, message, "an APIService cannot be used");
                let mut plain = object.clone();
                plain["spec"]["caBundle"] = Value::Null;
                let Ok(backend) = Backend::new(&plain, &self.front_proxy) else {
                    unreachable!("without a bundle nothing of it can be wrong")
                };
                return self.told(object, backend, fingerprint, &Err(failed_check(name, &message)));
            }
        };
        if let Some(seen) = self.seen.get(name) {
            backend.resources.clone_from(&seen.backend.resources);
            backend.openapi.clone_from(&seen.backend.openapi);
            backend.swagger.clone_from(&seen.backend.swagger);
        }
        let slices: Vec<Value> = slices.iter().map(|slice| slice.value()).collect();
        let service = service.map(|service| service.value());
        let finding = match judge(object, service.as_ref(), &slices) {
            Ok(()) => self.check(&mut backend).await,
            no => no,
        };
        self.told(object, backend, fingerprint, &finding)
    }

    fn told(
        &self,
        object: &Value,
        mut backend: Backend,
        fingerprint: String,
        finding: &Finding,
    ) -> (Seen, Option<Change>) {
        backend.available = finding.is_ok();
        let now = meta::time(self.server.now());
        let condition = condition(finding, now.as_str().unwrap_or_default());
        let change = with_condition(object, condition).map(Change::Put);
        (Seen { fingerprint, at: Instant::now(), backend: Arc::new(backend) }, change)
    }

    /// Asks a backend for what it serves.
    async fn check(&self, backend: &mut Backend) -> Finding {
        let path = format!("/apis/{}/{}", backend.group, backend.version);
        let url = format!("https://{}{path}", backend.host());
        match backend.ask(&self.server, &path, "application/json").await {
            Ok((200..=299, body)) => backend.resources = serde_json::from_slice(&body).ok(),
            Ok((code, _)) => return Err(failed_check(&url, &format!("bad status from {url}: {code}"))),
            Err(why) => return Err(failed_check(&url, &format!("Get {url:?}: {why}"))),
        }
        self.read_openapi(backend).await;
        Ok(())
    }

    /// Its OpenAPI documents, where it has any. The second is read again when the hash in the first changes.
    async fn read_openapi(&self, backend: &mut Backend) {
        let json = "application/json";
        let index = match backend.ask(&self.server, "/openapi/v3", json).await {
            Ok((200, body)) => serde_json::from_slice::<Value>(&body).unwrap_or_default(),
            _ => Value::Null,
        };
        let path = format!("apis/{}/{}", backend.group, backend.version);
        let url = index["paths"][path.as_str()]["serverRelativeURL"].as_str().map(str::to_owned);
        let changed = url != backend.openapi || url.is_none();
        backend.openapi = url.filter(|url| url.starts_with("/openapi/v3/"));
        if changed && let Ok((200, body)) = backend.ask(&self.server, "/openapi/v2", json).await {
            backend.swagger = serde_json::from_slice(&body).ok().map(Arc::new);
        }
    }

    /// The Service of a backend and its slices.
    fn service_of(&self, object: &Value) -> (Option<Arc<Object>>, Vec<Arc<Object>>) {
        let text = |name: &str| object["spec"]["service"][name].as_str().unwrap_or_default();
        let (name, namespace) = (text("name"), text("namespace"));
        let services = self.server.caches.named("", "services");
        let service = services.and_then(|services| services.get(&format!("{namespace}/{name}")));
        let slices = self.server.caches.named("discovery.k8s.io", "endpointslices");
        let mut slices = slices.map(|slices| slices.list(namespace).0).unwrap_or_default();
        slices.retain(|slice| slice.labels.get("kubernetes.io/service-name").is_some_and(|of| of == name));
        (service, slices)
    }

    async fn write(&self, object: &Object, change: &Change) -> Result<(), Status> {
        registry::write(&self.server, self.kind, &object.key, object.revision, change).await.map(drop)
    }
}

fn failed_check(from: &str, why: &str) -> Unavailable {
    let message = format!("failing or missing response from {from}: {why}");
    Unavailable { reason: "FailedDiscoveryCheck", message }
}
