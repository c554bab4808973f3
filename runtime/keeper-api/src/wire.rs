//! Packets: version, serial, body.
//!
//! The version stands first and alone, so that a packet of any later version can at least be refused
//! by name.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{MAX_MESSAGE, OLDEST, VERSION};

/// One message with what surrounds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<T> {
    /// The version of its sender.
    pub version: u16,
    /// Chosen by the asker and repeated in the answer; 0 in events.
    pub serial: u64,
    /// The message.
    pub body: T,
}

/// Why bytes are no packet, or a message does not fit one.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Bytes that are no message.
    #[error("a malformed packet of {length} bytes")]
    Malformed { length: usize, source: postcard::Error },
    /// Bytes behind the message.
    #[error("{0} stray bytes behind a message")]
    Trailing(usize),
    /// A version that this code does not understand.
    #[error("version {got} of the keeper's protocol; this build understands {OLDEST} to {VERSION}")]
    Version { got: u16 },
    /// A message that is too large.
    #[error("a message of {0} bytes, more than the {MAX_MESSAGE} of a packet")]
    TooLarge(usize),
}

/// Writes a packet.
pub fn encode<T: Serialize>(serial: u64, body: &T) -> Result<Vec<u8>, WireError> {
    let bytes = postcard::to_allocvec(&(VERSION, serial, body))
        .map_err(|source| WireError::Malformed { length: 0, source })?;
    if bytes.len() > MAX_MESSAGE { Err(WireError::TooLarge(bytes.len())) } else { Ok(bytes) }
}

/// Reads a packet.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<Packet<T>, WireError> {
    let malformed = |source| WireError::Malformed { length: bytes.len(), source };
    if bytes.len() > MAX_MESSAGE {
        return Err(WireError::TooLarge(bytes.len()));
    }
    let (version, rest) = postcard::take_from_bytes::<u16>(bytes).map_err(malformed)?;
    if !(OLDEST..=VERSION).contains(&version) {
        return Err(WireError::Version { got: version });
    }
    let ((serial, body), rest) = postcard::take_from_bytes(rest).map_err(malformed)?;
    if rest.is_empty() { Ok(Packet { version, serial, body }) } else { Err(WireError::Trailing(rest.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Call, Entry, Exit, Launch, ProcessId, Stage, Status, Stream};

    fn id(name: &str) -> ProcessId {
        ProcessId::new(name).expect("a good name")
    }

    #[test]
    fn messages_survive_the_wire() {
        let launch = Call::Launch(Launch {
            id: id("c1"),
            tty: true,
            cgroup: true,
            held: vec![Stream::Stdin, Stream::Stdout],
            preserve: 2,
            tied: false,
        });
        let bytes = encode(7, &launch).expect("fits");
        assert_eq!(
            decode::<Call>(&bytes).expect("reads"),
            Packet { version: VERSION, serial: 7, body: launch }
        );
        let entry = Entry {
            id: id("c1"),
            pid: 12,
            started_at_nanoseconds: 1,
            stage: Stage::Ended(Exit { status: Status::Signalled(9), at_nanoseconds: 2 }),
            pty: false,
            held: vec![],
            tied: true,
        };
        let listing = Body::Listing { entries: vec![entry], more: true };
        let bytes = encode(u64::MAX, &listing).expect("fits");
        assert_eq!(decode::<Body>(&bytes).expect("reads").body, listing);
    }

    #[test]
    fn garbage_is_refused() {
        let good = encode(1, &Call::Forget { id: id("x") }).expect("fits");
        let with = |change: fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            change(&mut bytes);
            decode::<Call>(&bytes).expect_err("refused").to_string()
        };
        assert!(with(|b| b.clear()).contains("malformed"));
        assert!(with(|b| b.truncate(3)).contains("malformed"));
        assert!(with(|b| b.push(0)).contains("stray"));
        assert!(with(|b| b[0] = 0).contains("version 0"));
        assert!(with(|b| b[0] = 9).contains("version 9"));
        assert!(with(|b| b[2] = 99).contains("malformed"), "an unknown call");
        assert!(with(|b| *b.last_mut().expect("bytes") = b'/').contains("malformed"), "an id that is a path");
        assert!(with(|b| b.resize(MAX_MESSAGE + 1, 0)).contains("more than"));
        // Whatever the bytes, reading them ends in a value or an error.
        let mut state = 1u64;
        for length in 0..2000 {
            let bytes: Vec<u8> = (0..length % 97)
                .map(|_| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (state >> 56) as u8
                })
                .collect();
            let _ = decode::<Call>(&bytes);
            let _ = decode::<Body>(&[&[1u8, 0][..], &bytes].concat());
        }
    }

    #[test]
    fn what_is_too_large_is_not_sent() {
        let name = "n".repeat(MAX_MESSAGE);
        assert!(matches!(encode(1, &Call::StoreFd { name }), Err(WireError::TooLarge(_))));
    }
}
