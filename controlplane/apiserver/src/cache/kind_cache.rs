//! The cache of one kind.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use api::kind::{Kind, Selectable};
use store::{Event, EventKind, KeyRange, RangeRequest, Revision, Store};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::CacheError;
use super::changes::{Change, ChangeKind, Changes};
use super::frames::Frames;
use crate::conversion::Gate;
use crate::encryption::Encryption;
use crate::envelope;
use crate::object::{Object, selectable};

/// Where a watch is: everything up to and including this revision was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(pub Revision);

/// Snapshot and changes of one kind.
#[derive(Debug)]
pub struct KindCache {
    prefix: String,
    /// Group and resource.
    place: (&'static str, &'static str),
    encryption: Arc<Encryption>,
    /// Objects were found of another key than they are written with.
    stale: AtomicBool,
    /// What its objects may be selected by.
    selectable: RwLock<Arc<[Selectable]>>,
    state: RwLock<Kept>,
    /// The revision of the latest change of this kind.
    latest: watch::Sender<Revision>,
    /// The kind is no longer served.
    ended: CancellationToken,
    /// Who asks a webhook about these objects.
    pub conversions: Gate,
    /// What watches have shown of the latest changes.
    pub frames: Frames,
}

#[derive(Debug)]
struct Kept {
    objects: BTreeMap<Arc<str>, Arc<Object>>,
    changes: Changes,
    /// The revision of the latest change in `objects`.
    latest: Revision,
    /// Objects whose latest form cannot be opened, and why: of a key that another server has and this one lacks.
    unreadable: BTreeMap<String, String>,
}

impl KindCache {
    pub(super) fn new(
        place: (&'static str, &'static str),
        faces: Vec<&'static Kind>,
        encryption: Arc<Encryption>,
    ) -> KindCache {
        let changes = Changes::after(Revision(0));
        let kept =
            Kept { objects: BTreeMap::new(), changes, latest: Revision(0), unreadable: BTreeMap::new() };
        KindCache {
            prefix: super::prefix(place.0, place.1),
            place,
            stale: AtomicBool::new(false),
            encryption,
            selectable: RwLock::new(selectable(&faces).into()),
            state: RwLock::new(kept),
            latest: watch::Sender::new(Revision(0)),
            ended: CancellationToken::new(),
            conversions: Gate::default(),
            frames: Frames::default(),
        }
    }

    /// Reads all objects as of a revision. Changes up to `gone` will never be in the ring; those behind it are what the
    /// follower still brings, so that a watch can go on where it was before a restart.
    pub(super) fn fill(&self, store: &Store, at: Revision, gone: Revision) -> Result<(), CacheError> {
        let objects = self.read(store, at)?;
        let mut kept = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *kept = Kept { objects, changes: Changes::after(gone), latest: at, unreadable: BTreeMap::new() };
        self.latest.send_replace(at);
        Ok(())
    }

    /// Reads all objects as of a revision; watches from before it have to list anew.
    pub(super) fn begin_anew(&self, store: &Store, at: Revision) -> Result<(), CacheError> {
        let objects = self.read(store, at)?;
        let mut kept = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *kept = Kept { objects, changes: Changes::after(at), latest: at, unreadable: BTreeMap::new() };
        self.latest.send_replace(at);
        Ok(())
    }

    fn read(&self, store: &Store, at: Revision) -> Result<BTreeMap<Arc<str>, Arc<Object>>, CacheError> {
        let range = KeyRange::prefix(self.prefix.as_str());
        let page = store.state().range(&RangeRequest { range, revision: Some(at), limit: 0 })?;
        let (selectable, keys) = (self.selectable(), self.encryption.current());
        let wanted = keys.writer(self.place.0, self.place.1).map_or("", |key| &key.id);
        let mut objects = BTreeMap::new();
        for record in &page.records {
            if envelope::key_id(&record.value).is_ok_and(|id| id != wanted) {
                self.stale.store(true, Ordering::Relaxed);
            }
            let object = Object::open(self.prefix.len(), record, &selectable, &keys).map_err(|source| {
                CacheError::Object { key: String::from_utf8_lossy(&record.key).into_owned(), source }
            })?;
            objects.insert(object.key.clone(), Arc::new(object));
        }
        Ok(objects)
    }

