//! The record of a container on disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use super::ContainerError;
use crate::plan::Namespaces;

/// The version of `state.json`; readers take this one and refuse newer ones.
pub const RECORD_VERSION: u32 = 1;

/// A record, and one that nobody may see yet.
const RECORD: &str = "state.json";
const PREPARED: &str = ".state.json";

/// The longest id: it becomes a file name in the state and in every cgroup hierarchy.
const ID_BYTES_MAX: usize = 255;

/// What is known about a container for as long as it exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub version: u32,
    pub oci_version: String,
    pub id: String,
    pub pid: i32,
    /// Field 22 of /proc/pid/stat.
    pub start_ticks: u64,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    /// RFC 3339, UTC.
    pub created: String,
    /// Below each hierarchy's root.
    pub cgroup: String,
    /// The systemd unit whose cgroup it is, when systemd made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Those not shared with the host: what an exec joins.
    pub namespaces: Namespaces,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

impl Record {
    /// The state that hooks and listeners get, without its PID, its status and the closing brace.
    pub(crate) fn open_state(&self) -> String {
        super::state_without_process(&self.oci_version, &self.id, &self.bundle, Some(&self.annotations))
    }
}

/// The directory of all records.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// Nothing is made before the first container.
    pub fn new(root: &Path) -> Store {
        Store { directory: root.join("v1") }
    }

    /// The directory of one container; the id is checked, because it becomes a path.
    pub fn directory_of(&self, id: &str) -> Result<PathBuf, ContainerError> {
        if id.is_empty() {
            return Err(ContainerError::EmptyId);
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
        if id.len() > ID_BYTES_MAX || !id.chars().all(plain) || id == "." || id == ".." {
            return Err(ContainerError::InvalidId(id.to_owned()));
        }
        Ok(self.directory.join(id))
    }

    pub fn load(&self, id: &str) -> Result<Record, ContainerError> {
        let path = self.directory_of(id)?.join(RECORD);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ContainerError::NotFound);
            }
            result => result.map_err(ContainerError::file("read", &path))?,
        };
        parse(&bytes, path)
    }

    /// The specification the container was made from.
    pub fn load_spec(&self, id: &str) -> Result<Spec, ContainerError> {
        read_spec(&self.directory_of(id)?.join("config.json"))
    }

    /// The specification, if hooks of that name are in it: most have none, and need not be read to know.
    pub(crate) fn load_spec_with_hooks(&self, id: &str, name: &str) -> Option<Spec> {
        let path = self.directory_of(id).ok()?.join("config.json");
        let bytes = std::fs::read(path).ok()?;
        let named = bytes.windows(name.len()).any(|window| window == name.as_bytes());
        // JSON may write a name in other ways; then it has a backslash.
        if named || bytes.contains(&b'\\') { serde_json::from_slice(&bytes).ok() } else { None }
    }

    /// All records in order of their ids; a directory without one is a container being made or removed.
    pub fn list(&self) -> Result<Vec<Record>, ContainerError> {
        let entries = match std::fs::read_dir(&self.directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result.map_err(ContainerError::file("list", &self.directory))?,
        };
        let mut records = Vec::new();
        for entry in entries {
            let entry = entry.map_err(ContainerError::file("list", &self.directory))?;
            match self.load(&entry.file_name().to_string_lossy()) {
                Ok(record) => records.push(record),
                Err(ContainerError::NotFound | ContainerError::InvalidId(_)) => {}
                Err(error) => return Err(error),
            }
        }
        records.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(records)
    }

    /// Writes the record where no reader looks.
    pub(crate) fn prepare(&self, record: &Record) -> Result<(), ContainerError> {
        let temporary = self.directory_of(&record.id)?.join(PREPARED);
        let bytes = serde_json::to_vec(record)
            .map_err(|source| ContainerError::Json { file: temporary.clone(), source })?;
        std::fs::write(&temporary, bytes).map_err(ContainerError::file("write", temporary))
    }

    /// Puts the prepared record in its place: a reader sees it whole or not at all.
    pub(crate) fn publish(&self, id: &str) -> Result<(), ContainerError> {
        let directory = self.directory_of(id)?;
        let path = directory.join(RECORD);
        std::fs::rename(directory.join(PREPARED), &path).map_err(ContainerError::file("write", path))
    }
}

fn parse(bytes: &[u8], path: PathBuf) -> Result<Record, ContainerError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let json = |source| ContainerError::Json { file: path.clone(), source };
    let Versioned { version } = serde_json::from_slice(bytes).map_err(json)?;
    if version > RECORD_VERSION {
        return Err(ContainerError::Version(version, path));
    }
    serde_json::from_slice(bytes).map_err(json)
}

pub(crate) fn read_spec(path: &Path) -> Result<Spec, ContainerError> {
    let bytes = std::fs::read(path).map_err(ContainerError::file("read", path))?;
    serde_json::from_slice(&bytes).map_err(|source| ContainerError::Json { file: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_be_paths() {
        let store = Store::new(Path::new("/r"));
        for (id, good) in [
            ("web-1.x_y+z", true),
            ("", false),
            (".", false),
            ("..", false),
            ("../x", false),
            ("a/b", false),
            ("a b", false),
            ("ä", false),
        ] {
            assert_eq!(store.directory_of(id).is_ok(), good, "{id}");
        }
    }

    #[test]
    fn a_newer_record_is_refused_with_a_sentence() {
        let error = parse(br#"{"version":99}"#, "/r/state.json".into()).unwrap_err();
        assert!(error.to_string().contains("newer"), "{error}");
    }
}
