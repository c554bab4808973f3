//! `delete`: remove a container that has stopped, or any with --force.

use clap::Args;

use crate::container::{self, ContainerError, Store};

#[derive(Debug, Args)]
pub(super) struct Delete {
    /// Kill it first when it still runs; no error when it does not exist
    #[arg(long, short)]
    pub(super) force: bool,
    pub(super) id: String,
}

impl Delete {
    pub(super) fn run(self, store: &Store) -> Result<u8, ContainerError> {
        container::delete(store, &self.id, self.force)?;
        Ok(0)
    }
}
