//! Whether the proxy keeps up, and counts of what it does.
//!
//! Unhealthy: a change has waited for longer than [`LATEST`] to be in the maps.
//!
//! Reference: upstream's pkg/proxy/healthcheck/proxy_health.go, whose paths and JSON these are.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serve::Report;
use serve::prometheus::{CONTENT_TYPE, Histogram, Text};
use tokio::time::Instant;

/// Upstream: twice its sync period.
const LATEST: Duration = Duration::from_secs(60);

pub(crate) struct Health {
    now: fn() -> Timestamp,
    times: Mutex<Times>,
    eligible: AtomicBool,
    pub(crate) counts: Counts,
}

#[derive(Default)]
struct Times {
    /// When the oldest change came that is not in the maps yet.
    pending: Option<Instant>,
    /// When the maps were last right.
    updated: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub syncs: AtomicU64,
    pub failures: AtomicU64,
    pub steps: AtomicU64,
    pub frontends: AtomicU64,
    pub sets: AtomicU64,
    pub took: Histogram,
    /// Seconds since 1970 of the last time that the maps were right.
    pub last: AtomicU64,
}

impl Health {
    pub(crate) fn new(now: fn() -> Timestamp) -> Health {
        Health { now, times: Mutex::default(), eligible: AtomicBool::new(true), counts: Counts::default() }
    }

    /// A change came.
    pub(crate) fn pending(&self) {
        self.times(|times| {
            times.pending.get_or_insert_with(Instant::now);
        });
    }

    /// The maps are as they shall be.
    pub(crate) fn updated(&self) {
        let now = (self.now)();
        self.counts.last.store(now.as_second().unsigned_abs(), Ordering::Relaxed);
        self.times(|times| *times = Times { pending: None, updated: Some(now) });
    }

    /// Whether load balancers may choose this node.
    pub(crate) fn set_eligible(&self, eligible: bool) {
        self.eligible.store(eligible, Ordering::Relaxed);
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.times(|times| times.pending.is_none_or(|since| since.elapsed() < LATEST))
    }

    pub(crate) fn report(&self, path: &str) -> Report {
        let (healthy, eligible) = (self.is_healthy(), self.eligible.load(Ordering::Relaxed));
        let now = (self.now)();
        let last = if healthy { Some(now) } else { self.times(|times| times.updated) };
        let last = last.unwrap_or(Timestamp::UNIX_EPOCH);
        let (well, body) = match path {
            "/healthz" => {
                let body = format!(
                    "{{\"lastUpdated\": \"{last}\",\"currentTime\": \"{now}\", \"nodeEligible\": {eligible}}}"
                );
                (healthy && eligible, body)
            }
            "/livez" => (healthy, format!("{{\"lastUpdated\": \"{last}\",\"currentTime\": \"{now}\"}}")),
            _ => return Report::missing(),
        };
        let headers = vec![("x-content-type-options", "nosniff".to_owned())];
        Report { headers, ..Report::json(if well { 200 } else { 503 }, body) }
    }

    /// What is answered on the metrics address.
    pub(crate) fn metrics(&self, path: &str) -> Report {
        match path {
            "/metrics" => Report { content_type: CONTENT_TYPE, ..Report::text(200, self.counts.render()) },
            "/healthz" => Report::text(200, "ok"),
            "/proxyMode" => Report::text(200, "ebpf"),
            _ => Report::missing(),
        }
    }

    fn times<T>(&self, look: impl FnOnce(&mut Times) -> T) -> T {
        look(&mut self.times.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Counts {
    /// Prometheus' text format; names that begin with `kubeproxy_` are upstream's.
    fn render(&self) -> String {
        let mut text = Text::default();
        let rows = [
            ("syncs_total", "counter", "Times that the maps were made right", &self.syncs),
            ("sync_failures_total", "counter", "Times that they could not be", &self.failures),
            ("map_changes_total", "counter", "Entries that were written or removed", &self.steps),
            ("frontends", "gauge", "Addresses and ports of Services in the maps", &self.frontends),
            ("backend_sets", "gauge", "Sets of backends in the maps", &self.sets),
        ];
        for (name, kind, help, value) in rows {
            text.single(&format!("keelson_proxy_{name}"), kind, help, value.load(Ordering::Relaxed));
        }
        text.single(
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
            "gauge",
            "The last time proxy rules were successfully synced",
            self.last.load(Ordering::Relaxed),
        );
        let help = "SyncProxyRules latency in seconds";
        text.histogram("kubeproxy_sync_proxy_rules_duration_seconds", help, &self.took);
        text.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_upstreams_names() {
        let health = Health::new(|| "2026-11-28T12:00:00Z".parse().unwrap());
        health.updated();
        health.counts.took.observe(Duration::from_millis(3));
        let text = health.metrics("/metrics").body;
        for line in [
            "kubeproxy_sync_proxy_rules_duration_seconds_bucket{le=\"0.004\"} 1\n",
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds 1795867200\n",
            "keelson_proxy_frontends 0\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn late_changes_are_unhealthy() {
        let health = Health::new(|| "2026-11-28T12:00:00Z".parse().unwrap());
        let codes = || (health.report("/healthz").code, health.report("/livez").code);
        assert_eq!(codes(), (200, 200));
        health.pending();
        tokio::time::advance(LATEST / 2).await;
        health.pending();
        assert_eq!(codes(), (200, 200));
        tokio::time::advance(LATEST / 2).await;
        assert_eq!(codes(), (503, 503));
        health.updated();
        health.set_eligible(false);
        assert_eq!(codes(), (503, 200));
        assert_eq!(
            health.report("/healthz").body,
            "{\"lastUpdated\": \"2026-11-28T12:00:00Z\",\"currentTime\": \"2026-11-28T12:00:00Z\", \"nodeEligible\": false}"
        );
    }
}
