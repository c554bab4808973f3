//! What the agent knows of policies, namespaces and pods, and how it asks for more.
//!
//! Policies are followed always. Namespaces and pods only while there is a policy: a cluster without policies
//! pays for one watch of nothing. A new pod does not wait for a watch: its namespace's policies and its labels are
//! asked for as they are now ([`ask`]), and count until the watch has caught up.
//!
//! ```text
//! <state dir>/policies   the policies as they last were: what counts while the API has not answered yet
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use client::{Cache, Client, ClientError, Key, Object, Resource, Selection};
use cni_api::agent::Endpoint;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::cluster::{Class, Cluster, Labels, Pod, labels};
use super::rule::{Policy, items};

/// How long an answer counts that the watch does not confirm: it was about something that is gone again.
const FRESH: Duration = Duration::from_secs(10);
/// How long the API may take to answer about a new pod.
const ANSWER: Duration = Duration::from_secs(3);

/// What was answered about a new pod.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Of its namespace, as they were after the pod was made.
    pub policies: Vec<Value>,
    /// None: the API has no such pod, so no policy selects it.
    pub pod: Option<Pod>,
}

/// Whose connection an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    Pod(Arc<Class>),
    /// Nobody's that the API knows: no policy selects it.
    Unmanaged,
    /// Not known yet.
    Unknown,
}

pub struct Knowledge {
    client: Client,
    policies: Cache,
    rest: Option<Rest>,
    changed: watch::Sender<()>,
    fresh: BTreeMap<Key, (Policy, Instant)>,
    /// By the pod's link.
    asked: BTreeMap<String, Option<Pod>>,
    file: PathBuf,
    saved: Option<String>,
}

/// What is not followed without need. Of both only what policies are about is kept: see [`namespace`] and [`pod`].
struct Rest {
    namespaces: Cache,
    pods: Cache,
}

/// A namespace's labels.
fn reduce_namespace(object: Object) -> Object {
    let labels = labels(&object.value()["metadata"]);
    object.reduced_to(labels)
}

/// What [`reduce_namespace`] has left.
fn namespace(object: &Arc<Object>) -> Option<&Labels> {
    object.extract()
}

fn reduce_pod(object: Object) -> Object {
    let pod = Pod::read(object.value()).map(Arc::new);
    object.reduced_to(pod)
}

/// What [`reduce_pod`] has left.
fn pod(object: &Arc<Object>) -> Option<&Arc<Pod>> {
    object.extract::<Option<Arc<Pod>>>()?.as_ref()
}

/// Asks what must be known of a new pod. Made after the pod was, the answer holds every policy that was there before it.
pub async fn ask(client: Client, namespace: String, name: String) -> Result<Facts, String> {
    let asking = async {
        let (policies, pods) = (Resource::NETWORK_POLICIES, Resource::PODS);
        let (policies, pod) =
            tokio::join!(client.list(&policies, &namespace, &[]), client.get(&pods, &namespace, &name));
        let pod = match pod {
            Ok(object) => Pod::read(&object),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        Ok::<_, ClientError>(Facts { policies: items(&policies?["items"]).cloned().collect(), pod })
    };
    match tokio::time::timeout(ANSWER, asking).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the API did not answer within {ANSWER:?}")),
    }
}

// === impl Knowledge ===

impl Knowledge {
    /// Follows policies. Must be called inside a tokio runtime.
    pub fn start(client: Client, state: &Path) -> Knowledge {
        let policies = Cache::start(client.clone(), Resource::NETWORK_POLICIES, Selection::default());
        let changed = watch::Sender::new(());
        let tell = changed.clone();
        policies.subscribe(move |_| tell.send_replace(()));
        let file = state.join("policies");
        let saved = std::fs::read_to_string(&file).ok();
        Knowledge {
            client,
            policies,
            rest: None,
            changed,
            fresh: BTreeMap::new(),
            asked: BTreeMap::new(),
            file,
            saved,
        }
    }

    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Fires when it is worth looking again.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The first list of policies.
    pub fn policies(&self) -> Cache {
        self.policies.clone()
    }

    /// Takes an answer about the pod behind a link.
    pub fn learn(&mut self, link: &str, facts: Facts) {
        let until = Instant::now() + FRESH;
        for policy in facts.policies.iter().map(Policy::read) {
            let key = Key::new(&*policy.namespace, &*policy.name);
            self.fresh.insert(key, (policy, until));
        }
        self.asked.insert(link.to_owned(), facts.pod);
    }

    /// Whether it was asked about the pod behind a link.
    pub fn has_asked(&self, link: &str) -> bool {
        self.asked.contains_key(link)
    }

    /// What was answered about the pod behind a link counts no longer.
    pub fn forget(&mut self, link: &str) {
        self.asked.remove(link);
    }

    /// Forgets the links that are neither there nor coming.
    pub fn keep(&mut self, wanted: impl Fn(&str) -> bool) {
        self.asked.retain(|link, _| wanted(link));
    }

    /// The time at which something that counts now does no longer.
    pub fn expires(&self) -> Option<Instant> {
        self.fresh.values().map(|(_, until)| *until).min()
    }

