//! The keys that every server of a cluster holds alike, on their way from one to the next.
//!
//! Reading and installing only: who may have them, and the channel, are the caller's business.
//!
//! **Invariants**
//! - Only the files named here are ever handed over or written; what is there already is never replaced.
//! - The authority's certificate is written last: a folder that has it has everything.

use std::collections::BTreeMap;
use std::path::Path;

use crate::folder::{ENCRYPTION_FILE, FolderError, PUBLIC, SECRET, create_private, read as read_file, write};

/// Authorities, token keys, and the keys that secrets are stored with. The cluster's authority is first here and written last.
pub const SHARED_FILES: &[&str] = &[
    "ca.crt",
    "ca.key",
    "front-proxy-ca.crt",
    "front-proxy-ca.key",
    "peer-ca.crt",
    "peer-ca.key",
    "sa.key",
    ENCRYPTION_FILE,
];

/// Why keys are not installed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The other server sent less, or something else.
    #[error("the server did not send {0}: is it an older one?")]
    Missing(&'static str),
    /// There is a key of another cluster.
    #[error(
        "{} holds keys of another cluster; a server joins with an empty data folder: `keelson uninstall --purge-data` empties it",
        path.display()
    )]
    Other {
        /// The folder.
        path: std::path::PathBuf,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// The content of every shared file.
pub fn read(folder: &Path) -> Result<BTreeMap<String, String>, FolderError> {
    let mut files = BTreeMap::new();
    for name in SHARED_FILES {
        if let Some(content) = read_file(&folder.join(name))? {
            files.insert((*name).to_owned(), content);
        }
    }
    Ok(files)
}

/// Writes what another server sent into a folder that has none of it yet, or has it already.
pub fn install(folder: &Path, files: &BTreeMap<String, String>) -> Result<(), Refused> {
    create_private(folder)?;
    // All of it is looked at before anything is written.
    let mut wanted = Vec::new();
    for name in SHARED_FILES {
        let content = files.get(*name).filter(|content| !content.trim().is_empty());
        let content = content.ok_or(Refused::Missing(name))?;
        match read_file(&folder.join(name))? {
            Some(there) if there == *content => {}
            Some(_) => return Err(Refused::Other { path: folder.to_owned() }),
            None => wanted.push((name, content)),
        }
    }
    for (name, content) in wanted.into_iter().rev() {
        write(&folder.join(name), content, if name.ends_with(".crt") { PUBLIC } else { SECRET })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Folder, FolderRequest};

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn what_one_server_has_the_next_one_gets() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let request = FolderRequest { serving_names: vec!["localhost".into()], now: NOW };
        let keys = Folder::ensure(first.path(), &request).unwrap();
        let mut files = read(first.path()).unwrap();
        assert_eq!(files.len(), SHARED_FILES.len());

        let gone = files.remove("sa.key").unwrap();
        let error = install(second.path(), &files).unwrap_err().to_string();
        assert!(error.contains("did not send sa.key"), "{error}");
        assert_eq!(read(second.path()).unwrap().len(), 0, "nothing was written");
        files.insert("sa.key".into(), gone);
        files.insert("../evil".into(), "x".into());
        install(second.path(), &files).unwrap();
        assert!(!second.path().parent().unwrap().join("evil").exists());
        install(second.path(), &files).unwrap();
        let theirs = Folder::ensure(second.path(), &request).unwrap();
        assert_eq!(theirs.cluster.certificate_pem(), keys.cluster.certificate_pem());
        assert_eq!(theirs.token_keys[0].id, keys.token_keys[0].id);

        files.insert("ca.key".into(), "another".into());
        let error = install(second.path(), &files).unwrap_err().to_string();
        assert!(error.contains("keys of another cluster"), "{error}");
    }
}
