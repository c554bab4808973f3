//! Watch events as frames: a line of JSON, or a length and a protobuf message.

use super::protobuf::{Writer, envelope};

/// What happened to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WatchType {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

impl WatchType {
    pub fn as_str(self) -> &'static str {
        match self {
            WatchType::Added => "ADDED",
            WatchType::Modified => "MODIFIED",
            WatchType::Deleted => "DELETED",
            WatchType::Bookmark => "BOOKMARK",
            WatchType::Error => "ERROR",
        }
    }
}

/// `{"type":"ADDED","object":...}` and a line break, around an object that is already JSON.
pub fn watch_frame_json(kind: WatchType, object: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(object.len() + 40);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_str().as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out
}

/// Four bytes of big-endian length and a `WatchEvent`, around an object that is already an envelope.
pub fn watch_frame_protobuf(kind: WatchType, object: &[u8]) -> Vec<u8> {
    debug_assert!(object.starts_with(envelope::MAGIC));
    let mut raw = Writer::default();
    raw.bytes(1, object);
    let mut event = Writer::default();
    event.bytes(1, kind.as_str().as_bytes());
    event.bytes(2, &raw.into_bytes());
    let event = event.into_bytes();
    let mut out = Vec::with_capacity(event.len() + 4);
    out.extend_from_slice(&u32::try_from(event.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&event);
    out
}
