//! The form of an answer: its encoding, and whether it shows whole objects, their metadata, or a table.

use api::kind::Kind;
use api::path::Query;
use api::schema;
use api::status::Status;
use api::wire::protobuf::{self, Encoder};
use api::wire::{self, Allow, Convert, Encoding, WatchType};
use api::{kind, printers};
use bytes::Bytes;
use http::HeaderMap;
use http::header::{ACCEPT, USER_AGENT};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use store::Revision;

use super::chunked::Chunked;
use super::list_body::{Items, ListBody};
use super::protobuf_list::ProtobufList;
use super::{Body, List, Shown};
use crate::cache::ChangeKind;
use crate::object::Object;
use crate::strategy;

pub(super) const META: &str = "meta.k8s.io/v1";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
/// Marks the bookmark that ends the objects a watch began with (KEP-3157).
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// How an answer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    encoding: Encoding,
    shape: Shape,
    pretty: bool,
    /// Of a table: its columns were told before.
    columns_told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Whole,
    Metadata,
    Table(Include),
}

/// What a table's rows carry besides their cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Include {
    Nothing,
    Metadata,
    Whole,
}

impl Form {
    /// Plain JSON.
    pub const JSON: Form =
        Form { encoding: Encoding::Json, shape: Shape::Whole, pretty: false, columns_told: false };

    /// The form that a request asks for; `custom`: about objects that have no protobuf.
    pub fn negotiate(headers: &HeaderMap, query: &Query, watch: bool, custom: bool) -> Result<Form, Status> {
        let values: Vec<&str> =
            headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
        let allow = Allow { transforms: true, discovery: false, watch, custom };
        let accepted = wire::negotiate(&values.join(","), allow)?;
        let shape = match accepted.convert {
            Convert::Table(_) => Shape::Table(match query.get("includeObject").unwrap_or_default() {
                "" | "Metadata" => Include::Metadata,
                "None" => Include::Nothing,
                "Object" => Include::Whole,
                other => {
                    return Err(Status::bad_request(format!("unrecognized includeObject value: {other:?}")));
                }
            }),
            Convert::PartialObjectMetadata(_) | Convert::PartialObjectMetadataList(_) => Shape::Metadata,
            Convert::None | Convert::Discovery(_) => Shape::Whole,
        };
        let wished = query.get("pretty").map(|_| query.flag("pretty"));
        // Events of a watch are lines.
        let pretty = !watch && (accepted.pretty || wished.unwrap_or_else(|| is_read(headers)));
        Ok(Form { encoding: accepted.encoding, shape, pretty, columns_told: false })
    }

    /// The same for one who knows a table's columns.
    #[must_use]
    pub fn without_columns(self) -> Form {
        Form { columns_told: self.is_table(), ..self }
    }

    /// Whether of objects their metadata alone is asked for.
    pub fn is_metadata(self) -> bool {
        self.shape == Shape::Metadata
    }

    /// Whether rows and columns are asked for.
    pub fn is_table(self) -> bool {
        matches!(self.shape, Shape::Table(_))
    }

