//! Making processes: the one door to `oci::launch`, and what a test puts in its place.

use std::error::Error;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use keeper_api::{Failure, FailureKind};
use oci::Plan;
use oci::launch::{self, LaunchError, LaunchFds, Pending};

/// Descriptors for a new process.
#[derive(Debug)]
pub struct Fds {
    /// The plan, as `oci::Plan::encode` wrote it.
    pub plan: OwnedFd,
    /// Standard input, output and error.
    pub stdio: [OwnedFd; 3],
    /// One byte: go on. The end without one: whoever launched it is dead.
    pub gate: OwnedFd,
    /// The cgroup2 directory that it is born in.
    pub cgroup: Option<OwnedFd>,
    /// Gets the master of its terminal.
    pub console: Option<OwnedFd>,
    /// Its descriptors 3 and up.
    pub preserve: Vec<OwnedFd>,
}

/// How far a child is on its way to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Wait until it is readable.
    Waiting,
    /// It waits at its gate.
    AtGate,
    /// It is the program.
    Running,
}

/// Starts processes without waiting for them.
pub trait Launcher {
    /// Clones a child.
    fn start(&mut self, fds: Fds) -> Result<Box<dyn Child>, Failure>;
}

/// A child on its way to the program.
pub trait Child {
    /// Its pid.
    fn pid(&self) -> i32;
    /// Its pidfd.
    fn pidfd(&self) -> BorrowedFd<'_>;
    /// Readable when [`Child::advance`] has something to do.
    fn readiness(&self) -> BorrowedFd<'_>;
    /// Does what is to do for it.
    fn advance(&mut self) -> Result<Progress, Failure>;
}

/// Containers and processes in them, by the OCI runtime's child stage.
#[derive(Debug)]
pub struct Oci;

impl Launcher for Oci {
    fn start(&mut self, fds: Fds) -> Result<Box<dyn Child>, Failure> {
        let limit = oci::plan::ENCODED_BYTES_MAX as u64 + 1;
        let mut plan = File::from(fds.plan);
        let length = plan.metadata().map_or(0, |plan| plan.len()).min(limit) as usize;
        // The end is seen by a read into what is left.
        let mut bytes = Vec::with_capacity(length + 1);
        // A keeper that died may have read it before.
        let read = plan.rewind().and_then(|()| plan.take(limit).read_to_end(&mut bytes));
        read.map_err(|error| Failure {
            kind: FailureKind::Request,
            message: format!("the plan cannot be read: {error}"),
        })?;
        let plan = Plan::decode(&bytes).map_err(|error| Failure {
            kind: FailureKind::Request,
            message: format!("the plan cannot be used: {}", chain(&error)),
        })?;
        drop(bytes);
        let fds = LaunchFds {
            stdio: Some(fds.stdio),
            cgroup: fds.cgroup,
            gate: Some(fds.gate),
            console: fds.console,
            target: None,
            preserve: fds.preserve,
            ..LaunchFds::default()
        };
        Ok(Box::new(launch::start(plan, fds).map_err(failure)?))
    }
}

impl Child for Pending {
    fn pid(&self) -> i32 {
        self.pid
    }

    fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn advance(&mut self) -> Result<Progress, Failure> {
        loop {
            return match Pending::advance(self).map_err(failure)? {
                launch::Progress::Waiting => Ok(Progress::Waiting),
                launch::Progress::AtGate => Ok(Progress::AtGate),
                launch::Progress::Running => Ok(Progress::Running),
                // The CRI has no runtime hooks; whoever has some runs `keelson oci`.
                launch::Progress::RuntimeHooks => {
                    self.proceed().map_err(failure)?;
                    continue;
                }
            };
        }
    }
}

fn failure(error: LaunchError) -> Failure {
    let message = chain(&error);
    let (step, errno) = match error {
        LaunchError::System { what, errno } => (what.to_owned(), errno.raw_os_error()),
        LaunchError::Step { what, errno, .. } => (what, errno.raw_os_error()),
        LaunchError::IdMapped { errno, .. }
        | LaunchError::Image { errno, .. }
        | LaunchError::Listener { errno, .. } => (message.clone(), errno.raw_os_error()),
        LaunchError::Died | LaunchError::TargetGone(_) | LaunchError::Garbled => (message.clone(), 0),
    };
    Failure { kind: FailureKind::Launch { step, errno }, message }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step that is misread runs as root, so a daemon of another build is told why nothing runs.
    #[test]
    fn plans_of_other_versions_are_refused_with_a_sentence() {
        let this = oci::plan::VERSION;
        for version in [this - 1, this + 1] {
            let null =
                || OwnedFd::from(File::options().read(true).write(true).open("/dev/null").expect("opens"));
            let plan = [&version.to_le_bytes()[..], &[0; 64]].concat();
            let fds = Fds {
                plan: sys::memfd::sealed("plan", &plan).expect("a memfd"),
                stdio: [null(), null(), null()],
                gate: null(),
                cgroup: None,
                console: None,
                preserve: Vec::new(),
            };
            let failure = Oci.start(fds).err().expect("refused");
            assert_eq!(failure.kind, FailureKind::Request);
            let sentence =
                format!("the plan cannot be used: plan of version {version}, this build reads {this}");
            assert_eq!(failure.message, sentence);
        }
    }
}
