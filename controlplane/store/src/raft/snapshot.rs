//! A snapshot as a stream of frames: over the wire to a member that is behind, and in the file of `store snapshot`.
//!
//! ```text
//!   "KEELSNAP" | format u32 | crc u32
//!   frame   length u32 | crc u32 | postcard of header, part ... end (count of parts, checksum over all frames)
//! ```
//!
//! **Invariants**
//! - A snapshot without its end frame is not a snapshot: a reader that meets the end of the file first says so.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::state::{Dump, Header, Part};

const MAGIC: &[u8; 8] = b"KEELSNAP";
const FORMAT: u32 = 1;
/// The largest frame: a part ends with the record that passes its limit, and a record has one too.
const FRAME_LIMIT: usize = 12 << 20;

/// A snapshot on its way.
pub enum SnapshotData {
    /// As of one moment of this member's state; read while it is sent.
    Live(Box<Dump>),
    /// Received whole.
    File(tempfile::NamedTempFile),
}

impl std::fmt::Debug for SnapshotData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SnapshotData::Live(_) => "Live",
            SnapshotData::File(_) => "File",
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Frame {
    Header(Header),
    Part(Part),
    End { parts: u64, checksum: u32 },
}

/// Turns a dump into bytes, frame by frame.
pub(crate) struct Encoder {
    dump: Box<Dump>,
    parts: u64,
    checksum: u32,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Header,
    Parts,
    Done,
}

impl Encoder {
    pub(crate) fn new(dump: Box<Dump>) -> Encoder {
        Encoder { dump, parts: 0, checksum: 0, stage: Stage::Header }
    }

    /// The next piece; `None` after the last.
    pub(crate) fn piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.stage {
            Stage::Header => {
                let mut bytes = MAGIC.to_vec();
                bytes.extend_from_slice(&FORMAT.to_le_bytes());
                bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
                let header = Frame::Header(self.dump.header().clone());
                self.frame(&mut bytes, &header)?;
                self.stage = Stage::Parts;
                Ok(Some(bytes))
            }
            Stage::Parts => {
                let mut bytes = Vec::new();
                match self.dump.part().map_err(io::Error::other)? {
                    Some(part) => {
                        self.parts += 1;
                        self.frame(&mut bytes, &Frame::Part(part))?;
                    }
                    None => {
                        let end = Frame::End { parts: self.parts, checksum: self.checksum };
                        self.frame(&mut bytes, &end)?;
                        self.stage = Stage::Done;
                    }
                }
                Ok(Some(bytes))
            }
            Stage::Done => Ok(None),
        }
    }

    fn frame(&mut self, bytes: &mut Vec<u8>, frame: &Frame) -> io::Result<()> {
        let body = postcard::to_stdvec(frame).map_err(io::Error::other)?;
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        self.checksum = crc32c::crc32c_append(self.checksum, &body);
        Ok(())
    }
}

/// Reads a snapshot back.
pub(crate) struct Decoder<R> {
    from: R,
    header: Header,
    parts: u64,
    checksum: u32,
    ended: bool,
}

impl<R: Read> Decoder<R> {
    /// Reads up to the header.
    pub(crate) fn begin(mut from: R) -> Result<Decoder<R>, String> {
        let mut bytes = [0; 16];
        from.read_exact(&mut bytes).map_err(|_| "it is too short to be a snapshot".to_owned())?;
        if &bytes[..8] != MAGIC {
            return Err("it is not a snapshot of a Keelson store".into());
        }
        let word = |at: usize| bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        if word(12) != crc32c::crc32c(&bytes[..12]) {
            return Err("its first bytes are damaged".into());
        }
        if word(8) > FORMAT {
            return Err(format!(
                "it has format {}, this Keelson reads up to {FORMAT}: use the newer one",
                word(8)
            ));
        }
        let header = Header {
            revision: Default::default(),
            compacted: Default::default(),
            place: Default::default(),
            membership: None,
        };
        let mut decoder = Decoder { from, header, parts: 0, checksum: 0, ended: false };
        match decoder.frame()? {
            Frame::Header(header) => decoder.header = header,
            _ => return Err("it does not begin with its header".into()),
        }
        Ok(decoder)
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The next part; `None` once the end was read and everything is whole.
    pub(crate) fn part(&mut self) -> Result<Option<Part>, String> {
        if self.ended {
            return Ok(None);
        }
        let before = self.checksum;
        match self.frame()? {
            Frame::Part(part) => {
                self.parts += 1;
                Ok(Some(part))
            }
            Frame::End { parts, checksum } if parts == self.parts && checksum == before => {
                self.ended = true;
                Ok(None)
            }
            Frame::End { .. } => Err("parts of it are missing".into()),
            Frame::Header(_) => Err("it has two headers".into()),
        }
    }

    /// After the last part of a file: nothing may follow, or it is not what was written.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        match self.from.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err("it is damaged: it goes on behind its end".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn frame(&mut self) -> Result<Frame, String> {
        let cut = |_| "it ends in the middle".to_owned();
        let mut prefix = [0; 8];
        self.from.read_exact(&mut prefix).map_err(cut)?;
        let word = |at: usize| prefix[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let length = word(0) as usize;
        if length > FRAME_LIMIT {
            return Err("it is damaged: a frame is larger than any can be".into());
        }
        let mut body = vec![0; length];
        self.from.read_exact(&mut body).map_err(cut)?;
        if crc32c::crc32c(&body) != word(4) {
            return Err("it is damaged: a checksum does not fit".into());
        }
        self.checksum = crc32c::crc32c_append(self.checksum, &body);
        postcard::from_bytes(&body).map_err(|error| format!("a frame of it cannot be read: {error}"))
    }
}

/// Writes a dump to a file, on disk when this returns. Gives its size.
pub(crate) fn write_file(dump: Box<Dump>, file: &File) -> io::Result<u64> {
    let mut encoder = Encoder::new(dump);
    let mut writer = BufWriter::new(file);
    let mut size = 0;
    while let Some(piece) = encoder.piece()? {
        size += piece.len() as u64;
        writer.write_all(&piece)?;
    }
    writer.flush()?;
    file.sync_all()?;
    Ok(size)
}

/// Opens a snapshot file.
pub(crate) fn open_file(path: &Path) -> Result<Decoder<BufReader<File>>, String> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Decoder::begin(BufReader::new(file)).map_err(|reason| format!("{}: {reason}", path.display()))
}
