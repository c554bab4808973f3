//! Reads a container's log as its runtime writes it: whole, from a line near the end, or for as long as it grows.
//!
//! ```text
//! open ──▶ tail: where to begin ──▶ read a piece ──▶ entries ──▶ bytes
//!                                      ▲   └ at the end: follow? ──▶ wait for a change of the folder or the pod
//!                                      └──────────────────────────────────┘    rotated ──▶ the next file
//! ```
//!
//! Driven by whoever polls the stream: no task, and nothing is read ahead. **Invariants.** Only whole entries are
//! consumed, so that one that is half written, or cut off after a crash, is read again; a file is read from its end
//! without reading what stands before; the path is opened without following links, because a pod may be able to
//! write to the folder.
//!
//! Reference: the CRI log format; kubernetes issue 20466 for rotation.

pub mod entry;
pub mod tail;

#[cfg(test)]
mod tests;
mod watches;

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use jiff::Timestamp;
use rustix::fs::OFlags;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

pub(super) use watches::LogWatches;
use watches::Subscription;

use entry::Format;

/// How much is read at once; no entry of any runtime is longer.
const PIECE: usize = 64 * 1024;
/// What the runtime gets to write the last words of a container that ended.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How often a file is looked at where the kernel gives no watch.
const WITHOUT_WATCH: Duration = Duration::from_secs(1);

/// Which part of a log, in which form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    pub follow: bool,
    pub timestamps: bool,
    /// Nothing older.
    pub since: Option<Timestamp>,
    /// So many lines at the end.
    pub tail: Option<u64>,
    /// No more bytes.
    pub limit: Option<u64>,
    /// `stdout` or `stderr` alone.
    pub stream: Option<&'static str>,
}

/// Whether the log may still grow.
pub(super) struct Growth {
    /// Whether its container runs.
    pub(super) lives: Box<dyn Fn() -> bool + Send + Sync>,
    /// Changes whenever the answer may have.
    pub(super) changes: watch::Receiver<u64>,
}

/// A log that is open.
pub(super) struct LogReader {
    path: PathBuf,
    file: Arc<File>,
    /// Of the first entry that was not read.
    offset: u64,
    format: Format,
    follow: bool,
    /// The file that has taken this one's place.
    next: Option<File>,
    growth: Growth,
    subscription: Option<Subscription>,
    /// The container has ended and what it wrote is being read.
    ending: bool,
}

impl LogReader {
    pub(super) async fn open(
        path: &Path,
        options: Options,
        watches: &LogWatches,
        growth: Growth,
    ) -> io::Result<LogReader> {
        // First the watch, then the file: nothing falls between them.
        let folder = path.parent().filter(|_| options.follow);
        let subscription = folder.and_then(|folder| match watches.subscribe(folder) {
            Ok(subscription) => Some(subscription),
            Err(error) => {
                let folder = folder.display().to_string();
                tracing::warn!(folder, %error, "no watch for a log's folder; it is looked at every second");
                None
            }
        });
        let (from, tail) = (path.to_owned(), options.tail);
        let (file, offset) = spawn_blocking(move || {
            let file = open(&from)?;
            let offset = tail.map_or(Ok(0), |lines| tail::begin(&file, lines))?;
            io::Result::Ok((file, offset))
        })
        .await
        .map_err(io::Error::other)??;
        Ok(LogReader {
            path: path.to_owned(),
            file: Arc::new(file),
            offset,
            follow: options.follow,
            format: Format::new(options),
            next: None,
            growth,
            subscription,
            ending: false,
        })
    }

    /// The log, piece by piece.
    pub(super) fn stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        futures::stream::unfold(Some(self), |reader| async {
            let mut reader = reader?;
            match reader.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(reader))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut out = Vec::new();
        loop {
            if self.format.is_full() {
                return Ok(None);
            }
            self.growth.changes.borrow_and_update();
            self.subscription.as_mut().map(Subscription::seen);
            let piece = self.read().await?;
            let consumed = self.format.push(&piece, &mut out);
            // What has no end in a whole piece is no log; it is passed over.
            let consumed = if consumed == 0 && piece.len() == PIECE { PIECE } else { consumed };
            self.offset += consumed as u64;
            if !out.is_empty() {
                return Ok(Some(out.into()));
            }
            if consumed == 0 && !self.wait().await? {
                return Ok(None);
            }
        }
    }

    /// At the end of the file: goes on to the next one, or waits; tells whether there can be more.
    async fn wait(&mut self) -> io::Result<bool> {
        if !self.follow {
            return Ok(false);
        }
        if let Some(next) = self.next.take() {
            (self.file, self.offset) = (Arc::new(next), 0);
            return Ok(true);
        }
        self.next = self.successor().await?;
        if self.next.is_some() {
            // Once more: it may have been written to until the moment it was replaced.
            return Ok(true);
        }
        if self.ending {
            return Ok(false);
        }
        if !(self.growth.lives)() {
            self.ending = true;
            tokio::time::sleep(LAST_WORDS).await;
            return Ok(true);
        }
        let changed = async {
            match &mut self.subscription {
                Some(subscription) => subscription.changed().await,
                None => tokio::time::sleep(WITHOUT_WATCH).await,
            }
        };
        tokio::select! {
            () = changed => {}
            told = self.growth.changes.changed() => {
                // Nobody can tell any more whether it lives.
                self.ending |= told.is_err();
            }
        }
        Ok(true)
    }

    async fn read(&mut self) -> io::Result<Vec<u8>> {
        let (file, offset) = (self.file.clone(), self.offset);
        let (piece, length) = spawn_blocking(move || {
            let mut piece = vec![0; PIECE];
            let count = file.read_at(&mut piece, offset)?;
            piece.truncate(count);
            io::Result::Ok((piece, file.metadata()?.len()))
        })
        .await
        .map_err(io::Error::other)??;
        if length < self.offset {
            // Cut short: what was read is gone, and the file begins anew.
            self.offset = 0;
        }
        Ok(piece)
    }

    /// The file that is at the path now, if it is another one.
    async fn successor(&self) -> io::Result<Option<File>> {
        let (path, file) = (self.path.clone(), self.file.clone());
        spawn_blocking(move || {
            let there = match open(&path) {
                Ok(there) => there,
                // Between renaming and reopening there is none.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            let identity = |file: &File| file.metadata().map(|data| (data.dev(), data.ino()));
            Ok((identity(&there)? != identity(&file)?).then_some(there))
        })
        .await
        .map_err(io::Error::other)?
    }
}

/// Opens a regular file, and nothing that a link or pipe in its place would lead to.
fn open(path: &Path) -> io::Result<File> {
    let careful = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32;
    let file = File::options().read(true).custom_flags(careful).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "the log is not a regular file"))
}