    /// Everything there is to know; None: not yet, and what is in place stays.
    pub fn cluster(&mut self) -> Option<Cluster> {
        let policies = if self.policies.is_synced() { self.current() } else { self.last()? };
        if policies.is_empty() {
            self.rest = None;
            return Some(Cluster::default());
        }
        if self.rest.is_none() {
            self.rest = Some(self.follow_rest());
        }
        let rest = self.rest.as_ref()?;
        if !rest.namespaces.is_synced() || !rest.pods.is_synced() {
            return None;
        }
        let namespaces = rest.namespaces.list("");
        let labelled = |n: &Arc<Object>| (n.key.name.clone(), namespace(n).cloned().unwrap_or_default());
        let namespaces: BTreeMap<String, Labels> = namespaces.iter().map(labelled).collect();
        let pods = rest.pods.list("").iter().filter_map(pod).cloned().collect();
        Some(Cluster { policies, namespaces, pods })
    }

    /// Policies as the watch and the answers have them.
    fn current(&mut self) -> Vec<Policy> {
        let listed = self.policies.list("");
        self.save(&listed.iter().map(|object| object.value()).collect::<Vec<_>>());
        let mut all: BTreeMap<Key, Policy> =
            listed.iter().map(|object| (object.key.clone(), Policy::read(object.value()))).collect();
        let now = Instant::now();
        self.fresh.retain(|key, (policy, until)| {
            let caught_up = all.get(key).is_some_and(|known| known.version >= policy.version);
            !caught_up && *until > now
        });
        for (key, (policy, _)) in &self.fresh {
            all.insert(key.clone(), policy.clone());
        }
        all.into_values().collect()
    }

    /// Policies as they last were, and what was answered since.
    fn last(&self) -> Option<Vec<Policy>> {
        let saved: Value = serde_json::from_str(self.saved.as_deref()?).ok()?;
        let saved = items(&saved["items"]).map(Policy::read);
        Some(saved.chain(self.fresh.values().map(|(policy, _)| policy.clone())).collect())
    }

    fn save(&mut self, policies: &[&Value]) {
        let text = json!({"version": 1, "items": policies}).to_string();
        if self.saved.as_ref() == Some(&text) {
            return;
        }
        let new = self.file.with_extension("new");
        let written = std::fs::write(&new, &text).and_then(|()| std::fs::rename(&new, &self.file));
        match written {
            Ok(()) => self.saved = Some(text),
            Err(error) => {
                tracing::warn!(file = %self.file.display(), %error, "the last policies cannot be kept")
            }
        }
    }

    fn follow_rest(&self) -> Rest {
        tracing::info!("there are policies: namespaces and pods are followed");
        let follow = |resource, reduce: fn(Object) -> Object| {
            Cache::reduced(self.client.clone(), resource, Selection::default(), reduce)
        };
        let namespaces = follow(Resource::NAMESPACES, reduce_namespace);
        let pods = follow(Resource::PODS, reduce_pod);
        let tell = self.changed.clone();
        namespaces.subscribe(move |change| {
            let read = |object: Option<&Arc<Object>>| object.and_then(namespace).cloned();
            if read(change.before) != read(change.after) {
                tell.send_replace(());
            }
        });
        let tell = self.changed.clone();
        pods.subscribe(move |change| {
            // Most changes of pods are of their conditions.
            let read = |object: Option<&Arc<Object>>| {
                object.and_then(pod).map(|pod| Pod { version: 0, ..(**pod).clone() })
            };
            if read(change.before) != read(change.after) {
                tell.send_replace(());
            }
        });
        for cache in [namespaces.clone(), pods.clone()] {
            let tell = self.changed.clone();
            // Ends with the first list, or with the process.
            drop(tokio::spawn(async move {
                cache.synced().await;
                tell.send_replace(());
            }));
        }
        Rest { namespaces, pods }
    }

    /// Whose connection it is. `cluster` is what [`Knowledge::cluster`] has said.
    pub fn who(&self, endpoint: &Endpoint, cluster: &Cluster) -> Who {
        if cluster.policies.is_empty() {
            return Who::Unmanaged;
        }
        let name = &endpoint.pod;
        if name.name.is_empty() {
            // Without a cookie it was recovered from the kernel: only its addresses tell whose it is.
            let is_recovered = endpoint.netns_cookie == 0;
            let same = |pod: &&Arc<Pod>| pod.addresses.iter().any(|ip| endpoint.addresses.contains(ip));
            return match (is_recovered, cluster.pods.iter().find(same)) {
                (false, _) => Who::Unmanaged,
                (true, Some(pod)) => Who::Pod(pod.class.clone()),
                (true, None) => Who::Unknown,
            };
        }
        let key = Key::new(&*name.namespace, &*name.name);
        let listed = self.rest.as_ref().and_then(|rest| rest.pods.get(&key));
        let listed = listed.as_ref().and_then(pod);
        let asked = self.asked.get(&endpoint.link);
        match (listed.filter(|pod| pod.is(&name.uid)), asked) {
            (Some(pod), Some(Some(newer))) if newer.version > pod.version => Who::Pod(newer.class.clone()),
            (Some(pod), _) => Who::Pod(pod.class.clone()),
            (None, Some(Some(pod))) => Who::Pod(pod.class.clone()),
            (None, Some(None)) => Who::Unmanaged,
            (None, None) => Who::Unknown,
        }
    }
}
