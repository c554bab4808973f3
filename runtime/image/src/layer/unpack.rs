//! The one pass from bytes to a layer's directory.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::apply::{Applier, open_root};
use super::deferred::Deferred;
use super::fault::{Fault, LayerError};
use super::metered::{Compressed, Inflated, Inflater};
use super::tar_stream::TarStream;
use crate::digest::Digest;
use crate::limits::Limits;

/// What a layer must be.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Of the bytes that come in. Archives of `docker save` do not say it.
    pub digest: Option<Digest>,
    pub size: u64,
    pub diff_id: Digest,
}

/// Bytes that the layers of one image may still unpack to, together.
pub type Budget = Arc<AtomicU64>;

/// A layer that is unpacked but may still wait for lower layers.
#[derive(Debug)]
pub struct Unpacked {
    pub deferred: Deferred,
    /// On disk, about.
    pub bytes: u64,
    pub inodes: u64,
    pub compressed_bytes: u64,
    /// An entry described the root folder.
    pub root_described: bool,
}

/// Unpacks `source` into the empty directory `target`. Blocks.
///
/// # Errors
/// Names the entry. The directory then holds rubbish, which the caller deletes.
pub fn unpack(
    source: impl Read,
    wanted: &Wanted,
    target: &Path,
    limits: &Limits,
    budget: Budget,
) -> Result<Unpacked, LayerError> {
    let outside = |error| LayerError::nowhere(Fault::read(error));
    let hasher = wanted.digest.as_ref().unwrap_or(&wanted.diff_id).hasher();
    let compressed = Compressed::new(source, hasher, wanted.size);
    let count = compressed.count();
    let inflater = Inflater::detect(compressed).map_err(outside)?;
    let mut inflated = Inflated::new(inflater, wanted.diff_id.hasher(), count, limits.clone(), budget);
    let mut applier = Applier::new(open_root(target).map_err(LayerError::nowhere)?, limits);
    let applied = applier.run(&mut TarStream::new(&mut inflated));
    // The digests cover what stands behind the archive, too.
    if let Err(error) = applied.and_then(|()| inflated.drain().map_err(outside)) {
        return Err(match error.fault {
            Fault::Damaged(_) => truth(error, inflated, wanted),
            _ => error,
        });
    }
    let ((diff_id, _), (digest, size)) = inflated.finish().map_err(outside)?;
    if size != wanted.size {
        return Err(LayerError::nowhere(Fault::Size { wanted: wanted.size, got: size }));
    }
    if let Some(wanted) = wanted.digest.clone().filter(|wanted| *wanted != digest) {
        return Err(LayerError::nowhere(Fault::Digest { wanted, got: digest }));
    }
    if diff_id != wanted.diff_id {
        let wanted = wanted.diff_id.clone();
        return Err(LayerError::nowhere(Fault::DiffId { wanted, got: diff_id }));
    }
    Ok(Unpacked {
        deferred: applier.deferred(),
        bytes: applier.bytes,
        inodes: applier.inodes,
        compressed_bytes: size,
        root_described: applier.root_described,
    })
}

/// Damage mostly means that other bytes came than were wanted: then that is what is said.
fn truth(damage: LayerError, inflated: Inflated<impl Read>, wanted: &Wanted) -> LayerError {
    let Ok((got, size)) = inflated.abandon() else { return damage };
    match &wanted.digest {
        _ if size != wanted.size => LayerError::nowhere(Fault::Size { wanted: wanted.size, got: size }),
        Some(wanted) if *wanted != got => LayerError::nowhere(Fault::Digest { wanted: wanted.clone(), got }),
        _ => damage,
    }
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
