//! A request socket in one network namespace: runs batches, asks, dumps.

use std::io;
use std::os::fd::BorrowedFd;

use sys::netlink_socket::NetlinkSocket;
use sys::netns::NetnsError;

use crate::attribute::{Attributes, Raw, messages, u32_at};
use crate::batch::Batch;

/// The kernel builds dumps in datagrams of up to 32 KiB.
const RECEIVE_BYTES: usize = 64 << 10;

/// Extended acknowledgement: the text of an error.
const NLMSGERR_ATTR_MSG: u16 = 1;

#[derive(Debug)]
pub struct Socket {
    pub(crate) socket: NetlinkSocket,
    buffer: Vec<u8>,
    sequence: u32,
}

/// One request of a batch that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{wanted}: {}", said(errno, message))]
pub struct RequestError {
    /// Position in the batch.
    pub index: usize,
    /// What was to be done, to what.
    pub wanted: String,
    pub errno: io::Error,
    /// What the kernel says besides the number; often empty.
    pub message: String,
}

#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    #[error("opening a netlink socket")]
    Open { source: io::Error },
    #[error("opening a netlink socket in another network namespace")]
    Enter { source: NetnsError },
    #[error("{wanted}: talking to the kernel")]
    Talk { wanted: String, source: io::Error },
    #[error("{}", list(.0))]
    Refused(Vec<RequestError>),
    #[error("{wanted}: the answer kept changing while it was read")]
    Torn { wanted: String },
}

impl Socket {
    /// In the network namespace of the calling thread.
    pub fn open() -> Result<Socket, NetlinkError> {
        NetlinkSocket::for_requests().map(Socket::around).map_err(|source| NetlinkError::Open { source })
    }

    /// In the given network namespace. A short-lived thread enters it; the caller's stays where it is.
    pub fn open_in(namespace: BorrowedFd<'_>) -> Result<Socket, NetlinkError> {
        let opened = sys::netns::run_in(namespace, NetlinkSocket::for_requests)
            .map_err(|source| NetlinkError::Enter { source })?;
        opened.map(Socket::around).map_err(|source| NetlinkError::Open { source })
    }

    /// Sends the batch and collects an answer for every request. The kernel goes on after a refusal, so
    /// later requests may have been carried out.
    pub fn run(&mut self, batch: &Batch) -> Result<(), NetlinkError> {
        let mut refused = Vec::new();
        for (first, requests) in batch.chunks() {
            let talk = |source| NetlinkError::Talk { wanted: requests[0].wanted.clone(), source };
            let from = self.take_sequences(requests.len());
            let bytes: Vec<u8> = requests
                .iter()
                .zip(from..)
                .flat_map(|(request, sequence)| request.numbered(sequence))
                .collect();
            self.socket.send(&bytes).map_err(talk)?;
            let mut open = requests.len();
            while open > 0 {
                let answers = self.receive(|raw| {
                    let at = usize::try_from(raw.sequence.wrapping_sub(from)).ok()?;
                    (at < requests.len()).then(|| Some((at, acknowledgement(raw)?))).flatten()
                });
                for (at, answer) in answers.map_err(talk)? {
                    open -= 1;
                    if let Err((errno, message)) = answer {
                        let wanted = requests[at].wanted.clone();
                        refused.push(RequestError { index: first + at, wanted, errno, message });
                    }
                }
            }
        }
        if refused.is_empty() { Ok(()) } else { Err(NetlinkError::Refused(refused)) }
    }

    pub(crate) fn around(socket: NetlinkSocket) -> Socket {
        Socket { socket, buffer: vec![0; RECEIVE_BYTES], sequence: 1 }
    }

    pub(crate) fn take_sequences(&mut self, count: usize) -> u32 {
        let first = self.sequence;
        self.sequence = self.sequence.wrapping_add(u32::try_from(count).unwrap_or(u32::MAX)).max(1);
        first
    }

    /// Receives one datagram and keeps what `read` makes of its messages.
    pub(crate) fn receive<T>(&mut self, mut read: impl FnMut(Raw<'_>) -> Option<T>) -> io::Result<Vec<T>> {
        let length = self.socket.receive(&mut self.buffer)?;
        Ok(messages(&self.buffer[..length]).filter_map(&mut read).collect())
    }
}

impl NetlinkError {
    /// Whether everything that was refused was refused with this error number.
    #[must_use]
    pub fn only(&self, errno: i32) -> bool {
        match self {
            NetlinkError::Refused(requests) => requests.iter().all(|r| r.errno.raw_os_error() == Some(errno)),
            _ => false,
        }
    }
}

type Acknowledgement = Result<(), (io::Error, String)>;

/// Reads NLMSG_ERROR, which with number 0 says that all is well.
pub(crate) fn acknowledgement(raw: Raw<'_>) -> Option<Acknowledgement> {
    if i32::from(raw.kind) != libc::NLMSG_ERROR {
        return None;
    }
    let number = u32_at(raw.payload, 0)?.cast_signed();
    if number == 0 {
        return Some(Ok(()));
    }
    // Behind the number stands the header of the request (its payload is left out: NETLINK_CAP_ACK).
    let texts = Attributes::after(raw.payload, 4 + crate::attribute::HEADER_BYTES);
    let message = texts.text(NLMSGERR_ATTR_MSG).unwrap_or_default();
    Some(Err((io::Error::from_raw_os_error(number.wrapping_neg()), message)))
}

fn said(errno: &io::Error, message: &str) -> String {
    if message.is_empty() { errno.to_string() } else { format!("{errno}: {message}") }
}

fn list(refused: &[RequestError]) -> String {
    refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
