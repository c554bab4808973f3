//! The loop: waits for descriptors and hands each report to whom it concerns.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use keeper_api::{Body, Channel, ChannelError};
use sys::poll::{Interest, Poll, Readiness};
use sys::seqpacket::Listener;

use crate::calls;
use crate::clients::{ClientNumber, Clients};
use crate::launcher::Launcher;
use crate::options::KeeperOptions;
use crate::processes::{ProcessNumber, Processes};
use crate::stored::Stored;
use crate::upgrade;

/// Messages read from one client before the others get their turn.
const TURN: usize = 32;

/// Launches after which what they have left is given back: each has had a plan of tens of kilobytes.
const LAUNCHES: usize = 32;
/// After fewer it is given back when nothing was reported for so long.
const QUIET: Duration = Duration::from_secs(1);

/// What a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// Somebody wants to connect.
    Listener,
    /// A client says something or takes something.
    Client(ClientNumber),
    /// A process ended.
    Process(ProcessNumber),
    /// A child has something to do on its way to the program.
    Launching(ProcessNumber),
}

const KINDS: u64 = 4;

impl From<Token> for u64 {
    fn from(token: Token) -> u64 {
        match token {
            Token::Listener => 0,
            Token::Client(number) => number * KINDS + 1,
            Token::Process(number) => number * KINDS + 2,
            Token::Launching(number) => number * KINDS + 3,
        }
    }
}

impl From<u64> for Token {
    fn from(value: u64) -> Token {
        let number = value / KINDS;
        match value % KINDS {
            0 => Token::Listener,
            1 => Token::Client(number),
            2 => Token::Process(number),
            _ => Token::Launching(number),
        }
    }
}

/// Everything a keeper has.
pub struct Keeper {
    pub options: KeeperOptions,
    pub instance: u64,
    /// Held for the lock on it.
    pub lock: OwnedFd,
    pub listener: Listener,
    pub launcher: Box<dyn Launcher>,
    pub poll: Poll,
    pub clients: Clients,
    pub processes: Processes,
    pub stored: Stored,
    /// Launches since memory was given back.
    pub launches: usize,
    /// An executable to become, and who waits for the answer.
    pub upgrade: Option<(OwnedFd, ClientNumber, u64)>,
}

impl Keeper {
    /// A keeper that holds nothing yet.
    pub fn new(
        options: KeeperOptions,
        lock: OwnedFd,
        listener: Listener,
        launcher: Box<dyn Launcher>,
    ) -> io::Result<Keeper> {
        let poll = Poll::new()?;
        poll.add(&listener, Token::Listener.into(), Interest::Read)?;
        Ok(Keeper {
            options,
            instance: now_nanoseconds(),
            lock,
            listener,
            launcher,
            poll,
            clients: Clients::default(),
            processes: Processes::default(),
            stored: Stored::default(),
            launches: 0,
            upgrade: None,
        })
    }

    /// Serves; only an error of the loop itself ends it.
    pub fn serve(&mut self) -> io::Result<()> {
        let mut buffer = Vec::new();
        // What the start needed is not needed again.
        sys::memory::give_back();
        loop {
            let reports = self.poll.wait((self.launches > 0).then_some(QUIET))?;
            let quiet = reports.is_empty();
            for report in reports {
                self.handle(report, &mut buffer);
            }
            upgrade::when_asked(self);
            let many = self.launches >= LAUNCHES && !self.processes.is_launching();
            if many || quiet && self.launches > 0 {
                sys::memory::give_back();
                self.launches = 0;
            }
        }
    }

    fn handle(&mut self, report: Readiness, buffer: &mut Vec<u8>) {
        match Token::from(report.token) {
            Token::Listener => self.accept(),
            Token::Client(number) => {
                if report.writable && self.clients.flush(number, &self.poll).is_err() {
                    return self.cut_off(number);
                }
                if report.readable || report.hangup {
                    self.read(number, buffer);
                }
            }
            Token::Process(number) => calls::launch::ended(self, number),
            Token::Launching(number) => calls::launch::advance(self, number),
        }
    }

    fn accept(&mut self) {
        match self.listener.accept() {
            Ok(None) => {}
            Ok(Some(conn)) => {
                let channel = Channel::new(conn);
                match channel.peer() {
                    Ok(peer) if peer.uid == 0 => {
                        if let Err(error) = self.clients.insert(channel, &self.poll) {
                            tracing::warn!(%error, "a client was lost");
                        }
                    }
                    Ok(peer) => {
                        tracing::warn!(uid = peer.uid, pid = peer.pid, "a client is not root: refused")
                    }
                    Err(error) => tracing::warn!(%error, "a client without credentials: refused"),
                }
            }
            Err(error) => tracing::warn!(%error, "accepting a client failed"),
        }
    }

    fn read(&mut self, number: ClientNumber, buffer: &mut Vec<u8>) {
        for _ in 0..TURN {
            let Some(channel) = self.clients.channel(number) else { return };
            match channel.receive(buffer) {
                Ok((packet, descriptors)) => {
                    calls::answer(self, number, packet.serial, packet.body, descriptors)
                }
                Err(ChannelError::WouldBlock) => return,
                Err(error) => {
                    if !matches!(error, ChannelError::Closed) {
                        tracing::warn!(client = number, %error, "a client was cut off");
                    }
                    return self.cut_off(number);
                }
            }
        }
    }

    /// Drops a client with what is tied to it.
    pub fn cut_off(&mut self, number: ClientNumber) {
        self.clients.remove(number, &self.poll);
        self.processes.client_gone(number);
    }

    /// Sends to one client.
    pub fn send(&mut self, number: ClientNumber, serial: u64, body: Body, descriptors: &[BorrowedFd<'_>]) {
        if self.clients.send(number, serial, body, descriptors, &self.poll).is_err() {
            self.cut_off(number);
        }
    }

    /// Sends an event to every client.
    pub fn broadcast(&mut self, body: &Body) {
        for number in self.clients.known_numbers() {
            self.send(number, 0, body.clone(), &[]);
        }
    }
}

impl AsFd for Keeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }
}

/// The clock of every time stamp here.
pub fn now_nanoseconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_their_number() {
        for number in [0, 1, 7, 1 << 40] {
            for token in
                [Token::Client(number), Token::Process(number), Token::Launching(number), Token::Listener]
            {
                assert_eq!(Token::from(u64::from(token)), token);
            }
        }
    }
}