    pub(super) fn content_type(self) -> &'static str {
        self.encoding.content_type()
    }

    pub(super) fn stream_content_type(self) -> &'static str {
        self.encoding.watch_content_type()
    }

    /// The bytes of one object.
    pub(super) fn object(
        self,
        row: &'static Kind,
        object: &Shown,
        now: jiff::Timestamp,
    ) -> Result<Bytes, Status> {
        if let Shown::Cached(object) = object
            && strategy::is_shown_as_stored(row)
            && let Some(bytes) = self.stored(row, &object.json)
        {
            return bytes;
        }
        let value = match object {
            Shown::Cached(object) => strategy::from_stored(row, object.value()),
            Shown::Value(value) => value.clone(),
        };
        match self.shape {
            Shape::Whole => self.encode(&value, schema_of(row, &value)),
            Shape::Metadata => self.encode_partial(&partial(&value)),
            Shape::Table(include) => {
                let revision = value["metadata"]["resourceVersion"].clone();
                if value["kind"] == "Scale" && row.kind != "Scale" {
                    let cells = printers::scale_cells(&value, now);
                    let (columns, rows) =
                        (printers::scale_columns(), vec![with_object(cells, include, value)]);
                    return self.encode(&table(columns, json!({"resourceVersion": revision}), rows), "");
                }
                let rows = vec![table_row(row, strategy::to_stored(row, value), include, now)];
                self.encode(&self.table(row, json!({"resourceVersion": revision}), rows), "")
            }
        }
    }

    /// The bytes of an object that is shown as it is stored, where they are made from its text.
    fn stored(self, row: &'static Kind, json: &Bytes) -> Option<Result<Bytes, Status>> {
        let bytes = match (self.encoding, self.shape) {
            (Encoding::Json, Shape::Whole) if !self.pretty => return Some(Ok(json.clone())),
            (Encoding::Protobuf, Shape::Metadata) => Encoder::default().partial_body(json),
            (Encoding::Protobuf, Shape::Whole) => match type_of(row.schema) {
                Ok(kind) => Encoder::default().body(json, kind),
                Err(status) => return Some(Err(status)),
            },
            _ => return None,
        };
        Some(bytes.map(Bytes::from).map_err(Status::internal))
    }

    fn table(self, row: &'static Kind, metadata: Value, rows: Vec<Value>) -> Value {
        let columns = if self.columns_told { Value::Null } else { json!(printers::columns(row)) };
        table(columns, metadata, rows)
    }

    /// A page of objects.
    pub(super) fn list(self, list: List, now: jiff::Timestamp) -> Result<Body, Status> {
        if self.encoding == Encoding::Json && !self.pretty {
            return Ok(Chunked::new(ListBody::new(list, self.items(now))).boxed_unsync());
        }
        if self.encoding == Encoding::Protobuf && !self.is_table() {
            let body = ProtobufList::new(list, self.shape == Shape::Metadata)?;
            return Ok(Chunked::new(body).boxed_unsync());
        }
        let row = list.kind;
        let metadata = list.metadata();
        let objects = list.objects.iter().map(|object| object.value());
        let bytes = match self.shape {
            Shape::Table(include) => {
                let rows = objects.map(|object| table_row(row, object, include, now)).collect();
                self.encode(&self.table(row, metadata.into(), rows), "")?
            }
            Shape::Metadata => {
                let items: Vec<Value> =
                    objects.map(|object| partial(&strategy::from_stored(row, object))).collect();
                let value = json!({"kind": "PartialObjectMetadataList", "apiVersion": META, "metadata": metadata, "items": items});
                self.encode(&value, "")?
            }
            Shape::Whole => {
                let items: Vec<Value> = objects.map(|object| strategy::from_stored(row, object)).collect();
                let value = json!({"kind": row.list_kind(), "apiVersion": row.api_version(), "metadata": metadata, "items": items});
                self.encode(&value, "")?
            }
        };
        Ok(Full::new(bytes).map_err(|never| match never {}).boxed_unsync())
    }

    /// How a list that is made while it is sent looks.
    fn items(self, now: jiff::Timestamp) -> Items {
        match self.shape {
            Shape::Whole => Items::Whole,
            Shape::Metadata => Items::Metadata,
            Shape::Table(include) => Items::Rows(include, now),
        }
    }

    /// A frame of a watch: what happened to an object, as of a revision.
    pub fn event(
        self,
        row: &'static Kind,
        change: ChangeKind,
        object: &Object,
        revision: Revision,
        now: jiff::Timestamp,
    ) -> Bytes {
        let kind = match change {
            ChangeKind::Added => WatchType::Added,
            ChangeKind::Modified => WatchType::Modified,
            ChangeKind::Deleted => WatchType::Deleted,
        };
        if object.revision == revision
            && strategy::is_shown_as_stored(row)
            && let Some(Ok(bytes)) = self.stored(row, &object.json)
        {
            return self.frame(kind, &bytes);
        }
        let mut value = object.value();
        value["metadata"]["resourceVersion"] = revision.to_string().into();
        let shown = Shown::Value(strategy::from_stored(row, value));
        match self.object(row, &shown, now) {
            Ok(bytes) => self.frame(kind, &bytes),
            Err(status) => self.error_event(&status),
        }
    }

    /// A frame that tells how far a watch is.
    pub fn bookmark(self, row: &'static Kind, revision: Revision, initial_end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if initial_end {
            metadata["annotations"] = json!({INITIAL_END: "true"});
        }
        let encoded = match self.shape {
            Shape::Table(_) => {
                self.encode(&self.table(row, json!({"resourceVersion": revision.to_string()}), vec![]), "")
            }
            Shape::Metadata => self.encode_partial(
                &json!({"kind": "PartialObjectMetadata", "apiVersion": META, "metadata": metadata}),
            ),
            Shape::Whole => {
                let value = json!({"kind": row.kind, "apiVersion": row.api_version(), "metadata": metadata});
                self.encode(&value, row.schema)
            }
        };
        match encoded {
            Ok(bytes) => self.frame(WatchType::Bookmark, &bytes),
            Err(status) => self.error_event(&status),
        }
    }

    /// The last frame of a watch that cannot go on.
    pub fn error_event(self, status: &Status) -> Bytes {
        self.frame(WatchType::Error, &self.status(status).1)
    }

    /// A Status with its media type; never a table.
    pub(super) fn status(self, status: &Status) -> (&'static str, Bytes) {
        let value = status.to_value();
        let whole = Form { shape: Shape::Whole, ..self };
        match whole.encode(&value, STATUS) {
            Ok(bytes) => (whole.content_type(), bytes),
            Err(_) => (Encoding::Json.content_type(), value.to_string().into()),
        }
    }

    fn frame(self, kind: WatchType, object: &[u8]) -> Bytes {
        match self.encoding {
            Encoding::Protobuf => wire::watch_frame_protobuf(kind, object).into(),
            _ => wire::watch_frame_json(kind, object).into(),
        }
    }

    fn encode(self, value: &Value, schema: &str) -> Result<Bytes, Status> {
        match self.encoding {
            Encoding::Json if self.pretty => {
                serde_json::to_vec_pretty(value).map(Bytes::from).map_err(Status::internal)
            }
            Encoding::Json => Ok(value.to_string().into()),
            Encoding::Yaml => wire::to_yaml(value).map(Bytes::from).map_err(Status::internal),
            Encoding::Protobuf => {
                protobuf::encode(value, type_of(schema)?).map(Bytes::from).map_err(Status::internal)
            }
        }
    }

    fn encode_partial(self, value: &Value) -> Result<Bytes, Status> {
        match self.encoding {
            Encoding::Protobuf => Encoder::default()
                .partial_body(value.to_string().as_bytes())
                .map(Bytes::from)
                .map_err(Status::internal),
            _ => self.encode(value, ""),
        }
    }
}

