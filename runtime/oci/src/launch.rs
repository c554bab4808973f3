//! Launching: clone the child with a plan and follow it until it is the program. Never blocks on the child.
//!
//! ```text
//! start ──clone3──> child ──MapIds?──> parent writes maps ──ack──>
//!                     │ ──RuntimeHooks?──> Progress::RuntimeHooks, caller: proceed() ──ack──>
//!                     │ ──AtGate?──> Progress::AtGate        (child waits on the gate, not on us)
//!                     │ ──Exec──> execve closes the channel ──> Progress::Running
//!                     └ ──Failed{step, errno}──> LaunchError::Step, and the child exits
//! ```
//!
//! The channel is a seqpacket pair that execve closes: its end after `Exec` is success, its end before is
//! the child's death.
//!
//! **Invariants.** The caller is single-threaded (see `sys::process`) and is not dumpable from here on. The caller
//! still owns the child: it waits for `pidfd`, also after an error.

mod channel;
mod id_mapped;
mod id_maps;
mod listener;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use sys::Errno;
use sys::process::{self, CloneRequest};

use crate::child;
use crate::plan::{Namespaces, Plan};
pub(crate) use channel::{Channel, Report};

/// The descriptors a child starts with.
#[derive(Debug, Default)]
pub struct LaunchFds {
    /// Standard input, output and error; none keeps the caller's.
    pub stdio: Option<[OwnedFd; 3]>,
    /// The cgroup2 directory the child is born in.
    pub cgroup: Option<OwnedFd>,
    /// Read end: the child waits for one byte before it becomes the program; the end instead is a failure. Needed when the plan has a gate.
    pub gate: Option<OwnedFd>,
    /// A connected unix socket that gets the master of the child's terminal. Needed when the plan has a console.
    pub console: Option<OwnedFd>,
    /// A pidfd of the container an exec joins; without it the plan's target is opened by PID and start time.
    pub target: Option<OwnedFd>,
    /// Become descriptors 3, 4, ... of the program.
    pub preserve: Vec<OwnedFd>,
    /// Trees that the child may not make itself, made by [`start`]; a caller leaves it empty.
    pub id_mapped: Vec<OwnedFd>,
}

/// Why a launch failed.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("{what}")]
    System {
        what: &'static str,
        #[source]
        errno: Errno,
    },
    /// A step of the child failed; the child has exited.
    #[error("{what}")]
    Step {
        index: usize,
        /// The step in words, with its path, and what went wrong.
        what: String,
        errno: Errno,
    },
    #[error("mount `{path}` with mapped ids: {what}")]
    IdMapped {
        path: PathBuf,
        what: &'static str,
        #[source]
        errno: Errno,
    },
    #[error("image volume, path `{path}`: {what}")]
    Image {
        path: PathBuf,
        what: &'static str,
        #[source]
        errno: Errno,
    },
    #[error("send the seccomp listener to `{path}`")]
    Listener {
        path: PathBuf,
        #[source]
        errno: Errno,
    },
    #[error("the child ended before it became the program")]
    Died,
    #[error("the container's init process {0} is gone")]
    TargetGone(i32),
    #[error("the child sent something that is not a report")]
    Garbled,
}

/// How far the child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing new: come back when the channel is readable.
    Waiting,
    /// The child waits until the caller has run its hooks and calls [`Pending::proceed`].
    RuntimeHooks,
    /// The child has done everything but wait at the gate.
    AtGate,
    /// The child is the program.
    Running,
}

/// A cloned child that is not yet the program. Readable when [`Pending::advance`] has something to do.
#[derive(Debug)]
pub struct Pending {
    /// As the caller's PID namespace sees it.
    pub pid: i32,
    pub pidfd: OwnedFd,
    channel: Channel,
    said_exec: bool,
    plan: Plan,
}

