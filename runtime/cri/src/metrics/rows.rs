//! The tables of what is told: names and explanations as cadvisor has them, and where the figure of a cgroup is found.
//!
//! Not here: figures that need more than a cgroup, which are only named.
//!
//! Reference: cadvisor's Prometheus metrics.

use cri_api::v1::MetricType::{self, Counter, Gauge};
use oci::cgroup::Stats;

pub(super) const SECOND: u64 = 1_000_000_000;

/// One metric of a cgroup.
pub(super) struct Row {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: MetricType,
    pub value: fn(&Stats) -> Option<u64>,
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
pub(super) const OF_CGROUPS: &[Row] = &[
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
    row("container_memory_cache", "Number of bytes of page cache memory.", Gauge, |s| Some(s.memory.cache)),
    row("container_memory_mapped_file", "Size of memory mapped files in bytes.", Gauge, |s| {
        Some(s.memory.mapped_file)
    }),
    row("container_memory_kernel_usage", "Size of kernel memory allocated in bytes.", Gauge, |s| {
        Some(s.memory.kernel)
    }),
    row("container_memory_max_usage_bytes", "Maximum memory usage recorded in bytes", Gauge, |s| {
        s.memory.peak
    }),
    row("container_memory_failcnt", "Number of memory usage hits limits", Counter, |s| {
        Some(s.memory.limit_hits)
    }),
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
        Some(s.io.sum(|disk| disk.read_bytes))
    }),
    row("container_fs_writes_bytes_total", "Cumulative count of bytes written", Counter, |s| {
        Some(s.io.sum(|disk| disk.write_bytes))
    }),
    row("container_fs_reads_total", "Cumulative count of reads completed", Counter, |s| {
        Some(s.io.sum(|disk| disk.read_operations))
    }),
    row("container_fs_writes_total", "Cumulative count of writes completed", Counter, |s| {
        Some(s.io.sum(|disk| disk.write_operations))
    }),
    row("container_threads", "Number of threads running inside the container", Gauge, |s| {
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
        "container_pressure_cpu_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to CPU congestion.",
        Counter,
        |s| s.cpu.pressure.map(|p| p.full.total_us / 1_000_000),
    ),
    row(
        "container_pressure_memory_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to memory congestion.",
        Counter,
        |s| s.memory.pressure.map(|p| p.some.total_us / 1_000_000),
    ),
    row(
        "container_pressure_memory_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to memory congestion.",
        Counter,
        |s| s.memory.pressure.map(|p| p.full.total_us / 1_000_000),
    ),
    row(
        "container_pressure_io_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to IO congestion.",
        Counter,
        |s| s.io.pressure.map(|p| p.some.total_us / 1_000_000),
    ),
    row(
        "container_pressure_io_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to IO congestion.",
        Counter,
        |s| s.io.pressure.map(|p| p.full.total_us / 1_000_000),
    ),
];

/// What is told of containers only, or with more labels.
pub(super) const OTHERS: &[(&str, &str, &[&str])] = &[
    ("container_memory_failures_total", "Cumulative count of memory allocation failures.", &["failure_type"]),
    ("container_start_time_seconds", "Start time of the container since unix epoch in seconds.", &[]),
    ("container_last_seen", "Last time a container was seen by the exporter", &[]),
    ("container_processes", "Number of processes running inside the container.", &[]),
    ("container_file_descriptors", "Number of open file descriptors for the container.", &[]),
    ("container_sockets", "Number of open sockets for the container.", &[]),
    ("container_ulimits_soft", "Soft ulimit values for the container root process.", &["ulimit"]),
    ("container_spec_cpu_period", "CPU period of the container.", &[]),
    ("container_spec_cpu_quota", "CPU quota of the container.", &[]),
    ("container_spec_cpu_shares", "CPU share of the container.", &[]),
    ("container_spec_memory_reservation_limit_bytes", "Memory reservation limit for the container.", &[]),
    ("container_spec_memory_swap_limit_bytes", "Memory swap limit for the container.", &[]),
    (
        "container_fs_usage_bytes",
        "Number of bytes that are consumed by the container on this filesystem.",
        &[],
    ),
    (
        "container_fs_limit_bytes",
        "Number of bytes that can be consumed by the container on this filesystem.",
        &[],
    ),
    ("container_fs_inodes_total", "Number of Inodes", &[]),
    ("container_fs_inodes_free", "Number of available Inodes", &[]),
    (
        "container_blkio_device_usage_total",
        "Blkio device bytes usage",
        &["device", "major", "minor", "operation"],
    ),
    ("container_network_receive_bytes_total", "Cumulative count of bytes received", &["interface"]),
    ("container_network_receive_packets_total", "Cumulative count of packets received", &["interface"]),
    (
        "container_network_receive_errors_total",
        "Cumulative count of errors encountered while receiving",
        &["interface"],
    ),
    (
        "container_network_receive_packets_dropped_total",
        "Cumulative count of packets dropped while receiving",
        &["interface"],
    ),
    ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", &["interface"]),
    ("container_network_transmit_packets_total", "Cumulative count of packets transmitted", &["interface"]),
    (
        "container_network_transmit_errors_total",
        "Cumulative count of errors encountered while transmitting",
        &["interface"],
    ),
    (
        "container_network_transmit_packets_dropped_total",
        "Cumulative count of packets dropped while transmitting",
        &["interface"],
    ),
];
