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
use api::wire::protobuf::{self, Encoder, ProtobufError, Writer, envelope};
use bytes::Bytes;
use http_body::SizeHint;
use serve::BodyError;

use super::List;
use super::chunked::{CHUNK_BYTES, Chunks};
use super::form::{META, type_of};
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

/// Makes the items.
struct Items {
    encoder: Encoder,
    kind: &'static Kind,
    /// The type of an item; None where of each object only the metadata is shown.
    whole: Option<&'static schema::Type>,
}

impl Items {
    fn encode(&mut self, object: &Object, out: &mut Writer) -> Result<(), ProtobufError> {
        let text = shown(self.kind, object);
        match self.whole {
            Some(item) => self.encoder.list_item(&text, item, out),
            None => self.encoder.partial_list_item(&text, out),
        }
    }

    /// How many bytes an item takes; `scratch` is overwritten.
    fn length(&mut self, object: &Object, scratch: &mut Writer) -> Result<usize, ProtobufError> {
        let known = self.whole.and_then(|_| object.listed.get());
        if let Some((kind, length)) = known
            && std::ptr::eq(*kind, self.kind)
        {
            return Ok(*length);
        }
        scratch.clear();
        self.encode(object, scratch)?;
        let length = scratch.written();
        if self.whole.is_some() {
            // Whoever was first: of another kind, it is measured each time.
            let _ = object.listed.set((self.kind, length));
        }
        Ok(length)
    }
}

/// An object's JSON as a kind shows it.
fn shown(kind: &'static Kind, object: &Object) -> Bytes {
    if strategy::is_shown_as_stored(kind) {
        return object.json.clone();
    }
    strategy::from_stored(kind, object.value()).to_string().into()
}

impl ProtobufList {
    pub(super) fn new(list: List, metadata_alone: bool) -> Result<ProtobufList, Status> {
        let kind = list.kind;
        let (whole, version, name) = if metadata_alone {
            (None, META.into(), "PartialObjectMetadataList".into())
        } else {
            (Some(type_of(kind.schema)?), kind.api_version(), kind.list_kind())
        };
        let mut items = Items { encoder: Encoder::default(), kind, whole };
        let metadata = protobuf::encode_list_metadata(&list.metadata()).map_err(Status::internal)?;
        let (mut length, mut scratch) = (metadata.len(), Writer::default());
        for object in &list.objects {
            length += items.length(object, &mut scratch).map_err(Status::internal)?;
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
        let mut chunk = std::mem::take(&mut self.head);
        chunk.reserve(self.rest.min(CHUNK_BYTES + (CHUNK_BYTES >> 2)).saturating_sub(chunk.len()));
        let mut chunk = Writer::from(chunk);
        let mut ends = false;
        while chunk.written() < CHUNK_BYTES {
            let Some(object) = self.list.objects.get(self.sent) else {
                ends = true;
                break;
            };
            // Its length was told by then: a list without it would be another.
            if let Err(error) = self.items.encode(object, &mut chunk) {
                tracing::error!(key = %object.key, kind = self.list.kind.kind, %error,
                    "an object has no protobuf form: the list that it is in breaks off");
                return Some(Err(error.into()));
            }
            self.sent += 1;
        }
        let mut chunk = chunk.into_bytes();
        if ends {
            chunk.extend_from_slice(envelope::END);
        }
        self.rest = self.rest.saturating_sub(chunk.len());
        Some(Ok(chunk.into()))
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
                    let value = value(at);
                    let mut written = Writer::from(message);
                    if metadata_alone {
                        let metadata =
                            protobuf::encode_value(&value["metadata"], schema::object_meta()).unwrap();
                        let mut item = Writer::default();
                        item.bytes(1, &metadata);
                        written.bytes(2, &item.into_bytes());
                    } else {
                        written.bytes(2, &protobuf::encode_value(&value, item).unwrap());
                    }
                    message = written.into_bytes();
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
