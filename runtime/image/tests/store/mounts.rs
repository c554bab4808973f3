//! What overlayfs makes of the layers: the proof of whiteouts, opaque folders and settled layers.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use harness::image::{Compression, ImageBuilder, Layer};
use image::Snapshot;
use nix::mount::{MsFlags, mount, umount};

use super::Ground;

fn mounted(snapshot: &Snapshot, at: &Path, look: impl FnOnce(&Path)) {
    let lower: Vec<String> = snapshot.lower.iter().map(|path| path.display().to_string()).collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        snapshot.upper.display(),
        snapshot.work.display()
    );
    std::fs::create_dir_all(at).unwrap();
    mount(Some("overlay"), at, Some("overlay"), MsFlags::empty(), Some(options.as_str())).unwrap();
    let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| look(at)));
    umount(at).unwrap();
    if let Err(panic) = looked {
        std::panic::resume_unwind(panic);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn overlayfs_shows_the_image() {
    if !harness::root_or_skip("overlayfs_shows_the_image") {
        return;
    }
    let guard = harness::host::exclusive("overlayfs_shows_the_image");
    let ground = Ground::fresh();
    let again = || Layer::new().file("again", 0o644, b"again");
    let bottom = Layer::new()
        .folder("./", 0o755)
        .folder("usr/", 0o755)
        .folder("usr/lib/", 0o755)
        .symlink("lib", "usr/lib")
        .file("usr/lib/kept", 0o644, b"kept")
        .file("gone", 0o644, b"")
        .folder("folder-gone/", 0o755)
        .file("folder-gone/x", 0o644, b"")
        .folder("emptied/", 0o755)
        .file("emptied/old", 0o644, b"")
        .folder("replaced/", 0o755)
        .file("replaced/old", 0o644, b"")
        .file("linked", 0o644, b"linked")
        .owner(5, 6)
        .folder("owned/", 0o1770)
        .file("owned/old", 0o644, b"");
    let top = Layer::new()
        .folder("./", 0o711)
        .file(".wh.gone", 0o644, b"")
        .file(".wh.folder-gone", 0o644, b"")
        .folder("emptied/", 0o755)
        .file("emptied/.wh..wh..opq", 0o644, b"")
        .file("emptied/new", 0o644, b"")
        .file(".wh.replaced", 0o644, b"")
        .folder("replaced/", 0o755)
        .file("replaced/new", 0o644, b"");
    // Made without looking at the lower layers, as some builders do.
    let careless = Layer::new()
        .file("lib/new", 0o644, b"new")
        .file("owned/new", 0o644, b"")
        .hard_link("other-name", "linked");
    let image = [bottom, again(), top, careless, again()]
        .into_iter()
        .fold(ImageBuilder::new(), |image, layer| image.layer(layer, Compression::Gzip));
    let id = ground.import(&image.build(), "app:1").await;
    let snapshot = ground.store.snapshot("c1", &id).await.unwrap();
    assert_eq!(snapshot.lower.len(), 4, "a layer that comes twice is stacked once");
    mounted(&snapshot, &ground.path("mounted"), |root| {
        let there = |name: &str| root.join(name).symlink_metadata().is_ok();
        for name in [
            "usr/lib/kept",
            "lib/kept",
            "lib/new",
            "usr/lib/new",
            "emptied/new",
            "replaced/new",
            "owned/old",
            "owned/new",
            "again",
        ] {
            assert!(there(name), "{name} is there");
        }
        for name in ["gone", "folder-gone", "emptied/old", "replaced/old"] {
            assert!(!there(name), "{name} is gone");
        }
        let names = super::list(root);
        assert!(!names.iter().any(|name| name == "gone" || name.starts_with(".wh")), "{names:?}");
        assert!(root.join("lib").symlink_metadata().unwrap().is_symlink(), "/lib is still a link");
        let owned = root.join("owned").metadata().unwrap();
        assert_eq!((owned.uid(), owned.gid(), owned.mode() & 0o7777), (5, 6, 0o1770));
        assert_eq!(root.metadata().unwrap().mode() & 0o7777, 0o711);
        let (one, other) =
            (root.join("linked").metadata().unwrap(), root.join("other-name").metadata().unwrap());
        assert_eq!(one.ino(), other.ino());
        // A container can write and delete everything.
        std::fs::write(root.join("usr/lib/kept"), "changed").unwrap();
        std::fs::remove_dir_all(root.join("owned")).unwrap();
        assert!(!there("owned"));
    });
    let usage = ground.store.snapshot_usage("c1").await.unwrap();
    assert!(usage.inodes >= 3, "{usage:?}");
    ground.store.drop_snapshot("c1").await.unwrap();
    drop(ground);
    guard.finish();
}
