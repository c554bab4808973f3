//! What the processes of a container have open, counted in procfs.
//!
//! A process that ends meanwhile counts as far as it was read. A container can open very much: beyond a bound it is not
//! counted on, so that asking costs no more than that.
//!
//! Reference: proc(5).

use std::path::Path;

use sys::cgroup::{Cgroup, Layout};

/// Open files of one container that are looked at.
const DESCRIPTORS_MAX: usize = 16 * 1024;

/// Nothing is known of a container without processes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Processes {
    pub processes: u64,
    pub descriptors: u64,
    pub sockets: u64,
    /// How many files its first process may open; None where there is no limit.
    pub open_files_soft: Option<u64>,
}

/// Reads those of a cgroup, whose first one is `main`. Blocks.
pub(super) fn read(layout: &Layout, cgroup: &str, main: i32) -> Processes {
    let pids = Cgroup::open(layout, cgroup).and_then(|cgroup| cgroup.pids()).unwrap_or_default();
    let limits = std::fs::read_to_string(format!("/proc/{main}/limits")).unwrap_or_default();
    let mut found = Processes {
        processes: pids.len() as u64,
        open_files_soft: soft(&limits, "Max open files"),
        ..Processes::default()
    };
    let mut left = DESCRIPTORS_MAX;
    for pid in pids {
        count(Path::new(&format!("/proc/{pid}/fd")), &mut left, &mut found);
    }
    found
}

fn count(folder: &Path, left: &mut usize, found: &mut Processes) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten().take(*left) {
        *left -= 1;
        found.descriptors += 1;
        let shown = std::fs::read_link(entry.path());
        if shown.is_ok_and(|target| target.to_string_lossy().starts_with("socket:")) {
            found.sockets += 1;
        }
    }
}

/// The first figure after the name of a limit.
fn soft(limits: &str, name: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_are_counted_up_to_the_bound() {
        let _one = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let check = |mut left: usize, expect: &dyn Fn(&Processes) -> bool| {
            let mut found = Processes::default();
            count(Path::new("/proc/self/fd"), &mut left, &mut found);
            assert!(expect(&found), "{found:?}");
        };
        check(DESCRIPTORS_MAX, &|found| found.descriptors >= 4 && found.sockets >= 1);
        check(2, &|found| found.descriptors == 2);
        check(0, &|found| found.descriptors == 0);
    }

    #[test]
    fn a_limit_is_found_by_its_name() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max processes             unlimited            94000                processes\n\
                    Max open files            1024                 4096                 files\n";
        let check = |name: &str, expect: Option<u64>| assert_eq!(soft(text, name), expect, "{name}");
        check("Max open files", Some(1024));
        check("Max processes", None);
        check("Max nothing", None);
    }
}
