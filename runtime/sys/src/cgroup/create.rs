//! Making one path in every hierarchy, top-down, and taking it back when a step fails.
//!
//! On v2 a parent must hand a controller down (cgroup.subtree_control) before a child has its files, and
//! a cgroup that hands controllers down may have no processes of its own (the root excepted). On v1 a new
//! cpuset has no CPUs and takes no process until it has some, so they are copied from the parent.

use super::{Cgroup, CgroupError, Hierarchy, Layout, Version, directory_error};
use super::{normal_path, open_directory, open_file, read_at, write_at};
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Controllers we hand down on v2, where available. Others (perf_event, which needs none, or misc) are left alone.
const DELEGATED: [&str; 7] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma"];

/// What a v1 cpuset needs before it takes a process.
const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// A parent we found may be removed by its owner before we enter it; then we start over this often.
const ATTEMPTS: usize = 4;

const DIRECTORY_MODE: u32 = 0o755;

/// One action of [`Cgroup::create`]. Paths are below the hierarchy's mount; empty is the mount itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// v2: hand the controllers that are available here down to children.
    Delegate { hierarchy: usize, path: String },
    /// mkdir; one that exists is fine.
    Directory { hierarchy: usize, path: String },
    /// v1 cpuset: fill empty cpus and mems from the parent.
    InheritCpuset { hierarchy: usize, path: String },
}

impl Step {
    /// The hierarchy and the path in it.
    fn place(&self) -> (usize, &str) {
        match self {
            Step::Delegate { hierarchy, path }
            | Step::Directory { hierarchy, path }
            | Step::InheritCpuset { hierarchy, path } => (*hierarchy, path),
        }
    }
}

/// What has to happen so that `path` exists in every hierarchy: parents before children.
pub fn plan_create(layout: &Layout, path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for (hierarchy, mounted) in layout.hierarchies.iter().enumerate() {
        let delegates = mounted.version == Version::V2 && !mounted.controllers.is_empty();
        let cpuset =
            mounted.version == Version::V1 && mounted.controllers.iter().any(|name| name == "cpuset");
        let mut parent = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let child = if parent.is_empty() { part.to_owned() } else { format!("{parent}/{part}") };
            if delegates {
                steps.push(Step::Delegate { hierarchy, path: parent });
            }
            steps.push(Step::Directory { hierarchy, path: child.clone() });
            if cpuset {
                steps.push(Step::InheritCpuset { hierarchy, path: child.clone() });
            }
            parent = child;
        }
    }
    steps
}

/// `before` is asked ahead of each step; an error from it counts as that step's (tests inject with it).
pub(super) fn create(
    layout: &Layout,
    path: &str,
    mut before: impl FnMut(&Step) -> Result<(), CgroupError>,
) -> Result<Cgroup, CgroupError> {
    let path = normal_path(path)?;
    let layout = Arc::new(layout.clone());
    let mut attempt = 1;
    loop {
        let mut made = Vec::new();
        match attempt_create(&layout, &path, &mut made, &mut before) {
            Ok(cgroup) => return Ok(cgroup),
            Err(error) => {
                take_back(&layout, &made);
                if attempt == ATTEMPTS || !vanished(&error) {
                    return Err(error);
                }
                attempt += 1;
            }
        }
    }
}

fn attempt_create(
    layout: &Arc<Layout>,
    path: &str,
    made: &mut Vec<(usize, String)>,
    before: &mut impl FnMut(&Step) -> Result<(), CgroupError>,
) -> Result<Cgroup, CgroupError> {
    let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
    let parents: Vec<Option<OwnedFd>> =
        layout.hierarchies.iter().map(|hierarchy| complete_parent(hierarchy, above)).collect();
    for step in plan_create(layout, path) {
        before(&step)?;
        let (hierarchy, at) = step.place();
        let is_new = match (&parents[hierarchy], &step) {
            // Of a complete parent nothing is left to do above the path itself.
            (Some(_), _) if at != path => false,
            (Some(parent), Step::Directory { .. }) => make_in(parent.as_fd(), name)
                .map_err(|errno| directory_error("create", &layout.hierarchies[hierarchy], path, errno))?,
            _ => execute(layout, &step)?,
        };
        if is_new && let Step::Directory { hierarchy, path } = step {
            made.push((hierarchy, path));
        }
    }
    let open = |(hierarchy, parent): (&Hierarchy, &Option<OwnedFd>)| {
        let opened = match parent {
            Some(parent) => open_file(parent.as_fd(), name, OFlags::RDONLY | OFlags::DIRECTORY),
            None => open_directory(hierarchy, path),
        };
        opened.map(Some).map_err(|errno| directory_error("open", hierarchy, path, errno))
    };
    let directories = layout.hierarchies.iter().zip(&parents).map(open).collect::<Result<_, _>>()?;
    Ok(Cgroup { layout: layout.clone(), path: path.to_owned(), directories })
}

