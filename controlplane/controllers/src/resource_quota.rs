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
use api::pod_size;
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
/// A count may miss an object that is admitted and not in our caches yet: so much later it is in the next one. Upstream's
/// --resource-quota-sync-period.
const RECOUNT: Duration = Duration::from_secs(300);

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
        let concerned = quotas
            .list("")
            .into_iter()
            .filter(|quota| custom_names(quota.value(), "/spec/hard").next().is_some());
        concerned.for_each(|quota| adding.add_after(quota.key.clone(), SETTLE));
    });
    let adding = queue.clone();
    controller.quotas.subscribe(move |change| {
        let spec = |quota: Option<&Arc<Object>>| quota.map(|quota| quota.value()["spec"].clone());
        if spec(change.before) != spec(change.after)
            || !change.after.is_some_and(|quota| is_told(quota.value()))
        {
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

/// The names of a quota, of what is at `pointer`, that are about custom kinds, as `(plural, group)`.
fn custom_names<'a>(quota: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let names = map(quota, pointer).into_iter().flatten().map(|(name, _)| name.as_str());
    let counted =
        names.filter(|name| kinds_of(name).is_empty()).filter_map(|name| name.strip_prefix("count/"));
    counted.filter_map(|counted| counted.split_once('.'))
}

/// Whether the status is about what the specification names. Nothing else of a status is a reason to count: we wrote it, or
/// admission did, for objects that our caches may not have yet.
fn is_told(quota: &Value) -> bool {
    let hard = |pointer: &str| map(quota, pointer).filter(|hard| !hard.is_empty());
    hard("/spec/hard") == hard("/status/hard")
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
        let Some(quota) = self.quotas.get(key) else {
            self.forget_unnamed();
            return Ok(Outcome::Done);
        };
        let mut named_before = custom_names(quota.value(), "/status/hard");
        if named_before.any(|before| custom_names(quota.value(), "/spec/hard").all(|name| name != before)) {
            self.forget_unnamed();
        }
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
        let custom = custom_names(quota.value(), "/spec/hard").filter(|_| !is_scoped(quota.value()));
        let mut unknown = BTreeSet::new();
        for (plural, group) in custom {
            let Some(cache) = self.custom(plural, group) else { continue };
            let name = format!("count/{plural}.{group}");
            // A kind that cannot be listed, as when its webhook is away, holds neither the other numbers back nor a worker.
            if !cache.is_synced() {
                unknown.insert(name);
                continue;
            }
            let many = i64::try_from(cache.list(&key.namespace).len()).unwrap_or(i64::MAX);
            used.insert(name, Quantity::from_units(many, Format::DecimalSi));
        }
        let counted = if unknown.is_empty() { Outcome::After(RECOUNT) } else { Outcome::Again };
        let Some(status) = status(quota.value(), &used, &unknown) else { return Ok(counted) };
        let mut fresh = quota.value().clone();
        fresh["status"] = status;
        match self.client.update_subresource(&Resource::RESOURCE_QUOTAS, "status", &fresh).await {
            Err(error) if error.is_conflict() => Ok(Outcome::Again),
            Err(error) if error.is_not_found() => Ok(Outcome::Done),
            answer => answer.map(|_| counted),
        }
    }

    /// Ends the caches of custom kinds that no quota names.
    fn forget_unnamed(&self) {
        let mut custom = self.custom.lock().unwrap_or_else(PoisonError::into_inner);
        if custom.is_empty() {
            return;
        }
        // Read under the lock: whoever asks for a kind has its quota here already.
        let quotas = self.quotas.list("");
        let names = |resource: &Resource, quota: &Value| {
            custom_names(quota, "/spec/hard").any(|name| name == (&*resource.plural, &*resource.group))
        };
        custom.retain(|resource, _| quotas.iter().any(|quota| names(resource, quota.value())));
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
                        || pod_size::counted(before.value()) != pod_size::counted(after.value())
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

/// The status as it should be, if it is not. What is `unknown` stays as it was; nothing is said of what was not told before.
fn status(quota: &Value, used: &Usage, unknown: &BTreeSet<String>) -> Option<Value> {
    let hard = map(quota, "/spec/hard").cloned().unwrap_or_default();
    let zero = Quantity::from_units(0, Format::DecimalSi);
    let amount = |name: &String| {
        if unknown.contains(name) {
            return quota["status"]["used"].get(name).cloned();
        }
        Some(used.get(name).copied().unwrap_or(zero).to_string().into())
    };
    let amounts: Map<String, Value> =
        hard.keys().filter_map(|name| Some((name.clone(), amount(name)?))).collect();
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
        assert_eq!(custom_names(&quota, "/spec/hard").collect::<Vec<_>>(), [("widgets", "example.com")]);
    }

    #[test]
    fn counts_are_written_once() {
        let used = Usage::from([("pods".to_owned(), Quantity::parse("2").unwrap())]);
        let quota = json!({"spec": {"hard": {"pods": "5", "cpu": "1"}}});
        let expect = json!({"hard": {"pods": "5", "cpu": "1"}, "used": {"pods": "2", "cpu": "0"}});
        let none = BTreeSet::new();
        assert_eq!(status(&quota, &used, &none), Some(expect.clone()));
        assert_eq!(status(&json!({"spec": quota["spec"], "status": expect}), &used, &none), None);
    }

    #[test]
    fn a_number_that_is_not_known_now_stays_as_it_was() {
        let used = Usage::from([("pods".to_owned(), Quantity::parse("2").unwrap())]);
        let hard = json!({"pods": "5", "count/a.x.io": "9", "count/b.x.io": "9"});
        let quota = json!({"spec": {"hard": hard}, "status": {"hard": hard, "used": {"pods": "1", "count/a.x.io": "4"}}});
        let unknown = BTreeSet::from(["count/a.x.io".to_owned(), "count/b.x.io".to_owned()]);
        let expect = json!({"hard": hard, "used": {"pods": "2", "count/a.x.io": "4"}});
        assert_eq!(status(&quota, &used, &unknown), Some(expect));
    }
}
