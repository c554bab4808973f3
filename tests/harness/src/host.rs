//! The host as tests must leave it: one test at a time, compared before and after.
//!
//! [`exclusive`] waits for a file lock that every test process and thread shares, then records the
//! kernel objects that a container runtime or a network plugin can leave behind. [`Guard::finish`]
//! records them again and panics with what appeared and what vanished.
//!
//! The machine is not ours alone: builds and shells come and go while a test runs. So an object counts
//! only if a test can have made it; `host/record.rs` and `host/process.rs` say how each kind is told
//! apart.
//!
//! **Invariants.** Recording changes nothing. The kernel finishes some work after the system call
//! (namespaces, cgroups, mounts), so a difference is looked at again for at most [`SETTLE`].

mod process;
mod record;

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use record::Record;

/// How long the kernel and PID 1 get to finish what a test has already undone, on a busy machine.
const SETTLE: Duration = Duration::from_secs(30);
const SETTLE_STEP: Duration = Duration::from_millis(20);

/// Directories whose content is always compared.
const ALWAYS_LISTED: &[&str] =
    &["/run/keelson", "/var/lib/keelson", "/run/netns", "/opt/cni", "/etc/cni", "/etc/keelson"];

/// Holds the host for one test. Dropping it without [`Guard::finish`] compares as well, unless the test
/// already failed.
#[must_use = "the host is compared when the guard finishes"]
#[derive(Debug)]
pub struct Guard {
    test: String,
    tag: String,
    listed: Vec<PathBuf>,
    before: Record,
    settle: Duration,
    finished: bool,
    // Last: the lock is released after everything else.
    _lock: File,
}

/// Waits until no other test holds the host, then records it.
///
/// # Panics
/// When the lock file cannot be used.
pub fn exclusive(test: &str) -> Guard {
    let lock = lock_file();
    lock.lock().unwrap_or_else(|e| panic!("locking the host for {test}: {e}"));
    let listed: Vec<PathBuf> = ALWAYS_LISTED.iter().map(PathBuf::from).collect();
    let tag = next_tag();
    let before = Record::take(&listed, &tag);
    Guard { test: test.to_owned(), tag, listed, before, settle: SETTLE, finished: false, _lock: lock }
}

// === impl Guard ===

impl Guard {
    /// Six characters that no other test of this machine uses now: put it into every name you make.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Compares the names below this directory too. Call it before the test creates anything there.
    pub fn list(&mut self, directory: impl AsRef<Path>) {
        self.listed.push(directory.as_ref().to_owned());
        self.before = Record::take(&self.listed, &self.tag);
    }

    /// Compares the host with what it was.
    ///
    /// # Panics
    /// When something is left or missing.
    pub fn finish(mut self) {
        self.finished = true;
        self.compare();
    }

    fn compare(&self) {
        let deadline = Instant::now() + self.settle;
        loop {
            let difference = self.before.difference(&Record::take(&self.listed, &self.tag));
            if difference.is_empty() {
                return;
            }
            if Instant::now() >= deadline {
                panic!("{} left the host changed:\n{difference}", self.test);
            }
            // The one place that polls: no event tells that *every* kind of object has settled.
            std::thread::sleep(SETTLE_STEP);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.finished && !std::thread::panicking() {
            self.compare();
        }
    }
}

fn lock_file() -> File {
    let system = Path::new("/run/lock/keelson-tests.lock");
    let open = |path: &Path| OpenOptions::new().create(true).truncate(false).write(true).open(path);
    open(system)
        .or_else(|_| open(&std::env::temp_dir().join("keelson-tests.lock")))
        .unwrap_or_else(|e| panic!("opening {}: {e}", system.display()))
}

fn next_tag() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let pid = std::process::id() & 0xf_ffff;
    let count = NEXT.fetch_add(1, Ordering::Relaxed) % 36;
    let letter = char::from_digit(count, 36).unwrap_or('0');
    format!("{pid:05x}{letter}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the panic of a guard says, or nothing if it found the host unchanged.
    fn verdict(guard: Guard) -> Option<String> {
        verdict_after(guard, SETTLE)
    }

    fn verdict_after(mut guard: Guard, settle: Duration) -> Option<String> {
        guard.settle = settle;
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| guard.finish()));
        outcome.err().map(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
    }

    #[test]
    fn an_untouched_host_passes() {
        assert_eq!(verdict(exclusive("untouched")), None);
    }

    #[test]
    fn what_is_left_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut guard = exclusive("leaky");
        guard.list(folder.path());
        let left = format!("left-{}", guard.tag());
        let file = folder.path().join(&left);
        std::fs::write(&file, "").unwrap();
        let mut child = std::process::Command::new("sleep").arg("77").spawn().unwrap();
        let said = verdict_after(guard, Duration::ZERO).expect("a leak is found");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(said.contains(&left), "{said}");
        assert!(said.contains("sleep 77"), "{said}");
    }

    #[test]
    fn links_mounts_and_cgroups_are_seen() {
        if !crate::root_or_skip("links_mounts_and_cgroups_are_seen") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let guard = exclusive("leaky kernel objects");
        let link = format!("kt{}", guard.tag());
        let run = |arguments: &[&str]| {
            let status = std::process::Command::new(arguments[0]).args(&arguments[1..]).status().unwrap();
            assert!(status.success(), "{arguments:?}");
        };
        run(&["ip", "link", "add", &link, "type", "veth", "peer", "name", &format!("{link}p")]);
        run(&["mount", "-t", "tmpfs", "none", folder.path().to_str().unwrap()]);
        let cgroup =
            record::hierarchies().into_iter().next().map(|root| root.join(format!("kt{}", guard.tag())));
        if let Some(cgroup) = &cgroup {
            std::fs::create_dir(cgroup).unwrap();
        }
        let said = verdict_after(guard, Duration::ZERO).expect("a leak is found");
        run(&["ip", "link", "del", &link]);
        run(&["umount", folder.path().to_str().unwrap()]);
        if let Some(cgroup) = &cgroup {
            std::fs::remove_dir(cgroup).unwrap();
            assert!(said.contains(cgroup.to_str().unwrap()), "{said}");
        }
        assert!(said.contains(&link), "{said}");
        assert!(said.contains(folder.path().to_str().unwrap()), "{said}");
    }
}
