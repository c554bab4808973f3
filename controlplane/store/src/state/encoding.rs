//! How records and events are laid out in the tables. All numbers little-endian.

use std::sync::Arc;

use crate::record::{Event, EventKind, Record, Revision};

const HEADER_BYTES: usize = 32;

/// The value of `current`: modified, created, version, lease, then the value.
pub(super) fn encode_current(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + record.value.len());
    for number in [record.modified.0, record.created.0, record.version, record.lease] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&record.value);
    bytes
}

/// The record behind a value of `current`.
pub(super) fn decode_current(key: &[u8], bytes: &[u8]) -> Record {
    Record {
        key: key.into(),
        modified: Revision(number(bytes, 0)),
        created: Revision(number(bytes, 1)),
        version: number(bytes, 2),
        lease: number(bytes, 3),
        value: bytes.get(HEADER_BYTES..).unwrap_or_default().into(),
    }
}

/// The revision in a value of `current`, without the rest.
pub(super) fn modified(bytes: &[u8]) -> Revision {
    Revision(number(bytes, 0))
}

/// The value of `history`: kind, whether there is a record before, then length-prefixed key, record after
/// and record before, each as in `current`. The record after is there already.
pub(super) fn encode_event(event: &Event, current: &[u8]) -> Vec<u8> {
    let lengths = 3 * 8 + HEADER_BYTES;
    let mut bytes = Vec::with_capacity(2 + lengths + current.len() + event.weight());
    bytes.extend_from_slice(&[u8::from(event.kind == EventKind::Delete), u8::from(event.previous.is_some())]);
    let mut part = |content: &[u8]| {
        bytes.extend_from_slice(&(content.len() as u64).to_le_bytes());
        bytes.extend_from_slice(content);
    };
    part(&event.record.key);
    part(current);
    if let Some(previous) = &event.previous {
        part(&encode_current(previous));
    }
    bytes
}

/// The event behind a value of `history`.
pub(super) fn decode_event(sub: u32, bytes: &[u8]) -> Event {
    let kind = if bytes.first() == Some(&1) { EventKind::Delete } else { EventKind::Put };
    let has_previous = bytes.get(1) == Some(&1);
    let mut rest = bytes.get(2..).unwrap_or_default();
    let mut part = || {
        let length = number(rest, 0) as usize;
        let content = rest.get(8..8 + length).unwrap_or_default();
        rest = rest.get(8 + length..).unwrap_or_default();
        content
    };
    let key = part();
    let record = decode_current(key, part());
    let mut previous = has_previous.then(|| decode_current(key, part()));
    if let Some(previous) = &mut previous {
        previous.key = Arc::clone(&record.key);
    }
    Event { kind, sub, record, previous }
}

fn number(bytes: &[u8], position: usize) -> u64 {
    let begin = position * 8;
    bytes.get(begin..begin + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: &[u8]) -> Record {
        Record {
            key: b"/registry/pods/default/web"[..].into(),
            value: value.into(),
            created: Revision(3),
            modified: Revision(9),
            version: 4,
            lease: 77,
        }
    }

    #[test]
    fn events_come_back_as_they_were() {
        for (kind, previous) in [
            (EventKind::Put, None),
            (EventKind::Put, Some(record(b"old"))),
            (EventKind::Delete, Some(record(b""))),
        ] {
            let event = Event { kind, sub: 5, record: record(b"new"), previous };
            let encoded = encode_event(&event, &encode_current(&event.record));
            assert_eq!(decode_event(5, &encoded), event);
        }
    }
}
