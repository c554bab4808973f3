//! `/metrics`: what the store and its disk do, in the Prometheus text format (version 0.0.4).

use std::fmt::Write as _;

use bytes::Bytes;

use crate::answer::Answer;
use crate::api_server::ApiServer;

/// Answers with every figure.
pub(super) fn answer(api: &ApiServer) -> Answer {
    let server = &api.server;
    let (health, state) = (server.store.health(), server.store.state());
    let (mut text, mut levels) = (String::new(), String::new());
    let mut figure = |name: &str, kind: &str, help: &str, value: f64| {
        // Writing to a String does not fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    };
    let number = |number: u64| number as f64;
    figure("keelson_store_revision", "gauge", "Latest revision.", number(state.revision().0));
    figure(
        "keelson_store_compacted_revision",
        "gauge",
        "History up to here is gone.",
        number(state.compacted().0),
    );
    figure(
        "keelson_cache_revision",
        "gauge",
        "Revision that the watch caches have.",
        number(server.caches.revision().0),
    );
    figure("keelson_store_syncs_total", "counter", "Times the log was synced to disk.", number(health.syncs));
    figure("keelson_store_entries_total", "counter", "Commands made durable.", number(health.entries));
    figure("keelson_store_last_sync_seconds", "gauge", "The latest sync.", health.last_sync.as_secs_f64());
    figure(
        "keelson_store_slowest_sync_seconds",
        "gauge",
        "The slowest sync.",
        health.slowest_sync.as_secs_f64(),
    );
    figure(
        "keelson_store_failed",
        "gauge",
        "1 where writes are refused.",
        f64::from(u8::from(health.failed)),
    );
    for (level, taken, waiting, refused) in api.fairness.figures() {
        for (name, value) in [
            ("apiserver_flowcontrol_current_executing_requests", number(taken as u64)),
            ("apiserver_flowcontrol_current_inqueue_requests", number(waiting as u64)),
            ("apiserver_flowcontrol_rejected_requests_total", number(refused)),
        ] {
            // Writing to a String does not fail.
            let _ = writeln!(levels, "{name}{{priority_level=\"{level}\"}} {value}");
        }
    }
    if let Some(audit) = &api.audit {
        let (events, lost) = audit.counts();
        figure("apiserver_audit_event_total", "counter", "Audit events.", number(events));
        figure("apiserver_audit_error_total", "counter", "Audit events that were lost.", number(lost));
    }
    Answer::Document {
        code: 200,
        content_type: "text/plain; version=0.0.4; charset=utf-8".into(),
        bytes: Bytes::from(text + &levels),
    }
}
