//! Paths inside a root that somebody hostile may have written and may be changing right now.
//!
//! Every lookup starts at a descriptor of the root and cannot leave it: `..` and absolute links stop at
//! the root, as they would after chroot(2), and links of procfs that lead elsewhere are refused. What is
//! missing is created one component at a time through descriptors, so that a component that turns into a
//! link between two calls is an error, never a way out.
//!
//! Reference: openat2(2), Linux 5.6.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// As many links as the kernel itself follows.
const LINKS_MAX: usize = 40;

/// openat2 says EAGAIN when a rename elsewhere raced with `..`; that ends after a few turns or is an attack.
const RACES_MAX: usize = 64;

/// Whether symbolic links on the way are followed (inside the root).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    Follow,
    /// A link anywhere on the way is ELOOP.
    Refuse,
}

/// What to make when the path does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    Directory(u32),
    File(u32),
}

/// Opens a path inside the root with the given flags (close-on-exec is added).
pub fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags, links: Links) -> Result<OwnedFd, Errno> {
    let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    if links == Links::Refuse {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    for _ in 0..RACES_MAX {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

/// A path descriptor (`O_PATH`) of something inside the root.
pub fn locate(root: BorrowedFd<'_>, path: &Path, links: Links) -> Result<OwnedFd, Errno> {
    open(root, path, OFlags::PATH, links)
}

/// A path descriptor of something inside the root, made with its parents when it does not exist.
pub fn locate_or_make(
    root: BorrowedFd<'_>,
    path: &Path,
    missing: Missing,
    links: Links,
) -> Result<OwnedFd, Errno> {
    match locate(root, path, links) {
        Err(Errno::NOENT) => Walk::new(root, links)?.make(path, missing),
        result => result,
    }
}

/// The directory that holds the last component of a path, made when missing, and that component's name.
pub fn parent_and_name(root: BorrowedFd<'_>, path: &Path) -> Result<(OwnedFd, OsString), Errno> {
    let name = path.file_name().ok_or(Errno::INVAL)?.to_owned();
    let parent = path.parent().unwrap_or(Path::new("/"));
    let directory = locate_or_make(root, parent, Missing::Directory(0o755), Links::Follow)?;
    Ok((directory, name))
}

/// The type of what a descriptor is of.
pub fn file_type(descriptor: impl AsFd) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(descriptor)?.st_mode))
}

/// A walk from the root, one component at a time; the stack holds the way back for `..`.
struct Walk {
    stack: Vec<OwnedFd>,
    links: Links,
    links_left: usize,
}

impl Walk {
    fn new(root: BorrowedFd<'_>, links: Links) -> Result<Walk, Errno> {
        let root = rustix::io::fcntl_dupfd_cloexec(root, 0)?;
        Ok(Walk { stack: vec![root], links, links_left: LINKS_MAX })
    }

    fn make(mut self, path: &Path, missing: Missing) -> Result<OwnedFd, Errno> {
        let mut queue = components(path);
        while let Some(name) = queue.pop_front() {
            if name == ".." {
                if self.stack.len() > 1 {
                    self.stack.pop();
                }
                continue;
            }
            let kind = if queue.is_empty() { missing } else { Missing::Directory(0o755) };
            let entry = self.enter(&name, kind)?;
            match file_type(&entry)? {
                FileType::Symlink => {
                    if self.links == Links::Refuse || self.links_left == 0 {
                        return Err(Errno::LOOP);
                    }
                    self.links_left -= 1;
                    self.follow(&entry, &mut queue)?;
                }
                FileType::Directory => self.stack.push(entry),
                _ if queue.is_empty() => return Ok(entry),
                _ => return Err(Errno::NOTDIR),
            }
        }
        self.stack.pop().ok_or(Errno::NOENT)
    }

    /// Opens one component without following it, making it when missing.
    fn enter(&self, name: &OsStr, missing: Missing) -> Result<OwnedFd, Errno> {
        let top = self.stack.last().ok_or(Errno::NOENT)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..RACES_MAX {
            match rustix::fs::openat(top, name, flags, Mode::empty()) {
                Err(Errno::NOENT) => {}
                result => return result,
            }
            let made = match missing {
                Missing::Directory(mode) => rustix::fs::mkdirat(top, name, Mode::from_raw_mode(mode)),
                Missing::File(mode) => rustix::fs::openat(
                    top,
                    name,
                    OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::from_raw_mode(mode),
                )
                .map(drop),
            };
            match made {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::AGAIN)
    }

    fn follow(&mut self, link: &OwnedFd, queue: &mut VecDeque<OsString>) -> Result<(), Errno> {
        let to = rustix::fs::readlinkat(link, "", Vec::new())?;
        let to = OsString::from_vec(to.into_bytes());
        if to.as_bytes().starts_with(b"/") {
            self.stack.truncate(1);
        }
        for name in components(Path::new(&to)).into_iter().rev() {
            queue.push_front(name);
        }
        Ok(())
    }
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

/// True when there is something at the path inside the root, without following a last link.
pub fn exists(root: BorrowedFd<'_>, path: &Path) -> bool {
    let Some(name) = path.file_name() else { return true };
    let parent = path.parent().unwrap_or(Path::new("/"));
    locate(root, parent, Links::Follow)
        .and_then(|directory| rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir_all(outer.path().join("root/dir")).unwrap();
        fs::create_dir(outer.path().join("outside")).unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let fd = rustix::fs::open(outer.path().join("root"), flags, Mode::empty()).unwrap();
        (outer, fd)
    }

    #[test]
    fn links_out_of_the_root_stay_inside() {
        let (outer, root) = root();
        let at = |name: &str| outer.path().join("root").join(name);
        symlink(outer.path().join("outside"), at("absolute")).unwrap();
        symlink("../../outside", at("relative")).unwrap();
        symlink("/", at("slash")).unwrap();
        symlink("loop", at("loop")).unwrap();
        for (path, made) in [
            ("absolute/a", outer.path().strip_prefix("/").unwrap().join("outside/a")),
            ("relative/b", "outside/b".into()),
            ("slash/c", "c".into()),
            ("dir/../../../d", "d".into()),
            ("new/deep/e", "new/deep/e".into()),
        ] {
            locate_or_make(root.as_fd(), Path::new(path), Missing::File(0o644), Links::Follow).unwrap();
            assert!(at(made.to_str().unwrap()).is_file(), "{path}");
        }
        assert_eq!(fs::read_dir(outer.path().join("outside")).unwrap().count(), 0);
        let looped = locate_or_make(root.as_fd(), Path::new("loop/x"), Missing::File(0o644), Links::Follow);
        assert_eq!(looped.unwrap_err(), Errno::LOOP);
    }

    #[test]
    fn refused_links_are_an_error() {
        let (outer, root) = root();
        symlink("dir", outer.path().join("root/link")).unwrap();
        for path in ["link", "link/new", "/link/a/b"] {
            let result =
                locate_or_make(root.as_fd(), Path::new(path), Missing::Directory(0o755), Links::Refuse);
            assert_eq!(result.unwrap_err(), Errno::LOOP, "{path}");
        }
    }

    #[test]
    fn dangling_links_are_completed() {
        let (outer, root) = root();
        symlink("../run/x/resolv.conf", outer.path().join("root/dir/resolv.conf")).unwrap();
        let path = Path::new("/dir/resolv.conf");
        locate_or_make(root.as_fd(), path, Missing::File(0o644), Links::Follow).unwrap();
        assert!(outer.path().join("root/run/x/resolv.conf").is_file());
    }
}
