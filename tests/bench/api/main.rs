//! What the API costs: `cargo bench --bench api`, on demand.
//!
//! ```text
//! start ─► creates of 1, 10, 50 clients ─► pods ─► lists ─► watchers ─► deletion ─► idle ─► the same with more objects ─► definitions
//! ```
//!
//! One `keelson apiserver` on loopback; scheduler and controllers run beside it only where the row says "control plane", each
//! a process of its own (`--bench node` measures them as `keelson server` has them, in one). Memory is proportional, syncs
//! are the store's own count, as `/metrics` has it. Clients are blocking, one TLS
//! connection each, in this process, which takes its part of the machine. `KEELSON_BENCH_PROGRAM` measures another
//! executable, `KEELSON_BENCH_PODS` sets how many pods there are, `KEELSON_BENCH_OBJECTS` the longest curve,
//! `KEELSON_BENCH_DEFINITIONS` how many definitions; `KEELSON_BENCH_ONLY=definitions` leaves out the rest. Figures are
//! rows of a Markdown table; nothing is judged here.

mod definitions;
mod load;
mod process;

use std::time::{Duration, Instant};

use harness::api::Server;
use serde_json::json;

use load::{MAPS, PODS};

/// How long each load of creates lasts.
const LOAD: Duration = Duration::from_secs(5);
/// How long idle is measured.
const REST: Duration = Duration::from_secs(20);
const WATCHERS: usize = 1000;

fn main() {
    if !harness::root_or_skip("bench api") {
        return;
    }
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let (pods, most) =
        (number("KEELSON_BENCH_PODS").unwrap_or(10_000), number("KEELSON_BENCH_OBJECTS").unwrap_or(100_000));
    let program =
        std::env::var("KEELSON_BENCH_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_keelson").into());
    let defined = number("KEELSON_BENCH_DEFINITIONS").unwrap_or(1000);
    println!("| figure | value | N and load |\n|---|---|---|");
    if std::env::var("KEELSON_BENCH_ONLY").is_ok_and(|only| only == "definitions") {
        return definitions::measure(&program, defined);
    }
    let begun = Instant::now();
    let server = Server::start(&program);
    row("start to serving", &seconds(begun), "1 start, empty disk");
    row("memory, fresh", &mib(process::memory(server.pid())), "no objects");
    idle(&server, &[], "no objects");
    control_plane(&server, &program);
    for clients in [1, 10, 50] {
        let (rate, p50, p99) = load::creates(&server, MAPS, clients, LOAD, load::config_map);
        let value = format!("{rate:.0} per second, p50 {p50:.2} ms, p99 {p99:.2} ms");
        row("creates of ConfigMaps", &value, &format!("{clients} clients, {} s", LOAD.as_secs()));
    }
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    server.admin().post("/api/v1/namespaces/default/serviceaccounts", &account);
    let begun = Instant::now();
    load::fill(&server, PODS, pods, load::pod);
    let rate = pods as f64 / begun.elapsed().as_secs_f64();
    row(
        "creates of Pods",
        &format!("{rate:.0} per second"),
        &format!("{pods} pods, {} clients", load::FILLERS),
    );
    row("memory", &mib(process::memory(server.pid())), &format!("{pods} pods"));
    lists(&server, pods);
    watchers(&server);
    let begun = Instant::now();
    server.admin().delete(&format!("{PODS}?gracePeriodSeconds=0")).expect(200);
    row("deletion of the collection", &seconds(begun), &format!("{pods} pods"));
    idle(&server, &[], "after all this");
    drop(server);
    curves(&program, most);
    definitions::measure(&program, defined);
}

fn lists(server: &Server, pods: usize) {
    let admin = server.admin();
    let table = admin.with("accept", "application/json;as=Table;g=meta.k8s.io;v=v1");
    for (name, client) in [("JSON", &admin), ("Table", &table)] {
        let mut times: Vec<f64> = (0..5)
            .map(|_| {
                let begun = Instant::now();
                assert_eq!(client.get(PODS).code, 200);
                begun.elapsed().as_secs_f64() * 1000.0
            })
            .collect();
        times.sort_by(f64::total_cmp);
        row(&format!("list as {name}"), &format!("{:.0} ms", times[2]), &format!("{pods} pods, median of 5"));
    }
    process::forget_peak(server.pid());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| assert_eq!(server.admin().get(PODS).code, 200));
        }
    });
    let value = format!("{}, peak {}", seconds(begun), mib(process::peak(server.pid())));
    row("ten lists at once as JSON", &value, &format!("{pods} pods"));
}