/// The parent where it is there already and has been handed all that it hands down; then those above it have, too.
fn complete_parent(hierarchy: &Hierarchy, path: &str) -> Option<OwnedFd> {
    let parent = open_directory(hierarchy, path).ok()?;
    let is_complete = match hierarchy.version {
        Version::V2 => {
            let mut wanted =
                DELEGATED.into_iter().filter(|name| hierarchy.controllers.iter().any(|c| c == name));
            read_at(parent.as_fd(), "cgroup.subtree_control")
                .is_ok_and(|enabled| wanted.all(|name| enabled.split_whitespace().any(|e| e == name)))
        }
        Version::V1 if hierarchy.controllers.iter().any(|name| name == "cpuset") => CPUSET
            .into_iter()
            .all(|file| read_at(parent.as_fd(), file).is_ok_and(|value| !value.trim().is_empty())),
        Version::V1 => true,
    };
    is_complete.then_some(parent)
}

/// Says whether the step made something new.
fn execute(layout: &Layout, step: &Step) -> Result<bool, CgroupError> {
    match step {
        Step::Delegate { hierarchy, path } => delegate(&layout.hierarchies[*hierarchy], path).map(|()| false),
        Step::Directory { hierarchy, path } => {
            let hierarchy = &layout.hierarchies[*hierarchy];
            make(hierarchy, path).map_err(|errno| directory_error("create", hierarchy, path, errno))
        }
        Step::InheritCpuset { hierarchy, path } => {
            inherit_cpuset(&layout.hierarchies[*hierarchy], path).map(|()| false)
        }
    }
}

fn make(hierarchy: &Hierarchy, path: &str) -> Result<bool, Errno> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    make_in(open_directory(hierarchy, parent)?.as_fd(), name)
}

fn make_in(parent: BorrowedFd<'_>, name: &str) -> Result<bool, Errno> {
    match fs::mkdirat(parent, name, Mode::from_raw_mode(DIRECTORY_MODE)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn delegate(hierarchy: &Hierarchy, path: &str) -> Result<(), CgroupError> {
    let fail = |errno| directory_error("enable controllers in", hierarchy, path, errno);
    let directory = open_directory(hierarchy, path).map_err(fail)?;
    let read = |file: &str| {
        read_at(directory.as_fd(), file).map_err(|source| CgroupError::Read {
            path: hierarchy.mount.join(path),
            file: file.to_owned(),
            source,
        })
    };
    let available = read("cgroup.controllers")?;
    let enabled = read("cgroup.subtree_control")?;
    let wanted: Vec<&str> = DELEGATED
        .into_iter()
        .filter(|name| available.split_whitespace().any(|a| a == *name))
        .filter(|name| !enabled.split_whitespace().any(|e| e == *name))
        .collect();
    let enable = |names: &[&str]| {
        let value: String = names.iter().map(|name| format!("+{name} ")).collect();
        write_at(directory.as_fd(), "cgroup.subtree_control", value.trim_end())
    };
    if wanted.is_empty() || enable(&wanted).is_ok() {
        return Ok(());
    }
    // One refused controller refuses the whole write (cpu does while real-time tasks exist): try each. One
    // that stays off has no file in the child, and whoever needs it then says so by its name.
    for name in wanted {
        match enable(&[name]) {
            Err(Errno::BUSY) => {
                let controllers = name.to_owned();
                return Err(CgroupError::InternalProcess { path: hierarchy.mount.join(path), controllers });
            }
            Err(Errno::NOENT | Errno::NODEV) => return Err(fail(Errno::NOENT)),
            Err(_) | Ok(()) => {}
        }
    }
    Ok(())
}

fn inherit_cpuset(hierarchy: &Hierarchy, path: &str) -> Result<(), CgroupError> {
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let open = |path: &str| {
        open_directory(hierarchy, path).map_err(|errno| directory_error("open", hierarchy, path, errno))
    };
    let (from, to) = (open(parent)?, open(path)?);
    for file in CPUSET {
        let read = |directory, path: &str| {
            read_at(directory, file).map_err(|source| CgroupError::Read {
                path: hierarchy.mount.join(path),
                file: file.to_owned(),
                source,
            })
        };
        if !read(to.as_fd(), path)?.trim().is_empty() {
            continue;
        }
        let value = read(from.as_fd(), parent)?.trim().to_owned();
        write_at(to.as_fd(), file, &value).map_err(|errno| CgroupError::Write {
            path: hierarchy.mount.join(path),
            file: file.to_owned(),
            value,
            source: errno.into(),
        })?;
    }
    Ok(())
}

/// Last made, first removed. One that somebody else uses by now stays: it is theirs.
fn take_back(layout: &Layout, made: &[(usize, String)]) {
    for (hierarchy, path) in made.iter().rev() {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if let Ok(parent) = open_directory(&layout.hierarchies[*hierarchy], parent) {
            let _ = fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
        }
    }
}

fn vanished(error: &CgroupError) -> bool {
    let source = match error {
        CgroupError::Directory { source, .. } | CgroupError::Read { source, .. } => source,
        CgroupError::Write { source, .. } => source,
        _ => return false,
    };
    matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}
