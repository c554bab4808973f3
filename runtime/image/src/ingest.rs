//! From an image's parts to an image of the store, wherever the parts come from.
//!
//! ```text
//! each layer at once:  there already? -> wait for a turn, a slot -> unpack -> name   (or: wait for lower)
//! bottom to top:       settle what needs lower layers -> name
//! then:                configuration, manifest, index
//! ```
//!
//! **Invariants.** After an error no thread of this image writes any more, and nothing is left in `tmp`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::follow::{Follow, State};
use crate::image::ImageId;
use crate::layer::{self, Budget, Fault, LayerError, Unpacked, Wanted};
use crate::pull::{self, PullError};
use crate::registry::client::Repository;
use crate::store::{Arrival, FORMAT, Held, LayerRecord, Position, Record, Store, Workspace, stack};

/// Pieces of a download that wait for the disk.
const PIECES: usize = 32;

/// The parts of an image.
pub(crate) struct Content {
    /// What errors call it.
    pub what: String,
    pub manifest: Digest,
    pub manifest_json: Vec<u8>,
    pub id: Digest,
    pub config_json: Vec<u8>,
    /// Bottom first.
    pub layers: Vec<Layer>,
    pub tags: Vec<String>,
    pub digests: Vec<String>,
}

/// A layer as it comes.
#[derive(Clone)]
pub(crate) struct Layer {
    pub digest: Option<Digest>,
    pub size: u64,
    pub source: Source,
}

/// Where a layer's bytes are.
#[derive(Clone)]
pub(crate) enum Source {
    Blob { repository: Arc<Repository>, digest: Digest },
    File { path: PathBuf, offset: u64 },
}

/// What all layers of one image share.
#[derive(Clone)]
struct Ingest {
    store: Store,
    what: Arc<str>,
    budget: Budget,
    stop: Arc<AtomicBool>,
    stopped: watch::Receiver<bool>,
    follow: Follow,
    /// The row of the lowest layer.
    first: usize,
}

/// A layer after its bytes were read.
enum Made {
    Ready(Held, LayerRecord),
    /// Needs the layers below.
    Waiting(Workspace, Unpacked),
}

/// Takes an image into the store and names it.
pub(crate) async fn ingest(store: &Store, content: Content, follow: Follow) -> Result<ImageId, PullError> {
    let limits = &store.inner.options.limits;
    let refused = |reason: String| PullError::Refused { what: content.what.clone(), reason };
    let config = ImageConfig::parse(&content.config_json).map_err(|error| refused(chain(&error)))?;
    let config_json = String::from_utf8(content.config_json).map_err(|error| refused(error.to_string()))?;
    pull::fits(&config, &store.inner.options.platform)
        .map_err(|reason| PullError::Unsupported { reference: content.what.clone(), reason })?;
    let (layers, most) = (content.layers.len(), limits.layers.min(sys::overlay::LAYERS_MAX));
    if layers > most {
        return Err(refused(format!("{layers} layers, the limit is {most}")));
    }
    if layers != config.diff_ids.len() {
        let described = config.diff_ids.len();
        return Err(refused(format!("the manifest has {layers} layers, the configuration {described}")));
    }
    let positions = Position::all(&config.diff_ids);
    let (stop, stopped) = watch::channel(false);
    let ingest = Ingest {
        store: store.clone(),
        what: content.what.as_str().into(),
        budget: Arc::new(AtomicU64::new(limits.unpacked_bytes)),
        stop: Arc::default(),
        stopped,
        first: follow.begin(content.layers.iter().map(Layer::shown)),
        follow,
    };
    let parts: Vec<_> = positions.iter().cloned().zip(content.layers).collect();
    let made = ingest.make_all(parts, &stop).await?;
    let (held, size) = ingest.settle_all(&positions, made).await?;
    let record = Record {
        id: content.id,
        manifest: content.manifest,
        tags: content.tags,
        digests: content.digests,
        layers: held.iter().map(|held| held.key().to_owned()).collect(),
        size: size + config_json.len() as u64,
        pinned: false,
        pulled_at: std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_secs().cast_signed()),
    };
    let manifest_json = content.manifest_json;
    Ok(store.admit(Arrival { record, config, config_json, manifest_json, held }).await?)
}

// === impl Layer ===

impl Layer {
    /// What a row shows of it.
    fn shown(&self) -> (String, u64) {
        let digest = match &self.source {
            Source::Blob { digest, .. } => digest.to_string(),
            Source::File { .. } => self.digest.as_ref().map(ToString::to_string).unwrap_or_default(),
        };
        (digest, self.size)
    }
}

// === impl Ingest ===

