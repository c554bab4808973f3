//! Places inside a layer's directory: the only way to a file there.
//!
//! A lookup starts at the layer's descriptor and stays beneath it (openat2 with RESOLVE_BENEATH):
//! relative links inside the layer are followed, absolute ones and those that lead out are refused.
//! Folders that no entry described are made with 0755 root:root and remembered.
//!
//! Reference: openat2(2).

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, mkdirat, openat, openat2, statat, unlinkat,
};
use rustix::io::Errno;

use super::entry_path::EntryPath;
use super::fault::Fault;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::PATH).union(OFlags::CLOEXEC);
const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_XDEV);

/// A name in an open folder.
#[derive(Clone, Debug)]
pub struct Place {
    pub folder: Rc<OwnedFd>,
    pub name: OsString,
}

/// The directory of a layer that is being made.
pub struct Tree {
    root: Rc<OwnedFd>,
    /// Folders that no entry described yet.
    pub implicit: BTreeSet<EntryPath>,
    /// The folder used last: entries come folder by folder.
    last: Option<(EntryPath, Rc<OwnedFd>)>,
}

// === impl Place ===

impl Place {
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// What stands there, or nothing.
    pub fn stat(&self) -> Result<Option<Stat>, Fault> {
        match statat(self.fd(), &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Fault::at("looking at what is there")(errno)),
        }
    }

    /// Deletes what stands there, with everything below.
    pub fn remove(&self) -> Result<(), Fault> {
        remove(self.fd(), &self.name).map_err(Fault::at("replacing what an earlier entry made"))
    }
}

// === impl Tree ===

impl Tree {
    pub fn new(root: OwnedFd) -> Tree {
        Tree { root: Rc::new(root), implicit: BTreeSet::new(), last: None }
    }

    /// The layer's root folder, as a place.
    pub fn root(&self) -> Place {
        Place { folder: self.root.clone(), name: OsString::from(".") }
    }

    pub fn root_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The place of a path; its folders are made if they are not there. The root has none.
    pub fn place(&mut self, path: &EntryPath) -> Result<Place, Fault> {
        match path.split() {
            Some((folder, name)) => Ok(Place { name: name.to_owned(), folder: self.folder(&folder)? }),
            None => Ok(self.root()),
        }
    }

    /// The place of a path whose folder exists; nothing is made.
    pub fn find(&self, path: &EntryPath) -> Result<Option<Place>, Fault> {
        let Some((folder, name)) = path.split() else { return Ok(Some(self.root())) };
        match self.open(&folder) {
            Ok(fd) => Ok(Some(Place { folder: Rc::new(fd), name: name.to_owned() })),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(leaves(&folder, errno)),
        }
    }

    /// Must be called when a folder may have gone or been replaced.
    pub fn forget_last(&mut self) {
        self.last = None;
    }

    fn folder(&mut self, path: &EntryPath) -> Result<Rc<OwnedFd>, Fault> {
        if path.is_root() {
            return Ok(self.root.clone());
        }
        if let Some((_, fd)) = self.last.as_ref().filter(|(last, _)| last == path) {
            return Ok(fd.clone());
        }
        let fd = match self.open(path) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => self.make_folders(path)?,
            Err(errno) => return Err(leaves(path, errno)),
        };
        let fd = Rc::new(fd);
        self.last = Some((path.clone(), fd.clone()));
        Ok(fd)
    }

    fn make_folders(&mut self, path: &EntryPath) -> Result<OwnedFd, Fault> {
        let mut above: Option<OwnedFd> = None;
        for folder in path.ancestry() {
            let opened = match self.open(&folder) {
                Err(Errno::NOENT) => {
                    let parent = above.as_ref().map_or(self.root.as_fd(), |fd| fd.as_fd());
                    let name = folder.parts().last().unwrap_or_default();
                    match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
                        // The name exists but leads nowhere.
                        Err(Errno::EXIST) => return Err(leaves(&folder, Errno::NOENT)),
                        made => made.map_err(Fault::at("making a folder"))?,
                    }
                    // The umask of the process has no say.
                    rustix::fs::chmodat(parent, name, Mode::from_raw_mode(0o755), AtFlags::empty())
                        .map_err(Fault::at("making a folder"))?;
                    self.implicit.insert(folder.clone());
                    self.open(&folder)
                }
                opened => opened,
            };
            above = Some(opened.map_err(|errno| leaves(&folder, errno))?);
        }
        above.ok_or_else(|| Fault::refused("the path is empty"))
    }

    fn open(&self, path: &EntryPath) -> Result<OwnedFd, Errno> {
        if path.is_root() {
            return openat(&*self.root, ".", FOLDER, Mode::empty());
        }
        openat2(&*self.root, path.as_os(), FOLDER, Mode::empty(), BENEATH)
    }
}

/// Why a folder cannot be entered.
fn leaves(path: &EntryPath, errno: Errno) -> Fault {
    let shown = String::from_utf8_lossy(path.bytes()).into_owned();
    match errno {
        Errno::XDEV | Errno::LOOP | Errno::AGAIN => {
            Fault::Refused(format!("folder {shown:?} is a symbolic link that leads out of the layer"))
        }
        Errno::NOTDIR | Errno::NOENT => Fault::Refused(format!("{shown:?} is no folder")),
        other => Fault::at("opening a folder")(other),
    }
}

/// Deletes a name with everything below. Links make paths that are deeper than their names are long.
fn remove(folder: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => sys::tree::remove_at(folder, name).map_err(|error| error.errno),
        done => done,
    }
}

/// The names in a folder.
pub fn children(folder: BorrowedFd<'_>) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}

/// Whether this is a folder.
pub fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}
