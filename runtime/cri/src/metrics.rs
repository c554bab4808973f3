//! Metrics by cadvisor's names: a table of what is told of containers and pods, and the figures behind it.
//!
//! The interface has whole numbers only, so counters of seconds are rounded down. Figures of one file or interface
//! each have one more label; everything else has the labels of its container or pod.
//!
//! Reference: KEP 2371; cadvisor's Prometheus metrics.

use cri_api::v1;
use cri_api::v1::MetricType::{self, Counter, Gauge};
use oci::cgroup::Stats;

use crate::container::{self, Container};
use crate::fault::Outcome;
use crate::node::Node;
use crate::sandbox::{self, Sandbox};

/// Labels of everything, in the order of their values. A pod's own metrics have no container, name or image.
const LABELS: &[&str] = &["id", "name", "image", "container", "pod", "namespace"];
const SECOND: u64 = 1_000_000_000;

/// One metric of a cgroup.
struct Row {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    value: fn(&Stats) -> Option<u64>,
}

const fn row(
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    value: fn(&Stats) -> Option<u64>,
) -> Row {
    Row { name, help, kind, value }
}

/// What is told of every container and of every pod as a whole.
const OF_CGROUPS: &[Row] = &[
    row("container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", Counter, |s| {
        Some(s.cpu.usage_ns / SECOND)
    }),
    row("container_cpu_user_seconds_total", "Cumulative user cpu time consumed in seconds.", Counter, |s| {
        Some(s.cpu.user_ns / SECOND)
    }),
    row(
        "container_cpu_system_seconds_total",
        "Cumulative system cpu time consumed in seconds.",
        Counter,
        |s| Some(s.cpu.system_ns / SECOND),
    ),
    row("container_cpu_cfs_periods_total", "Number of elapsed enforcement period intervals.", Counter, |s| {
        Some(s.cpu.periods)
    }),
    row("container_cpu_cfs_throttled_periods_total", "Number of throttled period intervals.", Counter, |s| {
        Some(s.cpu.throttled_periods)
    }),
    row(
        "container_cpu_cfs_throttled_seconds_total",
        "Total time duration the container has been throttled.",
        Counter,
        |s| Some(s.cpu.throttled_ns / SECOND),
    ),
    row("container_memory_usage_bytes", "Current memory usage in bytes, including all memory.", Gauge, |s| {
        Some(s.memory.usage)
    }),
    row("container_memory_working_set_bytes", "Current working set in bytes.", Gauge, |s| {
        Some(s.memory.working_set)
    }),
    row("container_memory_rss", "Size of RSS in bytes.", Gauge, |s| Some(s.memory.rss)),
    row("container_memory_swap", "Container swap usage in bytes.", Gauge, |s| Some(s.memory.swap)),
    row(
        "container_oom_events_total",
        "Count of out of memory events observed for the container",
        Counter,
        |s| Some(s.memory.oom_kills),
    ),
    row("container_spec_memory_limit_bytes", "Memory limit for the container.", Gauge, |s| {
        Some(s.memory.limit.unwrap_or(0))
    }),
    row("container_fs_reads_bytes_total", "Cumulative count of bytes read", Counter, |s| {
        Some(s.io.read_bytes)
    }),
    row("container_fs_writes_bytes_total", "Cumulative count of bytes written", Counter, |s| {
        Some(s.io.write_bytes)
    }),
    row("container_fs_reads_total", "Cumulative count of reads completed", Counter, |s| {
        Some(s.io.read_operations)
    }),
    row("container_fs_writes_total", "Cumulative count of writes completed", Counter, |s| {
        Some(s.io.write_operations)
    }),
    row("container_processes", "Number of processes running inside the container.", Gauge, |s| {
        Some(s.pids.current)
    }),
    row("container_threads_max", "Maximum number of threads allowed inside the container.", Gauge, |s| {
        Some(s.pids.limit.unwrap_or(0))
    }),
    row(
        "container_pressure_cpu_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to CPU congestion.",
        Counter,
        |s| s.cpu.pressure.map(|p| p.some.total_us / 1_000_000),
    ),
    row(
        "container_pressure_memory_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to memory congestion.",
        Counter,
        |s| s.memory.pressure.map(|p| p.some.total_us / 1_000_000),
    ),
    row(
        "container_pressure_io_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to IO congestion.",
        Counter,
        |s| s.io.pressure.map(|p| p.some.total_us / 1_000_000),
    ),
];

/// What is told of containers only, or with one more label.
const OTHERS: &[(&str, &str, Option<&str>)] = &[
    (
        "container_memory_failures_total",
        "Cumulative count of memory allocation failures.",
        Some("failure_type"),
    ),
    ("container_start_time_seconds", "Start time of the container since unix epoch in seconds.", None),
    ("container_last_seen", "Last time a container was seen by the exporter", None),
    (
        "container_fs_usage_bytes",
        "Number of bytes that are consumed by the container on this filesystem.",
        None,
    ),
    ("container_network_receive_bytes_total", "Cumulative count of bytes received", Some("interface")),
    (
        "container_network_receive_errors_total",
        "Cumulative count of errors encountered while receiving",
        Some("interface"),
    ),
    ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", Some("interface")),
    (
        "container_network_transmit_errors_total",
        "Cumulative count of errors encountered while transmitting",
        Some("interface"),
    ),
];

