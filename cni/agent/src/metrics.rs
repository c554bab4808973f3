//! Prometheus metrics of the agent: what the data path drops and why, how full its maps are, how long the agent takes.
//!
//! Counters of packets and entries of maps are read from the kernel when somebody asks, not in between. Names follow
//! Cilium's agent where it has the same thing. Answered on `--metrics-bind-address`, loopback unless told otherwise: whoever
//! may connect there may read them.
//!
//! **Invariants.** One reader walks the maps at a time, and at most once in [`FRESH`]: askers cost no more than that.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use datapath::{Counter, Counters, DatapathError, EndpointState, Fill, Swept, Tables, Verdict};
use serve::Report;
use serve::prometheus::{CONTENT_TYPE, Histogram, Text};

use crate::failure::chain;

/// How old an answer may be: walking maps costs system calls by the entry.
const FRESH: Duration = Duration::from_secs(1);

/// What the agent counts itself.
#[derive(Debug, Default)]
pub struct Figures {
    /// Looks at links, routes and programs.
    pub syncs: Histogram,
    pub sync_failures: AtomicU64,
    /// Rounds that entered policies.
    pub rounds: Histogram,
    pub round_failures: AtomicU64,
    pub ready: AtomicBool,
    pub nodes: AtomicU64,
    pub policies: AtomicU64,
    pub identities: AtomicU64,
    /// Selectors that were asked.
    pub asked: AtomicU64,
    /// Entries of policies that found no room when last tried.
    pub refused: AtomicU64,
    sweeps: Histogram,
    sweep_failures: AtomicU64,
    removed: AtomicU64,
    dropped: AtomicU64,
    forwarded: AtomicU64,
    /// Flows that followers were too slow for.
    pub lost: AtomicU64,
    tables: Mutex<Option<Tables>>,
    told: Mutex<Option<(Instant, Report)>>,
}

/// Which way a dropped packet went, where the reason says so.
fn direction(reason: &str) -> &'static str {
    match reason {
        "POLICY_INGRESS" | "SOURCE_RANGE" => "INGRESS",
        "POLICY_EGRESS" | "SPOOFED_SOURCE" => "EGRESS",
        _ => "UNKNOWN",
    }
}

// === impl Figures ===

impl Figures {
    /// Where the maps are.
    pub fn know(&self, tables: Option<Tables>) {
        if tables.is_some() {
            *self.tables.lock().unwrap_or_else(PoisonError::into_inner) = tables;
        }
    }

    /// Flows were looked at.
    pub fn swept(&self, took: Duration, swept: Option<&Swept>) {
        self.sweeps.observe(took);
        match swept {
            Some(swept) => self.removed.fetch_add(swept.removed as u64, Ordering::Relaxed),
            None => self.sweep_failures.fetch_add(1, Ordering::Relaxed),
        };
    }

    /// A packet was reported.
    pub fn reported(&self, verdict: Verdict) {
        let count = match verdict {
            Verdict::Dropped(_) => &self.dropped,
            Verdict::Began | Verdict::Went => &self.forwarded,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// What is answered to a path. Walking maps blocks for a while, so a thread of its own does it.
    pub async fn report(self: Arc<Self>, path: String) -> Report {
        match path.as_str() {
            "/metrics" => tokio::task::spawn_blocking(move || self.fresh())
                .await
                .unwrap_or_else(|error| Report::text(500, error.to_string())),
            "/healthz" if self.ready.load(Ordering::Relaxed) => Report::text(200, "ok"),
            "/healthz" => Report::text(503, "the network agent is not ready"),
            _ => Report::missing(),
        }
    }

    fn fresh(&self) -> Report {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, report)) = told.as_ref()
            && at.elapsed() < FRESH
        {
            return report.clone();
        }
        let report = match self.render() {
            Ok(text) => Report { content_type: CONTENT_TYPE, ..Report::text(200, text) },
            Err(error) => Report::text(500, chain(&error)),
        };
        *told = Some((Instant::now(), report.clone()));
        report
    }

    fn render(&self) -> Result<String, DatapathError> {
        let mut text = Text::default();
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(tables) = tables {
            packets(&mut text, &tables.counters()?);
            maps(&mut text, &tables.fill()?);
            memory(&mut text, &tables.memory()?);
            endpoints(&mut text, &tables)?;
        }
        self.of_the_agent(&mut text);
        Ok(text.finish())
    }

    fn of_the_agent(&self, text: &mut Text) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        for (name, kind, help, value) in [
            (
                "keelson_agent_ready",
                "gauge",
                "Whether pods can be connected",
                self.ready.load(Ordering::Relaxed).into(),
            ),
            ("keelson_nodes", "gauge", "Nodes of the cluster that the agent knows", of(&self.nodes)),
            ("keelson_policy", "gauge", "NetworkPolicies that the agent knows", of(&self.policies)),
            ("keelson_identity", "gauge", "Identities that policies tell apart", of(&self.identities)),
            (
                "keelson_policy_selectors_asked_total",
                "counter",
                "Selectors of policies that were held against a pod's labels",
                of(&self.asked),
            ),
            (
                "keelson_policy_entries_refused",
                "gauge",
                "Entries of policies that found no room in a map and are denied",
                of(&self.refused),
            ),
            (
                "keelson_network_sync_failures_total",
                "counter",
                "Looks at links, routes and programs that failed",
                of(&self.sync_failures),
            ),
            (
                "keelson_policy_sync_failures_total",
                "counter",
                "Rounds that did not enter all policies",
                of(&self.round_failures),
            ),
            (
                "keelson_conntrack_gc_failures_total",
                "counter",
                "Sweeps of the flows that failed",
                of(&self.sweep_failures),
            ),
            (
                "keelson_conntrack_gc_deleted_total",
                "counter",
                "Entries of flows that sweeps have removed",
                of(&self.removed),
            ),
            (
                "keelson_flow_followers_lost_total",
                "counter",
                "Flow events that a follower was too slow for",
                of(&self.lost),
            ),
        ] {
            text.single(name, kind, help, value);
        }
        text.family("keelson_flow_events_total", "counter", "Flow events that the agent has read");
        text.sample("keelson_flow_events_total", &[("verdict", "DROPPED")], of(&self.dropped));
        text.sample("keelson_flow_events_total", &[("verdict", "FORWARDED")], of(&self.forwarded));
        text.histogram(
            "keelson_network_sync_duration_seconds",
            "Looks at links, routes and programs, and what was done about them",
            &self.syncs,
        );
        text.histogram(
            "keelson_policy_sync_duration_seconds",
            "Rounds that compile policies and enter them into the maps",
            &self.rounds,
        );
        text.histogram("keelson_conntrack_gc_duration_seconds", "Sweeps of the flows", &self.sweeps);
    }
}

