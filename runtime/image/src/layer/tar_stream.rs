//! Reads a tar stream entry by entry, with every extension that image builders use.
//!
//! The `tar` crate reads header blocks; the stream is walked here, because PAX records may hold any
//! bytes (capabilities contain newlines), override sizes, and must not fill the memory.
//!
//! **Invariants.** Nothing is written and no path is interpreted. The extension headers of an entry, and the global
//! ones of an archive, are bounded together by [`LONGEST_EXTENSION`]. Reference: POSIX pax, GNU tar manual "Basic Tar
//! Format", "Sparse Formats".

use std::io::{self, Read};

use super::sparse::{self, SparseMap};

/// Bytes of PAX records and GNU long names, however many headers they are spread over.
const LONGEST_EXTENSION: u64 = 1 << 20;
/// Extended attributes of one entry; file systems take far fewer.
const MOST_XATTRS: usize = 1024;
const BLOCK: usize = 512;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    HardLink,
    Fifo,
    /// Major and minor number.
    CharDevice(u32, u32),
    BlockDevice,
    /// Contiguous files and vendor letters.
    Other(u8),
}

/// One entry, extensions applied. Its data is read from the stream next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub path: Vec<u8>,
    /// Of symbolic and hard links.
    pub target: Vec<u8>,
    pub kind: Kind,
    /// Permission bits with set-user-ID, set-group-ID and sticky.
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    /// Seconds and nanoseconds since the epoch.
    pub mtime: (i64, u32),
    /// Bytes of data in the stream.
    pub size: u64,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the data belongs in a sparse file.
    pub sparse: Option<SparseMap>,
}

/// A position in a tar stream.
pub struct TarStream<R> {
    source: R,
    /// Data bytes of the current entry that were not read yet.
    left: u64,
    /// Zeros after them.
    padding: u64,
    global: Records,
    /// Bytes of global records so far.
    global_bytes: u64,
}

/// PAX records that matter here.
#[derive(Clone, Debug, Default)]
struct Records {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: sparse::PaxSparse,
}

// === impl TarStream ===

impl<R: Read> TarStream<R> {
    pub fn new(source: R) -> TarStream<R> {
        TarStream { source, left: 0, padding: 0, global: Records::default(), global_bytes: 0 }
    }

    /// What the entries come from.
    pub fn source(&self) -> &R {
        &self.source
    }

