//! Descriptors that one executable leaves open for the next one in the same process.
//!
//! **Invariants.** A number is taken at most once, at the start of the new executable, before it opens
//! anything of its own: then nobody else owns it. Descriptors 0, 1 and 2 are never taken.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// Takes the ownership of an inherited descriptor, which is closed on the next execve from now on. An
/// error if the number is not open over execve, is one of the first three, or was taken before.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    let refused =
        || io::Error::new(io::ErrorKind::InvalidInput, format!("descriptor {number} is not ours to take"));
    // SAFETY: F_GETFD on a number that is not open fails with EBADF and does nothing else.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    // What this executable opened itself is close-on-exec, as everything that std and this crate open.
    if number <= 2 || flags < 0 || flags & libc::FD_CLOEXEC != 0 {
        return Err(refused());
    }
    if !TAKEN.lock().map_err(|_| refused())?.insert(number) {
        return Err(refused());
    }
    // SAFETY: the number is open, was so before this executable started (it would be close-on-exec
    // otherwise), and TAKEN gives it away once: nobody else owns it.
    let owned = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&owned, rustix::io::FdFlags::CLOEXEC)?;
    Ok(owned)
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, IntoRawFd};

    use super::*;

    #[test]
    fn only_what_was_left_open_is_taken_and_only_once() {
        let file = std::fs::File::open("/dev/null").expect("opens");
        assert!(take(file.as_raw_fd()).is_err(), "close-on-exec: opened by this executable");
        assert!(take(1).is_err());
        assert!(take(100_000).is_err());
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).expect("left open");
        let number = file.into_raw_fd();
        let taken = take(number).expect("taken");
        assert!(rustix::io::fcntl_getfd(&taken).expect("open").contains(rustix::io::FdFlags::CLOEXEC));
        rustix::io::fcntl_setfd(&taken, rustix::io::FdFlags::empty()).expect("left open");
        assert!(take(number).is_err(), "taken before");
    }
}
