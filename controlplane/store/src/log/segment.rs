//! One file of the log.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::LogError;
use super::record::{self, ALIGNMENT, FORMAT, HEADER_BYTES, MAGIC};

/// Every so many records their place is remembered, so that reading from the middle needs no scan.
const MARK_EVERY: u64 = 64;

/// A segment by its name.
#[derive(Debug)]
pub(super) struct Segment {
    /// The index of its first record.
    pub(super) first: u64,
    pub(super) path: PathBuf,
    /// It had no records when it was listed or made.
    pub(super) is_empty: bool,
    /// Known once it is read.
    pub(super) format: u32,
    /// Where every 64th record begins.
    marks: Vec<u64>,
}

impl Segment {
    /// The segments of a folder, in order. A file without a whole header is a creation that a crash cut short.
    pub(super) fn list(folder: &Path) -> Result<Vec<Segment>, LogError> {
        let mut segments = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(LogError::io("listing", folder))? {
            let path = entry.map_err(LogError::io("listing", folder))?.path();
            let Some(first) = path
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| name.strip_suffix(".log"))
                .and_then(|digits| digits.parse().ok())
            else {
                continue;
            };
            let length = std::fs::metadata(&path).map_err(LogError::io("reading", &path))?.len();
            if length < HEADER_BYTES {
                std::fs::remove_file(&path).map_err(LogError::io("removing", &path))?;
            } else {
                let is_empty = length == HEADER_BYTES;
                segments.push(Segment { first, path, is_empty, format: FORMAT, marks: Vec::new() });
            }
        }
        segments.sort_by_key(|segment| segment.first);
        Ok(segments)
    }

    /// Makes an empty segment, on disk with its name when this returns.
    pub(super) fn create(folder: &Path, first: u64) -> Result<Segment, LogError> {
        let path = folder.join(format!("{first:020}.log"));
        let made = Segment::make(folder, &path);
        if made.is_err() {
            // What is left of it is also known at open, so a file that stays does no harm.
            let _ = std::fs::remove_file(&path);
        }
        made.map(|()| Segment { first, path, is_empty: true, format: FORMAT, marks: Vec::new() })
    }

    fn make(folder: &Path, path: &Path) -> Result<(), LogError> {
        let mut file = File::create(path).map_err(LogError::io("creating", path))?;
        file.write_all(&record::header(FORMAT)).map_err(LogError::io("writing to", path))?;
        file.sync_all().map_err(LogError::io("syncing", path))?;
        let directory = File::open(folder).map_err(LogError::io("opening", folder))?;
        directory.sync_all().map_err(LogError::io("syncing", folder))
    }

    /// Hands every record to `visit` and returns how many bytes are whole. The end may be torn only in
    /// the last segment.
    pub(super) fn read<E: From<LogError>>(
        &mut self,
        is_last: bool,
        mut visit: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let bytes = std::fs::read(&self.path).map_err(LogError::io("reading", &self.path))?;
        self.format = self.check_header(&bytes)?;
        let mut offset = HEADER_BYTES as usize;
        let mut expected = self.first;
        while let Some(found) = record::decode(&bytes[offset..]).filter(|found| found.index == expected) {
            visit(found.index, found.payload)?;
            self.mark(expected, offset as u64);
            expected += 1;
            offset += found.size;
        }
        let rest = &bytes[offset..];
        // Room that was made and not used.
        let unused = record::is_untouched(rest);
        if !unused && (!is_last || was_synced(rest, expected, self.format)) {
            return Err(LogError::Damaged { path: self.path.clone(), offset: offset as u64 }.into());
        }
        Ok(offset as u64)
    }

    /// Remembers where a record begins. Records are told in order.
    pub(super) fn mark(&mut self, index: u64, offset: u64) {
        if (index - self.first).is_multiple_of(MARK_EVERY) {
            self.marks.push(offset);
        }
    }

    /// Forgets the records from `next` on.
    pub(super) fn unmark(&mut self, next: u64) {
        self.marks.truncate((next - self.first).div_ceil(MARK_EVERY) as usize);
    }

    /// Hands records from `from` on to `visit`, with the byte where each begins, until it says enough.
    pub(super) fn walk(
        &self,
        from: u64,
        mut visit: impl FnMut(u64, u64, &[u8]) -> bool,
    ) -> Result<(), LogError> {
        let failed = LogError::io("reading", &self.path);
        let mark = ((from.max(self.first) - self.first) / MARK_EVERY) as usize;
        let Some(mut offset) = self.marks.get(mark).copied() else { return Ok(()) };
        let mut index = self.first + mark as u64 * MARK_EVERY;
        let mut walk = || {
            let mut file = BufReader::with_capacity(1 << 18, File::open(&self.path)?);
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = Vec::new();
            loop {
                let mut prefix = [0; record::PREFIX_BYTES];
                match file.read_exact(&mut prefix) {
                    Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                    other => other?,
                }
                if record::is_untouched(&prefix) {
                    return Ok(());
                }
                bytes.clear();
                bytes.extend_from_slice(&prefix);
                bytes.resize(record::size(&bytes), 0);
                match file.read_exact(&mut bytes[record::PREFIX_BYTES..]) {
                    Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                    other => other?,
                }
                let Some(found) = record::decode(&bytes).filter(|found| found.index == index) else {
                    return Err(std::io::Error::other(format!("entry {index} is damaged at byte {offset}")));
                };
                if index >= from && !visit(index, offset, found.payload) {
                    return Ok(());
                }
                index += 1;
                offset += bytes.len() as u64;
            }
        };
        walk().map_err(failed)
    }

    fn check_header(&self, bytes: &[u8]) -> Result<u32, LogError> {
        let path = || self.path.clone();
        if bytes.get(..8) != Some(MAGIC) {
            return Err(LogError::NotALog { path: path() });
        }
        let format = u32::from_le_bytes(bytes[8..12].try_into().unwrap_or_default());
        if format > FORMAT {
            return Err(LogError::Newer { path: path(), found: format, known: FORMAT });
        }
        if bytes[..HEADER_BYTES as usize] != record::header(format) {
            return Err(LogError::Damaged { path: path(), offset: 0 });
        }
        Ok(format)
    }
}

/// Whether the bad record at the beginning had been on disk: one behind it was written after that. What a crash left of a
/// batch may be any part of it.
fn was_synced(bytes: &[u8], expected: u64, format: u32) -> bool {
    let tells = |found: record::Decoded<'_>| found.index >= expected && (format == 1 || found.first_of_batch);
    (ALIGNMENT..bytes.len())
        .step_by(ALIGNMENT)
        .any(|offset| record::decode(&bytes[offset..]).is_some_and(tells))
}
