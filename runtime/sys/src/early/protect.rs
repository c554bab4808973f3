//! Becoming the protected file before there is a C library: what `oci::shield` does, in four system calls.
//!
//! The first of two starts exists only to start the second one from a read-only clone of the file's mount, so it need not have
//! memory to allocate from, locales, or arguments that are parsed. Whatever is not as usual is left to the shield, which judges anew.
//!
//! **Invariants.** No libc but memcpy and its like: its thread-local storage is not there yet. An exec from here is only ever of
//! the own file.
//!
//! Reference: CVE-2019-5736; open_tree(2), mount_setattr(2), execveat(2).

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;

use super::entry::{Strings, is};
use super::{MARK, MARKED};

const OWN_FILE: &CStr = c"/proc/self/exe";

/// Verbs whose child becomes a program of a container. Something else of that name costs a start, nothing more.
const VERBS: [&[u8]; 3] = [b"create", b"run", b"exec"];

/// More variables than that are left to the shield.
const ENVIRONMENT_MAX: usize = 1024;

const OPEN_TREE_CLONE: usize = 1;
const O_CLOEXEC: usize = 0x8_0000;
const AT_EMPTY_PATH: usize = 0x1000;
const MOUNT_ATTR_RDONLY: u64 = 1;
const ST_RDONLY: u64 = 1;

/// `struct statfs` of x86-64: the flags are its eleventh word.
const STATFS_WORDS: usize = 15;
const STATFS_FLAGS: usize = 10;

/// Does not return when the process has become the protected file.
///
/// # Safety
/// `arguments` are `count` strings, `environment` strings up to a null pointer.
pub(super) unsafe fn become_protected(count: usize, arguments: Strings, environment: Strings) {
    // SAFETY: all pointers are the caller's or of this frame; each array is read up to its end and written within its length.
    unsafe {
        if !runs_programs(count, arguments) {
            return;
        }
        let mut extended = [const { MaybeUninit::<*const c_char>::uninit() }; ENVIRONMENT_MAX];
        let variables = extended.as_mut_ptr().cast::<*const c_char>();
        let mut length = 0;
        loop {
            let variable = environment.add(length).read_volatile();
            if variable.is_null() {
                break;
            }
            if length + 2 == ENVIRONMENT_MAX || begins(variable, MARK.as_bytes()) {
                return;
            }
            variables.add(length).write_volatile(variable);
            length += 1;
        }
        variables.add(length).write_volatile(MARKED.as_ptr());
        variables.add(length + 1).write_volatile(std::ptr::null());

        let mut found = [0u64; STATFS_WORDS];
        let path = OWN_FILE.as_ptr() as usize;
        let failed = call(libc::SYS_statfs, [path, found.as_mut_ptr() as usize, 0, 0, 0]) != 0;
        if failed || (&raw const found[STATFS_FLAGS]).read_volatile() & ST_RDONLY != 0 {
            return;
        }
        let here = libc::AT_FDCWD as usize;
        let tree = call(libc::SYS_open_tree, [here, path, OPEN_TREE_CLONE | O_CLOEXEC, 0, 0]);
        if tree < 0 {
            return;
        }
        let (tree, empty) = (tree as usize, c"".as_ptr() as usize);
        let attributes = [MOUNT_ATTR_RDONLY, 0, 0, 0];
        let attributes = [tree, empty, AT_EMPTY_PATH, attributes.as_ptr() as usize, size_of_val(&attributes)];
        if call(libc::SYS_mount_setattr, attributes) == 0 {
            let own = [tree, empty, arguments as usize, variables as usize, AT_EMPTY_PATH];
            call(libc::SYS_execveat, own);
        }
        call(libc::SYS_close, [tree, 0, 0, 0, 0]);
    }
}

/// # Safety
/// `arguments` are `count` strings.
unsafe fn runs_programs(count: usize, arguments: Strings) -> bool {
    // SAFETY: within the count.
    (1..count).any(|index| VERBS.iter().any(|verb| unsafe { is(*arguments.add(index), verb) }))
}

/// Whether a variable has the name.
///
/// # Safety
/// `variable` is a string.
unsafe fn begins(variable: *const c_char, name: &[u8]) -> bool {
    let mut at = variable;
    for byte in name.iter().chain(b"=") {
        // SAFETY: no byte before was the null byte, as none of the name's is.
        unsafe {
            if at.read_volatile() as u8 != *byte {
                return false;
            }
            at = at.add(1);
        }
    }
    true
}

/// A system call: what it returns, or a negative errno.
///
/// # Safety
/// As of the call: what its arguments point to is valid for it.
unsafe fn call(number: i64, arguments: [usize; 5]) -> isize {
    let result: isize;
    // SAFETY: the kernel's convention; memory that the call writes is the caller's promise.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}
