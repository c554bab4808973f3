//! The log on disk: segments of checksummed records, appended and synced, never rewritten.
//!
//! ```text
//! log/00000000000000000001.log      named by the index of its first record
//!   header  "KEELSLOG" | format u32 | crc u32
//!   record  first of a batch 1 bit, length 31 bits | crc u32 | index u64 | payload ... | padding to 8
//!   room    zeros
//! ```
//!
//! Room is made with zeros, a MiB at a time: a sync then writes a record's own blocks, and nothing of the filesystem's.
//!
//! **Invariants**
//! - Indexes are dense: every record's is its predecessor's plus one, over segments too.
//! - A batch is written when all before it is on disk, and its first record says that it is one.
//! - Only the last batch may be torn, in any of its blocks; it is cut at open. A bad record with a later batch behind
//!   it is corruption, and the log refuses to open rather than lose what follows.
//! - After a failed sync nothing is written any more: the kernel may have dropped the pages that it
//!   could not write, and would report the next sync as good.

mod record;
mod segment;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

pub(crate) use record::RECORD_LIMIT;
pub use record::end_of_records;
use segment::Segment;

/// A segment that has grown past this is followed by a new one.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Room is made up to multiples of this.
const ROOM_BYTES: u64 = 1 << 20;

/// What keeps a log from being read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system said no.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Not a log of ours.
    #[error("{} is not a store log", path.display())]
    NotALog {
        /// The file.
        path: PathBuf,
    },
    /// Written by a newer Keelson.
    #[error("{} has log format {found}; this Keelson reads up to {known}: run the newer one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Damaged in the middle.
    #[error(
        "{} is damaged at byte {offset}, with good records behind it; restore a snapshot or the file from a backup",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the bad record begins.
        offset: u64,
    },
    /// A segment is missing.
    #[error("{} begins with entry {found}, but entry {expected} is missing before it", path.display())]
    Gap {
        /// The file.
        path: PathBuf,
        /// The index expected.
        expected: u64,
        /// The index found.
        found: u64,
    },
}

impl LogError {
    /// Whether space, not the disk, is what is missing.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, LogError::Io { source, .. }
            if matches!(Errno::from_io_error(source), Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG)))
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
        let path = path.to_owned();
        move |source| LogError::Io { action, path, source }
    }
}

/// An open log, positioned at its end.
#[derive(Debug)]
pub(crate) struct Log {
    folder: PathBuf,
    segments: Vec<Segment>,
    file: Arc<File>,
    /// Bytes of the last segment that are whole.
    length: u64,
    /// Bytes of the last segment with the room behind them.
    room: u64,
    /// Everything written is on disk.
    synced: bool,
    next: u64,
    buffer: Vec<u8>,
}

