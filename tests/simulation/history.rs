//! What clients did and saw, and whether one order explains it.
//!
//! Each key is a register. Its history is linearizable where some order of the operations that lies within their times
//! gives every answer. Operations whose fate is not known may be anywhere after their begin, or nowhere.
//!
//! The search is Wing and Gong's with a memory of what was tried: a set of done operations and the value after them.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keelson_store::{OperationReply, ProposeError, Revision, Transaction, Urgency};

use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use super::random::Random;

/// Operations on one key, so that a set of them is a number.
const KEY_OPERATIONS: usize = 120;
/// Keys that are in use at a time.
const KEYS: u64 = 3;

/// What one operation did. Values are unique; 0 is absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Read(u64),
    Write(u64),
    /// Wrote the second where the first was.
    Replaced(u64, u64),
    /// Found something else than the first there: the third.
    NotReplaced(u64, u64),
    /// A replacement of which nothing is known.
    MayReplace(u64, u64),
    /// A write of which nothing is known.
    MayWrite(u64),
}

#[derive(Clone, Copy, Debug)]
struct Done {
    action: Action,
    begun: Instant,
    /// `None`: not known to have ended.
    ended: Option<Instant>,
}

/// All operations by key.
#[derive(Debug, Default)]
pub struct History {
    keys: Mutex<BTreeMap<u64, Vec<Done>>>,
    next: Mutex<u64>,
}

impl History {
    pub fn len(&self) -> usize {
        self.keys.lock().unwrap().values().map(Vec::len).sum()
    }

    /// A key that still has room, and a value that nobody has written.
    fn ticket(&self, random: &mut Random) -> (u64, u64) {
        let mut next = self.next.lock().unwrap();
        *next += 1;
        let generation = self.keys.lock().unwrap();
        let mut key = random.below(KEYS);
        // Some may still be under way: a margin of one per client.
        while generation.get(&key).is_some_and(|done| done.len() + 20 > KEY_OPERATIONS) {
            key += KEYS;
        }
        (key, *next)
    }

    fn add(&self, key: u64, done: Done) {
        self.keys.lock().unwrap().entry(key).or_default().push(done);
    }

    /// Insists that every key's history is linearizable.
    pub fn check(&self) {
        for (key, operations) in &*self.keys.lock().unwrap() {
            let mut operations = operations.clone();
            operations.sort_by_key(|done| done.begun);
            assert!(operations.len() <= 128, "key {key} has too many operations to check");
            if !linearizable(&operations) {
                let begin = operations[0].begun;
                for done in &operations {
                    let at = |instant: Instant| instant.duration_since(begin).as_micros();
                    println!("  {:>9} .. {:>9?} {:?}", at(done.begun), done.ended.map(at), done.action);
                }
                panic!("the history of key {key} is not linearizable");
            }
        }
    }
}

/// The value after an operation, where it can happen at this value.
fn step(action: Action, value: u64) -> Option<u64> {
    match action {
        Action::Read(seen) => (seen == value).then_some(value),
        Action::Write(new) | Action::MayWrite(new) => Some(new),
        Action::Replaced(old, new) => (old == value).then_some(new),
        Action::NotReplaced(old, seen) => (old != value && seen == value).then_some(value),
        Action::MayReplace(old, new) => Some(if old == value { new } else { value }),
    }
}

fn linearizable(operations: &[Done]) -> bool {
    let must: u128 =
        (0..operations.len()).filter(|at| operations[*at].ended.is_some()).fold(0, |set, at| set | 1 << at);
    let mut tried: HashSet<(u128, u64)> = HashSet::new();
    let mut open = vec![(0_u128, 0_u64)];
    while let Some((done, value)) = open.pop() {
        if done & must == must {
            return true;
        }
        if !tried.insert((done, value)) {
            continue;
        }
        let waiting = || (0..operations.len()).filter(|at| done & (1 << at) == 0);
        // Nothing that begins after another one has ended can come before it.
        let bound = waiting().filter_map(|at| operations[at].ended).min();
        for at in waiting() {
            if bound.is_some_and(|bound| operations[at].begun > bound) {
                break;
            }
            if let Some(next) = step(operations[at].action, value) {
                open.push((done | 1 << at, next));
            }
        }
    }
    false
}

