//! What a sandbox uses: its cgroup, its containers, its network.

use std::os::fd::AsFd as _;
use std::path::PathBuf;

use cri_api::v1;

use super::{Phase, Sandbox, SandboxRecord};
use crate::clock;
use crate::cni::LINK;
use crate::container::stats as container;
use crate::fault::{Doing as _, Outcome};
use crate::node::Node;
use crate::sandbox::execute::blocking;

/// The statistics of one sandbox.
pub async fn stats(node: &Node, sandbox: &Sandbox) -> Outcome<v1::PodSandboxStats> {
    let record = sandbox.record();
    let at = clock::now();
    let mut linux = v1::LinuxPodSandboxStats::default();
    for owned in node.containers_of(&sandbox.id) {
        if owned.record().phase == crate::container::Phase::Running {
            linux.containers.push(container::stats(node, &owned).await?);
        }
    }
    // A ready sandbox always has these parts, if only as zeros: clients index into them.
    let used = container::cgroup(node, &record.cgroup_parent).await?.unwrap_or_default();
    linux.cpu = Some(container::cpu(&used, at, rate(&linux.containers)));
    linux.memory = Some(container::memory(&used, at));
    linux.process =
        Some(v1::ProcessUsage { timestamp: at, process_count: container::number(used.pids.current) });
    linux.io = Some(v1::IoUsage { timestamp: at, psi: used.io.pressure.map(container::pressure) });
    linux.network = network(&record, at).await?;
    Ok(v1::PodSandboxStats { attributes: Some(attributes(&record)), linux: Some(linux), windows: None })
}

/// The sum of its containers: a pod has no reading before.
fn rate(containers: &[v1::ContainerStats]) -> Option<u64> {
    let rates =
        containers.iter().filter_map(|stats| Some(stats.cpu.as_ref()?.usage_nano_cores.as_ref()?.value));
    rates.reduce(u64::saturating_add)
}

fn attributes(record: &SandboxRecord) -> v1::PodSandboxAttributes {
    v1::PodSandboxAttributes {
        id: record.id.to_string(),
        metadata: record.config.metadata.clone(),
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
    }
}

/// Counters of every link in the pod's own network namespace but loopback.
pub async fn network(record: &SandboxRecord, timestamp: i64) -> Outcome<Option<v1::NetworkUsage>> {
    let Some(path) = record.net.clone().filter(|_| record.phase == Phase::Ready) else { return Ok(None) };
    let table = blocking(move || read_counters(path)).await?;
    let mut interfaces = parse(&table);
    let default = interfaces.iter().position(|link| link.name == LINK).map(|at| interfaces.remove(at));
    Ok(Some(v1::NetworkUsage { timestamp, default_interface: default, interfaces }))
}

fn read_counters(path: PathBuf) -> Outcome<String> {
    let what = || format!("reading the counters of {}", path.display());
    let namespace = sys::netns::open(&path).doing(what)?;
    // /proc/thread-self follows the thread that entered.
    let read = || std::fs::read_to_string("/proc/thread-self/net/dev");
    sys::netns::run_in(namespace.as_fd(), read).doing(what)?.doing(what)
}

/// /proc/net/dev: two lines of heading, then `name: rx bytes packets errs drop fifo frame compressed multicast tx ...`.
fn parse(table: &str) -> Vec<v1::NetworkInterfaceUsage> {
    let lines = table.lines().skip(2).filter_map(|line| line.split_once(':'));
    lines
        .filter(|(name, _)| name.trim() != "lo")
        .map(|(name, rest)| {
            let fields: Vec<u64> = rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
            let field = |index: usize| container::number(fields.get(index).copied().unwrap_or(0));
            v1::NetworkInterfaceUsage {
                name: name.trim().to_owned(),
                rx_bytes: field(0),
                rx_errors: field(2),
                tx_bytes: field(8),
                tx_errors: field(10),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_link() {
        let table = "Inter-|   Receive  |  Transmit\n face |bytes ...\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n\
                     eth0: 100 2 3 0 0 0 0 0 200 4 5 0 0 0 0 0\n";
        let links = parse(table);
        assert_eq!(links.len(), 1);
        let value = |number: &Option<v1::UInt64Value>| number.as_ref().map(|n| n.value);
        assert_eq!(links[0].name, "eth0");
        assert_eq!((value(&links[0].rx_bytes), value(&links[0].rx_errors)), (Some(100), Some(3)));
        assert_eq!((value(&links[0].tx_bytes), value(&links[0].tx_errors)), (Some(200), Some(5)));
    }
}