impl Ingest {
    /// All layers at once; after the first error the others are stopped and waited for.
    async fn make_all(
        &self,
        parts: Vec<(Position, Layer)>,
        stop: &watch::Sender<bool>,
    ) -> Result<Vec<Made>, PullError> {
        let count = parts.len();
        let mut tasks = JoinSet::new();
        for (index, (position, layer)) in parts.into_iter().enumerate() {
            let ingest = self.clone();
            tasks.spawn(async move { (index, ingest.make(index, &position, layer).await) });
        }
        let mut made = HashMap::new();
        let mut failed = None;
        loop {
            let done = tokio::select! {
                done = tasks.join_next() => done,
                () = self.follow.stopped(), if failed.is_none() => Some(Ok((0, Err(self.given_up())))),
            };
            let error = match done {
                None => break,
                Some(Ok((index, Ok(one)))) => {
                    made.insert(index, one);
                    continue;
                }
                Some(Ok((_, Err(error)))) => error,
                Some(Err(_)) => self.given_up(),
            };
            self.stop.store(true, Ordering::Relaxed);
            let _ = stop.send(true);
            failed.get_or_insert(error);
        }
        match failed {
            Some(error) => Err(error),
            None => Ok((0..count).filter_map(|index| made.remove(&index)).collect()),
        }
    }

    async fn make(&self, index: usize, position: &Position, layer: Layer) -> Result<Made, PullError> {
        let inner = &self.store.inner;
        let _turn = self.unless_stopped(inner.turns.wait(&position.diff_id)).await?;
        if let Some((held, record)) = inner.holds.find(&inner.layout, position) {
            self.follow.state(self.first + index, State::Present);
            return Ok(Made::Ready(held, record));
        }
        let slot = self.unless_stopped(inner.slots.acquire()).await?;
        let _slot = slot.map_err(|_| self.given_up())?;
        self.follow.state(self.first + index, State::Running);
        let made = self.read(index, position, layer).await?;
        self.follow.state(self.first + index, State::Done);
        Ok(made)
    }

    async fn read(&self, index: usize, position: &Position, layer: Layer) -> Result<Made, PullError> {
        match &layer.source {
            Source::File { path, offset } => {
                let (path, offset) = (path.clone(), *offset);
                let open = move || {
                    let mut file = File::open(path)?;
                    file.seek(SeekFrom::Start(offset))?;
                    Ok(file.take(layer.size))
                };
                self.on_thread(index, position, &layer, open).await?
            }
            Source::Blob { repository, digest } => {
                self.download(index, position, &layer, repository, digest).await
            }
        }
    }

