//! Custom resources come and go with their definitions: names, rows, caches, conditions, and the end of their objects.
//!
//! ```text
//!   change of a definition ─► plan (pure) ─► settle names ─► rows and caches ─► serve ─► Established
//!   its deletion           ─► expel objects ─► the last is gone ─► finalizer off ─► withdraw
//! ```
//!
//! One task. A round looks at the definitions that changed and at those that wait for others, so that its cost is theirs and not
//! that of a thousand others; what is kept of each is small.
//!
//! **Invariants**
//! - A definition is Established only when its resources are served.
//! - A kind is withdrawn only after its definition is gone from the store.
//!
//! Reference: apiextensions-apiserver's naming, establishing and finalizing controllers, by behaviour.

mod plan;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use api::custom::{Custom, Interner, rows};
use api::kind::Kind;
use api::status::Status;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use store::Revision;
use tokio::task::JoinHandle;

use crate::cache::{KindCache, Position};
use crate::object::Object;
use crate::registry::{self, Change};
use crate::server::Server;
use plan::{Observed, Step, plan};

/// Deletions of one kind's objects, and writes of definitions, under way at once.
const AT_ONCE: usize = 64;
/// Rounds begin at least so far apart: definitions that come in a row are served together.
const TOGETHER: std::time::Duration = std::time::Duration::from_millis(10);
/// After a failure, such as a full disk.
const RETRY: std::time::Duration = std::time::Duration::from_secs(2);

/// The task; ended with its owner.
#[derive(Debug)]
pub struct Definitions {
    task: JoinHandle<()>,
}

impl Definitions {
    /// Serves what is defined already, then follows changes.
    pub async fn start(server: Arc<Server>) -> Result<Definitions, Status> {
        let kind = server
            .registry
            .by_resource("apiextensions.k8s.io", "v1", "customresourcedefinitions")
            .ok_or_else(Status::no_such_path)?;
        let cache = server.cache(kind)?;
        let mut work = Work {
            server,
            kind,
            cache,
            interner: Interner::default(),
            known: BTreeMap::new(),
            groups: HashMap::new(),
            seen: None,
            waiting: BTreeSet::new(),
        };
        work.round().await?;
        Ok(Definitions { task: tokio::spawn(work.run()) })
    }
}

impl Drop for Definitions {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is kept of a definition.
struct Known {
    group: String,
    /// Its accepted names, as others of its group look at them.
    names: Value,
    kinds: Vec<&'static Kind>,
    /// Those that it was served as before: requests and watches that began then go on with them, by what the definition says now.
    /// None of them is among `kinds`.
    former: Vec<&'static Kind>,
    terminating: bool,
}

impl Known {
    fn replace(&mut self, kinds: Vec<&'static Kind>) {
        self.former.extend(std::mem::replace(&mut self.kinds, kinds));
        let kinds = &self.kinds;
        let is_now = |former: &&'static Kind| kinds.iter().any(|kind| std::ptr::eq(*kind, *former));
        self.former.retain(|former| !is_now(former));
        for former in &self.former {
            let successor = kinds.iter().find(|kind| kind.version == former.version);
            if let Some(slot) = former.custom {
                slot.set(successor.and_then(|kind| kind.custom()));
            }
        }
    }
}

fn forget(kind: &Kind) {
    if let Some(slot) = kind.custom {
        slot.set(None);
    }
}

/// What a round leaves to be written, together, at its end.
#[derive(Default)]
struct Found {
    /// Definitions with other names or conditions.
    settled: Vec<(Arc<Object>, Value)>,
    /// Those that are established once their resources are served.
    unserved: Vec<Arc<Object>>,
}

/// The accepted names of a definition, as others look at them.
fn names(definition: &Value) -> Value {
    serde_json::json!({"status": {"acceptedNames": definition["status"]["acceptedNames"]}})
}

struct Work {
    server: Arc<Server>,
    kind: &'static Kind,
    cache: Arc<KindCache>,
    interner: Interner,
    known: BTreeMap<String, Known>,
    /// The definitions of each group.
    groups: HashMap<String, BTreeSet<String>>,
    /// Changes up to here were looked at.
    seen: Option<Revision>,
    /// Definitions to be looked at though they did not change: those whose objects go, and those of a group where a name is
    /// free again.
    waiting: BTreeSet<String>,
}

impl Work {
    async fn run(mut self) {
        let mut latest = self.cache.latest();
        let mut progress = self.server.caches.progress();
        loop {
            let waits_for_objects = !self.waiting.is_empty();
            tokio::select! {
                changed = latest.changed() => if changed.is_err() { return },
                changed = progress.changed(), if waits_for_objects => if changed.is_err() { return },
                () = self.server.stopping.cancelled() => return,
            }
            latest.borrow_and_update();
            let begun = tokio::time::Instant::now();
            while let Err(status) = self.round().await {
                if self.server.stopping.is_cancelled() {
                    return;
                }
                tracing::warn!(
                    error = status.message,
                    "custom resources could not be brought up to date; it is tried again"
                );
                tokio::time::sleep(RETRY).await;
            }
            tokio::time::sleep_until(begun + TOGETHER).await;
        }
    }

