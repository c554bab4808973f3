//! Which processes a test has started: its descendants, and orphans that show where they come from.
//!
//! A process belongs to the test when an ancestor is the test process; or when it has been orphaned and
//! shares the test's session or a cgroup other than the root, or runs the executable that the test was
//! built with; or when its command line or cgroup carries the test's tag or a name of the product. Everything else (builds, shells, daemons) is foreign. Kernel
//! threads, the test itself and zombies that wait for PID 1 do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Cgroups under which only the product puts processes.
const OUR_CGROUPS: &[&str] = &["/keelson", "/kubepods"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The test made it, or may have.
    Test,
    Foreign,
}

struct Process {
    parent: i32,
    session: i32,
    state: char,
    started: u64,
    name: String,
    command: String,
    cgroups: String,
    executable: Option<PathBuf>,
}

pub struct Table {
    processes: BTreeMap<i32, Process>,
    me: i32,
    tag: String,
    product: Option<PathBuf>,
}

impl Table {
    pub fn read(tag: &str) -> Table {
        let mut processes = BTreeMap::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
            if let Some((pid, process)) = pid.and_then(|pid| Some((pid, read(pid)?))) {
                processes.insert(pid, process);
            }
        }
        Table { processes, me: nix::unistd::getpid().as_raw(), tag: tag.to_owned(), product: product() }
    }

    pub fn of_this_test(&self) -> BTreeSet<String> {
        let ours =
            self.processes.iter().filter(|(pid, _)| **pid != self.me && self.origin(**pid) == Origin::Test);
        ours.map(|(pid, p)| format!("{pid} (started {}) {} [{}] {}", p.started, p.name, p.state, p.command))
            .collect()
    }

    pub fn origin(&self, pid: i32) -> Origin {
        let Some(process) = self.processes.get(&pid) else { return Origin::Foreign };
        let kernel_thread = pid == 2 || process.parent == 2;
        let zombie_of_init = process.state == 'Z' && process.parent == 1;
        if kernel_thread || zombie_of_init || pid == 1 {
            return Origin::Foreign;
        }
        if self.descends(pid) || self.orphan_of_ours(process) || self.named_ours(process) {
            return Origin::Test;
        }
        Origin::Foreign
    }

    fn descends(&self, pid: i32) -> bool {
        let mut at = pid;
        // Bounded: parents are read one after another and could form a circle when pids are reused.
        for _ in 0..self.processes.len() {
            if at == self.me {
                return true;
            }
            match self.processes.get(&at) {
                Some(process) if process.parent > 1 => at = process.parent,
                _ => return false,
            }
        }
        false
    }

    fn orphan_of_ours(&self, process: &Process) -> bool {
        let Some(me) = self.processes.get(&self.me) else { return false };
        let shares_cgroup =
            process.cgroups == me.cgroups && !me.cgroups.lines().all(|line| line.ends_with(":/"));
        // A shell and its builds share our session and cgroup too, but they have parents.
        process.parent == 1
            && process.started >= me.started
            && (process.session == me.session || shares_cgroup)
    }

    fn named_ours(&self, process: &Process) -> bool {
        let ours_by_cgroup = paths(&process.cgroups).any(|path| is_our_cgroup(path, &self.tag));
        let daemon =
            process.parent == 1 && process.executable.is_some() && process.executable == self.product;
        ours_by_cgroup || process.command.contains(&self.tag) || daemon
    }

    /// Whether a cgroup lies beside the one that a session manager gave to this test's session: other
    /// sessions come and go there.
    pub fn in_another_session(&self, cgroup: &str) -> bool {
        let Some(me) = self.processes.get(&self.me) else { return false };
        let beside = |own: &str| match own.rsplit_once('/') {
            Some((sessions, _)) if !sessions.is_empty() => {
                Path::new(cgroup).starts_with(sessions)
                    && !Path::new(cgroup).starts_with(own)
                    && cgroup != sessions
            }
            _ => false,
        };
        paths(&me.cgroups).any(beside)
    }
}

/// The paths in /proc/PID/cgroup.
fn paths(cgroups: &str) -> impl Iterator<Item = &str> {
    cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2))
}

/// The executable that this test was built with: the test itself is PROFILE/deps/NAME.
fn product() -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    Some(test.parent()?.parent()?.join("keelson"))
}

/// Whether a cgroup's path can only be the test's or the product's.
pub fn is_our_cgroup(path: &str, tag: &str) -> bool {
    path.contains(tag) || OUR_CGROUPS.iter().any(|ours| path.contains(ours))
}

fn read(pid: i32) -> Option<Process> {
    let file = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).ok();
    let text = |name: &str| Some(String::from_utf8_lossy(&file(name)?).into_owned());
    let stat = text("stat")?;
    // The name stands in parentheses and may itself contain parentheses and spaces.
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    Some(Process {
        state: fields.first()?.chars().next()?,
        parent: i32::try_from(number(1)?).ok()?,
        session: i32::try_from(number(3)?).ok()?,
        started: number(19)?,
        name,
        command: text("cmdline")?.replace('\0', " ").trim_end().to_owned(),
        cgroups: text("cgroup").unwrap_or_default(),
        executable: std::fs::read_link(format!("/proc/{pid}/exe")).ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_ours_and_init_is_not() {
        let mut child = std::process::Command::new("sleep").arg("5").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let table = Table::read("no-such-tag");
        let origin = table.origin(pid);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(origin, Origin::Test);
        assert_eq!(table.origin(1), Origin::Foreign);
        assert_eq!(table.origin(2), Origin::Foreign);
    }
}
