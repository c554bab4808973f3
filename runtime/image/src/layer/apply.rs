//! Makes what the entries of a layer say, inside the layer's directory.
//!
//! Later entries replace earlier ones, except that a folder over a folder only changes its metadata.
//! Hard links whose target this layer does not hold, and folders it does not describe, are left to
//! `deferred.rs`.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstatvfs, linkat, mkdirat, mknodat, openat, symlinkat};
use rustix::io::Errno;
use sys::overlay;

use super::deferred::Deferred;
use super::entry_path::EntryPath;
use super::fault::{Fault, LayerError};
use super::metadata::{Metadata, set_time};
use super::place::{Place, Tree, is_folder};
use super::sparse::SparseMap;
use super::tar_stream::{Entry, Kind, TarStream};
use super::whiteout::{self, Whiteout};
use crate::limits::Limits;

const BUFFER: usize = 256 << 10;
/// Free space is looked at each time this much was written.
const SPACE_STEP: u64 = 8 << 20;
/// Memory for folder times and deferred entries of one layer.
const REMEMBERED_BYTES: usize = 64 << 20;
/// Symbolic links end at PATH_MAX.
const LONGEST_TARGET: usize = 4095;
/// What a small file takes on disk.
const DISK_BLOCK: u64 = 4096;

/// A layer's directory in the making.
pub struct Applier<'a> {
    tree: Tree,
    limits: &'a Limits,
    buffer: Vec<u8>,
    /// Applied when everything in the folders is made.
    folder_times: Vec<(EntryPath, (i64, u32))>,
    /// Hard links that wait for lower layers: the link's path, its turn and its target.
    links: BTreeMap<EntryPath, (usize, EntryPath)>,
    remembered: usize,
    entries: u64,
    unchecked: u64,
    /// What the layer takes on disk, about.
    pub bytes: u64,
    pub inodes: u64,
    /// An entry described the root folder.
    pub root_described: bool,
}

// === impl Applier ===

