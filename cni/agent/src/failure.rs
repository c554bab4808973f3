//! What can go wrong when the agent looks, and what the plugin is told of it.

use std::io;
use std::path::PathBuf;

use cni_api::{CniError, Code};
use datapath::DatapathError;
use netlink::NetlinkError;

use crate::conflist;
use crate::network::NetworkError;

#[derive(Debug, thiserror::Error)]
pub enum LookError {
    #[error("looking at the host")]
    Netlink(#[from] NetlinkError),
    #[error("the datapath")]
    Datapath(#[from] DatapathError),
    #[error("the node's network")]
    Network(#[from] NetworkError),
    #[error("the records of pods")]
    Records(#[source] io::Error),
    #[error("writing {} to {}", conflist::FILE, folder.display())]
    Conflist { folder: PathBuf, source: io::Error },
    /// Only tests make this one.
    #[error("injected")]
    Injected,
}

impl From<LookError> for CniError {
    fn from(error: LookError) -> CniError {
        CniError::new(Code::Io, "the network agent could not do it").details(chain(&error))
    }
}

/// An error with everything below it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}
