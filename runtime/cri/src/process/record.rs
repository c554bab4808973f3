//! One small file for each process, so that it is found again when daemon and keeper both died.
//!
//! ```text
//! <state>/processes/<id>   {"version":1,"pid":..,"identity":{..},"started_at_nanoseconds":..,"tied":..,"exit":null}
//! ```
//!
//! The state directory does not survive a reboot, and neither do the processes: nothing is synced.
//! A file is replaced whole; one that cannot be read is left where it is and said so.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keeper_api::{Exit, ProcessId};
use serde::{Deserialize, Serialize};
use sys::exit::Identity;

/// The folder's name in the state directory.
pub const FOLDER: &str = "processes";
/// The version of a record.
const VERSION: u16 = 1;
/// The largest record that is read.
const LARGEST: u64 = 4096;

/// What is written down of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    version: u16,
    pub pid: i32,
    /// Clock ticks between boot and its start.
    pub start_ticks: u64,
    /// Its pidfd's inode.
    pub inode: u64,
    pub started_at_nanoseconds: u64,
    pub tied: bool,
    /// How it ended, once that is known.
    pub exit: Option<Exit>,
}

/// The records of a state directory.
#[derive(Clone, Debug)]
pub struct Records(PathBuf);

impl Record {
    /// A record of a process that lives.
    pub fn new(pid: i32, identity: Identity, started_at_nanoseconds: u64, tied: bool) -> Record {
        let Identity { inode, start_ticks } = identity;
        Record { version: VERSION, pid, start_ticks, inode, started_at_nanoseconds, tied, exit: None }
    }

    /// What tells it from a later process of the same pid.
    pub fn identity(&self) -> Identity {
        Identity { inode: self.inode, start_ticks: self.start_ticks }
    }
}

impl Records {
    /// Opens the folder, which is made if it is missing.
    pub fn open(state_dir: &Path) -> io::Result<Records> {
        let folder = state_dir.join(FOLDER);
        fs::create_dir_all(&folder)?;
        Ok(Records(folder))
    }

    /// Writes a record in place of what is there.
    pub fn write(&self, id: &ProcessId, record: &Record) -> io::Result<()> {
        // No id starts with a dot.
        let fresh = self.0.join(format!(".{id}"));
        fs::write(&fresh, serde_json::to_vec(record)?)?;
        fs::rename(&fresh, self.0.join(id.as_str()))
    }

    /// Removes a record; fine if there is none.
    pub fn remove(&self, id: &ProcessId) {
        match fs::remove_file(self.0.join(id.as_str())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%id, %error, "a process's record cannot be removed");
            }
            _ => {}
        }
    }

    /// Reads all that can be read.
    pub fn read(&self) -> io::Result<Vec<(ProcessId, Record)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with('.') {
                // Half a record of a process that never passed its gate.
                let _gone = fs::remove_file(&path);
                continue;
            }
            match read_one(&path, &name) {
                Ok(record) => found.push(record),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a process's record is not used")
                }
            }
        }
        Ok(found)
    }
}

fn read_one(path: &Path, name: &str) -> io::Result<(ProcessId, Record)> {
    let id = ProcessId::new(name).map_err(io::Error::other)?;
    if path.metadata()?.len() > LARGEST {
        return Err(io::Error::other("larger than any record"));
    }
    let record: Record = serde_json::from_slice(&fs::read(path)?)?;
    if record.version != VERSION {
        return Err(io::Error::other(format!("version {}, this build reads {VERSION}", record.version)));
    }
    Ok((id, record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keeper_api::Status;

    #[test]
    fn records_come_back_and_rubbish_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let records = Records::open(folder.path()).expect("opens");
        let id = ProcessId::new("c1").expect("a name");
        let mut record = Record::new(7, Identity { inode: 1, start_ticks: 2 }, 3, false);
        records.write(&id, &record).expect("written");
        record.exit = Some(Exit { status: Status::Exited(4), at_nanoseconds: 5 });
        records.write(&id, &record).expect("replaced");
        let at = folder.path().join(FOLDER);
        fs::write(at.join("torn"), b"{\"version\":1").expect("written");
        fs::write(at.join("later"), serde_json::to_string(&record).expect("text").replace(":1,", ":9,"))
            .expect("written");
        fs::write(at.join(".half"), b"").expect("written");
        fs::write(at.join("large"), vec![b' '; 5000]).expect("written");
        assert_eq!(records.read().expect("reads"), [(id.clone(), record)]);
        assert!(!at.join(".half").exists() && at.join("torn").exists());
        records.remove(&id);
        records.remove(&id);
        assert_eq!(records.read().expect("reads"), []);
    }

    #[test]
    fn a_record_of_version_one() {
        let text = r#"{"version":1,"pid":12,"start_ticks":34,"inode":56,"started_at_nanoseconds":78,"tied":false,
            "exit":{"status":{"Exited":42},"at_nanoseconds":90}}"#;
        let record: Record = serde_json::from_str(text).expect("still read");
        assert_eq!(record.exit.map(|exit| exit.code()), Some(42));
    }
}
