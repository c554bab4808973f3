//! The child stage: executes a plan's steps, one by one, and becomes the program.
//!
//! It is the clone of a single-threaded parent, so it may allocate, but it shares nothing with it: what it
//! learns it says over the channel. Any failure ends it with [`FAILED`]; whatever it had set up lived in its
//! own mount namespace and goes with it.
//!
//! **Invariants.** Every descriptor that the plan does not need is closed before the first step, and again
//! marked before the last: none of the host's reaches the program. Until the root is the container's, nothing
//! inside it is looked up except through [`sys::rooted`].

mod console;
mod device;
mod identity;
mod mount;
mod namespace;
pub(crate) mod overlay;
mod program;
mod root;

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::fs::Mode;
use sys::{Errno, descriptors, process};

use crate::launch::{Channel, LaunchFds, Report};
use crate::plan::{HookStatus, Plan, Step};

/// The exit code of a child that did not become the program.
const FAILED: i32 = 1;

/// Why a step failed: an errno, and what the kernel or we can add to it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) errno: Errno,
    pub(crate) detail: String,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Failure {
        Failure { errno, detail: String::new() }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        match Errno::from_io_error(&error) {
            Some(errno) => errno.into(),
            None => Failure { errno: Errno::IO, detail: error.to_string() },
        }
    }
}

impl From<sys::mount::FilesystemError> for Failure {
    fn from(error: sys::mount::FilesystemError) -> Failure {
        Failure { errno: error.errno, detail: error.message }
    }
}

impl Failure {
    fn new(errno: Errno, detail: impl Into<String>) -> Failure {
        Failure { errno, detail: detail.into() }
    }
}

/// What the child holds between steps.
struct Child {
    channel: Channel,
    gate: Option<OwnedFd>,
    console: Option<OwnedFd>,
    target: Option<OwnedFd>,
    /// The first descriptor that the program must not inherit.
    inherited_end: RawFd,
    /// The container's root filesystem, from the step that made it until it is `/`.
    root: Option<OwnedFd>,
    /// What hides directories, once one is hidden.
    empty: Option<OwnedFd>,
    /// Found before the gate, run after it.
    program: Option<CString>,
    /// Trees that the parent has made, in the order of their steps.
    id_mapped: VecDeque<OwnedFd>,
    /// The container is in a user namespace: the root and every bind mount are among the trees.
    own_ids: bool,
    /// Set when the environment lacks it.
    home: Option<String>,
    announced: bool,
}

/// Runs the plan. Returns only when it failed.
pub(crate) fn run(plan: &Plan, fds: LaunchFds, channel: Channel) -> i32 {
    let mut child = match Child::begin(fds, channel) {
        Ok(child) => child,
        // Without its descriptors in place the child cannot even say so.
        Err(_) => return FAILED,
    };
    child.own_ids = plan.own_ids().is_some();
    for (index, step) in plan.steps.iter().enumerate() {
        let last = matches!(plan.steps.get(index + 1), Some(Step::Exec { .. }));
        if let Err(failure) = child.execute(step, last) {
            child.say_failed(index, step, failure);
            return FAILED;
        }
    }
    FAILED
}

/// Joins what owns the rest and clones the real child as a sibling of this one.
pub(crate) fn run_between(plan: &Plan, fds: LaunchFds, channel: Channel, answer: &Channel) -> i32 {
    let cloned = namespace::join_all(&plan.join_first).and_then(|()| {
        let request =
            process::CloneRequest { flags: u64::from(plan.clone_flags.0) | CLONE_PARENT, cgroup: None };
        process::clone_process(&request, || run(plan, fds, channel))
    });
    match answer.send_pid(cloned.map(|cloned| cloned.pid)) {
        Ok(()) => 0,
        Err(_) => FAILED,
    }
}

/// The clone's parent is the caller's own.
const CLONE_PARENT: u64 = 0x8000;

