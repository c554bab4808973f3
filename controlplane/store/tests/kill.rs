//! SIGKILL at any moment: every acknowledged write is there, and no revision is used twice.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use keelson_store::{KeyRange, Operation, RangeRequest, SingleOptions, Store, Transaction, Urgency};

const FOLDER: &str = "KEELSON_STORE_KILL_FOLDER";
const ROUNDS: u32 = 12;

/// When a round's kill comes: so long after the start, perhaps while the store is opened, or after so many writes.
enum Moment {
    After(Duration),
    Acknowledged(u32),
}

fn moment(round: u32) -> Moment {
    match round % 3 {
        0 => Moment::After(Duration::from_millis(60 + u64::from(round) * 13)),
        _ => Moment::Acknowledged(10 + round * 7),
    }
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// The child: four writers, each acknowledged write printed as `ack key revision`; ends by a kill.
fn write_until_killed(folder: &OsStr) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let store =
        Store::open_single(Path::new(folder), SingleOptions { flush_entries: 50, ..Default::default() })
            .unwrap();
    let begin = store.state().revision().0;
    runtime.block_on(async {
        let writers = (0..4).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in 0.. {
                    let key = format!("{begin:06}.{writer}.{number:06}");
                    let value = key.clone().into_bytes();
                    let put = Operation::Put { key: key.clone().into(), value, lease: 0 };
                    let urgency = if writer == 3 { Urgency::Relaxed } else { Urgency::Now };
                    let transaction = Transaction { success: vec![put], ..Transaction::default() };
                    let reply = store.transact(transaction, urgency).await.unwrap();
                    println!("ack {key} {}", reply.revision);
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
    });
}

#[test]
fn acknowledged_writes_survive_a_kill() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return write_until_killed(&folder);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(String, u64)> = Vec::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", "acknowledged_writes_survive_a_kill", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped());
        // Nobody may outlive this test.
        child.process_group(0);
        let mut child = child.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let pid = child.id();
        let moment = moment(round);
        let mut in_this_round = 0;
        let killer = match moment {
            Moment::After(wait) => Some(std::thread::spawn(move || {
                std::thread::sleep(wait);
                kill(pid);
            })),
            Moment::Acknowledged(_) => None,
        };
        for line in lines.map_while(Result::ok) {
            // A killed process leaves its last line unfinished.
            let words: Vec<&str> = line.split(' ').collect();
            if let ["ack", key, revision] = words[..]
                && let Ok(revision) = revision.parse()
            {
                acknowledged.push((key.to_owned(), revision));
                in_this_round += 1;
                if matches!(moment, Moment::Acknowledged(wanted) if wanted == in_this_round) {
                    kill(pid);
                }
            }
        }
        // Before its PID is anybody's again.
        if let Some(killer) = killer {
            killer.join().unwrap();
        }
        child.wait().unwrap();
    }
    assert!(acknowledged.len() > 100, "{} writes are too few to show anything", acknowledged.len());

    let store = Store::open_single(folder.path(), SingleOptions::default()).unwrap();
    let all = RangeRequest { range: KeyRange::prefix(""), revision: None, limit: 0 };
    let records = store.state().range(&all).unwrap().records;
    let mut revisions: Vec<u64> = records.iter().map(|record| record.modified.0).collect();
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), records.len(), "each write has a revision of its own");
    // The last acknowledgement of a round can be cut in the middle of its number: prefixes count.
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|(key, revision)| {
            !records.iter().any(|record| {
                record.key[..] == *key.as_bytes()
                    && record.modified.0.to_string().starts_with(&revision.to_string())
            })
        })
        .collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}
