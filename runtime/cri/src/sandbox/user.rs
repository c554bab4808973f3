//! A pod's own ids: what is asked for, what that makes of the numbers of a container, and whether this host can.
//!
//! Reference: CRI `UserNamespace`; KEP 127.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use cri_api::v1;
use cri_api::v1::NamespaceMode;
use sys::netns::{IdRange, User};

use crate::fault::{Doing as _, Fault, Outcome};

/// The user namespace of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserNamespace {
    pub path: PathBuf,
    pub uids: Vec<IdRange>,
    pub gids: Vec<IdRange>,
}

// === impl UserNamespace ===

impl UserNamespace {
    /// What is made and pinned.
    pub fn desired(&self) -> User {
        User { path: self.path.clone(), uids: self.uids.clone(), gids: self.gids.clone() }
    }

    /// The host's numbers of a user and a group of the container.
    pub fn on_host(&self, uid: u32, gid: u32) -> Outcome<(u32, u32)> {
        let outside = |rows: &[IdRange], id: u32, kind: &str| {
            let row = rows.iter().find(|row| id.checked_sub(row.inside).is_some_and(|at| at < row.count));
            row.map(|row| row.outside + (id - row.inside)).ok_or_else(|| {
                Fault::invalid(format!("{kind} {id} is not among the ids of the pod's user namespace"))
            })
        };
        Ok((outside(&self.uids, uid, "user")?, outside(&self.gids, gid, "group")?))
    }
}

pub fn ranges(rows: &[v1::IdMapping]) -> Vec<IdRange> {
    let one =
        |row: &v1::IdMapping| IdRange { inside: row.container_id, outside: row.host_id, count: row.length };
    rows.iter().map(one).collect()
}

/// Whether the pod wants ids of its own; refuses what no pod can have.
pub fn wanted(options: &v1::NamespaceOption) -> Outcome<bool> {
    let Some(user) = &options.userns_options else { return Ok(false) };
    let refuse = |why: String| Err(Fault::invalid(format!("namespace_options.userns_options: {why}")));
    match user.mode() {
        NamespaceMode::Node if user.uids.is_empty() && user.gids.is_empty() => return Ok(false),
        NamespaceMode::Node => return refuse("mode NODE has no mappings".to_owned()),
        NamespaceMode::Pod => {}
        other => return refuse(format!("mode is {}: expected POD or NODE", other.as_str_name())),
    }
    for (kind, rows) in [("uids", &user.uids), ("gids", &user.gids)] {
        let [row] = rows.as_slice() else {
            return refuse(format!("{kind} has {} mappings: expected one", rows.len()));
        };
        if row.container_id != 0 || row.length == 0 || row.host_id.checked_add(row.length).is_none() {
            return refuse(format!(
                "{kind} maps {} ids from {} on to {} on: expected some, from 0 on",
                row.length, row.container_id, row.host_id
            ));
        }
    }
    for (kind, mode) in [("network", options.network()), ("ipc", options.ipc()), ("pid", options.pid())] {
        if mode == NamespaceMode::Node {
            return refuse(format!("a pod with ids of its own cannot have the host's {kind} namespace"));
        }
    }
    Ok(true)
}

/// What keeps pods of this host from ids of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// No user namespace can be made.
    Namespaces,
    /// Volumes in memory cannot have their ids mapped: Linux can since 6.3.
    Tmpfs,
    /// The images, or the pods' files, lie where ids cannot be mapped.
    Folders,
}

impl Obstacle {
    /// The sentence of a refusal.
    pub fn fault(self) -> Fault {
        let kernel = || nix::sys::utsname::uname().map(|u| u.release().to_string_lossy().into_owned());
        let why = match self {
            Obstacle::Namespaces => {
                "the kernel makes none here: raise the sysctl user.max_user_namespaces".to_owned()
            }
            Obstacle::Tmpfs => format!(
                "the kernel ({}) cannot map ids of tmpfs: use Linux 6.3 or later, or hostUsers: true",
                kernel().unwrap_or_default()
            ),
            Obstacle::Folders => {
                "the file system of the image store or of the pods' files cannot map ids: put them on \
                one that can (ext4, xfs, btrfs), or use hostUsers: true"
                    .to_owned()
            }
        };
        Fault::invalid(format!("user namespaces (hostUsers: false): {why}"))
    }
}