impl Child {
    /// Puts the descriptors in their places and closes all others.
    fn begin(fds: LaunchFds, channel: Channel) -> Result<Child, Errno> {
        let end = 3 + fds.preserve.len() as RawFd;
        let raise = |descriptor: &OwnedFd| descriptors::raise(descriptor.as_fd(), end);
        let raise_some = |descriptor: &Option<OwnedFd>| descriptor.as_ref().map(raise).transpose();
        let kept = Child {
            channel: Channel::from_descriptor(descriptors::raise(channel.as_fd(), end)?),
            gate: raise_some(&fds.gate)?,
            console: raise_some(&fds.console)?,
            target: raise_some(&fds.target)?,
            inherited_end: end,
            root: None,
            empty: None,
            program: None,
            id_mapped: fds.id_mapped.iter().map(raise).collect::<Result<_, _>>()?,
            own_ids: false,
            home: None,
            announced: false,
        };
        let stdio = fds.stdio.iter().flatten().map(raise).collect::<Result<Vec<_>, _>>()?;
        let preserve = fds.preserve.iter().map(raise).collect::<Result<Vec<_>, _>>()?;
        for (number, descriptor) in stdio.iter().enumerate() {
            descriptors::place(descriptor.as_fd(), number as RawFd)?;
        }
        for (number, descriptor) in (3..).zip(&preserve) {
            descriptors::place(descriptor.as_fd(), number)?;
        }
        // The originals and the copies are closed by number below, so nobody may own them any more.
        std::mem::forget((fds, channel, stdio, preserve));
        let mut keep = vec![kept.channel.as_fd().as_raw_fd()];
        keep.extend([&kept.gate, &kept.console, &kept.target].into_iter().flatten().map(AsRawFd::as_raw_fd));
        keep.extend(kept.id_mapped.iter().map(AsRawFd::as_raw_fd));
        descriptors::close_all_but(end, &keep)?;
        process::reset_signals();
        rustix::process::umask(Mode::empty());
        Ok(kept)
    }

    fn execute(&mut self, step: &Step, last: bool) -> Result<(), Failure> {
        match step {
            Step::JoinCgroup { procs } => Ok(std::fs::write(procs, "0")?),
            Step::OomScore { adjust } => identity::oom_score(*adjust),
            Step::NewSession => new_session(),
            Step::Personality { domain } => Ok(process::set_personality(*domain)?),
            Step::Join { kind, path } => Ok(sys::namespace::join_path(path, kind.0)?),
            Step::EnterTarget { kinds } => self.enter_target(*kinds),
            Step::Unshare { kinds } => Ok(sys::namespace::unshare(kinds.0)?),
            Step::TimeOffsets { offsets } => namespace::time_offsets(offsets),
            Step::MapIds => self.ask(&Report::MapIds),
            Step::BecomeRoot => identity::become_root(),
            Step::Hostname { name } => Ok(rustix::system::sethostname(name.as_bytes())?),
            Step::Domainname { name } => Ok(rustix::system::setdomainname(name.as_bytes())?),
            Step::Propagation { flags } => Ok(sys::mount::change_propagation("/".as_ref(), *flags)?),
            Step::MakePrivate { path } => Ok(sys::mount::change_propagation(path, root::PRIVATE)?),
            Step::Root { rootfs } => self.bring_up_root(rootfs),
            Step::RuntimeHooks => self.ask(&Report::RuntimeHooks),
            Step::Hooks { hooks, state, status } => run_hooks(hooks, state, *status),
            Step::Mount(mount) => self.mount(mount),
            Step::Directory { target, mode } => self.make_directory(target, *mode),
            Step::Device(device) => self.make_device(device),
            Step::Symlink { target, to } => self.make_link(target, to),
            Step::Sysctl { path, value } => write_sysctl(path, value),
            Step::Mask { target } => self.mask(target),
            Step::ReadOnly { target } => self.make_read_only(target),
            Step::Seal { target } => self.seal(target),
            Step::Console(console) => self.open_console(console),
            Step::RootReadOnly => self.make_root_read_only(),
            Step::Pivot => self.pivot(),
            Step::MoveRoot => self.move_root(),
            Step::RootPropagation { flags } => Ok(sys::mount::change_propagation("/".as_ref(), *flags)?),
            Step::Keyring { name } => identity::keyring(name),
            Step::Rlimit { resource, soft, hard } => Ok(sys::rlimit::set(resource.0, *soft, *hard)?),
            Step::Home { uid } => self.find_home(*uid),
            Step::Seccomp { filter } => self.load_seccomp(filter, last),
            Step::NoNewPrivileges => Ok(sys::identity::set_no_new_privileges()?),
            Step::Scheduler(scheduler) => identity::scheduler(scheduler),
            Step::IoPriority { value } => Ok(process::set_io_priority(*value)?),
            Step::AppArmor { profile } => identity::app_armor(profile),
            Step::BoundingSet(sets) => identity::bounding_set(sets),
            Step::Identity { uid, gid, groups } => identity::become_user(*uid, *gid, groups.as_deref()),
            Step::Capabilities(sets) => identity::capabilities(sets),
            Step::Umask { mask } => {
                rustix::process::umask(Mode::from_raw_mode(*mask));
                Ok(())
            }
            Step::CpuAffinity { cpus } => identity::run_on(cpus),
            Step::WorkingDirectory { path, last } => program::working_directory(path, *last),
            Step::FindProgram { name, directories } => self.find_program(name, directories),
            Step::Gate => self.wait_at_gate(),
            Step::Exec { arguments, environment } => self.become_program(arguments, environment),
        }
    }

