//! Many changes in one send.

use std::os::fd::AsRawFd as _;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage as Message;

use crate::message::acknowledged;
use crate::{Address, Forward, LinkChange, Neighbour, NewLink, Route};

/// So many requests go in one send; their acknowledgements fit a socket's receive buffer.
pub const BATCH_REQUESTS_MAX: usize = 64;

/// Changes in the order in which the kernel is to make them.
///
/// A request that refers to a descriptor (a namespace for a link) holds its number only: the descriptor
/// must stay open until [`crate::Socket::run`] returns.
#[derive(Clone, Debug, Default)]
pub struct Batch(Vec<Request>);

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub wanted: String,
    bytes: Vec<u8>,
}

impl Batch {
    #[must_use]
    pub fn new() -> Batch {
        Batch::default()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Makes a link; one of this name is an error.
    pub fn add_link(&mut self, link: &NewLink<'_>) -> &mut Batch {
        let wanted = format!("making link {}", link.name);
        self.push(wanted, Message::NewLink(link.message()), NLM_F_CREATE | NLM_F_EXCL)
    }

    pub fn change_link(&mut self, index: u32, change: &LinkChange<'_>) -> &mut Batch {
        let namespace = change.namespace.map(|fd| format!(" (namespace descriptor {})", fd.as_raw_fd()));
        let wanted = format!("changing link {index}{}", namespace.unwrap_or_default());
        self.push(wanted, Message::SetLink(change.message(index)), 0)
    }

    /// A veth's peer goes with it, and every address, route and neighbour on both.
    pub fn delete_link(&mut self, index: u32) -> &mut Batch {
        self.push(format!("deleting link {index}"), Message::DelLink(crate::link::by_index(index)), 0)
    }

    /// Adds an address; the same one on the same link is an error.
    pub fn add_address(&mut self, address: &Address) -> &mut Batch {
        let wanted = format!("adding address {address}");
        self.push(wanted, Message::NewAddress(address.message()), NLM_F_CREATE | NLM_F_EXCL)
    }

    pub fn delete_address(&mut self, address: &Address) -> &mut Batch {
        self.push(format!("deleting address {address}"), Message::DelAddress(address.message()), 0)
    }

    /// Adds a route; one to the same destination with the same metric and table is an error.
    pub fn add_route(&mut self, route: &Route) -> &mut Batch {
        self.push(
            format!("adding route {route}"),
            Message::NewRoute(route.message()),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    /// Adds a route, or puts it in the place of one to the same destination.
    pub fn replace_route(&mut self, route: &Route) -> &mut Batch {
        let wanted = format!("replacing route {route}");
        self.push(wanted, Message::NewRoute(route.message()), NLM_F_CREATE | NLM_F_REPLACE)
    }

    pub fn delete_route(&mut self, route: &Route) -> &mut Batch {
        self.push(format!("deleting route {route}"), Message::DelRoute(route.message()), 0)
    }

    /// Adds or replaces a neighbour.
    pub fn set_neighbour(&mut self, neighbour: &Neighbour) -> &mut Batch {
        let wanted = format!("setting neighbour {neighbour}");
        self.push(wanted, Message::NewNeighbour(neighbour.message()), NLM_F_CREATE | NLM_F_REPLACE)
    }

    pub fn delete_neighbour(&mut self, neighbour: &Neighbour) -> &mut Batch {
        self.push(format!("deleting neighbour {neighbour}"), Message::DelNeighbour(neighbour.message()), 0)
    }

    /// Adds or replaces where a tunnel sends packets for an Ethernet address.
    pub fn set_forward(&mut self, forward: &Forward) -> &mut Batch {
        let wanted = format!("setting forward {forward}");
        self.push(wanted, Message::NewNeighbour(forward.message()), NLM_F_CREATE | NLM_F_REPLACE)
    }

    pub fn delete_forward(&mut self, forward: &Forward) -> &mut Batch {
        self.push(format!("deleting forward {forward}"), Message::DelNeighbour(forward.message()), 0)
    }

    /// The requests as they are sent, numbered from 1: for whoever sends them where nothing may be allocated.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.0.iter().zip(1..).flat_map(|(request, sequence)| request.numbered(sequence)).collect()
    }

    /// What is sent at once: the position of its first request, and the requests.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (usize, &[Request])> {
        self.0.chunks(BATCH_REQUESTS_MAX).enumerate().map(|(k, chunk)| (k * BATCH_REQUESTS_MAX, chunk))
    }

    fn push(&mut self, wanted: String, message: Message, flags: u16) -> &mut Batch {
        self.0.push(Request { wanted, bytes: acknowledged(message, flags, 0) });
        self
    }
}

impl Request {
    /// The bytes with their sequence number, padded so that another request may follow.
    pub fn numbered(&self, sequence: u32) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }
}
