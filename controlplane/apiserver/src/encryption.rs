//! Encryption at rest: which objects are written under which key, and by which keys they are read.
//!
//! ```text
//!   file (EncryptionConfiguration) ─► Keyring ─► envelope::seal, envelope::open
//!        └─ changes (inotify) ─► checked against what the store holds ─► swapped ─► objects of older keys are rewritten
//! ```
//!
//! The file is upstream's, with the providers `aesgcm`, `secretbox` and `identity`. What lies in the store is ours
//! (`envelope`), not etcd's bytes of upstream. An object without a key is always readable: it is from before.
//!
//! **Invariants**
//! - A configuration that cannot read an object of the store is not taken: at the start the server refuses, later it
//!   goes on with the former one.
//! - A ciphertext is bound to its key in the store: it cannot be moved to another object.
//!
//! Reference: Kubernetes "Encrypting Confidential Data at Rest", apiserver.config.k8s.io/v1.

mod configuration;
mod key;
mod reload;
mod rewrite;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

pub use configuration::Keyring;
pub use key::{Key, Unfit};
pub use reload::Reloading;

use crate::configuration_file::ConfigurationError;

/// The largest configuration that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{}: {source}", path.display())]
    Configuration {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: ConfigurationError,
    },
    /// The store holds objects of a key that the file lacks.
    #[error(
        "{objects} objects of the store are encrypted with {key:?}, which the configuration lacks: put that key back, behind the new one"
    )]
    KeyMissing {
        /// The key's id.
        key: String,
        /// How many.
        objects: usize,
    },
    /// The store cannot be read or written.
    #[error("rewriting objects: {0}")]
    Store(String),
}

/// The keys of now.
#[derive(Debug, Default)]
pub struct Encryption {
    current: RwLock<Arc<Keyring>>,
}

impl Encryption {
    /// With these keys.
    pub fn new(keyring: Keyring) -> Arc<Encryption> {
        Arc::new(Encryption { current: RwLock::new(Arc::new(keyring)) })
    }

    /// The keys as they are now.
    pub fn current(&self) -> Arc<Keyring> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn replace(&self, keyring: Arc<Keyring>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = keyring;
    }
}

/// Reads an EncryptionConfiguration.
pub fn read(path: &Path) -> Result<Keyring, EncryptionError> {
    let told = |source| EncryptionError::Read { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(told)?.len();
    if length > FILE_BYTES_MAX {
        return Err(told(std::io::Error::other(format!("{length} bytes are no configuration"))));
    }
    let text = std::fs::read_to_string(path).map_err(told)?;
    let wrong = |source| EncryptionError::Configuration { path: path.to_owned(), source };
    Keyring::parse(&text).map_err(wrong)
}
