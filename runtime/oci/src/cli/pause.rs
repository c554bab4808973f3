//! `pause` and `resume`: the container's processes stand still, all at once.

use clap::Args;
use sys::cgroup::{Cgroup, Layout};

use crate::container::{ContainerError, Status, Store, status};

#[derive(Debug, Args)]
pub(super) struct Pause {
    id: String,
}

#[derive(Debug, Args)]
pub(super) struct Resume {
    id: String,
}

impl Pause {
    pub(super) fn run(self, store: &Store) -> Result<u8, ContainerError> {
        cgroup_in(store, &self.id, &[Status::Running, Status::Created], "not running")?.freeze()?;
        Ok(0)
    }
}

impl Resume {
    pub(super) fn run(self, store: &Store) -> Result<u8, ContainerError> {
        cgroup_in(store, &self.id, &[Status::Paused], "not paused")?.thaw()?;
        Ok(0)
    }
}

fn cgroup_in(store: &Store, id: &str, allowed: &[Status], otherwise: &str) -> Result<Cgroup, ContainerError> {
    let record = store.load(id)?;
    if !allowed.contains(&status(store, &record)?) {
        return Err(ContainerError::Usage(format!("container {otherwise}")));
    }
    Ok(Cgroup::open(&Layout::detect()?, &record.cgroup)?)
}
