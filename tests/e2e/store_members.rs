//! Three API servers with one store, each a machine of its own: kills, stops and cut cables while all of them write.
//!
//! ```text
//!   m0 ─┐
//!   m1 ─┼─ switch        writers on every machine, over its own API server; faults hit whoever leads
//!   m2 ─┘
//! ```
//!
//! Afterwards every acknowledged object is on every member, and a watch from before the faults gives each event once,
//! in order, the same on all of them.

pub mod machine;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harness::{host, root_or_skip};
use machine::{Machines, START_LIMIT};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// How long writers go on after each fault is mended.
const CALM: Duration = Duration::from_secs(2);
/// Between a writer's writes: the history in which a watch may begin is bounded, and this is to stay within it.
const BETWEEN: Duration = Duration::from_millis(20);

/// What was acknowledged, and when.
type Acknowledged = Arc<Mutex<Vec<(String, Instant)>>>;

#[test]
fn no_acknowledged_write_is_lost_whatever_happens_to_the_leader() {
    if !root_or_skip("no_acknowledged_write_is_lost_whatever_happens_to_the_leader") {
        return;
    }
    let guard = host::exclusive("no_acknowledged_write_is_lost_whatever_happens_to_the_leader");
    let folder = tempfile::tempdir().unwrap();
    let mut machines = Machines::start(&guard, folder.path());
    let begin =
        machines.admin(0).get_inside(MAPS)["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Acknowledged::default());
    let writers: Vec<_> = (0..3).map(|at| write(&machines, at, &stop, &acknowledged)).collect();
    std::thread::sleep(CALM);

    let leader = machines.leader();
    let killed = Instant::now();
    machines.kill(leader);
    std::thread::sleep(CALM);
    println!("after a SIGKILL of the leader writes stood still for {:?}", pause(&acknowledged, killed));
    machines.restart(leader);

    let leader = machines.leader();
    let stopped = Instant::now();
    machines.signal(leader, "STOP");
    std::thread::sleep(CALM);
    println!("after a SIGSTOP of the leader writes stood still for {:?}", pause(&acknowledged, stopped));
    machines.signal(leader, "CONT");
    std::thread::sleep(CALM);

    let leader = machines.leader();
    let cut = Instant::now();
    machines.cable(leader, false);
    std::thread::sleep(CALM);
    println!("after the leader's cable was cut writes stood still for {:?}", pause(&acknowledged, cut));
    machines.cable(leader, true);
    std::thread::sleep(CALM);

    // What the leader sends arrives, what is sent to it does not: it must not lead on.
    let leader = machines.leader();
    let deaf = Instant::now();
    machines.deaf(leader, true);
    std::thread::sleep(CALM);
    println!("after the leader heard nobody writes stood still for {:?}", pause(&acknowledged, deaf));
    machines.deaf(leader, false);
    std::thread::sleep(CALM);

    stop.store(true, Ordering::Release);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let acknowledged: BTreeSet<String> =
        acknowledged.lock().unwrap().iter().map(|(name, _)| name.clone()).collect();
    println!("{} writes were acknowledged", acknowledged.len());
    assert!(acknowledged.len() > 100, "too few to show anything");
    let histories: Vec<_> = (0..3).map(|at| check(&machines, at, &begin, &acknowledged)).collect();
    assert_eq!(histories[0], histories[1], "all members tell the same history");
    assert_eq!(histories[0], histories[2], "all members tell the same history");
    let last = commands(&mut machines, folder.path());
    quorum_lost_for_good(&mut machines, last, acknowledged.len());
    drop(machines);
    guard.finish();
}

fn write(
    machines: &Machines,
    at: usize,
    stop: &Arc<AtomicBool>,
    acknowledged: &Acknowledged,
) -> std::thread::JoinHandle<()> {
    let admin = machines.admin(at);
    let (stop, acknowledged) = (stop.clone(), acknowledged.clone());
    std::thread::spawn(move || {
        admin.enter();
        for number in 0.. {
            if stop.load(Ordering::Acquire) {
                return;
            }
            let name = format!("w{at}-{number:05}");
            let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
            // A server that is gone panics the client.
            match catch_unwind(AssertUnwindSafe(|| admin.client.post(MAPS, &body).code)) {
                Ok(201) => {
                    acknowledged.lock().unwrap().push((name, Instant::now()));
                    std::thread::sleep(BETWEEN);
                }
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    })
}

/// The longest time without an acknowledgement since a moment.
fn pause(acknowledged: &Acknowledged, since: Instant) -> Duration {
    let mut last = since;
    let mut longest = Duration::ZERO;
    for (_, at) in acknowledged.lock().unwrap().iter().filter(|(_, at)| *at > since) {
        longest = longest.max(at.duration_since(last));
        last = *at;
    }
    longest.max(last.elapsed())
}

/// Everything acknowledged is there; gives the history since `begin` as this member tells it.
fn check(machines: &Machines, at: usize, begin: &str, acknowledged: &BTreeSet<String>) -> Vec<(u64, String)> {
    let admin = machines.admin(at);
    let all = admin.get_inside(MAPS);
    let last: u64 = all["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    let there: BTreeSet<String> = all["items"].as_array().unwrap().iter().map(name).collect();
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "member {at} lost {lost:?}");
    let made = there.iter().filter(|name| name.starts_with('w')).count();
    let path = format!("{MAPS}?watch=true&resourceVersion={begin}&timeoutSeconds=300");
    let history = machines.host(at).inside(|| {
        let mut watch = admin.client.watch(&path);
        let mut history: Vec<(u64, String)> = Vec::new();
        while history.len() < made {
            let event = watch.next_event().expect("an event");
            let object = &event["object"];
            let revision: u64 = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
            if !name(object).starts_with('w') {
                continue;
            }
            assert_eq!(event["type"], "ADDED", "each object was made once: {event}");
            assert!(history.last().is_none_or(|(before, _)| *before < revision), "in order: {event}");
            history.push((revision, name(object)));
        }
        history
    });
    assert!(history.iter().all(|(revision, _)| *revision <= last));
    history
}

/// The command line on a cluster that runs, one of whose members then dies for good. Gives the machine that leads the rest.
fn commands(machines: &mut Machines, folder: &std::path::Path) -> usize {
    let told = machines.until_healthy(0);
    assert_eq!(told["members"].as_array().unwrap().len(), 3);

    let follower = (machines.leader() + 1) % 3;
    // Each member says who leads as it last heard, and another may lead by now where one stood still.
    let begun = Instant::now();
    loop {
        let moved = machines.store(0, &["members", "transfer", &format!("m{follower}")]);
        assert!(moved.status.success(), "{}", String::from_utf8_lossy(&moved.stderr));
        if machines.leader() == follower {
            break;
        }
        assert!(begun.elapsed() < START_LIMIT, "m{follower} was to lead");
    }

    let file = folder.join("snapshot");
    let saved = machines.store(1, &["snapshot", file.to_str().unwrap()]);
    assert!(saved.status.success(), "{}", String::from_utf8_lossy(&saved.stderr));

    let dead = (follower + 1) % 3;
    machines.kill(dead);
    let degraded = machines.store(follower, &["status"]);
    assert_eq!(degraded.status.code(), Some(3), "{}", String::from_utf8_lossy(&degraded.stdout));
    let removed = machines.store(follower, &["members", "remove", &format!("m{dead}")]);
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    let listed = String::from_utf8(machines.store(follower, &["members"]).stdout).unwrap();
    assert_eq!(listed.lines().count(), 3, "{listed}");

    let refused = machines.restore(follower, &file);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is in use"), "{refused:?}");
    machines.empty(dead);
    let restored = machines.restore(dead, &file);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    follower
}

/// One of the two that are left is gone too: nothing is written any more, until somebody says that what is left shall
/// be the cluster, and is told what may be lost by it.
fn quorum_lost_for_good(machines: &mut Machines, last: usize, acknowledged: usize) {
    for at in (0..3).filter(|at| *at != last) {
        machines.kill(at);
    }
    let count = |machines: &Machines, query: &str| {
        let list = machines.admin(last).get_inside(&format!("{MAPS}{query}"));
        list["items"].as_array().map_or(0, Vec::len)
    };
    let before = count(machines, "?resourceVersion=0");
    assert!(before >= acknowledged, "what it has can be read: {before} of {acknowledged}");
    machines.kill(last);
    let asked = machines.store(last, &["recover"]);
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(!asked.status.success() && said.contains("--yes"), "{said}");
    let recovered = machines.store(last, &["recover", "--yes"]);
    assert!(recovered.status.success(), "{}", String::from_utf8_lossy(&recovered.stderr));
    println!("{}", String::from_utf8_lossy(&recovered.stdout));
    machines.restart(last);
    assert_eq!(count(machines, ""), before);
    assert_eq!(machines.until_healthy(last)["members"].as_array().map(Vec::len), Some(1));
}
