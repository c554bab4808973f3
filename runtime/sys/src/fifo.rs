//! Named pipes that lose nothing: bytes are looked at first and taken away later.
//!
//! ```text
//! writer ──▶ FIFO ──tee──▶ scratch ──read──▶ buffer      [`Fifo::peek`]
//!             │                                │ (somebody writes it down)
//!             └──splice──▶ /dev/null ◀─────────┘         [`Fifo::discard`]
//! ```
//!
//! A process that is killed between the two has taken nothing: the next one peeks at the same bytes.
//!
//! Only a FIFO that is emptied wakes its reader reliably: a writer that fills one up in the middle of a
//! write(2) tells nobody unless it was empty before (Linux, pipe_write). So what has to wait is moved on
//! to a second FIFO ([`Fifo::fill_from`]), inside the kernel, where no death can catch it.
//! Reference: tee(2), splice(2), fifo(7).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};

/// What a FIFO holds at most; the kernel's own default, said aloud because it bounds what is doubled
/// after a crash.
pub const CAPACITY: usize = 64 * 1024;

/// Room for pieces in a FIFO made for waiting ([`Fifo::open_wide`]) and in [`Scratch`]: 64, where each
/// moved write(2) takes one however small it is.
const WIDE: usize = 256 * 1024;

/// The reader's side of a FIFO, non-blocking. It is open for writing too, so it never reads an end.
#[derive(Debug)]
pub struct Fifo(Arc<OwnedFd>);

/// A pipe to peek through; one serves any number of FIFOs, one after the other.
#[derive(Debug)]
pub struct Scratch {
    read: OwnedFd,
    write: OwnedFd,
    null: File,
}

