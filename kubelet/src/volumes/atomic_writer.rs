//! Files that change all at once: a container sees the old ones or the new ones, never some of each.
//!
//! ```text
//! <volume>/..2026_11_28_12_00_00.123456789/deep/key   the files
//!          ..data -> ..2026_11_28_12_00_00.123456789  replaced by rename
//!          deep   -> ..data/deep                      one link per first component
//! ```
//!
//! A write that is cut off leaves a folder that nobody points to; the next one removes it.
//!
//! **Invariants.** Whoever follows a link of the volume finds a complete file. The volume is the kubelet's own:
//! containers mount it read-only.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

use super::payload::{File, Payload};

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";
const FOLDER_MODE: u32 = 0o755;
/// A group that owns a volume may read it, and what is made in it stays the group's.
const GROUP_FILE: u32 = 0o440;
const GROUP_FOLDER: u32 = 0o2550;

/// What could not be done, and to what.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}: {source}", path.display())]
pub struct WriteError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Makes the volume hold exactly these files. `folder` names a folder that was never used before. True if anything
/// changed.
pub fn write(volume: &Path, files: &Payload, group: Option<u32>, folder: &str) -> Result<bool, WriteError> {
    let writer = Writer { volume, group };
    let current = fs::read_link(volume.join(DATA)).ok();
    let same = current.as_ref().is_some_and(|current| writer.holds(&volume.join(current), files));
    let kept = match current {
        Some(current) if same => current,
        _ => {
            writer.fill(&volume.join(folder), files)?;
            writer.swap(folder)?;
            PathBuf::from(folder)
        }
    };
    writer.link(files)?;
    writer.sweep(&kept)?;
    Ok(!same)
}

/// Whether a volume shows what a former write made.
pub fn is_filled(volume: &Path) -> bool {
    volume.is_absolute() && volume.join(DATA).exists()
}

struct Writer<'a> {
    volume: &'a Path,
    group: Option<u32>,
}

impl Writer<'_> {
    fn mode(&self, file: &File) -> u32 {
        if self.group.is_some() { file.mode | GROUP_FILE } else { file.mode }
    }

    fn folder_mode(&self) -> u32 {
        if self.group.is_some() { FOLDER_MODE | GROUP_FOLDER } else { FOLDER_MODE }
    }

    /// Whether a folder is what `fill` would make.
    fn holds(&self, folder: &Path, files: &Payload) -> bool {
        let matches = |path: &str, file: &File| -> io::Result<bool> {
            let whole = folder.join(path);
            let found = fs::symlink_metadata(&whole)?;
            let owner = (found.uid(), found.gid());
            Ok(found.is_file()
                && found.mode() & 0o7777 == self.mode(file)
                && owner == (file.owner.unwrap_or(0), self.group.unwrap_or(0))
                && fs::read(&whole)? == file.content)
        };
        files.iter().all(|(path, file)| matches(path, file).unwrap_or(false))
            && count(folder).is_ok_and(|found| found == files.len())
    }

    fn fill(&self, folder: &Path, files: &Payload) -> Result<(), WriteError> {
        self.folder(folder)?;
        for (path, file) in files {
            let mut place = folder.to_owned();
            let mut parts = path.split('/').peekable();
            while let Some(part) = parts.next() {
                place.push(part);
                if parts.peek().is_some() {
                    self.folder(&place)?;
                }
            }
            self.file(&place, file)?;
        }
        Ok(())
    }

    fn folder(&self, path: &Path) -> Result<(), WriteError> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            result => result.map_err(failed("creating", path))?,
        }
        // The owner first: changing it may clear the set-group-id bit.
        self.own(path, None)?;
        fs::set_permissions(path, fs::Permissions::from_mode(self.folder_mode()))
            .map_err(failed("setting the mode of", path))
    }

    fn file(&self, path: &Path, file: &File) -> Result<(), WriteError> {
        let mut open = fs::OpenOptions::new();
        let made = open.write(true).create_new(true).mode(0o600).open(path);
        let mut made = made.map_err(failed("creating", path))?;
        made.write_all(&file.content).map_err(failed("writing", path))?;
        self.own(path, file.owner)?;
        made.set_permissions(fs::Permissions::from_mode(self.mode(file)))
            .map_err(failed("setting the mode of", path))
    }

    fn own(&self, path: &Path, owner: Option<u32>) -> Result<(), WriteError> {
        if owner.is_none() && self.group.is_none() {
            return Ok(());
        }
        lchown(path, owner, self.group).map_err(failed("changing the owner of", path))
    }

    fn swap(&self, folder: &str) -> Result<(), WriteError> {
        let (next, data) = (self.volume.join(DATA_NEXT), self.volume.join(DATA));
        remove(&next)?;
        symlink(folder, &next).map_err(failed("linking", &next))?;
        fs::rename(&next, &data).map_err(failed("replacing", &data))
    }

    /// Names in the volume for what the current folder holds, and none for what it does not.
    fn link(&self, files: &Payload) -> Result<(), WriteError> {
        let wanted: BTreeSet<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
        for name in &wanted {
            let (place, target) = (self.volume.join(name), Path::new(DATA).join(name));
            if fs::read_link(&place).is_ok_and(|found| found == target) {
                continue;
            }
            remove(&place)?;
            symlink(&target, &place).map_err(failed("linking", &place))?;
        }
        for name in self.names()? {
            let ours = fs::read_link(self.volume.join(&name)).is_ok_and(|target| target.starts_with(DATA));
            if ours && !name.starts_with("..") && !wanted.contains(name.as_str()) {
                remove(&self.volume.join(&name))?;
            }
        }
        Ok(())
    }

    /// Removes folders of former writes.
    fn sweep(&self, kept: &Path) -> Result<(), WriteError> {
        for name in self.names()? {
            let path = self.volume.join(&name);
            let folder = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
            if folder && name.starts_with("..") && Path::new(&name) != kept {
                fs::remove_dir_all(&path).map_err(failed("removing", &path))?;
            }
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, WriteError> {
        let list = || -> io::Result<Vec<String>> {
            let entries = fs::read_dir(self.volume)?;
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
        };
        list().map_err(failed("listing", self.volume))
    }
}

/// Files below a folder.
fn count(folder: &Path) -> io::Result<usize> {
    let mut found = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        found += if entry.file_type()?.is_dir() { count(&entry.path())? } else { 1 };
    }
    Ok(found)
}