    /// Looks at every definition that changed, and at those that wait for others.
    async fn round(&mut self) -> Result<(), Status> {
        let (names, reached) = self.changed();
        let mut look = std::mem::take(&mut self.waiting);
        look.extend(names);
        // Until all went well they are to be looked at again.
        self.waiting.clone_from(&look);
        let mut swapped = false;
        let (present, gone): (Vec<String>, Vec<String>) =
            look.into_iter().partition(|name| self.cache.get(name).is_some());
        let mut again: BTreeSet<String> = BTreeSet::new();
        for name in gone {
            if let Some(group) = self.withdraw(&name) {
                swapped = true;
                again.extend(self.groups.get(&group).cloned().unwrap_or_default());
            }
        }
        again.extend(present);
        self.waiting.extend(again.iter().cloned());
        let mut found = Found::default();
        for name in &again {
            if let Some(object) = self.cache.get(name) {
                swapped |= self.look(&object, &mut found).await?;
            }
        }
        if swapped {
            self.serve();
        }
        let now = registry::meta::time(self.server.now());
        let now = now.as_str().unwrap_or_default();
        let Found { mut settled, unserved } = found;
        settled.extend(unserved.into_iter().map(|object| {
            let established = api::definition::established(&object.value(), now);
            (object, established)
        }));
        let work = &*self;
        stream::iter(settled)
            .map(|(object, changed)| async move { work.write(&object, Change::Put(changed)).await })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        self.seen = Some(reached);
        self.waiting.retain(|name| self.known.get(name).is_some_and(|known| known.terminating));
        Ok(())
    }

    /// The names of definitions that changed since the last round, and up to which revision.
    fn changed(&self) -> (BTreeSet<String>, Revision) {
        let reached = *self.cache.latest().borrow();
        let since = self.seen.map(|seen| self.cache.changes(Position(seen), usize::MAX >> 1));
        if let Some(Ok(changes)) = since {
            return (changes.iter().map(|change| change.object.name().to_owned()).collect(), reached);
        }
        // At the start, and where changes were lost: all that are there, and all that were.
        let (objects, complete) = self.cache.list("");
        let present = objects.iter().map(|object| object.name().to_owned());
        (present.chain(self.known.keys().cloned()).collect(), reached.max(complete))
    }