impl<'a> Applier<'a> {
    pub fn new(root: OwnedFd, limits: &'a Limits) -> Applier<'a> {
        Applier {
            tree: Tree::new(root),
            limits,
            buffer: vec![0; BUFFER],
            folder_times: Vec::new(),
            links: BTreeMap::new(),
            remembered: 0,
            entries: 0,
            unchecked: SPACE_STEP,
            bytes: DISK_BLOCK,
            inodes: 1,
            root_described: false,
        }
    }

    /// Applies every entry; the error names the one that failed.
    pub fn run<R: Read>(&mut self, stream: &mut TarStream<R>) -> Result<(), LayerError> {
        let mut last = None;
        loop {
            let entry = match stream.next() {
                Ok(Some(entry)) => entry,
                Ok(None) => return self.set_folder_times(),
                Err(error) => return Err(LayerError { entry: last, fault: Fault::read(error) }),
            };
            let name = || Some(String::from_utf8_lossy(&entry.path).into_owned());
            self.apply(&entry, stream).map_err(|fault| LayerError { entry: name(), fault })?;
            last = name();
        }
    }

    /// What lower layers have to settle.
    pub fn deferred(&mut self) -> Deferred {
        let mut links: Vec<_> = std::mem::take(&mut self.links).into_iter().collect();
        // In the archive's order: a link may be the target of a later one.
        links.sort_by_key(|(_, (order, _))| *order);
        Deferred {
            folders: std::mem::take(&mut self.tree.implicit),
            links: links.into_iter().map(|(path, (_, target))| (path, target)).collect(),
        }
    }

    fn apply<R: Read>(&mut self, entry: &Entry, stream: &mut TarStream<R>) -> Result<(), Fault> {
        self.count(DISK_BLOCK)?;
        let path = EntryPath::parse(&entry.path)?;
        let Some((folder, name)) = path.split() else { return self.root(entry) };
        if let Some(whiteout) = Whiteout::parse(name)? {
            return self.whiteout(&folder, whiteout);
        }
        let metadata = Metadata::of_entry(entry)?;
        match entry.kind {
            Kind::CharDevice(0, 0) => return self.whiteout(&folder, Whiteout::Name(name.to_owned())),
            Kind::CharDevice(..) | Kind::BlockDevice => {
                return Err(Fault::refused("layers must not bring devices"));
            }
            Kind::Other(kind) => {
                return Err(Fault::Refused(format!("entry type {:?} is unknown", char::from(kind))));
            }
            _ => {}
        }
        let place = self.tree.place(&path)?;
        if entry.kind == Kind::HardLink && EntryPath::parse(&entry.target)? == path {
            return Err(Fault::refused("a hard link to itself"));
        }
        let hides_lower = self.make_room(entry.kind, &path, &place)?;
        match entry.kind {
            Kind::File => self.file(entry, stream, &place, &metadata),
            Kind::Directory => self.folder(&path, &place, &metadata, hides_lower),
            Kind::Symlink => symlink(&entry.target, &place, &metadata),
            Kind::HardLink => self.hard_link(path, EntryPath::parse(&entry.target)?, &place),
            Kind::Fifo => fifo(&place, &metadata),
            Kind::CharDevice(..) | Kind::BlockDevice | Kind::Other(_) => Ok(()),
        }
    }

    fn root(&mut self, entry: &Entry) -> Result<(), Fault> {
        if entry.kind != Kind::Directory {
            return Err(Fault::refused("the root of an image must be a folder"));
        }
        self.root_described = true;
        self.remember(EntryPath::default(), entry.mtime)?;
        Metadata::of_entry(entry)?.apply_to_node(&self.tree.root())
    }

    fn whiteout(&mut self, folder: &EntryPath, whiteout: Whiteout) -> Result<(), Fault> {
        match whiteout {
            Whiteout::Ignored => Ok(()),
            Whiteout::Folder => {
                // The place of any name in the folder: it makes the folder if need be.
                let inside = self.tree.place(&folder.join("x".as_ref()))?;
                overlay::set_opaque(inside.fd(), ".".as_ref()).map_err(Fault::at("making a folder opaque"))
            }
            Whiteout::Name(name) => whiteout::hide(&self.tree.place(&folder.join(&name))?),
        }
    }

    /// Removes what the entry replaces. True when that was a whiteout: a folder in its place must not let
    /// the lower one show through.
    fn make_room(&mut self, kind: Kind, path: &EntryPath, place: &Place) -> Result<bool, Fault> {
        self.links.remove(path);
        let Some(stat) = place.stat()? else { return Ok(false) };
        if kind == Kind::Directory && is_folder(&stat) {
            return Ok(false);
        }
        place.remove()?;
        // What was a link leads nowhere now.
        self.tree.forget_last();
        if is_folder(&stat) {
            self.tree.implicit.remove(path);
            self.tree.implicit.extract_if(path.inside(), |_| true).for_each(drop);
            self.links.extract_if(path.inside(), |_, _| true).for_each(drop);
        }
        Ok(overlay::is_whiteout(&stat))
    }

    fn file<R: Read>(
        &mut self,
        entry: &Entry,
        stream: &mut TarStream<R>,
        place: &Place,
        metadata: &Metadata,
    ) -> Result<(), Fault> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        let fd = openat(place.fd(), &place.name, flags, Mode::from_raw_mode(0o600))
            .map_err(Fault::at("making a file"))?;
        let mut file = File::from(fd);
        match &entry.sparse {
            Some(map) => self.sparse_data(map, stream, &file)?,
            None => self.data(stream, &mut file)?,
        }
        metadata.apply_to_file(file.as_fd(), place)
    }

    fn data<R: Read>(&mut self, stream: &mut TarStream<R>, file: &mut File) -> Result<(), Fault> {
        loop {
            let got = stream.read_data(&mut self.buffer).map_err(Fault::read)?;
            if got == 0 {
                return Ok(());
            }
            self.count_bytes(got as u64)?;
            file.write_all(&self.buffer[..got]).map_err(|e| Fault::write("writing a file", e))?;
        }
    }