    /// The next entry, or none at the end of the archive. What was not read of the last one is skipped.
    pub fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut records = self.global.clone();
        let (mut long_path, mut long_target) = (None, None);
        let mut taken = 0;
        loop {
            self.skip_rest()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = number(&header.as_old().size).ok_or_else(|| malformed("size"))?;
            match header.entry_type().as_byte() {
                b'x' => records.read(&self.extension(size, &mut taken)?)?,
                b'g' => {
                    let mut global = self.global_bytes;
                    let block = self.extension(size, &mut global)?;
                    self.global_bytes = global;
                    self.global.read(&block)?;
                    records.read(&block)?;
                }
                b'L' => long_path = Some(c_string(self.extension(size, &mut taken)?)),
                b'K' => long_target = Some(c_string(self.extension(size, &mut taken)?)),
                kind => {
                    let mut entry = entry(&header, kind, size)?;
                    records.apply(&mut entry);
                    // GNU tar writes either long names or PAX records, never both; the last word is PAX.
                    if let Some(path) = long_path.filter(|_| records.path.is_none()) {
                        entry.path = path;
                    }
                    if let Some(target) = long_target.filter(|_| records.target.is_none()) {
                        entry.target = target;
                    }
                    return self.begin(entry, &header, &records).map(Some);
                }
            }
        }
    }

    /// Reads data of the current entry; 0 at its end.
    pub fn read_data(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let got = self.source.read(&mut buffer[..wanted])?;
        if got == 0 {
            return Err(truncated());
        }
        self.left -= got as u64;
        Ok(got)
    }

    /// Makes the data of `entry` readable, after the sparse maps that stand before it.
    fn begin(&mut self, mut entry: Entry, header: &tar::Header, records: &Records) -> io::Result<Entry> {
        let data_follows = matches!(entry.kind, Kind::File | Kind::Other(_));
        if !data_follows {
            // A hard link may state the size of its target; no data stands in the stream, except in
            // archives of the pax command, which nobody makes images with.
            entry.size = 0;
        }
        self.left = entry.size;
        self.padding = padding(entry.size);
        if header.entry_type().is_gnu_sparse() {
            // The extended headers are not counted in the size.
            entry.sparse = Some(sparse::old_gnu(header, &mut self.source)?);
        } else if records.sparse.is_version_one() {
            let before = self.left;
            let map = sparse::version_one(&records.sparse, |block| self.read_block(block))?;
            entry.size -= before - self.left;
            entry.sparse = Some(map);
        } else if let Some(map) = records.sparse.version_zero()? {
            entry.sparse = Some(map);
        }
        if let Some(name) = records.sparse.name() {
            entry.path = name.to_vec();
        }
        if let Some(map) = &entry.sparse {
            map.check(entry.size)?;
        }
        Ok(entry)
    }

    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> io::Result<()> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.read_data(&mut block[filled..])? {
                0 => return Err(malformed("sparse map")),
                got => filled += got,
            }
        }
        Ok(())
    }

    fn header(&mut self) -> io::Result<Option<tar::Header>> {
        let mut header = tar::Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block[filled..])? {
                // Some builders leave the end marker out.
                0 if filled == 0 => return Ok(None),
                0 => return Err(truncated()),
                got => filled += got,
            }
        }
        if block.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        if checksum_matches(block) { Ok(Some(header)) } else { Err(malformed("header checksum")) }
    }

    /// Reads one; `taken` counts those that belong together.
    fn extension(&mut self, size: u64, taken: &mut u64) -> io::Result<Vec<u8>> {
        // An empty one costs as well.
        *taken = taken.saturating_add(size.max(BLOCK as u64));
        if *taken > LONGEST_EXTENSION {
            return Err(malformed("extension headers longer than 1 MiB"));
        }
        let mut block = vec![0; usize::try_from(size).unwrap_or_default()];
        self.source.read_exact(&mut block).map_err(end_is_truncation)?;
        self.padding = padding(size);
        Ok(block)
    }

    fn skip_rest(&mut self) -> io::Result<()> {
        let rest = self.left + self.padding;
        let skipped = io::copy(&mut (&mut self.source).take(rest), &mut io::sink())?;
        // The padding of the last entry may be missing together with the end marker.
        if skipped < self.left {
            return Err(truncated());
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }
}

fn entry(header: &tar::Header, kind: u8, size: u64) -> io::Result<Entry> {
    let old = header.as_old();
    let device = |field: Option<&[u8; 8]>| field.and_then(|f| number(f)).and_then(|n| u32::try_from(n).ok());
    let majors = header.as_ustar().map(|u| &u.dev_major).or_else(|| header.as_gnu().map(|g| &g.dev_major));
    let minors = header.as_ustar().map(|u| &u.dev_minor).or_else(|| header.as_gnu().map(|g| &g.dev_minor));
    let path = header.path_bytes().into_owned();
    let kind = match kind {
        // Before POSIX a directory was a file whose name ends in a slash.
        0 | b'0' if path.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice(device(majors).unwrap_or(u32::MAX), device(minors).unwrap_or(u32::MAX)),
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => Kind::Other(other),
    };
    let field = |bytes: &[u8], what| number(bytes).ok_or_else(|| malformed(what));
    Ok(Entry {
        path,
        target: header.link_name_bytes().map(|t| t.into_owned()).unwrap_or_default(),
        kind,
        mode: u32::try_from(field(&old.mode, "mode")? & 0o7777).unwrap_or_default(),
        uid: field(&old.uid, "owner")?,
        gid: field(&old.gid, "group")?,
        mtime: (number(&old.mtime).and_then(|s| i64::try_from(s).ok()).unwrap_or(0), 0),
        size,
        xattrs: Vec::new(),
        sparse: None,
    })
}