/// Makes a FIFO (mode 0600); fine if it is there.
pub fn create(path: &Path) -> io::Result<()> {
    match rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens a FIFO for a process that writes to it: readable too, so that no reader's death is a SIGPIPE,
/// and blocking.
pub fn open_for_writer(path: &Path) -> io::Result<OwnedFd> {
    open(path, OFlags::RDWR)
}

/// Opens both ends of a FIFO for a process's input: the process's own (blocking), and the feeder's
/// (non-blocking). The process reads an end as soon as every feeder is closed.
pub fn open_for_reader(path: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    let both = open(path, OFlags::RDWR)?;
    let feeder = open(path, OFlags::WRONLY | OFlags::NONBLOCK)?;
    let reader = open(path, OFlags::RDONLY)?;
    drop(both);
    Ok((reader, feeder))
}

/// Opens a feeder of a FIFO that a process reads (non-blocking); `None` if nobody reads it.
pub fn open_feeder(path: &Path) -> io::Result<Option<OwnedFd>> {
    match open(path, OFlags::WRONLY | OFlags::NONBLOCK) {
        Ok(feeder) => Ok(Some(feeder)),
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Fifo {
    /// Opens the reader's side.
    pub fn open(path: &Path) -> io::Result<Fifo> {
        Ok(Fifo(Arc::new(open(path, OFlags::RDWR | OFlags::NONBLOCK)?)))
    }

    /// Opens the reader's side of a FIFO that others are moved to.
    pub fn open_wide(path: &Path) -> io::Result<Fifo> {
        let fifo = Fifo::open(path)?;
        widen(&fifo.0);
        Ok(fifo)
    }

    /// Copies what waits into the buffer without taking it. 0: nothing waits.
    pub fn peek(&self, scratch: &Scratch, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = buffer.len().min(CAPACITY);
        let copied = match rustix::pipe::tee(&self.0, &scratch.write, limit, SpliceFlags::NONBLOCK) {
            Ok(copied) => copied,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(errno) => return Err(errno.into()),
        };
        let mut read = 0;
        while read < copied {
            match rustix::io::read(&scratch.read, &mut buffer[read..copied]) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                Ok(more) => read += more,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(copied)
    }

    /// Takes `count` bytes away, which a peek has shown.
    pub fn discard(&self, scratch: &Scratch, count: usize) -> io::Result<()> {
        let mut left = count;
        while left > 0 {
            match rustix::pipe::splice(&self.0, None, &scratch.null, None, left, SpliceFlags::NONBLOCK) {
                Ok(0) | Err(Errno::AGAIN) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                Ok(gone) => left -= gone,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Moves what a terminal or another FIFO has to say into this one, inside the kernel, so that it is
    /// never only in the memory of a process. `Ok(0)`: nothing waits, or there is no room.
    pub fn fill_from(&self, source: impl AsFd, limit: usize) -> io::Result<usize> {
        match rustix::pipe::splice(source, None, &self.0, None, limit, SpliceFlags::NONBLOCK) {
            Ok(moved) => Ok(moved),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether a writer would wait for room.
    pub fn is_full(&self) -> bool {
        !self.is_ready(PollFlags::OUT)
    }

    /// Whether a reader would wait for something.
    pub fn is_empty(&self) -> bool {
        !self.is_ready(PollFlags::IN)
    }

    fn is_ready(&self, what: PollFlags) -> bool {
        let mut set = [PollFd::new(&self.0, what)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        !matches!(rustix::event::poll(&mut set, Some(&now)), Ok(0))
    }

    /// The same descriptor for somebody who only holds it.
    pub fn share(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.0)
    }
}

impl AsFd for Fifo {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Scratch {
    /// A pipe to peek through.
    pub fn new() -> io::Result<Scratch> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        widen(&write);
        Ok(Scratch { read, write, null: File::options().write(true).open("/dev/null")? })
    }
}

/// Narrow pipes work too, only with smaller pieces; so a refusal (a user's limit) is none.
fn widen(pipe: &OwnedFd) {
    let _refused = rustix::pipe::fcntl_setpipe_size(pipe, WIDE);
}

fn open(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let opened = rustix::fs::open(path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode) != FileType::Fifo {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is no FIFO", path.display())));
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn bytes_wait_until_they_are_discarded() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        create(&path).expect("made");
        create(&path).expect("there already");
        let scratch = Scratch::new().expect("a pipe");
        let mut writer = File::from(open_for_writer(&path).expect("opens"));
        let mut buffer = [0; 100];
        {
            let reader = Fifo::open(&path).expect("opens");
            assert_eq!(reader.peek(&scratch, &mut buffer).expect("peeks"), 0);
            writer.write_all(b"one two").expect("writes");
            assert_eq!(reader.peek(&scratch, &mut buffer).expect("peeks"), 7);
        }
        writer.write_all(b" three").expect("no reader is no reason to die");
        let reader = Fifo::open(&path).expect("opens");
        for (discard, left) in [(0, &b"one two three"[..]), (4, b"two three"), (9, b"")] {
            reader.discard(&scratch, discard).expect("there");
            let count = reader.peek(&scratch, &mut buffer).expect("peeks");
            assert_eq!(&buffer[..count], left);
        }
        assert!(reader.discard(&scratch, 1).is_err(), "nothing to discard");
    }

    #[test]
    fn full_is_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        create(&path).expect("made");
        let reader = Fifo::open(&path).expect("opens");
        let mut writer = File::from(open_for_writer(&path).expect("opens"));
        assert!(!reader.is_full() && reader.is_empty());
        writer.write_all(&[b'x'; CAPACITY]).expect("as much as it holds");
        assert!(reader.is_full() && !reader.is_empty());
        let (scratch, mut buffer) = (Scratch::new().expect("a pipe"), vec![0; CAPACITY]);
        assert_eq!(reader.peek(&scratch, &mut buffer).expect("peeks"), CAPACITY, "in one piece");
        reader.discard(&scratch, CAPACITY).expect("there");
        assert!(!reader.is_full() && reader.is_empty());
    }

    #[test]
    fn input_ends_with_its_last_feeder() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        create(&path).expect("made");
        assert!(open_feeder(&path).expect("opens").is_none(), "nobody reads");
        let (reader, feeder) = open_for_reader(&path).expect("opens");
        let second = open_feeder(&path).expect("opens").expect("somebody reads");
        File::from(feeder).write_all(b"a").expect("writes");
        File::from(second).write_all(b"b").expect("writes");
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).expect("reads to the end");
        assert_eq!(text, "ab");
    }

    #[test]
    fn what_is_no_fifo_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(Fifo::open(file.path()).is_err());
    }
}
