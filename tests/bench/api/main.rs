//! What the API costs: `cargo bench --bench api`, on demand.
//!
//! ```text
//! start ─► creates of 1, 10, 50 clients ─► pods ─► lists ─► watchers ─► deletion ─► idle ─► the same with more objects
//! ```
//!
//! One `keelson apiserver` on loopback, nothing else: no scheduler, no controllers. Clients are blocking, one TLS
//! connection each, in this process, which takes its part of the machine. `KEELSON_BENCH_PROGRAM` measures another
//! executable, `KEELSON_BENCH_PODS` sets how many pods there are, `KEELSON_BENCH_OBJECTS` the longest curve. Figures are
//! rows of a Markdown table; nothing is judged here.

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
    println!("| figure | value | N and load |\n|---|---|---|");
    let begun = Instant::now();
    let server = Server::start(&program);
    row("start to serving", &seconds(begun), "1 start, empty disk");
    row("resident memory, fresh", &mib(process::resident(server.pid())), "no objects");
    idle(&server, "no objects");
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
    row("resident memory", &mib(process::resident(server.pid())), &format!("{pods} pods"));
    lists(&server, pods);
    watchers(&server);
    let begun = Instant::now();
    server.admin().delete(&format!("{PODS}?gracePeriodSeconds=0")).expect(200);
    row("deletion of the collection", &seconds(begun), &format!("{pods} pods"));
    idle(&server, "after all this");
    drop(server);
    curves(&program, most);
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

fn idle(server: &Server, load: &str) {
    let (cpu, written) = (process::cpu_seconds(server.pid()), process::written(server.pid()));
    std::thread::sleep(REST);
    let cpu = (process::cpu_seconds(server.pid()) - cpu) * 100.0 / REST.as_secs_f64();
    let written = (process::written(server.pid()) - written) as f64 / 1024.0 / REST.as_secs_f64();
    let value = format!("{cpu:.2} % of a core, {written:.1} KiB per second to disk");
    row("idle", &value, &format!("{load}, {} s", REST.as_secs()));
}

/// What grows with what exists.
fn curves(program: &str, most: usize) {
    let mut objects = 1000;
    while objects <= most {
        let server = Server::start(program);
        load::fill(&server, MAPS, objects, load::config_map);
        let memory = process::resident(server.pid());
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
            "list {list:.0} ms, first event of a watch {watching:.1} ms, create p50 {create:.2} ms, {} resident",
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
