//! ResourceQuotas: what a namespace uses of each, counted from its objects.
//!
//! Admission takes from a quota when an object comes; this counts again when objects go or change, and when a quota
//! does. Only kinds that some quota names are watched, custom ones as long as they are defined.
//!
//! Reference: upstream's pkg/controller/resourcequota.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::kind::{Kind, Registry};
use api::quantity::{Format, Quantity};
use api::quota::{self, Usage};
use client::{Cache, Client, ClientError, Key, Object, Outcome, Resource, Selection, WorkQueue, work};
use serde_json::{Map, Value};

use crate::context::Context;
use crate::discovery::{DEFINITIONS, defined};
use crate::fields::{list, map};
use crate::pod;

const NAME: &str = "resourcequota-controller";
const WORKERS: usize = 5;
/// Many objects often go together: they are counted once.
const SETTLE: Duration = Duration::from_millis(100);
/// A custom kind that was just defined, or just went, is asked for again.
const SYNC_PATIENCE: Duration = Duration::from_secs(10);

struct Controller {
    context: Arc<Context>,
    client: Client,
    quotas: Cache,
    queue: WorkQueue<Key>,
    definitions: Cache,
    /// Kinds whose changes are followed, as `resource.group`.
    followed: Mutex<BTreeSet<String>>,
    /// Custom kinds that quotas name; dropping a cache ends it.
    custom: Mutex<HashMap<Resource, Cache>>,
}

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let queue = WorkQueue::new();
    let controller = Arc::new(Controller {
        client: context.client_of(NAME)?,
        quotas: context.caches.of(&Resource::RESOURCE_QUOTAS),
        definitions: context.caches.of(&DEFINITIONS),
        context,
        queue: queue.clone(),
        followed: Mutex::default(),
        custom: Mutex::default(),
    });
    controller.quotas.synced().await;
    controller.definitions.synced().await;
    let (adding, quotas) = (queue.clone(), controller.quotas.clone());
    controller.definitions.subscribe(move |_| {
        let concerned =
            quotas.list("").into_iter().filter(|quota| custom_names(quota.value()).next().is_some());
        concerned.for_each(|quota| adding.add_after(quota.key.clone(), SETTLE));
    });
    let adding = queue.clone();
    controller.quotas.subscribe(move |change| {
        let spec = |quota: Option<&Arc<Object>>| quota.map(|quota| quota.value()["spec"].clone());
        let used = |quota: Option<&Arc<Object>>| quota.map(|quota| quota.value()["status"]["hard"].clone());
        if spec(change.before) != spec(change.after) || used(change.before) != used(change.after) {
            adding.add(change.key.clone());
        }
    });
    work(NAME, queue, WORKERS, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
    Ok(())
}

/// The kinds that a name of a quota is about.
fn kinds_of(name: &str) -> Vec<&'static Kind> {
    let core = |resource: &str| Registry::builtin().by_resource("", "v1", resource);
    if let Some(counted) = name.strip_prefix("count/") {
        let (resource, group) = counted.split_once('.').unwrap_or((counted, ""));
        let found = Registry::builtin()
            .kinds()
            .find(|kind| kind.resource == resource && kind.group == group && kind.is_storage_version());
        return found.into_iter().collect();
    }
    let resource = match name {
        "services" | "services.nodeports" | "services.loadbalancers" => "services",
        "secrets" | "configmaps" | "replicationcontrollers" | "resourcequotas" | "persistentvolumeclaims" => {
            name
        }
        "requests.storage" => "persistentvolumeclaims",
        name if name.contains(".storageclass.storage.k8s.io/") => "persistentvolumeclaims",
        _ => "pods",
    };
    core(resource).into_iter().collect()
}

/// The names of a quota that are about custom kinds, as `(plural, group)`.
fn custom_names(quota: &Value) -> impl Iterator<Item = (&str, &str)> {
    let names = map(quota, "/spec/hard").into_iter().flatten().map(|(name, _)| name.as_str());
    let counted =
        names.filter(|name| kinds_of(name).is_empty()).filter_map(|name| name.strip_prefix("count/"));
    counted.filter_map(|counted| counted.split_once('.'))
}

/// A quota with scopes is about pods or claims.
fn is_scoped(quota: &Value) -> bool {
    let some = |pointer: &str| !list(quota, pointer).is_empty();
    some("/spec/scopes") || some("/spec/scopeSelector/matchExpressions")
}

