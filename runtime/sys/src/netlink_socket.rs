//! One netlink socket, of routes or of sockets: open, join groups, send, receive. Messages are bytes here; what they mean
//! is runtime/netlink's.
//!
//! **Invariants.** Only what the kernel (port 0) sent is handed out. Receiving waits at most
//! [`RECEIVE_TIMEOUT`] on a request socket: the kernel answers at once or the message is lost. A socket
//! belongs to the network namespace in which it was opened, whatever thread uses it.
//!
//! Reference: netlink(7), rtnetlink(7).

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

pub const RECEIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Receive buffer of a socket that listens to groups: a burst of some thousand events.
const EVENT_BUFFER_BYTES: libc::c_int = 4 << 20;

#[derive(Debug)]
pub struct NetlinkSocket(OwnedFd);

impl NetlinkSocket {
    /// For requests: short acknowledgements, error texts, strict dumps, bounded waiting.
    pub fn for_requests() -> io::Result<NetlinkSocket> {
        let socket = NetlinkSocket::open(None)?;
        socket.option(libc::NETLINK_CAP_ACK, 1)?;
        socket.option(libc::NETLINK_EXT_ACK, 1)?;
        socket.option(libc::NETLINK_GET_STRICT_CHK, 1)?;
        sockopt::set_socket_timeout(&socket.0, sockopt::Timeout::Recv, Some(RECEIVE_TIMEOUT))?;
        Ok(socket)
    }

    /// For questions about sockets (NETLINK_SOCK_DIAG), otherwise as [`NetlinkSocket::for_requests`].
    pub fn for_sockets() -> io::Result<NetlinkSocket> {
        let socket = NetlinkSocket::open(Some(rustix::net::netlink::SOCK_DIAG))?;
        socket.option(libc::NETLINK_CAP_ACK, 1)?;
        socket.option(libc::NETLINK_EXT_ACK, 1)?;
        sockopt::set_socket_timeout(&socket.0, sockopt::Timeout::Recv, Some(RECEIVE_TIMEOUT))?;
        Ok(socket)
    }

    /// For events of the given RTNLGRP_* groups. `receive` fails with ENOBUFS when some were lost.
    pub fn for_events(groups: &[u32]) -> io::Result<NetlinkSocket> {
        let socket = NetlinkSocket::open(None)?;
        // Needs CAP_NET_ADMIN; without it the default size serves.
        let _ = socket.socket_option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, EVENT_BUFFER_BYTES);
        for group in groups {
            let group = libc::c_int::try_from(*group).map_err(io::Error::other)?;
            socket.option(libc::NETLINK_ADD_MEMBERSHIP, group)?;
        }
        Ok(socket)
    }

    /// Sends all of `bytes` as one message to the kernel.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let sent = rustix::net::send(&self.0, bytes, SendFlags::empty())?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Receives one datagram and gives its length. One that does not fit is an error, never cut.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let flags = RecvFlags::TRUNC;
            let (_, length, from) = match rustix::net::recvfrom(&self.0, &mut *buffer, flags) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let kernel = from
                .and_then(|from| SocketAddrNetlink::try_from(from).ok())
                .is_some_and(|from| from.pid() == 0);
            if !kernel {
                continue;
            }
            if length > buffer.len() {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    format!("a netlink datagram of {length} bytes"),
                ));
            }
            return Ok(length);
        }
    }

    /// Without a protocol: NETLINK_ROUTE, which is 0.
    fn open(protocol: Option<rustix::net::Protocol>) -> io::Result<NetlinkSocket> {
        let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
        let fd = rustix::net::socket_with(family, SocketType::RAW, flags, protocol)?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        rustix::net::connect(&fd, &SocketAddrNetlink::new(0, 0))?;
        Ok(NetlinkSocket(fd))
    }

    fn option(&self, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        self.socket_option(libc::SOL_NETLINK, name, value)
    }

    fn socket_option(&self, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let size = libc::socklen_t::try_from(size_of::<libc::c_int>()).map_err(io::Error::other)?;
        // SAFETY: the option's value is one int that lives until the call returns, and its size is given.
        let code =
            unsafe { libc::setsockopt(self.0.as_raw_fd(), level, name, (&raw const value).cast(), size) };
        if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsFd for NetlinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