pub(super) fn type_of(schema: &str) -> Result<&'static schema::Type, Status> {
    schema::find(schema).ok_or_else(|| Status::internal(format!("no schema {schema:?}")))
}

/// The schema of an object that a path answers with: the kind's own, or that of one of its subresources.
fn schema_of(row: &'static Kind, value: &Value) -> &'static str {
    let kind = value["kind"].as_str().unwrap_or_default();
    match row.subresources.iter().find(|sub| sub.kind == kind && kind != row.kind) {
        Some(sub) => sub.schema,
        None => row.schema,
    }
}

/// Whether somebody looks at the answer himself: browsers and clients of the command line.
fn is_read(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|known| agent.starts_with(known))
}

pub(super) fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": META, "metadata": object["metadata"]})
}

/// A row of an object in its stored form.
pub(super) fn table_row(
    row: &'static kind::Kind,
    object: Value,
    include: Include,
    now: jiff::Timestamp,
) -> Value {
    let cells = printers::cells(row, &object, now);
    let object = if include == Include::Whole { strategy::from_stored(row, object) } else { object };
    with_object(cells, include, object)
}

/// A row with as much of its object, in the form that is shown, as was asked for.
fn with_object(cells: Vec<Value>, include: Include, object: Value) -> Value {
    match include {
        Include::Nothing => json!({"cells": cells}),
        Include::Metadata => json!({"cells": cells, "object": partial(&object)}),
        Include::Whole => json!({"cells": cells, "object": object}),
    }
}

fn table(columns: Value, metadata: Value, rows: Vec<Value>) -> Value {
    json!({"kind": "Table", "apiVersion": META, "metadata": metadata, "columnDefinitions": columns, "rows": rows})
}
