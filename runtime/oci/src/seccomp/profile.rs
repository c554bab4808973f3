//! The default profile.

use oci_spec::runtime::LinuxSeccomp;

/// RuntimeDefault for a process with these capabilities in its bounding set (a mask, as `sys::capability` has it).
pub fn runtime_default(bounding: u64) -> LinuxSeccomp {
    let _ = bounding;
    LinuxSeccomp::default()
}
