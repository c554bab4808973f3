//! Killed in the middle: what the next process finds.

use std::process::{Command, Stdio};
use std::time::Duration;

use harness::image::{Compression, ImageBuilder, Layer};
use harness::registry::fake::{Answer, Fake};
use image::Store;

use super::{Ground, list, options, reopen};

const ROOT: &str = "KEELSON_TEST_STORE";
const REFERENCE: &str = "KEELSON_TEST_REFERENCE";

/// Not a test: what the killed process does.
#[tokio::test(flavor = "multi_thread")]
async fn killed_process() {
    let (Some(root), Ok(reference)) = (std::env::var_os(ROOT), std::env::var(REFERENCE)) else { return };
    let store = Store::open(options(root.as_ref())).unwrap();
    let _ = store.pull(&reference, None).await;
    // Reached only if nobody kills us.
    std::thread::sleep(Duration::from_secs(120));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_pull_is_repaired_and_repeated() {
    if !harness::root_or_skip("a_killed_pull_is_repaired_and_repeated") {
        return;
    }
    let image = ImageBuilder::new()
        .layer(Layer::new().file("first", 0o644, &vec![1; 1 << 20]), Compression::None)
        .layer(Layer::new().file("second", 0o644, &vec![2; 1 << 20]), Compression::None)
        .build();
    let slow = image.layers[1].clone();
    // Half of the second layer comes; the rest when the process is dead.
    let registry =
        Fake::start(&[("1", &image)], move |request, before| match request.target().contains(&slow) {
            true if before == 0 => Answer::CutAfter(500_000),
            true if before == 1 => Answer::Slow(Duration::from_secs(120)),
            _ => Answer::Serve,
        });
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("images");
    let reference = format!("{}/a:1", registry.address);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::killed_process"])
        .env(ROOT, &root)
        .env(REFERENCE, &reference)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let second = &image.layers[1];
    for _ in 0..3_000 {
        let first_there = root.join("layers").is_dir() && list(&root.join("layers")).len() == 1;
        if registry.count(second) == 2 && first_there {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(registry.count(second), 2, "killed in the middle of the second layer");
    assert!(!list(&root.join("tmp")).is_empty(), "half a layer is left");
    let store = reopen(&root).unwrap();
    for name in ["tmp", "trash", "layers", "blobs/sha256"] {
        assert!(list(&root.join(name)).is_empty(), "{name} is repaired");
    }
    assert!(store.list().is_empty());
    let id = store.pull(&reference, None).await.unwrap();
    assert_eq!(store.snapshot("c", &id).await.unwrap().lower.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_told_and_mended() {
    if !harness::root_or_skip("damage_is_told_and_mended") {
        return;
    }
    let ground = Ground::fresh();
    let image = ImageBuilder::new().layer(Layer::new().file("x", 0o644, b"x"), Compression::Gzip).build();
    let id = ground.import(&image, "app:1").await;
    ground.store.snapshot("c1", &id).await.unwrap();
    let root = ground.store.root().to_owned();
    let Ground { folder, store } = ground;
    drop(store);
    // An index that was being replaced, a snapshot that was not finished, a configuration that changed.
    std::fs::write(root.join("images.new"), "half a docu").unwrap();
    std::fs::write(root.join("snapshots/c1/snapshot.json"), "{").unwrap();
    let store = reopen(&root).unwrap();
    assert_eq!((store.list().len(), store.snapshots().len()), (1, 0));
    drop(store);
    std::fs::write(root.join("blobs/sha256").join(id.digest().hex()), "{}").unwrap();
    let store = reopen(&root).unwrap();
    assert!(store.list().is_empty(), "a changed configuration is not used");
    let ground = Ground { folder, store };
    ground.import(&image, "app:1").await;
    let Ground { folder: _kept, store } = ground;
    drop(store);
    let layer = list(&root.join("layers")).remove(0);
    std::fs::remove_dir_all(root.join("layers").join(layer)).unwrap();
    assert!(reopen(&root).unwrap().list().is_empty(), "an image without its layer is not used");
    std::fs::write(root.join("images.json"), "{").unwrap();
    let error = reopen(&root).unwrap_err();
    assert!(error.to_string().contains("images.json"), "{error}");
}

/// What a container made immutable cannot be deleted; the node goes on without.
#[test]
fn what_cannot_be_deleted_keeps_nothing() {
    use rustix::fs::{IFlags, ioctl_setflags};
    const TEST: &str = "what_cannot_be_deleted_keeps_nothing";
    if !harness::root_or_skip(TEST) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let trash = folder.path().join("images/trash");
    for name in ["1", "2/inner", "3"] {
        std::fs::create_dir_all(trash.join(name)).unwrap();
    }
    std::fs::write(trash.join("2/inner/fixed"), "x").unwrap();
    let fixed = std::fs::File::open(trash.join("2/inner/fixed")).unwrap();
    if ioctl_setflags(&fixed, IFlags::IMMUTABLE).is_err() {
        return harness::skip(TEST, "this file system has no immutable files");
    }
    let opened = Store::open(options(&folder.path().join("images")));
    let left = list(&trash);
    ioctl_setflags(&fixed, IFlags::empty()).unwrap();
    assert!(opened.is_ok(), "{:?}", opened.err());
    assert_eq!(left.len(), 1, "{left:?}");
}