/// Clones the child, which starts executing the plan at once.
pub fn start(plan: Plan, mut fds: LaunchFds) -> Result<Pending, LaunchError> {
    let system = |what| move |errno| LaunchError::System { what, errno };
    process::set_undumpable().map_err(system("become undumpable"))?;
    let (ours, theirs) = Channel::pair().map_err(system("make the report channel"))?;
    let target = open_target(&plan, fds.target.as_ref())?;
    fds.id_mapped = id_mapped::prepare(&plan)?;
    let cloned = {
        let _around = JoinAround::enter(&plan, target.as_ref())?;
        if plan.join_first.is_empty() {
            clone_directly(&plan, fds, theirs, target)
        } else {
            clone_in_joined(&plan, fds, theirs)
        }
    }?;
    Ok(Pending { pid: cloned.pid, pidfd: cloned.pidfd, channel: ours, said_exec: false, plan })
}

impl AsFd for Pending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl Pending {
    /// Handles what the child says, without blocking. Call again after each `Waiting` when readable.
    pub fn advance(&mut self) -> Result<Progress, LaunchError> {
        loop {
            match self.channel.receive() {
                Err(Errno::AGAIN) => return Ok(Progress::Waiting),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(LaunchError::System { what: "read the child's report", errno }),
                Ok(None) if self.said_exec => return Ok(Progress::Running),
                Ok(None) => return Err(LaunchError::Died),
                Ok(Some((Report::Listener, Some(listener)))) => {
                    listener::deliver(self.plan.listener.as_ref(), self.pid, listener.as_fd())?;
                    self.proceed()?;
                }
                Ok(Some((Report::MapIds, _))) => {
                    let maps = self.plan.id_maps.clone().unwrap_or_default();
                    id_maps::write(self.pid, &maps).map_err(|errno| LaunchError::System {
                        what: "write the user namespace's maps",
                        errno,
                    })?;
                    self.proceed()?;
                }
                Ok(Some((Report::RuntimeHooks, _))) => return Ok(Progress::RuntimeHooks),
                Ok(Some((Report::AtGate, _))) => return Ok(Progress::AtGate),
                Ok(Some((Report::Exec, _))) => self.said_exec = true,
                Ok(Some((Report::Failed { index, errno, detail }, _))) => {
                    return Err(self.step_error(index as usize, errno, &detail));
                }
                Ok(Some((Report::Garbled | Report::Listener, _))) => return Err(LaunchError::Garbled),
            }
        }
    }

    /// Waits until something is there, then advances: for callers without an event loop.
    pub fn wait(&mut self) -> Result<Progress, LaunchError> {
        loop {
            match self.advance()? {
                Progress::Waiting => self
                    .channel
                    .wait_readable()
                    .map_err(|errno| LaunchError::System { what: "wait for the child", errno })?,
                progress => return Ok(progress),
            }
        }
    }

    /// Lets a child go on that waits for hooks.
    pub fn proceed(&mut self) -> Result<(), LaunchError> {
        self.channel.acknowledge().map_err(|errno| LaunchError::System { what: "answer the child", errno })
    }

    /// Kills and reaps the child: a zombie nobody reaps keeps the PID namespace it is in from ending.
    pub fn abandon(self) {
        let _gone = process::signal(self.pidfd.as_fd(), rustix::process::Signal::KILL.as_raw());
        let _reaped = process::reap(self.pidfd.as_fd());
    }

    fn step_error(&self, index: usize, errno: i32, detail: &str) -> LaunchError {
        let step = self.plan.steps.get(index).map(|step| step.describe()).unwrap_or_default();
        let errno = Errno::from_raw_os_error(errno);
        let what = if detail.is_empty() { format!("{step}: {errno}") } else { format!("{step}: {detail}") };
        LaunchError::Step { index, what, errno }
    }
}

