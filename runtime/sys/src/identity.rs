//! Who a thread is: groups, gid, uid, capabilities kept over the change, keyring.
//!
//! Raw system calls on purpose: glibc's wrappers signal every thread, which a cloned child does not have.
//!
//! Reference: setresuid(2), setgroups(2), PR_SET_KEEPCAPS in prctl(2), keyctl(2).

use std::ffi::CStr;

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;

use crate::process::last_errno;

/// Sets all three user ids.
pub fn set_uid(uid: u32) -> Result<(), Errno> {
    let uid = Uid::from_raw(uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// Sets all three group ids.
pub fn set_gid(gid: u32) -> Result<(), Errno> {
    let gid = Gid::from_raw(gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid)
}

/// Sets the supplementary groups.
pub fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    rustix::thread::set_thread_groups(&groups)
}

/// Keeps permitted capabilities over the next change of uid.
pub fn keep_capabilities(keep: bool) -> Result<(), Errno> {
    rustix::thread::set_keep_capabilities(keep)
}

/// No program started from here on gains privileges.
pub fn set_no_new_privileges() -> Result<(), Errno> {
    rustix::thread::set_no_new_privs(true)
}

/// Joins a new session keyring of that name, so that the container does not see the caller's keys.
pub fn join_session_keyring(name: &CStr) -> Result<(), Errno> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: the name is a C string that outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}
