//! SOCK_SEQPACKET unix sockets: packets that arrive whole, with descriptors beside them, from a peer
//! whose identity the kernel vouches for.
//!
//! **Invariants.** Every descriptor is close-on-exec. A packet or a list of descriptors that was cut
//! short is an error, never a shorter packet. Nothing here blocks except [`Conn::connect`] on a
//! listener whose backlog is full. Reference: unix(7).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, chmod};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect,
    listen, recvmsg, sendmsg, socket_with, socketpair, sockopt,
};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;
/// The most descriptors in one packet: the kernel's SCM_MAX_FD.
pub const MOST_DESCRIPTORS: usize = 253;
/// Room for that many descriptors and for the header that the kernel puts before them.
const CONTROL_SPACE: usize = rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS));

/// A listening socket, non-blocking.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// A connected socket, non-blocking.
#[derive(Debug)]
pub struct Conn(OwnedFd);

/// Who is on the other side, as of connect(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process.
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

/// One packet as it arrived.
#[derive(Debug)]
pub struct Received {
    /// Bytes of the buffer that the packet fills. 0: the peer has closed.
    pub length: usize,
    /// Descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
}

impl Listener {
    /// Listens at a path that must not exist; only the owner may connect (mode 0600).
    pub fn bind(path: &Path) -> io::Result<Listener> {
        let socket = open()?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        // connect(2) is refused until listen(2), so nobody slips in before the mode is set.
        chmod(path, Mode::from_raw_mode(0o600))?;
        listen(&socket, BACKLOG)?;
        Ok(Listener(socket))
    }

    /// Takes a listener that somebody else opened.
    pub fn from_fd(socket: OwnedFd) -> io::Result<Listener> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Listener(socket))
    }

    /// The next connection, `None` if nobody waits.
    pub fn accept(&self) -> io::Result<Option<Conn>> {
        match accept_with(&self.0, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => Ok(Some(Conn(socket))),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::CONNABORTED) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

// === impl Conn ===

impl Conn {
    /// Connects to a listener.
    pub fn connect(path: &Path) -> io::Result<Conn> {
        let socket = open()?;
        rustix::io::ioctl_fionbio(&socket, false)?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Conn(socket))
    }

    /// Two ends of one connection.
    pub fn pair() -> io::Result<(Conn, Conn)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Conn(one), Conn(other)))
    }

    /// Takes a connection that somebody else opened.
    pub fn from_fd(socket: OwnedFd) -> io::Result<Conn> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Conn(socket))
    }

    /// Who is on the other side.
    pub fn peer(&self) -> io::Result<Peer> {
        let credentials = sockopt::socket_peercred(&self.0)?;
        Ok(Peer {
            pid: credentials.pid.as_raw_nonzero().get(),
            uid: credentials.uid.as_raw(),
            gid: credentials.gid.as_raw(),
        })
    }

    /// Sends one packet. `WouldBlock`: the peer reads too slowly.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if descriptors.len() > MOST_DESCRIPTORS {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let mut space = [MaybeUninit::<u8>::uninit(); CONTROL_SPACE];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let sent = retry(|| sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL))?;
        if sent == bytes.len() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::WriteZero)) }
    }

    /// Receives one packet into a buffer that must hold the largest. `WouldBlock`: there is none.
    /// `InvalidData`: the packet did not fit, or descriptors were lost (a full table of open files).
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut space = [MaybeUninit::<u8>::uninit(); CONTROL_SPACE];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(buffer)];
        let message = retry(|| recvmsg(&self.0, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC))?;
        let mut descriptors = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = part {
                descriptors.extend(more);
            }
        }
        if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a packet was cut short"));
        }
        Ok(Received { length: message.bytes, descriptors })
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl std::os::fd::AsRawFd for Conn {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

impl From<Conn> for OwnedFd {
    fn from(conn: Conn) -> OwnedFd {
        conn.0
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> OwnedFd {
        listener.0
    }
}

fn open() -> rustix::io::Result<OwnedFd> {
    socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
}

/// Calls again when a signal came between; nothing was sent or received then.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Seek as _, Write as _};
    use std::os::unix::fs::PermissionsExt as _;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    /// How long a busy machine may take.
    const PATIENCE_SECONDS: i64 = 20;

    #[test]
    fn a_packet_arrives_whole_with_its_descriptors() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        let listener = Listener::bind(&path).expect("listens");
        assert_eq!(path.metadata().expect("is there").permissions().mode() & 0o777, 0o600);
        assert!(listener.accept().expect("works").is_none(), "nobody waits");
        let client = Conn::connect(&path).expect("connects");
        let server = listener.accept().expect("works").expect("somebody waits");
        assert_eq!(server.peer().expect("known").pid, std::process::id() as i32);

        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"inside").expect("writes");
        client.send(b"one", &[file.as_fd(), file.as_fd()]).expect("sends");
        client.send(b"two", &[]).expect("sends");
        let mut buffer = [0; 16];
        let got = server.receive(&mut buffer).expect("receives");
        assert_eq!((&buffer[..got.length], got.descriptors.len()), (&b"one"[..], 2));
        let mut copy = File::from(got.descriptors.into_iter().next().expect("two of them"));
        let mut text = String::new();
        copy.rewind().expect("rewinds");
        copy.read_to_string(&mut text).expect("reads");
        assert_eq!(text, "inside");
        assert_eq!(server.receive(&mut buffer).expect("receives").length, 3);
        assert_eq!(server.receive(&mut buffer).expect_err("none").kind(), io::ErrorKind::WouldBlock);
        drop(client);
        // Another test's child may hold a copy until it executes something.
        let mut waiting = [PollFd::new(&server.0, PollFlags::IN)];
        let limit = Timespec { tv_sec: PATIENCE_SECONDS, tv_nsec: 0 };
        assert_eq!(poll(&mut waiting, Some(&limit)).expect("polls"), 1, "it closes");
        assert_eq!(server.receive(&mut buffer).expect("closed").length, 0);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let (one, other) = Conn::pair().expect("a pair");
        one.send(&[1; 17], &[]).expect("sends");
        assert_eq!(other.receive(&mut [0; 16]).expect_err("cut").kind(), io::ErrorKind::InvalidData);
        let many = vec![one.as_fd(); MOST_DESCRIPTORS + 1];
        assert_eq!(one.send(b"x", &many).expect_err("too many").kind(), io::ErrorKind::InvalidInput);
        one.send(b"x", &many[1..]).expect("as many as the kernel takes");
        assert_eq!(other.receive(&mut [0; 16]).expect("all").descriptors.len(), MOST_DESCRIPTORS);
    }

    #[test]
    fn a_slow_reader_is_told() {
        let (one, _other) = Conn::pair().expect("a pair");
        let full = (0..100_000).find_map(|_| one.send(&[0; 4096], &[]).err()).expect("fills up");
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }
}
