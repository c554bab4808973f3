//! One look at the host: named sets of lines, compared set by set.
//!
//! Network objects come from `ip -j`, an implementation that is not ours. Only what stays put is
//! recorded: of neighbours the permanent ones, of routes no lifetimes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::process::{self, Origin};

/// More names than this below one listed directory are not recorded.
const MOST_NAMES: usize = 100_000;

/// kind -> lines; a line that occurs several times gets a counter.
#[derive(Debug)]
pub struct Record(BTreeMap<&'static str, BTreeSet<String>>);

/// What appeared and what vanished, ready to print.
pub struct Difference(Vec<String>);

impl Record {
    pub fn take(listed: &[PathBuf], tag: &str) -> Record {
        let processes = process::Table::read(tag);
        let mut kinds = BTreeMap::new();
        kinds.insert("link", network(&["link", "show"], &["ifname", "ifindex"]));
        kinds.insert("address", addresses());
        kinds.insert("route", both_families(&["route", "show", "table", "all"], ROUTE_FIELDS));
        kinds.insert(
            "rule",
            both_families(&["rule", "show"], &["priority", "src", "dst", "iif", "oif", "fwmark", "table"]),
        );
        kinds.insert("neighbour", network(&["neigh", "show", "nud", "permanent"], &["dst", "dev", "lladdr"]));
        kinds.insert("mount", mounts());
        kinds.insert("cgroup", cgroups(&processes, tag));
        kinds.insert("process", processes.of_this_test());
        kinds.insert("listening socket", listeners(tag));
        kinds.insert("BPF pin", names_below(Path::new("/sys/fs/bpf")));
        kinds.insert("BPF object", bpf_objects());
        kinds.insert("file", listed.iter().flat_map(|directory| names_below(directory)).collect());
        Record(kinds)
    }

    pub fn difference(&self, after: &Record) -> Difference {
        let mut lines = Vec::new();
        for (kind, then) in &self.0 {
            let empty = BTreeSet::new();
            let now = after.0.get(kind).unwrap_or(&empty);
            lines.extend(now.difference(then).map(|line| format!("  left: {kind} {line}")));
            // A process that ended, or a cgroup that its owner removed, is nobody's leak.
            if !matches!(*kind, "process" | "listening socket") {
                lines.extend(then.difference(now).map(|line| format!("  gone: {kind} {line}")));
            }
        }
        Difference(lines)
    }
}

impl Difference {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// Where the cgroup hierarchies of this host are mounted.
pub fn hierarchies() -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> =
        mount_lines().into_iter().filter(|m| m.kind.starts_with("cgroup")).map(|m| m.point).collect();
    roots.sort();
    roots.dedup();
    roots
}

// === network ===

const ROUTE_FIELDS: &[&str] = &["type", "dst", "gateway", "dev", "table", "protocol", "metric", "prefsrc"];

/// Lines of `ip -j ARGUMENTS`, each the given fields of one object.
fn network(arguments: &[&str], fields: &[&str]) -> BTreeSet<String> {
    let line = |object: &Value| {
        let shown = fields.iter().filter_map(|field| match &object[*field] {
            Value::Null => None,
            Value::String(text) => Some(format!("{field} {text}")),
            other => Some(format!("{field} {other}")),
        });
        shown.collect::<Vec<_>>().join(" ")
    };
    counted(ip(arguments).iter().map(line))
}

fn both_families(arguments: &[&str], fields: &[&str]) -> BTreeSet<String> {
    let with = |family: &'static str| {
        let arguments: Vec<&str> = std::iter::once(family).chain(arguments.iter().copied()).collect();
        network(&arguments, fields).into_iter().map(move |line| format!("{family} {line}"))
    };
    with("-4").chain(with("-6")).collect()
}

fn addresses() -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for link in ip(&["addr", "show"]) {
        for address in link["addr_info"].as_array().into_iter().flatten() {
            lines.insert(
                format!("{} {}/{}", link["ifname"], address["local"], address["prefixlen"]).replace('"', ""),
            );
        }
    }
    lines
}

fn ip(arguments: &[&str]) -> Vec<Value> {
    let output = Command::new("ip").arg("-j").args(arguments).output();
    // Without iproute2 the network is not compared; tests that need it skip on their own.
    let Ok(output) = output else { return Vec::new() };
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

// === mounts and cgroups ===

struct MountLine {
    point: PathBuf,
    kind: String,
    source: String,
}

fn mount_lines() -> Vec<MountLine> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let point = left.split(' ').nth(4)?;
        let mut right = right.split(' ');
        Some(MountLine {
            point: point.into(),
            kind: right.next()?.to_owned(),
            source: right.next()?.to_owned(),
        })
    };
    text.lines().filter_map(parse).collect()
}

fn mounts() -> BTreeSet<String> {
    counted(mount_lines().iter().map(|m| format!("{} {} {}", m.point.display(), m.kind, m.source)))
}

/// Every cgroup, except those that hold processes of somebody else only.
fn cgroups(processes: &process::Table, tag: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for root in hierarchies() {
        for path in names_below(&root).into_iter().filter(|path| Path::new(path).is_dir()) {
            let origins: Vec<Origin> =
                inhabitants(Path::new(&path)).map(|pid| processes.origin(pid)).collect();
            let foreign = !origins.is_empty() && origins.iter().all(|origin| *origin == Origin::Foreign);
            let relative = path.strip_prefix(&root.display().to_string()).unwrap_or(&path);
            let foreign = foreign || processes.in_another_session(relative);
            if !foreign || process::is_our_cgroup(relative, tag) {
                found.insert(path);
            }
        }
    }
    found
}

/// The processes in a cgroup or below it.
fn inhabitants(cgroup: &Path) -> impl Iterator<Item = i32> {
    let below = names_below(cgroup).into_iter().map(PathBuf::from).filter(|path| path.is_dir());
    let all: Vec<PathBuf> = std::iter::once(cgroup.to_owned()).chain(below).collect();
    all.into_iter().flat_map(|path| {
        let text = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<i32>>()
    })
}

// === files, sockets, BPF ===

fn names_below(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![directory.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if found.len() >= MOST_NAMES {
                return found;
            }
            found.insert(entry.path().display().to_string());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
        }
    }
    found
}

/// Listening unix sockets that carry the test's tag, the product's name, or belong to this process.
fn listeners(tag: &str) -> BTreeSet<String> {
    const ACCEPTING: u32 = 1 << 16;
    let text = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let flags = u32::from_str_radix(fields.get(3)?, 16).ok()?;
        let path = *fields.get(7)?;
        let ours = path.contains(tag) || path.contains("/keelson/");
        (flags & ACCEPTING != 0 && ours).then(|| path.to_owned())
    };
    counted(text.lines().filter_map(parse))
}

/// Programs, maps and links by id and name, where bpftool is installed.
fn bpf_objects() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for kind in ["prog", "map", "link"] {
        let Ok(output) = Command::new("bpftool").args(["-j", kind, "show"]).output() else { break };
        let objects: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
        found.extend(objects.iter().map(|o| format!("{kind} {} {} {}", o["id"], o["type"], o["name"])));
    }
    found
}

/// A set of lines in which repetitions count.
fn counted(lines: impl Iterator<Item = String>) -> BTreeSet<String> {
    let mut set = BTreeSet::new();
    for line in lines {
        let mut name = line.clone();
        let mut count = 1;
        while !set.insert(name) {
            count += 1;
            name = format!("{line} #{count}");
        }
    }
    set
}
