//! Owner, mode, times and attributes of what an entry made.
//!
//! **Order.** Owner first: changing it clears set-user-ID bits and capabilities. Times last: everything
//! else changes them.

use std::ffi::CString;
use std::os::fd::BorrowedFd;

use rustix::fs::{
    AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, chmodat, chownat, fchmod, fchown,
    futimens, utimensat,
};
use rustix::io::Errno;
use sys::xattr;

use super::fault::Fault;
use super::place::Place;
use super::tar_stream::Entry;

/// Attributes that are content. Labels of security modules are the host's business and are left out.
const TAKEN: &[&str] =
    &["user.", "security.capability", "system.posix_acl_access", "system.posix_acl_default"];
/// Attributes by which a layer could talk to overlayfs or to this host's administrator.
const REFUSED: &[&str] = &["trusted.", "user.overlay."];

/// What is written beside the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    pub mtime: (i64, u32),
    pub xattrs: Vec<(CString, Vec<u8>)>,
}

// === impl Metadata ===

impl Metadata {
    /// Of an entry, checked.
    pub fn of_entry(entry: &Entry) -> Result<Metadata, Fault> {
        let id = |id: u64, what| {
            // The last number means "leave it as it is" to chown.
            let id = u32::try_from(id).ok().filter(|id| *id != u32::MAX);
            id.ok_or_else(|| Fault::Refused(format!("the {what} is not a valid number")))
        };
        let mut xattrs = Vec::new();
        for (name, value) in &entry.xattrs {
            let shown = String::from_utf8_lossy(name);
            if REFUSED.iter().any(|prefix| shown.starts_with(prefix)) {
                return Err(Fault::Refused(format!("extended attribute {shown:?} is not for layers")));
            }
            if TAKEN.iter().any(|prefix| shown.starts_with(prefix)) {
                let name = CString::new(name.as_slice());
                xattrs.push((
                    name.map_err(|_| Fault::refused("extended attribute with a zero byte"))?,
                    value.clone(),
                ));
            }
        }
        Ok(Metadata {
            uid: id(entry.uid, "owner")?,
            gid: id(entry.gid, "group")?,
            mode: entry.mode & 0o7777,
            mtime: entry.mtime,
            xattrs,
        })
    }

    /// Of something that exists, for copying it into another layer.
    pub fn of_place(place: &Place, stat: &Stat) -> Result<Metadata, Fault> {
        let mut xattrs = Vec::new();
        for name in xattr::names(place.fd(), &place.name).map_err(Fault::at("listing extended attributes"))? {
            let shown = name.to_string_lossy().into_owned();
            if TAKEN.iter().any(|prefix| shown.starts_with(prefix)) && !shown.starts_with("user.overlay.") {
                let value = xattr::get(place.fd(), &place.name, &name);
                if let Some(value) = value.map_err(Fault::at("reading an extended attribute"))? {
                    xattrs.push((name, value));
                }
            }
        }
        let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        Ok(Metadata {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
            mtime: (stat.st_mtime, nanoseconds),
            xattrs,
        })
    }

    /// Onto an open regular file.
    pub fn apply_to_file(&self, file: BorrowedFd<'_>, place: &Place) -> Result<(), Fault> {
        fchown(file, self.owner(), self.group()).map_err(Fault::at("setting the owner"))?;
        fchmod(file, Mode::from_raw_mode(self.mode)).map_err(Fault::at("setting the mode"))?;
        self.apply_xattrs(place)?;
        futimens(file, &self.times()).map_err(Fault::at("setting the time"))
    }

    /// Onto a folder or FIFO that was made just now: nothing else can have put a link there.
    pub fn apply_to_node(&self, place: &Place) -> Result<(), Fault> {
        chownat(place.fd(), &place.name, self.owner(), self.group(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Fault::at("setting the owner"))?;
        chmodat(place.fd(), &place.name, Mode::from_raw_mode(self.mode), AtFlags::empty())
            .map_err(Fault::at("setting the mode"))?;
        self.apply_xattrs(place)?;
        self.apply_time(place)
    }

    /// Onto a symbolic link, which has no mode.
    pub fn apply_to_link(&self, place: &Place) -> Result<(), Fault> {
        chownat(place.fd(), &place.name, self.owner(), self.group(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Fault::at("setting the owner"))?;
        self.apply_xattrs(place)?;
        self.apply_time(place)
    }

    /// The time alone: of folders again, once everything in them is made.
    pub fn apply_time(&self, place: &Place) -> Result<(), Fault> {
        set_time(place, self.mtime)
    }

    fn apply_xattrs(&self, place: &Place) -> Result<(), Fault> {
        for (name, value) in &self.xattrs {
            match xattr::set(place.fd(), &place.name, name, value) {
                // The file system has none, or none for this kind of file.
                Ok(()) | Err(Errno::NOTSUP) => {}
                Err(Errno::PERM) if name.to_bytes().starts_with(b"user.") => {}
                Err(errno) => return Err(Fault::at("setting an extended attribute")(errno)),
            }
        }
        Ok(())
    }

    fn owner(&self) -> Option<Uid> {
        Some(Uid::from_raw(self.uid))
    }

    fn group(&self) -> Option<Gid> {
        Some(Gid::from_raw(self.gid))
    }

    fn times(&self) -> Timestamps {
        times(self.mtime)
    }
}

/// Sets the modification time of a name, links not followed.
pub fn set_time(place: &Place, mtime: (i64, u32)) -> Result<(), Fault> {
    utimensat(place.fd(), &place.name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(Fault::at("setting the time"))
}

fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds) },
    }
}
