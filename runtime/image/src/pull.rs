//! Pulling: reference -> manifest -> configuration and layers -> store.

use std::io;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::reference::ReferenceError;
use crate::store::StoreError;

/// Why an image is not in the store after a pull or an import.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// No host has it. `tried` says what each of them answered.
    #[error("{reference}: not found: {tried}")]
    NotFound { reference: String, tried: String },
    /// A host knows the caller too little or not at all.
    #[error("{reference}: access denied: {tried}")]
    Denied { reference: String, tried: String },
    /// No host answered as a registry should.
    #[error("{reference}: no registry host could serve it: {tried}")]
    Unreachable { reference: String, tried: String },
    /// Bytes are not what their name says.
    #[error("{what}: content is {got}, wanted {wanted}")]
    Corrupt { what: String, wanted: Digest, got: Digest },
    #[error("{what}: {got} bytes where the manifest says {wanted}")]
    Size { what: String, wanted: u64, got: u64 },
    /// Something real that this runtime does not take.
    #[error("{reference}: {reason}")]
    Unsupported { reference: String, reason: String },
    /// More than a limit allows, or an entry that no honest layer holds.
    #[error("{what}: refused: {reason}")]
    Refused { what: String, reason: String },
    /// The disk is full, or would be.
    #[error("{what}: no space left for the image")]
    NoSpace { what: String },
    #[error("{what}: {path}")]
    Io {
        what: String,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("certs.d: {0}")]
    Hosts(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}
