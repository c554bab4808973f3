//! Members come, lead, go and come back; nothing that was acknowledged is lost.

use std::time::Duration;

use harness::api::free_address;
use keelson_store::raft::{CallError, Change, Refusal, Role};
use keelson_store::{Command, KeyRange, OperationReply, Reply, Revision, SingleOptions, Store, Transaction};

use super::cluster::{Cluster, PATIENCE, authority, open_one, tls};
use super::{list, put};

#[tokio::test(flavor = "multi_thread")]
async fn every_member_serves_reads_writes_and_watches() {
    let cluster = Cluster::start(3).await;
    for at in 0..3 {
        put(cluster.store(at), &format!("k{at}"), "v").await;
    }
    for at in 0..3 {
        let store = cluster.store(at);
        store.barrier().await.unwrap();
        assert_eq!(list(store, "", None, 0).unwrap(), "k0=v k1=v k2=v+0", "at member {at}");
        let events = store.watch(KeyRange::prefix("k"), Revision(1)).next().await.unwrap();
        assert_eq!(events.first().unwrap().record.modified, Revision(1));
    }
    let leader = cluster.leader().await;
    let status = cluster.store(leader).member().unwrap().status();
    assert_eq!(status.members.len(), 3);
    assert!(status.members.iter().all(|member| member.voter && member.matched.is_some()), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_come_together_are_answered_each_with_its_own() {
    let cluster = Cluster::start(2).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let client = cluster.client(leader);
    // Of every third one and the one before it one finds that their key is there already; sizes are such that some come whole with others, and some do not.
    let key = |number: usize| format!("k{}", number - number % 3 / 2).into_bytes();
    let propose = async |number: usize| {
        let value = vec![b'v'; number * 37 % 9000];
        let command = Command::Transaction(Transaction::put_if(key(number), Revision(0), value, 0));
        client.propose(&command).await.unwrap()
    };
    let replies = futures::future::join_all((0..600).map(propose)).await;
    let state = cluster.store(leader).state();
    for (number, reply) in replies.iter().enumerate() {
        let Reply::Transaction(reply) = reply else { panic!("{number}: {reply:?}") };
        let record = state.get(&key(number)).unwrap().1.unwrap();
        match &reply.results[0] {
            OperationReply::Got(found) => assert_eq!(found.as_ref(), Some(&record), "{number}"),
            _ => {
                assert_eq!((reply.revision, reply.succeeded), (record.modified, true), "{number}");
                assert_eq!(record.value.len(), number * 37 % 9000, "{number}");
            }
        }
    }
    assert_eq!(state.revision(), Revision(400));
    let asked = cluster.client(follower).propose(&Command::Compact(Revision(1))).await;
    assert!(matches!(asked, Err(CallError::Refused(Refusal::NotLeader { .. }))), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leadership_is_handed_over_and_writes_go_on() {
    let cluster = Cluster::start(3).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    put(cluster.store(leader), "k", "1").await;
    let asked = cluster.store(follower).member().unwrap();
    asked.change(Change::Transfer { to: cluster.id(follower) }).await.unwrap();
    assert_eq!(cluster.leader().await, follower);
    put(cluster.store(leader), "k", "2").await;
    assert_eq!(list(cluster.store(leader), "", None, 0).unwrap(), "k=2+0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_member_is_replaced() {
    let mut cluster = Cluster::start(3).await;
    let dead = cluster.follower().await;
    let id = cluster.id(dead);
    cluster.stop(dead);
    let leader = cluster.leader().await;
    put(cluster.store(leader), "k", "1").await;
    let member = cluster.store(leader).member().unwrap().clone();
    member.change(Change::Remove { id }).await.unwrap();
    cluster.join().await;
    let new = cluster.members.len() - 1;
    cluster.store(new).barrier().await.unwrap();
    assert_eq!(list(cluster.store(new), "", None, 0).unwrap(), "k=1+0");
    let status = member.status();
    assert_eq!(status.members.iter().filter(|member| member.voter).count(), 3, "{status:?}");
    let gone = member.change(Change::Promote { id }).await.unwrap_err().to_string();
    assert!(gone.contains("there is no member"), "{gone}");
    let last = member.change(Change::Remove { id: member.id() }).await.unwrap_err().to_string();
    assert!(last.contains("transfer the leadership"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_far_behind_gets_a_snapshot_and_its_watchers_miss_nothing() {
    let mut cluster = Cluster::start(3).await;
    let behind = cluster.follower().await;
    for at in 0..3 {
        cluster.members[at].flush_entries = 50;
    }
    for at in 0..3 {
        cluster.stop(at);
    }
    for at in 0..3 {
        cluster.open(at, false);
    }
    let leader = cluster.leader().await;
    put(cluster.store(leader), "k", "0").await;
    cluster.store(behind).barrier().await.unwrap();
    let behind = if behind == leader { cluster.follower().await } else { behind };
    cluster.store(behind).barrier().await.unwrap();
    cluster.stop(behind);
    for number in 1..400 {
        put(cluster.store(leader), "k", &number.to_string()).await;
    }
    cluster.open(behind, false);
    let mut watcher = cluster.store(behind).watch(KeyRange::one("k"), Revision(2));
    let mut seen = 1;
    while seen < 400 {
        let next = tokio::time::timeout(PATIENCE, watcher.next()).await.expect("it catches up");
        for event in next.unwrap() {
            assert_eq!(&event.record.value[..], seen.to_string().as_bytes());
            seen += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_one_member_becomes_a_cluster_with_all_that_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_single(folder.path(), SingleOptions::default()).unwrap();
    for value in ["1", "2", "3"] {
        put(&store, "k", value).await;
    }
    store.command(Command::LeaseGrant { id: 7, ttl_seconds: 10, now_millis: 1000 }).await.unwrap();
    drop(store);
    for _ in 0..2 {
        let store = open_one(folder.path(), 20_000);
        store.barrier().await.unwrap();
        assert_eq!(list(&store, "", None, 0).unwrap(), "k=3+0");
        assert_eq!(store.state().revision(), Revision(3));
        assert_eq!(list(&store, "", Some(Revision(1)), 0).unwrap(), "k=1+0");
        assert_eq!(store.state().leases_due(11_000).unwrap().0, [7]);
    }
    let store = open_one(folder.path(), 20_000);
    assert_eq!(put(&store, "k", "4").await, Revision(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_members_of_the_same_cluster_are_listened_to() {
    let cluster = Cluster::start(2).await;
    let leader = cluster.leader().await;
    let strange = tempfile::tempdir().unwrap();
    let peer = keelson_store::raft::Peer { name: "strange".into(), address: free_address().to_string() };
    let wire =
        keelson_store::raft::Wire::Tls { listen: peer.address.parse().unwrap(), tls: tls(&authority()) };
    let options = keelson_store::raft::RaftOptions::new(peer.clone());
    let strange = Store::open_member(strange.path(), options, wire, true).unwrap();
    let id = strange.member().unwrap().id();
    cluster.store(leader).member().unwrap().change(Change::AddLearner { id, peer }).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let status = strange.member().unwrap().status();
    assert_eq!((status.members.len(), status.applied, status.role), (0, 0, Role::Learner), "{status:?}");
}
