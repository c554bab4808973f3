//! Where things are pinned, and that there is a bpffs for it.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::DatapathError;

/// BPF_FS_MAGIC of linux/magic.h.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// Where every distribution mounts it.
const USUAL: &str = "/sys/fs/bpf";

/// The directories of one data path.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    /// Holds one directory a version.
    pub instance: PathBuf,
    pub version: PathBuf,
}

impl Pins {
    pub fn of(config: &Config) -> Pins {
        let instance = if config.instance.is_empty() {
            config.bpffs.clone()
        } else {
            config.bpffs.join(&config.instance)
        };
        let version = instance.join(format!("v{:016x}", abi::HASH));
        Pins { instance, version }
    }

    pub fn maps(&self) -> PathBuf {
        self.version.join("maps")
    }

    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    pub fn programs(&self, object: u64) -> PathBuf {
        self.version.join(format!("programs-{object:016x}"))
    }

    pub fn links(&self) -> PathBuf {
        self.version.join("links")
    }

    /// Makes the directories, mounting a bpffs first where there is none.
    pub fn make(&self, config: &Config) -> Result<(), DatapathError> {
        mount(&config.bpffs)?;
        for folder in [self.maps(), self.links()] {
            make_folder(&folder)?;
        }
        Ok(())
    }

    /// Held while something changes; released when dropped.
    pub fn lock(&self) -> Result<File, DatapathError> {
        let failed = |source| DatapathError::Files { doing: "locking", path: self.instance.clone(), source };
        let folder = File::open(&self.instance).map_err(failed)?;
        rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|errno| failed(errno.into()))?;
        Ok(folder)
    }
}

pub(crate) fn make_folder(path: &Path) -> Result<(), DatapathError> {
    fs::create_dir_all(path).map_err(|source| DatapathError::Files {
        doing: "making the directory",
        path: path.to_owned(),
        source,
    })
}

/// Names in a directory; none if it does not exist.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, DatapathError> {
    let failed =
        |source| DatapathError::Files { doing: "listing the directory", path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let names = entries.map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()));
    names.collect::<Result<_, _>>().map_err(failed)
}

/// Removes a file or a directory with what is in it. Nothing there is success.
pub(crate) fn remove(path: &Path) -> Result<(), DatapathError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DatapathError::Files { doing: "removing", path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

pub(crate) fn is_bpffs(path: &Path) -> bool {
    File::open(path).ok().and_then(|folder| sys::mount::filesystem_magic(&folder).ok()) == Some(BPF_FS_MAGIC)
}

/// A bpffs holds `path` afterwards: the one at /sys/fs/bpf if `path` lies there, one of its own otherwise.
fn mount(path: &Path) -> Result<(), DatapathError> {
    let point = if path.starts_with(USUAL) { Path::new(USUAL) } else { path };
    if !is_bpffs(point) {
        let failed = |source: io::Error| DatapathError::Bpffs { path: point.to_owned(), source };
        fs::create_dir_all(point).map_err(failed)?;
        let options = [("mode".to_owned(), Some("0700".to_owned()))];
        let tree = sys::mount::new_filesystem("bpf", "bpf", &options, 0)
            .map_err(|error| failed(error.errno.into()))?;
        let target = File::open(point).map_err(failed)?;
        sys::mount::attach(tree.as_fd(), target.as_fd()).map_err(|errno| failed(errno.into()))?;
    }
    make_folder(path)
}

/// Whether a bpffs was mounted on this very directory, as `mount` does away from /sys.
pub(crate) fn is_own_mount(path: &Path) -> bool {
    !path.starts_with(USUAL) && sys::mount::mount_point_of(path).as_deref() == Some(path) && is_bpffs(path)
}

pub(crate) fn unmount(path: &Path) -> Result<(), DatapathError> {
    rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).map_err(|errno| DatapathError::Files {
        doing: "unmounting",
        path: path.to_owned(),
        source: errno.into(),
    })
}
