//! The images of one node: names, layers unpacked once, and the snapshots of containers.
//!
//! **Invariants.** What the index names is complete on disk. A layer is deleted only when no image, no
//! snapshot and no running pull needs it. One process uses a store at a time.

mod index;
mod layers;
mod layout;
mod snapshots;
mod turns;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use index::{Images, Known};
use layers::Holds;
use layout::Layout;
use snapshots::{SnapshotRecord, Snapshots, VolumeRecord};
use turns::Turns;

pub(crate) use index::Record;
pub(crate) use layers::{Held, LayerRecord, Position, stack};
pub(crate) use layout::{FORMAT, Workspace};

use crate::config::ImageConfig;
use crate::credentials::Credentials;
use crate::digest::Digest;
use crate::follow::Follow;
use crate::image::{Image, ImageId, Snapshot, Usage};
use crate::limits::Limits;
use crate::platform::Platform;
use crate::pull::PullError;
use crate::reference::Reference;

/// Operations but pulls that wait for the disk at a time.
const WAITERS_MAX: usize = 16;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct ImageOptions {
    /// `/var/lib/keelson/images`.
    pub root: PathBuf,
    /// `/etc/keelson/registries`: one folder per registry host with its `hosts.toml`.
    pub registries_dir: PathBuf,
    pub limits: Limits,
    pub platform: Platform,
    /// Layers downloaded and unpacked at once, over all pulls.
    pub parallel_layers: usize,
}

/// Why the store itself failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("image store {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("image store {path}: made by a newer keelson (format {found}, this one knows {known})")]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("image store {0} is in use by another process")]
    InUse(PathBuf),
    #[error("image store {path}: damaged: {reason}")]
    Damaged { path: PathBuf, reason: String },
    #[error("image {0} is not here")]
    NoImage(String),
    #[error("image id {0} is ambiguous: give more of it")]
    Ambiguous(String),
    #[error("container id {0:?} cannot name a directory")]
    ContainerId(String),
    #[error("container {0} already has a snapshot")]
    SnapshotExists(String),
    #[error("container {0} has no snapshot")]
    NoSnapshot(String),
}

/// The images of one node. Cheap to clone; all clones are one store.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub options: ImageOptions,
    pub layout: Layout,
    pub holds: Holds,
    /// Layers in the making, over all pulls.
    pub slots: Semaphore,
    /// Threads that wait for the disk, over all operations but pulls: a burst of them is not to be a burst of stacks.
    waiters: Arc<Semaphore>,
    /// One unpacking at a time for each layer.
    pub turns: Turns,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    images: Images,
    snapshots: Snapshots,
}

/// An image's layers as directories, bottom first, each with whether it describes the root folder. They stay as
/// long as this.
pub(crate) struct Unpacked {
    pub folders: Vec<(PathBuf, bool)>,
    _held: Vec<Held>,
}

/// An image that is complete on disk and needs only its names.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub record: Record,
    pub config: ImageConfig,
    pub config_json: String,
    pub manifest_json: Vec<u8>,
    /// Until the index names them.
    pub held: Vec<Held>,
}

// === impl ImageOptions ===

impl ImageOptions {
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, registries_dir: impl Into<PathBuf>) -> ImageOptions {
        ImageOptions {
            root: root.into(),
            registries_dir: registries_dir.into(),
            limits: Limits::default(),
            platform: Platform::here(),
            parallel_layers: 4,
        }
    }
}

// === impl Store ===

impl Store {
    /// Opens or makes the store and repairs what a crash left. Blocks on the disk.
    ///
    /// # Errors
    /// When the directory cannot be used, belongs to a newer version or to another process.
    pub fn open(options: ImageOptions) -> Result<Store, StoreError> {
        let layout = Layout::open(&options.root)?;
        let state = State { images: index::load(&layout)?, snapshots: snapshots::load(&layout)? };
        let slots = Semaphore::new(options.parallel_layers.max(1));
        let inner = Inner {
            options,
            layout,
            holds: Holds::default(),
            slots,
            waiters: Arc::new(Semaphore::new(WAITERS_MAX)),
            turns: Turns::default(),
            state: Mutex::new(state),
        };
        inner.collect()?;
        inner.layout.empty_trash()?;
        Ok(Store { inner: Arc::new(inner) })
    }