/// Octal text, or GNU's big-endian binary with the top bit set. Nothing at all is 0. Negative times are 0.
fn number(field: &[u8]) -> Option<u64> {
    if let Some(first) = field.first().filter(|b| **b & 0x80 != 0) {
        if *first == 0xff {
            return Some(0);
        }
        return field[1..].iter().try_fold(u64::from(*first & 0x7f), |sum, b| {
            sum.checked_mul(256).map(|sum| sum | u64::from(*b))
        });
    }
    let text = std::str::from_utf8(field).ok()?;
    let text = text.trim_matches(|c| c == ' ' || c == '\0');
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

fn checksum_matches(block: &[u8]) -> bool {
    let stated = number(&block[148..156]);
    let counted = |value: fn(u8) -> i64| -> i64 {
        block.iter().enumerate().map(|(at, b)| if (148..156).contains(&at) { 32 } else { value(*b) }).sum()
    };
    let stated = stated.and_then(|s| i64::try_from(s).ok());
    // Old programs summed signed bytes.
    stated == Some(counted(i64::from)) || stated == Some(counted(|b| i64::from(b.cast_signed())))
}

fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

fn c_string(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

pub(super) fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed tar archive: {what}"))
}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the tar archive ends in the middle of an entry")
}

fn end_is_truncation(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof { truncated() } else { error }
}

// === impl Records ===

impl Records {
    /// Reads `<length> <key>=<value>\n` records; the length counts itself, so values may hold newlines.
    fn read(&mut self, mut block: &[u8]) -> io::Result<()> {
        while !block.is_empty() && block[0] != 0 {
            let wrong = || malformed("PAX record");
            let space = block.iter().position(|b| *b == b' ').ok_or_else(wrong)?;
            let length = std::str::from_utf8(&block[..space]).ok().and_then(|t| t.parse::<usize>().ok());
            let length = length.filter(|l| *l > space + 1 && *l <= block.len()).ok_or_else(wrong)?;
            let (record, rest) = block.split_at(length);
            let record = record[space + 1..].strip_suffix(b"\n").ok_or_else(wrong)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(wrong)?;
            self.set(&record[..equals], &record[equals + 1..])?;
            block = rest;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let text = || std::str::from_utf8(value).map_err(|_| malformed("PAX value"));
        let natural = || text()?.parse::<u64>().map(Some).map_err(|_| malformed("PAX number"));
        // An empty value takes a global record back.
        let given = |value: &[u8]| (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = given(value),
            b"linkpath" => self.target = given(value),
            b"size" => self.size = if value.is_empty() { None } else { natural()? },
            b"uid" => self.uid = if value.is_empty() { None } else { natural()? },
            b"gid" => self.gid = if value.is_empty() { None } else { natural()? },
            b"mtime" => self.mtime = time(text()?),
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.retain(|(other, _)| other != name);
                    if self.xattrs.len() == MOST_XATTRS {
                        return Err(malformed("more than 1024 extended attributes"));
                    }
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                } else if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.set(name, value)?;
                }
            }
        }
        Ok(())
    }

    fn apply(&self, entry: &mut Entry) {
        let take = |to: &mut Vec<u8>, from: &Option<Vec<u8>>| {
            if let Some(bytes) = from {
                to.clone_from(bytes);
            }
        };
        take(&mut entry.path, &self.path);
        take(&mut entry.target, &self.target);
        entry.size = self.size.unwrap_or(entry.size);
        entry.uid = self.uid.unwrap_or(entry.uid);
        entry.gid = self.gid.unwrap_or(entry.gid);
        entry.mtime = self.mtime.unwrap_or(entry.mtime);
        entry.xattrs.clone_from(&self.xattrs);
    }
}

/// `seconds[.fraction]`, possibly negative.
fn time(text: &str) -> Option<(i64, u32)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = seconds.parse::<i64>().ok()?;
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let nanoseconds = digits.parse::<u32>().ok()?;
    match (seconds.starts_with('-'), nanoseconds) {
        (true, 1..) => Some((whole.checked_sub(1)?, 1_000_000_000 - nanoseconds)),
        _ => Some((whole, nanoseconds)),
    }
}

#[cfg(test)]
#[path = "tar_stream_tests.rs"]
mod tests;
