//! What a layer cannot know without the layers below it.
//!
//! - A folder that the layer does not describe but has entries in: below it may have another owner and
//!   mode, which the layer's folder would hide, or be a symbolic link, which it would replace (`/lib`).
//! - A hard link to a file of a lower layer: the file is copied up first, as overlayfs itself would.
//!
//! A layer with nothing deferred is the same over any layers and is shared by all images. One that was
//! settled belongs to its chain.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, linkat, mknodat, openat, renameat, symlinkat, unlinkat};

use super::apply::open_root;
use super::entry_path::EntryPath;
use super::fault::{Fault, LayerError};
use super::lower::{Found, Lower};
use super::metadata::Metadata;
use super::place::{Place, Tree, children, is_folder};

/// Turns of settling folders: moving one may make others.
const TURNS_MAX: usize = 64;

/// Questions to the layers below.
#[derive(Debug, Default)]
pub struct Deferred {
    pub folders: BTreeSet<EntryPath>,
    /// Path and target.
    pub links: Vec<(EntryPath, EntryPath)>,
}

/// A layer that is being settled.
struct Settling<'a> {
    tree: Tree,
    lower: &'a Lower,
    links: Vec<(EntryPath, EntryPath)>,
}

// === impl Deferred ===

impl Deferred {
    /// Nothing to ask: the layer is the same over any others.
    pub fn is_empty(&self) -> bool {
        self.folders.is_empty() && self.links.is_empty()
    }

    /// Answers the questions in the layer's directory. `lower`: directories, topmost first. Blocks.
    ///
    /// # Errors
    /// Names the entry, as unpacking does.
    pub fn settle(self, directory: &Path, lower: &[PathBuf]) -> Result<(), LayerError> {
        let lower = Lower::open(lower).map_err(LayerError::nowhere)?;
        let mut tree = Tree::new(open_root(directory).map_err(LayerError::nowhere)?);
        tree.implicit = self.folders;
        let mut settling = Settling { tree, lower: &lower, links: self.links };
        settling.folders()?;
        settling.hard_links()
    }
}

// === impl Settling ===

impl Settling<'_> {
    fn folders(&mut self) -> Result<(), LayerError> {
        for _ in 0..TURNS_MAX {
            let Some(()) = self.folders_once()? else { return Ok(()) };
        }
        Err(LayerError::nowhere(Fault::refused("its folders lead through links without end")))
    }

    /// Outer folders come first. Stops after a move, which changes paths; none when all are settled.
    fn folders_once(&mut self) -> Result<Option<()>, LayerError> {
        while let Some(path) = self.tree.implicit.pop_first() {
            let moved = self.settle_folder(&path).map_err(|fault| named(&path, fault))?;
            if moved {
                return Ok(Some(()));
            }
        }
        Ok(None)
    }

    fn settle_folder(&mut self, path: &EntryPath) -> Result<bool, Fault> {
        let Some(found) = self.lower.find(path)? else { return Ok(false) };
        if found.is_folder() {
            let Some(place) = self.tree.find(path)? else { return Ok(false) };
            Metadata::of_place(&found.place, &found.stat)?.apply_to_node(&place)?;
            return Ok(false);
        }
        if !found.is_link() {
            return Ok(false);
        }
        match self.lower.real_folder(path)? {
            Some(real) if real != *path => self.move_folder(path, &real).map(|()| true),
            _ => Ok(false),
        }
    }

    /// The content of `from` belongs into `to`, because below `from` is a link to `to`.
    fn move_folder(&mut self, from: &EntryPath, to: &EntryPath) -> Result<(), Fault> {
        let Some(source) = self.tree.find(from)? else { return Ok(()) };
        let inside = self.tree.place(&to.join("x".as_ref()))?;
        let moved = open_folder(&source)?;
        merge(moved.as_fd(), inside.fd())?;
        unlinkat(source.fd(), &source.name, AtFlags::REMOVEDIR).map_err(Fault::at("moving a folder"))?;
        self.tree.forget_last();
        let relocate = |path: &EntryPath| path.moved(from, to).unwrap_or_else(|| path.clone());
        self.tree.implicit = self.tree.implicit.iter().map(relocate).collect();
        for (link, _) in &mut self.links {
            *link = relocate(link);
        }
        Ok(())
    }

    fn hard_links(&mut self) -> Result<(), LayerError> {
        for (path, target) in std::mem::take(&mut self.links) {
            self.hard_link(&path, &target).map_err(|fault| named(&path, fault))?;
        }
        // Copying up may have made folders.
        self.folders()
    }

    fn hard_link(&mut self, path: &EntryPath, target: &EntryPath) -> Result<(), Fault> {
        let place = self.tree.place(path)?;
        let target = self.real(target)?;
        let from = self.tree.place(&target)?;
        if from.stat()?.is_none() {
            let shown = String::from_utf8_lossy(target.bytes()).into_owned();
            let Some(found) = self.lower.find(&target)? else {
                return Err(Fault::Refused(format!("a hard link to {shown:?}, which no layer has")));
            };
            copy_up(&found, &from)?;
        }
        linkat(from.fd(), &from.name, place.fd(), &place.name, AtFlags::empty())
            .map_err(Fault::at("making a hard link"))
    }

    /// The target's path without links of lower layers in its folders.
    fn real(&self, target: &EntryPath) -> Result<EntryPath, Fault> {
        let Some((folder, name)) = target.split() else {
            return Err(Fault::refused("a hard link to the root folder"));
        };
        Ok(self.lower.real_folder(&folder)?.map_or_else(|| target.clone(), |real| real.join(name)))
    }
}