    /// Makes the image that `reference` names now the image of that name.
    ///
    /// # Errors
    /// Says which host, layer and entry failed; the store is as before.
    pub async fn pull(
        &self,
        reference: &str,
        credentials: Option<Credentials>,
    ) -> Result<ImageId, PullError> {
        self.pull_followed(reference, credentials, Follow::default()).await
    }

    /// The same, shown and given up as `follow` says.
    ///
    /// # Errors
    /// As [`Store::pull`].
    pub async fn pull_followed(
        &self,
        reference: &str,
        credentials: Option<Credentials>,
        follow: Follow,
    ) -> Result<ImageId, PullError> {
        crate::pull::pull(self, &reference.parse()?, credentials, follow).await
    }

    /// Takes the images of an archive (OCI layout or `docker save`), or of an OCI layout directory.
    ///
    /// # Errors
    /// As [`Store::pull`].
    pub async fn import(&self, path: &Path) -> Result<Vec<ImageId>, PullError> {
        self.import_followed(path, Follow::default()).await
    }

    /// The same, shown and given up as `follow` says.
    ///
    /// # Errors
    /// As [`Store::pull`].
    pub async fn import_followed(&self, path: &Path, follow: Follow) -> Result<Vec<ImageId>, PullError> {
        crate::import::import(self, path, follow).await
    }

    /// Pushes the image that `name` finds as `to`; the digest of its manifest there. Layers that the registry
    /// does not have are packed anew, which gives the image another id.
    ///
    /// # Errors
    /// When there is no such image, or the registry does not take it.
    pub async fn push(
        &self,
        name: &str,
        to: &str,
        credentials: Option<Credentials>,
        follow: Follow,
    ) -> Result<Digest, PullError> {
        crate::push::push(self, name, &to.parse()?, credentials, follow).await
    }

    /// Writes the image that `name` finds to a new file, a tar archive of an OCI layout; the manifest's digest.
    ///
    /// # Errors
    /// When there is no such image, or the file is there or cannot be written.
    pub async fn export(&self, name: &str, path: &Path, follow: Follow) -> Result<Digest, PullError> {
        crate::push::export(self, name, path, follow).await
    }

    /// The manifest that an image came with.
    pub(crate) fn manifest(&self, image: &Image) -> Option<Vec<u8>> {
        let state = self.inner.state();
        let known = state.images.get(image.id.digest())?;
        std::fs::read(self.inner.layout.blob(&known.record.manifest)).ok()
    }

    /// The layers of an image.
    pub(crate) fn layers_of(&self, image: &Image) -> Result<Unpacked, StoreError> {
        let state = self.inner.state();
        let known = state.images.get(image.id.digest());
        let known = known.ok_or_else(|| StoreError::NoImage(image.id.to_string()))?;
        let held = known.record.layers.iter().map(|key| self.inner.holds.hold(key)).collect();
        let layout = &self.inner.layout;
        let folders = known.record.layers.iter().map(|key| {
            let described = layers::read(&layout.layer(key)).is_some_and(|record| record.root_described);
            (layout.layer_fs(key), described)
        });
        Ok(Unpacked { folders: folders.collect(), _held: held })
    }

    /// Every image, by id.
    #[must_use]
    pub fn list(&self) -> Vec<Image> {
        self.inner.state().images.values().map(Known::image).collect()
    }

