//! WATCH: changes behind a revision, as they come, with bookmarks.
//!
//! | resourceVersion | begins with |
//! |---|---|
//! | unset or 0 | an ADDED per object there is, then changes |
//! | n | changes behind n; an ERROR 410 where they are gone |
//! | any, with sendInitialEvents | an ADDED per object, a bookmark that ends them, then changes |
//! | unset or 0, with sendInitialEvents=false | changes behind now |
//!
//! A table's columns are told with its first event alone.
//!
//! A watch holds a position in the shared ring of changes, no buffer of its own: a client that reads slowly
//! falls behind and is told 410.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use api::kind::Kind;
use api::path::ListOptions;
use api::status::Status;
use bytes::Bytes;
use futures::Stream;
use store::Revision;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use super::selection::Selection;
use crate::allotted;
use crate::answer::{Answer, Form};
use crate::cache::{Change, ChangeKind, KindCache, Position, Shows};
use crate::conversion;
use crate::object::Object;
use crate::request::Request;
use crate::server::Server;

/// How often a watch that asked for bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// Changes looked at at once.
const BATCH: usize = 256;
/// What a watch without a timeout gets: half an hour, and up to as much again so that not all end together.
const SHORTEST_SECONDS: u64 = 1800;
/// What a watch may ask for at most: a year. More would overflow the clock.
const LONGEST_SECONDS: u64 = 365 * 86_400;

/// Answers a watch.
pub async fn watch(server: &Arc<Server>, request: &Request, kind: &'static Kind) -> Result<Answer, Status> {
    let mut options = ListOptions::parse(&request.query)?;
    options.watch = true;
    let selection = Selection::new(kind, &request.info, &options)?;
    let revision = options.revision()?;
    let initial = options.send_initial_events.unwrap_or(revision.unwrap_or(0) == 0);
    let cache = server.cache(kind)?;
    let (latest, progress) = (cache.latest(), server.caches.progress());
    let seconds = match options.timeout_seconds {
        Some(seconds) if seconds > 0 => seconds.unsigned_abs().min(LONGEST_SECONDS),
        _ => SHORTEST_SECONDS + server.random(SHORTEST_SECONDS),
    };
    let mut watch = Watch {
        server: server.clone(),
        cache,
        latest,
        progress,
        selection,
        form: request.form,
        kind,
        position: Position(Revision(revision.unwrap_or(0))),
        waiting: VecDeque::new(),
        bookmarks: options.allow_watch_bookmarks,
        next_bookmark: Instant::now() + BOOKMARK_EVERY,
        ends: Instant::now() + Duration::from_secs(seconds),
        ended: false,
    };
    if initial {
        let reached = server.fresh(revision).await?;
        watch.begin_with_what_is_there(reached, options.send_initial_events == Some(true)).await?;
    } else if revision.unwrap_or(0) == 0 {
        watch.position = Position(server.fresh(revision).await?);
    }
    let count = watch.waiting.len();
    Ok(Answer::Watch { form: request.form, frames: allotted::begun(watch.frames(), count) })
}

struct Watch {
    server: Arc<Server>,
    cache: Arc<KindCache>,
    /// Moves with every change of the kind.
    latest: Receiver<Revision>,
    /// Moves with every change of anything: what bookmarks say.
    progress: Receiver<Revision>,
    selection: Selection,
    form: Form,
    kind: &'static Kind,
    position: Position,
    /// Frames made and not yet taken: at most one batch, or the initial objects.
    waiting: VecDeque<Frame>,
    bookmarks: bool,
    next_bookmark: Instant,
    ends: Instant,
    ended: bool,
}

/// What a frame shows; bytes are made when the client takes it.
enum Frame {
    /// An object that was there.
    Found(Arc<Object>),
    Changed(ChangeKind, Arc<Object>, Revision),
    Bookmark {
        revision: Revision,
        initial_end: bool,
    },
    Gone(Status),
}

impl Watch {
    /// Whether objects may have to be converted before they are selected and shown. Asked anew each time: a definition may get
    /// its webhook while it is watched.
    fn converts(&self) -> bool {
        conversion::concerns(self.kind) && !self.form.is_metadata()
    }

    async fn begin_with_what_is_there(&mut self, reached: Revision, marked: bool) -> Result<(), Status> {
        let (mut objects, complete) = self.cache.list(&self.selection.namespace);
        if self.converts() {
            objects = conversion::shown(&self.server, self.kind, objects).await?;
        }
        let reached = reached.max(complete);
        for object in objects.into_iter().filter(|object| self.selection.shows(object)) {
            self.waiting.push_back(Frame::Found(object));
        }
        self.position = Position(reached);
        if marked && self.bookmarks {
            self.waiting.push_back(Frame::Bookmark { revision: reached, initial_end: true });
        }
        Ok(())
    }

    fn frames(self) -> impl Stream<Item = Bytes> + Send {
        futures::stream::unfold(self, |mut watch| async move {
            let frame = watch.next().await?;
            let bytes = watch.encode(&frame);
            watch.form = watch.form.without_columns();
            Some((bytes, watch))
        })
    }

