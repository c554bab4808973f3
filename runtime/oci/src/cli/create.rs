//! `create`: make a container and leave it waiting at its gate.

use clap::Args;

use super::options::{self, BundleOptions};
use crate::container::{self, ContainerError, Store};

#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    pub(super) options: BundleOptions,
    pub(super) id: String,
}

impl Create {
    pub(super) fn run(self, store: &Store, systemd_cgroup: bool) -> Result<u8, ContainerError> {
        let console = options::connect_console(self.options.console_socket.as_deref())?;
        let request = self.options.request(self.id, console, systemd_cgroup)?;
        container::create(store, request)?;
        Ok(0)
    }
}
