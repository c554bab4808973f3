//! `state`: a container's state as JSON.

use clap::Args;
use serde::Serialize;

use crate::container::{ContainerError, Record, Status, Store, status};

#[derive(Debug, Args)]
pub(super) struct State {
    pub(super) id: String,
}

/// runc's fields in runc's order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View<'a> {
    oci_version: &'a str,
    id: &'a str,
    pid: i32,
    status: String,
    bundle: &'a std::path::Path,
    rootfs: &'a std::path::Path,
    created: &'a str,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    annotations: &'a std::collections::BTreeMap<String, String>,
    owner: &'static str,
}

impl<'a> View<'a> {
    pub(super) fn new(record: &'a Record, status: Status) -> View<'a> {
        View {
            oci_version: &record.oci_version,
            id: &record.id,
            pid: if status == Status::Stopped { 0 } else { record.pid },
            status: status.to_string(),
            bundle: &record.bundle,
            rootfs: &record.rootfs,
            created: &record.created,
            annotations: &record.annotations,
            owner: "",
        }
    }
}

impl State {
    pub(super) fn run(self, store: &Store) -> Result<u8, ContainerError> {
        let record = store.load(&self.id)?;
        let view = View::new(&record, status(store, &record)?);
        let text = serde_json::to_string_pretty(&view)
            .map_err(|source| ContainerError::Json { file: "state".into(), source })?;
        println!("{text}");
        Ok(0)
    }
}
