//! A Raft entry as a record of the log on disk.
//!
//! ```text
//! format u8 = 1 | kind u8 | committed u64 | term u64 | leader u64 | command or membership
//! ```
//!
//! Each record carries the commit index known when it was written, so a restart knows what may be applied at once
//! without a file of its own for it.

use openraft::EntryPayload;
use openraft::vote::RaftLeaderId as _;

use super::declared::{Entry, LeaderId, LogId, Payload};

const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 26;

/// A decoded record.
pub(super) struct Found {
    pub(super) entry: Entry,
    /// The index that was known to be committed when the record was written.
    pub(super) committed: u64,
}

/// The record of an entry, into a buffer that is used again.
pub(super) fn encode(buffer: &mut Vec<u8>, entry: &Entry, committed: u64) -> Result<(), String> {
    buffer.clear();
    let membership;
    let (kind, body): (u8, &[u8]) = match &entry.payload {
        EntryPayload::Blank => (0, &[]),
        EntryPayload::Normal(payload) => (1, &payload.0),
        EntryPayload::Membership(members) => {
            membership = postcard::to_stdvec(members).map_err(|error| error.to_string())?;
            (2, &membership)
        }
    };
    buffer.extend_from_slice(&[FORMAT, kind]);
    for number in [committed, entry.log_id.leader_id.term, entry.log_id.leader_id.node_id] {
        buffer.extend_from_slice(&number.to_le_bytes());
    }
    buffer.extend_from_slice(body);
    Ok(())
}

/// The entry behind a record; the error says what is wrong with it.
pub(super) fn decode(index: u64, record: &[u8]) -> Result<Found, String> {
    let Some((header, body)) = record.split_at_checked(HEADER_BYTES) else {
        return Err(format!("entry {index} is shorter than its header"));
    };
    if header[0] != FORMAT {
        return Err(format!(
            "entry {index} has format {}, written by a newer Keelson: run that one",
            header[0]
        ));
    }
    let number = |at: usize| header[2 + at * 8..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let payload = match header[1] {
        0 => EntryPayload::Blank,
        1 => EntryPayload::Normal(Payload(body.into())),
        2 => EntryPayload::Membership(
            postcard::from_bytes(body).map_err(|error| format!("membership in entry {index}: {error}"))?,
        ),
        kind => return Err(format!("entry {index} is of the unknown kind {kind}")),
    };
    let log_id = LogId { leader_id: LeaderId::new(number(1), number(2)), index };
    Ok(Found { entry: Entry { log_id, payload }, committed: number(0) })
}

/// Bytes that an entry weighs in memory and on the wire, about.
pub(super) fn weight(entry: &Entry) -> usize {
    64 + match &entry.payload {
        EntryPayload::Normal(payload) => payload.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_as_they_were_and_newer_ones_are_refused() {
        let mut buffer = Vec::new();
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(Payload(b"command"[..].into())),
            EntryPayload::Membership(openraft::Membership::new_with_defaults(vec![[7].into()], [])),
        ] {
            let entry = Entry { log_id: LogId { leader_id: LeaderId::new(3, 7), index: 12 }, payload };
            encode(&mut buffer, &entry, 11).unwrap();
            let found = decode(12, &buffer).unwrap();
            assert_eq!(found.committed, 11);
            assert_eq!(found.entry, entry);
        }
        buffer[0] = 2;
        assert!(decode(12, &buffer).err().unwrap().contains("newer Keelson"));
        assert!(decode(12, &buffer[..9]).is_err());
    }
}
