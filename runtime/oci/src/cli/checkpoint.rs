//! `checkpoint` and `restore`: parsed, so that a caller learns that there is none instead of what an unknown flag is.

use clap::Args;

use crate::container::ContainerError;

#[derive(Debug, Args)]
pub(super) struct Checkpoint {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _anything: Vec<String>,
}

impl Checkpoint {
    pub(super) fn run(self) -> Result<u8, ContainerError> {
        Err(ContainerError::Usage("checkpoint and restore are not supported by this runtime".into()))
    }
}
