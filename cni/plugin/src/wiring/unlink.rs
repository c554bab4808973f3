//! Deleting a link without waiting for the kernel's own clean-up.
//!
//! ```text
//! plugin ─ child: RTM_DELLINK ──▶ [gone for everybody] ── RCU grace period, 10 ms and more ──▶ answer
//!    └──── waits for the event ◀──────────┘
//! ```
//!
//! RTM_DELLINK answers long after the link, its peer, routes and neighbours are gone: what is left is memory. So a
//! child asks and waits for that answer, and we are done when the kernel tells everybody that the link is gone, or when
//! the child ended, whichever comes first. It ends by itself; whoever is init reaps it.
//!
//! **Invariants.** The child allocates nothing, and holds neither input nor output of the plugin: the runtime
//! waits for their end. Reference: rtnetlink(7), net/core/dev.c netdev_run_todo (Linux 6.1 to 6.18).

use std::io;
use std::os::fd::AsFd as _;

use netlink::{Batch, Event, Events, Group, NetlinkError, Socket};
use rustix::fs::{Mode, OFlags};
use sys::netlink_socket::NetlinkSocket;
use sys::poll::{Interest, Poll};
use sys::process::{self, CloneRequest};

const EVENTS: u64 = 0;
const CHILD: u64 = 1;
/// What the child ends with when it got no answer at all.
const NO_ANSWER: i32 = 255;
/// An acknowledgement is a header and a negative error number.
const HEADER_BYTES: usize = 16;
const ANSWER_BYTES: usize = 4096;

/// Deletes the link at this index of the namespace that the thread is in. `host` is a socket there.
pub fn delete(host: &mut Socket, index: u32) -> Result<(), NetlinkError> {
    let mut batch = Batch::new();
    batch.delete_link(index);
    match in_background(&batch, index) {
        Ok(true) => Ok(()),
        // It could not be tried so, or the kernel refused: then the plain way says why.
        Ok(false) | Err(_) => host.run(&batch),
    }
}

/// Whether the link is gone. False: the child was told no.
fn in_background(batch: &Batch, index: u32) -> io::Result<bool> {
    let talk = |error: NetlinkError| io::Error::other(error);
    // Before the child asks: nothing that happens is missed.
    let mut events = Events::open(&[Group::Links]).map_err(talk)?;
    let socket = NetlinkSocket::for_requests()?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let request = batch.bytes();
    let child = process::clone_process(&CloneRequest::default(), || {
        let quiet = rustix::stdio::dup2_stdin(&null)
            .and_then(|()| rustix::stdio::dup2_stdout(&null))
            .and_then(|()| rustix::stdio::dup2_stderr(&null));
        if quiet.is_ok() { ask(&socket, &request).unwrap_or(NO_ANSWER) } else { NO_ANSWER }
    })?;
    let poll = Poll::new()?;
    poll.add(events.as_fd(), EVENTS, Interest::Read)?;
    poll.add(child.pidfd.as_fd(), CHILD, Interest::Read)?;
    loop {
        // Bounded: the child ends when the kernel has answered, or after the socket's own limit.
        for report in poll.wait(None)? {
            if report.token == CHILD {
                let code = process::reap(child.pidfd.as_fd())?.code();
                return Ok(code == 0 || code == libc::ENODEV);
            }
            let told = events.receive().map_err(talk)?;
            if told.iter().any(|event| matches!(event, Event::LinkGone(link) if link.index == index)) {
                return Ok(true);
            }
        }
    }
}

/// The error number of the kernel's answer; 0 is success.
fn ask(socket: &NetlinkSocket, request: &[u8]) -> io::Result<i32> {
    let mut answer = [0; ANSWER_BYTES];
    socket.send(request)?;
    let length = socket.receive(&mut answer)?;
    let number = answer[..length].get(HEADER_BYTES..HEADER_BYTES + 4).and_then(|bytes| bytes.try_into().ok());
    Ok(number.map_or(NO_ANSWER, |bytes| -i32::from_ne_bytes(bytes)))
}
