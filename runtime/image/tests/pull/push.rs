//! The other way: to Debian's docker-registry and into archives, and back from both.

use std::os::unix::fs::MetadataExt as _;

use harness::image::{Compression, ImageBuilder, Layer};
use harness::registry::{Login, debian};
use image::{Credentials, Follow, PullError};

use super::{Ground, noise, shown, small};

/// Two layers with what archives and overlayfs say differently.
fn varied() -> ImageBuilder {
    let lower = Layer::new()
        .folder("./", 0o755)
        .folder("etc", 0o755)
        .file("etc/gone", 0o644, b"old")
        .file("etc/secret", 0o600, b"mine")
        .file("noise", 0o4755, &noise(9 << 20, 31))
        .hard_link("again", "noise")
        .symlink("link", "etc/secret");
    let upper =
        Layer::new().file("etc/.wh.gone", 0o644, b"").file(&format!("{}/deep", "d".repeat(120)), 0o644, b"x");
    ImageBuilder::new().layer(lower, Compression::Gzip).layer(upper, Compression::Zstd)
}

/// What a container of the image would see of its layers: names, modes, sizes, links.
fn seen(ground: &Ground, id: &str) -> Vec<String> {
    let snapshot = ground.store.snapshot_of(id).unwrap();
    let mut lines = Vec::new();
    for (level, folder) in snapshot.lower.iter().enumerate() {
        let mut waiting = vec![folder.clone()];
        while let Some(folder_now) = waiting.pop() {
            for entry in std::fs::read_dir(&folder_now).unwrap() {
                let path = entry.unwrap().path();
                let found = std::fs::symlink_metadata(&path).unwrap();
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                let target = std::fs::read_link(&path).unwrap_or_default();
                let length = if found.is_dir() { 0 } else { found.len() };
                lines.push(format!(
                    "{level} {name} {:o} {} {length} {} {}",
                    found.mode(),
                    found.rdev(),
                    if found.is_dir() { 0 } else { found.nlink() },
                    target.display()
                ));
                if found.is_dir() {
                    waiting.push(path);
                }
            }
        }
    }
    lines.sort();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_can_be_pulled() {
    let test = "what_is_pushed_can_be_pulled";
    if !harness::root_or_skip(test) {
        return;
    }
    for login in [Login::None, Login::Basic] {
        let (Some(from), Some(to)) = (debian(Login::None), debian(login)) else {
            return harness::skip(test, "docker-registry is not installed");
        };
        let built = varied().build();
        let source = from.push("team/app", "v1", &built);
        let ground = Ground::fresh();
        let id = ground.store.pull(&source, None).await.unwrap();
        ground.store.snapshot("before", &id).await.unwrap();
        let credentials = || (login != Login::None).then(|| Credentials::basic("mate", "ahoy"));
        let target = format!("{}/copy/app:v2", to.address);
        if login != Login::None {
            let refused = ground.store.push(&source, &target, None, Follow::default()).await.unwrap_err();
            assert!(matches!(refused, PullError::Denied { .. }), "{}", shown(&refused));
        }
        let (follow, rows) = Follow::default().showing();
        let digest = ground.store.push(&source, &target, credentials(), follow).await.unwrap();
        assert!(rows.borrow().iter().all(|row| row.done == row.size && row.size > 0), "{:?}", rows.borrow());
        let again = ground.store.push(&source, &target, credentials(), Follow::default()).await.unwrap();
        assert_eq!(again, digest, "the same layers give the same bytes");
        let fresh = Ground::fresh();
        let pulled = fresh.store.pull(&target, credentials()).await.unwrap();
        fresh.store.snapshot("after", &pulled).await.unwrap();
        assert_eq!(seen(&fresh, "after"), seen(&ground, "before"));
        assert_eq!(fresh.store.list()[0].config.cmd, ground.store.list()[0].config.cmd);
        // Where the registry has the original blobs, the original manifest is what is pushed.
        let retagged = format!("{}/team/app:v3", from.address);
        let kept = ground.store.push(&source, &retagged, None, Follow::default()).await.unwrap();
        assert_eq!(kept.as_str(), built.manifest);
        assert_eq!(fresh.store.pull(&retagged, None).await.unwrap(), id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_can_be_imported() {
    let test = "what_is_exported_can_be_imported";
    if !harness::root_or_skip(test) {
        return;
    }
    let Some(registry) = debian(Login::None) else {
        return harness::skip(test, "docker-registry is not installed");
    };
    let source = registry.push("team/app", "v1", &varied().build());
    let ground = Ground::fresh();
    let id = ground.store.pull(&source, None).await.unwrap();
    ground.store.snapshot("before", &id).await.unwrap();
    let file = ground.folder.path().join("app.tar");
    ground.store.export(&source, &file, Follow::default()).await.unwrap();
    let taken = ground.store.export(&source, &file, Follow::default()).await.unwrap_err();
    assert!(shown(&taken).contains("exists"), "{}", shown(&taken));
    let fresh = Ground::fresh();
    let imported = fresh.store.import(&file).await.unwrap();
    fresh.store.snapshot("after", &imported[0]).await.unwrap();
    assert_eq!(seen(&fresh, "after"), seen(&ground, "before"));
    assert_eq!(fresh.store.list()[0].tags, [source]);
    let missing = ground.store.export("nothing", &file, Follow::default()).await.unwrap_err();
    assert!(missing.to_string().contains("not here"), "{missing}");
    let plain = registry.push("team/small", "v1", &small("x").build());
    assert!(ground.store.push("nothing", &plain, None, Follow::default()).await.is_err());
}
