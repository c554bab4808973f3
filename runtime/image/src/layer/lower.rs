//! Lookups in the layers below, as overlayfs will merge them once they are stacked.
//!
//! **Invariants.** Nothing is written. Links are followed inside the image, `..` stops at its root, and
//! the number of links is bounded.
//!
//! Reference: Documentation/filesystems/overlayfs.rst.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{FileType, Mode, OFlags, Stat, openat, readlinkat};
use sys::overlay;

use super::apply::open_root;
use super::entry_path::EntryPath;
use super::fault::Fault;
use super::place::{Place, is_folder};

/// As many as the kernel follows.
const LINKS_MAX: usize = 40;
/// Folders in folders. A layer's own paths are shorter, but links make longer ones of them.
const DEEPEST: usize = 1024;

/// Folders that overlayfs shows as one, topmost first.
type Merged = Vec<Rc<OwnedFd>>;

/// The layers below one.
pub struct Lower {
    roots: Merged,
}

/// What the merged layers have at a path.
pub struct Found {
    /// The topmost file or folder.
    pub place: Place,
    pub stat: Stat,
    /// Folders that are merged at this place, topmost first; empty for files.
    merged: Merged,
}

// === impl Lower ===

impl Lower {
    /// Directories of unpacked layers, topmost first.
    pub fn open(directories: &[PathBuf]) -> Result<Lower, Fault> {
        let open = |path: &PathBuf| open_root(Path::new(path)).map(Rc::new);
        Ok(Lower { roots: directories.iter().map(open).collect::<Result<_, _>>()? })
    }

    /// What stands at a path whose last part is not followed.
    pub fn find(&self, path: &EntryPath) -> Result<Option<Found>, Fault> {
        match path.split() {
            None => Ok(None),
            Some((folder, name)) => match self.folders(&folder)? {
                Some((_, folders)) => find_in(&folders, name),
                None => Ok(None),
            },
        }
    }

    /// The same path without links in it, if a folder stands there.
    pub fn real_folder(&self, path: &EntryPath) -> Result<Option<EntryPath>, Fault> {
        Ok(self.folders(path)?.map(|(real, _)| real))
    }

    /// Walks a path of folders, following links.
    fn folders(&self, path: &EntryPath) -> Result<Option<(EntryPath, Merged)>, Fault> {
        let mut left: VecDeque<OsString> = path.parts().map(OsStr::to_owned).collect();
        let mut stack = vec![(EntryPath::default(), self.roots.clone())];
        let mut links = 0;
        while let Some(part) = left.pop_front() {
            if part == ".." {
                if stack.len() > 1 {
                    stack.pop();
                }
                continue;
            }
            let Some((real, folders)) = stack.last() else { return Ok(None) };
            if stack.len() > DEEPEST {
                return Err(Fault::refused("the layers below nest folders more than 1024 deep"));
            }
            let Some(found) = find_in(folders, &part)? else { return Ok(None) };
            match FileType::from_raw_mode(found.stat.st_mode) {
                FileType::Directory => stack.push((real.join(&part), found.merged)),
                FileType::Symlink => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Ok(None);
                    }
                    let target = found.target()?;
                    if target.starts_with(b"/") {
                        stack.truncate(1);
                    }
                    let parts = target.split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".");
                    for part in parts.rev() {
                        left.push_front(OsStr::from_bytes(part).to_owned());
                    }
                }
                _ => return Ok(None),
            }
        }
        Ok(stack.pop())
    }
}

// === impl Found ===

impl Found {
    pub fn is_folder(&self) -> bool {
        is_folder(&self.stat)
    }

    pub fn is_link(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::Symlink
    }

    /// Where a symbolic link leads.
    pub fn target(&self) -> Result<Vec<u8>, Fault> {
        let target = readlinkat(self.place.fd(), &self.place.name, Vec::new());
        target.map(|t| t.into_bytes()).map_err(Fault::at("reading a symbolic link"))
    }
}

/// One name in merged folders.
fn find_in(folders: &[Rc<OwnedFd>], name: &OsStr) -> Result<Option<Found>, Fault> {
    let mut found: Option<Found> = None;
    for folder in folders {
        let place = Place { folder: folder.clone(), name: name.to_owned() };
        let Some(stat) = place.stat()? else { continue };
        if overlay::is_whiteout(&stat) {
            break;
        }
        if !is_folder(&stat) {
            // A file below a folder is hidden; a file on top hides everything.
            return Ok(found.or(Some(Found { place, stat, merged: Vec::new() })));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd =
            openat(place.fd(), name, flags, Mode::empty()).map_err(Fault::at("opening a lower folder"))?;
        let opaque =
            overlay::is_opaque(fd.as_fd(), ".".as_ref()).map_err(Fault::at("looking at a lower folder"))?;
        found.get_or_insert(Found { place, stat, merged: Vec::new() }).merged.push(Rc::new(fd));
        if opaque {
            break;
        }
    }
    Ok(found)
}
