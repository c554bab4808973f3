//! Capabilities: names, sets as bit masks, and the one order in which a process may shed them.
//!
//! ```text
//! still root            drop_bounding()   needs CAP_SETPCAP, so before the effective set shrinks
//!                       keep(true)        or setuid() away from 0 empties the permitted set
//! setgroups/gid/uid     (the caller's)
//! new user              apply()           capset, then ambient: ambient needs permitted and inheritable
//! ```
//!
//! Nothing here reads a file except [`last`]; the rest may run in a child between clone and execve:
//! no allocation, no lock.
//!
//! **Invariants**: a bit above the kernel's last capability is never passed to the kernel.
//! Reference: capabilities(7), OCI runtime-spec config.md "Linux Process".

use rustix::thread::{self, CapabilitySet, CapabilitySets as KernelSets};
use std::io;

/// Names by number, as in linux/capability.h of Linux 6.18.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The highest capability this crate has a name for.
pub const LAST_NAMED: u8 = NAMES.len() as u8 - 1;

#[derive(Debug, thiserror::Error)]
pub enum CapabilityError {
    #[error("unknown capability {0:?}: expected a name such as CAP_NET_ADMIN")]
    Unknown(String),
    #[error("cannot read /proc/sys/kernel/cap_last_cap: is /proc mounted?")]
    Last(#[source] io::Error),
    #[error("cannot {step} capability {}", name(*.capability).unwrap_or("(unnamed)"))]
    Single { step: &'static str, capability: u8, source: io::Error },
    #[error("cannot {step}")]
    Sets { step: &'static str, source: io::Error },
}

/// The five sets of a process, each a mask with bit n for capability n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySets {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

impl CapabilitySets {
    /// Step 1, while still privileged: takes everything outside `bounding` out of the bounding set.
    pub fn drop_bounding(&self) -> Result<(), CapabilityError> {
        for number in 0..u64::BITS as u8 {
            let mask = 1 << number;
            let one = CapabilitySet::from_bits_retain(mask);
            match thread::capability_is_in_bounding_set(one) {
                // EINVAL is how the kernel says "beyond my last capability".
                Err(rustix::io::Errno::INVAL) => break,
                Err(errno) => return Err(single("look up bounding", number, errno)),
                Ok(true) if self.bounding & mask == 0 => {
                    thread::remove_capability_from_bounding_set(one)
                        .map_err(|errno| single("drop bounding", number, errno))?;
                }
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Step 3, under the final user: capset, then the ambient set.
    pub fn apply(&self) -> Result<(), CapabilityError> {
        let sets = KernelSets {
            effective: CapabilitySet::from_bits_retain(self.effective),
            permitted: CapabilitySet::from_bits_retain(self.permitted),
            inheritable: CapabilitySet::from_bits_retain(self.inheritable),
        };
        thread::set_capabilities(None, sets).map_err(|errno| all("set capabilities", errno))?;
        // Kernels without ambient capabilities do not run us; a seccomp policy may refuse the call though.
        thread::clear_ambient_capability_set().map_err(|errno| all("clear ambient capabilities", errno))?;
        for number in numbers(self.ambient) {
            let one = CapabilitySet::from_bits_retain(1 << number);
            thread::configure_capability_in_ambient_set(one, true)
                .map_err(|errno| single("raise ambient", number, errno))?;
        }
        Ok(())
    }

    /// What the calling thread has now.
    pub fn current() -> Result<CapabilitySets, CapabilityError> {
        let kernel = thread::capabilities(None).map_err(|errno| all("read capabilities", errno))?;
        let mut sets = CapabilitySets {
            effective: kernel.effective.bits(),
            permitted: kernel.permitted.bits(),
            inheritable: kernel.inheritable.bits(),
            ..CapabilitySets::default()
        };
        for number in 0..u64::BITS as u8 {
            let one = CapabilitySet::from_bits_retain(1 << number);
            match thread::capability_is_in_bounding_set(one) {
                Err(_) => break,
                Ok(true) => sets.bounding |= 1 << number,
                Ok(false) => {}
            }
            if thread::capability_is_in_ambient_set(one).unwrap_or(false) {
                sets.ambient |= 1 << number;
            }
        }
        Ok(sets)
    }

    /// The same sets without bits the running kernel does not know.
    #[must_use]
    pub fn known_to(self, last: u8) -> CapabilitySets {
        let mask = all_up_to(last);
        CapabilitySets {
            bounding: self.bounding & mask,
            effective: self.effective & mask,
            permitted: self.permitted & mask,
            inheritable: self.inheritable & mask,
            ambient: self.ambient & mask,
        }
    }
}

/// Step 2: whether permitted capabilities survive the coming change of user. Cleared by execve.
pub fn keep(enable: bool) -> Result<(), CapabilityError> {
    thread::set_keep_capabilities(enable).map_err(|errno| all("set PR_SET_KEEPCAPS", errno))
}

/// The number for a name, with or without its `CAP_` prefix, in any case.
pub fn number(name: &str) -> Option<u8> {
    let bare = |text: &str| text.get(..4).is_some_and(|p| p.eq_ignore_ascii_case("CAP_"));
    let wanted = if bare(name) { &name[4..] } else { name };
    NAMES.iter().position(|known| known[4..].eq_ignore_ascii_case(wanted)).map(|at| at as u8)
}

/// The name of a number, with `CAP_`.
pub fn name(number: u8) -> Option<&'static str> {
    NAMES.get(usize::from(number)).copied()
}

/// The names in a set, lowest number first; bits without a name are left out.
pub fn names(set: u64) -> impl Iterator<Item = &'static str> {
    numbers(set).filter_map(name)
}

/// A set from names; the first unknown one is the error.
pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<u64, CapabilityError> {
    names.into_iter().try_fold(0, |set, name| {
        let number = number(name).ok_or_else(|| CapabilityError::Unknown(name.to_owned()))?;
        Ok(set | 1 << number)
    })
}

/// Every capability from 0 to `last`.
pub fn all_up_to(last: u8) -> u64 {
    u64::MAX >> (63 - last.min(63))
}

/// The running kernel's highest capability number.
pub fn last() -> Result<u8, CapabilityError> {
    let text = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").map_err(CapabilityError::Last)?;
    let invalid = |error| CapabilityError::Last(io::Error::new(io::ErrorKind::InvalidData, error));
    text.trim().parse::<u8>().map_err(invalid)
}

fn numbers(set: u64) -> impl Iterator<Item = u8> {
    (0..u64::BITS as u8).filter(move |number| set & (1 << number) != 0)
}

fn single(step: &'static str, capability: u8, errno: rustix::io::Errno) -> CapabilityError {
    CapabilityError::Single { step, capability, source: errno.into() }
}

fn all(step: &'static str, errno: rustix::io::Errno) -> CapabilityError {
    CapabilityError::Sets { step, source: errno.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        for (at, known) in NAMES.iter().enumerate() {
            assert_eq!(number(known), Some(at as u8));
            assert_eq!(name(at as u8), Some(*known));
        }
        for (text, expect) in [
            ("CAP_CHOWN", Some(0)),
            ("chown", Some(0)),
            ("cap_sys_admin", Some(21)),
            ("CAP_CHECKPOINT_RESTORE", Some(40)),
            ("CAP_", None),
            ("", None),
            ("CAP_CAP_CHOWN", None),
            ("ÄÖÜ", None),
        ] {
            assert_eq!(number(text), expect, "{text}");
        }
    }

    #[test]
    fn sets_parse_and_print() {
        let set = parse(["CAP_KILL", "CAP_CHOWN"]).unwrap();
        assert_eq!(set, 0b10_0001);
        assert_eq!(names(set).collect::<Vec<_>>(), ["CAP_CHOWN", "CAP_KILL"]);
        assert!(matches!(parse(["CAP_NO"]), Err(CapabilityError::Unknown(name)) if name == "CAP_NO"));
        assert_eq!(all_up_to(0), 1);
        assert_eq!(all_up_to(40), (1 << 41) - 1);
        assert_eq!(all_up_to(63), u64::MAX);
    }

    #[test]
    fn the_kernel_knows_about_as_many() {
        let last = last().unwrap();
        let current = CapabilitySets::current().unwrap();
        assert_eq!(current.bounding & !all_up_to(last), 0);
        assert!(last >= 38, "Linux 5.8 and newer have at least CAP_PERFMON, got {last}");
    }

    /// Capabilities belong to a thread, so a thread that ends is a safe place to lose them.
    #[test]
    fn a_thread_sheds_what_it_was_told_to() {
        let before = CapabilitySets::current().unwrap();
        let wanted = parse(["CAP_CHOWN", "CAP_KILL"]).unwrap();
        if before.effective & wanted != wanted || before.effective & 1 << 8 == 0 {
            println!("SKIPPED a_thread_sheds_what_it_was_told_to: needs CAP_CHOWN, CAP_KILL, CAP_SETPCAP");
            return;
        }
        let kill = parse(["CAP_KILL"]).unwrap();
        let sets = CapabilitySets {
            bounding: wanted,
            effective: kill,
            permitted: wanted,
            inheritable: wanted,
            ambient: kill,
        };
        let after = std::thread::spawn(move || {
            sets.drop_bounding().unwrap();
            keep(true).unwrap();
            sets.apply().unwrap();
            CapabilitySets::current().unwrap()
        });
        assert_eq!(after.join().unwrap(), sets);
        assert_eq!(CapabilitySets::current().unwrap(), before);
    }
}