fn remove(path: &Path) -> Result<(), WriteError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("removing", path)(error)),
        _ => Ok(()),
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    move |source| WriteError { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str, u32)]) -> Payload {
        files
            .iter()
            .map(|(path, content, mode)| {
                ((*path).to_owned(), File { content: (*content).into(), mode: *mode, owner: None })
            })
            .collect()
    }

    /// What a container would see, and the folders behind it.
    fn seen(volume: &Path) -> (Vec<String>, usize) {
        let mut names: Vec<String> = fs::read_dir(volume)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let folders = names.iter().filter(|name| name.starts_with("..2")).count();
        (names.into_iter().filter(|name| !name.starts_with("..")).collect(), folders)
    }

    #[test]
    fn files_change_all_at_once() {
        let volume = tempfile::tempdir().unwrap();
        let path = volume.path();
        let first = payload(&[("a", "1", 0o644), ("deep/er/b", "2", 0o400)]);
        assert!(write(path, &first, None, "..2_a").unwrap());
        assert_eq!(seen(path), (vec!["a".to_owned(), "deep".into()], 1));
        assert_eq!(fs::read_to_string(path.join("deep/er/b")).unwrap(), "2");
        assert_eq!(fs::metadata(path.join("deep/er/b")).unwrap().mode() & 0o777, 0o400);
        assert!(!write(path, &first, None, "..2_b").unwrap(), "nothing changed");
        assert_eq!(fs::read_link(path.join("..data")).unwrap(), Path::new("..2_a"));
        // Whoever has the old file open keeps it.
        let open = fs::File::open(path.join("a")).unwrap();
        let second = payload(&[("a", "one", 0o644), ("c", "3", 0o644)]);
        assert!(write(path, &second, None, "..2_c").unwrap());
        assert_eq!(seen(path), (vec!["a".to_owned(), "c".into()], 1));
        assert_eq!(fs::read_to_string(path.join("a")).unwrap(), "one");
        assert_eq!(io::read_to_string(open).unwrap(), "1");
        let other_mode = payload(&[("a", "one", 0o600), ("c", "3", 0o644)]);
        assert!(write(path, &other_mode, None, "..2_d").unwrap());
        assert!(write(path, &payload(&[]), None, "..2_e").unwrap());
        assert_eq!(seen(path), (vec![], 1));
    }

    #[test]
    fn what_was_cut_off_is_completed() {
        let volume = tempfile::tempdir().unwrap();
        let path = volume.path();
        fs::create_dir(path.join("..2_half")).unwrap();
        fs::write(path.join("..2_half/a"), "half").unwrap();
        symlink("..2_half", path.join("..data_tmp")).unwrap();
        let files = payload(&[("a", "1", 0o644)]);
        write(path, &files, None, "..2_x").unwrap();
        fs::remove_file(path.join("a")).unwrap();
        assert!(!write(path, &files, None, "..2_y").unwrap());
        assert_eq!(fs::read_to_string(path.join("a")).unwrap(), "1");
        assert_eq!(seen(path), (vec!["a".to_owned()], 1));
    }

    #[test]
    fn a_group_may_read() {
        if !harness::root_or_skip("a_group_may_read") {
            return;
        }
        let volume = tempfile::tempdir().unwrap();
        let mut files = payload(&[("deep/token", "t", 0o600)]);
        files.get_mut("deep/token").unwrap().owner = Some(1234);
        write(volume.path(), &files, Some(4321), "..2_a").unwrap();
        let file = fs::metadata(volume.path().join("deep/token")).unwrap();
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (1234, 4321, 0o640));
        let folder = fs::metadata(volume.path().join("deep")).unwrap();
        assert_eq!((folder.gid(), folder.mode() & 0o7777), (4321, 0o2755));
        assert!(!write(volume.path(), &files, Some(4321), "..2_b").unwrap());
    }
}
