//! What every consensus must give the store's users; run against each implementation.

mod cluster;
mod failures;
mod membership;

use std::path::Path;

use keelson_store::{
    Command, Compare, EventKind, Field, KeyRange, Operation, OperationReply, ProposeError, RangeRequest,
    ReadError, Reply, Revision, SingleOptions, Store, Transaction, Urgency, WatchError,
};

/// A store that can be opened again.
type Open = fn(&Path) -> Store;

/// The implementations of one member.
const ALONE: &[Open] = &[
    |folder| Store::open_single(folder, SingleOptions::default()).expect("the store opens"),
    |folder| cluster::open_one(folder, 20_000),
];

/// Runs a check against every implementation: one member of each kind, the leader of three, and a follower.
async fn each(check: impl AsyncFn(Store)) {
    for open in ALONE {
        let folder = tempfile::tempdir().unwrap();
        check(open(folder.path())).await;
    }
    for leads in [true, false] {
        let cluster = cluster::Cluster::start(3).await;
        let at = if leads { cluster.leader().await } else { cluster.follower().await };
        check(cluster.store(at).clone()).await;
    }
}

pub async fn put(store: &Store, key: &str, value: &str) -> Revision {
    store.transact(putting(key, value), Urgency::Now).await.expect("a put").revision
}

/// A write of one key, whatever is there.
pub fn putting(key: &str, value: &str) -> Transaction {
    let operation = Operation::Put { key: key.into(), value: value.into(), lease: 0 };
    Transaction { success: vec![operation], ..Transaction::default() }
}

async fn delete(store: &Store, prefix: &str) -> Revision {
    let transaction =
        Transaction { success: vec![Operation::Delete(KeyRange::prefix(prefix))], ..Transaction::default() };
    store.transact(transaction, Urgency::Now).await.expect("a delete").revision
}

pub fn list(
    store: &Store,
    prefix: &str,
    revision: Option<Revision>,
    limit: usize,
) -> Result<String, ReadError> {
    let page = store.state().range(&RangeRequest { range: KeyRange::prefix(prefix), revision, limit })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let records: Vec<String> =
        page.records.iter().map(|r| format!("{}={}", text(&r.key), text(&r.value))).collect();
    Ok(format!("{}+{}", records.join(" "), page.remaining))
}

#[tokio::test]
async fn a_revision_is_a_transaction_that_writes() {
    each(async |store| {
        assert_eq!(store.state().revision(), Revision(0));
        assert_eq!(put(&store, "a", "1").await, Revision(1));
        assert_eq!(put(&store, "b", "1").await, Revision(2));
        let read_only = Transaction { success: vec![Operation::Get("a".into())], ..Transaction::default() };
        assert_eq!(store.transact(read_only, Urgency::Now).await.unwrap().revision, Revision(2));
        assert_eq!(delete(&store, "nothing").await, Revision(2));
        let both = Transaction {
            success: vec![
                Operation::Put { key: "a".into(), value: "2".into(), lease: 0 },
                Operation::Delete(KeyRange::one("b")),
                Operation::Get("a".into()),
            ],
            ..Transaction::default()
        };
        let reply = store.transact(both, Urgency::Now).await.unwrap();
        assert_eq!(reply.revision, Revision(3));
        let OperationReply::Got(Some(a)) = &reply.results[2] else { panic!("{reply:?}") };
        assert_eq!((a.created, a.modified, a.version), (Revision(1), Revision(3), 2));
        assert_eq!(list(&store, "", None, 0).unwrap(), "a=2+0");
    })
    .await;
}

