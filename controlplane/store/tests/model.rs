//! Random histories against a model that keeps every revision whole.

use std::collections::BTreeMap;

use keelson_store::{
    KeyRange, Operation, RangeRequest, Revision, SingleOptions, Store, Transaction, Urgency,
};
use proptest::prelude::*;

type World = BTreeMap<String, String>;

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    DeleteAll(u8),
    Compact(u8),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..12u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        3 => (0..12u8).prop_map(Step::Delete),
        1 => (0..3u8).prop_map(Step::DeleteAll),
        1 => any::<u8>().prop_map(Step::Compact),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..60)
}

fn key(number: u8) -> String {
    format!("{}/{number:02}", number % 3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn reads_at_every_revision_agree_with_the_model(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}

async fn run(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open_single(folder.path(), SingleOptions::default()).unwrap();
    let mut worlds: Vec<World> = vec![World::new()];
    let mut compacted = 0;
    for step in steps {
        let latest = worlds.last().unwrap();
        let mut next = latest.clone();
        let operation = match step {
            Step::Put(number, value) => {
                next.insert(key(number), value.to_string());
                Operation::Put { key: key(number).into(), value: value.to_string().into(), lease: 0 }
            }
            Step::Delete(number) => {
                next.remove(&key(number));
                Operation::Delete(KeyRange::one(key(number)))
            }
            Step::DeleteAll(prefix) => {
                next.retain(|key, _| !key.starts_with(&format!("{prefix}/")));
                Operation::Delete(KeyRange::prefix(format!("{prefix}/")))
            }
            Step::Compact(to) => {
                let to = usize::from(to) % worlds.len();
                store.command(keelson_store::Command::Compact(Revision(to as u64))).await.unwrap();
                compacted = compacted.max(to);
                continue;
            }
            Step::Reopen => {
                drop(store);
                store = Store::open_single(folder.path(), SingleOptions::default()).unwrap();
                continue;
            }
        };
        let changes = matches!(operation, Operation::Put { .. }) || next != *latest;
        store
            .transact(Transaction { success: vec![operation], ..Default::default() }, Urgency::Now)
            .await
            .unwrap();
        if changes {
            worlds.push(next);
        }
        assert_eq!(store.state().revision().0 as usize, worlds.len() - 1);
    }
    for (revision, world) in worlds.iter().enumerate() {
        for prefix in ["", "0/", "1/", "2/"] {
            let request = RangeRequest {
                range: KeyRange::prefix(prefix),
                revision: Some(Revision(revision as u64)),
                limit: 0,
            };
            let page = store.state().range(&request);
            if revision < compacted {
                assert!(page.is_err());
                continue;
            }
            let found: World = page
                .unwrap()
                .records
                .iter()
                .map(|r| {
                    (String::from_utf8(r.key.to_vec()).unwrap(), String::from_utf8(r.value.to_vec()).unwrap())
                })
                .collect();
            let expected: World = world
                .iter()
                .filter(|(key, _)| key.starts_with(prefix))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            assert_eq!(found, expected, "at revision {revision} of prefix {prefix:?}");
        }
    }
}
