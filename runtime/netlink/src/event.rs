//! What the kernel tells without being asked.
//!
//! Events say that something changed; what is, is known by reading again. When the buffer ran over,
//! [`Event::Lost`] says so, and only a dump is the truth again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use sys::netlink_socket::NetlinkSocket;

use crate::attribute::{Raw, messages};
use crate::{Address, Link, Neighbour, NetlinkError, Route};

const RECEIVE_BYTES: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Links,
    Addresses,
    Routes,
    Neighbours,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// New or changed.
    Link(Link),
    LinkGone(Link),
    Address(Address),
    AddressGone(Address),
    Route(Route),
    RouteGone(Route),
    Neighbour(Neighbour),
    NeighbourGone(Neighbour),
    /// Some events did not fit: read everything again.
    Lost,
}

/// Events of the network namespace in which this was opened. The descriptor is readable when
/// [`Events::receive`] will not block.
#[derive(Debug)]
pub struct Events {
    socket: NetlinkSocket,
    buffer: Vec<u8>,
}

impl Events {
    pub fn open(groups: &[Group]) -> Result<Events, NetlinkError> {
        let numbers: Vec<u32> = groups.iter().flat_map(|group| group.numbers()).copied().collect();
        let socket = NetlinkSocket::for_events(&numbers).map_err(|source| NetlinkError::Open { source })?;
        Ok(Events { socket, buffer: vec![0; RECEIVE_BYTES] })
    }

    /// Waits for the next datagram and gives its events; may be empty.
    pub fn receive(&mut self) -> Result<Vec<Event>, NetlinkError> {
        match self.socket.receive(&mut self.buffer) {
            Ok(length) => Ok(messages(&self.buffer[..length]).filter_map(read).collect()),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(vec![Event::Lost]),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok(vec![Event::Lost]),
            Err(source) => Err(NetlinkError::Talk { wanted: "waiting for events".to_owned(), source }),
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Group {
    fn numbers(self) -> &'static [u32] {
        // RTNLGRP_*: each family has its own.
        match self {
            Group::Links => &[1],
            Group::Neighbours => &[3],
            Group::Addresses => &[5, 9],
            Group::Routes => &[7, 11],
        }
    }
}

fn read(raw: Raw<'_>) -> Option<Event> {
    Some(match raw.kind {
        libc::RTM_NEWLINK => Event::Link(Link::read(raw.payload)?),
        libc::RTM_DELLINK => Event::LinkGone(Link::read(raw.payload)?),
        libc::RTM_NEWADDR => Event::Address(Address::read(raw.payload)?),
        libc::RTM_DELADDR => Event::AddressGone(Address::read(raw.payload)?),
        libc::RTM_NEWROUTE => Event::Route(Route::read(raw.payload)?),
        libc::RTM_DELROUTE => Event::RouteGone(Route::read(raw.payload)?),
        libc::RTM_NEWNEIGH => Event::Neighbour(Neighbour::read(raw.payload)?),
        libc::RTM_DELNEIGH => Event::NeighbourGone(Neighbour::read(raw.payload)?),
        _ => return None,
    })
}