fn watchers(server: &Server) {
    let mut times = load::watch(server, WATCHERS);
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() as f64 * share) as usize).min(times.len() - 1)];
    let value = format!("p50 {:.1} ms, p99 {:.1} ms", at(0.5), at(0.99));
    row("from a create to a watcher", &value, &format!("{WATCHERS} watchers, {} events each", load::EVENTS));
}

/// The API server at rest, with other parts of the control plane.
fn idle(server: &Server, others: &[u32], load: &str) {
    let pids: Vec<u32> = std::iter::once(server.pid()).chain(others.iter().copied()).collect();
    let cpu_seconds = || pids.iter().map(|pid| process::cpu_seconds(*pid)).sum::<f64>();
    let (cpu, written, syncs) = (cpu_seconds(), process::written(server.pid()), syncs(server));
    std::thread::sleep(REST);
    let each = |grown: f64| grown / REST.as_secs_f64();
    let cpu = each((cpu_seconds() - cpu) * 100.0);
    let written = each((process::written(server.pid()) - written) as f64 / 1024.0);
    let memory: u64 = pids.iter().map(|pid| process::memory(*pid)).sum();
    let syncs = each(self::syncs(server) - syncs);
    let value = format!(
        "{cpu:.2} % of a core, {syncs:.2} syncs and {written:.1} KiB per second to disk, {}",
        mib(memory)
    );
    row("idle", &value, &format!("{load}, {} s", REST.as_secs()));
}

/// Syncs of the store's log so far.
fn syncs(server: &Server) -> f64 {
    let text = server.admin().get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix("keelson_store_syncs_total "));
    line.and_then(|number| number.parse().ok()).expect("the count of syncs")
}

/// API, scheduler and controllers.
fn control_plane(server: &Server, program: &str) {
    let part = |name: &str| {
        let mut command = std::process::Command::new(program);
        command.arg(name).arg("--kubeconfig").arg(server.kubeconfig());
        command.args(["--leader-elect", "--leader-elect-identity", "bench"]);
        command.stderr(std::process::Stdio::null()).spawn().expect("a part starts")
    };
    let mut parts = [part("scheduler"), part("controllers")];
    // What they make at their start is not idle.
    std::thread::sleep(Duration::from_secs(5));
    idle(server, &parts.each_ref().map(std::process::Child::id), "control plane, no objects");
    for part in &mut parts {
        part.kill().and_then(|()| part.wait()).expect("its end");
    }
}

/// What grows with what exists.
fn curves(program: &str, most: usize) {
    let mut objects = 1000;
    while objects <= most {
        let server = Server::start(program);
        load::fill(&server, MAPS, objects, load::config_map);
        let memory = process::memory(server.pid());
        let admin = server.admin();
        let begun = Instant::now();
        assert_eq!(admin.get(MAPS).code, 200);
        let list = begun.elapsed().as_secs_f64() * 1000.0;
        let begun = Instant::now();
        let mut watch = admin.watch(&format!("{MAPS}?watch=true&resourceVersion=0&limit=1"));
        assert!(watch.next_event().is_some());
        let watching = begun.elapsed().as_secs_f64() * 1000.0;
        let (_, create, _) = load::creates(&server, MAPS, 1, Duration::from_secs(2), load::other_map);
        let value = format!(
            "list {list:.0} ms, first event of a watch {watching:.1} ms, create p50 {create:.2} ms, {} of memory",
            mib(memory)
        );
        row("ConfigMaps", &value, &format!("{objects} objects"));
        objects *= 10;
    }
}

fn row(figure: &str, value: &str, load: &str) {
    println!("| {figure} | {value} | {load} |");
}

fn seconds(begun: Instant) -> String {
    format!("{:.2} s", begun.elapsed().as_secs_f64())
}

fn mib(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / 1024.0 / 1024.0)
}