fn resource_of(kind: &Kind) -> Resource {
    Resource::fixed(kind.group, kind.version, kind.resource, kind.kind, kind.namespaced)
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, ClientError> {
        let Some(quota) = self.quotas.get(key) else { return Ok(Outcome::Done) };
        let mut kinds: Vec<&'static Kind> = Vec::new();
        for name in map(quota.value(), "/spec/hard").into_iter().flatten().map(|(name, _)| name) {
            for kind in kinds_of(name) {
                if !kinds.iter().any(|known| (known.group, known.resource) == (kind.group, kind.resource)) {
                    kinds.push(kind);
                }
            }
        }
        let mut used = Usage::new();
        for kind in kinds {
            let cache = self.context.caches.of(&resource_of(kind));
            cache.synced().await;
            self.follow(kind, &cache);
            for object in cache.list(&key.namespace) {
                if quota::matches(quota.value(), kind, object.value()) {
                    quota::sum(&mut used, &quota::usage(kind, object.value()));
                }
            }
        }
        for (plural, group) in custom_names(quota.value()).filter(|_| !is_scoped(quota.value())) {
            let Some(cache) = self.custom(plural, group) else { continue };
            if tokio::time::timeout(SYNC_PATIENCE, cache.synced()).await.is_err() {
                return Ok(Outcome::Again);
            }
            let many = i64::try_from(cache.list(&key.namespace).len()).unwrap_or(i64::MAX);
            used.insert(format!("count/{plural}.{group}"), Quantity::from_units(many, Format::DecimalSi));
        }
        let Some(status) = status(quota.value(), &used) else { return Ok(Outcome::Done) };
        let mut fresh = quota.value().clone();
        fresh["status"] = status;
        match self.client.update_subresource(&Resource::RESOURCE_QUOTAS, "status", &fresh).await {
            Err(error) if error.is_conflict() => Ok(Outcome::Again),
            Err(error) if error.is_not_found() => Ok(Outcome::Done),
            answer => answer.map(|_| Outcome::Done),
        }
    }

    /// The objects of a custom kind, if it is defined.
    fn custom(&self, plural: &str, group: &str) -> Option<Cache> {
        let defined: Vec<Resource> =
            self.definitions.list("").iter().filter_map(|object| defined(object.value())).collect();
        let mut custom = self.custom.lock().unwrap_or_else(PoisonError::into_inner);
        custom.retain(|resource, _| defined.contains(resource));
        let wanted =
            |resource: &Resource| resource.namespaced && resource.plural == plural && resource.group == group;
        let resource = defined.into_iter().find(wanted)?;
        let (queue, quotas) = (self.queue.clone(), self.quotas.clone());
        let cache = custom.entry(resource).or_insert_with_key(|resource| {
            let cache = Cache::start(self.context.client.clone(), resource.clone(), Selection::default());
            cache.subscribe(move |change| {
                if change.after.is_none() {
                    let all = quotas.list(&change.key.namespace);
                    all.iter().for_each(|quota| queue.add_after(quota.key.clone(), SETTLE));
                }
            });
            cache
        });
        Some(cache.clone())
    }

    /// Counts again when objects of a kind go or change what they use.
    fn follow(&self, kind: &'static Kind, cache: &Cache) {
        let name = quota::counted(kind);
        if !self.followed.lock().unwrap_or_else(PoisonError::into_inner).insert(name) {
            return;
        }
        let (adding, quotas) = (self.queue.clone(), self.quotas.clone());
        cache.subscribe(move |change| {
            let frees = match (change.before, change.after) {
                (Some(_), None) => true,
                (Some(before), Some(after)) if kind.resource == "pods" => {
                    pod::is_over(before.value()) != pod::is_over(after.value())
                        || before.value()["spec"] != after.value()["spec"]
                }
                (Some(before), Some(after)) => {
                    kind.resource != "resourcequotas" && before.value()["spec"] != after.value()["spec"]
                }
                // Admission has counted it; one that came before its quota is counted by the quota's own round.
                (None, _) => false,
            };
            if frees {
                for quota in quotas.list(&change.key.namespace) {
                    adding.add_after(quota.key.clone(), SETTLE);
                }
            }
        });
    }
}

/// The status as it should be, if it is not.
fn status(quota: &Value, used: &Usage) -> Option<Value> {
    let hard = map(quota, "/spec/hard").cloned().unwrap_or_default();
    let zero = Quantity::from_units(0, Format::DecimalSi);
    let amounts: Map<String, Value> = hard
        .keys()
        .map(|name| (name.clone(), used.get(name).copied().unwrap_or(zero).to_string().into()))
        .collect();
    let mut fresh = Map::new();
    if !hard.is_empty() {
        fresh.insert("hard".into(), hard.into());
        fresh.insert("used".into(), amounts.into());
    }
    let fresh = Value::Object(fresh);
    (quota.get("status") != Some(&fresh)).then_some(fresh)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_name_is_about() {
        for (name, expect) in [
            ("pods", "pods"),
            ("limits.cpu", "pods"),
            ("services.nodeports", "services"),
            ("count/deployments.apps", "deployments"),
            ("count/configmaps", "configmaps"),
            ("gold.storageclass.storage.k8s.io/requests.storage", "persistentvolumeclaims"),
        ] {
            assert_eq!(
                kinds_of(name).iter().map(|kind| kind.resource).collect::<Vec<_>>(),
                [expect],
                "{name}"
            );
        }
        assert!(kinds_of("count/widgets.example.com").is_empty());
        let hard = json!({"pods": "1", "count/deployments.apps": "1", "count/widgets.example.com": "2", "count/odd": "1"});
        let quota = json!({"spec": {"hard": hard}});
        assert_eq!(custom_names(&quota).collect::<Vec<_>>(), [("widgets", "example.com")]);
    }

    #[test]
    fn counts_are_written_once() {
        let used = Usage::from([("pods".to_owned(), Quantity::parse("2").unwrap())]);
        let quota = json!({"spec": {"hard": {"pods": "5", "cpu": "1"}}});
        let expect = json!({"hard": {"pods": "5", "cpu": "1"}, "used": {"pods": "2", "cpu": "0"}});
        assert_eq!(status(&quota, &used), Some(expect.clone()));
        assert_eq!(status(&json!({"spec": quota["spec"], "status": expect}), &used), None);
    }
}
