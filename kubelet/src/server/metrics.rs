//! `/metrics` and `/metrics/resource`, in Prometheus' text form.
//!
//! The second is what metrics-server reads; its names are stable in Kubernetes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cri_api::v1;

use super::Server;
use super::answer::Refusal;
use super::usage::{self, ContainerUsage, PodUsage, value};
use crate::observed::State;

/// What the kubelet counts of itself.
pub(super) fn own(server: &Server) -> String {
    let views = server.pods.all();
    let pods = views.iter().filter(|view| view.observed.ready_sandbox().is_some()).count();
    let mut containers: BTreeMap<&str, usize> = BTreeMap::new();
    for container in views.iter().flat_map(|view| &view.observed.containers) {
        let state = match container.state {
            State::Created => "created",
            State::Running => "running",
            State::Exited => "exited",
            State::Unknown => "unknown",
        };
        *containers.entry(state).or_default() += 1;
    }
    let mut text = Text::default();
    text.family("kubelet_node_name", "gauge", "The node's name. The count is always 1.");
    text.sample("kubelet_node_name", &[("node", &server.options.node)], 1);
    text.family("kubelet_running_pods", "gauge", "Number of pods that have a running pod sandbox");
    text.sample("kubelet_running_pods", &[], pods);
    text.family("kubelet_running_containers", "gauge", "Number of containers by state");
    for (state, count) in containers {
        text.sample("kubelet_running_containers", &[("container_state", state)], count);
    }
    text.family("kubelet_streams", "gauge", "Exec, attach and port-forward sessions that are open");
    text.sample("kubelet_streams", &[], server.sessions.len());
    text.0
}

/// What node, pods and containers use.
pub(super) async fn resource(server: &Server) -> Result<String, Refusal> {
    let (pods, node) = (usage::pods(server).await?, usage::node()?);
    let mut text = Text::default();
    containers(&mut text, &pods);
    text.family(
        "node_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the node in core-seconds",
    );
    text.sample_at("node_cpu_usage_seconds_total", &[], seconds(node.cpu_nanoseconds), node.at);
    text.family("node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes");
    text.sample_at("node_memory_working_set_bytes", &[], node.memory_working_set, node.at);
    text.family(
        "pod_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the pod in core-seconds",
    );
    for pod in &pods {
        text.cpu(
            "pod_cpu_usage_seconds_total",
            &[("namespace", &pod.namespace), ("pod", &pod.name)],
            &pod.cpu,
        );
    }
    text.family("pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes");
    for pod in &pods {
        let labels = [("namespace", &*pod.namespace), ("pod", &pod.name)];
        text.memory("pod_memory_working_set_bytes", &labels, &pod.memory);
    }
    text.family(
        "resource_scrape_error",
        "gauge",
        "1 if there was an error while getting container metrics, 0 otherwise",
    );
    text.sample("resource_scrape_error", &[], 0);
    Ok(text.0)
}

fn containers(text: &mut Text, pods: &[PodUsage]) {
    let all = || pods.iter().flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)));
    fn labels<'a>(pod: &'a PodUsage, container: &'a ContainerUsage) -> [(&'static str, &'a str); 3] {
        [("container", &container.name), ("namespace", &pod.namespace), ("pod", &pod.name)]
    }
    text.family(
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the container in core-seconds",
    );
    for (pod, container) in all() {
        text.cpu("container_cpu_usage_seconds_total", &labels(pod, container), &container.cpu);
    }
    text.family(
        "container_memory_working_set_bytes",
        "gauge",
        "Current working set of the container in bytes",
    );
    for (pod, container) in all() {
        text.memory("container_memory_working_set_bytes", &labels(pod, container), &container.memory);
    }
    text.family(
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds",
    );
    for (pod, container) in all().filter(|(_, container)| container.started_at > 0) {
        let started = seconds(container.started_at.unsigned_abs());
        text.sample("container_start_time_seconds", &labels(pod, container), started);
    }
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// The text as it grows.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.begin(name, labels);
        let _ = writeln!(self.0, " {value}");
    }

    /// A sample of a time, in milliseconds since 1970.
    fn sample_at(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display, at: i64) {
        self.begin(name, labels);
        let _ = writeln!(self.0, " {value} {at}");
    }

    fn cpu(&mut self, name: &str, labels: &[(&str, &str)], cpu: &v1::CpuUsage) {
        self.sample_at(name, labels, seconds(value(&cpu.usage_core_nano_seconds)), cpu.timestamp / 1_000_000);
    }

    fn memory(&mut self, name: &str, labels: &[(&str, &str)], memory: &v1::MemoryUsage) {
        self.sample_at(name, labels, value(&memory.working_set_bytes), memory.timestamp / 1_000_000);
    }

    fn begin(&mut self, name: &str, labels: &[(&str, &str)]) {
        self.0.push_str(name);
        if labels.is_empty() {
            return;
        }
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", quoted(value))).collect();
        let _ = write!(self.0, "{{{}}}", labels.join(","));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_as_prometheus_reads_them() {
        let mut text = Text::default();
        text.family("a", "gauge", "What a is");
        text.sample("a", &[], 1);
        text.sample_at("a", &[("x", "q\"\\\n"), ("y", "")], seconds(1_500_000_000), 7);
        assert_eq!(text.0, "# HELP a What a is\n# TYPE a gauge\na 1\na{x=\"q\\\"\\\\\\n\",y=\"\"} 1.5 7\n");
    }
}
