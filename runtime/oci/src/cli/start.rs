//! `start`: open the gate of a created container.

use clap::Args;

use super::session;
use crate::container::{self, ContainerError, Status, Store, status};

#[derive(Debug, Args)]
pub(super) struct Start {
    id: String,
}

impl Start {
    pub(super) fn run(self, store: &Store) -> Result<u8, ContainerError> {
        let record = store.load(&self.id)?;
        match status(store, &record)? {
            Status::Created => {}
            Status::Stopped => return Err(ContainerError::Stopped),
            Status::Running | Status::Paused => return Err(ContainerError::AlreadyRunning),
        }
        container::open_gate(&store.directory_of(&self.id)?)?;
        session::poststart(store, &record, None);
        Ok(0)
    }
}
