//! The API over kills and crowds: conflicts, watches across a SIGKILL, the disk before the answer, one process.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use harness::api::Server;
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}})
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().expect("a revision").parse().expect("a number")
}

#[test]
fn of_a_thousand_conflicting_updates_one_per_revision_wins() {
    const WRITERS: usize = 8;
    const EACH: usize = 125;
    let server = Server::start(PROGRAM);
    let path = format!("{MAPS}/contended");
    let first = revision(&server.admin().post(MAPS, &map("contended", "")).expect(201));
    let won: Mutex<BTreeMap<u64, usize>> = Mutex::default();
    let lost = Mutex::new(0_usize);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (server, path, won, lost) = (&server, &path, &won, &lost);
            scope.spawn(move || {
                let client = server.admin();
                for turn in 0..EACH {
                    let mut object = client.get(path).expect(200);
                    let read = revision(&object);
                    object["data"]["value"] = format!("{writer}-{turn}").into();
                    let answer = client.put(path, &object);
                    if answer.code == 200 {
                        assert!(revision(&answer.json()) > read);
                        *won.lock().unwrap().entry(read).or_default() += 1;
                    } else {
                        answer.refused(
                            409,
                            "Conflict",
                            "the object has been modified; please apply your changes",
                        );
                        *lost.lock().unwrap() += 1;
                    }
                }
            });
        }
    });
    let (won, lost) = (won.into_inner().unwrap(), lost.into_inner().unwrap());
    assert_eq!(won.len() + lost, WRITERS * EACH);
    assert!(won.values().all(|wins| *wins == 1), "a revision was replaced twice: {won:?}");
    assert!(won.contains_key(&first) && lost > 0, "{} won, {lost} lost", won.len());
}

#[test]
fn a_watch_goes_on_over_a_sigkill_without_loss_or_repetition() {
    const BEFORE: usize = 20;
    const AFTER: usize = 5;
    let mut server = Server::start(PROGRAM);
    let admin = server.admin();
    let start = admin.get(MAPS).expect(200)["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut watch = admin.watch(&format!("{MAPS}?watch=true&resourceVersion={start}"));
    let mut made = Vec::new();
    for number in 0..BEFORE {
        made.push(revision(&admin.post(MAPS, &map(&format!("m{number}"), "")).expect(201)));
    }
    let mut seen = Vec::new();
    while seen.len() < BEFORE / 2 {
        seen.push(revision(&watch.next_event().expect("an event")["object"]));
    }
    server.kill();
    server.restart();
    let admin = server.admin();
    let last = seen.last().copied().expect("events");
    let mut watch = admin.watch(&format!("{MAPS}?watch=true&resourceVersion={last}"));
    for number in BEFORE..BEFORE + AFTER {
        made.push(revision(&admin.post(MAPS, &map(&format!("m{number}"), "")).expect(201)));
    }
    while seen.len() < made.len() {
        let event = watch.next_event().expect("an event");
        assert_eq!(event["type"], "ADDED", "{event}");
        seen.push(revision(&event["object"]));
    }
    assert_eq!(seen, made, "each event once, in order");
    let all = admin.get(MAPS).expect(200);
    assert_eq!(
        all["items"].as_array().expect("items").len(),
        made.len(),
        "every acknowledged write is there"
    );
    assert!(revision(&all) >= *made.last().expect("revisions"));
}

#[test]
fn history_that_is_gone_is_answered_with_410() {
    let mut server = Server::start_with(PROGRAM, &["--compaction-interval-seconds", "1"]);
    let admin = server.admin();
    for name in ["a", "b", "c"] {
        admin.post(MAPS, &map(name, "")).expect(201);
    }
    let page = admin.get(&format!("{MAPS}?limit=1")).expect(200);
    let old = revision(&page);
    let token = page["metadata"]["continue"].as_str().expect("there is more").to_owned();
    // The history is cut an interval after a newer revision: wait for the continue to say so.
    let expired = (0..1200).find_map(|number| {
        admin.put(&format!("{MAPS}/a"), &map("a", &number.to_string())).expect(200);
        let answer = admin.get(&format!("{MAPS}?limit=1&continue={token}"));
        std::thread::sleep(std::time::Duration::from_millis(100));
        (answer.code != 200).then_some(answer)
    });
    expired.expect("a continue that expires").refused(
        410,
        "Expired",
        "too old to display a consistent list result",
    );
    // After a restart the ring of changes holds no more than the store.
    server.kill();
    server.restart();
    let admin = server.admin();
    let mut watch = admin.watch(&format!("{MAPS}?watch=true&resourceVersion={old}"));
    let event = watch.next_event().expect("an answer");
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)), "{event}");
    assert_eq!(event["object"]["reason"], "Expired", "{event}");
    assert!(watch.next_event().is_none(), "the stream ends behind it");
}

#[test]
fn the_disk_has_a_create_before_its_answer() {
    const TEST: &str = "the_disk_has_a_create_before_its_answer";
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        return harness::skip(TEST, "strace is not installed");
    }
    let mut server = Server::start(PROGRAM);
    let admin = server.admin();
    admin.get("/version").expect(200);
    let trace = server.scratch("trace");
    let mut strace = Command::new("strace")
        .args(["-f", "-e", "trace=fdatasync", "-o"])
        .arg(&trace)
        .args(["-p", &server.pid().to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace");
    let mut said = std::io::BufReader::new(strace.stderr.take().expect("its standard error"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).expect("what strace says");
    if !line.contains("attached") {
        let _ = strace.kill();
        let _ = strace.wait();
        return harness::skip(TEST, line.trim());
    }
    let synced = || {
        let text = std::fs::read_to_string(&trace).expect("the trace");
        // A call that another thread interrupts is shown in two lines: its end counts.
        text.lines().filter(|line| line.contains("fdatasync") && line.contains(" = 0")).count()
    };
    for number in 0..20 {
        let before = synced();
        admin.post(MAPS, &map(&format!("m{number}"), "")).expect(201);
        assert!(synced() > before, "create {number} was answered without an fdatasync");
    }
    // It ends with the server, before the host is compared.
    server.kill();
    let _ = strace.wait();
}

#[test]
fn a_second_process_and_a_taken_port_are_refused_with_a_sentence() {
    let server = Server::start(PROGRAM);
    let refused = |data: &std::path::Path, port: u16| {
        let output = Command::new(PROGRAM)
            .args(["apiserver", "--bind-address", "127.0.0.1", "--secure-port", &port.to_string()])
            .arg("--data-dir")
            .arg(data)
            .arg("--write-kubeconfig")
            .arg(server.scratch("second.conf"))
            .output()
            .expect("a second server");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).expect("text")
    };
    let said = refused(&server.data(), 0);
    assert!(said.contains("in use by another process; stop it first"), "{said}");
    let said = refused(&server.scratch("elsewhere"), server.address().port());
    assert!(said.contains(&server.address().to_string()) && said.contains("in use"), "{said}");
    server.admin().get(MAPS).expect(200);
}
