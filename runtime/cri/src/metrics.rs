//! Metrics by cadvisor's names: the figures behind the tables in `rows`, of pods and of their containers.
//!
//! The interface has whole numbers only, so counters of seconds are rounded down. What is told of each file, link or disk
//! has labels of its own besides; everything else has those of its container or pod.
//!
//! Reference: KEP 2371; cadvisor's Prometheus metrics.

mod processes;
mod rows;

use cri_api::v1;
use cri_api::v1::MetricType::{self, Counter, Gauge};
use oci::cgroup::{Disk, Stats};
use processes::Processes;
use rows::{OF_CGROUPS, OTHERS, SECOND};

use crate::container::{self, Container, ContainerRecord};
use crate::fault::Outcome;
use crate::node::Node;
use crate::sandbox::execute::blocking;
use crate::sandbox::stats::Traffic;
use crate::sandbox::{self, Sandbox};

/// Labels of everything, in the order of their values. A pod's own metrics have no container, name or image.
const LABELS: &[&str] = &["id", "name", "image", "container", "pod", "namespace"];
/// What the kernel gives a cgroup that nobody told otherwise.
const CPU_PERIOD: i64 = 100_000;
const CPU_SHARES: i64 = 1024;

/// Every metric that [`of_sandbox`] may tell.
pub fn descriptors() -> Vec<v1::MetricDescriptor> {
    let describe = |name: &str, help: &str, more: &[&str]| v1::MetricDescriptor {
        name: name.to_owned(),
        help: help.to_owned(),
        label_keys: LABELS.iter().chain(more).map(|label| (*label).to_owned()).collect(),
    };
    let of_cgroups = OF_CGROUPS.iter().map(|row| describe(row.name, row.help, &[]));
    of_cgroups.chain(OTHERS.iter().map(|(name, help, more)| describe(name, help, more))).collect()
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
    for link in sandbox::stats::links(&record).await?.unwrap_or_default() {
        told.traffic("receive", &link.name, link.received);
        told.traffic("transmit", &link.name, link.sent);
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
        for (kind, count) in [("pgfault", minor), ("pgmajfault", used.memory.major_page_faults)] {
            told.add("container_memory_failures_total", Counter, &[kind], count);
        }
        used.io.disks.iter().for_each(|disk| told.disk(disk));
    }
    told.processes(&of_processes(node, &record).await);
    told.specification(&record.resources);
    told.gauge("container_start_time_seconds", seconds(record.started_at));
    told.gauge("container_last_seen", seconds(crate::clock::now()));
    if let Some(used) = container::stats::layer(node, container).await.and_then(|layer| layer.used_bytes) {
        told.gauge("container_fs_usage_bytes", used.value);
    }
    if let Ok(disk) = rustix::fs::statvfs(node.images.root()) {
        told.gauge("container_fs_limit_bytes", disk.f_blocks.saturating_mul(disk.f_frsize));
        told.gauge("container_fs_inodes_total", disk.f_files);
        told.gauge("container_fs_inodes_free", disk.f_ffree);
    }
    Ok(v1::ContainerMetrics { container_id: record.id.to_string(), metrics: told.metrics })
}

/// Nothing of a container that has just ended.
async fn of_processes(node: &Node, record: &ContainerRecord) -> Processes {
    let (layout, path, main) = (node.layout.clone(), record.cgroup.clone(), record.pid);
    let read = move || Ok(processes::read(&layout, &path, main));
    blocking(read).await.unwrap_or_default()
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
                self.add(row.name, row.kind, &[], value);
            }
        }
    }

    fn traffic(&mut self, way: &str, link: &str, passed: Traffic) {
        for (what, value) in [
            ("bytes", passed.bytes),
            ("packets", passed.packets),
            ("errors", passed.errors),
            ("packets_dropped", passed.dropped),
        ] {
            self.add(&format!("container_network_{way}_{what}_total"), Counter, &[link], value);
        }
    }

    fn disk(&mut self, disk: &Disk) {
        let name = device(disk);
        let (major, minor) = (disk.major.to_string(), disk.minor.to_string());
        for (operation, bytes) in [("Read", disk.read_bytes), ("Write", disk.write_bytes)] {
            let labels = [name.as_str(), &major, &minor, operation];
            self.add("container_blkio_device_usage_total", Counter, &labels, bytes);
        }
    }

    fn processes(&mut self, found: &Processes) {
        self.gauge("container_processes", found.processes);
        self.gauge("container_file_descriptors", found.descriptors);
        self.gauge("container_sockets", found.sockets);
        if let Some(limit) = found.open_files_soft {
            self.add("container_ulimits_soft", Gauge, &["max_open_files"], limit);
        }
    }

    /// What was asked for. Zero is no limit.
    fn specification(&mut self, asked: &v1::LinuxContainerResources) {
        let given = |value: i64| u64::try_from(value).unwrap_or(0);
        let or = |value: i64, default: i64| given(if value > 0 { value } else { default });
        self.gauge("container_spec_cpu_period", or(asked.cpu_period, CPU_PERIOD));
        self.gauge("container_spec_cpu_shares", or(asked.cpu_shares, CPU_SHARES));
        if asked.cpu_quota > 0 {
            self.gauge("container_spec_cpu_quota", given(asked.cpu_quota));
        }
        let reserved = asked.unified.get("memory.min").and_then(|text| text.trim().parse().ok());
        self.gauge("container_spec_memory_reservation_limit_bytes", reserved.unwrap_or(0));
        self.gauge("container_spec_memory_swap_limit_bytes", given(asked.memory_swap_limit_in_bytes));
    }

    fn gauge(&mut self, name: &str, value: u64) {
        self.add(name, Gauge, &[], value);
    }

    fn add(&mut self, name: &str, kind: MetricType, labels: &[&str], value: u64) {
        let more = labels.iter().map(|label| (*label).to_owned());
        self.metrics.push(v1::Metric {
            name: name.to_owned(),
            // Measured just now.
            timestamp: 0,
            metric_type: kind.into(),
            label_values: self.labels.iter().cloned().chain(more).collect(),
            value: container::stats::number(value),
        });
    }
}

