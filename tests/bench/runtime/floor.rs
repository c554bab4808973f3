//! The kernel's part of a container, and nothing else: a cgroup, one clone with the same namespaces, the same mounts, the
//! program, and the way back. No specification is read, no state kept, nothing is checked.

use std::ffi::CString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use sys::mount;
use sys::process::{self, CloneRequest};

use super::Bundle;

/// Mount, cgroup, UTS, IPC, PID, network.
const NAMESPACES: u64 = 0x2_0000 | 0x200_0000 | 0x400_0000 | 0x800_0000 | 0x2000_0000 | 0x4000_0000;
const PRIVATE: u32 = 1 << 18;
const SLAVE_RECURSIVE: u32 = 1 << 19 | 1 << 14;

/// Target below the root, file system, options.
type FileSystem = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const MOUNTS: [FileSystem; 7] = [
    ("proc", "proc", &[]),
    ("dev", "tmpfs", &[("mode", "755"), ("size", "65536k")]),
    ("dev/pts", "devpts", &[("ptmxmode", "0666"), ("mode", "0620")]),
    ("dev/shm", "tmpfs", &[("mode", "1777"), ("size", "65536k")]),
    ("dev/mqueue", "mqueue", &[]),
    ("sys", "sysfs", &[]),
    ("sys/fs/cgroup", "cgroup2", &[]),
];

pub fn container(bundle: &Bundle) -> Result<(), String> {
    let unified = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .find(|path| Path::new(path).join("cgroup.procs").exists());
    let cgroup = Path::new(unified.ok_or("no cgroup2")?).join(&bundle.id);
    std::fs::create_dir(&cgroup).map_err(|error| error.to_string())?;
    let directory =
        rustix::fs::open(&cgroup, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let directory = directory.map_err(|errno| errno.to_string())?;
    let request = CloneRequest { flags: NAMESPACES, cgroup: Some(directory.as_fd()) };
    let root = bundle.path.join("rootfs");
    let child = process::clone_process(&request, || match inside(&root) {
        Ok(never) => match never {},
        Err(_) => 1,
    });
    let ended = process::reap(child.map_err(|errno| errno.to_string())?.pidfd.as_fd());
    let code = ended.map_err(|errno| errno.to_string())?.code();
    std::fs::remove_dir(&cgroup).map_err(|error| error.to_string())?;
    if code == 0 { Ok(()) } else { Err(format!("the floor's child ended with {code}")) }
}

fn inside(root: &Path) -> Result<std::convert::Infallible, sys::Errno> {
    mount::change_propagation(Path::new("/"), SLAVE_RECURSIVE)?;
    let tree = mount::clone_tree(root, true)?;
    mount::set_attributes(tree.as_fd(), 0, 0, PRIVATE, false)?;
    mount::attach(tree.as_fd(), at(None, root)?.as_fd())?;
    for (target, kind, options) in MOUNTS {
        let options: Vec<(String, Option<String>)> =
            options.iter().map(|(k, v)| ((*k).to_owned(), Some((*v).to_owned()))).collect();
        let made = mount::new_filesystem(kind, kind, &options, 0).map_err(|error| error.errno)?;
        let _exists = rustix::fs::mkdirat(&tree, target, Mode::from_raw_mode(0o755));
        mount::attach(made.as_fd(), at(Some(&tree), Path::new(target))?.as_fd())?;
    }
    for (name, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
        let device = rustix::fs::makedev(1, minor);
        rustix::fs::mknodat(
            &tree,
            format!("dev/{name}"),
            rustix::fs::FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            device,
        )?;
    }
    mount::pivot(tree.as_fd())?;
    let text = |words: &str| CString::new(words).unwrap_or_default();
    process::execve(&text("/bin/true"), &[text("true")], &[])
}

fn at(directory: Option<&OwnedFd>, path: &Path) -> Result<OwnedFd, sys::Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match directory {
        Some(directory) => rustix::fs::openat(directory, path, flags, Mode::empty()),
        None => rustix::fs::open(path, flags, Mode::empty()),
    }
}