    /// By tag, digest reference, id, or at least one hexadecimal digit of an unambiguous id.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Image> {
        index::find(&self.inner.state().images, name).map(Known::image)
    }

    /// Forgets the image that `name` finds, with all its tags, and deletes the layers that neither
    /// another image nor a snapshot needs. An image that is not there is removed already.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub async fn remove(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.blocking(move |inner| {
            inner.change(|images| {
                let id = index::find(images, &name).map(|known| known.record.id.clone());
                Ok(id.map(|id| images.remove(&id)))
            })?;
            inner.collect()?;
            inner.layout.empty_trash()
        })
        .await
    }

    /// Takes one name away from its image; the image stays, under its other names and its id.
    ///
    /// # Errors
    /// When no image has the name, or the index cannot be written.
    pub async fn untag(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.blocking(move |inner| {
            inner.change(|images| {
                let reference = name.parse::<Reference>().map(|r| r.to_string()).unwrap_or_default();
                let known = images.values_mut().find(|known| known.record.tags.contains(&reference));
                let known = known.ok_or_else(|| StoreError::NoImage(name.clone()))?;
                known.record.tags.retain(|tag| *tag != reference);
                Ok(())
            })
        })
        .await
    }

    /// Marks an image as never to be removed to make room, or takes the mark away.
    ///
    /// # Errors
    /// When there is no such image, or the index cannot be written.
    pub async fn pin(&self, name: &str, pinned: bool) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.blocking(move |inner| {
            inner.change(|images| {
                let id = index::find(images, &name).map(|known| known.record.id.clone());
                let known =
                    id.and_then(|id| images.get_mut(&id)).ok_or_else(|| StoreError::NoImage(name.clone()))?;
                known.record.pinned = pinned;
                Ok(())
            })
        })
        .await
    }

    /// What the layers of all images take on disk; what containers write is not counted.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let layout = &self.inner.layout;
        let records = layers::keys(layout)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|key| layers::read(&layout.layer(&key)));
        records.fold(Usage::default(), |sum, layer| Usage {
            bytes: sum.bytes + layer.bytes,
            inodes: sum.inodes + layer.inodes,
        })
    }

    /// The store's directory: CRI's mountpoint of the image file system.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.inner.layout.root()
    }

    /// Makes the directories of a container's root file system. Layers stay until
    /// [`Store::drop_snapshot`], even if the image is removed.
    ///
    /// # Errors
    /// When the image is not here, or the container has a snapshot already.
    pub async fn snapshot(&self, container: &str, image: &ImageId) -> Result<Snapshot, StoreError> {
        self.snapshot_with(container, image, Vec::new()).await
    }

    /// The same for a container into which the images of `volumes` are mounted: their layers stay as long.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub async fn snapshot_with(
        &self,
        container: &str,
        image: &ImageId,
        volumes: Vec<ImageId>,
    ) -> Result<Snapshot, StoreError> {
        snapshots::check_id(container)?;
        let (container, image) = (container.to_owned(), image.clone());
        self.blocking(move |inner| {
            // The state is locked throughout: no image is removed while its layers are looked up.
            let mut state = inner.state();
            let layers = |image: &ImageId| {
                let known = state.images.get(image.digest());
                known.map(|known| known.record.layers.clone()).ok_or(StoreError::NoImage(image.to_string()))
            };
            let besides =
                |image: &ImageId| Ok(VolumeRecord { image: image.digest().clone(), layers: layers(image)? });
            let volumes = volumes.iter().map(besides).collect::<Result<_, StoreError>>()?;
            let record = SnapshotRecord::new(image.digest().clone(), layers(&image)?, volumes);
            if state.snapshots.contains_key(&container) {
                return Err(StoreError::SnapshotExists(container));
            }
            let snapshot = snapshots::make(&inner.layout, &container, &record)?;
            state.snapshots.insert(container, record);
            Ok(snapshot)
        })
        .await
    }

    /// The directories of a container that already has them (after a restart of the daemon).
    ///
    /// # Errors
    /// When the container has none.
    pub fn snapshot_of(&self, container: &str) -> Result<Snapshot, StoreError> {
        let state = self.inner.state();
        let record =
            state.snapshots.get(container).ok_or_else(|| StoreError::NoSnapshot(container.to_owned()))?;
        Ok(snapshots::directories(&self.inner.layout, container, record))
    }

    /// Containers that have a snapshot, sorted.
    #[must_use]
    pub fn snapshots(&self) -> Vec<String> {
        self.inner.state().snapshots.keys().cloned().collect()
    }

    /// Deletes what a container has written. A container without snapshot is fine.
    ///
    /// # Errors
    /// When the directories cannot be deleted.
    pub async fn drop_snapshot(&self, container: &str) -> Result<(), StoreError> {
        snapshots::check_id(container)?;
        let container = container.to_owned();
        self.blocking(move |inner| {
            let mut state = inner.state();
            inner.layout.discard(&inner.layout.snapshots().join(&container))?;
            let gone = state.snapshots.remove(&container);
            let is_gone = |image: &Digest| !state.images.contains_key(image);
            let image_gone = gone.is_some_and(|record| record.images().any(is_gone));
            drop(state);
            if image_gone {
                inner.collect()?;
            }
            inner.layout.empty_trash()
        })
        .await
    }

    /// What a container has written.
    ///
    /// # Errors
    /// When the container has no snapshot.
    pub async fn snapshot_usage(&self, container: &str) -> Result<Usage, StoreError> {
        let upper = self.snapshot_of(container)?.upper;
        self.blocking(move |_| {
            snapshots::measure(&upper).map_err(|source| StoreError::Io { path: upper, source })
        })
        .await
    }

    /// Gives an image its names. Whoever had them loses them.
    pub(crate) async fn admit(&self, arrival: Arrival) -> Result<ImageId, StoreError> {
        self.blocking(move |inner| inner.admit(arrival)).await
    }

    /// Runs something that waits for the disk.
    async fn blocking<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    {
        let inner = self.inner.clone();
        // It is never closed.
        let place = self.inner.waiters.clone().acquire_owned().await;
        // The work goes on when its caller leaves, and keeps its place.
        let with_place = move || {
            let _until_done = place;
            work(&inner)
        };
        match tokio::task::spawn_blocking(with_place).await {
            Ok(done) => done,
            Err(error) => {
                Err(StoreError::Io { path: self.root().to_owned(), source: io::Error::other(error) })
            }
        }
    }
}