/// Moves everything of one folder into another; what is moved wins.
fn merge(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Fault> {
    for name in children(from).map_err(Fault::at("moving a folder"))? {
        let source = place(from, &name)?;
        let target = place(to, &name)?;
        match (source.stat()?, target.stat()?) {
            (Some(a), Some(b)) if is_folder(&a) && is_folder(&b) => {
                merge(open_folder(&source)?.as_fd(), open_folder(&target)?.as_fd())?;
                unlinkat(from, &name, AtFlags::REMOVEDIR).map_err(Fault::at("moving a folder"))?;
                continue;
            }
            (_, Some(_)) => target.remove()?,
            _ => {}
        }
        renameat(from, &name, to, &name).map_err(Fault::at("moving a folder"))?;
    }
    Ok(())
}

/// Copies a file of a lower layer, with everything that belongs to it.
fn copy_up(found: &Found, to: &Place) -> Result<(), Fault> {
    let metadata = Metadata::of_place(&found.place, &found.stat)?;
    let step = "copying a file of a lower layer";
    match FileType::from_raw_mode(found.stat.st_mode) {
        FileType::RegularFile => {
            let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let source =
                openat(found.place.fd(), &found.place.name, read, Mode::empty()).map_err(Fault::at(step))?;
            let write = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
            let copy =
                openat(to.fd(), &to.name, write, Mode::from_raw_mode(0o600)).map_err(Fault::at(step))?;
            let mut copy = File::from(copy);
            io::copy(&mut File::from(source), &mut copy).map_err(|e| Fault::write(step, e))?;
            metadata.apply_to_file(copy.as_fd(), to)
        }
        FileType::Symlink => {
            symlinkat(found.target()?, to.fd(), &to.name).map_err(Fault::at(step))?;
            metadata.apply_to_link(to)
        }
        FileType::Fifo => {
            mknodat(to.fd(), &to.name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
                .map_err(Fault::at(step))?;
            metadata.apply_to_node(to)
        }
        _ => Err(Fault::refused("a hard link to a folder")),
    }
}

fn place(folder: BorrowedFd<'_>, name: &std::ffi::OsStr) -> Result<Place, Fault> {
    let fd = folder.try_clone_to_owned().map_err(|e| Fault::Io { step: "moving a folder", source: e })?;
    Ok(Place { folder: std::rc::Rc::new(fd), name: name.to_owned() })
}

fn open_folder(place: &Place) -> Result<std::os::fd::OwnedFd, Fault> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(place.fd(), &place.name, flags, Mode::empty()).map_err(Fault::at("opening a folder"))
}

fn named(path: &EntryPath, fault: Fault) -> LayerError {
    LayerError { entry: Some(String::from_utf8_lossy(path.bytes()).into_owned()), fault }
}
