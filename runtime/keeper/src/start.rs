//! Starting: from somebody's child to nobody's, then listening.
//!
//! Two executions instead of two forks: the first stage starts the second and waits for one line from
//! it, the second leaves the session and is handed to init when the first exits. So the daemon that
//! asks for a keeper waits for one short-lived child, and is no parent of the keeper.

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::fs::FlockOperation;
use sys::seqpacket::Listener;

use crate::launcher::Launcher;
use crate::options::{KeeperOptions, StartStage};
use crate::server::Keeper;
use crate::{surroundings, upgrade};

/// The lock file's name in the state directory; it holds the keeper's pid.
pub const LOCK: &str = "keeper.lock";
/// What the second stage says when it listens.
const READY: &[u8] = b"ready\n";
/// The executable that runs, also after its file was replaced.
pub const OURSELVES: &str = "/proc/self/exe";

/// Why there is no keeper.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{} cannot be made", path.display())]
    State { path: PathBuf, source: io::Error },
    #[error("the second stage cannot be started")]
    Second(#[source] io::Error),
    #[error("the second stage ended before it listened; it has said why")]
    Ended,
    #[error("{} is locked: another keeper serves this state directory", path.display())]
    Running { path: PathBuf },
    #[error("{} cannot be locked", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("{} cannot be listened at", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("the surroundings cannot be set up")]
    Surroundings(#[source] io::Error),
    #[error("what the earlier executable left cannot be used")]
    Resume(#[source] io::Error),
    #[error("waiting for events failed")]
    Loop(#[source] io::Error),
}

/// Runs the stage that the options name.
pub fn run(options: KeeperOptions, launcher: Box<dyn Launcher>) -> Result<(), StartError> {
    make_state(&options)?;
    match options.stage {
        StartStage::Launch => launch_second(&options),
        StartStage::Serve => {
            surroundings::leave_session().map_err(StartError::Surroundings)?;
            serve(options, launcher, true)
        }
        StartStage::Foreground => serve(options, launcher, false),
        StartStage::Resume(saved) => {
            let mut keeper = upgrade::resume(options, launcher, saved).map_err(StartError::Resume)?;
            tracing::info!(pid = std::process::id(), "the keeper goes on as another executable");
            keeper.serve().map_err(StartError::Loop)
        }
    }
}

fn make_state(options: &KeeperOptions) -> Result<(), StartError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&options.state);
    made.map_err(|source| StartError::State { path: options.state.clone(), source })
}

fn launch_second(options: &KeeperOptions) -> Result<(), StartError> {
    let second = KeeperOptions { stage: StartStage::Serve, ..options.clone() };
    let mut child = Command::new(OURSELVES)
        .arg("keeper")
        .args(second.arguments())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(StartError::Second)?;
    let mut said = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(READY.len() as u64).read_to_end(&mut said).map_err(StartError::Second)?;
    }
    if said == READY {
        return Ok(());
    }
    // One that found another keeper at work has said nothing and is content.
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(StartError::Ended),
    }
}

fn serve(options: KeeperOptions, launcher: Box<dyn Launcher>, detached: bool) -> Result<(), StartError> {
    let lock = match lock(&options) {
        // Whoever asked for a keeper has one.
        Err(StartError::Running { path }) if detached => {
            tracing::info!(lock = %path.display(), "another keeper serves this state directory");
            return Ok(());
        }
        lock => lock?,
    };
    surroundings::set_up(options.cgroup.as_deref()).map_err(StartError::Surroundings)?;
    let path = options.state.join(keeper_api::SOCKET);
    let _left_behind = std::fs::remove_file(&path);
    let listener = Listener::bind(&path).map_err(|source| StartError::Listen { path, source })?;
    let state = options.state.clone();
    let mut keeper = Keeper::new(options, lock, listener, launcher).map_err(StartError::Loop)?;
    if detached {
        let _nobody_waits = io::stdout().write_all(READY).and_then(|()| io::stdout().flush());
        surroundings::leave_stdio(&state).map_err(StartError::Surroundings)?;
    }
    tracing::info!(pid = std::process::id(), state = %state.display(), "the keeper serves");
    keeper.serve().map_err(StartError::Loop)
}

/// Takes the record lock: it belongs to the process, so a child's copy of the descriptor keeps nothing
/// locked, and it survives execve.
fn lock(options: &KeeperOptions) -> Result<OwnedFd, StartError> {
    let path = options.state.join(LOCK);
    let open = File::options().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path);
    let mut file = match open {
        Ok(file) => file,
        Err(source) => return Err(StartError::Lock { path, source }),
    };
    match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // For people; whoever must be sure asks the socket for its peer.
            let said = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
            said.map_err(|source| StartError::Lock { path, source })?;
            Ok(file.into())
        }
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Err(StartError::Running { path }),
        Err(errno) => Err(StartError::Lock { path, source: errno.into() }),
    }
}
