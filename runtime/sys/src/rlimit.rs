//! Resource limits by the kernel's number.
//!
//! Reference: getrlimit(2).

use rustix::io::Errno;

use crate::process::last_errno;

/// `RLIM_INFINITY`.
pub const INFINITY: u64 = u64::MAX;

/// Sets a limit of the calling process.
pub fn set(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the kernel reads one rlimit64 that outlives the call and writes nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            &raw const limit,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// The number of a limit by its name, `RLIMIT_NOFILE`.
pub fn number(name: &str) -> Option<u32> {
    const NAMES: [&str; 16] = [
        "CPU",
        "FSIZE",
        "DATA",
        "STACK",
        "CORE",
        "RSS",
        "NPROC",
        "NOFILE",
        "MEMLOCK",
        "AS",
        "LOCKS",
        "SIGPENDING",
        "MSGQUEUE",
        "NICE",
        "RTPRIO",
        "RTTIME",
    ];
    let short = name.strip_prefix("RLIMIT_")?;
    NAMES.iter().position(|known| *known == short).map(|index| index as u32)
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_have_the_kernels_numbers() {
        for (name, expect) in [
            ("RLIMIT_NOFILE", Some(libc::RLIMIT_NOFILE)),
            ("RLIMIT_RTTIME", Some(libc::RLIMIT_RTTIME)),
            ("RLIMIT_AS", Some(libc::RLIMIT_AS)),
            ("NOFILE", None),
        ] {
            assert_eq!(super::number(name), expect, "{name}");
        }
    }
}
