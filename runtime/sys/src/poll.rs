//! Waiting for descriptors: epoll with numbers for names.
//!
//! The caller keeps a descriptor open as long as it is registered, and removes it before closing it:
//! a duplicate elsewhere would keep reporting under a stale number otherwise. Reference: epoll(7).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};

/// Reports of one wait at most; the rest comes with the next.
const MOST_REPORTS: usize = 64;

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Bytes, connections or an end to read; reported as long as it is so.
    Read,
    /// As [`Interest::Read`], and room to write.
    ReadWrite,
    /// Something new to read, or an end; reported once for each time.
    ReadEdge,
}

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// The number it was registered under.
    pub token: u64,
    /// There is something to read.
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
    /// The other side is gone; for a pidfd: the process was reaped.
    pub hangup: bool,
}

/// A set of descriptors to wait for.
#[derive(Debug)]
pub struct Poll(OwnedFd);

impl Poll {
    /// An empty set.
    pub fn new() -> io::Result<Poll> {
        Ok(Poll(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// Waits for a descriptor from now on.
    pub fn add(&self, descriptor: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.0, descriptor, epoll::EventData::new_u64(token), flags(interest))?)
    }

    /// Waits for something else of a registered descriptor.
    pub fn change(&self, descriptor: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.0, descriptor, epoll::EventData::new_u64(token), flags(interest))?)
    }

    /// Waits for a descriptor no more; fine if it never was registered.
    pub fn remove(&self, descriptor: impl AsFd) {
        let _ = epoll::delete(&self.0, descriptor);
    }

    /// Waits until something is ready, or `timeout` has passed. A signal ends the wait early.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<Readiness>> {
        let timeout = timeout.map(|t| Timespec {
            tv_sec: t.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: t.subsec_nanos().into(),
        });
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); MOST_REPORTS];
        match epoll::wait(&self.0, &mut events[..], timeout.as_ref()) {
            Ok((ready, _)) => Ok(ready.iter().map(readiness).collect()),
            Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Poll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn flags(interest: Interest) -> epoll::EventFlags {
    match interest {
        Interest::Read => epoll::EventFlags::IN,
        Interest::ReadWrite => epoll::EventFlags::IN | epoll::EventFlags::OUT,
        Interest::ReadEdge => epoll::EventFlags::IN | epoll::EventFlags::ET,
    }
}

fn readiness(event: &epoll::Event) -> Readiness {
    let flags = event.flags;
    Readiness {
        token: event.data.u64(),
        readable: flags.contains(epoll::EventFlags::IN),
        writable: flags.contains(epoll::EventFlags::OUT),
        hangup: flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR),
    }
}

/// Wakes another thread's [`Poll`].
#[derive(Debug)]
pub struct Waker(OwnedFd);

impl Waker {
    /// A waker, to be registered with [`Interest::Read`].
    pub fn new() -> io::Result<Waker> {
        Ok(Waker(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Makes it readable.
    pub fn wake(&self) {
        // The only failure is a counter at its end, and then it is readable already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Makes it unreadable again.
    pub fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_by_number() {
        let poll = Poll::new().expect("epoll");
        let (waker, other) = (Waker::new().expect("eventfd"), Waker::new().expect("eventfd"));
        poll.add(&waker, 7, Interest::Read).expect("added");
        poll.add(&other, 8, Interest::ReadEdge).expect("added");
        assert_eq!(poll.wait(Some(Duration::ZERO)).expect("waits"), vec![]);
        waker.wake();
        waker.wake();
        let report = Readiness { token: 7, readable: true, writable: false, hangup: false };
        for _ in 0..2 {
            assert_eq!(poll.wait(None).expect("waits"), vec![report], "as long as it is so");
        }
        waker.clear();
        other.wake();
        assert_eq!(poll.wait(None).expect("waits"), vec![Readiness { token: 8, ..report }]);
        assert_eq!(poll.wait(Some(Duration::ZERO)).expect("waits"), vec![], "an edge is reported once");
        poll.change(&waker, 9, Interest::ReadWrite).expect("changed");
        assert!(poll.wait(None).expect("waits")[0].writable);
        poll.remove(&waker);
        poll.remove(&waker);
        assert_eq!(poll.wait(Some(Duration::from_millis(1))).expect("waits"), vec![]);
    }
}