#[tokio::test]
async fn one_of_many_conflicting_writers_wins_each_revision() {
    each(async |store| {
        let mut expected = put(&store, "k", "0").await;
        for round in 0..20 {
            let writers = (0..50).map(|writer| {
                let store = store.clone();
                let value = format!("{round}.{writer}").into_bytes();
                tokio::spawn(async move {
                    store
                        .transact(Transaction::put_if("k".into(), expected, value, 0), Urgency::Now)
                        .await
                        .unwrap()
                })
            });
            let mut won = Vec::new();
            for writer in writers.collect::<Vec<_>>() {
                let reply = writer.await.unwrap();
                match &reply.results[0] {
                    OperationReply::Put(_) => won.push(reply.revision),
                    OperationReply::Got(found) => assert!(found.as_ref().unwrap().modified > expected),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(won, [expected.next()]);
            expected = expected.next();
        }
    })
    .await;
}

#[tokio::test]
async fn compares_hold_or_not() {
    each(async |store| {
        put(&store, "k", "v").await;
        put(&store, "k", "w").await;
        for (key, field, holds) in [
            ("k", Field::Modified(Revision(2)), true),
            ("k", Field::Modified(Revision(1)), false),
            ("k", Field::Created(Revision(1)), true),
            ("k", Field::Version(2), true),
            ("k", Field::Lease(0), true),
            ("k", Field::Value("w".into()), true),
            ("k", Field::Value("v".into()), false),
            ("absent", Field::Modified(Revision(0)), true),
            ("absent", Field::Version(1), false),
            ("absent", Field::Value("".into()), false),
        ] {
            let compare = vec![Compare { key: key.into(), field: field.clone() }];
            let reply = store
                .transact(Transaction { compare, ..Transaction::default() }, Urgency::Now)
                .await
                .unwrap();
            assert_eq!(reply.succeeded, holds, "{key} {field:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn nonsense_is_refused_and_changes_nothing() {
    each(async |store| {
        let put = |key: &str, lease| Operation::Put { key: key.into(), value: vec![], lease };
        for (operations, sentence) in [
            (vec![put("a", 0), put("a", 0)], "duplicate key \"a\" in one transaction"),
            (vec![put("", 0)], "a key must not be empty"),
            (vec![put("a", 9)], "requested lease 9 not found"),
        ] {
            let transaction = Transaction { success: operations, ..Transaction::default() };
            let error = store.transact(transaction, Urgency::Now).await.unwrap_err();
            assert_eq!(error, ProposeError::Refused(sentence.into()));
        }
        let huge = Operation::Put { key: "a".into(), value: vec![0; 9 << 20], lease: 0 };
        let transaction = Transaction { success: vec![huge], ..Transaction::default() };
        assert!(matches!(
            store.transact(transaction, Urgency::Now).await,
            Err(ProposeError::TooLarge { .. })
        ));
        assert_eq!(store.state().revision(), Revision(0));
    })
    .await;
}

#[tokio::test]
async fn older_revisions_read_as_they_were_until_compacted() {
    each(async |store| {
        put(&store, "p/a", "1").await;
        put(&store, "p/b", "1").await;
        put(&store, "p/a", "2").await;
        delete(&store, "p/b").await;
        put(&store, "p/c", "1").await;
        put(&store, "q", "1").await;
        let expected =
            ["+0", "p/a=1+0", "p/a=1 p/b=1+0", "p/a=2 p/b=1+0", "p/a=2+0", "p/a=2 p/c=1+0", "p/a=2 p/c=1+0"];
        for (revision, expected) in expected.iter().enumerate() {
            assert_eq!(
                list(&store, "p/", Some(Revision(revision as u64)), 0).unwrap(),
                *expected,
                "at {revision}"
            );
        }
        assert_eq!(list(&store, "p/", Some(Revision(3)), 1).unwrap(), "p/a=2+1");
        assert!(matches!(list(&store, "p/", Some(Revision(7)), 0), Err(ReadError::Future { .. })));

        assert_eq!(
            store.command(Command::Compact(Revision(4))).await.unwrap(),
            Reply::Compacted(Revision(5))
        );
        assert!(matches!(list(&store, "p/", Some(Revision(3)), 0), Err(ReadError::Compacted { .. })));
        assert_eq!(list(&store, "p/", Some(Revision(4)), 0).unwrap(), "p/a=2+0");
        assert_eq!(list(&store, "p/", None, 0).unwrap(), "p/a=2 p/c=1+0");
        let error = store.command(Command::Compact(Revision(99))).await.unwrap_err();
        assert!(error.to_string().contains("revision 99 is in the future"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_watch_gives_every_event_of_its_range_once_in_order() {
    each(async |store| {
        put(&store, "p/a", "0").await;
        let mut watcher = store.watch(KeyRange::prefix("p/"), Revision(1));
        let writer = tokio::spawn({
            let store = store.clone();
            async move {
                for number in 1..150 {
                    put(&store, "p/a", &number.to_string()).await;
                    put(&store, "other", "x").await;
                }
                delete(&store, "p/").await;
            }
        });
        let mut seen = 0;
        let mut latest = Revision(0);
        'watch: loop {
            for event in watcher.next().await.unwrap() {
                assert!(event.record.modified > latest);
                latest = event.record.modified;
                if event.kind == EventKind::Delete {
                    assert_eq!(&event.previous.as_ref().unwrap().value[..], b"149");
                    break 'watch;
                }
                assert_eq!(&event.record.value[..], seen.to_string().as_bytes());
                seen += 1;
            }
        }
        assert_eq!(seen, 150);
        writer.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_watch_from_before_the_restart_reads_the_history_or_says_compacted() {
    for open in ALONE {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        for value in ["1", "2", "3"] {
            put(&store, "k", value).await;
        }
        drop(store);
        let store = open(folder.path());
        store.barrier().await.unwrap();
        let events = store.watch(KeyRange::one("k"), Revision(2)).next().await.unwrap();
        let values: Vec<&[u8]> = events.iter().map(|event| &event.record.value[..]).collect();
        assert_eq!(values, [b"2", b"3"]);
        store.command(Command::Compact(Revision(2))).await.unwrap();
        let ended = store.watch(KeyRange::one("k"), Revision(2)).next().await;
        assert!(matches!(ended, Err(WatchError::Read(ReadError::Compacted { .. }))), "{ended:?}");
        assert_eq!(store.watch(KeyRange::one("k"), Revision(3)).next().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_lease_takes_its_keys_with_it() {
    each(async |store| {
        store.command(Command::LeaseGrant { id: 7, ttl_seconds: 10, now_millis: 1000 }).await.unwrap();
        for (key, lease) in [("a", 7), ("b", 7), ("c", 0), ("d", 7)] {
            let operation = Operation::Put { key: key.into(), value: "x".into(), lease };
            let transaction = Transaction { success: vec![operation], ..Transaction::default() };
            store.transact(transaction, Urgency::Relaxed).await.unwrap();
        }
        // Rewritten without the lease: it stays.
        put(&store, "d", "y").await;
        assert_eq!(store.state().leases_due(10_999).unwrap(), (vec![], Some(11_000)));
        let renewed = store.command(Command::LeaseKeepAlive { id: 7, now_millis: 5000 }).await.unwrap();
        assert_eq!(renewed, Reply::Lease { id: 7, deadline_millis: 15_000 });
        assert_eq!(store.state().leases_due(15_000).unwrap(), (vec![7], None));
        let before = store.state().revision();
        store.command(Command::LeaseRevoke(7)).await.unwrap();
        assert_eq!(list(&store, "", None, 0).unwrap(), "c=x d=y+0");
        assert_eq!(store.state().revision(), before.next(), "one revision for all keys of a lease");
        assert!(store.command(Command::LeaseKeepAlive { id: 7, now_millis: 0 }).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_read_that_is_sure_writes_nothing() {
    each(async |store| {
        put(&store, "a", "1").await;
        let written = || (store.health().syncs, store.member().map(|member| member.status().last));
        // What this member still has to sync of the put disturbs one round; reads that write would disturb each.
        let mut rounds = Vec::new();
        while rounds.len() < 3 && rounds.last().is_none_or(|(before, after)| before != after) {
            let before = written();
            for _ in 0..20 {
                store.barrier().await.unwrap();
            }
            rounds.push((before, written()));
        }
        assert!(rounds.iter().any(|(before, after)| before == after), "{rounds:?}");
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_jumps_ends_leases_early_or_late_and_does_nothing_else() {
    const RIGHT: u64 = 100_000_000;
    const HOUR: u64 = 3_600_000;
    let alive = |id, now_millis| Command::LeaseKeepAlive { id, now_millis };
    let grant = |id, now_millis| Command::LeaseGrant { id, ttl_seconds: 10, now_millis };
    each(async |store| {
        store.command(grant(7, RIGHT)).await.unwrap();
        let put_with = |key: &str, lease| {
            let operation = Operation::Put { key: key.into(), value: "x".into(), lease };
            Transaction { success: vec![operation], ..Transaction::default() }
        };
        store.transact(put_with("a", 7), Urgency::Now).await.unwrap();
        let before = put(&store, "b", "x").await;
        // An hour back: whoever has the right time ends it, and it begins anew with the next sign of life.
        store.command(alive(7, RIGHT - HOUR)).await.unwrap();
        assert_eq!(store.state().leases_due(RIGHT).unwrap(), (vec![7], None));
        store.command(Command::LeaseRevoke(7)).await.unwrap();
        let refused = store.command(alive(7, RIGHT)).await;
        assert!(matches!(refused, Err(ProposeError::Refused(_))), "{refused:?}");
        store.command(grant(8, RIGHT)).await.unwrap();
        let again = store.transact(put_with("a", 8), Urgency::Now).await.unwrap().revision;
        // An hour on: it lives too long, until the next sign of life with the right time.
        store.command(alive(8, RIGHT + HOUR)).await.unwrap();
        assert_eq!(store.state().leases_due(RIGHT).unwrap(), (vec![], Some(RIGHT + HOUR + 10_000)));
        store.command(alive(8, RIGHT)).await.unwrap();
        assert_eq!(store.state().leases_due(RIGHT + 10_000).unwrap(), (vec![8], None));
        assert_eq!((before.next().next(), list(&store, "", None, 0).unwrap()), (again, "a=x b=x+0".into()));
    })
    .await;
}

#[tokio::test]
async fn relaxed_writes_wait_for_company_but_not_for_ever() {
    each(async |store| {
        let relaxed = |key: &str| store.transact(putting(key, ""), Urgency::Relaxed);
        put(&store, "before", "").await;
        // What this member still has to sync of the put, or a timer's tick between two of them, disturbs a round; writes
        // that never share would disturb each.
        let mut rounds = Vec::new();
        while rounds.len() < 5 && rounds.last().is_none_or(|syncs| *syncs >= 3) {
            let before = store.health().syncs;
            let (a, b, c) = tokio::join!(relaxed("a"), relaxed("b"), relaxed("c"));
            assert!(a.is_ok() && b.is_ok() && c.is_ok());
            rounds.push(store.health().syncs - before);
        }
        assert!(
            rounds.last().is_some_and(|syncs| *syncs < 3),
            "{rounds:?} syncs for three writes that may share one"
        );
    })
    .await;
}

#[tokio::test]
async fn a_second_process_is_told_that_the_store_is_in_use() {
    for open in ALONE {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let error = Store::open_single(folder.path(), SingleOptions::default()).unwrap_err().to_string();
        assert!(error.contains("is in use by another process"), "{error}");
        drop(store);
        open(folder.path());
    }
}

#[tokio::test]
async fn the_log_before_a_flush_is_dropped_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let options = SingleOptions { flush_entries: 8, ..SingleOptions::default() };
    let store = Store::open_single(folder.path(), options).unwrap();
    let value = "x".repeat(4 << 20);
    for number in 0..50 {
        put(&store, &format!("k{number:02}"), &value).await;
    }
    let bytes: u64 = std::fs::read_dir(folder.path().join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes < 140 << 20, "the log is bounded: {bytes} bytes for 200 MiB written");
    drop(store);
    let page = RangeRequest { range: KeyRange::prefix("k"), revision: None, limit: 0 };
    assert_eq!(ALONE[0](folder.path()).state().range(&page).unwrap().records.len(), 50);
}
