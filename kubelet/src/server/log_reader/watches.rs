//! Changes of folders: one inotify instance for all logs that are followed, made when the first one is.
//!
//! A machine has few instances (128 by default) and many watches. A folder is watched as long as somebody follows
//! a log in it.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Bytes of events that are read at once.
const BUFFER: usize = 4096;

/// All folders that are watched.
#[derive(Default)]
pub(crate) struct LogWatches {
    shared: Mutex<Option<Arc<Shared>>>,
}

type Folders = Arc<Mutex<HashMap<WatchDescriptor, Folder>>>;

struct Shared {
    watches: Mutex<Watches>,
    folders: Folders,
    _reader: AbortOnDropHandle<()>,
}

struct Folder {
    /// How many follow.
    readers: usize,
    changes: watch::Sender<u64>,
}

/// Hears of changes of one folder.
pub(crate) struct Subscription {
    shared: Arc<Shared>,
    descriptor: WatchDescriptor,
    changes: watch::Receiver<u64>,
}

impl LogWatches {
    pub(crate) fn subscribe(&self, folder: &Path) -> io::Result<Subscription> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = match &*shared {
            Some(shared) => shared.clone(),
            None => shared.insert(Arc::new(Shared::start()?)).clone(),
        };
        let mask = WatchMask::MODIFY | WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::ONLYDIR;
        // Under the lock, so that no event comes before its folder is known.
        let mut folders = shared.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let descriptor = shared.watches.lock().unwrap_or_else(PoisonError::into_inner).add(folder, mask)?;
        let entry = folders
            .entry(descriptor.clone())
            .or_insert_with(|| Folder { readers: 0, changes: watch::Sender::new(0) });
        entry.readers += 1;
        let changes = entry.changes.subscribe();
        drop(folders);
        Ok(Subscription { shared, descriptor, changes })
    }
}

impl Shared {
    fn start() -> io::Result<Shared> {
        let inotify = Inotify::init()?;
        let watches = Mutex::new(inotify.watches());
        let folders = Folders::default();
        // Deprecated for descriptors that may be closed meanwhile; this one is owned and stays open.
        #[allow(deprecated)]
        let inotify = AsyncFd::new(inotify)?;
        let reader = AbortOnDropHandle::new(tokio::spawn(read(inotify, folders.clone())));
        Ok(Shared { watches, folders, _reader: reader })
    }
}

/// Passes events on until it is dropped.
async fn read(mut inotify: AsyncFd<Inotify>, folders: Folders) {
    let mut buffer = [0; BUFFER];
    loop {
        let Ok(mut ready) = inotify.readable_mut().await else { return };
        let events = match ready.get_inner_mut().read_events(&mut buffer) {
            Ok(events) => events,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready.clear_ready();
                continue;
            }
            Err(error) => return tracing::error!(%error, "logs are not followed any more"),
        };
        let mut folders = folders.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            let changed = |folder: &Folder| folder.changes.send_modify(|count| *count += 1);
            if event.mask.contains(EventMask::Q_OVERFLOW) {
                folders.values().for_each(changed);
            } else if let Some(folder) = folders.get(&event.wd) {
                changed(folder);
            }
            if event.mask.contains(EventMask::IGNORED) {
                folders.remove(&event.wd);
            }
        }
    }
}

impl Subscription {
    /// What has happened up to now is known.
    pub(super) fn seen(&mut self) {
        self.changes.borrow_and_update();
    }

    /// Waits for a change since the last call of [`Subscription::seen`]; for ever where the folder is gone.
    pub(super) async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut folders = self.shared.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(folder) = folders.get_mut(&self.descriptor) else { return };
        folder.readers -= 1;
        if folder.readers == 0 {
            folders.remove(&self.descriptor);
            let mut watches = self.shared.watches.lock().unwrap_or_else(PoisonError::into_inner);
            // It fails where the folder is gone, and then there is nothing to remove.
            let _ = watches.remove(self.descriptor.clone());
        }
    }
}

#[cfg(test)]
impl LogWatches {
    /// How many folders are watched.
    pub(crate) fn len(&self) -> usize {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let folders =
            |shared: &Arc<Shared>| shared.folders.lock().unwrap_or_else(PoisonError::into_inner).len();
        shared.as_ref().map_or(0, folders)
    }
}