fn packets(text: &mut Text, counters: &Counters) {
    text.family("keelson_drop_count_total", "counter", "Packets that were dropped, by reason and direction");
    for (name, count) in counters.named() {
        if let Some(reason) = name.strip_prefix("drop_") {
            let reason = reason.to_uppercase();
            let labels = [("reason", reason.as_str()), ("direction", direction(&reason))];
            text.sample("keelson_drop_count_total", &labels, count);
        }
    }
    text.family("keelson_forward_count_total", "counter", "Packets that went on, by direction");
    for (way, counter) in
        [("INGRESS", Counter::ToPod), ("EGRESS", Counter::ToOutside), ("HOST", Counter::ToNode)]
    {
        text.sample("keelson_forward_count_total", &[("direction", way)], counters.get(counter));
    }
    for (name, help, counter) in [
        ("keelson_conntrack_flows_total", "Flows that were entered", Counter::FlowsMade),
        ("keelson_nat_flows_total", "Flows whose source was hidden behind the node", Counter::Masqueraded),
        (
            "keelson_nat_ports_moved_total",
            "Source ports that were changed for a collision",
            Counter::PortsMoved,
        ),
        ("keelson_sockets_translated_total", "Sockets that were sent to a backend", Counter::Sockets),
        (
            "keelson_refusals_total",
            "Resets and ICMP errors that were sent for dropped packets",
            Counter::Refusals,
        ),
        (
            "keelson_flow_events_lost_total",
            "Flow events that were not made: too many, or nobody read them",
            Counter::ReportsLost,
        ),
    ] {
        text.single(name, "counter", help, counters.get(counter));
    }
}

fn maps(text: &mut Text, fill: &[Fill]) {
    type Value = fn(&Fill) -> f64;
    let families: [(&str, &str, Value); 3] = [
        ("keelson_bpf_map_entries", "Entries of a map", |map| map.entries as f64),
        ("keelson_bpf_map_capacity", "The most entries that a map takes", |map| f64::from(map.capacity)),
        ("keelson_bpf_map_pressure", "Fill of a map, 0 to 1", |map| {
            map.entries as f64 / f64::from(map.capacity.max(1))
        }),
    ];
    for (name, help, value) in families {
        text.family(name, "gauge", help);
        for map in fill {
            text.sample(name, &[("map_name", &map.name.to_lowercase())], value(map));
        }
    }
    let services: usize =
        fill.iter().filter(|map| map.name.starts_with("SERVICES")).map(|map| map.entries).sum();
    text.single(
        "keelson_service_frontends",
        "gauge",
        "Addresses and ports of Services in the maps",
        services,
    );
}

fn memory(text: &mut Text, maps: &[(&str, u64)]) {
    text.family("keelson_bpf_map_memory_bytes", "gauge", "What a map holds of the kernel's memory");
    for (name, bytes) in maps {
        text.sample("keelson_bpf_map_memory_bytes", &[("map_name", &name.to_lowercase())], bytes);
    }
}

fn endpoints(text: &mut Text, tables: &Tables) -> Result<(), DatapathError> {
    let all = tables.endpoints()?.observed()?;
    let ready = all.iter().filter(|(_, endpoint)| endpoint.state == EndpointState::Ready).count();
    text.family("keelson_endpoint_state", "gauge", "Addresses of this node's pods, by state");
    text.sample("keelson_endpoint_state", &[("endpoint_state", "ready")], ready);
    text.sample("keelson_endpoint_state", &[("endpoint_state", "pending")], all.len() - ready);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_direction_and_the_agent_speaks_without_a_data_path() {
        for (reason, expect) in
            [("POLICY_INGRESS", "INGRESS"), ("POLICY_EGRESS", "EGRESS"), ("NO_ROUTE", "UNKNOWN")]
        {
            assert_eq!(direction(reason), expect, "{reason}");
        }
        let figures = Figures::default();
        figures.syncs.observe(Duration::from_millis(3));
        figures.reported(Verdict::Began);
        let report = figures.fresh();
        for line in [
            "keelson_agent_ready 0\n",
            "keelson_flow_events_total{verdict=\"FORWARDED\"} 1\n",
            "keelson_network_sync_duration_seconds_count 1\n",
        ] {
            assert!(report.body.contains(line), "{line}{}", report.body);
        }
        assert_eq!((report.code, report.content_type), (200, CONTENT_TYPE));
    }
}
