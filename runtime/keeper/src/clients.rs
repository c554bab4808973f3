//! Connected daemons and what is still to be sent to them.
//!
//! A client that does not read is not waited for: its answers queue up to [`MOST_QUEUED`], then it is
//! cut off. It comes back and asks for the list, which says everything again.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use keeper_api::{Body, Channel, ChannelError};
use sys::poll::{Interest, Poll};

use crate::server::Token;

/// Clients at a time: a daemon, the one it replaces, and somebody who looks.
pub const MOST_CLIENTS: usize = 16;
/// Messages that wait for one client.
const MOST_QUEUED: usize = 1024;

/// The number of a connection; never used twice.
pub type ClientNumber = u64;

/// The connections.
#[derive(Debug, Default)]
pub struct Clients {
    open: BTreeMap<ClientNumber, Client>,
    next: ClientNumber,
}

#[derive(Debug)]
struct Client {
    channel: Channel,
    /// It has said hello.
    known: bool,
    queue: VecDeque<Queued>,
}

#[derive(Debug)]
struct Queued {
    serial: u64,
    body: Body,
    descriptors: Vec<OwnedFd>,
}

/// The client is to be cut off.
#[derive(Debug)]
pub struct CutOff;

impl Clients {
    /// Takes a connection in, or drops it if there are too many.
    pub fn insert(&mut self, channel: Channel, poll: &Poll) -> io::Result<()> {
        if self.open.len() >= MOST_CLIENTS {
            tracing::warn!("a client was refused: there are {MOST_CLIENTS} already");
            return Ok(());
        }
        let number = self.next;
        self.next += 1;
        self.restore(number, channel, false, poll)
    }

    /// Takes a connection back that an earlier executable had.
    pub fn restore(
        &mut self,
        number: ClientNumber,
        channel: Channel,
        known: bool,
        poll: &Poll,
    ) -> io::Result<()> {
        poll.add(&channel, Token::Client(number).into(), Interest::Read)?;
        self.next = self.next.max(number + 1);
        self.open.insert(number, Client { channel, known, queue: VecDeque::new() });
        Ok(())
    }

    /// Drops a connection.
    pub fn remove(&mut self, number: ClientNumber, poll: &Poll) {
        if let Some(client) = self.open.remove(&number) {
            poll.remove(&client.channel);
        }
    }

    /// The connection to read from.
    pub fn channel(&self, number: ClientNumber) -> Option<&Channel> {
        self.open.get(&number).map(|client| &client.channel)
    }

    /// Whether the client has said hello; and from now on it has, if `now`.
    pub fn known(&mut self, number: ClientNumber, now: bool) -> bool {
        self.open.get_mut(&number).is_some_and(|client| {
            client.known |= now;
            client.known
        })
    }

    /// Numbers of all that have said hello.
    pub fn known_numbers(&self) -> Vec<ClientNumber> {
        self.open.iter().filter(|(_, client)| client.known).map(|(number, _)| *number).collect()
    }

    /// Everything, to hand over: number, connection, whether it is known.
    pub fn iter(&self) -> impl Iterator<Item = (ClientNumber, &Channel, bool)> {
        self.open.iter().map(|(number, client)| (*number, &client.channel, client.known))
    }

    /// Whether nothing waits to be sent.
    pub fn is_flushed(&self) -> bool {
        self.open.values().all(|client| client.queue.is_empty())
    }

    /// Sends, or queues behind what waits. A client that is gone is fine.
    pub fn send(
        &mut self,
        number: ClientNumber,
        serial: u64,
        body: Body,
        descriptors: &[BorrowedFd<'_>],
        poll: &Poll,
    ) -> Result<(), CutOff> {
        let Some(client) = self.open.get_mut(&number) else { return Ok(()) };
        if client.queue.is_empty() {
            match client.channel.send(serial, &body, descriptors) {
                Ok(()) => return Ok(()),
                Err(ChannelError::WouldBlock) => {}
                Err(error) => return Err(cut_off(number, &error)),
            }
            let waiting = poll.change(&client.channel, Token::Client(number).into(), Interest::ReadWrite);
            waiting.map_err(|_| CutOff)?;
        }
        if client.queue.len() >= MOST_QUEUED {
            tracing::warn!(client = number, "a client was cut off: {MOST_QUEUED} messages wait for it");
            return Err(CutOff);
        }
        let copies: io::Result<Vec<OwnedFd>> = descriptors.iter().map(|fd| fd.try_clone_to_owned()).collect();
        client.queue.push_back(Queued { serial, body, descriptors: copies.map_err(|_| CutOff)? });
        Ok(())
    }

    /// Sends what waits, as far as the client takes it.
    pub fn flush(&mut self, number: ClientNumber, poll: &Poll) -> Result<(), CutOff> {
        let Some(client) = self.open.get_mut(&number) else { return Ok(()) };
        while let Some(next) = client.queue.front() {
            let descriptors: Vec<BorrowedFd<'_>> = next.descriptors.iter().map(AsFd::as_fd).collect();
            match client.channel.send(next.serial, &next.body, &descriptors) {
                Ok(()) => drop(client.queue.pop_front()),
                Err(ChannelError::WouldBlock) => return Ok(()),
                Err(error) => return Err(cut_off(number, &error)),
            }
        }
        poll.change(&client.channel, Token::Client(number).into(), Interest::Read).map_err(|_| CutOff)
    }
}

fn cut_off(number: ClientNumber, error: &ChannelError) -> CutOff {
    if !matches!(error, ChannelError::Closed) {
        tracing::warn!(client = number, %error, "a client was cut off");
    }
    CutOff
}
