//! `images.json`: which images there are, what they are called and of which layers they are made.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::layout::{FORMAT, Layout};
use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::image::{Image, ImageId};

/// One image, as written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub id: Digest,
    pub manifest: Digest,
    pub tags: Vec<String>,
    pub digests: Vec<String>,
    /// Keys of its layers, bottom first.
    pub layers: Vec<String>,
    pub size: u64,
    #[serde(default)]
    pub pinned: bool,
    pub pulled_at: i64,
}

/// An image in memory.
#[derive(Clone, Debug)]
pub struct Known {
    pub record: Record,
    pub config: Arc<ImageConfig>,
    pub config_json: Arc<str>,
}

/// By configuration digest.
pub type Images = BTreeMap<Digest, Known>;

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    images: Vec<Record>,
}

// === impl Known ===

impl Known {
    pub fn image(&self) -> Image {
        let record = &self.record;
        Image {
            id: ImageId(record.id.clone()),
            tags: record.tags.clone(),
            digests: record.digests.clone(),
            size: record.size.max(1),
            pinned: record.pinned,
            pulled_at: record.pulled_at,
            config: self.config.clone(),
            config_json: self.config_json.clone(),
        }
    }
}

/// Reads the index. An image whose configuration or layers are gone is left out, and said.
pub fn load(layout: &Layout) -> Result<Images, StoreError> {
    let path = layout.index();
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Images::new()),
        Err(source) => return Err(StoreError::Io { path, source }),
    };
    let document: Document = serde_json::from_slice(&text)
        .map_err(|error| StoreError::Damaged { path: path.clone(), reason: error.to_string() })?;
    if document.version > FORMAT {
        return Err(StoreError::Newer { path, found: document.version, known: FORMAT });
    }
    let mut images = Images::new();
    for record in document.images {
        match know(layout, record.clone()) {
            Ok(known) => drop(images.insert(record.id.clone(), known)),
            Err(reason) => {
                tracing::warn!(image = %record.id, reason, "an image is damaged and must be pulled again")
            }
        }
    }
    Ok(images)
}

/// Writes the index.
pub fn save(layout: &Layout, images: &Images) -> Result<(), StoreError> {
    let document = Document { version: FORMAT, images: images.values().map(|k| k.record.clone()).collect() };
    let path = layout.index();
    let json = serde_json::to_vec_pretty(&document)
        .map_err(|error| StoreError::Io { path: path.clone(), source: error.into() })?;
    layout.write(&path, &json)
}

/// Finds an image by tag, digest reference, id or the start of an id.
pub fn find<'a>(images: &'a Images, name: &str) -> Option<&'a Known> {
    if let Ok(reference) = name.parse::<crate::reference::Reference>() {
        let wanted = match reference.digest() {
            Some(digest) => reference.with_digest(digest),
            None => reference.to_string(),
        };
        let named =
            |known: &&Known| known.record.tags.contains(&wanted) || known.record.digests.contains(&wanted);
        if let Some(known) = images.values().find(named) {
            return Some(known);
        }
    }
    let start = name.strip_prefix("sha256:").unwrap_or(name);
    if start.is_empty() || !start.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut fitting = images.values().filter(|known| known.record.id.hex().starts_with(start));
    let first = fitting.next();
    if fitting.next().is_some() { None } else { first }
}

fn know(layout: &Layout, record: Record) -> Result<Known, String> {
    if let Some(gone) = record.layers.iter().find(|key| !layout.layer_fs(key).is_dir()) {
        return Err(format!("layer {gone} is gone"));
    }
    let json = std::fs::read_to_string(layout.blob(&record.id)).map_err(|error| error.to_string())?;
    if !record.id.names(json.as_bytes()) {
        return Err("its configuration was changed".to_owned());
    }
    let config = ImageConfig::parse(json.as_bytes()).map_err(|error| error.to_string())?;
    Ok(Known { record, config: Arc::new(config), config_json: json.into() })
}
