//! The host's binary is out of a container's reach.
//!
//! A container can make the runtime's child execute `/proc/self/exe` (as a script's interpreter, as a link) and then
//! open what it runs for writing: the file on the host. So whoever launches containers runs from a detached,
//! read-only clone of the file's mount, through which nobody can write; where the kernel refuses that, from a sealed
//! copy in memory. The price is one execve at the start of the process, none per container of the keeper. `keelson oci` has mostly paid it
//! before its C library starts (`sys::early`): then this only sees that it is so.
//!
//! Reference: CVE-2019-5736.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{Mode, OFlags, StatVfsMountFlags};
pub use sys::early::MARK;
use sys::early::MARKED;
use sys::mount::attribute;
use sys::{Errno, memfd, mount, process};

const OWN_FILE: &str = "/proc/self/exe";

#[derive(Debug, thiserror::Error)]
pub enum ShieldError {
    #[error("protect the runtime's own file from the container: {step}")]
    System {
        step: &'static str,
        #[source]
        errno: Errno,
    },
    #[error("the runtime's own file is still writable after it was protected")]
    StillWritable,
}

/// Makes sure that this process runs from a file that cannot be written through /proc/self/exe. Does not return when
/// it had to start itself anew with the same arguments; call it before anything else.
pub fn protect(arguments: &[OsString]) -> Result<(), ShieldError> {
    if protected() {
        return Ok(());
    }
    if std::env::var_os(MARK).is_some() {
        return Err(ShieldError::StillWritable);
    }
    let arguments = c_strings(arguments.iter().map(OsString::as_os_str).map(OsStr::to_owned));
    let environment = c_strings(
        std::env::vars_os()
            .map(|(mut name, value)| {
                name.push("=");
                name.push(value);
                name
            })
            .chain([OsStr::from_bytes(MARKED.to_bytes()).to_owned()]),
    );
    let run = |file: OwnedFd| match process::execve_descriptor(file.as_fd(), &arguments, &environment) {
        Ok(never) => match never {},
        Err(errno) => errno,
    };
    let refused = match read_only_clone() {
        Ok(file) => run(file),
        Err(errno) => errno,
    };
    tracing::debug!(%refused, "no read-only clone of the own file; copying it");
    let copy = sealed_copy().map_err(|errno| ShieldError::System { step: "copy it to memory", errno })?;
    Err(ShieldError::System { step: "start from the copy", errno: run(copy) })
}

fn protected() -> bool {
    let read_only =
        rustix::fs::statvfs(OWN_FILE).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY));
    read_only || open_own().is_ok_and(memfd::is_sealed)
}

fn read_only_clone() -> Result<OwnedFd, Errno> {
    let file = mount::clone_tree(OWN_FILE.as_ref(), false)?;
    mount::set_attributes(file.as_fd(), attribute::READ_ONLY, 0, 0, false)?;
    Ok(file)
}

fn sealed_copy() -> Result<OwnedFd, Errno> {
    let bytes = std::fs::read(OWN_FILE).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    memfd::sealed("keelson", &bytes)
}

fn open_own() -> Result<OwnedFd, Errno> {
    rustix::fs::open(OWN_FILE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Arguments and environment come from the kernel, which ends each with a null byte: there is none inside.
fn c_strings(strings: impl Iterator<Item = OsString>) -> Vec<CString> {
    strings.filter_map(|string| CString::new(string.as_bytes()).ok()).collect()
}
