//! Reading what is there.

use netlink_packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::RouteMessage;

use crate::attribute::{Raw, u32_at};
use crate::message::encode;
use crate::socket::{RequestError, acknowledgement};
use crate::{Address, Forward, Link, Neighbour, NetlinkError, Route, Socket};

/// How often a dump is repeated that changed while it was read.
const TRIES: usize = 10;

impl Socket {
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let request = Message::GetLink(LinkMessage::default());
        self.dump("listing links", &request, libc::RTM_NEWLINK, Link::read)
    }

    /// The link of this name in this namespace.
    pub fn link_named(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        self.one_link(format!("looking for link {name}"), crate::link::by_name(name))
    }

    pub fn link_at(&mut self, index: u32) -> Result<Option<Link>, NetlinkError> {
        self.one_link(format!("looking for link {index}"), crate::link::by_index(index))
    }

    /// Of both families.
    pub fn addresses(&mut self) -> Result<Vec<Address>, NetlinkError> {
        let request = Message::GetAddress(AddressMessage::default());
        self.dump("listing addresses", &request, libc::RTM_NEWADDR, Address::read)
    }

    /// Of both families and all tables, without cached clones.
    pub fn routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        let request = Message::GetRoute(RouteMessage::default());
        self.dump("listing routes", &request, libc::RTM_NEWROUTE, Route::read)
    }

    /// Of both families.
    pub fn neighbours(&mut self) -> Result<Vec<Neighbour>, NetlinkError> {
        let request = Message::GetNeighbour(NeighbourMessage::default());
        self.dump("listing neighbours", &request, libc::RTM_NEWNEIGH, Neighbour::read)
    }

    /// Where tunnels send packets for Ethernet addresses.
    pub fn forwards(&mut self) -> Result<Vec<Forward>, NetlinkError> {
        let request = Message::GetNeighbour(Forward::question());
        self.dump("listing forwards", &request, libc::RTM_NEWNEIGH, Forward::read)
    }

    fn one_link(&mut self, wanted: String, request: LinkMessage) -> Result<Option<Link>, NetlinkError> {
        let sequence = self.take_sequences(1);
        let talk = |source| NetlinkError::Talk { wanted: wanted.clone(), source };
        self.socket.send(&encode(Message::GetLink(request), 0, sequence)).map_err(talk)?;
        loop {
            let answer = self.receive(|raw| match raw {
                Raw { sequence: other, .. } if other != sequence => None,
                Raw { kind: libc::RTM_NEWLINK, payload, .. } => Some(Ok(Link::read(payload))),
                other => acknowledgement(other).and_then(Result::err).map(Err),
            });
            match answer.map_err(talk)?.pop() {
                Some(Ok(link)) => return Ok(link),
                Some(Err((errno, _))) if errno.raw_os_error() == Some(libc::ENODEV) => return Ok(None),
                Some(Err((errno, message))) => {
                    return Err(NetlinkError::Refused(vec![RequestError {
                        index: 0,
                        wanted,
                        errno,
                        message,
                    }]));
                }
                None => {}
            }
        }
    }

    fn dump<T>(
        &mut self,
        wanted: &str,
        request: &Message,
        kind: u16,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        for _ in 0..TRIES {
            if let Some(found) = self.dump_once(wanted, request.clone(), kind, &read)? {
                return Ok(found);
            }
        }
        Err(NetlinkError::Torn { wanted: wanted.to_owned() })
    }

    /// `None`: the kernel says that the dump is torn.
    fn dump_once<T>(
        &mut self,
        wanted: &str,
        request: Message,
        kind: u16,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<Vec<T>>, NetlinkError> {
        enum Part<T> {
            Object(T),
            Refused(RequestError),
            End,
        }
        let talk = |source| NetlinkError::Talk { wanted: wanted.to_owned(), source };
        let sequence = self.take_sequences(1);
        self.socket.send(&encode(request, NLM_F_DUMP, sequence)).map_err(talk)?;
        let mut found = Vec::new();
        let mut torn = false;
        loop {
            let parts = self.receive(|raw| {
                if raw.sequence != sequence {
                    return None;
                }
                torn |= raw.flags & NLM_F_DUMP_INTR != 0;
                if raw.kind == kind {
                    return read(raw.payload).map(Part::Object);
                }
                if i32::from(raw.kind) == libc::NLMSG_DONE {
                    // DONE carries an error number too.
                    let number = u32_at(raw.payload, 0).unwrap_or_default().cast_signed();
                    return Some(if number < 0 { Part::Refused(refused(wanted, number)) } else { Part::End });
                }
                let (errno, message) = acknowledgement(raw)?.err()?;
                Some(Part::Refused(RequestError { index: 0, wanted: wanted.to_owned(), errno, message }))
            });
            for part in parts.map_err(talk)? {
                match part {
                    Part::Object(object) => found.push(object),
                    Part::Refused(error) => return Err(NetlinkError::Refused(vec![error])),
                    Part::End => return Ok((!torn).then_some(found)),
                }
            }
        }
    }
}

fn refused(wanted: &str, number: i32) -> RequestError {
    let errno = std::io::Error::from_raw_os_error(number.wrapping_neg());
    RequestError { index: 0, wanted: wanted.to_owned(), errno, message: String::new() }
}
