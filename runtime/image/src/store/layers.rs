//! Unpacked layers: found, held while a pull needs them, and deleted when nobody does.
//!
//! A layer's key is the hexadecimal part of its diff id. A layer that was settled against the layers
//! below it (`layer/deferred.rs`) belongs to its chain, and its key is that of the chain id.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::layout::{FORMAT, Layout};
use crate::digest::Digest;

/// What a layer is: `layer.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LayerRecord {
    pub version: u32,
    pub diff_id: Digest,
    /// On disk, about.
    pub bytes: u64,
    pub inodes: u64,
    pub compressed_bytes: u64,
    /// The layer says who owns the root folder.
    pub root_described: bool,
    /// The same over any other layers.
    pub self_contained: bool,
}

/// Layers that running pulls need.
#[derive(Clone, Debug, Default)]
pub struct Holds(Arc<Mutex<HashMap<String, usize>>>);

/// Keeps one layer from being deleted.
#[derive(Debug)]
pub struct Held {
    key: String,
    holds: Holds,
}

/// A layer's place in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub diff_id: Digest,
    pub chain_id: Digest,
    pub bottom: bool,
}

// === impl Holds ===

impl Holds {
    pub fn hold(&self, key: &str) -> Held {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key.to_owned()).or_default() += 1;
        Held { key: key.to_owned(), holds: self.clone() }
    }

    /// Holds a layer if it is there.
    pub fn find(&self, layout: &Layout, position: &Position) -> Option<(Held, LayerRecord)> {
        let take = |key: &str, fits: &dyn Fn(&LayerRecord) -> bool| {
            // First held, then looked at: nobody deletes it in between.
            let held = self.hold(key);
            let record = read(&layout.layer(key))
                .filter(|record| record.diff_id == position.diff_id && fits(record))?;
            Some((held, record))
        };
        take(position.diff_id.hex(), &|record| record.self_contained || position.bottom)
            .or_else(|| take(position.chain_id.hex(), &|_| !position.bottom))
    }

    /// Takes every layer out of the store that is neither used nor held.
    pub fn collect(&self, layout: &Layout, used: &BTreeSet<String>) -> Result<(), StoreError> {
        // The lock spans listing and renaming: a hold comes before or after, never in between.
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys(layout)? {
            if !used.contains(&key) && !held.contains_key(&key) {
                layout.discard(&layout.layer(&key))?;
            }
        }
        Ok(())
    }
}

// === impl Held ===

impl Held {
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut holds = self.holds.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = holds.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                holds.remove(&self.key);
            }
        }
    }
}

// === impl Position ===

impl Position {
    /// Of each layer of an image, bottom first.
    pub fn all(diff_ids: &[Digest]) -> Vec<Position> {
        let mut all: Vec<Position> = Vec::new();
        for diff_id in diff_ids {
            let chain_id = match all.last() {
                None => diff_id.clone(),
                Some(below) => Digest::of(format!("{} {diff_id}", below.chain_id).as_bytes()),
            };
            all.push(Position { diff_id: diff_id.clone(), chain_id, bottom: all.is_empty() });
        }
        all
    }
}

/// Every layer that is there.
pub fn keys(layout: &Layout) -> Result<Vec<String>, StoreError> {
    let path = layout.layers();
    let list = || -> std::io::Result<Vec<String>> {
        std::fs::read_dir(&path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    };
    list().map_err(|source| StoreError::Io { path: path.clone(), source })
}

/// What a layer's directory says it is; none if there is no usable layer.
pub fn read(layer: &Path) -> Option<LayerRecord> {
    let text = std::fs::read(layer.join("layer.json")).ok()?;
    serde_json::from_slice::<LayerRecord>(&text).ok().filter(|record| record.version <= FORMAT)
}

/// Directories for overlayfs, topmost first. A layer that stands in an image twice counts once, at its
/// highest place: the lower one shows nowhere, and overlayfs refuses it.
pub fn stack(layout: &Layout, layers: &[String]) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let mut directories: Vec<PathBuf> =
        layers.iter().rev().filter(|key| seen.insert(*key)).map(|key| layout.layer_fs(key)).collect();
    if directories.is_empty() {
        directories.push(layout.empty());
    }
    directories
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_ids_are_those_of_the_specification() {
        let a = Digest::of(b"a");
        let b = Digest::of(b"b");
        let all = Position::all(&[a.clone(), b.clone()]);
        assert_eq!(all[0], Position { diff_id: a.clone(), chain_id: a.clone(), bottom: true });
        assert_eq!(all[1].chain_id, Digest::of(format!("{a} {b}").as_bytes()));
    }
}
