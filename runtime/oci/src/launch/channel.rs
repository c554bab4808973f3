//! What child and parent say to each other before the child is the program.
//!
//! One message per packet: a kind byte, then little-endian integers, then UTF-8. The other direction
//! knows one message, a single byte that means "go on".

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use sys::Errno;

/// The longest report: a step's detail is cut to fit.
const REPORT_BYTES_MAX: usize = 1024;

const MAP_IDS: u8 = 1;
const RUNTIME_HOOKS: u8 = 2;
const AT_GATE: u8 = 3;
const EXEC: u8 = 4;
const FAILED: u8 = 5;
const PID: u8 = 6;
const PID_FAILED: u8 = 7;
const LISTENER: u8 = 8;

/// One end of the pair.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: OwnedFd,
}

/// What the child says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    MapIds,
    RuntimeHooks,
    AtGate,
    Exec,
    /// A seccomp filter's listener comes with it.
    Listener,
    Failed {
        index: u32,
        errno: i32,
        detail: String,
    },
    /// Not a report: a broken child.
    Garbled,
}

impl Channel {
    pub(crate) fn pair() -> Result<(Channel, Channel), Errno> {
        let (a, b) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Channel { socket: a }, Channel { socket: b }))
    }

    pub(crate) fn from_descriptor(socket: OwnedFd) -> Channel {
        Channel { socket }
    }

    // === the child's side ===

    pub(crate) fn report(&self, report: &Report) -> Result<(), Errno> {
        self.send(&encode(report))
    }

    /// Hands a seccomp listener to the parent.
    pub(crate) fn report_listener(&self, listener: BorrowedFd<'_>) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let listeners = [listener];
        control.push(SendAncillaryMessage::ScmRights(&listeners));
        rustix::net::sendmsg(&self.socket, &[IoSlice::new(&[LISTENER])], &mut control, SendFlags::NOSIGNAL)
            .map(drop)
    }

    /// Waits for the parent's "go on".
    pub(crate) fn await_acknowledgement(&self) -> Result<(), Errno> {
        let mut byte = [0u8; 1];
        loop {
            match rustix::net::recv(&self.socket, &mut byte, RecvFlags::empty()) {
                Ok((_, 1)) => return Ok(()),
                Ok(_) => return Err(Errno::PIPE),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// The intermediate child's only message.
    pub(crate) fn send_pid(&self, pid: Result<i32, Errno>) -> Result<(), Errno> {
        let (kind, value) = match pid {
            Ok(pid) => (PID, pid),
            Err(errno) => (PID_FAILED, errno.raw_os_error()),
        };
        let mut message = vec![kind];
        message.extend(value.to_le_bytes());
        self.send(&message)
    }

    // === the parent's side ===

    /// One report, with the descriptor that came with it, without blocking; None when the child's end is closed.
    pub(crate) fn receive(&self) -> Result<Option<(Report, Option<OwnedFd>)>, Errno> {
        let mut buffer = [0u8; REPORT_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let length =
            rustix::net::recvmsg(&self.socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, flags)?
                .bytes;
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        Ok((length > 0).then(|| (decode(&buffer[..length]), descriptor)))
    }

    pub(crate) fn receive_pid(&self) -> Result<Result<i32, Errno>, Errno> {
        let mut buffer = [0u8; 8];
        let (_, length) = rustix::net::recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT)?;
        match buffer.get(..length) {
            Some([PID, a, b, c, d]) => Ok(Ok(i32::from_le_bytes([*a, *b, *c, *d]))),
            Some([PID_FAILED, a, b, c, d]) => {
                Ok(Err(Errno::from_raw_os_error(i32::from_le_bytes([*a, *b, *c, *d]))))
            }
            _ => Err(Errno::PROTO),
        }
    }

    pub(crate) fn acknowledge(&self) -> Result<(), Errno> {
        self.send(&[1])
    }

    pub(crate) fn wait_readable(&self) -> Result<(), Errno> {
        loop {
            let mut poll = [PollFd::new(&self.socket, PollFlags::IN)];
            match rustix::event::poll(&mut poll, None) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    fn send(&self, message: &[u8]) -> Result<(), Errno> {
        rustix::net::send(&self.socket, message, SendFlags::NOSIGNAL).map(|_| ())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn encode(report: &Report) -> Vec<u8> {
    match report {
        Report::MapIds => vec![MAP_IDS],
        Report::RuntimeHooks => vec![RUNTIME_HOOKS],
        Report::AtGate => vec![AT_GATE],
        Report::Exec => vec![EXEC],
        Report::Listener => vec![LISTENER],
        Report::Garbled => Vec::new(),
        Report::Failed { index, errno, detail } => {
            let mut message = vec![FAILED];
            message.extend(index.to_le_bytes());
            message.extend(errno.to_le_bytes());
            message.extend(detail.bytes().take(REPORT_BYTES_MAX - message.len()));
            message
        }
    }
}

fn decode(message: &[u8]) -> Report {
    match message {
        [MAP_IDS] => Report::MapIds,
        [RUNTIME_HOOKS] => Report::RuntimeHooks,
        [AT_GATE] => Report::AtGate,
        [EXEC] => Report::Exec,
        [LISTENER] => Report::Listener,
        [FAILED, a, b, c, d, e, f, g, h, detail @ ..] => Report::Failed {
            index: u32::from_le_bytes([*a, *b, *c, *d]),
            errno: i32::from_le_bytes([*e, *f, *g, *h]),
            detail: String::from_utf8_lossy(detail).into_owned(),
        },
        _ => Report::Garbled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_report_arrives_as_it_was_sent() {
        let (ours, theirs) = Channel::pair().unwrap();
        for report in [
            Report::MapIds,
            Report::RuntimeHooks,
            Report::AtGate,
            Report::Exec,
            Report::Failed { index: 7, errno: -1, detail: "x".into() },
        ] {
            theirs.report(&report).unwrap();
            let (received, descriptor) = ours.receive().unwrap().unwrap();
            assert!(received == report && descriptor.is_none(), "{report:?}");
        }
        theirs.report_listener(theirs.as_fd()).unwrap();
        assert!(matches!(ours.receive(), Ok(Some((Report::Listener, Some(_))))));
        assert!(matches!(ours.receive(), Err(Errno::AGAIN)));
        drop(theirs);
        // Children that other tests fork have a copy until they execute something.
        ours.wait_readable().unwrap();
        assert!(matches!(ours.receive(), Ok(None)));
    }

    #[test]
    fn a_long_detail_is_cut() {
        let (ours, theirs) = Channel::pair().unwrap();
        theirs.report(&Report::Failed { index: 0, errno: 1, detail: "é".repeat(2000) }).unwrap();
        assert!(matches!(ours.receive(), Ok(Some((Report::Failed { .. }, None)))));
    }
}
