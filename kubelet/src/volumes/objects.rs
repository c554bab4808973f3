//! The ConfigMaps and Secrets that this node's pods refer to: each watched by name while some pod does, never listed.
//!
//! ```text
//! keep(pod, references) ─> one watch per object ─change─> pods whose volumes show it ─> pending ─> changes
//! get ─> the watch's copy, or asked for where there is none or it holds none
//! ```
//!
//! **Invariants**
//! - A change is told after the copy has it; what waits to be told is a set, so nothing is lost and nothing grows.
//! - An absence is always the API server's own word, not a copy's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::{Cache, Change, Client, Key, Object, Resource, Selection};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::pod::PodUid;

/// Watches share one connection, whose streams are counted: objects beyond this are asked for when they are needed.
const WATCHES_MAX: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    ConfigMap,
    Secret,
}

impl Kind {
    pub fn resource(self) -> Resource {
        match self {
            Kind::ConfigMap => Resource::CONFIG_MAPS,
            Kind::Secret => Resource::SECRETS,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Kind::ConfigMap => "configmap",
            Kind::Secret => "secret",
        }
    }
}

/// One object by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    #[error("{} {name:?} not found", kind.word())]
    NotFound { kind: Kind, name: String },
    #[error("{0}")]
    Failed(String),
}

/// What a pod has to do with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Read when a container starts.
    Environment,
    /// Shown in a volume: a change is told.
    Volume,
}

/// The objects of all pods.
pub struct Objects {
    client: Client,
    shared: Arc<Shared>,
    teller: JoinHandle<()>,
}

struct Shared {
    watched: Mutex<BTreeMap<ObjectName, Watched>>,
    pending: Mutex<BTreeSet<PodUid>>,
    wake: Notify,
}

struct Watched {
    /// None beyond the bound.
    cache: Option<Cache>,
    pods: HashMap<PodUid, Interest>,
}

struct Interest {
    usage: Use,
    /// The version that the pod was given last.
    given: String,
}

impl Drop for Objects {
    fn drop(&mut self) {
        self.teller.abort();
    }
}

impl Objects {
    /// `changes` hears of pods to look at again. Must be called inside a tokio runtime.
    pub fn start(client: Client, changes: mpsc::Sender<PodUid>) -> Objects {
        let shared =
            Arc::new(Shared { watched: Mutex::default(), pending: Mutex::default(), wake: Notify::new() });
        let teller = tokio::spawn(tell(shared.clone(), changes));
        Objects { client, shared, teller }
    }

    /// These, and no others, are what the pod refers to.
    pub fn keep(&self, pod: &PodUid, references: &BTreeMap<ObjectName, Use>) {
        let fresh = self.fresh_watches(references);
        let mut watched = self.shared.watched();
        for (name, cache) in fresh {
            watched.entry(name).or_insert_with(|| Watched { cache, pods: HashMap::new() });
        }
        for (name, usage) in references {
            let one =
                watched.entry(name.clone()).or_insert_with(|| Watched { cache: None, pods: HashMap::new() });
            let interest = one
                .pods
                .entry(pod.clone())
                .or_insert_with(|| Interest { usage: *usage, given: String::new() });
            interest.usage = *usage;
        }
        watched.retain(|name, one| {
            if !references.contains_key(name) {
                one.pods.remove(pod);
            }
            !one.pods.is_empty()
        });
    }

    /// Watches of what nobody watches yet, as far as there is room. Started outside the lock, which their
    /// subscribers take.
    fn fresh_watches(&self, references: &BTreeMap<ObjectName, Use>) -> Vec<(ObjectName, Option<Cache>)> {
        let (room, missing) = {
            let watched = self.shared.watched();
            let taken = watched.values().filter(|one| one.cache.is_some()).count();
            let missing = references.keys().filter(|name| !watched.contains_key(*name));
            (WATCHES_MAX.saturating_sub(taken), missing.cloned().collect::<Vec<_>>())
        };
        let start = |(index, name): (usize, ObjectName)| {
            let cache = (index < room).then(|| self.watch(&name));
            (name, cache)
        };
        missing.into_iter().enumerate().map(start).collect()
    }

