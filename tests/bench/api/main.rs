//! What the API costs: `cargo bench --bench api`, on demand.
//!
//! ```text
//! start ─► creates of 1, 10, 50 clients ─► pods ─► lists ─► watchers ─► deletion ─► idle ─► the same with more objects ─► definitions
//! ```
//!
//! One `keelson apiserver` on loopback; scheduler and controllers run beside it only where the row says "control plane", each
//! a process of its own (`--bench node` measures them as `keelson server` has them, in one). Memory is proportional, syncs
//! are the store's own count, as `/metrics` has it. Clients are blocking, one TLS
//! connection each, in this process, which takes its part of the machine; watchers share two threads. The last column is for orientation:
//! kube-apiserver 1.36 and etcd 3.5 on another machine of two cores.
//!
//! `--only start,idle,creates,lists,watchers,deletion,curves,definitions` measures a part. `KEELSON_BENCH_PROGRAM` measures another
//! executable, `KEELSON_BENCH_PODS` sets how many pods there are, `KEELSON_BENCH_OBJECTS` the longest curve,
//! `KEELSON_BENCH_DEFINITIONS` how many definitions. Figures are
//! rows of a Markdown table; nothing is judged here.

mod definitions;
mod load;

use std::time::{Duration, Instant};

use harness::api::Server;
use harness::process;
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
    let only = only();
    let wanted = |part: &str| only.is_empty() || only.iter().any(|name| name == part);
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let (pods, most) =
        (number("KEELSON_BENCH_PODS").unwrap_or(10_000), number("KEELSON_BENCH_OBJECTS").unwrap_or(100_000));
    let program =
        std::env::var("KEELSON_BENCH_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_keelson").into());
    let defined = number("KEELSON_BENCH_DEFINITIONS").unwrap_or(1000);
    println!("| figure | value | N and load | for orientation |\n|---|---|---|---|");
    let begun = Instant::now();
    let server = Server::start(&program);
    if wanted("start") {
        row("start to serving", &seconds(begun), "1 start, empty disk", "2-3 s");
        row("memory, fresh", &mib(process::proportional(server.pid())), "no objects", "267 + 44 MiB");
    }
    if wanted("idle") {
        idle(&server, &[], "no objects", "");
        control_plane(&server, &program);
    }
    if wanted("creates") {
        for (clients, upstream) in [(1, "722"), (10, "1,266"), (50, "1,722")] {
            let (rate, p50, p99) = load::creates(&server, MAPS, clients, LOAD, load::config_map);
            let value = format!("{rate:.0} per second, p50 {p50:.2} ms, p99 {p99:.2} ms");
            let load = format!("{clients} clients, {} s", LOAD.as_secs());
            row("creates of ConfigMaps", &value, &load, upstream);
        }
    }
    if ["lists", "watchers", "deletion"].into_iter().any(wanted) {
        with_pods(&server, pods, wanted);
    }
    if wanted("idle") {
        idle(&server, &[], "after all this", "");
    }
    drop(server);
    if wanted("curves") {
        curves(&program, most);
    }
    if wanted("definitions") {
        definitions::measure(&program, defined);
    }
}

/// What `--only` names.
fn only() -> Vec<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--only").skip(1);
    arguments.next().map(|names| names.split(',').map(str::to_owned).collect()).unwrap_or_default()
}

fn with_pods(server: &Server, pods: usize, wanted: impl Fn(&str) -> bool) {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    server.admin().post("/api/v1/namespaces/default/serviceaccounts", &account);
    let before = process::proportional(server.pid());
    let begun = Instant::now();
    load::fill(server, PODS, pods, load::pod);
    let rate = pods as f64 / begun.elapsed().as_secs_f64();
    let load = format!("{pods} pods, {} clients", load::FILLERS);
    row("creates of Pods", &format!("{rate:.0} per second"), &load, "1,469");
    let memory = process::proportional(server.pid());
    let each = memory.saturating_sub(before) as f64 / pods.max(1) as f64;
    let value = format!("{}, {each:.1} KiB more per pod", mib(memory));
    row("memory", &value, &format!("{pods} pods"), "");
    if wanted("lists") {
        lists(server, pods);
    }
    if wanted("watchers") {
        watchers(server);
    }
    if wanted("deletion") {
        let begun = Instant::now();
        server.admin().delete(&format!("{PODS}?gracePeriodSeconds=0")).expect(200);
        row("deletion of the collection", &seconds(begun), &format!("{pods} pods"), "21.7 s");
    }
}

