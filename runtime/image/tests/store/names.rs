//! Names, reference counts, snapshots and what survives reopening.

use harness::image::{Compression, ImageBuilder, Layer};
use image::{ImageId, Store, StoreError};

use super::{Ground, list, options, reopen};

fn image(own: &str) -> ImageBuilder {
    ImageBuilder::new()
        .layer(Layer::new().folder("./", 0o700).file("shared", 0o644, b"shared"), Compression::Gzip)
        .layer(Layer::new().file(own, 0o644, own.as_bytes()), Compression::Gzip)
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_go_with_the_last_that_needs_them() {
    if !harness::root_or_skip("layers_go_with_the_last_that_needs_them") {
        return;
    }
    let ground = Ground::fresh();
    let one = ground.import(&image("one").build(), "app:one").await;
    let two = ground.import(&image("two").build(), "app:two").await;
    assert_eq!(ground.layers(), 3, "one layer is shared");
    let snapshot = ground.store.snapshot("c1", &one).await.unwrap();
    std::fs::write(snapshot.upper.join("written"), vec![1; 10_000]).unwrap();
    let usage = ground.store.snapshot_usage("c1").await.unwrap();
    assert!(usage.bytes >= 10_000 && usage.inodes == 1, "{usage:?}");
    ground.store.remove("app:one").await.unwrap();
    ground.store.remove("app:one").await.unwrap();
    assert!(ground.store.get(one.as_str()).is_none());
    assert_eq!(ground.layers(), 3, "the container still runs on them");
    assert_eq!(ground.store.snapshot_of("c1").unwrap(), snapshot);
    ground.store.drop_snapshot("c1").await.unwrap();
    ground.store.drop_snapshot("c1").await.unwrap();
    assert_eq!(ground.layers(), 2);
    ground.store.remove(two.as_str()).await.unwrap();
    assert_eq!(ground.layers(), 0);
    assert!(list(&ground.store.root().join("trash")).is_empty());
    assert!(list(&ground.store.root().join("snapshots")).is_empty());
    assert!(list(&ground.store.root().join("blobs/sha256")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_one_per_container() {
    if !harness::root_or_skip("snapshots_are_one_per_container") {
        return;
    }
    let ground = Ground::fresh();
    let id = ground.import(&image("one").build(), "app:one").await;
    let snapshot = ground.store.snapshot("c1", &id).await.unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&snapshot.upper).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700, "the container's root folder is as the image says");
    assert!(matches!(ground.store.snapshot("c1", &id).await, Err(StoreError::SnapshotExists(_))));
    assert!(matches!(ground.store.snapshot_of("c2"), Err(StoreError::NoSnapshot(_))));
    assert!(ground.store.snapshot_usage("c2").await.is_err());
    let unknown: ImageId = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    assert!(matches!(ground.store.snapshot("c2", &unknown).await, Err(StoreError::NoImage(_))));
    for wrong in ["", "..", "a/b", ".hidden", "a\0b", &"x".repeat(300)] {
        assert!(
            matches!(ground.store.snapshot(wrong, &id).await, Err(StoreError::ContainerId(_))),
            "{wrong:?}"
        );
        assert!(ground.store.drop_snapshot(wrong).await.is_err(), "{wrong:?}");
    }
    assert_eq!(ground.store.snapshots(), ["c1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_survives_reopening() {
    if !harness::root_or_skip("everything_survives_reopening") {
        return;
    }
    let Ground { folder, store } = Ground::fresh();
    let root = folder.path().join("images");
    let ground = Ground { folder, store };
    let id = ground.import(&image("one").build(), "app:one").await;
    ground.store.pin("app:one", true).await.unwrap();
    assert!(ground.store.pin("app:none", true).await.is_err());
    let snapshot = ground.store.snapshot("c1", &id).await.unwrap();
    let before = ground.store.list();
    assert!(matches!(Store::open(options(&root)), Err(StoreError::InUse(_))), "one process at a time");
    let Ground { folder: _kept, store } = ground;
    drop(store);
    let store = reopen(&root).unwrap();
    let after = store.list();
    assert_eq!((after.len(), &after[0].tags, after[0].pinned), (1, &before[0].tags, true));
    assert_eq!(after[0].config, before[0].config);
    assert_eq!(store.snapshot_of("c1").unwrap(), snapshot);
    store.untag("app:one").await.unwrap();
    assert!(store.get("app:one").is_none() && store.get(id.as_str()).is_some());
    assert!(store.untag("app:one").await.is_err());
    drop(store);
    std::fs::write(root.join("VERSION"), "2\n").unwrap();
    let newer = reopen(&root).unwrap_err();
    assert!(newer.to_string().contains("made by a newer keelson"), "{newer}");
}
