//! A cgroup of the test's own, for its own process: the socket hooks are attached to it.

use std::fs;
use std::path::PathBuf;

pub struct OwnCgroup {
    pub path: PathBuf,
    before: PathBuf,
}

impl OwnCgroup {
    /// Moves this process there, with all its threads. None: there is no cgroup2.
    pub fn enter(tag: &str) -> Option<OwnCgroup> {
        let root = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
            .map(PathBuf::from)
            .into_iter()
            .find(|root| root.join("cgroup.procs").exists())?;
        let table = fs::read_to_string("/proc/self/cgroup").ok()?;
        let here = table.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
        let path = root.join(format!("kt{tag}"));
        fs::create_dir(&path).ok()?;
        let cgroup = OwnCgroup { path, before: root.join(here) };
        move_to(&cgroup.path);
        Some(cgroup)
    }
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        move_to(&self.before);
        // The guard sees it if it stays.
        let _ = fs::remove_dir(&self.path);
    }
}

fn move_to(cgroup: &std::path::Path) {
    let file = cgroup.join("cgroup.procs");
    fs::write(&file, std::process::id().to_string()).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
}