/// One list after the other, and ten at once, in each form.
fn lists(server: &Server, pods: usize) {
    let admin = server.admin();
    for (form, accept, alone, ten) in [
        ("JSON", "application/json", "344 ms", "1.3 GiB"),
        ("Table", "application/json;as=Table;g=meta.k8s.io;v=v1", "165 ms", ""),
        ("protobuf", "application/vnd.kubernetes.protobuf", "", ""),
    ] {
        let client = admin.with("accept", accept);
        let mut times: Vec<f64> = (0..5)
            .map(|_| {
                let begun = Instant::now();
                assert_eq!(client.get(PODS).code, 200);
                begun.elapsed().as_secs_f64() * 1000.0
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let value = format!("{:.0} ms", times[2]);
        row(&format!("list as {form}"), &value, &format!("{pods} pods, median of 5"), alone);
        process::forget_peak(server.pid());
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| assert_eq!(admin.with("accept", accept).get(PODS).code, 200));
            }
        });
        let value = format!("{}, peak {}", seconds(begun), mib(process::peak(server.pid())));
        row(&format!("ten lists at once as {form}"), &value, &format!("{pods} pods"), ten);
    }
}

fn watchers(server: &Server) {
    let (times, cpu) = load::deliver(server, WATCHERS);
    let value = format!("{}, {cpu:.1} µs of the server's CPU each", half_and_most(times));
    let load = format!("{WATCHERS} watchers, {} events each, nobody reads meanwhile", load::EVENTS);
    row("from a create to a watcher's socket", &value, &load, "");
    let value = half_and_most(load::watch(server, WATCHERS));
    let load = format!(
        "{WATCHERS} watchers, {} events each, a connection each, {} threads of one program that reads and parses them",
        load::EVENTS,
        load::LOOPS
    );
    row("from a create to a watcher", &value, &load, "p50 18 ms, p99 84 ms");
}

fn half_and_most(mut times: Vec<f64>) -> String {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() as f64 * share) as usize).min(times.len() - 1)];
    format!("p50 {:.1} ms, p99 {:.1} ms", at(0.5), at(0.99))
}

/// The API server at rest, with other parts of the control plane.
fn idle(server: &Server, others: &[u32], load: &str, upstream: &str) {
    let pids: Vec<u32> = std::iter::once(server.pid()).chain(others.iter().copied()).collect();
    let cpu_seconds = || pids.iter().map(|pid| process::cpu_seconds(*pid)).sum::<f64>();
    let (cpu, written, syncs) = (cpu_seconds(), process::written(server.pid()), syncs(server));
    std::thread::sleep(REST);
    let each = |grown: f64| grown / REST.as_secs_f64();
    let cpu = each((cpu_seconds() - cpu) * 100.0);
    let written = each((process::written(server.pid()) - written) as f64 / 1024.0);
    let memory: u64 = pids.iter().map(|pid| process::proportional(*pid)).sum();
    let syncs = each(self::syncs(server) - syncs);
    let value = format!(
        "{cpu:.2} % of a core, {syncs:.2} syncs and {written:.1} KiB per second to disk, {}",
        mib(memory)
    );
    row("idle", &value, &format!("{load}, {} s", REST.as_secs()), upstream);
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
    let pids = parts.each_ref().map(std::process::Child::id);
    idle(server, &pids, "control plane, no objects", "503 MiB, 8 % of a core");
    for part in &mut parts {
        part.kill().and_then(|()| part.wait()).expect("its end");
    }
}

/// What grows with what exists.
fn curves(program: &str, most: usize) {
    let mut objects = 1000;
    while objects <= most {
        let server = Server::start(program);
        let fresh = process::proportional(server.pid());
        load::fill(&server, MAPS, objects, load::config_map);
        let memory = process::proportional(server.pid());
        let each = memory.saturating_sub(fresh) as f64 / objects as f64;
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
            "list {list:.0} ms, first event of a watch {watching:.1} ms, create p50 {create:.2} ms, {} of memory, {each:.1} KiB more per object",
            mib(memory)
        );
        row("ConfigMaps", &value, &format!("{objects} objects"), "");
        objects *= 10;
    }
}

fn row(figure: &str, value: &str, load: &str, upstream: &str) {
    println!("| {figure} | {value} | {load} | {upstream} |");
}

fn seconds(begun: Instant) -> String {
    format!("{:.2} s", begun.elapsed().as_secs_f64())
}

fn mib(kilobytes: u64) -> String {
    format!("{:.0} MiB", kilobytes as f64 / 1024.0)
}