// === impl Inner ===

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Changes replace whole values: a panic leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the index: on disk first, then in memory.
    fn change<T>(&self, change: impl FnOnce(&mut Images) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut state = self.state();
        let mut images = state.images.clone();
        let done = change(&mut images)?;
        index::save(&self.layout, &images)?;
        state.images = images;
        Ok(done)
    }

    fn admit(&self, arrival: Arrival) -> Result<ImageId, StoreError> {
        let Arrival { mut record, config, config_json, manifest_json, held } = arrival;
        let id = ImageId(record.id.clone());
        self.change(|images| {
            // With the index locked, so that no collection finds blobs without an image.
            self.layout.write(&self.layout.blob(&record.manifest), &manifest_json)?;
            self.layout.write(&self.layout.blob(&record.id), config_json.as_bytes())?;
            for other in images.values_mut() {
                other.record.tags.retain(|tag| !record.tags.contains(tag));
            }
            if let Some(before) = images.get(&record.id) {
                record.tags.extend(before.record.tags.iter().cloned());
                record.digests.extend(before.record.digests.iter().cloned());
                record.pinned = before.record.pinned;
            }
            for names in [&mut record.tags, &mut record.digests] {
                names.sort();
                names.dedup();
            }
            let known =
                Known { record: record.clone(), config: Arc::new(config), config_json: config_json.into() };
            images.insert(record.id, known);
            Ok(())
        })?;
        drop(held);
        Ok(id)
    }

    /// Takes out of the store what nothing needs any more.
    fn collect(&self) -> Result<(), StoreError> {
        let state = self.state();
        let of_images = state.images.values().flat_map(|known| &known.record.layers);
        let of_snapshots = state.snapshots.values().flat_map(SnapshotRecord::needed);
        let used: BTreeSet<String> = of_images.chain(of_snapshots).cloned().collect();
        self.holds.collect(&self.layout, &used)?;
        let blobs: BTreeSet<PathBuf> = state
            .images
            .values()
            .flat_map(|known| [self.layout.blob(&known.record.id), self.layout.blob(&known.record.manifest)])
            .collect();
        self.layout.discard_blobs_except(&blobs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_whose_caller_has_left_keeps_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let options = ImageOptions::new(folder.path().join("images"), folder.path().join("registries"));
        let store = Store::open(options).unwrap();
        let (begun, mut begins) = tokio::sync::mpsc::channel(1);
        let (end, ends) = std::sync::mpsc::channel::<()>();
        let inside = store.clone();
        let caller = tokio::spawn(async move {
            let work = move |_: &Inner| {
                begun.blocking_send(()).unwrap();
                let _ended = ends.recv();
                Ok(())
            };
            inside.blocking(work).await
        });
        begins.recv().await.unwrap();
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        assert_eq!(store.inner.waiters.available_permits(), WAITERS_MAX - 1);
        drop(end);
        let _all = store.inner.waiters.acquire_many(WAITERS_MAX.try_into().unwrap()).await.unwrap();
    }
}
