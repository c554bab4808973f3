//! Copies what a directory of the image holds into the tmpfs that will cover it (`tmpcopyup`).
//!
//! Directories, regular files and links, with mode and owner; other nodes are left out. Both sides are walked by
//! descriptor and without following links, so an image cannot make the copy read or write elsewhere.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};
use sys::Errno;
use sys::rooted::{self, Links};

use crate::child::Failure;

/// Deeper trees are an attack on our stack.
const DEPTH_MAX: usize = 128;

pub(super) fn copy(root: BorrowedFd<'_>, from: &Path, to: BorrowedFd<'_>) -> Result<(), Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let from = rooted::open(root, from, flags, Links::Follow)?;
    // The descriptor of a new mount is a path descriptor, which has neither owner nor entries.
    let to = open(to, c".", flags)?;
    Ok(directory(from.as_fd(), to.as_fd(), DEPTH_MAX)?)
}

fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> Result<(), Errno> {
    if depth == 0 {
        return Err(Errno::LOOP);
    }
    like(from, to)?;
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::RWXU)?;
                let inner = open(from, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
                let made = open(to, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
                directory(inner.as_fd(), made.as_fd(), depth - 1)?;
            }
            FileType::RegularFile => file(from, to, name)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(target, to, name)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let source = open(from, name, OFlags::RDONLY)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let copy = rustix::fs::openat(to, name, flags, Mode::RUSR)?;
    let mut reader = std::fs::File::from(source);
    let mut writer = std::fs::File::from(copy);
    std::io::copy(&mut reader, &mut writer)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    like(reader.as_fd(), writer.as_fd())
}

/// Owner first: changing it clears the set-id bits that the mode then sets again.
fn like(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(from)?;
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))
}

fn open(at: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<std::os::fd::OwnedFd, Errno> {
    rustix::fs::openat(at, name, flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
}
