//! Members stop and come back, a majority is lost, snapshots are saved and restored.

use std::time::{Duration, Instant};

use keelson_store::raft::{self, Peer};
use keelson_store::{ProposeError, ReadError, Revision, SingleOptions, Store, Transaction, Urgency};

use super::cluster::{Cluster, PATIENCE, open_one};
use super::{list, put, putting};

#[tokio::test(flavor = "multi_thread")]
async fn another_member_leads_within_a_second_and_nothing_is_lost() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    for number in 0..20 {
        put(cluster.store(leader), &format!("k{number:02}"), "v").await;
    }
    let mut quickest = Duration::MAX;
    for round in 0..3 {
        let leader = cluster.leader().await;
        let survivor = cluster.follower().await;
        let begun = Instant::now();
        cluster.stop(leader);
        let stopped = begun.elapsed();
        let after = format!("after{round}");
        put_at_last(cluster.store(survivor), &after, "v").await;
        let took = begun.elapsed() - stopped;
        println!("a write succeeded {took:?} after the leader was gone");
        quickest = quickest.min(took);
        let records = list(cluster.store(survivor), "k", None, 0).unwrap();
        assert_eq!(records.split(' ').count(), 20, "{records}");
        cluster.open(leader, false);
        cluster.store(leader).barrier().await.unwrap();
        assert_eq!(list(cluster.store(leader), &after, None, 0).unwrap(), format!("{after}=v+0"));
    }
    // Votes that are split, or a machine that stands still, may cost one round more.
    assert!(quickest < Duration::from_secs(3), "{quickest:?}");
}

/// Writes until that is acknowledged: what was on its way to a leader that stops may be lost, and whoever asked is told.
async fn put_at_last(store: &Store, key: &str, value: &str) {
    let begun = Instant::now();
    loop {
        match store.transact(putting(key, value), Urgency::Now).await {
            Ok(_) => return,
            Err(ProposeError::Unknown(_) | ProposeError::Unavailable(_)) if begun.elapsed() < PATIENCE => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_reads_are_old_writes_are_refused_and_a_recovery_says_what_it_keeps() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    put(cluster.store(leader), "k", "v").await;
    let survivor = cluster.follower().await;
    cluster.store(survivor).barrier().await.unwrap();
    let survivors_id = cluster.id(survivor);
    for at in (0..3).filter(|at| *at != survivor) {
        cluster.stop(at);
    }
    let store = cluster.store(survivor);
    assert_eq!(list(store, "", None, 0).unwrap(), "k=v+0");
    let refused = store.transact(Transaction::put_if("k".into(), Revision(1), vec![], 0), Urgency::Now).await;
    assert!(matches!(refused, Err(ProposeError::Unavailable(_) | ProposeError::Unknown(_))), "{refused:?}");
    assert!(matches!(store.barrier().await, Err(ProposeError::Unavailable(_))));

    let peer = cluster.peer(survivor);
    cluster.stop(survivor);
    let folder = cluster.members[survivor].folder.path();
    let recovered = raft::recover(folder, &peer).unwrap();
    assert_eq!((recovered.id, recovered.left.len(), recovered.revision), (survivors_id, 2, Revision(1)));
    cluster.open(survivor, false);
    let store = cluster.store(survivor);
    store.barrier().await.unwrap();
    assert_eq!(list(store, "", None, 0).unwrap(), "k=v+0");
    assert_eq!(put(store, "k", "w").await, Revision(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_restored_with_a_later_revision_and_damage_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("snapshot");
    let store = open_one(&folder.path().join("old"), 20_000);
    for number in 0..200 {
        put(&store, &format!("k{number:03}"), &"x".repeat(10_000)).await;
    }
    let (revision, bytes) = raft::save_snapshot(store.state(), &file).unwrap();
    assert_eq!(revision, Revision(200));
    assert_eq!(std::fs::metadata(&file).unwrap().len(), bytes);
    assert!(raft::save_snapshot(store.state(), &file).is_err(), "a file that exists is kept");
    let expected = list(&store, "", None, 0).unwrap();
    drop(store);

    let new = folder.path().join("new");
    let whole = std::fs::read(&file).unwrap();
    for (what, bytes) in [
        ("cut", whole[..whole.len() / 2].to_vec()),
        ("without its end", whole[..whole.len() - 3].to_vec()),
        ("flipped", {
            let mut bytes = whole.clone();
            bytes[whole.len() / 3] ^= 16;
            bytes
        }),
        ("longer", [whole.as_slice(), b"x"].concat()),
        ("foreign", b"something else entirely".to_vec()),
    ] {
        let damaged = folder.path().join("damaged");
        std::fs::write(&damaged, bytes).unwrap();
        let error = raft::restore(&new, &damaged).expect_err(what).to_string();
        assert!(error.contains("damaged"), "{what}: {error}");
    }
    let restored = raft::restore(&new, &file).unwrap();
    assert!(restored > Revision(1000), "no client can have seen it: {restored}");
    assert!(raft::restore(&new, &file).unwrap_err().to_string().contains("holds a store already"));

    let store = Store::open_single(&new, SingleOptions::default()).unwrap();
    assert_eq!(list(&store, "", None, 0).unwrap(), expected);
    assert!(matches!(list(&store, "", Some(Revision(200)), 0), Err(ReadError::Compacted { .. })));
    assert_eq!(put(&store, "k000", "v").await, restored.next());
    drop(store);
    let store = open_one(&new, 20_000);
    store.barrier().await.unwrap();
    assert!(list(&store, "k000", None, 0).unwrap().starts_with("k000=v"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_a_cluster_is_not_a_store_to_restore_or_recover_by_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_one(folder.path(), 20_000);
    put(&store, "k", "v").await;
    let peer = Peer { name: "x".into(), address: "127.0.0.1:1".into() };
    let error = raft::recover(folder.path(), &peer).unwrap_err().to_string();
    assert!(error.contains("in use"), "{error}");
    drop(store);
    assert!(raft::is_member(folder.path()));
    let single = tempfile::tempdir().unwrap();
    drop(Store::open_single(single.path(), SingleOptions::default()).unwrap());
    let error = raft::recover(single.path(), &peer).unwrap_err().to_string();
    assert!(error.contains("not a member of a cluster"), "{error}");
}
