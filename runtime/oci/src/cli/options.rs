//! Flags that several verbs share.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::container::{ContainerError, CreateRequest};

/// Descriptors passed on are numbered from here.
const FIRST_PRESERVED: i32 = 3;

/// What `create` and `run` have in common.
#[derive(Debug, Args)]
pub(super) struct BundleOptions {
    /// Directory that holds config.json
    #[arg(long, short, default_value = ".")]
    pub(super) bundle: PathBuf,
    /// Unix socket that gets the master of the container's terminal
    #[arg(long)]
    pub(super) console_socket: Option<PathBuf>,
    /// File to write the container's PID to
    #[arg(long)]
    pub(super) pid_file: Option<PathBuf>,
    /// Move the root instead of pivoting (for an initial ramdisk)
    #[arg(long)]
    pub(super) no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    pub(super) no_new_keyring: bool,
    /// Number of descriptors from 3 on to pass to the program
    #[arg(long, default_value_t = 0)]
    pub(super) preserve_fds: u32,
}

impl BundleOptions {
    pub(super) fn request(
        self,
        id: String,
        console: Option<OwnedFd>,
        systemd_cgroup: bool,
    ) -> Result<CreateRequest, ContainerError> {
        let (listening, environment) = listening()?;
        let bundle =
            std::path::absolute(&self.bundle).map_err(ContainerError::file("find bundle", &self.bundle))?;
        Ok(CreateRequest {
            id,
            bundle,
            console,
            pid_file: self.pid_file,
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
            systemd_cgroup,
            preserve: preserved(self.preserve_fds + listening)?,
            environment,
        })
    }
}

/// Sockets that a service manager opened for us go on to the program, before those of `--preserve-fds`
/// (sd_listen_fds(3)): how many there are, and what to tell the program.
fn listening() -> Result<(u32, Vec<String>), ContainerError> {
    let Ok(text) = std::env::var("LISTEN_FDS") else { return Ok((0, Vec::new())) };
    let count = text
        .parse::<u16>()
        .map_err(|_| ContainerError::Usage(format!("LISTEN_FDS `{text}` is not a number of descriptors")))?;
    Ok((count.into(), vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".into()]))
}

/// The descriptors the caller passes on: its own promise, so a missing one is an error.
pub(super) fn preserved(count: u32) -> Result<Vec<OwnedFd>, ContainerError> {
    (FIRST_PRESERVED..FIRST_PRESERVED + count as i32)
        .map(|number| {
            sys::descriptors::inherited(number).ok_or_else(|| {
                ContainerError::Usage(format!("--preserve-fds: descriptor {number} is not open"))
            })
        })
        .collect()
}

/// Connects to the socket that waits for the terminal's master.
pub(super) fn connect_console(path: Option<&Path>) -> Result<Option<OwnedFd>, ContainerError> {
    path.map(|path| {
        UnixStream::connect(path)
            .map(OwnedFd::from)
            .map_err(ContainerError::file("connect to console socket", path))
    })
    .transpose()
}

/// Refuses combinations that could not work: who gets the terminal must be clear.
pub(super) fn check_console(
    terminal: bool,
    detached: bool,
    socket: Option<&Path>,
) -> Result<(), ContainerError> {
    match (terminal, detached, socket) {
        (true, true, None) => Err(ContainerError::NoConsole),
        (false, _, Some(_)) | (_, false, Some(_)) => Err(ContainerError::NoTerminal),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_the_terminal() {
        let socket = Some(Path::new("/s"));
        for (terminal, detached, socket, good) in [
            (true, true, None, false),
            (true, true, socket, true),
            (true, false, None, true),
            (true, false, socket, false),
            (false, true, socket, false),
            (false, true, None, true),
            (false, false, None, true),
        ] {
            let result = check_console(terminal, detached, socket);
            assert_eq!(result.is_ok(), good, "{terminal} {detached} {socket:?}");
        }
    }
}
