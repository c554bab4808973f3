//! What pods and the node use, as the runtime and the kernel tell it now.

use cri_api::v1;

use super::Server;
use super::answer::Refusal;

/// One container.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ContainerUsage {
    pub(super) name: String,
    pub(super) cpu: v1::CpuUsage,
    pub(super) memory: v1::MemoryUsage,
    pub(super) writable_layer: Option<v1::FilesystemUsage>,
    /// Nanoseconds since 1970; 0 if unknown.
    pub(super) started_at: i64,
}

/// One pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PodUsage {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) started_at: i64,
    pub(super) cpu: v1::CpuUsage,
    pub(super) memory: v1::MemoryUsage,
    pub(super) network: Option<v1::NetworkUsage>,
    pub(super) processes: u64,
    pub(super) containers: Vec<ContainerUsage>,
}

/// The whole machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeUsage {
    /// Milliseconds since 1970.
    pub(super) at: i64,
    pub(super) cpu_nanoseconds: u64,
    pub(super) memory_working_set: u64,
    pub(super) memory_available: u64,
}

/// Every pod that the runtime counts, in the order of namespaces and names.
pub(super) async fn pods(server: &Server) -> Result<Vec<PodUsage>, Refusal> {
    let request = v1::ListPodSandboxStatsRequest::default();
    let answer = server.runtime.service().list_pod_sandbox_stats(request).await.map_err(|status| {
        Refusal::new(500, format!("the runtime gives no statistics: {}", status.message()))
    })?;
    let mut pods: Vec<PodUsage> =
        answer.into_inner().stats.into_iter().filter_map(|stats| pod(server, stats)).collect();
    pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Ok(pods)
}

fn pod(server: &Server, stats: v1::PodSandboxStats) -> Option<PodUsage> {
    let of = stats.attributes?.metadata?;
    let linux = stats.linux?;
    let view = server.pods.get(&of.namespace, &of.name).filter(|view| view.pod.uid.as_str() == of.uid);
    let started = |id: &str| {
        let containers = view.as_ref().map(|view| view.observed.containers.as_slice()).unwrap_or_default();
        containers
            .iter()
            .find(|container| container.id == id)
            .map_or(0, |container| container.status.started_at)
    };
    let containers = linux.containers.into_iter().filter_map(|container| {
        let attributes = container.attributes?;
        Some(ContainerUsage {
            name: attributes.metadata?.name,
            started_at: started(&attributes.id),
            cpu: container.cpu.unwrap_or_default(),
            memory: container.memory.unwrap_or_default(),
            writable_layer: container.writable_layer,
        })
    });
    Some(PodUsage {
        containers: containers.collect(),
        namespace: of.namespace,
        name: of.name,
        uid: of.uid,
        started_at: view
            .as_ref()
            .and_then(|view| view.observed.sandboxes.first())
            .map_or(0, |sandbox| sandbox.created_at),
        cpu: linux.cpu.unwrap_or_default(),
        memory: linux.memory.unwrap_or_default(),
        network: linux.network,
        processes: linux.process.and_then(|process| process.process_count).map_or(0, |count| count.value),
    })
}

/// The node, from /proc.
pub(super) fn node() -> Result<NodeUsage, Refusal> {
    let read = |path: &str| {
        std::fs::read_to_string(path).map_err(|error| Refusal::new(500, format!("{path}: {error}")))
    };
    let (stat, memory) = (read("/proc/stat")?, read("/proc/meminfo")?);
    let at = jiff::Timestamp::now().as_millisecond();
    parse(&stat, &memory, at)
        .ok_or_else(|| Refusal::new(500, "/proc/stat and /proc/meminfo are not understood"))
}

/// Ticks in /proc/stat are hundredths of a second on every Linux of ours.
const TICK_NANOSECONDS: u64 = 10_000_000;

fn parse(stat: &str, memory: &str, at: i64) -> Option<NodeUsage> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    // user, nice, system, (idle, iowait,) irq, softirq, steal; guests are in user already.
    let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|index| ticks.get(*index)).sum();
    let kibibytes = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok().map(|count| count << 10)
    };
    let (total, available) = (kibibytes("MemTotal")?, kibibytes("MemAvailable")?);
    Some(NodeUsage {
        at,
        cpu_nanoseconds: busy * TICK_NANOSECONDS,
        memory_working_set: total.saturating_sub(available),
        memory_available: available,
    })
}

/// A number of the runtime's, 0 where it gives none.
pub(super) fn value(number: &Option<v1::UInt64Value>) -> u64 {
    number.as_ref().map_or(0, |number| number.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_in_proc() {
        let stat = "cpu  100 10 50 9999 99 1 2 3 4 5\ncpu0 1 2 3\n";
        let memory = "MemTotal:        1000 kB\nMemFree: 1 kB\nMemAvailable:     400 kB\n";
        let expect = NodeUsage {
            at: 7,
            cpu_nanoseconds: 166 * TICK_NANOSECONDS,
            memory_working_set: 600 << 10,
            memory_available: 400 << 10,
        };
        assert_eq!(parse(stat, memory, 7), Some(expect));
        assert_eq!(parse("", memory, 7), None);
        assert!(node().unwrap().cpu_nanoseconds > 0);
    }
}