fn open_target(plan: &Plan, given: Option<&OwnedFd>) -> Result<Option<OwnedFd>, LaunchError> {
    let Some(target) = plan.target else { return Ok(None) };
    let gone = |_| LaunchError::TargetGone(target.pid);
    if let Some(given) = given {
        return given.try_clone().map(Some).map_err(|_| LaunchError::TargetGone(target.pid));
    }
    let pidfd = process::open(target.pid).map_err(gone)?;
    // The start time is read after opening: if it is right now, the descriptor is of the right process.
    match (target.start_ticks, process::stat(target.pid)) {
        (None, _) => Ok(Some(pidfd)),
        (Some(expect), Some((_, start))) if start == expect => Ok(Some(pidfd)),
        _ => Err(LaunchError::TargetGone(target.pid)),
    }
}

/// Changes the PID namespace of the caller's next child and changes it back when dropped.
struct JoinAround {
    own: Option<OwnedFd>,
}

impl JoinAround {
    fn enter(plan: &Plan, target: Option<&OwnedFd>) -> Result<JoinAround, LaunchError> {
        let pid_of_target = target.filter(|_| plan.target.is_some_and(|target| target.pid_namespace));
        if pid_of_target.is_none() && plan.join_pid.is_none() {
            return Ok(JoinAround { own: None });
        }
        let system = |what| move |errno| LaunchError::System { what, errno };
        let own = rustix::fs::open(
            "/proc/self/ns/pid",
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .map_err(system("open the own PID namespace"))?;
        let around = JoinAround { own: Some(own) };
        match (pid_of_target, &plan.join_pid) {
            (Some(target), _) => sys::namespace::join(target.as_fd(), Namespaces::PID.0)
                .map_err(system("join the container's PID namespace"))?,
            (None, Some(path)) => sys::namespace::join_path(path, Namespaces::PID.0)
                .map_err(system("join the PID namespace by path"))?,
            (None, None) => {}
        }
        Ok(around)
    }
}

impl Drop for JoinAround {
    fn drop(&mut self) {
        if let Some(own) = &self.own {
            // Going back to the namespace we are in cannot be refused to the process that just left it.
            let back = sys::namespace::join(own.as_fd(), Namespaces::PID.0);
            debug_assert!(back.is_ok(), "{back:?}");
        }
    }
}

fn clone_directly(
    plan: &Plan,
    mut fds: LaunchFds,
    channel: Channel,
    target: Option<OwnedFd>,
) -> Result<process::Cloned, LaunchError> {
    let cgroup = fds.cgroup.take();
    fds.target = target;
    let request = CloneRequest { flags: plan.clone_flags.0.into(), cgroup: cgroup.as_ref().map(AsFd::as_fd) };
    process::clone_process(&request, || child::run(plan, fds, channel))
        .map_err(|errno| LaunchError::System { what: "clone the child", errno })
}

/// An intermediate child joins the namespaces that own the rest, then clones the real one as its sibling.
fn clone_in_joined(
    plan: &Plan,
    mut fds: LaunchFds,
    channel: Channel,
) -> Result<process::Cloned, LaunchError> {
    let system = |what| move |errno| LaunchError::System { what, errno };
    let (ours, theirs) = Channel::pair().map_err(system("make the report channel"))?;
    let cgroup = fds.cgroup.take();
    let request = CloneRequest { flags: 0, cgroup: cgroup.as_ref().map(AsFd::as_fd) };
    let between = process::clone_process(&request, || child::run_between(plan, fds, channel, &theirs))
        .map_err(system("clone the intermediate child"))?;
    drop(theirs);
    let answer = ours.wait_readable().and_then(|()| ours.receive_pid());
    let ended = process::reap(between.pidfd.as_fd()).map_err(system("reap the intermediate child"))?;
    match answer {
        Ok(Ok(pid)) => {
            let pidfd = process::open(pid).map_err(system("open the child"))?;
            Ok(process::Cloned { pid, pidfd })
        }
        Ok(Err(errno)) => Err(LaunchError::System { what: "join the namespaces before the clone", errno }),
        Err(_) => {
            tracing::debug!(?ended, "intermediate child ended without an answer");
            Err(LaunchError::Died)
        }
    }
}
