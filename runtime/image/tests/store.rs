//! The store itself: archives, names, snapshots, real overlay mounts, full disks and killed processes.

extern crate keelson_image as image;

#[path = "store/archives.rs"]
mod archives;
#[path = "store/crash.rs"]
mod crash;
#[path = "store/disk.rs"]
mod disk;
#[path = "store/mounts.rs"]
mod mounts;
#[path = "store/names.rs"]
mod names;

use std::path::{Path, PathBuf};

use harness::image::BuiltImage;
use image::{ImageId, ImageOptions, Limits, Store, StoreError};
use tempfile::TempDir;

/// How long a start of a process may take on a busy machine.
const COPIED_LOCK: std::time::Duration = std::time::Duration::from_secs(60);

/// A store in a folder of its own.
pub struct Ground {
    pub folder: TempDir,
    pub store: Store,
}

impl Ground {
    pub fn fresh() -> Ground {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(options(&folder.path().join("images"))).unwrap();
        Ground { folder, store }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub async fn import(&self, image: &BuiltImage, name: &str) -> ImageId {
        let path = self.path("archive.tar");
        std::fs::write(&path, image.archive(name)).unwrap();
        let ids = self.store.import(&path).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        ids[0].clone()
    }

    pub fn layers(&self) -> usize {
        list(&self.store.root().join("layers")).len()
    }
}

pub fn options(root: &Path) -> ImageOptions {
    let mut options = ImageOptions::new(root, root.join("../certs.d"));
    options.limits = Limits { reserve_bytes: 0, ..Limits::default() };
    options
}

/// Opens a store that was dropped. A child that another test is starting holds a copy of the lock until its exec.
pub fn reopen(root: &Path) -> Result<Store, StoreError> {
    let begun = std::time::Instant::now();
    loop {
        match Store::open(options(root)) {
            Err(StoreError::InUse(_)) if begun.elapsed() < COPIED_LOCK => {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            opened => return opened,
        }
    }
}

pub fn list(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
