//! Takes everything away again.

use std::path::Path;

use sys::footprint::Footprint;

use crate::attach::{self, Means};
use crate::config::Config;
use crate::error::DatapathError;
use crate::migrate::Migration;
use crate::pins::{self, Pins};

/// What is on the host while the data path is loaded.
#[must_use]
pub fn footprint(config: &Config) -> Footprint {
    let pins = Pins::of(config);
    Footprint { pins: vec![pins.instance.join("v*")], ..Footprint::default() }
}

/// Detaches, unloads and removes every version, and the bpffs if it was mounted for this directory alone.
/// Nothing there is success. Pods lose the network. To be called in the node's own network namespace.
pub fn unload(config: &Config) -> Result<(), DatapathError> {
    let pins = Pins::of(config);
    if !pins.instance.exists() {
        return Ok(());
    }
    {
        let _lock = pins.lock()?;
        for version in versions(&pins)? {
            // Links first: no program without its maps.
            attach::clsact::detach_in(&version.join("links"))?;
            pins::remove(&version.join("links"))?;
            pins::remove(&version)?;
        }
    }
    if pins.instance != config.bpffs {
        pins::remove(&pins.instance)?;
    }
    // The kernel puts two iterators of its own, maps.debug and progs.debug, into each bpffs.
    let ours = |name: &String| !name.ends_with(".debug");
    if pins::names(&config.bpffs)?.iter().any(ours) {
        return Ok(());
    }
    if pins::is_own_mount(&config.bpffs) {
        return pins::unmount(&config.bpffs);
    }
    pins::remove(&config.bpffs)
}

/// Removes the programs of other builds, and versions with another ABI once this one is attached wherever they are.
pub(crate) fn others(pins: &Pins, means: Means, programs: &Path) -> Result<(), DatapathError> {
    for name in pins::names(&pins.version)? {
        let path = pins.version.join(&name);
        if name.starts_with("programs-") && path != programs {
            pins::remove(&path)?;
        }
    }
    for version in other_versions(pins)? {
        let migration = Migration::new(&version, pins);
        let links = version.join("links");
        attach::adopt(&links, means, pins, programs)?;
        migration.flows()?;
        pins::remove(&links)?;
        migration.flows()?;
        pins::remove(&version)?;
        tracing::info!(path = %version.display(), "the data path of another version is replaced");
    }
    Ok(())
}

/// Directories of this instance that are of other versions.
pub(crate) fn other_versions(pins: &Pins) -> Result<Vec<std::path::PathBuf>, DatapathError> {
    Ok(versions(pins)?.into_iter().filter(|version| *version != pins.version).collect())
}

fn versions(pins: &Pins) -> Result<Vec<std::path::PathBuf>, DatapathError> {
    let is_version = |name: &String| {
        name.strip_prefix('v')
            .is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    Ok(pins::names(&pins.instance)?
        .into_iter()
        .filter(is_version)
        .map(|name| pins.instance.join(name))
        .collect())
}
