//! Staying with a process in the foreground: signals are passed on, the terminal is in raw mode and copied both
//! ways, and the program's exit code becomes ours.

use std::io::{Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
};
use sys::pty::Raw;
use sys::{Errno, descriptors, process, pty};

use crate::container::{ContainerError, Record, Store};
use crate::{hooks, plan};

/// Signals that are passed on. SIGCHLD is ours, SIGKILL and SIGSTOP nobody's.
const FORWARDED: [Signal; 10] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGCONT,
    Signal::SIGTSTP,
    Signal::SIGWINCH,
];

/// One read from a terminal.
const CHUNK_BYTES: usize = 16 << 10;

/// The forwarded signals as a descriptor, blocked from now on.
pub(super) struct Signals(SignalFd);

impl Signals {
    pub(super) fn block() -> Result<Signals, ContainerError> {
        let set: SigSet = FORWARDED.into_iter().collect();
        let failed = |errno: nix::errno::Errno| ContainerError::System {
            action: "take over signals",
            errno: Errno::from_raw_os_error(errno as i32),
        };
        set.thread_block().map_err(failed)?;
        SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map(Signals)
            .map_err(failed)
    }

    fn next(&self) -> Option<i32> {
        self.0.read_signal().ok().flatten().map(|signal| signal.ssi_signo as i32)
    }
}

/// The caller's end of the socket on which the child sends the master of its terminal.
pub(super) struct Terminal {
    socket: OwnedFd,
}

impl Terminal {
    /// This end, and the one that goes to the child.
    pub(super) fn expect() -> Result<(Terminal, OwnedFd), ContainerError> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .map_err(ContainerError::system("make the console socket"))?;
        Ok((Terminal { socket: ours }, theirs))
    }

    /// The master. The child has sent it by the time it is at the gate.
    fn receive(&self) -> Result<OwnedFd, ContainerError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0u8; 64];
        let mut buffers = [std::io::IoSliceMut::new(&mut name)];
        rustix::net::recvmsg(
            &self.socket,
            &mut buffers,
            &mut control,
            RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
        )
        .map_err(ContainerError::system("receive the terminal"))?;
        control
            .drain()
            .find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
                _ => None,
            })
            .ok_or(ContainerError::System { action: "receive the terminal", errno: Errno::PROTO })
    }
}

/// Stays until the process ends; its code, 128 + n after signal n.
pub(super) fn stay(
    pidfd: BorrowedFd<'_>,
    signals: Signals,
    terminal: Option<Terminal>,
) -> Result<u8, ContainerError> {
    let master = terminal.map(|terminal| terminal.receive()).transpose()?;
    // Without a terminal of our own (a test, a pipe) there is nothing to put in raw mode.
    let raw = master.as_ref().and_then(|_| Raw::enter(descriptors::standard(0)).ok());
    if let Some(master) = &master {
        copy_size(master.as_fd());
    }
    let ended = follow(pidfd, &signals, master.map(std::fs::File::from));
    drop(raw);
    Ok(ended?.code() as u8)
}

fn follow(
    pidfd: BorrowedFd<'_>,
    signals: &Signals,
    mut master: Option<std::fs::File>,
) -> Result<process::Ended, ContainerError> {
    let mut input_open = master.is_some();
    loop {
        let mut polled = vec![
            PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
            PollFd::from_borrowed_fd(signals.0.as_fd(), PollFlags::IN),
        ];
        if let Some(master) = &master {
            polled.push(PollFd::new(master, PollFlags::IN));
            if input_open {
                polled.push(PollFd::from_borrowed_fd(descriptors::standard(0), PollFlags::IN));
            }
        }
        match rustix::event::poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(ContainerError::System { action: "wait for the container", errno }),
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[1] {
            pass_on_signals(pidfd, signals, master.as_ref());
        }
        if ready.get(2) == Some(&true) && !copy_output(&mut master) {
            master = None;
            continue;
        }
        if ready.get(3) == Some(&true) {
            input_open = copy_input(&mut master);
        }
        // The terminal is emptied first: what the program wrote last is still in it.
        if ready[0] && ready.get(2) != Some(&true) {
            return process::reap(pidfd).map_err(ContainerError::system("reap the container"));
        }
    }
}

fn pass_on_signals(pidfd: BorrowedFd<'_>, signals: &Signals, master: Option<&std::fs::File>) {
    while let Some(number) = signals.next() {
        match master {
            Some(master) if number == Signal::SIGWINCH as i32 => copy_size(master.as_fd()),
            // A process that has just ended needs no signal any more.
            _ => drop(process::signal(pidfd, number)),
        }
    }
}

fn copy_size(master: BorrowedFd<'_>) {
    if let Ok((columns, rows)) = pty::size(descriptors::standard(0)) {
        let _gone = pty::set_size(master, columns, rows);
    }
}

/// False when the other end is closed.
fn copy_output(master: &mut Option<std::fs::File>) -> bool {
    let Some(master) = master else { return false };
    let mut buffer = [0u8; CHUNK_BYTES];
    match master.read(&mut buffer) {
        Ok(0) | Err(_) => false,
        Ok(length) => {
            let mut out = std::io::stdout().lock();
            out.write_all(&buffer[..length]).and_then(|()| out.flush()).is_ok()
        }
    }
}

/// False when our input has ended.
fn copy_input(master: &mut Option<std::fs::File>) -> bool {
    let Some(master) = master else { return false };
    let mut buffer = [0u8; CHUNK_BYTES];
    match rustix::io::read(descriptors::standard(0), &mut buffer[..]) {
        Ok(0) | Err(_) => false,
        Ok(length) => master.write_all(&buffer[..length]).is_ok(),
    }
}

/// Runs the poststart hooks; one that fails is logged and stops nothing.
pub(super) fn poststart(store: &Store, record: &Record, spec: Option<&oci_spec::runtime::Spec>) {
    let loaded;
    let spec = match spec {
        Some(spec) => spec,
        None => match store.load_spec_with_hooks(&record.id, "poststart") {
            Some(spec) => {
                loaded = spec;
                &loaded
            }
            None => return,
        },
    };
    let Some(listed) = spec.hooks() else { return };
    let state = hooks::complete_state(&record.open_state(), record.pid, "running");
    // Checked when the container was made.
    for hook in plan::hooks(listed.poststart().as_ref()).unwrap_or_default() {
        if let Err(error) = hooks::run(&hook, &state) {
            tracing::warn!(%error, "poststart hook");
        }
    }
}
