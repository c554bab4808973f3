//! Clients that write, list and watch.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use harness::api::{EventLoop, Server, Watch};
use harness::process;
use serde_json::{Value, json};

pub const MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const PODS: &str = "/api/v1/namespaces/default/pods";
/// Clients that make objects for another measurement.
pub const FILLERS: usize = 16;
/// Creates that each watcher sees.
pub const EVENTS: usize = 20;
/// Threads of the program that watches.
pub const LOOPS: usize = 2;
/// Where watchers look: nothing else is there.
const WATCHED: &str = "/api/v1/namespaces/kube-public/configmaps";

pub fn config_map(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m-{number:08}")},
        "data": {"key": "v".repeat(200)}
    })
}

pub fn other_map(number: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("o-{number:08}")}, "data": {"key": "v"}})
}

/// A pod as deployments make them.
pub fn pod(number: usize) -> Value {
    let container = json!({
        "name": "web", "image": "registry.example/web:1.2.3", "ports": [{"containerPort": 8080}],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}
    });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("p-{number:08}"), "labels": {"app": "web", "tier": "front"}},
        "spec": {"containers": [container]}
    })
}

/// Creates for a while. Gives their rate and times in milliseconds at one half and 99 in a hundred.
pub fn creates(
    server: &Server,
    path: &str,
    clients: usize,
    length: Duration,
    object: fn(usize) -> Value,
) -> (f64, f64, f64) {
    // Names go on from the load before.
    static NEXT: AtomicUsize = AtomicUsize::new(10_000_000);
    let begun = Instant::now();
    let mut times: Vec<f64> = std::thread::scope(|scope| {
        let client = || {
            let admin = server.admin();
            let mut times = Vec::new();
            while begun.elapsed() < length {
                let body = object(NEXT.fetch_add(1, Ordering::Relaxed));
                let begun = Instant::now();
                admin.post(path, &body).expect(201);
                times.push(begun.elapsed().as_secs_f64() * 1000.0);
            }
            times
        };
        let all: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        all.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    });
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() as f64 * share) as usize).min(times.len() - 1)];
    (rate, at(0.5), at(0.99))
}

/// Makes so many objects.
pub fn fill(server: &Server, path: &str, count: usize, object: fn(usize) -> Value) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..FILLERS {
            scope.spawn(|| {
                let admin = server.admin();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    admin.post(path, &object(number)).expect(201);
                }
            });
        }
    });
}

/// Milliseconds from before each create to when its event was in each watcher's socket: nobody reads meanwhile, so the
/// machine is the server's alone. With microseconds of the server's CPU per event and watcher.
pub fn deliver(server: &Server, watchers: usize) -> (Vec<f64>, f64) {
    let admin = server.admin();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    let create = |name: String| {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        admin.post(WATCHED, &body).expect(201)["metadata"]["resourceVersion"]
            .as_str()
            .expect("a version")
            .to_owned()
    };
    let since = create("d-first".into());
    let path = format!("{WATCHED}?watch=true&resourceVersion={since}");
    let mut all: Vec<_> = (0..watchers).map(|_| admin.watch(&path)).collect();
    all.iter().for_each(Watch::note_arrivals);
    let (mut times, mut cpu) = (Vec::new(), 0.0);
    for number in 0..EVENTS {
        let (before, sent) = (process::cpu_seconds(server.pid()), now());
        create(format!("d-{number}"));
        std::thread::sleep(Duration::from_millis(300));
        cpu += process::cpu_seconds(server.pid()) - before;
        for watch in &mut all {
            times.push(watch.arrival().saturating_sub(sent).as_secs_f64() * 1000.0);
            watch.next_event().expect("an event");
        }
    }
    (times, cpu * 1e6 / (EVENTS * watchers) as f64)
}

/// Milliseconds from before each create to when each watcher had its event read and parsed. A program's watches share a few
/// threads that wait for all connections at once.
pub fn watch(server: &Server, watchers: usize) -> Vec<f64> {
    let ready = Barrier::new(LOOPS + 1);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_nanos();
    std::thread::scope(|scope| {
        let share = || {
            let admin = server.admin();
            let count = watchers / LOOPS;
            let all = (0..count).map(|_| admin.watch(&format!("{WATCHED}?watch=true"))).collect();
            let mut all = EventLoop::new(all);
            ready.wait();
            let mut times = Vec::new();
            while times.len() < EVENTS * count {
                all.turn(|_, line| {
                    let event: Value = serde_json::from_slice(line).expect("an event in JSON");
                    let Some(sent) = event["object"]["data"]["sent"].as_str() else { return };
                    let sent: u128 = sent.parse().expect("a time");
                    times.push((now() - sent) as f64 / 1e6);
                });
            }
            times
        };
        let all: Vec<_> = (0..LOOPS).map(|_| scope.spawn(share)).collect();
        ready.wait();
        let admin = server.admin();
        for number in 0..EVENTS {
            let body = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("w-{number}")},
                "data": {"sent": now().to_string()}
            });
            admin.post(WATCHED, &body).expect(201);
            std::thread::sleep(Duration::from_millis(300));
        }
        all.into_iter().flat_map(|watcher| watcher.join().expect("a watcher")).collect()
    })
}
