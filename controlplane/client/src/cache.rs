//! A copy of a kind's objects in memory, kept current by a watch and shared by all who read them.
//!
//! ```text
//! list (pages) --> replace --> watch from its resourceVersion --apply--> ...
//!    ^                           |  ended, broken: again from the last resourceVersion
//!    +------- 410: start over ---+
//! ```
//!
//! **Invariants**
//! - Subscribers hear of a change after it is in the map, in order, and must not block.
//! - A subscriber that comes late hears of every object there is.
//! - The map never goes back: a list replaces it only as a whole.

mod index;
mod replace;

pub use index::Index;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::watch as signal;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::{Backoff, Client, ClientError, Event, Key, Object, Resource};

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Seconds that a watch is asked to last: this, and up to as much again.
const WATCH_SECONDS: u64 = 300;
/// A watch that ends earlier and told nothing is no success.
const SHORTEST_WATCH: Duration = Duration::from_secs(10);
const PAGE: &str = "500";

/// Which objects of a kind a cache holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selection {
    /// Empty: of all namespaces.
    pub namespace: String,
    /// Empty: any.
    pub labels: String,
    /// Empty: any.
    pub fields: String,
}

/// A change of one object, as the map saw it. Not the truth, a reason to look again.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    pub key: &'a Key,
    pub before: Option<&'a Arc<Object>>,
    pub after: Option<&'a Arc<Object>>,
}

impl<'a> Change<'a> {
    /// The newest version there is to look at.
    pub fn object(&self) -> Option<&'a Arc<Object>> {
        self.after.or(self.before)
    }
}

