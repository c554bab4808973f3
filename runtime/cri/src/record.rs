//! Checkpoints: one versioned JSON record per sandbox and per container.
//!
//! ```text
//! <root>/sandboxes/<id>/record.json      <root>/containers/<id>/record.json
//!                                        <root>/containers/<id>/spec.json   the OCI specification it runs
//! ```
//!
//! A record is written before the first thing it describes exists and removed after the last one is gone,
//! so what a crash leaves is always found by a record. Requests are kept as the protobuf they came in
//! (base64): the interface's own encoding is the one that stays readable for ever.
//!
//! **Invariants.** A record is replaced by rename: readers see an old or a new one. Only what must survive
//! a power cut (how a container ended) waits for the disk; all else describes processes that do not
//! survive one either. It waits once: a new file that was synced is found by its name (ext4, XFS, Btrfs and F2FS log the two
//! together), and whether it already has the record's name is no matter, because `record.next`, if it is whole, is what
//! is read. A record from a newer version is refused, not rewritten.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The version written; this one and the one before are read.
pub const VERSION: u32 = 1;
/// The largest record that is read.
const RECORD_BYTES_MAX: u64 = 8 << 20;
const FILE: &str = "record.json";
/// Of what will replace a file.
const NEXT: &str = "next";

/// Whether to wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Survives the daemon.
    Process,
    /// Survives a power cut.
    Power,
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("record {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("record {path} is damaged")]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error(
        "record {path} has version {found}; this build reads {VERSION}: use the newer build that wrote it"
    )]
    Newer { path: PathBuf, found: u32 },
}

/// Records of one kind.
#[derive(Clone, Debug)]
pub struct Records {
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    record: T,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

// === impl Records ===

impl Records {
    /// Opens or makes the folder.
    pub fn open(folder: PathBuf) -> Result<Records, RecordError> {
        make_folder(&folder).map_err(|source| RecordError::Io { path: folder.clone(), source })?;
        Ok(Records { folder })
    }

    /// The folder of one object; other files of it live here too.
    pub fn folder(&self, id: &str) -> PathBuf {
        self.folder.join(id)
    }

    /// Ids that have a folder.
    pub fn ids(&self) -> Result<Vec<String>, RecordError> {
        let failed = |source| RecordError::Io { path: self.folder.clone(), source };
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
                ids.push(name);
            }
        }
        ids.sort();
        Ok(ids)
    }

    pub fn save<T: Serialize>(
        &self,
        id: &str,
        record: &T,
        durability: Durability,
    ) -> Result<(), RecordError> {
        let path = self.folder(id).join(FILE);
        let failed = |source| RecordError::Io { path: path.clone(), source };
        let text = serde_json::to_vec(&Versioned { version: VERSION, record })
            .map_err(|error| failed(error.into()))?;
        make_folder(&self.folder(id)).map_err(failed)?;
        replace(&path, &text, durability).map_err(failed)
    }

    pub fn load<T: DeserializeOwned>(&self, id: &str) -> Result<T, RecordError> {
        let path = self.folder(id).join(FILE);
        match read(&path.with_extension(NEXT)) {
            // Not there, or cut off while it was written: then nothing that was told rests on it.
            Err(RecordError::Io { .. } | RecordError::Damaged { .. }) => read(&path),
            whole => whole,
        }
    }

    /// Removes the folder with all in it. Nothing there is success.
    pub fn remove(&self, id: &str) -> Result<(), RecordError> {
        let path = self.folder(id);
        match sys::tree::remove(&path).map_err(io::Error::from) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(RecordError::Io { path, source }),
            _ => Ok(()),
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, RecordError> {
    let failed = |source| RecordError::Io { path: path.to_owned(), source };
    let damaged = |source| RecordError::Damaged { path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.len() > RECORD_BYTES_MAX {
        return Err(failed(io::Error::other("too large")));
    }
    let text = fs::read(path).map_err(failed)?;
    let VersionOnly { version } = serde_json::from_slice(&text).map_err(damaged)?;
    if version > VERSION {
        return Err(RecordError::Newer { path: path.to_owned(), found: version });
    }
    Ok(serde_json::from_slice::<Versioned<T>>(&text).map_err(damaged)?.record)
}

/// Makes a folder that only root may look into.
pub fn make_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o710).create(path)
}

/// Replaces a file's content by rename. With [`Durability::Power`] the new content is on the disk afterwards, under one of
/// the two names.
pub fn replace(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    let next = path.with_extension(NEXT);
    let mut file = File::create(&next)?;
    file.write_all(content)?;
    if durability == Durability::Power {
        file.sync_all()?;
    }
    fs::rename(&next, path)
}

/// A protobuf message inside a JSON record: `#[serde(with = "record::message")]`.
pub mod message {
    use base64::Engine as _;
    use serde::de::Error as _;

    use super::{Deserialize, Deserializer, STANDARD, Serializer};

    pub fn serialize<M: prost::Message, S: Serializer>(message: &M, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(message.encode_to_vec()))
    }

    pub fn deserialize<'de, M: prost::Message + Default, D: Deserializer<'de>>(
        from: D,
    ) -> Result<M, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        M::decode(bytes.as_slice()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        name: String,
        #[serde(with = "message")]
        image: cri_api::v1::ImageSpec,
    }

    #[test]
    fn records_come_back_and_newer_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path().join("containers")).unwrap();
        let image = cri_api::v1::ImageSpec { image: "busybox".into(), ..Default::default() };
        let sample = Sample { name: "a".into(), image };
        records.save("1", &sample, Durability::Power).unwrap();
        assert_eq!(records.load::<Sample>("1").unwrap(), sample);
        assert_eq!(records.ids().unwrap(), ["1"]);
        // After a power cut the new record may have its first name only, or only a part of its content.
        let next = records.folder("1").join("record.next");
        let image = cri_api::v1::ImageSpec { image: "newer".into(), ..Default::default() };
        let newer = Sample { name: "a".into(), image };
        let text = serde_json::to_string(&Versioned { version: VERSION, record: &newer }).unwrap();
        fs::write(&next, &text).unwrap();
        assert_eq!(records.load::<Sample>("1").unwrap(), newer);
        for cut in 0..text.len() {
            fs::write(&next, &text[..cut]).unwrap();
            assert_eq!(records.load::<Sample>("1").unwrap(), sample, "cut after {cut} bytes");
            // Its length may be on the disk before what it holds.
            fs::write(&next, [&text.as_bytes()[..cut], &vec![0; text.len() - cut]].concat()).unwrap();
            assert_eq!(records.load::<Sample>("1").unwrap(), sample, "zeros after {cut} bytes");
        }
        fs::remove_file(&next).unwrap();
        fs::write(records.folder("1").join(FILE), r#"{"version":2,"shape":"unknown"}"#).unwrap();
        assert!(matches!(records.load::<Sample>("1"), Err(RecordError::Newer { found: 2, .. })));
        fs::write(records.folder("1").join(FILE), "{").unwrap();
        assert!(matches!(records.load::<Sample>("1"), Err(RecordError::Damaged { .. })));
        records.remove("1").unwrap();
        records.remove("1").unwrap();
        assert!(records.ids().unwrap().is_empty());
    }
}
