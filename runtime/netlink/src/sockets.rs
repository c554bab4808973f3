//! Datagram sockets of a network namespace that are connected to somebody, and their end.
//!
//! A connected UDP socket keeps its peer until somebody connects it anew; where the peer is gone for good, the kernel
//! can be told to end it: its owner gets ECONNABORTED and asks again.
//!
//! Not here: TCP, where a peer that is gone says so itself.
//!
//! Reference: sock_diag(7); SOCK_DESTROY, Linux 4.5 (UDP 4.9), where the kernel has CONFIG_INET_DIAG_DESTROY.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use sys::netlink_socket::NetlinkSocket;

use crate::attribute::u32_at;
use crate::socket::{RequestError, acknowledgement};
use crate::{NetlinkError, Socket};

const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;
const UDP: u8 = 17;
/// A connected datagram socket is in the state that TCP calls established.
const CONNECTED: u32 = 1 << 1;
/// struct inet_diag_sockid.
const ID_BYTES: usize = 48;
/// What stands before it in struct inet_diag_msg.
const ID_AT: usize = 4;
const HEADER_BYTES: usize = 16;

/// One that is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    pub local: SocketAddr,
    /// An IPv4 peer of an IPv6 socket is told as IPv4.
    pub peer: SocketAddr,
    /// The kernel's number of the socket, the one that programs see too.
    pub cookie: u64,
    family: u8,
    id: [u8; ID_BYTES],
}

/// Asks about sockets of the namespace in which it was opened.
#[derive(Debug)]
pub struct Sockets(Socket);

impl Sockets {
    /// In the network namespace of the calling thread.
    pub fn open() -> Result<Sockets, NetlinkError> {
        let socket = NetlinkSocket::for_sockets().map_err(|source| NetlinkError::Open { source })?;
        Ok(Sockets(Socket::around(socket)))
    }

    /// Every UDP socket that is connected, of both families.
    pub fn connected_udp(&mut self) -> Result<Vec<Connected>, NetlinkError> {
        let mut found = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
            let request = request(BY_FAMILY, flags, family as u8, CONNECTED, &[0; ID_BYTES]);
            self.ask("listing connected sockets", request, |payload| found.extend(Connected::read(payload)))?;
        }
        Ok(found)
    }

    /// Ends one; whether it was there still.
    pub fn end(&mut self, socket: &Connected) -> Result<bool, NetlinkError> {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK;
        let request = request(DESTROY, flags, socket.family, 0, &socket.id);
        let wanted = format!("ending the socket {} to {}", socket.local, socket.peer);
        match self.ask(&wanted, request, |_| {}) {
            Ok(()) => Ok(true),
            Err(error) if error.only(libc::ENOENT) || error.only(libc::ESTALE) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends, and reads answers up to the last one.
    fn ask(
        &mut self,
        wanted: &str,
        mut request: Vec<u8>,
        mut read: impl FnMut(&[u8]),
    ) -> Result<(), NetlinkError> {
        let talk = |source| NetlinkError::Talk { wanted: wanted.to_owned(), source };
        let sequence = self.0.take_sequences(1);
        request[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0.socket.send(&request).map_err(talk)?;
        loop {
            let answers = self.0.receive(|raw| {
                if raw.sequence != sequence {
                    return None;
                }
                if raw.kind == BY_FAMILY {
                    read(raw.payload);
                    return None;
                }
                if i32::from(raw.kind) == libc::NLMSG_DONE {
                    let number = u32_at(raw.payload, 0).unwrap_or_default().cast_signed();
                    let error = io::Error::from_raw_os_error(number.wrapping_neg());
                    return Some(if number < 0 { Err((error, String::new())) } else { Ok(()) });
                }
                acknowledgement(raw)
            });
            match answers.map_err(talk)?.pop() {
                Some(Ok(())) => return Ok(()),
                Some(Err((errno, message))) => {
                    let wanted = wanted.to_owned();
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
}

impl Connected {
    fn read(payload: &[u8]) -> Option<Connected> {
        let family = *payload.first()?;
        let id: [u8; ID_BYTES] = payload.get(ID_AT..ID_AT + ID_BYTES)?.try_into().ok()?;
        let port = |at: usize| u16::from_be_bytes([id[at], id[at + 1]]);
        let address = |at: usize| {
            let bytes: [u8; 16] = id[at..at + 16].try_into().ok()?;
            if i32::from(family) == libc::AF_INET {
                return Some(IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])));
            }
            Some(Ipv6Addr::from(bytes).to_canonical())
        };
        let (low, high) = (u32_at(&id, 40)?, u32_at(&id, 44)?);
        Some(Connected {
            local: SocketAddr::new(address(4)?, port(0)),
            peer: SocketAddr::new(address(20)?, port(2)),
            cookie: u64::from(high) << 32 | u64::from(low),
            family,
            id,
        })
    }
}

/// struct nlmsghdr and struct inet_diag_req_v2.
fn request(kind: u16, flags: libc::c_int, family: u8, states: u32, id: &[u8; ID_BYTES]) -> Vec<u8> {
    let length = HEADER_BYTES + 8 + ID_BYTES;
    let mut bytes = u32::try_from(length).unwrap_or_default().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(u16::try_from(flags).unwrap_or_default().to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, UDP, 0, 0]);
    bytes.extend(states.to_ne_bytes());
    bytes.extend(id);
    bytes
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_connected_socket_is_found_and_ended() {
        let mut sockets = Sockets::open().unwrap();
        for (own, other) in [("127.0.0.1:0", "127.0.0.1:9"), ("[::1]:0", "[::1]:9")] {
            let Ok(socket) = UdpSocket::bind(own) else { continue };
            socket.connect(other).unwrap();
            let local = socket.local_addr().unwrap();
            let is_it = |found: &&Connected| found.local == local;
            let found = sockets.connected_udp().unwrap();
            let found = *found.iter().find(is_it).expect("the socket");
            assert_eq!(found.peer, other.parse().unwrap());
            match sockets.end(&found) {
                Ok(true) => {}
                Err(error) if error.only(libc::EPERM) || error.only(libc::EOPNOTSUPP) => {
                    return eprintln!("SKIPPED a_connected_socket_is_found_and_ended: {error}");
                }
                other => panic!("{other:?}"),
            }
            let said = socket.recv(&mut [0; 8]).unwrap_err();
            assert_eq!(said.kind(), io::ErrorKind::ConnectionAborted, "{said}");
            assert!(!sockets.end(&found).unwrap(), "it is connected no longer");
        }
    }
}