    fn sparse_data<R: Read>(
        &mut self,
        map: &SparseMap,
        stream: &mut TarStream<R>,
        file: &File,
    ) -> Result<(), Fault> {
        file.set_len(map.length).map_err(|e| Fault::write("sizing a sparse file", e))?;
        for (offset, length) in &map.pieces {
            let (mut at, mut left) = (*offset, *length);
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(BUFFER);
                let got = stream.read_data(&mut self.buffer[..most]).map_err(Fault::read)?;
                if got == 0 {
                    return Err(Fault::Damaged("a sparse file ends early".to_owned()));
                }
                self.count_bytes(got as u64)?;
                file.write_all_at(&self.buffer[..got], at).map_err(|e| Fault::write("writing a file", e))?;
                at += got as u64;
                left -= got as u64;
            }
        }
        Ok(())
    }

    fn folder(
        &mut self,
        path: &EntryPath,
        place: &Place,
        metadata: &Metadata,
        hides_lower: bool,
    ) -> Result<(), Fault> {
        match mkdirat(place.fd(), &place.name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Fault::at("making a folder")(errno)),
        }
        self.tree.implicit.remove(path);
        metadata.apply_to_node(place)?;
        if hides_lower {
            overlay::set_opaque(place.fd(), &place.name).map_err(Fault::at("making a folder opaque"))?;
        }
        self.remember(path.clone(), metadata.mtime)
    }

    fn hard_link(&mut self, path: EntryPath, target: EntryPath, place: &Place) -> Result<(), Fault> {
        let here = self.tree.find(&target)?;
        if let Some(from) = here {
            match linkat(from.fd(), &from.name, place.fd(), &place.name, AtFlags::empty()) {
                Err(Errno::NOENT) => {}
                Err(Errno::PERM) => return Err(Fault::refused("a hard link to a folder")),
                done => return done.map_err(Fault::at("making a hard link")),
            }
        }
        self.remembered += path.bytes().len() + target.bytes().len();
        self.links.insert(path, (self.links.len(), target));
        self.check_remembered()
    }

    fn set_folder_times(&mut self) -> Result<(), LayerError> {
        // Inner folders were described after outer ones; setting a time changes no other time.
        for (path, mtime) in std::mem::take(&mut self.folder_times) {
            let name = || Some(String::from_utf8_lossy(path.bytes()).into_owned());
            let set = || match self.tree.find(&path)? {
                // A later entry may have put something else there.
                Some(place) if place.stat()?.is_some_and(|stat| is_folder(&stat)) => set_time(&place, mtime),
                _ => Ok(()),
            };
            set().map_err(|fault| LayerError { entry: name(), fault })?;
        }
        Ok(())
    }

    fn remember(&mut self, path: EntryPath, mtime: (i64, u32)) -> Result<(), Fault> {
        self.remembered += path.bytes().len() + 64;
        self.folder_times.push((path, mtime));
        self.check_remembered()
    }

    fn check_remembered(&self) -> Result<(), Fault> {
        if self.remembered <= REMEMBERED_BYTES {
            return Ok(());
        }
        Err(Fault::refused("the layer has more folders and links than fit into 64 MiB of memory"))
    }

    fn count(&mut self, bytes: u64) -> Result<(), Fault> {
        self.entries += 1;
        self.inodes += 1;
        if self.entries > self.limits.entries {
            return Err(Fault::Refused(format!("the layer has more than {} entries", self.limits.entries)));
        }
        self.count_bytes(bytes)
    }

    /// Stops before the file system is full to the brim: other parts of the node write there too.
    fn count_bytes(&mut self, bytes: u64) -> Result<(), Fault> {
        self.bytes += bytes;
        self.unchecked += bytes;
        if self.unchecked < SPACE_STEP {
            return Ok(());
        }
        self.unchecked = 0;
        let disk = fstatvfs(self.tree.root_fd()).map_err(Fault::at("looking at the free space"))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let size = disk.f_blocks.saturating_mul(disk.f_frsize);
        // A reserve larger than a twentieth of a small disk would forbid small disks.
        let reserve = self.limits.reserve_bytes.min(size / 20);
        if free <= reserve + SPACE_STEP { Err(Fault::NoSpace) } else { Ok(()) }
    }
}

fn symlink(target: &[u8], place: &Place, metadata: &Metadata) -> Result<(), Fault> {
    if target.is_empty() || target.len() > LONGEST_TARGET {
        return Err(Fault::refused("a symbolic link to nothing, or longer than 4095 bytes"));
    }
    let target = CString::new(target).map_err(|_| Fault::refused("a symbolic link with a zero byte"))?;
    symlinkat(&target, place.fd(), &place.name).map_err(Fault::at("making a symbolic link"))?;
    metadata.apply_to_link(place)
}

fn fifo(place: &Place, metadata: &Metadata) -> Result<(), Fault> {
    mknodat(place.fd(), &place.name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
        .map_err(Fault::at("making a FIFO"))?;
    metadata.apply_to_node(place)
}

/// Opens a layer's directory.
pub fn open_root(path: &Path) -> Result<OwnedFd, Fault> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(Fault::at("opening the layer's directory"))
}
