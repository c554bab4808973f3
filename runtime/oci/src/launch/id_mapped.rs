//! Mounts whose ids are mapped: made by the parent, because mapping needs rights over the filesystem that a
//! container in a user namespace of its own does not have, and handed over as detached trees.
//!
//! A map is a user namespace to the kernel. One that the specification spells out is made by a child that only
//! waits, and lives on in the descriptor.
//!
//! Reference: mount_setattr(2) "ID-mapped mounts", Linux 5.12.

mod overlay;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use sys::Errno;
use sys::process::{self, CloneRequest};

use super::{LaunchError, id_maps};
use crate::plan::{IdMapSource, IdMaps, Mount, MountKind, Namespaces, Plan, Rootfs, Step};

/// The trees of all such mounts, in the plan's order. A container in a user namespace may not even walk to what
/// is bound into it, so there the parent makes the root and the trees of all bind mounts.
pub(super) fn prepare(plan: &Plan) -> Result<Vec<OwnedFd>, LaunchError> {
    let own_ids = plan.own_ids();
    let mut namespaces = MadeNamespaces::default();
    let mut trees = Vec::new();
    for step in &plan.steps {
        match step {
            Step::Mount(Mount { kind: MountKind::Bind { source, recursive }, id_map, .. })
                if id_map.is_some() || own_ids.is_some() =>
            {
                let failed = |what| move |errno| LaunchError::IdMapped { path: source.clone(), what, errno };
                let tree = sys::mount::clone_tree(source, *recursive).map_err(failed("find the source"))?;
                if let Some(wanted) = id_map {
                    let ids = namespaces.of(&wanted.source, source)?;
                    sys::mount::set_id_map(tree.as_fd(), ids, wanted.recursive)
                        .map_err(failed("the kernel or the filesystem does not map ids"))?;
                }
                trees.push(tree);
            }
            Step::Mount(Mount { kind: MountKind::Layers { lower, sub_path }, .. }) => {
                let path = lower.first().map_or(Path::new(""), |layer| layer.as_path());
                let ids = own_ids.as_ref().map(|ids| namespaces.of(ids, path)).transpose()?;
                trees.push(overlay::image(lower, sub_path, ids)?);
            }
            Step::Root { rootfs } => {
                let Some(ids) = &own_ids else { continue };
                trees.push(match rootfs {
                    Rootfs::Directory(path) => sys::mount::clone_tree(path, true).map_err(|errno| {
                        LaunchError::IdMapped { path: path.clone(), what: "find the root", errno }
                    })?,
                    Rootfs::Overlay { lower, upper, work } => {
                        overlay::stack(lower, upper, work, namespaces.of(ids, upper)?)?
                    }
                });
            }
            _ => {}
        }
    }
    Ok(trees)
}

/// User namespaces that maps are made of, each once.
#[derive(Default)]
struct MadeNamespaces {
    made: Vec<(IdMapSource, OwnedFd)>,
}

impl MadeNamespaces {
    fn of(&mut self, source: &IdMapSource, path: &Path) -> Result<BorrowedFd<'_>, LaunchError> {
        let index = match self.made.iter().position(|(known, _)| known == source) {
            Some(index) => index,
            None => {
                let what = "make the user namespace of the map";
                let made = namespace(source).map_err(|errno| LaunchError::IdMapped {
                    path: path.to_owned(),
                    what,
                    errno,
                })?;
                self.made.push((source.clone(), made));
                self.made.len() - 1
            }
        };
        Ok(self.made[index].1.as_fd())
    }
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
