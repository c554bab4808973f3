//! Mounts whose ids are mapped: made by the parent, because mapping needs rights over the filesystem that a
//! container in a user namespace of its own does not have, and handed over as detached trees.
//!
//! A map is a user namespace to the kernel. One that the specification spells out is made by a child that only
//! waits, and lives on in the descriptor.
//!
//! Reference: mount_setattr(2) "ID-mapped mounts", Linux 5.12.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use sys::Errno;
use sys::process::{self, CloneRequest};

use super::{LaunchError, id_maps};
use crate::plan::{IdMapSource, IdMaps, Mount, MountKind, Namespaces, Plan, Step};

/// The trees of all such mounts, in the plan's order.
pub(super) fn prepare(plan: &Plan) -> Result<Vec<OwnedFd>, LaunchError> {
    let mut made: Vec<(&IdMapSource, OwnedFd)> = Vec::new();
    let mut trees = Vec::new();
    for step in &plan.steps {
        let Step::Mount(Mount { kind: MountKind::Bind { source, recursive }, id_map: Some(wanted), .. }) =
            step
        else {
            continue;
        };
        let failed = |what| move |errno| LaunchError::IdMapped { path: source.clone(), what, errno };
        let known = made.iter().position(|(source, _)| *source == &wanted.source);
        let index = match known {
            Some(index) => index,
            None => {
                let namespace =
                    namespace(&wanted.source).map_err(failed("make the user namespace of the map"))?;
                made.push((&wanted.source, namespace));
                made.len() - 1
            }
        };
        let tree = sys::mount::clone_tree(source, *recursive).map_err(failed("find the source"))?;
        sys::mount::set_id_map(tree.as_fd(), made[index].1.as_fd(), wanted.recursive)
            .map_err(failed("the kernel or the filesystem does not map ids"))?;
        trees.push(tree);
    }
    Ok(trees)
}

fn namespace(source: &IdMapSource) -> Result<OwnedFd, Errno> {
    match source {
        IdMapSource::Namespace(path) => open(path),
        IdMapSource::Maps(maps) => namespace_of(maps),
    }
}

fn namespace_of(maps: &IdMaps) -> Result<OwnedFd, Errno> {
    let request = CloneRequest { flags: Namespaces::USER.0.into(), cgroup: None };
    let child = process::clone_process(&request, || {
        // Killed below.
        loop {
            let _interrupted = rustix::event::poll(&mut [], None);
        }
    })?;
    let opened = id_maps::write(child.pid, maps)
        .and_then(|()| open(Path::new(&format!("/proc/{}/ns/user", child.pid))));
    let _gone = process::signal(child.pidfd.as_fd(), rustix::process::Signal::KILL.as_raw());
    process::reap(child.pidfd.as_fd())?;
    opened
}

fn open(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}
