//! The way back: from a layer's directory to a tar archive of it.
//!
//! The archive says what the directory says, in the order of names, so the same directory always gives the same
//! bytes; they are not those that once came, because headers of other tools and fractions of seconds are lost.
//!
//! Reference: OCI image spec, layer.md; POSIX pax for long names and extended attributes.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use sys::overlay;
use tar::{Builder, EntryType, Header};

/// Folders in folders, as deep as unpacking goes.
const DEPTH_MAX: usize = 1024;
const PAX_ATTRIBUTE: &str = "SCHILY.xattr.";

/// Writes the archive of `root`. `with_root`: the layer says who owns the root folder.
pub fn pack(root: &Path, with_root: bool, out: impl Write) -> io::Result<()> {
    let mut packer = Packer { root, builder: Builder::new(out), links: HashMap::new() };
    if with_root {
        packer.entry(Path::new(""))?;
    }
    packer.folder(Path::new(""), 0)?;
    packer.builder.into_inner()?.flush()
}

struct Packer<'a, W: Write> {
    root: &'a Path,
    builder: Builder<W>,
    /// Files with several names, by inode: the first name.
    links: HashMap<u64, PathBuf>,
}

// === impl Packer ===

impl<W: Write> Packer<'_, W> {
    fn folder(&mut self, path: &Path, depth: usize) -> io::Result<()> {
        if depth > DEPTH_MAX {
            return Err(io::Error::other(format!("folders nested more than {DEPTH_MAX} deep")));
        }
        let whole = self.root.join(path);
        let directory = File::open(&whole)?;
        if overlay::is_opaque(directory.as_fd(), ".".as_ref())? {
            self.marker(&path.join(".wh..wh..opq"))?;
        }
        let mut names = fs::read_dir(&whole)?.map(|e| Ok(e?.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.sort();
        for name in names {
            let path = path.join(name);
            self.entry(&path)?;
            if fs::symlink_metadata(self.root.join(&path))?.is_dir() {
                self.folder(&path, depth + 1)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path) -> io::Result<()> {
        let whole = self.root.join(path);
        let found = fs::symlink_metadata(&whole)?;
        let kind = found.file_type();
        if kind.is_char_device() && found.rdev() == 0 {
            let mut hidden = std::ffi::OsString::from(".wh.");
            hidden.push(path.file_name().unwrap_or_default());
            return self.marker(&path.with_file_name(hidden));
        }
        let name = if path.as_os_str().is_empty() { Path::new("./") } else { path };
        let mut header = header(&found);
        if !kind.is_dir() && found.nlink() > 1 {
            if let Some(first) = self.links.get(&found.ino()) {
                header.set_entry_type(EntryType::Link);
                return self.builder.append_link(&mut header, name, first.clone());
            }
            self.links.insert(found.ino(), path.to_owned());
        }
        self.attributes(path)?;
        if kind.is_file() {
            header.set_entry_type(EntryType::Regular);
            header.set_size(found.len());
            return self.builder.append_data(&mut header, name, File::open(&whole)?.take(found.len()));
        }
        if kind.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            return self.builder.append_link(&mut header, name, fs::read_link(&whole)?);
        }
        header.set_entry_type(if kind.is_dir() {
            EntryType::Directory
        } else if kind.is_char_device() {
            EntryType::Char
        } else if kind.is_block_device() {
            EntryType::Block
        } else if kind.is_fifo() {
            EntryType::Fifo
        } else {
            // A socket: no archive holds one.
            return Ok(());
        });
        if kind.is_char_device() || kind.is_block_device() {
            header.set_device_major(rustix::fs::major(found.rdev()))?;
            header.set_device_minor(rustix::fs::minor(found.rdev()))?;
        }
        self.builder.append_data(&mut header, name, io::empty())
    }

    /// An empty file with a reserved name.
    fn marker(&mut self, path: &Path) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_mode(0o600);
        header.set_entry_type(EntryType::Regular);
        self.builder.append_data(&mut header, path, io::empty())
    }

    /// Extended attributes go before their entry. What overlayfs keeps its books with is no content.
    fn attributes(&mut self, path: &Path) -> io::Result<()> {
        let whole = self.root.join(path);
        let directory = File::open(whole.parent().unwrap_or(Path::new("/")))?;
        let name = whole.file_name().unwrap_or_default();
        let mut found = Vec::new();
        for attribute in sys::xattr::names(directory.as_fd(), name)? {
            let text = String::from_utf8_lossy(attribute.to_bytes()).into_owned();
            let ours = overlay::ATTRIBUTE_PREFIXES.iter().any(|prefix| text.starts_with(prefix));
            if !ours && let Some(value) = sys::xattr::get(directory.as_fd(), name, &attribute)? {
                found.push((format!("{PAX_ATTRIBUTE}{text}"), value));
            }
        }
        found.sort();
        if found.is_empty() {
            return Ok(());
        }
        self.builder.append_pax_extensions(found.iter().map(|(key, value)| (key.as_str(), value.as_slice())))
    }
}

fn header(found: &fs::Metadata) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(found.mode() & 0o7777);
    header.set_uid(found.uid().into());
    header.set_gid(found.gid().into());
    header.set_mtime(u64::try_from(found.mtime()).unwrap_or(0));
    header.set_size(0);
    header
}
