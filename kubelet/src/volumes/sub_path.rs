//! subPath: one place inside a volume, found so that nobody who writes to the volume can lead it out.
//!
//! ```text
//! volume root (descriptor) ─openat2 RESOLVE_IN_ROOT─> place (descriptor) ─open_tree─> clone
//! <pod>/volume-subpaths/<volume>/<container>/<index>  <─move_mount─ clone
//! ```
//!
//! The runtime is given the bind mount, so nothing that the container renames afterwards matters.
//!
//! Reference: openat2(2), Linux 5.6; open_tree(2), 5.2; CVE-2017-1002101, CVE-2021-25741.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::mount::UnmountFlags;
use sys::rooted::{self, Links, Missing};
use sys::{Errno, mount};

use super::folder::is_mounted;

/// The step that failed. Its details are the host's business and go to the log, not to the pod.
#[derive(Debug, thiserror::Error)]
pub enum SubPathError {
    #[error("creating {path:?} in the volume: {errno}")]
    Make { path: PathBuf, errno: Errno },
    #[error("binding to {}: {why}", target.display())]
    Bind { target: PathBuf, why: String },
}

/// What a pod must not write; the error is upstream's sentence.
pub fn validate(path: &str) -> Result<(), String> {
    if path.starts_with('/') {
        return Err(format!("error SubPath `{path}` must not be an absolute path"));
    }
    if Path::new(path).components().any(|part| part == Component::ParentDir) {
        return Err(format!("unable to provision SubPath `{path}`: must not contain '..'"));
    }
    Ok(())
}

/// Binds `path` of the volume to `target`, making folders that are missing with the mode of the volume.
pub fn bind(volume: &Path, path: &Path, target: &Path) -> Result<(), SubPathError> {
    let make = |errno| SubPathError::Make { path: path.to_owned(), errno };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open(volume, flags, Mode::empty()).map_err(make)?;
    let place = find(root.as_fd(), path).map_err(make)?;
    let folder = rooted::file_type(&place).map_err(make)? == FileType::Directory;
    let failed = |why: String| SubPathError::Bind { target: target.to_owned(), why };
    prepare(target, folder).map_err(|error| failed(error.to_string()))?;
    let clone = mount::clone_descriptor(place.as_fd(), false).map_err(|errno| failed(errno.to_string()))?;
    let target = rustix::fs::open(target, flags | OFlags::NOFOLLOW, Mode::empty())
        .map_err(|errno| failed(errno.to_string()))?;
    mount::attach(clone.as_fd(), target.as_fd()).map_err(|errno| failed(errno.to_string()))
}

/// Each folder on the way, made where it is missing.
fn find(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    match rooted::locate(root, path, Links::Follow) {
        Err(Errno::NOENT) => {}
        result => return result,
    }
    let mode = rustix::fs::fstat(root)?.st_mode & 0o7777;
    let mut prefix = PathBuf::new();
    for part in path.components() {
        prefix.push(part);
        match rooted::locate(root, &prefix, Links::Follow) {
            Err(Errno::NOENT) => {
                let made = rooted::locate_or_make(root, &prefix, Missing::Directory(0o700), Links::Follow)?;
                // The volume's mode whatever the mask; through the descriptor, which nobody can swap.
                let by_descriptor = format!("/proc/self/fd/{}", made.as_raw_fd());
                let mode = fs::Permissions::from_mode(mode & 0o7777);
                fs::set_permissions(by_descriptor, mode)
                    .map_err(|error| error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))?;
            }
            result => drop(result?),
        }
    }
    rooted::locate(root, path, Links::Follow)
}

/// An empty folder or file to bind to; a former bind goes first, since the place may be another one now.
fn prepare(target: &Path, folder: bool) -> std::io::Result<()> {
    while is_mounted(target) {
        rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    let found = fs::symlink_metadata(target).ok();
    match (found, folder) {
        (Some(found), true) if found.is_dir() => Ok(()),
        (Some(found), false) if found.is_file() => Ok(()),
        (Some(found), _) => {
            if found.is_dir() {
                fs::remove_dir(target)?
            } else {
                fs::remove_file(target)?
            }
            prepare(target, folder)
        }
        (None, true) => fs::create_dir(target),
        (None, false) => fs::File::create_new(target).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_out_is_refused_by_its_text() {
        for (path, fine) in
            [("a/b", true), ("a/./b", true), ("..a", true), ("a/../b", false), ("..", false), ("/a", false)]
        {
            assert_eq!(validate(path).is_ok(), fine, "{path}");
        }
    }
}
