//! What the agent knows of policies, namespaces and pods, and how it asks for more. What changed goes to the compiler.
//!
//! Policies are followed always. Namespaces and pods only while there is a policy: a cluster without policies
//! pays for one watch of nothing. A new pod does not wait for a watch: its namespace's policies and its labels are
//! asked for as they are now ([`ask`]), and count until the watch has caught up.
//!
//! ```text
//! <state dir>/policies   the policies as they last were: what counts while the API has not answered yet
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::meta::Meta;
use client::{Cache, Change, Client, ClientError, Key, Object, Resource, Selection};
use cni_api::agent::Endpoint;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::cluster::{Class, Labels, Pod, labels};
use super::compile::Compiler;
use super::followed::Followed;
use super::rule::{Policy, items, version};

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
    policies: Followed,
    rest: Option<Rest>,
    changed: watch::Sender<()>,
    /// As they last were, until the first list is in.
    last: Option<BTreeMap<Key, Policy>>,
    /// Answers that the watch has not caught up with.
    fresh: BTreeMap<Key, (Policy, Instant)>,
    /// Policies that may be others than the compiler knows, beside those of the watch.
    untold: BTreeSet<Key>,
    /// By the pod's link.
    asked: BTreeMap<String, Option<Pod>>,
    file: PathBuf,
    is_saved: bool,
}

