//! Counts of what was asked and answered, for `/metrics`.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use hickory_proto::op::ResponseCode;

use crate::message::Transport;

/// The reply codes that are counted by name; all others are `other`.
const CODES: [(ResponseCode, &str); 5] = [
    (ResponseCode::NoError, "NOERROR"),
    (ResponseCode::NXDomain, "NXDOMAIN"),
    (ResponseCode::ServFail, "SERVFAIL"),
    (ResponseCode::Refused, "REFUSED"),
    (ResponseCode::FormErr, "FORMERR"),
];

#[derive(Debug, Default)]
pub(crate) struct Counters {
    udp: AtomicU64,
    tcp: AtomicU64,
    codes: [AtomicU64; CODES.len() + 1],
    forwarded: AtomicU64,
    kept: AtomicU64,
    failed: AtomicU64,
    crowded: AtomicU64,
}

impl Counters {
    pub(crate) fn asked(&self, transport: Transport) {
        add(match transport {
            Transport::Udp => &self.udp,
            Transport::Tcp => &self.tcp,
        });
    }

    pub(crate) fn replied(&self, code: ResponseCode) {
        let index = CODES.iter().position(|(known, _)| *known == code).unwrap_or(CODES.len());
        add(&self.codes[index]);
    }

    /// A question went to the upstreams.
    pub(crate) fn forwarded(&self) {
        add(&self.forwarded);
    }

    /// A question was answered from the kept replies.
    pub(crate) fn kept(&self) {
        add(&self.kept);
    }

    /// No upstream answered.
    pub(crate) fn failed(&self) {
        add(&self.failed);
    }

    /// A question was refused because too many wait for upstreams.
    pub(crate) fn crowded(&self) {
        add(&self.crowded);
    }

    /// Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        let mut rows = |name: &str, rows: &[(&str, &AtomicU64)]| {
            let _ = writeln!(text, "# TYPE keelson_dns_{name} counter");
            for (label, value) in rows {
                let _ = writeln!(text, "keelson_dns_{name}{label} {}", value.load(Ordering::Relaxed));
            }
        };
        rows("requests_total", &[("{proto=\"udp\"}", &self.udp), ("{proto=\"tcp\"}", &self.tcp)]);
        let names = CODES.iter().map(|(_, name)| *name).chain(["other"]);
        let labels: Vec<String> = names.map(|name| format!("{{rcode=\"{name}\"}}")).collect();
        let replies: Vec<(&str, &AtomicU64)> = labels.iter().map(String::as_str).zip(&self.codes).collect();
        rows("responses_total", &replies);
        rows("forwards_total", &[("", &self.forwarded)]);
        rows("forward_failures_total", &[("", &self.failed)]);
        rows("forward_rejects_total", &[("", &self.crowded)]);
        rows("cache_hits_total", &[("", &self.kept)]);
        text
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
