//! Extended attributes of a name inside an open directory, symbolic links not followed.
//!
//! The kernel has no `*xattrat` calls before 6.13, so the directory is reached through its descriptor in
//! procfs; a path descriptor is enough. `.` is the directory itself.
//!
//! Reference: xattr(7), proc_pid_fd(5).

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};
use rustix::io::Errno;

/// What the kernel allows for one value, and for all names of one file.
const LONGEST: usize = 64 << 10;

/// Sets one attribute, replacing what was there.
pub fn set(directory: BorrowedFd<'_>, name: &OsStr, attribute: &CStr, value: &[u8]) -> Result<(), Errno> {
    lsetxattr(path(directory, name)?, attribute, value, XattrFlags::empty())
}

/// The value of one attribute, or none.
pub fn get(directory: BorrowedFd<'_>, name: &OsStr, attribute: &CStr) -> Result<Option<Vec<u8>>, Errno> {
    let path = path(directory, name)?;
    let mut value = vec![0; 256];
    loop {
        match lgetxattr(&path, attribute, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                return Ok(Some(value));
            }
            Err(Errno::RANGE) if value.len() < LONGEST => value.resize(LONGEST, 0),
            Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    }
}

/// The names of all attributes.
pub fn names(directory: BorrowedFd<'_>, name: &OsStr) -> Result<Vec<CString>, Errno> {
    let mut list = vec![0; LONGEST];
    let length = match llistxattr(path(directory, name)?, &mut list[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => 0,
        Err(errno) => return Err(errno),
    };
    let names = list[..length].split_inclusive(|b| *b == 0);
    Ok(names.filter_map(|n| CStr::from_bytes_with_nul(n).ok().map(CStr::to_owned)).collect())
}

fn path(directory: BorrowedFd<'_>, name: &OsStr) -> Result<CString, Errno> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.as_bytes());
    CString::new(path).map_err(|_| Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn attributes_are_of_the_name_not_its_target() {
        let folder = tempfile::tempdir().unwrap();
        let directory = std::fs::File::open(folder.path()).unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("file", folder.path().join("link")).unwrap();
        let (file, link) = (OsStr::new("file"), OsStr::new("link"));
        match set(directory.as_fd(), file, c"user.a", b"1\n\0") {
            Err(Errno::NOTSUP) => return,
            done => done.unwrap(),
        }
        set(directory.as_fd(), file, c"user.empty", b"").unwrap();
        assert_eq!(get(directory.as_fd(), file, c"user.a").unwrap().unwrap(), b"1\n\0");
        assert_eq!(get(directory.as_fd(), file, c"user.empty").unwrap().unwrap(), b"");
        assert_eq!(get(directory.as_fd(), file, c"user.none").unwrap(), None);
        assert_eq!(get(directory.as_fd(), link, c"user.a").unwrap(), None);
        let mut found = names(directory.as_fd(), file).unwrap();
        found.retain(|n| n.to_bytes().starts_with(b"user."));
        found.sort();
        assert_eq!(found, [c"user.a".to_owned(), c"user.empty".to_owned()]);
    }
}