    async fn next(&mut self) -> Option<Frame> {
        let stopping = self.server.stopping.clone();
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                return Some(frame);
            }
            if self.ended {
                return None;
            }
            let position = self.position.0;
            let wake = if self.bookmarks { self.next_bookmark.min(self.ends) } else { self.ends };
            let moved = tokio::select! {
                () = stopping.cancelled() => return None,
                () = self.cache.ended().cancelled() => return None,
                moved = self.latest.wait_for(|latest| *latest > position) => Some(moved.map(|latest| *latest)),
                () = tokio::time::sleep_until(wake) => None,
            };
            let step = async {
                match moved {
                    Some(Ok(latest)) => self.advance(latest).await,
                    Some(Err(_)) => self.ended = true,
                    None => self.rest().await,
                }
            };
            // A step may wait for a webhook; an orderly stop does not.
            tokio::select! {
                () = stopping.cancelled() => return None,
                () = step => {}
            }
        }
    }

    /// Time is up, or a bookmark is due.
    async fn rest(&mut self) {
        let now = Instant::now();
        self.ended = now >= self.ends;
        self.next_bookmark = now + BOOKMARK_EVERY;
        // Everything up to here is in the rings already, so after this the position may say so.
        let reached = *self.progress.borrow_and_update();
        if reached > self.position.0 {
            self.advance(reached).await;
        }
        // A last bookmark lets the client go on where it is.
        let gone = matches!(self.waiting.back(), Some(Frame::Gone(_)));
        if self.bookmarks && !gone && self.position.0 > Revision(0) {
            self.waiting.push_back(Frame::Bookmark { revision: self.position.0, initial_end: false });
        }
    }

    async fn advance(&mut self, reached: Revision) {
        match self.cache.changes(self.position, BATCH) {
            Ok(changes) => {
                let seen = match changes.last() {
                    Some(last) if changes.len() >= BATCH => last.object.revision,
                    Some(last) => last.object.revision.max(reached),
                    None => reached,
                };
                let changes = match self.in_version(changes).await {
                    Ok(changes) => changes,
                    Err(status) => return self.fail(status),
                };
                let frames: Vec<Frame> = changes.iter().filter_map(|change| self.shown(change)).collect();
                self.waiting.extend(frames);
                self.position = Position(seen);
            }
            Err(gone) => {
                self.fail(Status::too_old_resource_version(self.position.0.0, gone.0));
            }
        }
    }

    fn fail(&mut self, status: Status) {
        self.ended = true;
        self.waiting.push_back(Frame::Gone(status));
    }

    /// Changes with their objects in the version that is watched.
    async fn in_version(&self, changes: Vec<Arc<Change>>) -> Result<Vec<Arc<Change>>, Status> {
        if !self.converts() {
            return Ok(changes);
        }
        let objects = changes.iter().flat_map(|change| [Some(&change.object), change.previous.as_ref()]);
        let objects: Vec<Arc<Object>> = objects.flatten().cloned().collect();
        let mut shown = conversion::shown(&self.server, self.kind, objects).await?.into_iter();
        let mut next = || shown.next().ok_or_else(|| Status::internal("an object was lost in conversion"));
        let mut converted = Vec::with_capacity(changes.len());
        for change in &changes {
            let object = next()?;
            let previous = change.previous.as_ref().map(|_| next()).transpose()?;
            converted.push(Arc::new(Change { kind: change.kind, object, previous }));
        }
        Ok(converted)
    }

    /// How a change looks through the selection: entering it is ADDED, leaving it DELETED.
    fn shown(&self, change: &Change) -> Option<Frame> {
        let before = change.previous.as_ref().is_some_and(|previous| self.selection.shows(previous));
        let revision = change.object.revision;
        let event = |kind, object: &Arc<Object>| Some(Frame::Changed(kind, object.clone(), revision));
        match (change.kind, before, self.selection.shows(&change.object)) {
            (ChangeKind::Deleted, true, _) => event(ChangeKind::Deleted, &change.object),
            (ChangeKind::Deleted, false, _) => None,
            (_, false, true) => event(ChangeKind::Added, &change.object),
            (_, true, true) => event(ChangeKind::Modified, &change.object),
            (_, true, false) => event(ChangeKind::Deleted, change.previous.as_ref()?),
            (_, false, false) => None,
        }
    }

    fn encode(&self, frame: &Frame) -> Bytes {
        match frame {
            Frame::Found(object) => {
                self.form.event(self.kind, ChangeKind::Added, object, object.revision, self.server.now())
            }
            Frame::Changed(change, object, revision) => {
                let shows = Shows {
                    change: *change,
                    object: object.clone(),
                    revision: *revision,
                    kind: self.kind,
                    form: self.form,
                };
                let make = |shows: &Shows| {
                    shows.form.event(
                        shows.kind,
                        shows.change,
                        &shows.object,
                        shows.revision,
                        self.server.now(),
                    )
                };
                // What a webhook made is this watch's own, and so is a table's age.
                if self.form.is_table() || self.converts() || !self.cache.is_watched_by_many() {
                    make(&shows)
                } else {
                    self.cache.frames.get(shows, make)
                }
            }
            Frame::Bookmark { revision, initial_end } => {
                self.form.bookmark(self.kind, *revision, *initial_end)
            }
            Frame::Gone(status) => self.form.error_event(status),
        }
    }
}
