//! The protobuf of a list, whole or of metadata, as a body that is made while it is sent.
//!
//! ```text
//!   lengths of all items ─► head with the length of the whole ─► items, chunk by chunk ─► end
//! ```
//!
//! A message begins with its length, so every item is made twice: once to know it, once to send it. An object remembers
//! its length, so that only what changed since the last list is; what is in memory is one chunk.

use api::kind::Kind;
use api::schema;
use api::status::Status;
use api::wire::protobuf::{self, ProtobufError, envelope};
use bytes::{BufMut, Bytes, BytesMut};
use http_body::SizeHint;
use serve::BodyError;

use super::List;
use super::chunked::{CHUNK_BYTES, Chunks};
use super::form::{META, partial, type_of};
use crate::object::Object;
use crate::strategy;

/// A list on its way.
pub(super) struct ProtobufList {
    list: List,
    items: Items,
    /// What stands before the items; taken when it is sent.
    head: Vec<u8>,
    /// Items sent.
    sent: usize,
    /// Bytes that are not sent yet.
    rest: usize,
}

/// What a list shows of each object.
#[derive(Clone, Copy)]
enum Items {
    Whole(&'static schema::Type),
    Metadata,
}

impl Items {
    fn encode(self, kind: &'static Kind, object: &Object) -> Result<Vec<u8>, ProtobufError> {
        let value = strategy::from_stored(kind, object.value());
        match self {
            Items::Whole(item) => protobuf::encode_list_item(&value, item),
            Items::Metadata => protobuf::encode_partial_list_item(&partial(&value)),
        }
    }

    fn length(self, kind: &'static Kind, object: &Object) -> Result<usize, ProtobufError> {
        if let (Items::Whole(_), Some((known, length))) = (self, object.listed.get())
            && std::ptr::eq(*known, kind)
        {
            return Ok(*length);
        }
        let length = self.encode(kind, object)?.len();
        if let Items::Whole(_) = self {
            // Whoever was first: of another kind, it is measured each time.
            let _ = object.listed.set((kind, length));
        }
        Ok(length)
    }
}

impl ProtobufList {
    pub(super) fn new(list: List, metadata_alone: bool) -> Result<ProtobufList, Status> {
        let kind = list.kind;
        let (items, version, name) = if metadata_alone {
            (Items::Metadata, META.into(), "PartialObjectMetadataList".into())
        } else {
            (Items::Whole(type_of(kind.schema)?), kind.api_version(), kind.list_kind())
        };
        let metadata = protobuf::encode_list_metadata(&list.metadata()).map_err(Status::internal)?;
        let mut length = metadata.len();
        for object in &list.objects {
            length += items.length(kind, object).map_err(Status::internal)?;
        }
        let mut head = envelope::begin(&version, &name, length);
        head.extend_from_slice(&metadata);
        let rest = head.len() + (length - metadata.len()) + envelope::END.len();
        Ok(ProtobufList { list, items, head, sent: 0, rest })
    }
}

impl Chunks for ProtobufList {
    fn chunk(&mut self) -> Option<Result<Bytes, BodyError>> {
        if self.rest == 0 {
            return None;
        }
        let mut chunk = BytesMut::with_capacity(self.rest.min(CHUNK_BYTES + (CHUNK_BYTES >> 2)));
        chunk.put_slice(&std::mem::take(&mut self.head));
        while chunk.len() < CHUNK_BYTES {
            let Some(object) = self.list.objects.get(self.sent) else {
                chunk.put_slice(envelope::END);
                break;
            };
            // Its length was told by then: a list without it would be another.
            match self.items.encode(self.list.kind, object) {
                Ok(item) => chunk.put_slice(&item),
                Err(error) => {
                    tracing::error!(key = %object.key, kind = self.list.kind.kind, %error,
                        "an object has no protobuf form: the list that it is in breaks off");
                    return Some(Err(error.into()));
                }
            }
            self.sent += 1;
        }
        self.rest = self.rest.saturating_sub(chunk.len());
        Some(Ok(chunk.freeze()))
    }

    fn is_end(&self) -> bool {
        self.rest == 0
    }

    fn hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use api::kind::Registry;
    use http_body::Body as _;
    use http_body_util::BodyExt as _;
    use serde_json::{Value, json};
    use store::Revision;

    use super::*;
    use crate::answer::chunked::Chunked;

    fn object(value: &Value) -> Arc<Object> {
        Arc::new(Object::for_tests("x/a", value))
    }

    async fn body(list: &[Arc<Object>], metadata_alone: bool) -> Bytes {
        let kind = Registry::builtin().by_resource("", "v1", "configmaps").unwrap();
        let list = List {
            kind,
            revision: Revision(9),
            objects: list.to_vec(),
            next: Some("next".into()),
            remaining: Some(3),
        };
        let body = Chunked::new(ProtobufList::new(list, metadata_alone).unwrap());
        let told = body.size_hint().exact();
        let bytes = body.collect().await.unwrap().to_bytes();
        assert_eq!(told, Some(bytes.len() as u64));
        bytes
    }

    #[tokio::test]
    async fn an_object_without_a_form_ends_the_list() {
        let kind = Registry::builtin().by_resource("", "v1", "configmaps").unwrap();
        let meta = json!({"name": "m", "resourceVersion": "7"});
        let objects = [json!({"k": "v"}), json!({"k": 1}), json!({"k": "v"})].map(|data| {
            object(&json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": meta, "data": data}))
        });
        let list = |objects: &[Arc<Object>]| List {
            kind,
            revision: Revision(9),
            objects: objects.to_vec(),
            next: None,
            remaining: None,
        };
        // Refused where that can be told.
        assert!(ProtobufList::new(list(&objects), false).is_err());
        objects[1].listed.set((kind, 20)).unwrap();
        let mut body = Chunked::new(ProtobufList::new(list(&objects), false).unwrap());
        assert!(body.frame().await.unwrap().is_err());
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_list_in_pieces_is_the_whole_list() {
        let kind = Registry::builtin().by_resource("", "v1", "configmaps").unwrap();
        let item = type_of(kind.schema).unwrap();
        for count in [0, 1, 500] {
            let value = |at: usize| {
                json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": format!("m{at}"), "resourceVersion": "7"},
                    "data": {"key": "v".repeat(at * 3)}})
            };
            let objects: Vec<Arc<Object>> = (0..count).map(|at| object(&value(at))).collect();
            for (metadata_alone, name, version) in
                [(false, "ConfigMapList", "v1"), (true, "PartialObjectMetadataList", META)]
            {
                let metadata = json!({"resourceVersion": "9", "continue": "next", "remainingItemCount": 3});
                let mut message = protobuf::encode_list_metadata(metadata.as_object().unwrap()).unwrap();
                for at in 0..count {
                    message.extend(if metadata_alone {
                        protobuf::encode_partial_list_item(&partial(&value(at))).unwrap()
                    } else {
                        protobuf::encode_list_item(&value(at), item).unwrap()
                    });
                }
                // The second time its lengths are known.
                for _ in 0..2 {
                    let bytes = body(&objects, metadata_alone).await;
                    assert!(bytes == envelope::seal(version, name, &message), "{count} of {name}");
                }
            }
        }
    }
}
