//! Pulls from registries on loopback: Debian's in every kind of login, and one that fails as it is told.

extern crate keelson_image as image;

#[path = "pull/bench.rs"]
mod bench;
#[path = "pull/debian.rs"]
mod debian;
#[path = "pull/faults.rs"]
mod faults;
#[path = "pull/hosts.rs"]
mod hosts;
#[path = "pull/push.rs"]
mod push;
#[path = "pull/tls.rs"]
mod tls;

use std::path::{Path, PathBuf};

use harness::image::{Compression, ImageBuilder, Layer};
use image::{ImageOptions, Limits, Store};
use tempfile::TempDir;

/// A store in a folder of its own.
pub struct Ground {
    pub folder: TempDir,
    pub store: Store,
}

impl Ground {
    pub fn fresh() -> Ground {
        Ground::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut ImageOptions)) -> Ground {
        let folder = tempfile::tempdir().unwrap();
        let mut options = ImageOptions::new(folder.path().join("images"), folder.path().join("certs.d"));
        options.limits = Limits { reserve_bytes: 0, ..Limits::default() };
        change(&mut options);
        let store = Store::open(options).unwrap();
        Ground { folder, store }
    }

    /// Writes the hosts file of a registry.
    pub fn hosts(&self, registry: &str, text: &str) {
        let folder = self.folder.path().join("certs.d").join(registry);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("hosts.toml"), text).unwrap();
    }

    pub fn root(&self) -> PathBuf {
        self.store.root().to_owned()
    }

    /// Nothing but what an empty store has.
    pub fn assert_clean(&self) {
        for folder in ["tmp", "trash", "layers", "blobs/sha256"] {
            assert_eq!(names(&self.root().join(folder)), [""; 0], "{folder} is empty");
        }
        assert!(self.store.list().is_empty());
    }
}

pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// An image of one small layer.
pub fn small(content: &str) -> ImageBuilder {
    let layer = Layer::new().folder("./", 0o755).file("content", 0o644, content.as_bytes());
    ImageBuilder::new().layer(layer, Compression::Gzip)
}

/// Bytes that do not compress.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(length).collect()
}

/// An error with everything below it.
pub fn shown(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(&format!(": {source}"));
        next = source.source();
    }
    text
}
