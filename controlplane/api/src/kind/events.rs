//! The two faces of an Event: `core/v1` (how it is stored) and `events.k8s.io/v1`.
//!
//! Only names differ; nothing is computed and nothing is lost either way.

use serde_json::{Map, Value};

/// Field names in `events.k8s.io/v1` and in `core/v1`.
const NAMES: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("reportingController", "reportingComponent"),
];

/// From `events.k8s.io/v1` to the stored form.
pub fn core_event_of(event: Map<String, Value>) -> Map<String, Value> {
    renamed(event, "v1", |name| NAMES.iter().find(|(new, _)| *new == name).map(|(_, core)| *core))
}

/// From the stored form to `events.k8s.io/v1`.
pub fn events_event_of(event: Map<String, Value>) -> Map<String, Value> {
    renamed(event, "events.k8s.io/v1", |name| {
        NAMES.iter().find(|(_, core)| *core == name).map(|(new, _)| *new)
    })
}

fn renamed(
    event: Map<String, Value>,
    api_version: &str,
    name_of: impl Fn(&str) -> Option<&'static str>,
) -> Map<String, Value> {
    let mut out = Map::with_capacity(event.len());
    for (name, value) in event {
        if name == "apiVersion" {
            out.insert(name, api_version.into());
        } else {
            out.insert(name_of(&name).map_or(name, str::to_owned), value);
        }
    }
    out
}
