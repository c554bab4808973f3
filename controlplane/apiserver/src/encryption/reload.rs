//! The configuration's file followed: a change counts at once, without a restart.
//!
//! A new file is first held against the store: where it lacks a key that an object needs it is refused in the log, and the
//! former keys stay. Otherwise it counts, and objects of other keys are rewritten.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use inotify::{Inotify, WatchMask};
use store::Store;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use super::{Encryption, EncryptionError, read, rewrite};
use crate::cache::Caches;

/// Room for a burst of events; more are read in the next turn.
const EVENT_BYTES: usize = 4096;

/// What follows the file; ended with its owner.
#[derive(Debug)]
pub struct Reloading {
    task: JoinHandle<()>,
}

struct Work {
    store: Store,
    caches: Arc<Caches>,
    encryption: Arc<Encryption>,
    /// None: the keys stay as they are.
    path: Option<PathBuf>,
}

impl Reloading {
    /// Begins: rewrites what is of older keys, then follows the file.
    pub fn start(
        store: Store,
        caches: Arc<Caches>,
        encryption: Arc<Encryption>,
        path: Option<PathBuf>,
    ) -> io::Result<Reloading> {
        let watched = match &path {
            Some(path) => Some(watch(path)?),
            None => None,
        };
        let work = Work { store, caches, encryption, path };
        let task = tokio::spawn(async move {
            if let Err(error) = work.run(watched).await {
                tracing::error!(%error, "the encryption configuration is no longer followed; restart the API server after a change");
            }
        });
        Ok(Reloading { task })
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Work {
    async fn run(&self, watched: Option<AsyncFd<Inotify>>) -> io::Result<()> {
        self.rewrite(&self.caches.stale()).await;
        let (Some(mut ready), Some(path)) = (watched, &self.path) else { return Ok(()) };
        let mut buffer = [0u8; EVENT_BYTES];
        let mut seen = std::fs::read(path).ok();
        loop {
            let mut guard = ready.readable_mut().await?;
            match guard.get_inner_mut().read_events(&mut buffer) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    guard.clear_ready();
                    continue;
                }
                Err(error) => return Err(error),
            }
            let found = std::fs::read(path).ok();
            // Other files of the folder change too, and a file that is gone for a moment is being replaced.
            if found.is_none() || found == seen {
                continue;
            }
            seen = found;
            match self.take(path).await {
                Ok(()) => tracing::info!(path = %path.display(), "the encryption configuration is taken"),
                Err(error) => {
                    tracing::error!(%error, "the encryption configuration is not taken; the former one stays")
                }
            }
        }
    }

    async fn take(&self, path: &Path) -> Result<(), EncryptionError> {
        let keyring = Arc::new(read(path)?);
        rewrite::check(&self.store, &self.caches.places(), &keyring)?;
        self.encryption.replace(keyring);
        if let Err(error) = self.caches.open_again(&self.store) {
            tracing::error!(%error, "objects that could not be opened are not shown until the next start");
        }
        self.rewrite(&self.caches.places()).await;
        Ok(())
    }

    async fn rewrite(&self, resources: &[rewrite::Resource]) {
        let keys = self.encryption.current();
        match rewrite::rewrite(&self.store, resources, &keys).await {
            Ok(0) => {}
            Ok(objects) => tracing::info!(objects, "objects are rewritten with the present encryption key"),
            Err(error) => {
                tracing::error!(%error, "objects of older keys stay as they are until the next start")
            }
        }
    }
}

/// Watches the file's folder: editors and configuration tools replace files instead of writing into them.
fn watch(path: &Path) -> io::Result<AsyncFd<Inotify>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let inotify = Inotify::init()?;
    inotify.watches().add(folder, WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO | WatchMask::CREATE)?;
    #[allow(deprecated, reason = "its replacement is unsafe to call; inotify owns its descriptor")]
    AsyncFd::new(inotify)
}
