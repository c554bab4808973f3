//! From an OCI seccomp profile to a classic BPF filter: plain data that a child loads without thinking.
//!
//! ```text
//! LinuxSeccomp ─ rules ─> one table of number ranges per architecture ─ emit ─> Filter
//!
//! filter:   architecture? ─┬─ x86_64 ─ x32 bit? ─ binary search over ranges ─ [arguments] ─ action
//!                          ├─ x86 ─ binary search ...
//!                          └─ any other: kill the process
//! ```
//!
//! What a profile means, where the specification is silent, is what runc and libseccomp make of it:
//! - the native architecture is always in; one that no process here can have is left out;
//! - names that we do not know, and rules whose action is the default one, are left out;
//! - conditions of one rule must all hold, but if an argument appears twice, any one suffices;
//! - a rule without conditions beats those with some, otherwise the first that matches counts;
//! - a call newer than every call of the profile gets ENOSYS instead of a refusing default, so that a
//!   C library falls back instead of failing;
//! - on 32-bit architectures the low words are compared.
//!
//! Not here: listenerPath (the launcher sends the descriptor), socketcall and ipc multiplexing on x86
//! (a profile names those calls itself).
//!
//! Reference: OCI runtime-spec config-linux.md "Seccomp", seccomp(2).

mod architecture;
mod emit;
mod profile;
mod rules;
mod syscalls;

pub use profile::runtime_default;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag as Flag};
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use sys::seccomp::{self, Instruction, SeccompError};

#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("no system call table for this machine's architecture, so no seccomp filter can be made for it")]
    Architecture,
    #[error("the seccomp filter needs {0} instructions; the kernel takes {max}", max = seccomp::MAX_INSTRUCTIONS)]
    TooLong(usize),
    #[error("seccomp rule for {name}: argument {index} does not exist, system calls have arguments 0 to 5")]
    Argument { name: String, index: usize },
    #[error("seccomp: {what} cannot be answered by a listener, the process would wait for itself")]
    Notify { what: String },
}

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// One instruction each: code, jump-true, jump-false, value from the high bits down.
    program: Vec<u64>,
    /// `sys::seccomp::FLAG_*`; has FLAG_NEW_LISTENER when a rule notifies.
    flags: u32,
}

/// Compiles a profile.
pub fn compile(profile: &LinuxSeccomp) -> Result<Filter, CompileError> {
    let tables = rules::tables(profile)?;
    let program = emit::program(&tables)?;
    let notifies = rules::notifies(profile);
    Ok(Filter { program: program.iter().map(pack).collect(), flags: flags(profile, notifies) })
}

impl Filter {
    pub fn instructions(&self) -> Vec<Instruction> {
        self.program.iter().map(unpack).collect()
    }

    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// Whether [`Filter::load`] gives a listener descriptor, to be sent to the profile's listenerPath.
    pub fn notifies(&self) -> bool {
        self.flags & seccomp::FLAG_NEW_LISTENER != 0
    }

    /// Installs the filter on the calling thread, for good.
    pub fn load(&self) -> Result<Option<OwnedFd>, SeccompError> {
        seccomp::load(&self.instructions(), self.flags)
    }
}

/// Whether some rule of the profile hands calls to a listener.
pub(crate) fn notifies(profile: &LinuxSeccomp) -> bool {
    rules::notifies(profile)
}

fn flags(profile: &LinuxSeccomp, notifies: bool) -> u32 {
    let listener = if notifies { seccomp::FLAG_NEW_LISTENER } else { 0 };
    // Without a word from the profile: no speculation barrier on every call, as runc does since 1.2.
    let Some(flags) = profile.flags() else { return listener | seccomp::FLAG_SPEC_ALLOW };
    let bit = |flag: &Flag| match flag {
        Flag::SeccompFilterFlagLog => seccomp::FLAG_LOG,
        Flag::SeccompFilterFlagTsync => seccomp::FLAG_TSYNC,
        Flag::SeccompFilterFlagSpecAllow => seccomp::FLAG_SPEC_ALLOW,
        // The kernel refuses it where there is nobody to receive.
        Flag::SeccompFilterFlagWaitKillableRecv if !notifies => 0,
        Flag::SeccompFilterFlagWaitKillableRecv => seccomp::FLAG_WAIT_KILLABLE_RECV,
    };
    flags.iter().map(bit).fold(listener, |all, one| all | one)
}

fn pack(one: &Instruction) -> u64 {
    u64::from(one.code) << 48
        | u64::from(one.jump_true) << 40
        | u64::from(one.jump_false) << 32
        | u64::from(one.value)
}

fn unpack(word: &u64) -> Instruction {
    Instruction {
        code: (word >> 48) as u16,
        jump_true: (word >> 40) as u8,
        jump_false: (word >> 32) as u8,
        value: *word as u32,
    }
}

#[cfg(test)]
mod tests;
