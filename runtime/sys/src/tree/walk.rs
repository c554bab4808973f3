//! Looking at everything, while others go on changing it.
//!
//! Of each folder on the way down only a position in its listing is kept. The first [`OPEN`] stay open; to a deeper one
//! `..` leads back, where it still is the one that was left.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom, Stat};
use rustix::io::Errno;

use super::open;

/// Folders that stay open, one below the other.
const OPEN: usize = 8;

/// Bytes of a listing that are read at a time; it is read again behind each folder.
const LISTING: usize = 4096;

/// A folder that is gone on with once what is below it has been seen.
struct Left {
    way: Way,
    position: u64,
}

/// How a folder is come back to.
enum Way {
    Open(OwnedFd),
    /// By `..`, where that leads to this one.
    Up((u64, u64)),
}

/// Shows everything below a folder. What comes and goes meanwhile may be seen or not; where a folder is moved while it
/// is looked at, what has not been seen of those around it may be left out.
///
/// # Errors
/// The folder cannot be opened, or one below cannot be listed.
pub fn walk(top: &Path, mut see: impl FnMut(&Stat)) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut folder = rustix::fs::open(top, flags, Mode::empty())?;
    let mut above: Vec<Left> = Vec::new();
    let mut position = 0;
    loop {
        match see_up_to_a_folder(folder.as_fd(), &mut position, &mut see)? {
            Some(inner) => {
                let left = std::mem::replace(&mut folder, inner);
                let way = if above.len() < OPEN { Way::Open(left) } else { Way::Up(identity(left.as_fd())?) };
                above.push(Left { way, position });
                position = 0;
            }
            None => {
                let Some(back) = back(folder.as_fd(), &mut above)? else { return Ok(()) };
                (folder, position) = back;
            }
        }
    }
}

/// Shows what a folder has from a position on, and opens the next folder in it.
fn see_up_to_a_folder(
    folder: BorrowedFd<'_>,
    position: &mut u64,
    see: &mut impl FnMut(&Stat),
) -> Result<Option<OwnedFd>, Errno> {
    rustix::fs::seek(folder, SeekFrom::Start(*position))?;
    let mut buffer = [MaybeUninit::uninit(); LISTING];
    let mut listing = RawDir::new(folder, &mut buffer);
    while let Some(entry) = listing.next() {
        let entry = entry?;
        *position = entry.next_entry_cookie();
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(stat) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        see(&stat);
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            continue;
        }
        match open(folder, std::os::unix::ffi::OsStrExt::from_bytes(name.to_bytes())) {
            Ok(inner) => return Ok(Some(inner)),
            // It has gone or become something else, or something is mounted on it.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(None)
}

/// The folder above, or the deepest open one where this one was moved; and where to go on in it.
fn back(folder: BorrowedFd<'_>, above: &mut Vec<Left>) -> Result<Option<(OwnedFd, u64)>, Errno> {
    while let Some(left) = above.pop() {
        let known = match left.way {
            Way::Open(open) => return Ok(Some((open, left.position))),
            Way::Up(known) => known,
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::openat(folder, "..", flags, Mode::empty())?;
        if identity(parent.as_fd())? == known {
            return Ok(Some((parent, left.position)));
        }
        above.truncate(OPEN);
    }
    Ok(None)
}

fn identity(folder: BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::fstat(folder)?;
    Ok((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use super::super::tests::nest;
    use super::*;

    /// How often each inode is shown, and what else is done when it is.
    fn seen(top: &Path, mut meanwhile: impl FnMut(u64)) -> BTreeMap<u64, usize> {
        let mut seen = BTreeMap::new();
        walk(top, |stat| {
            *seen.entry(stat.st_ino).or_default() += 1;
            meanwhile(stat.st_ino);
        })
        .unwrap();
        seen
    }

    fn inode(path: &Path) -> u64 {
        fs::metadata(path).unwrap().ino()
    }

    #[test]
    fn everything_is_seen_once() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("top");
        // Deeper than a path is long, with more names on some levels than are read at a time.
        nest(&top, 3000);
        for wide in ["", "a", "a/a/a/a/a/a/a/a/a/a/a/a"] {
            for number in 0..300 {
                fs::write(top.join(wide).join(format!("file-{number}")), "x").unwrap();
                fs::create_dir_all(top.join(wide).join(format!("folder-{number}/in/in"))).unwrap();
            }
        }
        std::os::unix::fs::symlink(folder.path(), top.join("up")).unwrap();
        let seen = seen(&top, |_| ());
        assert_eq!(seen.len(), 3000 + 1 + 3 * 300 * 4 + 1);
        assert!(seen.values().all(|&times| times == 1));
        super::super::remove(&top).unwrap();
    }

    #[test]
    fn a_folder_that_is_moved_leads_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let (top, outside) = (folder.path().join("top"), folder.path().join("outside"));
        nest(&top, 2 * OPEN);
        fs::create_dir_all(outside.join("kept")).unwrap();
        for number in 0..300 {
            fs::write(top.join(format!("file-{number}")), "x").unwrap();
        }
        let inner = top.join(["a"; 2 * OPEN - 1].join("/"));
        let (end, kept) = (inode(&inner.join("a/end")), inode(&outside.join("kept")));
        let seen = seen(&top, |inode| {
            if inode == end {
                fs::rename(&inner, outside.join("moved")).unwrap();
            }
        });
        assert!(seen.contains_key(&end) && !seen.contains_key(&kept));
        assert_eq!(seen.len(), 2 * OPEN + 1 + 300, "those at the top are seen all the same");
        assert!(seen.values().all(|&times| times == 1));
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = walk(&folder.path().join("missing"), |_| ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