    /// One definition; whether what is served changed.
    async fn look(&mut self, object: &Arc<Object>, found: &mut Found) -> Result<bool, Status> {
        let definition = object.value();
        let group = definition["spec"]["group"].as_str().unwrap_or_default().to_owned();
        let observed = self.observed(object.name(), &group, registry::meta::is_deleting(&definition));
        let now = registry::meta::time(self.server.now());
        let steps = plan(&definition, &observed, now.as_str().unwrap_or_default());
        self.groups.entry(group.clone()).or_default().insert(object.name().to_owned());
        let known = self.known.entry(object.name().to_owned()).or_insert_with(|| Known {
            group,
            names: Value::Null,
            kinds: Vec::new(),
            former: Vec::new(),
            terminating: false,
        });
        known.names = names(&definition);
        known.terminating = registry::meta::is_deleting(&definition);
        if known.terminating {
            self.waiting.insert(object.name().to_owned());
        }
        let terminating = known.terminating;
        let (mut swapped, mut served) = (false, false);
        for step in steps {
            match step {
                // Before its objects go.
                Step::Write(changed) if terminating => self.write(object, Change::Put(changed)).await?,
                Step::Write(changed) => {
                    // So that no other takes the same name in this round.
                    if let Some(known) = self.known.get_mut(object.name()) {
                        known.names = names(&changed);
                    }
                    found.settled.push((object.clone(), changed));
                }
                Step::Remove => self.write(object, Change::Delete).await?,
                Step::Install => {
                    served = self.install(object, &definition)?;
                    swapped |= served;
                }
                Step::Establish if !served => {}
                Step::Establish => found.unserved.push(object.clone()),
                Step::Expel => self.expel(object.name()).await?,
            }
        }
        Ok(swapped)
    }

    fn observed(&self, name: &str, group: &str, terminating: bool) -> Observed<'_> {
        let others = self.groups.get(group).into_iter().flatten().filter(|other| *other != name);
        let others = others.filter_map(|other| self.known.get(other)).map(|known| &known.names).collect();
        let objects = if terminating { self.objects(name).len() } else { 0 };
        Observed { others, objects }
    }

    fn objects(&self, name: &str) -> Vec<Arc<Object>> {
        let kind = self.known.get(name).and_then(|known| known.kinds.first());
        let cache = kind.and_then(|kind| self.server.caches.of(kind));
        cache.map(|cache| cache.list("").0).unwrap_or_default()
    }

    /// Rows, what they mean, and a cache; whether there is room for them.
    fn install(&mut self, object: &Arc<Object>, definition: &Value) -> Result<bool, Status> {
        let mut kinds = Vec::new();
        for (row, names) in rows(definition) {
            let custom = Custom::new(object.json.clone(), row.version(), names);
            let Some(kind) = self.interner.kind(row) else {
                let (name, rows) = (object.name(), self.interner.len());
                tracing::error!(
                    name,
                    rows,
                    "a definition is not served: this process has served as many names as it may; restart it"
                );
                return Ok(false);
            };
            if let Some(slot) = kind.custom {
                slot.set(Some(Arc::new(custom)));
            }
            kinds.push(kind);
        }
        if !kinds.is_empty() {
            self.server.caches.add(&self.server.store, kinds.clone()).map_err(Status::internal)?;
        }
        if let Some(known) = self.known.get_mut(object.name()) {
            known.replace(kinds);
        }
        Ok(true)
    }

    fn serve(&self) {
        self.server.registry.serve(self.known.values().flat_map(|known| known.kinds.clone()).collect());
    }

    /// Forgets a definition that is gone; its group, whose names are free again.
    fn withdraw(&mut self, name: &str) -> Option<String> {
        let known = self.known.remove(name)?;
        if let Some(names) = self.groups.get_mut(&known.group) {
            names.remove(name);
            if names.is_empty() {
                self.groups.remove(&known.group);
            }
        }
        self.serve();
        for kind in known.kinds {
            self.server.caches.remove(kind.group, kind.resource);
            forget(kind);
        }
        known.former.into_iter().for_each(forget);
        Some(known.group)
    }

    /// Begins the end of every object of a definition.
    async fn expel(&self, name: &str) -> Result<(), Status> {
        let Some(kind) = self.known.get(name).and_then(|known| known.kinds.first()).copied() else {
            return Ok(());
        };
        let server = &self.server;
        stream::iter(self.objects(name))
            .map(|object| async move { registry::expel(server, kind, &object.key).await })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await
    }

    /// Writes unless somebody else was faster: then there is another change to look at.
    async fn write(&self, object: &Object, change: Change) -> Result<(), Status> {
        registry::write(&self.server, self.kind, &object.key, object.revision, &change).await.map(drop)
    }
}
