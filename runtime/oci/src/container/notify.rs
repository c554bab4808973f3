//! A service manager's notification socket for a container.
//!
//! The container gets a socket of its own at [`INSIDE`], bound by `start` or `run`. When its program says that it is
//! ready, the manager is told so, and which process is the main one: it would not believe a stranger.
//!
//! Reference: sd_notify(3); the paths and the order are runc's.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, Spec};
use rustix::event::{PollFd, PollFlags};
use sys::Errno;

use super::ContainerError;

const VARIABLE: &str = "NOTIFY_SOCKET";
/// The directory inside, and below the container's own on the host.
const INSIDE: &str = "/run/notify";
const DIRECTORY: &str = "notify";
const SOCKET: &str = "notify.sock";

/// The longest message that is read; the rest of a longer one is dropped.
const MESSAGE_BYTES_MAX: usize = 4096;

/// The manager's socket, when there is a manager.
fn manager() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Adds the socket's directory and the variable to a specification when this process was given a socket itself.
pub(super) fn extend(spec: &mut Spec, container: &Path) {
    if manager().is_none() {
        return;
    }
    let mut mount = Mount::default();
    mount.set_destination(INSIDE.into());
    mount.set_typ(Some("bind".into()));
    mount.set_source(Some(container.join(DIRECTORY)));
    mount.set_options(Some(["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned).to_vec()));
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.push(mount);
    spec.set_mounts(Some(mounts));
    if let Some(process) = spec.process_mut() {
        let mut environment = process.env().clone().unwrap_or_default();
        environment.push(format!("{VARIABLE}={INSIDE}/{SOCKET}"));
        process.set_env(Some(environment));
    }
}

/// Makes the directory that is bound into the container.
pub(super) fn make_directory(container: &Path) -> Result<(), ContainerError> {
    if manager().is_none() {
        return Ok(());
    }
    let path = container.join(DIRECTORY);
    std::fs::create_dir(&path).map_err(ContainerError::file("make", &path))?;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, mode).map_err(ContainerError::file("open up", path))
}

/// The container's end, bound.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    manager: PathBuf,
    socket: UnixDatagram,
}

impl NotifySocket {
    /// None without a manager, or when the container was made without one.
    pub(crate) fn bind(container: &Path) -> Result<Option<NotifySocket>, ContainerError> {
        let directory = container.join(DIRECTORY);
        let Some(manager) = manager().filter(|_| directory.exists()) else { return Ok(None) };
        let path = directory.join(SOCKET);
        let socket = UnixDatagram::bind(&path).map_err(ContainerError::file("bind", &path))?;
        // Whatever user the program has may tell.
        let mode = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(&path, mode).map_err(ContainerError::file("open up", path))?;
        Ok(Some(NotifySocket { manager, socket }))
    }

    /// Waits until the container is ready or gone, and tells the manager about the former.
    pub(crate) fn pass_on(&self, pid: i32, pidfd: BorrowedFd<'_>) -> Result<(), ContainerError> {
        let mut message = [0u8; MESSAGE_BYTES_MAX];
        loop {
            let mut polled = [
                PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
            ];
            match rustix::event::poll(&mut polled, None) {
                Err(Errno::INTR) => continue,
                result => result.map_err(ContainerError::system("wait for the container's notification"))?,
            };
            if polled[0].revents().is_empty() {
                return Ok(());
            }
            let length = self.socket.recv(&mut message).map_err(ContainerError::file("read", SOCKET))?;
            let ready =
                message[..length].split(|byte| *byte == b'\n').find(|line| line.starts_with(b"READY="));
            if let Some(line) = ready {
                let own = UnixDatagram::unbound().map_err(ContainerError::file("make", SOCKET))?;
                let to = address(&self.manager).map_err(ContainerError::file("find", &self.manager))?;
                for text in [[line, b"\n"].concat(), format!("MAINPID={pid}\n").into_bytes()] {
                    own.send_to_addr(&text, &to).map_err(ContainerError::file("notify", &self.manager))?;
                }
                return Ok(());
            }
        }
    }
}

/// `@name` is an abstract socket.
fn address(path: &Path) -> std::io::Result<SocketAddr> {
    match path.as_os_str().as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(path),
    }
}
