//! `start`: open the gate of a created container.

use std::os::fd::AsFd as _;

use clap::Args;

use super::session;
use crate::container::{self, ContainerError, NotifySocket, Status, Store, status};

#[derive(Debug, Args)]
pub(super) struct Start {
    pub(super) id: String,
}

impl Start {
    pub(super) fn run(self, store: &Store) -> Result<u8, ContainerError> {
        let record = store.load(&self.id)?;
        match status(store, &record)? {
            Status::Created => {}
            Status::Stopped => return Err(ContainerError::Stopped),
            Status::Running | Status::Paused => return Err(ContainerError::AlreadyRunning),
        }
        let directory = store.directory_of(&self.id)?;
        let notify = NotifySocket::bind(&directory)?;
        let pidfd = sys::process::open(record.pid).map_err(|_| ContainerError::Stopped)?;
        container::open_gate(&directory)?;
        session::poststart(store, &record, None);
        if let Some(notify) = notify {
            notify.pass_on(record.pid, pidfd.as_fd())?;
        }
        Ok(0)
    }
}
