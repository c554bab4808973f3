//! Who this member is and what it promised, on disk: identity, vote, and what was purged from the log.
//!
//! ```text
//! two slots of 512 bytes, written in turn and synced; the valid one with the higher sequence counts
//!   "KEELMEMB" | format u32 | crc u32 | sequence | member | cluster | vote term, node, committed
//!   | purged term, node, index + 1 (0: nothing)
//! ```
//!
//! **Invariants**
//! - A write never touches the slot that counts: a torn write loses the new value, never the old one.
//! - The file never grows, so a full disk cannot keep a member from voting.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use openraft::vote::RaftLeaderId as _;

use super::declared::{LeaderId, LogId, Vote};

const MAGIC: &[u8; 8] = b"KEELMEMB";
const FORMAT: u32 = 1;
const SLOT_BYTES: usize = 512;
const NUMBERS: usize = 9;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Promise {
    /// This member's number.
    pub(super) member: u64,
    /// The cluster it belongs to; 0 until it is told.
    pub(super) cluster: u64,
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<LogId>,
}

/// The open file.
#[derive(Debug)]
pub(super) struct MemberFile {
    file: File,
    path: PathBuf,
    sequence: u64,
    promise: Promise,
}

impl MemberFile {
    /// Makes the file, whole or not at all.
    pub(super) fn create(path: &Path, promise: Promise) -> io::Result<MemberFile> {
        let temporary = path.with_extension("new");
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&temporary)?;
        file.write_all_at(&[0; SLOT_BYTES * 2], 0)?;
        let mut made = MemberFile { file, path: path.to_owned(), sequence: 0, promise };
        made.write(promise)?;
        made.file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(made)
    }

    /// Reads the file. `None`: there is none.
    pub(super) fn open(path: &Path) -> io::Result<Option<MemberFile>> {
        let file = match File::options().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut bytes = [0; SLOT_BYTES * 2];
        file.read_exact_at(&mut bytes, 0)?;
        let mut latest = None;
        for slot in bytes.chunks(SLOT_BYTES) {
            if let Some(found) = decode(slot)?
                && latest.is_none_or(|(sequence, _)| sequence < found.0)
            {
                latest = Some(found);
            }
        }
        let Some((sequence, promise)) = latest else {
            return Err(io::Error::other(
                "neither of its two slots is whole; remove this member and add it anew",
            ));
        };
        Ok(Some(MemberFile { file, path: path.to_owned(), sequence, promise }))
    }

    pub(super) fn promise(&self) -> Promise {
        self.promise
    }

    /// Puts a new promise on disk.
    pub(super) fn write(&mut self, promise: Promise) -> io::Result<()> {
        let sequence = self.sequence + 1;
        let place = sequence % 2 * SLOT_BYTES as u64;
        self.file.write_all_at(&encode(sequence, &promise), place)?;
        self.file.sync_data()?;
        self.sequence = sequence;
        self.promise = promise;
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn encode(sequence: u64, promise: &Promise) -> [u8; SLOT_BYTES] {
    let vote = promise
        .vote
        .map_or([0; 3], |vote| [vote.leader_id.term, vote.leader_id.node_id, 1 + u64::from(vote.committed)]);
    let purged = promise
        .purged
        .map_or([0; 3], |purged| [purged.leader_id.term, purged.leader_id.node_id, purged.index + 1]);
    let numbers: [u64; NUMBERS] = [
        sequence,
        promise.member,
        promise.cluster,
        vote[0],
        vote[1],
        vote[2],
        purged[0],
        purged[1],
        purged[2],
    ];
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(MAGIC);
    slot[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    for (place, number) in slot[16..].chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    let checksum = crc32c::crc32c(&slot[16..16 + NUMBERS * 8]);
    slot[12..16].copy_from_slice(&checksum.to_le_bytes());
    slot
}

fn decode(slot: &[u8]) -> io::Result<Option<(u64, Promise)>> {
    let word = |at: usize| slot[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let number = |at: usize| slot[16 + at * 8..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    if &slot[..8] != MAGIC || crc32c::crc32c(&slot[16..16 + NUMBERS * 8]) != word(12) {
        return Ok(None);
    }
    if word(8) > FORMAT {
        return Err(io::Error::other(format!(
            "it has format {}, written by a newer Keelson: run that one",
            word(8)
        )));
    }
    let vote = (number(5) > 0)
        .then(|| Vote { leader_id: LeaderId::new(number(3), number(4)), committed: number(5) > 1 });
    let purged = (number(8) > 0)
        .then(|| LogId { leader_id: LeaderId::new(number(6), number(7)), index: number(8) - 1 });
    Ok(Some((number(0), Promise { member: number(1), cluster: number(2), vote, purged })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promise(term: u64) -> Promise {
        Promise {
            member: 5,
            cluster: 9,
            vote: Some(Vote { leader_id: LeaderId::new(term, 5), committed: term > 2 }),
            purged: Some(LogId { leader_id: LeaderId::new(1, 5), index: 0 }),
        }
    }

    #[test]
    fn a_torn_or_damaged_slot_leaves_the_promise_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("member");
        assert!(MemberFile::open(&path).unwrap().is_none());
        let mut file = MemberFile::create(&path, promise(1)).unwrap();
        for term in 2..5 {
            file.write(promise(term)).unwrap();
            let whole = std::fs::read(&path).unwrap();
            assert_eq!(MemberFile::open(&path).unwrap().unwrap().promise(), promise(term));
            let newest = (file.sequence % 2) as usize * SLOT_BYTES;
            for byte in (0..16 + NUMBERS * 8).filter(|byte| !(8..12).contains(byte)) {
                let mut bytes = whole.clone();
                bytes[newest + byte] ^= 4;
                std::fs::write(&path, bytes).unwrap();
                assert_eq!(
                    MemberFile::open(&path).unwrap().unwrap().promise(),
                    promise(term - 1),
                    "byte {byte}"
                );
            }
            std::fs::write(&path, whole).unwrap();
        }
        std::fs::write(&path, [0; SLOT_BYTES * 2]).unwrap();
        assert!(MemberFile::open(&path).unwrap_err().to_string().contains("neither"));
    }
}
