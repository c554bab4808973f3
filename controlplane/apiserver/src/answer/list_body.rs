//! The JSON of a list, whole, of metadata or as a table, as a body that is made while it is sent: objects are shared, and at
//! most one chunk is in memory at a time.

use api::printers;
use bytes::{BufMut, Bytes, BytesMut};
use http_body::SizeHint;
use serve::BodyError;

use super::List;
use super::chunked::{CHUNK_BYTES, Chunks};
use super::form::{Include, META, partial};
use super::row::row;
use crate::object::Object;
use crate::strategy;

/// What a list shows of each object.
#[derive(Clone, Copy)]
pub(super) enum Items {
    Whole,
    Metadata,
    /// Rows of a table, as of a time.
    Rows(Include, jiff::Timestamp),
}

/// A list on its way.
pub(super) struct ListBody {
    list: List,
    items: Items,
    /// Items sent.
    sent: usize,
    begun: bool,
    ended: bool,
}

impl ListBody {
    pub(super) fn new(list: List, items: Items) -> ListBody {
        ListBody { list, items, sent: 0, begun: false, ended: false }
    }

    fn item(&self, object: &Object) -> Bytes {
        let kind = self.list.kind;
        match self.items {
            Items::Whole if strategy::is_shown_as_stored(kind) => object.json.clone(),
            Items::Whole => strategy::from_stored(kind, object.value()).to_string().into(),
            Items::Metadata => partial(&strategy::from_stored(kind, object.value())).to_string().into(),
            Items::Rows(include, now) => row(kind, object, include, now),
        }
    }

    fn head(&self) -> String {
        let List { kind, revision, next, remaining, .. } = &self.list;
        let (list_kind, version) = match self.items {
            Items::Whole => (kind.list_kind(), kind.api_version()),
            Items::Metadata => ("PartialObjectMetadataList".into(), META.into()),
            Items::Rows(..) => ("Table".into(), META.into()),
        };
        let mut head = format!(
            "{{\"kind\":\"{list_kind}\",\"apiVersion\":\"{version}\",\"metadata\":{{\"resourceVersion\":\"{revision}\""
        );
        if let Some(next) = next {
            head.push_str(&format!(",\"continue\":\"{next}\""));
        }
        if let Some(remaining) = remaining {
            head.push_str(&format!(",\"remainingItemCount\":{remaining}"));
        }
        head.push('}');
        match self.items {
            Items::Rows(..) => {
                head.push_str(&format!(",\"columnDefinitions\":{},\"rows\":[", printers::columns(kind)));
            }
            _ => head.push_str(",\"items\":["),
        }
        head
    }

    fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES + (CHUNK_BYTES >> 2));
        if !std::mem::replace(&mut self.begun, true) {
            chunk.put_slice(self.head().as_bytes());
        }
        while chunk.len() < CHUNK_BYTES {
            let Some(object) = self.list.objects.get(self.sent) else {
                chunk.put_slice(b"]}\n");
                self.ended = true;
                break;
            };
            if self.sent > 0 {
                chunk.put_u8(b',');
            }
            chunk.put_slice(&self.item(object));
            self.sent += 1;
        }
        Some(chunk.freeze())
    }
}

impl Chunks for ListBody {
    fn chunk(&mut self) -> Option<Result<Bytes, BodyError>> {
        self.next().map(Ok)
    }

    fn is_end(&self) -> bool {
        self.ended
    }

    fn hint(&self) -> SizeHint {
        let rest = self.list.objects.get(self.sent..).unwrap_or_default();
        let mut hint = SizeHint::default();
        hint.set_lower(rest.iter().map(|object| object.json.len() as u64).sum());
        hint
    }
}
