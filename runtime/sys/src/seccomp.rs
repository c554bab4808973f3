//! Loading a seccomp filter into the calling thread. What the filter says is the caller's business.
//!
//! The caller sets no_new_privs or holds CAP_SYS_ADMIN in its user namespace, and loads last: every
//! system call after [`load`] is judged by the filter.
//!
//! Reference: seccomp(2), Documentation/userspace-api/seccomp_filter.rst.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// The most instructions the kernel takes (BPF_MAXINSNS).
pub const MAX_INSTRUCTIONS: usize = 4096;

pub const FLAG_TSYNC: u32 = libc::SECCOMP_FILTER_FLAG_TSYNC as u32;
pub const FLAG_LOG: u32 = libc::SECCOMP_FILTER_FLAG_LOG as u32;
pub const FLAG_SPEC_ALLOW: u32 = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32;
pub const FLAG_NEW_LISTENER: u32 = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32;
pub const FLAG_TSYNC_ESRCH: u32 = libc::SECCOMP_FILTER_FLAG_TSYNC_ESRCH as u32;
pub const FLAG_WAIT_KILLABLE_RECV: u32 = libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV as u32;

/// One classic BPF instruction, laid out as the kernel's `sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    /// Instructions to skip when the comparison holds.
    pub jump_true: u8,
    /// Instructions to skip when it does not.
    pub jump_false: u8,
    pub value: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    #[error(
        "a seccomp filter of {0} instructions is outside what the kernel takes (1 to {MAX_INSTRUCTIONS})"
    )]
    Length(usize),
    #[error("cannot load the seccomp filter; it needs no_new_privs or CAP_SYS_ADMIN")]
    Load(#[source] io::Error),
    #[error("thread {0} has a seccomp filter of its own, so TSYNC cannot give it this one")]
    Unsynchronised(i64),
}

/// Installs the filter on the calling thread (on all threads with [`FLAG_TSYNC`]).
/// The listener descriptor is there exactly when [`FLAG_NEW_LISTENER`] was given.
pub fn load(program: &[Instruction], mut flags: u32) -> Result<Option<OwnedFd>, SeccompError> {
    if program.is_empty() || program.len() > MAX_INSTRUCTIONS {
        return Err(SeccompError::Length(program.len()));
    }
    let listener = flags & FLAG_NEW_LISTENER != 0;
    if listener && flags & FLAG_TSYNC != 0 {
        // The return value cannot be a thread id and a descriptor at once (Linux 5.7).
        flags |= FLAG_TSYNC_ESRCH;
    }
    let header = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: Instruction has the layout of sock_filter (checked below at compile time); the kernel only
    // reads through `header`, which outlives the call, and copies the program.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER as libc::c_ulong,
            flags as libc::c_ulong,
            &header,
        )
    };
    match result {
        ..0 => Err(SeccompError::Load(io::Error::last_os_error())),
        // SAFETY: the kernel has just made this descriptor for us and nobody else knows its number.
        fd if listener => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) })),
        0 => Ok(None),
        thread => Err(SeccompError::Unsynchronised(thread)),
    }
}

const _: () = {
    assert!(size_of::<Instruction>() == size_of::<libc::sock_filter>());
    assert!(align_of::<Instruction>() == align_of::<libc::sock_filter>());
    assert!(std::mem::offset_of!(Instruction, jump_true) == std::mem::offset_of!(libc::sock_filter, jt));
    assert!(std::mem::offset_of!(Instruction, jump_false) == std::mem::offset_of!(libc::sock_filter, jf));
    assert!(std::mem::offset_of!(Instruction, value) == std::mem::offset_of!(libc::sock_filter, k));
};

#[cfg(test)]
mod tests {
    use super::*;

    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

    fn allow() -> Instruction {
        Instruction { code: RETURN, jump_true: 0, jump_false: 0, value: libc::SECCOMP_RET_ALLOW }
    }

    #[test]
    fn length_is_checked_before_the_kernel_is_asked() {
        assert!(matches!(load(&[], 0), Err(SeccompError::Length(0))));
        assert!(matches!(load(&vec![allow(); 4097], 0), Err(SeccompError::Length(4097))));
    }

    /// A filter stays with its thread, and this thread ends.
    #[test]
    fn a_thread_takes_a_filter() {
        std::thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            assert!(load(&[allow()], 0).unwrap().is_none());
            assert!(load(&[allow()], FLAG_NEW_LISTENER).unwrap().is_some());
            let garbage = Instruction { code: 0xffff, jump_true: 0, jump_false: 0, value: 0 };
            assert!(matches!(load(&[garbage], 0), Err(SeccompError::Load(_))));
        })
        .join()
        .unwrap();
    }
}
