//! A small disk: what does not fit is refused by entry name, and nothing stays.

use std::path::Path;

use harness::image::{Compression, ImageBuilder, Layer, sha256, zeros};
use image::{Limits, PullError, Store};
use nix::mount::{MsFlags, mount, umount};

use super::{list, options};

/// Runs on a file system of this many MiB.
async fn on_small_disk<F: Future<Output = ()>>(mebibytes: u32, test: impl FnOnce(std::path::PathBuf) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let size = format!("size={mebibytes}m,mode=700");
    mount(Some("none"), &disk, Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).unwrap();
    test(disk.clone()).await;
    umount(&disk).unwrap();
}

fn used(disk: &Path) -> u64 {
    let stat = nix::sys::statvfs::statvfs(disk).unwrap();
    (stat.blocks() - stat.blocks_free()) * stat.fragment_size()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_gigabytes_of_zeros_do_not_fit() {
    if !harness::root_or_skip("ten_gigabytes_of_zeros_do_not_fit") {
        return;
    }
    let guard = harness::host::exclusive("ten_gigabytes_of_zeros_do_not_fit");
    let archive_folder = tempfile::tempdir().unwrap();
    let archive = archive_folder.path().join("archive.tar");
    let honest = Layer::new().file("honest", 0o644, b"honest");
    let bomb = ImageBuilder::new().layer(honest, Compression::Gzip).raw_layer(
        zeros("var/zeros", 10 << 10),
        sha256(b"nobody knows"),
        Compression::Gzip,
    );
    std::fs::write(&archive, bomb.build().archive("bomb:1")).unwrap();
    on_small_disk(64, async |disk| {
        let root = disk.join("images");
        let store = Store::open(options(&root)).unwrap();
        let before = used(&disk);
        let error = store.import(&archive).await.unwrap_err();
        assert!(
            matches!(&error, PullError::NoSpace { what } if what.contains("entry \"var/zeros\"")),
            "{error}"
        );
        store.remove("nothing").await.unwrap();
        for folder in ["tmp", "trash", "layers", "blobs/sha256"] {
            assert!(list(&root.join(folder)).is_empty(), "{folder}");
        }
        assert!(used(&disk) <= before + (64 << 10), "{} of {before} bytes", used(&disk));
        // The store works on.
        let small = ImageBuilder::new().layer(Layer::new().file("x", 0o644, b"x"), Compression::Gzip).build();
        std::fs::write(disk.join("small.tar"), small.archive("small:1")).unwrap();
        store.import(&disk.join("small.tar")).await.unwrap();
        assert!(store.get("small:1").is_some());
        drop(store);
    })
    .await;
    drop(archive_folder);
    guard.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_without_room_for_files_or_documents_refuses() {
    if !harness::root_or_skip("a_disk_without_room_for_files_or_documents_refuses") {
        return;
    }
    let guard = harness::host::exclusive("a_disk_without_room_for_files_or_documents_refuses");
    let archive_folder = tempfile::tempdir().unwrap();
    let archive = archive_folder.path().join("archive.tar");
    let layer =
        (0..4000).fold(Layer::new(), |layer, at| layer.file(&format!("many/{at}"), 0o644, &[1; 3000]));
    let image = ImageBuilder::new().layer(layer, Compression::Gzip).build();
    std::fs::write(&archive, image.archive("many:1")).unwrap();
    on_small_disk(8, async |disk| {
        let mut options = options(&disk.join("images"));
        // The reserve is what stops it here, not ENOSPC.
        options.limits = Limits::default();
        let store = Store::open(options).unwrap();
        let error = store.import(&archive).await.unwrap_err();
        assert!(matches!(&error, PullError::NoSpace { what } if what.contains("many/")), "{error}");
        assert!(store.list().is_empty() && list(&disk.join("images/tmp")).is_empty());
        drop(store);
    })
    .await;
    drop(archive_folder);
    guard.finish();
}