    /// Downloads and unpacks at once. If a host sends something else than it was asked for, the ones
    /// after it are asked.
    async fn download(
        &self,
        index: usize,
        position: &Position,
        layer: &Layer,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Made, PullError> {
        let mut first = 0;
        loop {
            let (sender, receiver) = mpsc::channel(PIECES);
            let made =
                self.on_thread(index, position, layer, move || Ok(Pieces { receiver, piece: Bytes::new() }));
            let sending = async {
                let sent = repository.send_blob(first, digest, layer.size, &sender);
                let sent = self.unless_stopped(sent).await;
                drop(sender);
                sent
            };
            let (made, sent) = tokio::join!(made, sending);
            match (made?, sent) {
                (Ok(made), _) => return Ok(made),
                // The connection failed first; what the reader says follows from that.
                (_, Ok(Err(error))) => return Err(pull::blob_failed(&self.what, error)),
                (_, Err(stopped)) => return Err(stopped),
                (
                    Err(
                        error @ (PullError::Corrupt { .. }
                        | PullError::Size { .. }
                        | PullError::Damaged { .. }),
                    ),
                    Ok(Ok(sent)),
                ) => {
                    let host = repository.hosts()[sent.from].authority();
                    tracing::warn!(host, %error, "a host sent something else");
                    first = sent.from + 1;
                    if !repository.hosts().iter().skip(first).any(|host| host.pulls) {
                        return Err(error);
                    }
                }
                (Err(error), _) => return Err(error),
            }
        }
    }

    /// Unpacks on a thread that may block.
    async fn on_thread<R: Read>(
        &self,
        index: usize,
        position: &Position,
        layer: &Layer,
        open: impl FnOnce() -> io::Result<R> + Send + 'static,
    ) -> Result<Result<Made, PullError>, PullError> {
        let wanted =
            Wanted { digest: layer.digest.clone(), size: layer.size, diff_id: position.diff_id.clone() };
        let (ingest, position) = (self.clone(), position.clone());
        let thread = tokio::task::spawn_blocking(move || ingest.unpack(index, &position, &wanted, open));
        thread.await.map_err(|_| self.given_up())
    }

    fn unpack<R: Read>(
        &self,
        index: usize,
        position: &Position,
        wanted: &Wanted,
        open: impl FnOnce() -> io::Result<R>,
    ) -> Result<Made, PullError> {
        let inner = &self.store.inner;
        let workspace = inner.layout.workspace()?;
        let target = workspace.join("fs");
        make_root(&target)
            .map_err(|e| self.failed(position, LayerError::nowhere(Fault::write("making a layer", e))))?;
        let source = open().map_err(|e| self.failed(position, LayerError::nowhere(Fault::read(e))))?;
        let source = Stoppable {
            source,
            stop: self.stop.clone(),
            follow: self.follow.clone(),
            row: self.first + index,
        };
        let unpacked = layer::unpack(source, wanted, &target, &inner.options.limits, self.budget.clone());
        let unpacked = unpacked.map_err(|error| self.failed(position, error))?;
        if unpacked.deferred.is_empty() || position.bottom {
            return self.finish(position, workspace, unpacked, &[]);
        }
        Ok(Made::Waiting(workspace, unpacked))
    }

    /// Settles and names what had to wait, bottom to top. Returns the layers and their size.
    async fn settle_all(
        &self,
        positions: &[Position],
        made: Vec<Made>,
    ) -> Result<(Vec<Held>, u64), PullError> {
        let mut held: Vec<Held> = Vec::new();
        let mut size = 0;
        for (position, one) in positions.iter().zip(made) {
            let one = match one {
                Made::Waiting(workspace, unpacked) => {
                    let lower: Vec<String> = held.iter().map(|held| held.key().to_owned()).collect();
                    let (ingest, position) = (self.clone(), position.clone());
                    let settle = move || ingest.finish(&position, workspace, unpacked, &lower);
                    tokio::task::spawn_blocking(settle).await.map_err(|_| self.given_up())??
                }
                ready => ready,
            };
            if let Made::Ready(one, record) = one {
                held.push(one);
                size += record.bytes;
            }
        }
        Ok((held, size))
    }

    /// Settles a layer, makes it durable and gives it its name.
    fn finish(
        &self,
        position: &Position,
        mut workspace: Workspace,
        unpacked: Unpacked,
        lower: &[String],
    ) -> Result<Made, PullError> {
        let inner = &self.store.inner;
        let self_contained = unpacked.deferred.is_empty();
        let record = LayerRecord {
            version: FORMAT,
            diff_id: position.diff_id.clone(),
            bytes: unpacked.bytes,
            inodes: unpacked.inodes,
            compressed_bytes: unpacked.compressed_bytes,
            root_described: unpacked.root_described,
            self_contained,
        };
        let lower = if lower.is_empty() { Vec::new() } else { stack(&inner.layout, lower) };
        unpacked
            .deferred
            .settle(&workspace.join("fs"), &lower)
            .map_err(|error| self.failed(position, error))?;
        let json = serde_json::to_vec(&record)
            .map_err(|e| self.failed(position, LayerError::nowhere(Fault::read(e.into()))))?;
        inner.layout.write(&workspace.join("layer.json"), &json)?;
        inner.layout.sync()?;
        let key =
            if self_contained || position.bottom { position.diff_id.hex() } else { position.chain_id.hex() };
        let held = inner.holds.hold(key);
        if !inner.layout.publish(&mut workspace, &inner.layout.layer(key))? {
            if let Some((held, record)) = inner.holds.find(&inner.layout, position) {
                return Ok(Made::Ready(held, record));
            }
            // The name is taken by something that is no usable layer.
            inner.layout.discard(&inner.layout.layer(key))?;
            inner.layout.publish(&mut workspace, &inner.layout.layer(key))?;
        }
        Ok(Made::Ready(held, record))
    }

    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, PullError> {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            done = work => Ok(done),
            _ = stopped.wait_for(|stopped| *stopped) => Err(self.given_up()),
        }
    }

    fn given_up(&self) -> PullError {
        PullError::Stopped(self.what.to_string())
    }

    /// A layer's error in the words of a pull.
    fn failed(&self, position: &Position, error: LayerError) -> PullError {
        let entry = error.entry.map(|entry| format!(": entry {entry:?}")).unwrap_or_default();
        let what = format!("{}: layer {}{entry}", self.what, position.diff_id);
        match error.fault {
            Fault::Refused(reason) => PullError::Refused { what, reason },
            Fault::NoSpace => PullError::NoSpace { what },
            Fault::Damaged(reason) => PullError::Damaged { what, reason },
            Fault::Digest { wanted, got } | Fault::DiffId { wanted, got } => {
                PullError::Corrupt { what, wanted, got }
            }
            Fault::Size { wanted, got } => PullError::Size { what, wanted, got },
            Fault::Io { step, source } => PullError::Io { what, path: PathBuf::from(step), source },
        }
    }
}

/// Bytes that come over a channel.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

// === impl Pieces ===

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let length = self.piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

/// Fails once the image has failed elsewhere.
struct Stoppable<R> {
    source: R,
    stop: Arc<AtomicBool>,
    follow: Follow,
    row: usize,
}

impl<R: Read> Read for Stoppable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("another layer failed"));
        }
        let read = self.source.read(buffer)?;
        self.follow.add(self.row, read);
        Ok(read)
    }
}

/// The root folder of a layer that does not describe it.
fn make_root(path: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(&format!(": {source}"));
        next = source.source();
    }
    text
}
