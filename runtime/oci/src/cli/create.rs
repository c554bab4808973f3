//! `create`: make a container and leave it waiting at its gate.

use clap::Args;

use super::options::{self, BundleOptions};
use crate::container::{self, ContainerError, Store};

#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    options: BundleOptions,
    id: String,
}

impl Create {
    pub(super) fn run(self, store: &Store) -> Result<u8, ContainerError> {
        let socket = self.options.console_socket.clone();
        let console = options::connect_console(socket.as_deref())?;
        let request = self.options.request(self.id, console)?;
        if request.console.is_none() {
            // Read again by `create`; only a missing socket is worth the look.
            let spec = container::read_spec(&request.bundle.join("config.json"))?;
            let terminal = spec.process().as_ref().is_some_and(|process| process.terminal() == Some(true));
            options::check_console(terminal, true, None)?;
        }
        container::create(store, request)?;
        Ok(0)
    }
}