/// Reads, writes and replaces until it is stopped.
pub async fn client(
    cluster: Arc<Cluster>,
    history: Arc<History>,
    client: usize,
    mut random: Random,
    stop: CancellationToken,
) {
    // An operation that is under way is waited for: another client may have seen what it did.
    while !stop.is_cancelled() {
        let at = (client + random.below(4) as usize / 3) % 3;
        let Some(store) = cluster.store(at) else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let (key, value) = history.ticket(&mut random);
        let path = format!("key{key:05}").into_bytes();
        let begun = Instant::now();
        let read = || -> Option<(u64, Revision)> {
            let (_, found) = store.state().get(&path).ok()?;
            Some(found.map_or((0, Revision(0)), |record| (number(&record.value), record.modified)))
        };
        let action = match random.below(3) {
            0 => match store.barrier().await {
                Ok(()) => read().map(|(seen, _)| (Action::Read(seen), true)),
                Err(_) => None,
            },
            1 => {
                let put = Transaction {
                    success: vec![keelson_store::Operation::Put {
                        key: path.clone(),
                        value: bytes(value),
                        lease: 0,
                    }],
                    ..Transaction::default()
                };
                match store.transact(put, Urgency::Now).await {
                    Ok(_) => Some((Action::Write(value), true)),
                    Err(error) => unknown(&error).then_some((Action::MayWrite(value), false)),
                }
            }
            // What this member has may be old: the comparison finds out.
            _ => match read() {
                Some((old, expected)) => replace(&store, path.clone(), (old, expected), value).await,
                None => None,
            },
        };
        if let Some((action, known)) = action {
            history.add(key, Done { action, begun, ended: known.then(Instant::now) });
        }
        drop(store);
        tokio::time::sleep(Duration::from_millis(random.below(15))).await;
    }
}

async fn replace(
    store: &keelson_store::Store,
    path: Vec<u8>,
    (old, expected): (u64, Revision),
    value: u64,
) -> Option<(Action, bool)> {
    match store.transact(Transaction::put_if(path, expected, bytes(value), 0), Urgency::Now).await {
        Ok(reply) if reply.succeeded => Some((Action::Replaced(old, value), true)),
        Ok(reply) => match &reply.results[0] {
            OperationReply::Got(found) => {
                let seen = found.as_ref().map_or(0, |record| number(&record.value));
                Some((Action::NotReplaced(old, seen), true))
            }
            other => panic!("a read was answered by {other:?}"),
        },
        Err(error) => unknown(&error).then_some((Action::MayReplace(old, value), false)),
    }
}

/// Whether the command may have been carried out all the same.
fn unknown(error: &ProposeError) -> bool {
    !matches!(error, ProposeError::Unavailable(_) | ProposeError::Refused(_) | ProposeError::DiskFull(_))
}

fn bytes(value: u64) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn number(bytes: &[u8]) -> u64 {
    std::str::from_utf8(bytes).unwrap().parse().unwrap()
}

#[test]
fn the_checker_knows_good_histories_from_bad_ones() {
    let zero = Instant::now();
    let at = |millis| zero + Duration::from_millis(millis);
    let done = |begin, end, action| Done { action, begun: at(begin), ended: Some(at(end)) };
    let lost = |begin, action| Done { action, begun: at(begin), ended: None };
    use Action::{MayReplace, MayWrite, NotReplaced, Read, Replaced, Write};
    for (expected, operations) in [
        (true, vec![done(0, 1, Write(1)), done(2, 3, Read(1))]),
        (false, vec![done(0, 1, Write(1)), done(2, 3, Read(0))]),
        (true, vec![done(0, 5, Write(1)), done(1, 2, Read(0)), done(3, 4, Read(1))]),
        (false, vec![done(0, 5, Write(1)), done(1, 2, Read(1)), done(3, 4, Read(0))]),
        (true, vec![lost(0, MayWrite(1)), done(5, 6, Read(0)), done(7, 8, Read(1))]),
        (true, vec![lost(0, MayWrite(1)), done(5, 6, Read(0))]),
        (false, vec![done(0, 1, Write(1)), done(2, 3, Replaced(1, 2)), done(4, 5, Replaced(1, 3))]),
        (true, vec![done(0, 1, Write(1)), done(2, 9, Replaced(1, 2)), done(3, 8, NotReplaced(1, 2))]),
        (false, vec![done(0, 1, Write(1)), done(2, 3, NotReplaced(1, 1))]),
        (
            true,
            vec![done(0, 1, Write(1)), lost(2, MayReplace(1, 2)), done(3, 4, Read(1)), done(5, 6, Read(2))],
        ),
    ] {
        assert_eq!(linearizable(&operations), expected, "{operations:?}");
    }
}