/// The node below /dev, as the kernel names it; nothing for one that it shows nowhere.
fn device(disk: &Disk) -> String {
    let link = std::fs::read_link(format!("/sys/dev/block/{}:{}", disk.major, disk.minor));
    let name = link.ok().and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()));
    name.map_or_else(String::new, |name| format!("/dev/{name}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_metric_is_described_once_and_has_its_labels() {
        let described = descriptors();
        let names: BTreeSet<&str> = described.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names.len(), described.len());
        let mut told = Told { labels: LABELS.iter().map(|l| (*l).to_owned()).collect(), metrics: Vec::new() };
        let pressure = Some(oci::cgroup::Pressure::default());
        let mut used = Stats::default();
        (used.cpu.pressure, used.memory.pressure, used.io.pressure) = (pressure, pressure, pressure);
        used.memory.peak = Some(1);
        told.cgroup(&used);
        told.disk(&Disk { major: 9999, ..Disk::default() });
        ["receive", "transmit"].iter().for_each(|way| told.traffic(way, "eth0", Traffic::default()));
        told.processes(&Processes { open_files_soft: Some(1), ..Processes::default() });
        told.specification(&v1::LinuxContainerResources { cpu_quota: 5, ..Default::default() });
        for metric in &told.metrics {
            let row = described.iter().find(|row| row.name == metric.name).expect(&metric.name);
            assert_eq!(row.label_keys.len(), metric.label_values.len(), "{}", metric.name);
        }
        // These need a node.
        let elsewhere = [
            "container_memory_failures_total",
            "container_start_time_seconds",
            "container_last_seen",
            "container_fs_usage_bytes",
            "container_fs_limit_bytes",
            "container_fs_inodes_total",
            "container_fs_inodes_free",
        ];
        let told: BTreeSet<&str> =
            told.metrics.iter().map(|metric| metric.name.as_str()).chain(elsewhere).collect();
        assert_eq!(told, names, "what is described is told");
    }

    #[test]
    fn what_was_asked_for_is_told() {
        let check = |asked: v1::LinuxContainerResources, expect: &[(&str, u64)]| {
            let mut told = Told { labels: Vec::new(), metrics: Vec::new() };
            told.specification(&asked);
            for (name, value) in expect {
                let name = format!("container_spec_{name}");
                let found = told.metrics.iter().find(|metric| metric.name == name);
                assert_eq!(found.map_or(0, |metric| metric.value.unwrap().value), *value, "{name} {asked:?}");
            }
        };
        let nothing =
            [("cpu_period", 100_000), ("cpu_shares", 1024), ("cpu_quota", 0), ("memory_swap_limit_bytes", 0)];
        check(v1::LinuxContainerResources::default(), &nothing);
        let unlimited = v1::LinuxContainerResources {
            cpu_quota: -1,
            memory_swap_limit_in_bytes: -1,
            ..Default::default()
        };
        check(unlimited, &nothing);
        let some = v1::LinuxContainerResources {
            cpu_period: 1,
            cpu_quota: 2,
            cpu_shares: 3,
            memory_swap_limit_in_bytes: 4,
            unified: [("memory.min".to_owned(), "5".to_owned())].into(),
            ..Default::default()
        };
        let expect = [
            ("cpu_period", 1),
            ("cpu_quota", 2),
            ("cpu_shares", 3),
            ("memory_swap_limit_bytes", 4),
            ("memory_reservation_limit_bytes", 5),
        ];
        check(some, &expect);
    }
}
