//! Pseudo-terminals of a given devpts instance, and the terminal the user sits at.
//!
//! Reference: pts(4), ioctl_tty(2); TIOCGPTPEER opens the other end without a path, Linux 4.13.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios, Winsize};

use crate::process::last_errno;

/// The other end of an open master, which is unlocked first.
pub fn peer(master: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    rustix::pty::unlockpt(master)?;
    rustix::pty::ioctl_tiocgptpeer(master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
}

/// Makes a terminal the controlling terminal of the calling session's leader.
pub fn set_controlling(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: TIOCSCTTY takes an integer.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Sets the size in characters.
pub fn set_size(terminal: impl AsFd, columns: u16, rows: u16) -> Result<(), Errno> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size)
}

/// The size in characters: columns, rows.
pub fn size(terminal: impl AsFd) -> Result<(u16, u16), Errno> {
    rustix::termios::tcgetwinsize(terminal).map(|size| (size.ws_col, size.ws_row))
}

/// A terminal in raw mode; its settings come back when this is dropped.
#[derive(Debug)]
pub struct Raw<F: AsFd> {
    terminal: F,
    before: Termios,
}

impl<F: AsFd> Raw<F> {
    pub fn enter(terminal: F) -> Result<Raw<F>, Errno> {
        let before = rustix::termios::tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(&terminal, OptionalActions::Flush, &raw)?;
        Ok(Raw { terminal, before })
    }
}

impl<F: AsFd> Drop for Raw<F> {
    fn drop(&mut self) {
        // Nothing is left to do with a failure: the terminal is gone.
        let _gone = rustix::termios::tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}