    /// Shows its objects with other faces. They are opened again where fields can be selected that could not before.
    pub(super) fn show_as(
        &self,
        faces: Vec<&'static Kind>,
        store: &Store,
        at: Revision,
    ) -> Result<(), CacheError> {
        let (now, before) = (selectable(&faces), self.selectable());
        let same = now.iter().all(|field| before.contains(field));
        *self.selectable.write().unwrap_or_else(PoisonError::into_inner) = now.into();
        if !same {
            let objects = self.read(store, at)?;
            self.state.write().unwrap_or_else(PoisonError::into_inner).objects = objects;
        }
        Ok(())
    }

    /// Whether it began with objects of other keys.
    pub(super) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Ends its watches.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    /// Whether what one watch shows, others may show too.
    pub fn is_watched_by_many(&self) -> bool {
        self.latest.receiver_count() > 1
    }

    /// Cancelled when the kind is no longer served.
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Takes changes into the ring, and into the snapshot those that came after it was read. All of a
    /// revision at once, so that nobody sees half of one.
    pub(super) fn take(&self, events: &[&Event], snapshot_at: Revision) {
        let (mut changes, mut closed) = (Vec::with_capacity(events.len()), Vec::new());
        for event in events {
            match self.change(event) {
                Ok(change) => changes.push(change),
                Err(error) => {
                    let key = String::from_utf8_lossy(&event.record.key).into_owned();
                    tracing::error!(key, %error, "an object in the store cannot be shown");
                    closed.push((*event, key, error.to_string()));
                }
            }
        }
        if !closed.is_empty() {
            self.close(closed, snapshot_at);
        }
        let Some(latest) = changes.last().map(|change| change.object.revision) else { return };
        let mut kept = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            if change.object.revision > snapshot_at {
                if !kept.unreadable.is_empty() {
                    kept.unreadable.remove(&*change.object.key);
                }
                match change.kind {
                    ChangeKind::Deleted => drop(kept.objects.remove(&change.object.key)),
                    _ => drop(kept.objects.insert(change.object.key.clone(), change.object.clone())),
                }
            }
            kept.changes.push(change);
        }
        kept.latest = kept.latest.max(latest);
        drop(kept);
        self.latest.send_if_modified(|known| latest > *known && std::mem::replace(known, latest) < latest);
    }

    /// What cannot be opened is not shown as it was before either. Whoever watches reads anew and is told.
    fn close(&self, closed: Vec<(&Event, String, String)>, snapshot_at: Revision) {
        let mut kept = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut latest = kept.latest;
        for (event, key, why) in closed {
            let Some(key) = key.get(self.prefix.len()..).filter(|_| event.record.modified > snapshot_at)
            else {
                continue;
            };
            kept.objects.remove(key);
            match event.kind {
                EventKind::Delete => drop(kept.unreadable.remove(key)),
                EventKind::Put => drop(kept.unreadable.insert(key.to_owned(), why)),
            }
            latest = latest.max(event.record.modified);
        }
        if latest <= kept.latest {
            return;
        }
        (kept.latest, kept.changes) = (latest, Changes::after(latest));
        drop(kept);
        self.latest.send_if_modified(|known| latest > *known && std::mem::replace(known, latest) < latest);
    }

    /// Why an object cannot be shown, although it is there.
    pub fn unreadable(&self, key: &str) -> Option<String> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).unreadable.get(key).cloned()
    }

    /// Why a list of a namespace (empty: of all) cannot be shown.
    pub fn unreadable_in(&self, namespace: &str) -> Option<String> {
        let kept = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let inside = |key: &String| {
            namespace.is_empty() || key.split_once('/').is_some_and(|(first, _)| first == namespace)
        };
        kept.unreadable.iter().find(|(key, _)| inside(key)).map(|(_, why)| why.clone())
    }

    fn change(&self, event: &Event) -> Result<Change, crate::envelope::EnvelopeError> {
        let (selectable, keys) = (self.selectable(), self.encryption.current());
        let open = |record: &store::Record, revision| {
            Object::open_as(self.prefix.len(), record, revision, &selectable, &keys).map(Arc::new)
        };
        let revision = event.record.modified;
        let previous = match &event.previous {
            Some(record) => {
                let key = String::from_utf8_lossy(record.key.get(self.prefix.len()..).unwrap_or_default());
                let known = self.get(&key).filter(|known| known.revision == record.modified);
                match known.map_or_else(|| open(record, record.modified), Ok) {
                    Ok(known) => Some(known),
                    // It was not shown either: what comes now is new.
                    Err(_) if event.kind == EventKind::Put => None,
                    Err(error) => return Err(error),
                }
            }
            None => None,
        };
        let shown_before = event.previous.as_ref().filter(|_| previous.is_some());
        Ok(match (event.kind, shown_before) {
            (EventKind::Delete, Some(record)) => {
                Change { kind: ChangeKind::Deleted, object: open(record, revision)?, previous }
            }
            (EventKind::Delete, None) => {
                Change { kind: ChangeKind::Deleted, object: open(&event.record, revision)?, previous }
            }
            (EventKind::Put, None) => {
                Change { kind: ChangeKind::Added, object: open(&event.record, revision)?, previous }
            }
            (EventKind::Put, Some(_)) => {
                Change { kind: ChangeKind::Modified, object: open(&event.record, revision)?, previous }
            }
        })
    }

    /// One object by its key.
    pub fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).objects.get(key).cloned()
    }

    /// The objects of a namespace (empty: of all) in the order of their keys, and a revision up to which they
    /// are complete.
    pub fn list(&self, namespace: &str) -> (Vec<Arc<Object>>, Revision) {
        let (objects, _, complete) = self.page(namespace, "", 0);
        (objects, complete)
    }

    /// A page of that list: what is from the key `start` on (empty: all), `limit` of it at most (0: no bound), and how much
    /// is behind it.
    pub fn page(&self, namespace: &str, start: &str, limit: usize) -> (Vec<Arc<Object>>, usize, Revision) {
        let kept = self.state.read().unwrap_or_else(PoisonError::into_inner);
        // '0' follows '/', so the range is exactly what begins with "namespace/".
        let (begin, end) = (format!("{namespace}/"), format!("{namespace}0"));
        let whole = namespace.is_empty();
        let begin = if whole { start } else { start.max(&begin) };
        let end = if whole { Bound::Unbounded } else { Bound::Excluded(end.as_str()) };
        if matches!(end, Bound::Excluded(end) if end <= begin) {
            return (Vec::new(), 0, kept.latest);
        }
        let mut range = kept.objects.range::<str, _>((Bound::Included(begin), end)).map(|(_, object)| object);
        let most = if limit == 0 { usize::MAX } else { limit };
        let objects = range.by_ref().take(most).cloned().collect();
        (objects, range.count(), kept.latest)
    }

    /// Follows the revision of the latest change of this kind.
    pub fn latest(&self) -> watch::Receiver<Revision> {
        self.latest.subscribe()
    }

    /// Up to `limit` changes behind a position, never half a revision. `Err`: changes up to that revision
    /// are gone from memory.
    pub fn changes(&self, position: Position, limit: usize) -> Result<Vec<Arc<Change>>, Revision> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).changes.since(position.0, limit)
    }

    /// The key prefix of this kind in the store.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What its objects may be selected by.
    pub fn selectable(&self) -> Arc<[Selectable]> {
        self.selectable.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
