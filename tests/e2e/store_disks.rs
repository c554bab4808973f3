//! Three API servers with one store, and disks that are full, slow or broken: the cluster goes on and says what is wrong.
//!
//! ```text
//!   full     the store's folder is a small filesystem, filled up and freed
//!   slow     each sync of the real process is held up      (strace's fault injection)
//!   broken   a sync fails with EIO                         (the same)
//! ```
//!
//! Nothing exits in any of them: each process is the one that was started.

use std::time::{Duration, Instant};

use harness::{host, root_or_skip};
use serde_json::{Value, json};

use crate::store_members::machine::{Admin, Machines};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// How long a change may take to show on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Size of a machine's store: its log's first segment, its state, and room.
const DISK_MIB: u32 = 64;
/// Bytes of an object: a few of them use up the room that the log has.
const OBJECT_BYTES: usize = 100_000;
/// How long a sync is held up; longer than what the store calls slow.
const SLOW_MICROS: u32 = 700_000;

#[test]
fn a_full_slow_or_broken_disk_degrades_and_says_so() {
    const NAME: &str = "a_full_slow_or_broken_disk_degrades_and_says_so";
    if !root_or_skip(NAME) {
        return;
    }
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        return harness::skip(NAME, "strace is not installed");
    }
    let guard = host::exclusive(NAME);
    let folder = tempfile::tempdir().expect("a folder");
    let mut machines = Machines::start_on_small_disks(&guard, folder.path(), DISK_MIB);
    let pids: Vec<u32> = (0..3).map(|at| machines.pid(at)).collect();

    let leader = machines.leader();
    let follower = (leader + 1) % 3;
    full_follower(&machines, leader, follower);
    full_leader(&machines, leader);
    slow_leader(&machines);
    assert_eq!((0..3).map(|at| machines.pid(at)).collect::<Vec<_>>(), pids, "nobody ended");
    broken_follower(&mut machines);
    drop(machines);
    guard.finish();
}

fn full_follower(machines: &Machines, leader: usize, follower: usize) {
    machines.fill(follower);
    until("the follower is full", || {
        write(machines, leader, "full");
        told(machines, follower)["diskFull"] == true
    });
    let status = machines.store(leader, &["status"]);
    assert_eq!(status.status.code(), Some(3), "degraded");
    assert!(String::from_utf8_lossy(&status.stdout).contains("its disk is full"), "{status:?}");
    assert_eq!(health(machines, follower, "/readyz"), 500);
    assert_eq!(health(machines, follower, "/livez"), 200);
    assert_eq!(health(machines, leader, "/readyz"), 200);
    // Who has a full disk still serves: reads from its state, writes by the leader.
    write(machines, follower, "through-the-full-one");
    machines.free(follower);
    until("it catches up", || told(machines, follower)["diskFull"] == false && holds(machines, follower));
    assert_eq!(health(machines, follower, "/readyz"), 200);
}

fn full_leader(machines: &Machines, leader: usize) {
    let writer = (leader + 1) % 3;
    machines.fill(leader);
    let begun = Instant::now();
    until("another one leads", || {
        write(machines, writer, "leader");
        told(machines, leader)["diskFull"] == true && machines.leader() != leader
    });
    println!("a leader with a full disk led no more after {:?}", begun.elapsed());
    let begun = Instant::now();
    (0..5).for_each(|_| write(machines, writer, "after"));
    println!("then 5 writes took {:?}", begun.elapsed());
    machines.free(leader);
    until("it catches up", || told(machines, leader)["diskFull"] == false && holds(machines, leader));
}

fn slow_leader(machines: &Machines) {
    let leader = machines.leader();
    let slow = machines.inject(leader, &format!("delay_enter={SLOW_MICROS}"));
    let begun = Instant::now();
    (0..3).for_each(|_| write(machines, leader, "slow"));
    println!("3 writes by a leader whose syncs take {SLOW_MICROS} us took {:?}", begun.elapsed());
    until("it is told", || {
        write(machines, leader, "slow");
        let status = machines.store(leader, &["status"]);
        String::from_utf8_lossy(&status.stdout).contains("its disk is slow")
    });
    until("the log tells it", || machines.said(leader).contains("slow disk: the store waited"));
    drop(slow);
    until("it is well again", || {
        write(machines, leader, "well");
        told(machines, leader)["lastSyncMicroseconds"]
            .as_u64()
            .is_some_and(|sync| sync < u64::from(SLOW_MICROS))
    });
}

fn broken_follower(machines: &mut Machines) {
    let leader = machines.leader();
    let follower = (leader + 1) % 3;
    let before = machines.pid(follower);
    let broken = machines.inject(follower, "error=EIO");
    until("its log failed", || {
        write(machines, leader, "broken");
        told(machines, follower)["logFailed"] == true
    });
    drop(broken);
    assert_eq!(machines.pid(follower), before, "its process lives");
    assert_eq!(health(machines, follower, "/livez"), 500, "a restart is what helps");
    machines.kill(follower);
    machines.restart(follower);
    // It may even lead again, where the others stood still meanwhile.
    let takes_part = |role: &Value| role == "follower" || role == "leader";
    until("it is back", || takes_part(&told(machines, follower)["role"]) && holds(machines, follower));
}

/// Writes an object through a machine's API. Each write is acknowledged within the patience.
fn write(machines: &Machines, at: usize, prefix: &str) {
    let admin = machines.admin(at);
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": format!("{prefix}-")}, "data": {"a": "x".repeat(OBJECT_BYTES)}});
    let begun = Instant::now();
    while inside(&admin, || admin.client.post(MAPS, &body).code) != 201 {
        assert!(begun.elapsed() < PATIENCE, "no write through machine {at}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether a machine's own state has what a read that is sure has.
fn holds(machines: &Machines, at: usize) -> bool {
    let admin = machines.admin(at);
    let count = |query: &str| {
        let list = admin.get_inside(&format!("{MAPS}{query}"));
        list["items"].as_array().map_or(0, Vec::len)
    };
    count("?resourceVersion=0") == count("") && count("") > 0
}

/// What a member says of itself.
fn told(machines: &Machines, at: usize) -> Value {
    let output = machines.store(at, &["status", "-o", "json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let own = |member: &&Value| member["name"] == format!("m{at}").as_str();
    told["members"].as_array().into_iter().flatten().find(own).cloned().unwrap_or_default()
}

fn health(machines: &Machines, at: usize, path: &str) -> u16 {
    let admin = machines.admin(at);
    inside(&admin, || admin.client.get(path).code)
}

fn inside<T: Send>(admin: &Admin, ask: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            admin.enter();
            ask()
        });
        asked.join().expect("an answer")
    })
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
