//! Deleting. This goes [`DEEPEST`] levels down; folders below that are moved up beside the first level, where they get
//! a turn of their own.
//!
//! **Invariant.** What cannot be deleted keeps nothing else.
//!
//! Reference: renameat2(2), Linux 3.15.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, unlinkat};
use rustix::io::Errno;

use super::open;

/// Folders that are open at a time, one below the other.
const DEEPEST: usize = 64;

/// What could not be deleted first; there may be more.
#[derive(Debug, thiserror::Error)]
#[error("{}: {errno}", path.display())]
pub struct RemoveError {
    pub path: PathBuf,
    pub errno: Errno,
}

impl From<RemoveError> for io::Error {
    fn from(error: RemoveError) -> io::Error {
        io::Error::new(io::Error::from(error.errno).kind(), error)
    }
}

/// Deletes the folder at a path with everything below.
pub fn remove(path: &Path) -> Result<(), RemoveError> {
    let fault = |errno| RemoveError { path: path.to_owned(), errno };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or(fault(Errno::INVAL))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = rustix::fs::open(parent, flags, Mode::empty()).map_err(fault)?;
    remove_at(parent.as_fd(), name).map_err(|error| RemoveError { path: path.join(error.path), ..error })
}

/// The same for a name in an open folder; the error's path begins below it.
pub fn remove_at(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), RemoveError> {
    let fault = |errno| RemoveError { path: PathBuf::new(), errno };
    let top = open(parent, name).map_err(fault)?;
    let mut removal = Removal { top: top.as_fd(), moved: 0, fault: None };
    loop {
        let before = removal.moved;
        removal.empty(open(parent, name).map_err(fault)?, 0).map_err(fault)?;
        if removal.moved == before {
            break;
        }
    }
    match removal.fault {
        Some(error) => Err(error),
        None => unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(fault),
    }
}

/// One folder on its way out.
struct Removal<'a> {
    top: BorrowedFd<'a>,
    /// Folders that were moved up.
    moved: u64,
    fault: Option<RemoveError>,
}

impl Removal<'_> {
    fn empty(&mut self, folder: OwnedFd, depth: usize) -> Result<(), Errno> {
        let mut folder = Dir::new(folder)?;
        while let Some(entry) = folder.read() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            match self.entry(folder.fd()?, name, entry.file_type(), depth) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => self.note(name, errno),
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &OsStr,
        kind: FileType,
        depth: usize,
    ) -> Result<(), Errno> {
        // Some file systems do not say the kind.
        if kind != FileType::Directory {
            match unlinkat(folder, name, AtFlags::empty()) {
                Err(Errno::ISDIR) => {}
                done => return done,
            }
        }
        if depth == DEEPEST {
            return self.move_up(folder, name);
        }
        let faults = self.fault.is_some();
        self.empty(open(folder, name)?, depth + 1)?;
        match unlinkat(folder, name, AtFlags::REMOVEDIR) {
            // What stays in it was noted below; here its path gets longer.
            Err(Errno::NOTEMPTY) if self.fault.is_some() => {
                if let Some(fault) = self.fault.as_mut().filter(|_| !faults) {
                    fault.path = Path::new(name).join(&fault.path);
                }
                Ok(())
            }
            done => done,
        }
    }

    fn move_up(&mut self, folder: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
        loop {
            let to = format!("deeper-{}", self.moved);
            self.moved += 1;
            match rustix::fs::renameat_with(folder, name, self.top, &to, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                done => return done,
            }
        }
    }

    fn note(&mut self, name: &OsStr, errno: Errno) {
        self.fault.get_or_insert(RemoveError { path: name.into(), errno });
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::nest;
    use super::*;

    #[test]
    fn no_depth_is_too_deep() {
        let folder = tempfile::tempdir().unwrap();
        for levels in [0, 1, DEEPEST - 1, DEEPEST, DEEPEST + 1, 3 * DEEPEST] {
            let top = folder.path().join("top");
            nest(&top, levels);
            fs::create_dir(top.join("deeper-0")).unwrap();
            remove(&top).unwrap();
            assert!(!top.exists(), "{levels}");
        }
    }

    #[test]
    fn names_may_be_any_bytes_and_links_lead_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let (top, outside) = (folder.path().join("top"), folder.path().join("outside"));
        fs::create_dir(&top).unwrap();
        fs::create_dir_all(outside.join("kept")).unwrap();
        let odd = top.join(OsStr::from_bytes(b"caf\xe9"));
        fs::create_dir(&odd).unwrap();
        fs::write(odd.join(OsStr::from_bytes(b"\xff\n")), "x").unwrap();
        std::os::unix::fs::symlink(&outside, odd.join("link")).unwrap();
        remove(&top).unwrap();
        assert!(!top.exists() && outside.join("kept").exists());
        std::os::unix::fs::symlink(&outside, &top).unwrap();
        assert_eq!(remove(&top).unwrap_err().errno, Errno::NOTDIR);
        assert!(outside.join("kept").exists());
        let missing = io::Error::from(remove(&folder.path().join("missing")).unwrap_err());
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_stays_is_named_and_keeps_nothing_else() {
        const TEST: &str = "what_stays_is_named_and_keeps_nothing_else";
        if !harness::root_or_skip(TEST) {
            return;
        }
        let guard = harness::host::exclusive(TEST);
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("top");
        fs::create_dir_all(top.join("a/b/held")).unwrap();
        fs::write(top.join("a/b/file"), "x").unwrap();
        let held = Mounted::on(&top.join("a/b/held"));
        fs::write(top.join("a/b/held/inside"), "x").unwrap();
        let error = remove(&top).unwrap_err();
        assert_eq!(error.to_string(), format!("{}: {}", top.join("a/b/held").display(), Errno::XDEV));
        assert!(top.join("a/b/held/inside").exists() && !top.join("a/b/file").exists());
        drop(held);
        guard.finish();
    }

    struct Mounted(PathBuf);

    impl Mounted {
        fn on(at: &Path) -> Mounted {
            let flags = rustix::mount::MountFlags::empty();
            rustix::mount::mount("tmpfs", at, "tmpfs", flags, None).unwrap();
            Mounted(at.to_owned())
        }
    }

    impl Drop for Mounted {
        fn drop(&mut self) {
            rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
        }
    }
}
