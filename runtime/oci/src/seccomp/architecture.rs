//! The architectures a filter can tell apart, and the number of a system call on each.

use super::syscalls::SYSCALLS;
use oci_spec::runtime::Arch;

/// Set in an x32 call's number, whose audit value is x86_64's.
pub(super) const X32_BIT: u32 = 0x4000_0000;
/// Arm's private calls start here; they say nothing about how new a profile is.
const ARM_PRIVATE: u32 = 0xf_0000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Architecture {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
}

impl Architecture {
    /// The architecture this executable was built for.
    pub(super) fn native() -> Option<Architecture> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Architecture::X86_64),
            "x86" => Some(Architecture::X86),
            "aarch64" => Some(Architecture::Aarch64),
            "arm" => Some(Architecture::Arm),
            _ => None,
        }
    }

    /// None for architectures that share no machine with ours.
    pub(super) fn from_profile(arch: Arch) -> Option<Architecture> {
        match arch {
            Arch::ScmpArchNative => Architecture::native(),
            Arch::ScmpArchX86_64 => Some(Architecture::X86_64),
            Arch::ScmpArchX86 => Some(Architecture::X86),
            Arch::ScmpArchX32 => Some(Architecture::X32),
            Arch::ScmpArchAarch64 => Some(Architecture::Aarch64),
            Arch::ScmpArchArm => Some(Architecture::Arm),
            _ => None,
        }
    }

    /// AUDIT_ARCH_*: ELF machine, 64-bit flag, little-endian flag.
    pub(super) fn audit(self) -> u32 {
        match self {
            Architecture::X86_64 | Architecture::X32 => 0xc000_003e,
            Architecture::X86 => 0x4000_0003,
            Architecture::Aarch64 => 0xc000_00b7,
            Architecture::Arm => 0x4000_0028,
        }
    }

    /// Whether arguments are 64 bits wide.
    pub(super) fn is_wide(self) -> bool {
        matches!(self, Architecture::X86_64 | Architecture::X32 | Architecture::Aarch64)
    }

    /// The lowest number a call can have.
    pub(super) fn first(self) -> u32 {
        if self == Architecture::X32 { X32_BIT } else { 0 }
    }

    /// The number as the filter sees it.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        let row = SYSCALLS.binary_search_by(|(known, _)| known.as_bytes().cmp(name.as_bytes())).ok()?;
        let number = u32::try_from(SYSCALLS[row].1[self as usize]).ok()?;
        Some(number | self.first())
    }

    pub(super) fn is_private(self, number: u32) -> bool {
        self == Architecture::Arm && number >= ARM_PRIVATE
    }
}