/// Every metric that [`of_sandbox`] may tell.
pub fn descriptors() -> Vec<v1::MetricDescriptor> {
    let describe = |name: &str, help: &str, more: Option<&str>| v1::MetricDescriptor {
        name: name.to_owned(),
        help: help.to_owned(),
        label_keys: LABELS.iter().copied().chain(more).map(str::to_owned).collect(),
    };
    let of_cgroups = OF_CGROUPS.iter().map(|row| describe(row.name, row.help, None));
    of_cgroups.chain(OTHERS.iter().map(|(name, help, more)| describe(name, help, *more))).collect()
}

/// A pod's metrics and those of its containers that run.
pub async fn of_sandbox(node: &Node, sandbox: &Sandbox) -> Outcome<v1::PodSandboxMetrics> {
    let record = sandbox.record();
    let pod = record.metadata();
    let labels =
        [record.cgroup_parent.clone(), String::new(), String::new(), String::new(), pod.name, pod.namespace];
    let mut told = Told { labels: labels.to_vec(), metrics: Vec::new() };
    if let Some(used) = container::stats::cgroup(node, &record.cgroup_parent).await? {
        told.cgroup(&used);
    }
    let network = sandbox::stats::network(&record, crate::clock::now()).await?.unwrap_or_default();
    for link in network.default_interface.iter().chain(&network.interfaces) {
        for (name, value) in [
            ("container_network_receive_bytes_total", &link.rx_bytes),
            ("container_network_receive_errors_total", &link.rx_errors),
            ("container_network_transmit_bytes_total", &link.tx_bytes),
            ("container_network_transmit_errors_total", &link.tx_errors),
        ] {
            told.add(name, Counter, Some(&link.name), value.as_ref().map_or(0, |v| v.value));
        }
    }
    let mut container_metrics = Vec::new();
    for owned in node.containers_of(&sandbox.id) {
        if owned.record().phase == container::Phase::Running {
            container_metrics.push(of_container(node, &owned, &told.labels).await?);
        }
    }
    let pod_sandbox_id = record.id.to_string();
    Ok(v1::PodSandboxMetrics { pod_sandbox_id, metrics: told.metrics, container_metrics })
}

async fn of_container(node: &Node, container: &Container, pod: &[String]) -> Outcome<v1::ContainerMetrics> {
    let record = container.record();
    let image = record.config.image.clone().unwrap_or_default();
    let image = if image.user_specified_image.is_empty() { image.image } else { image.user_specified_image };
    let mut labels = vec![record.cgroup.clone(), record.id.to_string(), image, record.metadata().name];
    labels.extend(pod.iter().skip(labels.len()).cloned());
    let mut told = Told { labels, metrics: Vec::new() };
    if let Some(used) = container::stats::cgroup(node, &record.cgroup).await? {
        told.cgroup(&used);
        let minor = used.memory.page_faults.saturating_sub(used.memory.major_page_faults);
        told.add("container_memory_failures_total", Counter, Some("pgfault"), minor);
        told.add(
            "container_memory_failures_total",
            Counter,
            Some("pgmajfault"),
            used.memory.major_page_faults,
        );
    }
    told.add("container_start_time_seconds", Gauge, None, seconds(record.started_at));
    told.add("container_last_seen", Gauge, None, seconds(crate::clock::now()));
    if let Some(used) = container::stats::layer(node, container).await.and_then(|layer| layer.used_bytes) {
        told.add("container_fs_usage_bytes", Gauge, None, used.value);
    }
    Ok(v1::ContainerMetrics { container_id: record.id.to_string(), metrics: told.metrics })
}

fn seconds(nanoseconds: i64) -> u64 {
    u64::try_from(nanoseconds).unwrap_or(0) / SECOND
}

/// Metrics with the same labels.
struct Told {
    labels: Vec<String>,
    metrics: Vec<v1::Metric>,
}

// === impl Told ===

impl Told {
    fn cgroup(&mut self, used: &Stats) {
        for row in OF_CGROUPS {
            if let Some(value) = (row.value)(used) {
                self.add(row.name, row.kind, None, value);
            }
        }
    }

    fn add(&mut self, name: &str, kind: MetricType, label: Option<&str>, value: u64) {
        let label_values = self.labels.iter().cloned().chain(label.map(str::to_owned)).collect();
        self.metrics.push(v1::Metric {
            name: name.to_owned(),
            // Measured just now.
            timestamp: 0,
            metric_type: kind.into(),
            label_values,
            value: container::stats::number(value),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_described_once_and_has_its_labels() {
        let described = descriptors();
        let mut names: Vec<&str> = described.iter().map(|d| d.name.as_str()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        let mut told = Told { labels: LABELS.iter().map(|l| (*l).to_owned()).collect(), metrics: Vec::new() };
        told.cgroup(&Stats::default());
        told.add("container_network_receive_bytes_total", Counter, Some("eth0"), 1);
        for metric in &told.metrics {
            let row = described.iter().find(|d| d.name == metric.name).unwrap();
            assert_eq!(row.label_keys.len(), metric.label_values.len(), "{}", metric.name);
        }
    }
}