/// Tries what a pod with ids of its own needs: a namespace, and mapped mounts of both folders and of a tmpfs.
pub fn supported(folders: &[&Path]) -> Result<(), Obstacle> {
    let row = [IdRange { inside: 0, outside: 65_536, count: 65_536 }];
    let ids = sys::netns::id_map(&row, &row).map_err(|_| Obstacle::Namespaces)?;
    let tmpfs = sys::mount::new_filesystem("tmpfs", "tmpfs", &[], 0).map_err(|_| Obstacle::Tmpfs)?;
    sys::mount::set_id_map(tmpfs.as_fd(), ids.as_fd(), false).map_err(|_| Obstacle::Tmpfs)?;
    let mapped = |folder: &&Path| {
        let tree = sys::mount::clone_tree(folder, false);
        tree.is_ok_and(|tree| sys::mount::set_id_map(tree.as_fd(), ids.as_fd(), false).is_ok())
    };
    if folders.iter().all(mapped) { Ok(()) } else { Err(Obstacle::Folders) }
}

/// Refuses mounts that ask for the pod's ids where the file system cannot show them: starting would only say EINVAL.
pub fn refuse_unmapped(mounts: &[v1::Mount], namespace: &Path) -> Outcome<()> {
    let mut asked = mounts.iter().filter(|mount| !mount.uid_mappings.is_empty()).peekable();
    if asked.peek().is_none() {
        return Ok(());
    }
    let ids = std::fs::File::open(namespace).doing(|| "opening the pod's user namespace".into())?;
    for mount in asked {
        let source = std::fs::canonicalize(&mount.host_path);
        let source = source.doing(|| format!("failed to resolve symlink {:?}", mount.host_path))?;
        let tree =
            sys::mount::clone_tree(&source, false).doing(|| format!("opening {:?}", mount.host_path))?;
        sys::mount::set_id_map(tree.as_fd(), ids.as_fd(), false).map_err(|errno| {
            Fault::Precondition(format!(
                "mount {:?} -> {:?}: its file system cannot map ids on this kernel ({errno}): use a volume of another \
                 kind, or hostUsers: true",
                mount.host_path, mount.container_path
            ))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(container_id: u32, host_id: u32, length: u32) -> v1::IdMapping {
        v1::IdMapping { container_id, host_id, length }
    }

    fn options(mode: NamespaceMode, rows: &[v1::IdMapping]) -> v1::NamespaceOption {
        let userns = v1::UserNamespace { mode: mode.into(), uids: rows.to_vec(), gids: rows.to_vec() };
        v1::NamespaceOption {
            pid: NamespaceMode::Container.into(),
            userns_options: Some(userns),
            ..Default::default()
        }
    }

    #[test]
    fn one_mapping_from_zero_on_is_what_a_pod_can_have() {
        let good = mapping(0, 1000, 100_000);
        let check =
            |options: v1::NamespaceOption, expect: Result<bool, &str>| match (wanted(&options), expect) {
                (Ok(found), Ok(expect)) => assert_eq!(found, expect),
                (Err(fault), Err(part)) => assert!(fault.to_string().contains(part), "{fault}"),
                (found, _) => panic!("{options:?}: {found:?}"),
            };
        check(v1::NamespaceOption::default(), Ok(false));
        check(options(NamespaceMode::Pod, &[good]), Ok(true));
        check(options(NamespaceMode::Node, &[]), Ok(false));
        check(options(NamespaceMode::Node, &[good]), Err("mode NODE"));
        check(options(NamespaceMode::Container, &[]), Err("mode is CONTAINER"));
        check(options(NamespaceMode::Target, &[]), Err("mode is TARGET"));
        check(options(NamespaceMode::Pod, &[]), Err("0 mappings"));
        check(options(NamespaceMode::Pod, &[good, mapping(0, 2000, 10)]), Err("2 mappings"));
        check(options(NamespaceMode::Pod, &[mapping(1, 1000, 10)]), Err("from 0 on"));
        check(options(NamespaceMode::Pod, &[mapping(0, u32::MAX, 10)]), Err("from 0 on"));
        let mut host = options(NamespaceMode::Pod, &[good]);
        host.network = NamespaceMode::Node.into();
        check(host, Err("network"));
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        for (obstacle, parts) in [
            (Obstacle::Namespaces, ["hostUsers: false", "user.max_user_namespaces"]),
            (Obstacle::Tmpfs, ["Linux 6.3", "hostUsers: true"]),
            (Obstacle::Folders, ["ext4", "hostUsers: true"]),
        ] {
            let said = obstacle.fault().to_string();
            assert!(parts.iter().all(|part| said.contains(part)), "{said}");
        }
        let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
        assert!(Obstacle::Tmpfs.fault().to_string().contains(&release));
    }

    #[test]
    fn numbers_outside_of_the_mapping_are_refused() {
        let rows = ranges(&[mapping(0, 1000, 10)]);
        let pod = UserNamespace { path: PathBuf::new(), uids: rows.clone(), gids: rows };
        assert_eq!(pod.on_host(0, 9).unwrap(), (1000, 1009));
        assert!(pod.on_host(10, 0).is_err() && pod.on_host(0, 10).is_err());
    }
}
