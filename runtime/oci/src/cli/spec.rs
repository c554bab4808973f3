//! `spec`: a specification to begin with.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use oci_spec::runtime::Spec;

use crate::container::ContainerError;

#[derive(Debug, Args)]
pub(super) struct NewSpec {
    /// Directory to write config.json to
    #[arg(long, short, default_value = ".")]
    bundle: PathBuf,
}

impl NewSpec {
    pub(super) fn run(self) -> Result<u8, ContainerError> {
        let path = self.bundle.join("config.json");
        let mut spec = Spec::default();
        if let Some(process) = spec.process_mut() {
            process.set_terminal(Some(true));
        }
        let text = serde_json::to_string_pretty(&spec)
            .map_err(|source| ContainerError::Json { file: path.clone(), source })?;
        // Never over one that somebody has edited.
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(ContainerError::file("make", &path))?;
        file.write_all(text.as_bytes()).map_err(ContainerError::file("write", path))?;
        Ok(0)
    }
}