impl Log {
    /// Opens the log in `folder` and hands every record after `applied` to `replay`, in order.
    pub(crate) fn open<E: From<LogError>>(
        folder: &Path,
        applied: u64,
        mut replay: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<Log, E> {
        std::fs::create_dir_all(folder).map_err(LogError::io("creating", folder))?;
        let mut segments = Segment::list(folder)?;
        if segments.is_empty() {
            segments.push(Segment::create(folder, applied + 1)?);
        }
        let mut next = segments[0].first;
        if next > applied + 1 {
            let path = segments[0].path.clone();
            return Err(LogError::Gap { path, expected: applied + 1, found: next }.into());
        }
        // Where a new segment was made but never begun, the one before it went on: its end may be the torn one.
        let tail = segments.iter().rposition(|segment| !segment.is_empty).unwrap_or(0);
        let mut length = 0;
        let mut kept: Vec<Segment> = Vec::with_capacity(segments.len());
        for (position, mut segment) in segments.into_iter().enumerate() {
            if segment.is_empty && segment.first < next && !kept.is_empty() {
                std::fs::remove_file(&segment.path).map_err(LogError::io("removing", &segment.path))?;
                continue;
            }
            if segment.first != next {
                return Err(LogError::Gap { path: segment.path, expected: next, found: segment.first }.into());
            }
            length = segment.read(position >= tail, |index, payload| {
                next = index + 1;
                if index > applied { replay(index, payload) } else { Ok(()) }
            })?;
            kept.push(segment);
        }
        let segments = kept;
        let path = &segments[segments.len() - 1].path;
        let file = File::options().write(true).open(path).map_err(LogError::io("opening", path))?;
        file.set_len(length).map_err(LogError::io("cutting the torn end of", path))?;
        file.sync_all().map_err(LogError::io("syncing", path))?;
        Ok(Log {
            folder: folder.to_owned(),
            segments,
            file: Arc::new(file),
            length,
            room: length,
            synced: true,
            next: next.max(applied + 1),
            buffer: Vec::new(),
        })
    }

    /// The index that the next record gets.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Adds a record to the batch in memory.
    pub(crate) fn stage(&mut self, payload: &[u8]) -> u64 {
        let index = self.next;
        let offset = self.length + self.buffer.len() as u64;
        let mut first_of_batch = self.buffer.is_empty() && self.synced;
        if let Some(segment) = self.segments.last_mut() {
            segment.mark(index, offset);
            first_of_batch &= segment.format > 1;
        }
        record::encode(&mut self.buffer, index, payload, first_of_batch);
        self.next += 1;
        index
    }

    /// Writes the staged batch. On failure nothing of it is in the file, and it is forgotten.
    pub(crate) fn write(&mut self, staged: u64) -> Result<(), LogError> {
        let path = self.path().to_owned();
        let written = self.file.write_all_at(&self.buffer, self.length);
        let bytes = self.buffer.len() as u64;
        self.buffer.clear();
        match written {
            Ok(()) => {
                self.length += bytes;
                self.synced = false;
                self.make_room();
                Ok(())
            }
            Err(source) => {
                self.next -= staged;
                if let Some(segment) = self.segments.last_mut() {
                    segment.unmark(self.next);
                }
                self.file.set_len(self.length).map_err(LogError::io("taking back a write to", &path))?;
                self.room = self.length;
                Err(LogError::io("writing to", &path)(source))
            }
        }
    }

    /// Makes room behind what was written, where none is left. Without it all goes on, slower.
    fn make_room(&mut self) {
        if self.length <= self.room || self.segments.last().is_none_or(|segment| segment.format == 1) {
            return;
        }
        let room = self.length.next_multiple_of(ROOM_BYTES);
        let zeros = vec![0; (room - self.length) as usize];
        self.room = match self.file.write_all_at(&zeros, self.length) {
            Ok(()) => room,
            Err(_) => {
                // What is there of it is zeros too.
                let _ = self.file.set_len(self.length);
                self.length
            }
        };
    }

    /// Waits until all that was written is on disk, then begins a new segment where this one is full.
    pub(crate) fn sync(&mut self) -> Result<(), LogError> {
        let path = self.path().to_owned();
        self.file.sync_data().map_err(LogError::io("syncing", &path))?;
        self.roll();
        Ok(())
    }

    /// The file to sync, for who must not hold the log meanwhile; [`Log::roll`] follows.
    pub(crate) fn unsynced(&self) -> (Arc<File>, PathBuf) {
        (self.file.clone(), self.path().to_owned())
    }

    /// Begins a new segment where this one is full. All of it must be synced.
    pub(crate) fn roll(&mut self) {
        self.synced = true;
        if self.length >= SEGMENT_BYTES {
            // Room that stays is known at open, so this may fail.
            let _ = self.file.set_len(self.length);
            self.room = self.length;
            // A new segment that cannot be made (no space) is tried again after the next batch.
            if let Ok(segment) = Segment::create(&self.folder, self.next)
                && let Ok(file) = File::options().write(true).open(&segment.path)
            {
                self.file = Arc::new(file);
                self.length = record::HEADER_BYTES;
                self.room = self.length;
                self.segments.push(segment);
            }
        }
    }

    /// Hands records from `from` on to `visit` until it says enough.
    pub(crate) fn read(&self, from: u64, mut visit: impl FnMut(u64, &[u8]) -> bool) -> Result<(), LogError> {
        let begin = self.segments.partition_point(|segment| segment.first <= from).saturating_sub(1);
        let mut more = true;
        for segment in &self.segments[begin..] {
            segment.walk(from, |index, _, payload| {
                more = index < self.next && visit(index, payload);
                more
            })?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    /// Drops every record after `index`, on disk when this returns.
    pub(crate) fn truncate_after(&mut self, index: u64) -> Result<(), LogError> {
        if index + 1 >= self.next {
            return Ok(());
        }
        if index + 1 < self.segments[0].first {
            return self.restart(index + 1);
        }
        while self.segments.len() > 1 && self.segments[self.segments.len() - 1].first > index + 1 {
            self.drop_segment(self.segments.len() - 1)?;
        }
        let segment = self.segments.last_mut().expect("a log has a segment");
        // To the end of the last record that stays.
        let mut length = record::HEADER_BYTES;
        segment.walk(index, |found, offset, payload| {
            length = if found > index { offset } else { offset + record::bytes(payload.len()) as u64 };
            found <= index
        })?;
        let path = segment.path.clone();
        let file = File::options().write(true).open(&path).map_err(LogError::io("opening", &path))?;
        self.length = length;
        file.set_len(self.length).map_err(LogError::io("cutting", &path))?;
        file.sync_all().map_err(LogError::io("syncing", &path))?;
        segment.unmark(index + 1);
        self.file = Arc::new(file);
        (self.room, self.synced) = (length, true);
        self.next = index + 1;
        Ok(())
    }

    /// Drops every record; the next one gets the index `next`.
    pub(crate) fn restart(&mut self, next: u64) -> Result<(), LogError> {
        // From the end backward, so that a crash in between leaves no hole.
        while let Some(position) = self.segments.len().checked_sub(1) {
            self.drop_segment(position)?;
        }
        let segment = Segment::create(&self.folder, next)?;
        let path = segment.path.clone();
        let file = File::options().write(true).open(&path).map_err(LogError::io("opening", &path))?;
        self.file = Arc::new(file);
        self.length = record::HEADER_BYTES;
        (self.room, self.synced) = (self.length, true);
        self.segments.push(segment);
        self.next = next;
        Ok(())
    }

    fn drop_segment(&mut self, position: usize) -> Result<(), LogError> {
        let path = &self.segments[position].path;
        std::fs::remove_file(path).map_err(LogError::io("removing", path))?;
        self.segments.remove(position);
        Ok(())
    }

    /// Deletes the segments whose records are all at or before `index`.
    pub(crate) fn forget(&mut self, index: u64) -> Result<(), LogError> {
        while self.segments.len() > 1 && self.segments[1].first <= index + 1 {
            let path = self.segments[0].path.clone();
            std::fs::remove_file(&path).map_err(LogError::io("removing", &path))?;
            self.segments.remove(0);
        }
        Ok(())
    }

    fn path(&self) -> &Path {
        self.segments.last().map_or(&self.folder, |segment| &segment.path)
    }
}

#[cfg(test)]
mod tests;
