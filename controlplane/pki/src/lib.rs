//! Certificate authorities, certificates, ServiceAccount tokens and kubeconfigs.
//!
//! What a cluster trusts and how its parts prove who they are. Nothing here listens or decides what an
//! identity may do. Time is passed in as seconds since 1970.
//!
//! **Invariants**
//! - Private keys are never a printable type, and their files are 0600 from the first byte.
//! - A trust bundle is a list: the next authority is trusted before the last one is dropped.
//!
//! Reference: RFC 5280; Kubernetes' use of CN as user and O as groups; RFC 7519 for tokens.

mod atomic_file;
mod authority;
mod folder;
mod identity;
mod join_token;
mod kubeconfig;
mod node;
mod part;
mod request;
mod shared;
mod token;

pub use atomic_file::write as write_whole;
pub use authority::{Authority, Certificate, Profile, Usage};
pub use folder::{ENCRYPTION_FILE, Folder, FolderError, FolderRequest, PEER_NAME};
pub use identity::{ClientTrust, Identity, RefusedCertificate};
pub use join_token::{JoinToken, NoJoinToken, bootstrap_parts, digest_of, is_for_servers, with_digest};
pub use kubeconfig::{FileKubeconfig, Kubeconfig};
pub use node::{NodeIdentity, NodeRequest};
pub use part::PartRequest;
pub use request::{Asked, SigningRequest};
pub use shared::{Refused as RefusedSharing, SHARED_FILES, install as install_shared, read as read_shared};
pub use token::{BoundTo, Claims, Kubernetes, RefusedToken, TokenKey, TokenKeys};

/// What keeps keys and certificates from being made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// Generating or signing failed, or a file is not what it should be.
    #[error("{what}: {source}")]
    Certificate {
        /// What was made or read.
        what: String,
        /// Why it failed.
        source: rcgen::Error,
    },
    /// A PEM file that holds nothing of the expected kind.
    #[error("{what} holds no {wanted}")]
    Missing {
        /// What was read.
        what: String,
        /// The PEM label wanted.
        wanted: &'static str,
    },
    /// The system's random numbers.
    #[error("the system has no random numbers")]
    NoEntropy,
    /// A token key that cannot be read.
    #[error("ServiceAccount key: {0}")]
    TokenKey(String),
}
