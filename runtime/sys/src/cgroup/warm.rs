//! Asking the kernel early for what the first migration of a process waits for.
//!
//! A process enters a v1 cgroup by a write to cgroup.procs, and the first such write after a while waits for an RCU grace
//! period (7 to 15 ms) in which forks are prepared for it; those that come within the next grace period do not
//! wait. So whoever knows that a process will be moved soon moves nothing now: this process, to where it is.
//!
//! cgroup2 alone needs none of it: `CLONE_INTO_CGROUP` moves nobody. The lock over all cgroups is held while it
//! waits, so making and removing cgroups comes before it.
//!
//! Reference: kernel/cgroup/cgroup.c `cgroup_attach_lock`, kernel/locking/percpu-rwsem.c, kernel/rcu/sync.c.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};

use super::{Layout, Version};

/// Longest /proc/self/cgroup that is read: a line per hierarchy.
const TEXT_BYTES_MAX: u64 = 64 << 10;

impl Layout {
    /// Whether migrations wait here.
    pub fn migrates(&self) -> bool {
        self.hierarchies.iter().any(|hierarchy| hierarchy.version == Version::V1)
    }

    /// Moves this process to where it is, in one v1 hierarchy. Blocks for a grace period.
    pub fn warm_migrations(&self) -> io::Result<()> {
        let Some(hierarchy) = self.hierarchies.iter().find(|hierarchy| hierarchy.version == Version::V1)
        else {
            return Ok(());
        };
        let mut text = String::new();
        File::open("/proc/self/cgroup")?.take(TEXT_BYTES_MAX).read_to_string(&mut text)?;
        let Some(own) = own_path(&text, &hierarchy.controllers) else { return Ok(()) };
        let path = hierarchy.mount.join(own.trim_start_matches('/')).join("cgroup.procs");
        OpenOptions::new().write(true).open(path)?.write_all(b"0")
    }
}

/// The path of a process in the hierarchy of these controllers, from /proc/PID/cgroup.
fn own_path<'a>(text: &'a str, controllers: &[String]) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (names, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.iter().any(|controller| names.split(',').any(|name| name == controller)).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_path_is_found() {
        let text = "9:name=systemd:/user\n3:cpu,cpuacct:/a/b\n0::/unified\n";
        let path = |names: &[&str]| {
            own_path(text, &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
                .map(str::to_owned)
        };
        assert_eq!(path(&["cpuacct", "cpu"]).as_deref(), Some("/a/b"));
        assert_eq!(path(&["name=systemd"]).as_deref(), Some("/user"));
        assert_eq!(path(&["memory"]), None);
    }

    #[test]
    fn this_process_stays_where_it_is() {
        let own = || std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let before = own();
        let layout = Layout::detect().unwrap();
        match layout.warm_migrations() {
            Ok(()) => assert_eq!(own(), before),
            // Without root, or in a cgroup that cannot be seen from here.
            Err(error) => assert!(
                matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound),
                "{error}"
            ),
        }
    }
}
