//! A connection between daemon and keeper: packets in, packets out, descriptors beside them.
//!
//! Never blocks: whoever uses it waits for its descriptor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sys::seqpacket::{Conn, Peer};

use crate::wire::{Packet, WireError, decode, encode};
use crate::{MAX_DESCRIPTORS, MAX_MESSAGE};

/// One end of a connection.
#[derive(Debug)]
pub struct Channel(Conn);

/// Why a message did not pass.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other side closed the connection.
    #[error("the other side closed the connection")]
    Closed,
    /// Nothing to receive, or no room to send.
    #[error("the other side is slow")]
    WouldBlock,
    /// The packet is not what was agreed.
    #[error("the other side does not speak the protocol")]
    Wire(#[from] WireError),
    /// More descriptors than a packet carries.
    #[error("{0} descriptors in one packet, more than {MAX_DESCRIPTORS}")]
    Descriptors(usize),
    /// The socket failed.
    #[error("the socket failed")]
    Socket(#[source] io::Error),
}

impl Channel {
    /// Takes a connection.
    pub fn new(conn: Conn) -> Channel {
        Channel(conn)
    }

    /// Connects to a keeper's socket.
    pub fn connect(path: &Path) -> io::Result<Channel> {
        Conn::connect(path).map(Channel)
    }

    /// Who is on the other side.
    pub fn peer(&self) -> io::Result<Peer> {
        self.0.peer()
    }

    /// Sends one message.
    pub fn send<T: Serialize>(
        &self,
        serial: u64,
        body: &T,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        if descriptors.len() > MAX_DESCRIPTORS {
            return Err(ChannelError::Descriptors(descriptors.len()));
        }
        self.0.send(&encode(serial, body)?, descriptors).map_err(socket_error)
    }

    /// Receives one message into a buffer of [`MAX_MESSAGE`] bytes that the caller keeps.
    pub fn receive<T: DeserializeOwned>(
        &self,
        buffer: &mut Vec<u8>,
    ) -> Result<(Packet<T>, Vec<OwnedFd>), ChannelError> {
        buffer.resize(MAX_MESSAGE, 0);
        let received = self.0.receive(buffer).map_err(socket_error)?;
        if received.length == 0 {
            return Err(ChannelError::Closed);
        }
        if received.descriptors.len() > MAX_DESCRIPTORS {
            return Err(ChannelError::Descriptors(received.descriptors.len()));
        }
        Ok((decode(&buffer[..received.length])?, received.descriptors))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> OwnedFd {
        channel.0.into()
    }
}

fn socket_error(error: io::Error) -> ChannelError {
    match error.kind() {
        io::ErrorKind::WouldBlock => ChannelError::WouldBlock,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ChannelError::Closed,
        _ => ChannelError::Socket(error),
    }
}