/// What is not followed without need. Of both only what policies are about is kept: see [`namespace`] and [`pod`].
struct Rest {
    namespaces: Followed,
    pods: Followed,
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

/// Most changes of pods are of their conditions, which are in no [`Pod`].
fn is_other_pod(change: Change<'_>) -> bool {
    match (change.before.and_then(pod), change.after.and_then(pod)) {
        (Some(before), Some(after)) => !before.is_like(after),
        (before, after) => before.is_some() || after.is_some(),
    }
}

/// Policies as they last were; None: not even that is known.
fn last(file: &Path) -> Option<BTreeMap<Key, Policy>> {
    let saved: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let policies = items(&saved["items"]).map(Policy::read);
    Some(policies.map(|policy| (Key::new(&*policy.namespace, &*policy.name), policy)).collect())
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
        let policies = Followed::new(policies, changed.clone(), |_| true);
        let file = state.join("policies");
        let last = last(&file);
        Knowledge {
            client,
            policies,
            rest: None,
            changed,
            untold: last.iter().flat_map(BTreeMap::keys).cloned().collect(),
            last,
            fresh: BTreeMap::new(),
            asked: BTreeMap::new(),
            file,
            is_saved: false,
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
        self.policies.cache.clone()
    }

    /// Takes an answer about the pod behind a link.
    pub fn learn(&mut self, link: &str, facts: Facts) {
        let until = Instant::now() + FRESH;
        for object in &facts.policies {
            let meta = Meta::of(object);
            let key = Key::new(meta.namespace(), meta.name());
            if !self.has_caught_up(&key, version(object)) {
                self.fresh.insert(key.clone(), (Policy::read(object), until));
                self.untold.insert(key);
            }
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
        // Without the list nothing is newer than an answer.
        self.fresh.values().map(|(_, until)| *until).min().filter(|_| self.policies.cache.is_synced())
    }

    /// Tells the compiler what has changed; false: not all is known yet, and what is in place stays.
    pub fn tell(&mut self, compiler: &mut Compiler) -> bool {
        if !self.tell_policies(compiler) {
            return false;
        }
        if compiler.policies() == 0 {
            self.rest = None;
            compiler.forget_cluster();
            return true;
        }
        let rest = match &self.rest {
            Some(rest) => rest,
            None => &*self.rest.insert(self.follow_rest()),
        };
        if !rest.namespaces.cache.is_synced() || !rest.pods.cache.is_synced() {
            return false;
        }
        for key in rest.namespaces.take_changed() {
            let object = rest.namespaces.cache.get(&key);
            compiler.set_namespace(&key.name, object.map(|o| namespace(&o).cloned().unwrap_or_default()));
        }
        for key in rest.pods.take_changed() {
            let object = rest.pods.cache.get(&key);
            compiler.set_pod(&key, object.as_ref().and_then(pod).cloned());
        }
        true
    }

    /// Policies as the watch and the answers have them, before the first list as they last were.
    fn tell_policies(&mut self, compiler: &mut Compiler) -> bool {
        if self.policies.cache.is_synced() {
            let listed = self.policies.take_changed();
            self.is_saved &= listed.is_empty();
            self.untold.extend(listed);
            self.untold.extend(self.last.take().unwrap_or_default().into_keys());
            self.drop_answers();
            self.save();
        } else if self.last.is_none() {
            return false;
        }
        for key in std::mem::take(&mut self.untold) {
            compiler.set_policy(&key, self.policy(&key));
        }
        true
    }

    fn policy(&self, key: &Key) -> Option<Policy> {
        match (self.fresh.get(key), &self.last) {
            (Some((policy, _)), _) => Some(policy.clone()),
            (None, Some(last)) => last.get(key).cloned(),
            (None, None) => self.policies.cache.get(key).map(|object| Policy::read(object.value())),
        }
    }

    /// Those that the watch has caught up with, or had time to.
    fn drop_answers(&mut self) {
        let now = Instant::now();
        let counts =
            |key: &Key, policy: &Policy, until| until > now && !self.has_caught_up(key, policy.version);
        let old: Vec<Key> = self
            .fresh
            .iter()
            .filter(|(key, (policy, until))| !counts(key, policy, *until))
            .map(|(key, _)| key.clone())
            .collect();
        for key in old {
            self.fresh.remove(&key);
            self.untold.insert(key);
        }
    }

    fn has_caught_up(&self, key: &Key, version: u64) -> bool {
        let known = self.policies.cache.get(key);
        known.is_some_and(|known| known.resource_version.parse().is_ok_and(|known: u64| known >= version))
    }

    fn save(&mut self) {
        if self.is_saved {
            return;
        }
        let listed = self.policies.cache.list("");
        let items: Vec<&Value> = listed.iter().map(|object| object.value()).collect();
        let text = json!({"version": 1, "items": items}).to_string();
        let new = self.file.with_extension("new");
        let written = std::fs::write(&new, &text).and_then(|()| std::fs::rename(&new, &self.file));
        match written {
            Ok(()) => self.is_saved = true,
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
        for cache in [namespaces.clone(), pods.clone()] {
            let tell = self.changed.clone();
            // Ends with the first list, or with the process.
            drop(tokio::spawn(async move {
                cache.synced().await;
                tell.send_replace(());
            }));
        }
        Rest {
            namespaces: Followed::new(namespaces, self.changed.clone(), |change| {
                change.before.map(namespace) != change.after.map(namespace)
            }),
            pods: Followed::new(pods, self.changed.clone(), is_other_pod),
        }
    }

    /// Whose connection it is. The compiler has heard everything.
    pub fn who(&self, endpoint: &Endpoint, compiler: &Compiler) -> Who {
        if compiler.policies() == 0 {
            return Who::Unmanaged;
        }
        let name = &endpoint.pod;
        if name.name.is_empty() {
            // Without a cookie it was recovered from the kernel: only its addresses tell whose it is.
            let is_recovered = endpoint.netns_cookie == 0;
            let same = endpoint.addresses.iter().find_map(|ip| compiler.pod_at(*ip));
            return match (is_recovered, same) {
                (false, _) => Who::Unmanaged,
                (true, Some(pod)) => Who::Pod(pod.class.clone()),
                (true, None) => Who::Unknown,
            };
        }
        let key = Key::new(&*name.namespace, &*name.name);
        let listed = self.rest.as_ref().and_then(|rest| rest.pods.cache.get(&key));
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

#[cfg(test)]
mod tests {
    use client::{Config, Surroundings};

    use super::*;

    fn policy(version: &str) -> Value {
        json!({"metadata": {"namespace": "a", "name": "p", "resourceVersion": version}, "spec": {"podSelector": {}}})
    }

    #[tokio::test]
    async fn without_the_api_answers_and_the_last_policies_count() {
        let folder = tempfile::tempdir().unwrap();
        let start = || {
            let config = Config::of_server("https://127.0.0.1:1", Vec::new()).unwrap();
            Knowledge::start(Client::new(config, "test", Surroundings::system()).unwrap(), folder.path())
        };
        let save = |items: Value| {
            let text = json!({"version": 1, "items": items}).to_string();
            std::fs::write(folder.path().join("policies"), text).unwrap();
        };
        assert!(!start().tell(&mut Compiler::default()), "nobody knows");
        save(json!([]));
        let (mut knowledge, mut compiler) = (start(), Compiler::default());
        assert!(knowledge.tell(&mut compiler), "it is known that there were none");
        knowledge.learn("kn0", Facts { policies: vec![policy("8")], pod: None });
        assert!(!knowledge.tell(&mut compiler), "there is one, and pods are not known");
        assert_eq!((compiler.policies(), knowledge.expires()), (1, None));
        save(json!([policy("7")]));
        let (mut knowledge, mut compiler) = (start(), Compiler::default());
        assert!(!knowledge.tell(&mut compiler));
        assert_eq!(compiler.policies(), 1);
        knowledge.learn("kn0", Facts { policies: vec![policy("8")], pod: None });
        knowledge.tell(&mut compiler);
        assert_eq!(
            knowledge.policy(&Key::new("a", "p")).map(|policy| policy.version),
            Some(8),
            "the answer is newer"
        );
    }
}
