//! A row of a table, as JSON: made once per object and kept with it, but for what changes with the time.
//!
//! ```text
//!   {"cells":[ before , "5m3s" , after ], "object": {... "metadata": the object's own bytes }}
//!              kept     now      kept
//! ```
//!
//! Which cells change with the time is found by printing an object at three times. A row in which only the age does is
//! kept; any other (a restart some minutes ago) is printed anew.

use api::kind::Kind;
use api::printers;
use bytes::{BufMut, Bytes, BytesMut};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::form::{Include, META, table_row};
use crate::object::Object;

/// Later by so much, an age is told in other units.
const LATER: [SignedDuration; 2] =
    [SignedDuration::from_hours(24 * 400), SignedDuration::from_hours(24 * 4000)];

/// What is kept of a row.
#[derive(Debug)]
pub struct Row {
    kind: &'static Kind,
    /// Cells before the age and behind it, as JSON.
    before: Box<str>,
    after: Box<str>,
    /// What the age is counted from; `None`: no cell changes with the time.
    created: Option<Timestamp>,
    /// Where the object's metadata is in its JSON.
    metadata: (usize, usize),
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

/// The row's JSON.
pub(super) fn row(kind: &'static Kind, object: &Object, include: Include, now: Timestamp) -> Bytes {
    let kept = match include {
        Include::Whole => None,
        // Its columns may change under it.
        _ if kind.custom().is_some() => None,
        _ => object.row.get_or_init(|| Row::make(kind, object, now).map(Box::new)).as_deref(),
    };
    match kept.filter(|row| std::ptr::eq(row.kind, kind)) {
        Some(row) => row.print(object, include, now),
        None => table_row(kind, object.value(), include, now).to_string().into(),
    }
}

impl Row {
    /// `None`: more than the age changes with the time.
    fn make(kind: &'static Kind, object: &Object, now: Timestamp) -> Option<Row> {
        let value = object.value();
        let cells = printers::cells(kind, &value, now);
        let mut changing = None;
        for later in LATER {
            let later = printers::cells(kind, &value, now.checked_add(later).ok()?);
            for (at, (cell, other)) in cells.iter().zip(&later).enumerate() {
                if cell != other && *changing.get_or_insert(at) != at {
                    return None;
                }
            }
        }
        let created = match changing {
            None => None,
            Some(at) => {
                let created: Timestamp = value["metadata"]["creationTimestamp"].as_str()?.parse().ok()?;
                if cells[at] != age(created, now).as_str() {
                    return None;
                }
                Some(created)
            }
        };
        let raw: Metadata<'_> = serde_json::from_slice(&object.json).ok()?;
        let metadata = raw.metadata.get();
        let begin = (metadata.as_ptr() as usize).checked_sub(object.json.as_ptr() as usize)?;
        let split = changing.unwrap_or(cells.len());
        Some(Row {
            kind,
            before: joined(&cells[..split]),
            after: joined(cells.get(split + 1..).unwrap_or_default()),
            created,
            metadata: (begin, begin + metadata.len()),
        })
    }

    fn print(&self, object: &Object, include: Include, now: Timestamp) -> Bytes {
        let metadata = object.json.get(self.metadata.0..self.metadata.1).unwrap_or(b"null");
        let mut json = BytesMut::with_capacity(self.before.len() + self.after.len() + metadata.len() + 128);
        json.put_slice(b"{\"cells\":[");
        json.put_slice(self.before.as_bytes());
        if let Some(created) = self.created {
            if !self.before.is_empty() {
                json.put_u8(b',');
            }
            // Digits and letters: nothing to escape.
            json.put_u8(b'"');
            json.put_slice(age(created, now).as_bytes());
            json.put_u8(b'"');
            if !self.after.is_empty() {
                json.put_u8(b',');
                json.put_slice(self.after.as_bytes());
            }
        }
        json.put_u8(b']');
        if include == Include::Metadata {
            json.put_slice(b",\"object\":{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"");
            json.put_slice(META.as_bytes());
            json.put_slice(b"\",\"metadata\":");
            json.put_slice(metadata);
            json.put_u8(b'}');
        }
        json.put_u8(b'}');
        json.freeze()
    }
}

fn age(created: Timestamp, now: Timestamp) -> String {
    printers::human_duration(now.duration_since(created).as_secs())
}

fn joined(cells: &[Value]) -> Box<str> {
    cells.iter().map(Value::to_string).collect::<Vec<_>>().join(",").into()
}

#[cfg(test)]
mod tests {
    use api::kind::Registry;
    use serde_json::json;

    use super::*;

    fn object(value: &Value) -> Object {
        Object::for_tests("x/p", value)
    }

    /// Whatever was kept, a row is what it would be made anew.
    fn check(group: &str, resource: &str, value: &Value, is_kept: bool) {
        let kind = Registry::builtin().by_resource(group, "v1", resource).unwrap();
        let object = object(value);
        for now in
            ["2026-01-01T00:00:07Z", "2026-01-01T00:03:07Z", "2028-01-01T00:00:00Z", "2025-12-31T23:59:00Z"]
        {
            let now = now.parse().unwrap();
            for include in [Include::Metadata, Include::Nothing, Include::Whole] {
                let got: Value = serde_json::from_slice(&row(kind, &object, include, now)).unwrap();
                assert_eq!(got, table_row(kind, object.value(), include, now), "{resource} at {now}");
            }
        }
        assert_eq!(object.row.get().is_some_and(Option::is_some), is_kept, "{resource}");
    }

    #[test]
    fn a_kept_row_is_as_a_new_one() {
        let metadata = json!({"name": "p", "namespace": "x", "labels": {"a": "\"}{"},
            "creationTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "7"});
        let pod = |status: Value| {
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata,
                "spec": {"containers": [{"name": "c"}], "nodeName": "n"}, "status": status})
        };
        check("", "pods", &pod(json!({"phase": "Running", "podIP": "10.0.0.1"})), true);
        let restarted = json!({"phase": "Running", "containerStatuses": [{"name": "c", "ready": true, "restartCount": 2,
            "state": {"running": {}}, "lastState": {"terminated": {"finishedAt": "2025-12-31T00:00:00Z"}}}]});
        check("", "pods", &pod(restarted), false);
        check(
            "",
            "configmaps",
            &json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"a": "b"}}),
            true,
        );
        let role = json!({"kind": "Role", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": metadata, "rules": []});
        check("rbac.authorization.k8s.io", "roles", &role, true);
        let unborn = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "p"}});
        check("", "configmaps", &unborn, true);
    }
}
