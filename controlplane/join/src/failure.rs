//! Why a machine does not become a node: what happened, to what, and what to do next.

use std::path::PathBuf;

use client::{ClientError, ConfigError};
use pki::PkiError;

#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("{server} does not answer: {why}; is the server running there, and its port open?")]
    Unreachable { server: String, why: String },
    #[error("{server} tells nothing about its cluster ({why}): is it a Keelson server?")]
    NoCluster { server: String, why: String },
    #[error(
        "the authority of {server} is not the one in the token: the token is of another cluster, or somebody stands between"
    )]
    WrongAuthority { server: String },
    #[error(
        "the certificate of {server} is for other names: use one of those, or start the server with --tls-san"
    )]
    WrongName { server: String },
    #[error("token {id} is not accepted: it is wrong, or was revoked; `keelson token create` makes another")]
    TokenRefused { id: String },
    #[error("token {id} has expired; `keelson token create` makes another")]
    TokenExpired { id: String },
    #[error("the cluster does not take this machine: {0}")]
    Denied(String),
    #[error("the cluster could not sign: {0}")]
    NotSigned(String),
    #[error(
        "certificate request {name} was not signed within {seconds} s: are the controllers running? A person may approve it: kubectl certificate approve {name}"
    )]
    NotInTime { name: String, seconds: u64 },
    #[error("this machine is node {known}, not {wanted}: give --node-name {known}, or remove {} to join anew", folder.display())]
    AnotherNode { known: String, wanted: String, folder: PathBuf },
    #[error(
        "this machine is no node yet: give --token or --token-file (`keelson token create` makes one on the server)"
    )]
    NoToken,
    #[error(
        "the certificate of this node ended before it was renewed: delete the Node (kubectl delete node {node}) and give a new token"
    )]
    Ended { node: String },
    #[error("token {id} cannot make this machine a server: {why}")]
    NotForServers { id: String, why: String },
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error("{0}")]
    Facts(String),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl JoinError {
    /// Whether the same may go better in a while.
    pub fn is_passing(&self) -> bool {
        match self {
            JoinError::Unreachable { .. } | JoinError::NotInTime { .. } => true,
            JoinError::Client(error) => {
                error.status().is_none_or(|status| status.code >= 500 || status.code == 429)
            }
            _ => false,
        }
    }
}
