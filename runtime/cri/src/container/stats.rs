//! What a container uses: figures of its cgroup, and of its writable layer, which is walked at most every ten
//! seconds and only when somebody asks.

use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use cri_api::v1;
use sys::cgroup::Cgroup;
use tokio::time::Instant;

use super::{Container, ContainerRecord};
use crate::clock;
use crate::fault::{Doing as _, Outcome};
use crate::node::Node;
use crate::sandbox::execute::blocking;

/// How old a writable layer's figure may be.
const LAYER_AGE: Duration = Duration::from_secs(10);
/// Two readings closer than this tell no rate.
const RATE_INTERVAL_NS: i64 = 100_000_000;

/// What was read last, for rates and for what is dear to read.
#[derive(Debug, Default)]
pub struct Readings {
    /// When, and nanoseconds of CPU time by then.
    cpu: Option<(i64, u64)>,
    rate: Option<u64>,
    layer: Option<(Instant, i64, image::Usage)>,
}

impl Readings {
    /// CPU time per second since the reading before, in nanoseconds: `usage_nano_cores`.
    pub fn rate(&mut self, at: i64, used: u64) -> Option<u64> {
        match self.cpu {
            Some((before, then)) if at - before >= RATE_INTERVAL_NS => {
                let (time, cpu) =
                    (u128::try_from(at - before).unwrap_or(1), u128::from(used.saturating_sub(then)));
                self.rate = u64::try_from(cpu * 1_000_000_000 / time).ok();
                self.cpu = Some((at, used));
            }
            Some(_) => {}
            None => self.cpu = Some((at, used)),
        }
        self.rate
    }
}

/// The statistics of one container. One that does not run has only its layer.
pub async fn stats(node: &Node, container: &Container) -> Outcome<v1::ContainerStats> {
    let record = container.record();
    let mut stats = v1::ContainerStats {
        attributes: Some(attributes(&record)),
        writable_layer: layer(node, container).await,
        ..Default::default()
    };
    if let Some(used) = cgroup(node, &record.cgroup).await? {
        let at = clock::now();
        let rate =
            container.readings.lock().unwrap_or_else(PoisonError::into_inner).rate(at, used.cpu.usage_ns);
        stats.cpu = Some(cpu(&used, at, rate));
        stats.memory = Some(memory(&used, at));
        stats.swap = Some(swap(&used, at));
        stats.io = Some(v1::IoUsage { timestamp: at, psi: used.io.pressure.map(pressure) });
    }
    Ok(stats)
}

/// Figures of a cgroup; nothing where there is none.
pub async fn cgroup(node: &Node, path: &str) -> Outcome<Option<oci::cgroup::Stats>> {
    let (layout, path) = (node.layout.clone(), path.to_owned());
    blocking(move || match Cgroup::open(&layout, &path) {
        Ok(cgroup) => oci::cgroup::stats(&cgroup).map(Some).doing(|| format!("reading cgroup {path}")),
        Err(_) => Ok(None),
    })
    .await
}

fn attributes(record: &ContainerRecord) -> v1::ContainerAttributes {
    v1::ContainerAttributes {
        id: record.id.to_string(),
        metadata: record.config.metadata.clone(),
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
    }
}

pub async fn layer(node: &Node, container: &Container) -> Option<v1::FilesystemUsage> {
    let known = container.readings.lock().unwrap_or_else(PoisonError::into_inner).layer;
    let (timestamp, usage) = match known {
        Some((read, timestamp, usage)) if read.elapsed() < LAYER_AGE => (timestamp, usage),
        _ => {
            let usage = node.images.snapshot_usage(container.id.as_str()).await.ok()?;
            let timestamp = clock::now();
            let reading = Some((Instant::now(), timestamp, usage));
            container.readings.lock().unwrap_or_else(PoisonError::into_inner).layer = reading;
            (timestamp, usage)
        }
    };
    Some(filesystem(timestamp, node.images.root(), usage))
}

/// What a file system is used by.
pub fn filesystem(timestamp: i64, mountpoint: &Path, usage: image::Usage) -> v1::FilesystemUsage {
    v1::FilesystemUsage {
        timestamp,
        fs_id: Some(v1::FilesystemIdentifier { mountpoint: mountpoint.display().to_string() }),
        used_bytes: number(usage.bytes),
        inodes_used: number(usage.inodes),
    }
}

pub fn number(value: u64) -> Option<v1::UInt64Value> {
    Some(v1::UInt64Value { value })
}

pub fn cpu(used: &oci::cgroup::Stats, timestamp: i64, rate: Option<u64>) -> v1::CpuUsage {
    v1::CpuUsage {
        timestamp,
        usage_core_nano_seconds: number(used.cpu.usage_ns),
        usage_nano_cores: rate.and_then(number),
        psi: used.cpu.pressure.map(pressure),
    }
}

pub fn memory(used: &oci::cgroup::Stats, timestamp: i64) -> v1::MemoryUsage {
    let memory = &used.memory;
    v1::MemoryUsage {
        timestamp,
        working_set_bytes: number(memory.working_set),
        available_bytes: number(memory.available.unwrap_or(0)),
        usage_bytes: number(memory.usage),
        rss_bytes: number(memory.rss),
        page_faults: number(memory.page_faults),
        major_page_faults: number(memory.major_page_faults),
        psi: memory.pressure.map(pressure),
    }
}

fn swap(used: &oci::cgroup::Stats, timestamp: i64) -> v1::SwapUsage {
    let memory = &used.memory;
    v1::SwapUsage {
        timestamp,
        swap_available_bytes: memory.swap_limit.and_then(|limit| number(limit.saturating_sub(memory.swap))),
        swap_usage_bytes: number(memory.swap),
    }
}

pub fn pressure(pressure: oci::cgroup::Pressure) -> v1::PsiStats {
    let data = |stall: oci::cgroup::Stall| v1::PsiData {
        total: stall.total_us.saturating_mul(1000),
        avg10: stall.average_10,
        avg60: stall.average_60,
        avg300: stall.average_300,
    };
    v1::PsiStats { full: Some(data(pressure.full)), some: Some(data(pressure.some)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_two_readings() {
        let mut readings = Readings::default();
        let second = 1_000_000_000;
        assert_eq!(readings.rate(second, 500), None);
        assert_eq!(readings.rate(second + 1, 900), None, "too close");
        assert_eq!(readings.rate(3 * second, 2_000_000_500), Some(1_000_000_000));
        assert_eq!(readings.rate(3 * second + 5, 2_000_000_900), Some(1_000_000_000), "the last one stands");
    }
}
