//! Revisions, records and events: what the store keeps and tells.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The store's clock: one step per transaction that writes. 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision(pub u64);

impl Revision {
    /// The next revision.
    pub fn next(self) -> Revision {
        Revision(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One version of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The key.
    #[serde(with = "shared_bytes")]
    pub key: Arc<[u8]>,
    /// The value.
    #[serde(with = "shared_bytes")]
    pub value: Arc<[u8]>,
    /// When the key came into being.
    pub created: Revision,
    /// When this version was written.
    pub modified: Revision,
    /// 1 for the first version since `created`.
    pub version: u64,
    /// The lease that the key dies with; 0 for none.
    pub lease: u64,
}

/// Shared bytes on the wire; read with one copy.
pub(crate) mod shared_bytes {
    use std::fmt;
    use std::sync::Arc;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &Arc<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[u8]>, D::Error> {
        struct Copy;

        impl Visitor<'_> for Copy {
            type Value = Arc<[u8]>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Arc<[u8]>, E> {
                Ok(bytes.into())
            }
        }

        deserializer.deserialize_bytes(Copy)
    }
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Written.
    Put,
    /// Deleted: the record's value is empty and its `modified` is the revision of the deletion.
    Delete,
}

/// What shared bytes take beside themselves: two counts and the allocator's own.
const SHARED_BYTES: usize = 32;

/// One change of one key, in the order of (`record.modified`, `sub`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// Position within the transaction.
    pub sub: u32,
    /// The key after the change.
    pub record: Record,
    /// The key before the change, unless it was compacted away.
    pub previous: Option<Record>,
}

impl Event {
    /// Bytes that it takes in memory, about; its key and values weigh less than the rest where they are small.
    pub(crate) fn weight(&self) -> usize {
        let previous = self.previous.as_ref().map_or(0, |record| SHARED_BYTES + record.value.len());
        let shared = 2 * SHARED_BYTES + self.record.key.len() + self.record.value.len();
        SHARED_BYTES + size_of::<Event>() + shared + previous
    }
}

/// Keys from `start` up to but not including `end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    /// The first key.
    pub start: Vec<u8>,
    /// The first key past the range; `None`: no end.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// Exactly one key.
    pub fn one(key: impl Into<Vec<u8>>) -> KeyRange {
        let start = key.into();
        let mut end = start.clone();
        end.push(0);
        KeyRange { start, end: Some(end) }
    }

    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> KeyRange {
        let start = prefix.into();
        let mut end = start.clone();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                return KeyRange { start, end: Some(end) };
            }
        }
        KeyRange { start, end: None }
    }

    /// Whether `key` is in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_slice() && self.end.as_ref().is_none_or(|end| key < end.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_its_successor() {
        for (prefix, inside, outside) in [
            (&b"/a/"[..], &b"/a/z"[..], &b"/a0"[..]),
            (b"a\xff", b"a\xff\xff", b"b"),
            (b"\xff\xff", b"\xff\xff\xff", b"\xff\xfe"),
            (b"", b"anything", b""),
        ] {
            let range = KeyRange::prefix(prefix);
            assert!(range.contains(inside), "{range:?} {inside:?}");
            if !outside.is_empty() {
                assert!(!range.contains(outside), "{range:?} {outside:?}");
            }
        }
        assert!(KeyRange::one(b"k".as_slice()).contains(b"k"));
        assert!(!KeyRange::one(b"k".as_slice()).contains(b"k\0"));
    }
}