    pub fn forget(&self, pod: &PodUid) {
        self.keep(pod, &BTreeMap::new());
        self.shared.pending().remove(pod);
    }

    /// Says that a pod is to be looked at again.
    pub fn tell(&self, pod: PodUid) {
        self.shared.pending().insert(pod);
        self.shared.wake.notify_one();
    }

    /// Pods with volumes of objects that no watch tells of.
    pub fn unwatched(&self) -> BTreeSet<PodUid> {
        let watched = self.shared.watched();
        let silent = watched.values().filter(|one| one.cache.is_none()).flat_map(|one| &one.pods);
        silent.filter(|(_, interest)| interest.usage == Use::Volume).map(|(pod, _)| pod.clone()).collect()
    }

    /// The object as `pod` is given it.
    pub async fn get(&self, pod: &PodUid, name: &ObjectName) -> Result<Arc<Object>, ObjectError> {
        let copy = self.shared.watched().get(name).and_then(|one| {
            let cache = one.cache.as_ref().filter(|cache| cache.is_synced())?;
            cache.get(&Key::new(&name.namespace, &name.name))
        });
        let object = match copy {
            Some(object) => object,
            None => self.ask(name).await?,
        };
        if let Some(interest) = self.shared.watched().get_mut(name).and_then(|one| one.pods.get_mut(pod)) {
            interest.given.clone_from(&object.resource_version);
        }
        Ok(object)
    }

    async fn ask(&self, name: &ObjectName) -> Result<Arc<Object>, ObjectError> {
        let resource = name.kind.resource();
        match self.client.get(&resource, &name.namespace, &name.name).await {
            Ok(value) => Ok(Arc::new(Object::of(&resource, value))),
            Err(error) if error.is_not_found() => {
                Err(ObjectError::NotFound { kind: name.kind, name: name.name.clone() })
            }
            Err(error) => Err(ObjectError::Failed(error.to_string())),
        }
    }

    fn watch(&self, name: &ObjectName) -> Cache {
        let selection = Selection {
            namespace: name.namespace.clone(),
            labels: String::new(),
            fields: format!("metadata.name={}", name.name),
        };
        let cache = Cache::start(self.client.clone(), name.kind.resource(), selection);
        let (shared, name) = (Arc::downgrade(&self.shared), name.clone());
        // Told once per object there is, and from then on for each change.
        cache.subscribe(move |change| changed(&shared, &name, change));
        cache
    }
}

fn changed(shared: &Weak<Shared>, name: &ObjectName, change: Change<'_>) {
    let Some(shared) = shared.upgrade() else { return };
    let pods: Vec<PodUid> = {
        let watched = shared.watched();
        let Some(one) = watched.get(name) else { return };
        let now = change.after.map_or("", |object| object.resource_version.as_str());
        // What a pod was given already is no news to it.
        let behind =
            one.pods.iter().filter(|(_, interest)| interest.usage == Use::Volume && interest.given != now);
        behind.map(|(pod, _)| pod.clone()).collect()
    };
    if !pods.is_empty() {
        shared.pending().extend(pods);
        shared.wake.notify_one();
    }
}

async fn tell(shared: Arc<Shared>, changes: mpsc::Sender<PodUid>) {
    loop {
        let next = shared.pending().pop_first();
        match next {
            Some(pod) => {
                if changes.send(pod).await.is_err() {
                    return;
                }
            }
            None => shared.wake.notified().await,
        }
    }
}

impl Shared {
    fn watched(&self) -> std::sync::MutexGuard<'_, BTreeMap<ObjectName, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, BTreeSet<PodUid>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A value of a Secret's `data`.
pub fn bytes_of(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}
