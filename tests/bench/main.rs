//! What a node costs and how fast it is: run it with `cargo bench --bench node`, on demand.
//!
//! ```text
//! executable: size, start ─► CNI ADD ─► node: start to Ready ─► idle: memory, CPU ─► 100 pods one by one ─► 20 pods: memory, CPU
//! ```
//!
//! The node is `keelson demo --keep`: everything real, in namespaces of its own. Figures are printed as the rows of a
//! Markdown table, with N and the load; nothing is judged here. `KEELSON_BENCH_ONLY=cni` ends after the third. Needs root and kubectl's place is taken by the API
//! itself.

mod cni;
mod node;
mod processes;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");
const STARTS: usize = 100;
const PODS_ONE_BY_ONE: usize = 100;
const PODS_AT_REST: usize = 20;
/// How long CPU time is added up.
const REST: Duration = Duration::from_secs(60);

fn main() {
    if !harness::root_or_skip("bench node") {
        return;
    }
    let seconds = std::env::var("KEELSON_BENCH_SECONDS").ok().and_then(|text| text.parse().ok());
    let rest = seconds.map_or(REST, Duration::from_secs);
    println!("| figure | value | N and load |\n|---|---|---|");
    let only = std::env::var("KEELSON_BENCH_ONLY").unwrap_or_default();
    executable();
    cni::measure();
    if only == "cni" {
        return;
    }
    let node = node::BenchNode::start();
    row(
        "start of all processes to node Ready",
        &format!("{:.2} s", node.ready_seconds),
        "1 start, empty disk",
    );
    node.clear();
    at_rest(&node, "no pods", rest);
    one_by_one(&node);
    node.run(PODS_AT_REST);
    at_rest(&node, &format!("{PODS_AT_REST} pods"), rest);
}

fn row(figure: &str, value: &str, load: &str) {
    println!("| {figure} | {value} | {load} |");
}

fn executable() {
    let bytes = std::fs::metadata(KEELSON).expect("the executable").len();
    row("size of the one file", &format!("{:.1} MB", bytes as f64 / 1e6), "with line tables of our own code");
    let mut starts: Vec<f64> = (0..STARTS)
        .map(|_| {
            let began = Instant::now();
            let status =
                Command::new(KEELSON).arg("version").stdout(Stdio::null()).status().expect("it runs");
            assert!(status.success(), "keelson version: {status}");
            began.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    let (median, least) = (quantile(&mut starts, 0.5), starts[0]);
    row(
        "`keelson version`, start to end",
        &format!("{median:.2} ms, best {least:.2}"),
        &format!("median of {STARTS}"),
    );
}

/// Proportional memory now, CPU time over a while.
fn at_rest(node: &node::BenchNode, load: &str, rest: Duration) {
    let before = processes::cpu(node.init);
    std::thread::sleep(rest);
    let after = processes::cpu(node.init);
    let mut total = (0, 0.0);
    for (name, kilobytes) in processes::memory(node.init) {
        let used = after.get(&name).copied().unwrap_or(0.0) - before.get(&name).copied().unwrap_or(0.0);
        let percent = used * 100.0 / rest.as_secs_f64();
        total = (total.0 + kilobytes, total.1 + percent);
        let value = format!("{:.1} MB, {percent:.2} % of a core", kilobytes as f64 / 1024.0);
        row(&format!("{name}: proportional memory, CPU"), &value, &format!("{load}, {} s", rest.as_secs()));
    }
    let value = format!("{:.1} MB, {:.2} % of a core", total.0 as f64 / 1024.0, total.1);
    row("all of them", &value, &format!("{load}, {} s", rest.as_secs()));
}

fn one_by_one(node: &node::BenchNode) {
    let mut times: Vec<f64> = (0..PODS_ONE_BY_ONE)
        .map(|number| node.pod_ready(&format!("one-{number}")).as_secs_f64() * 1000.0)
        .collect();
    let (median, most) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    let value = format!("p50 {median:.0} ms, p99 {most:.0} ms");
    row(
        "pod created to Ready, image present",
        &value,
        &format!("{PODS_ONE_BY_ONE} pods, one after the other"),
    );
}

/// Sorts, and takes the value below which a share of all is.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * share).ceil() as usize;
    values[at.clamp(1, values.len()) - 1]
}
