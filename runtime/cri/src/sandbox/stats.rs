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

/// What passed one way over a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub bytes: u64,
    pub packets: u64,
    pub errors: u64,
    pub dropped: u64,
}

/// The counters of one link.
#[derive(Debug, PartialEq, Eq)]
pub struct Link {
    pub name: String,
    pub received: Traffic,
    pub sent: Traffic,
}

/// Counters of every link in the pod's own network namespace but loopback; nothing where it has none of its own.
pub async fn links(record: &SandboxRecord) -> Outcome<Option<Vec<Link>>> {
    let Some(path) = record.net.clone().filter(|_| record.phase == Phase::Ready) else { return Ok(None) };
    blocking(move || read_counters(path)).await.map(|table| Some(parse(&table)))
}

async fn network(record: &SandboxRecord, timestamp: i64) -> Outcome<Option<v1::NetworkUsage>> {
    let Some(links) = links(record).await? else { return Ok(None) };
    let usage = |link: Link| v1::NetworkInterfaceUsage {
        name: link.name,
        rx_bytes: container::number(link.received.bytes),
        rx_errors: container::number(link.received.errors),
        tx_bytes: container::number(link.sent.bytes),
        tx_errors: container::number(link.sent.errors),
    };
    let mut interfaces: Vec<_> = links.into_iter().map(usage).collect();
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
fn parse(table: &str) -> Vec<Link> {
    let lines = table.lines().skip(2).filter_map(|line| line.split_once(':'));
    lines
        .filter(|(name, _)| name.trim() != "lo")
        .map(|(name, rest)| {
            let fields: Vec<u64> = rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
            let from = |first: usize| {
                let field = |index: usize| fields.get(first + index).copied().unwrap_or(0);
                Traffic { bytes: field(0), packets: field(1), errors: field(2), dropped: field(3) }
            };
            Link { name: name.trim().to_owned(), received: from(0), sent: from(8) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_link() {
        let table = "Inter-|   Receive  |  Transmit\n face |bytes ...\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n\
                     eth0: 100 2 3 6 0 0 0 0 200 4 5 7 0 0 0 0\n";
        let traffic = |bytes, packets, errors, dropped| Traffic { bytes, packets, errors, dropped };
        let eth0 = Link { name: "eth0".into(), received: traffic(100, 2, 3, 6), sent: traffic(200, 4, 5, 7) };
        assert_eq!(parse(table), [eth0]);
    }
}
