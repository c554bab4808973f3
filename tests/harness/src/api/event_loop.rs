//! Many watches in one thread, as programs have them that wait for all of their connections at once.

use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::client::Watch;
use super::http::Wire;

/// How long the next event of any of them may take.
const LIMIT_MILLISECONDS: u16 = 60_000;
/// Connections that are looked at between two questions to the kernel.
const AT_ONCE: usize = 64;

/// Watches whose events are read as they come.
pub struct EventLoop {
    epoll: Epoll,
    watches: Vec<Open>,
}

struct Open {
    wire: Wire,
    /// Kept for as long as it is waited for.
    _socket: TcpStream,
    /// Bytes as the connection brings them.
    raw: Vec<u8>,
    /// The same without the frames of chunks.
    text: Vec<u8>,
}

impl EventLoop {
    /// Takes watches over.
    #[must_use]
    pub fn new(watches: Vec<Watch>) -> EventLoop {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("a descriptor more");
        let open = |(at, watch): (usize, Watch)| {
            let (wire, text, socket) = watch.into_parts();
            socket.set_nonblocking(true).expect("a socket that does not wait");
            let event = EpollEvent::new(EpollFlags::EPOLLIN, at as u64);
            epoll.add(&socket, event).expect("a socket that is waited for");
            let mut open = Open { wire, _socket: socket, raw: Vec::new(), text };
            // What came with the answer's head is no news to the kernel.
            open.read();
            open
        };
        let watches = watches.into_iter().enumerate().map(open).collect();
        EventLoop { epoll, watches }
    }

    /// Waits until there is something, and gives every whole event to `seen`, in JSON, with the number of its watch.
    pub fn turn(&mut self, mut seen: impl FnMut(usize, &[u8])) {
        let mut ready = [EpollEvent::empty(); AT_ONCE];
        let count = self.epoll.wait(&mut ready, EpollTimeout::from(LIMIT_MILLISECONDS));
        let count = count.expect("watches are waited for");
        assert!(count > 0, "an event within a minute");
        for event in &ready[..count] {
            let at = event.data() as usize;
            let watch = &mut self.watches[at];
            watch.read();
            while let Some(end) = watch.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = watch.text.drain(..=end).collect();
                seen(at, &line);
            }
        }
    }
}

impl Open {
    /// Everything that is there.
    fn read(&mut self) {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.wire.read(&mut buffer) {
                Ok(0) => panic!("a watch goes on"),
                Ok(count) => self.raw.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("a watch goes on: {error}"),
            }
        }
        while let Some((chunk, used)) = whole_chunk(&self.raw) {
            self.text.extend_from_slice(chunk);
            self.raw.drain(..used);
        }
    }
}

/// The first chunk, if all of it is there, and how many bytes it takes with its frame.
fn whole_chunk(raw: &[u8]) -> Option<(&[u8], usize)> {
    let end = raw.windows(2).position(|two| two == b"\r\n")?;
    let size = std::str::from_utf8(&raw[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
    let (begin, size) = (end + 2, size.expect("the size of a chunk"));
    let whole = begin + size + 2;
    (raw.len() >= whole).then(|| (&raw[begin..begin + size], whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_taken_when_all_of_it_is_there() {
        let check = |raw: &str, expect: Option<(&str, usize)>| {
            let found = whole_chunk(raw.as_bytes());
            assert_eq!(found, expect.map(|(text, used)| (text.as_bytes(), used)), "{raw:?}");
        };
        check("", None);
        check("3", None);
        check("3\r\nab", None);
        check("3\r\nabc\r", None);
        check("3\r\nabc\r\n", Some(("abc", 8)));
        check("a\r\n0123456789\r\n3\r\n", Some(("0123456789", 15)));
        check("0\r\n\r\n", Some(("", 5)));
    }
}
