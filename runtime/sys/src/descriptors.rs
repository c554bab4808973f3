//! Descriptor numbers: what a child keeps, where it keeps it, and that it keeps nothing else.
//!
//! **Invariants.** These functions rearrange the whole table, so only a child that is about to become a program
//! calls them, after it has forgotten every descriptor it owned before.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use crate::process::last_errno;

/// A copy at `minimum` or above, closed on exec.
pub fn raise(descriptor: BorrowedFd<'_>, minimum: RawFd) -> Result<OwnedFd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(descriptor, minimum)
}

/// A copy at exactly `number`, open over exec. What was there is closed.
pub fn place(descriptor: BorrowedFd<'_>, number: RawFd) -> Result<(), Errno> {
    // SAFETY: dup2 touches the table only; the callers' contract (see the module) is that nobody owns `number`.
    if unsafe { libc::dup2(descriptor.as_raw_fd(), number) } < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Closes everything from `first` on except `keep`.
pub fn close_all_but(first: RawFd, keep: &[RawFd]) -> Result<(), Errno> {
    let mut keep: Vec<RawFd> = keep.iter().copied().filter(|number| *number >= first).collect();
    keep.sort_unstable();
    let mut from = first as u32;
    for number in keep.into_iter().map(|number| number as u32) {
        if number > from {
            close_range(from, number - 1, 0)?;
        }
        from = from.max(number + 1);
    }
    close_range(from, u32::MAX, 0)
}

/// Marks everything from `first` on to be closed on exec.
pub fn close_on_exec_from(first: RawFd) -> Result<(), Errno> {
    close_range(first as u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, last: u32, flags: u32) -> Result<(), Errno> {
    // SAFETY: integers only; the callers' contract is that nobody owns what is closed.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// A copy of a descriptor that the process inherited by number. None when it is not open.
pub fn inherited(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: fcntl on a number that is not open fails with EBADF and does nothing else.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    // SAFETY: a non-negative result is a new descriptor that nobody else owns.
    (copy >= 0).then(|| unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Borrows a standard descriptor.
pub fn standard(number: RawFd) -> BorrowedFd<'static> {
    debug_assert!((0..=2).contains(&number));
    // SAFETY: 0, 1 and 2 stay open for the life of the process: std opens /dev/null in their place at start.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Leaks a descriptor: it stays open until exec or exit, under the number that is returned.
pub fn leave_open(descriptor: OwnedFd) -> RawFd {
    std::os::fd::IntoRawFd::into_raw_fd(descriptor)
}

/// Clears close-on-exec.
pub fn keep_over_exec(descriptor: impl AsFd) -> Result<(), Errno> {
    rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty())
}