    /// Asks the parent for something and waits until it is done.
    fn ask(&self, report: &Report) -> Result<(), Failure> {
        self.channel.report(report)?;
        Ok(self.channel.await_acknowledgement()?)
    }

    /// From here on the end of the channel means that the program runs.
    fn announce(&mut self) {
        if !self.announced {
            // A parent that is gone does not care; `create` has left long before `start`.
            let _gone = self.channel.report(&Report::Exec);
            self.announced = true;
        }
    }

    fn say_failed(&self, index: usize, step: &Step, failure: Failure) {
        let Failure { errno, detail } = failure;
        let report =
            Report::Failed { index: index as u32, errno: errno.raw_os_error(), detail: detail.clone() };
        if self.channel.report(&report).is_err() {
            // Nobody watches any more (`start` came after `create` had left): the container's own stderr is all there is.
            eprintln!("{}: {}", step.describe(), if detail.is_empty() { errno.to_string() } else { detail });
        }
    }

    fn enter_target(&mut self, kinds: crate::plan::Namespaces) -> Result<(), Failure> {
        let target = self.target.take().ok_or(Errno::BADF)?;
        Ok(sys::namespace::join(target.as_fd(), kinds.0)?)
    }

    fn load_seccomp(&mut self, filter: &crate::seccomp::Filter, last: bool) -> Result<(), Failure> {
        if last {
            // The filter may forbid what a later report needs.
            self.announce();
        }
        match filter.load() {
            Ok(None) => Ok(()),
            Ok(Some(listener)) => {
                self.channel.report_listener(listener.as_fd())?;
                Ok(self.channel.await_acknowledgement()?)
            }
            Err(error) => Err(identity::failed(&error)),
        }
    }
}

fn write_sysctl(path: &std::path::Path, value: &str) -> Result<(), Failure> {
    // Planned below /proc/sys.
    let below = path.strip_prefix("/proc").ok().and_then(std::path::Path::to_str).ok_or(Errno::INVAL)?;
    sys::procfs::write(below, value.as_bytes()).map_err(|errno| match errno {
        Errno::XDEV => Failure::new(errno, "something is mounted over procfs"),
        errno => errno.into(),
    })
}

fn new_session() -> Result<(), Failure> {
    match rustix::process::setsid() {
        // The caller may already have made it a leader.
        Ok(_) | Err(Errno::PERM) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn run_hooks(hooks: &[crate::plan::Hook], state: &str, status: HookStatus) -> Result<(), Failure> {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    let state = crate::hooks::complete_state(state, pid, status.name());
    hooks
        .iter()
        .try_for_each(|hook| crate::hooks::run(hook, &state))
        .map_err(|error| Failure::new(Errno::CANCELED, error.to_string()))
}