type Subscriber = Box<dyn Fn(Change<'_>) + Send + Sync>;
type Objects = BTreeMap<Key, Arc<Object>>;

/// One kind's objects. Clones are the same cache; the last one's end stops the watch.
#[derive(Clone)]
pub struct Cache {
    held: Arc<Held>,
}

struct Held {
    inner: Arc<Inner>,
    follower: JoinHandle<()>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

struct Inner {
    client: Client,
    resource: Arc<Resource>,
    selection: Selection,
    /// What is kept of each object.
    reduce: fn(Object) -> Object,
    objects: RwLock<Objects>,
    /// Held while a change is told, so that a new subscriber neither misses nor doubles one.
    subscribers: Mutex<Vec<Subscriber>>,
    synced: signal::Sender<bool>,
}

/// The caches of a process, one per kind and selection.
pub struct Caches {
    client: Client,
    caches: Mutex<HashMap<(Resource, Selection), Cache>>,
}

impl Caches {
    pub fn new(client: Client) -> Caches {
        Caches { client, caches: Mutex::new(HashMap::new()) }
    }

    /// The cache of all objects of a kind; started at the first call.
    pub fn of(&self, resource: &Resource) -> Cache {
        self.selected(resource, Selection::default())
    }

    /// The cache of some objects of a kind.
    pub fn selected(&self, resource: &Resource, selection: Selection) -> Cache {
        let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || Cache::start(self.client.clone(), resource.clone(), selection.clone());
        caches.entry((resource.clone(), selection.clone())).or_insert_with(start).clone()
    }
}

impl Cache {
    /// Starts to follow a kind. Must be called inside a tokio runtime.
    pub fn start(client: Client, resource: Resource, selection: Selection) -> Cache {
        Cache::reduced(client, resource, selection, |object| object)
    }

    /// The same for a reader that needs little of each object: the cache keeps what `reduce` makes of it, and so
    /// subscribers see it. Not shared with others.
    pub fn reduced(
        client: Client,
        resource: Resource,
        selection: Selection,
        reduce: fn(Object) -> Object,
    ) -> Cache {
        let inner = Arc::new(Inner {
            client,
            resource: Arc::new(resource),
            selection,
            reduce,
            objects: RwLock::new(BTreeMap::new()),
            subscribers: Mutex::new(Vec::new()),
            synced: signal::Sender::new(false),
        });
        let follower = tokio::spawn(follow(inner.clone()));
        Cache { held: Arc::new(Held { inner, follower }) }
    }

    /// A cache of fixed objects that follows nothing, for tests of what reads caches.
    pub fn fixed(client: Client, resource: Resource, objects: Vec<Object>) -> Cache {
        let inner = Arc::new(Inner {
            client,
            resource: Arc::new(resource),
            selection: Selection::default(),
            reduce: |object| object,
            objects: RwLock::new(
                objects.into_iter().map(|object| (object.key.clone(), Arc::new(object))).collect(),
            ),
            subscribers: Mutex::new(Vec::new()),
            synced: signal::Sender::new(true),
        });
        Cache { held: Arc::new(Held { inner, follower: tokio::spawn(async {}) }) }
    }

    /// Returns once the first list is in.
    pub async fn synced(&self) {
        // The sender lives in `self`, so this cannot fail.
        let _ = self.held.inner.synced.subscribe().wait_for(|synced| *synced).await;
    }

    pub fn is_synced(&self) -> bool {
        *self.held.inner.synced.borrow()
    }

    pub fn get(&self, key: &Key) -> Option<Arc<Object>> {
        self.held.inner.read(|objects| objects.get(key).cloned())
    }

    /// The objects of a namespace, or all of them for `""`, by key.
    pub fn list(&self, namespace: &str) -> Vec<Arc<Object>> {
        self.held.inner.read(|objects| {
            if namespace.is_empty() {
                return objects.values().cloned().collect();
            }
            let from = Key::new(namespace, "");
            objects
                .range(from..)
                .take_while(|(key, _)| key.namespace == namespace)
                .map(|(_, object)| object.clone())
                .collect()
        })
    }

    pub fn resource(&self) -> &Resource {
        &self.held.inner.resource
    }

    /// Calls `subscriber` for every object there is, then for every change.
    pub fn subscribe(&self, subscriber: impl Fn(Change<'_>) + Send + Sync + 'static) {
        let inner = &self.held.inner;
        let mut subscribers = inner.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        let objects = inner.read(Clone::clone);
        for (key, object) in &objects {
            subscriber(Change { key, before: None, after: Some(object) });
        }
        subscribers.push(Box::new(subscriber));
    }
}

impl Inner {
    fn read<T>(&self, look: impl FnOnce(&Objects) -> T) -> T {
        look(&self.objects.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Objects) -> T) -> T {
        change(&mut self.objects.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// One object is there in this version, or gone.
    fn apply(&self, key: &Key, after: Option<Arc<Object>>) {
        let subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.write(|objects| match &after {
            Some(object) => objects.insert(key.clone(), object.clone()),
            None => objects.remove(key),
        });
        if before.is_none() && after.is_none() {
            return;
        }
        for subscriber in subscribers.iter() {
            subscriber(Change { key, before: before.as_ref(), after: after.as_ref() });
        }
    }

    /// These are all the objects there are.
    fn replace(&self, fresh: Objects) {
        let subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.write(|objects| std::mem::replace(objects, fresh.clone()));
        for (key, before, after) in replace::differences(&old, &fresh) {
            for subscriber in subscribers.iter() {
                subscriber(Change { key, before, after });
            }
        }
    }

    fn selectors(&self) -> Vec<(&str, &str)> {
        let words =
            [("labelSelector", self.selection.labels.as_str()), ("fieldSelector", &self.selection.fields)];
        words.into_iter().filter(|(_, value)| !value.is_empty()).collect()
    }
}

async fn follow(inner: Arc<Inner>) {
    let random = inner.client.surroundings().random;
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    let mut position: Option<String> = None;
    loop {
        let done = match position.take() {
            None => list(&inner).await.map(|version| {
                inner.synced.send_replace(true);
                position = Some(version);
            }),
            Some(mut version) => {
                let (before, begun) = (version.clone(), Instant::now());
                let ended = watch(&inner, &mut version).await;
                // Progress, or patience, means that the server is well again.
                if version != before || begun.elapsed() > SHORTEST_WATCH {
                    backoff.reset();
                } else if ended.is_ok() {
                    // Ended at once, in good order: not to be repeated in a tight loop.
                    tokio::time::sleep(backoff.next(random)).await;
                }
                match ended {
                    Err(error) if error.is_expired() => {
                        tracing::debug!(resource = %inner.resource, %error, "listing again");
                        Ok(())
                    }
                    ended => {
                        position = Some(version);
                        ended
                    }
                }
            }
        };
        if let Err(error) = done {
            let wait = backoff.next(random);
            tracing::warn!(resource = %inner.resource, %error, wait = ?wait, "following is interrupted");
            tokio::time::sleep(wait).await;
        } else if position.is_none() {
            tokio::time::sleep(backoff.next(random)).await;
        }
    }
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow, default)]
    metadata: PageMeta<'a>,
    #[serde(borrow, default)]
    items: Vec<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct PageMeta<'a> {
    #[serde(borrow, default, rename = "resourceVersion")]
    resource_version: &'a str,
    #[serde(borrow, default, rename = "continue")]
    next: std::borrow::Cow<'a, str>,
}

/// Lists everything and replaces the map; the list's resourceVersion.
async fn list(inner: &Inner) -> Result<String, ClientError> {
    let mut objects = BTreeMap::new();
    let mut next = String::new();
    loop {
        let mut query = inner.selectors();
        query.push(("limit", PAGE));
        if !next.is_empty() {
            query.push(("continue", &next));
        }
        let bytes = inner.client.list_page(&inner.resource, &inner.selection.namespace, &query).await?;
        let page: Page<'_> = serde_json::from_slice(&bytes)
            .map_err(|error| ClientError::Answer(format!("list of {}: {error}", inner.resource)))?;
        for item in page.items {
            let object = (inner.reduce)(Object::read(&inner.resource, item)?);
            objects.insert(object.key.clone(), Arc::new(object));
        }
        next = page.metadata.next.into_owned();
        if next.is_empty() {
            let version = page.metadata.resource_version.to_owned();
            inner.replace(objects);
            return Ok(version);
        }
    }
}

/// Applies changes until the watch ends; `version` moves along.
async fn watch(inner: &Inner, version: &mut String) -> Result<(), ClientError> {
    let seconds = WATCH_SECONDS + (inner.client.surroundings().random)(WATCH_SECONDS);
    let seconds = seconds.to_string();
    let from = version.clone();
    let mut query = inner.selectors();
    query.extend([
        ("resourceVersion", from.as_str()),
        ("allowWatchBookmarks", "true"),
        ("timeoutSeconds", &seconds),
    ]);
    let mut watch = inner.client.watch(&inner.resource, &inner.selection.namespace, &query).await?;
    while let Some(event) = watch.next().await? {
        match event {
            Event::Applied(object) => {
                version.clone_from(&object.resource_version);
                let object = Arc::new((inner.reduce)(object));
                inner.apply(&object.key, Some(object.clone()));
            }
            Event::Deleted(object) => {
                version.clone_from(&object.resource_version);
                inner.apply(&object.key, None);
            }
            Event::Bookmark { resource_version, .. } => *version = resource_version,
        }
    }
    Ok(())
}
