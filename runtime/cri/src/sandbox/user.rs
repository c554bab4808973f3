//! A pod's own ids: what is asked for, what that makes of the numbers of a container, and whether this host can.
//!
//! Reference: CRI `UserNamespace`; KEP 127.

use std::path::{Path, PathBuf};

use cri_api::v1;
use cri_api::v1::NamespaceMode;
use sys::netns::{IdRange, User};

use crate::fault::{Fault, Outcome};

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

/// Whether mounts of both folders' file systems can have their ids mapped here: tmpfs can since Linux 6.3.
pub fn is_supported(folders: &[&Path]) -> bool {
    use std::os::fd::AsFd as _;
    let row = [IdRange { inside: 0, outside: 65_536, count: 65_536 }];
    let Ok(ids) = sys::netns::id_map(&row, &row) else { return false };
    folders.iter().all(|folder| {
        let tree = sys::mount::clone_tree(folder, false);
        tree.is_ok_and(|tree| sys::mount::set_id_map(tree.as_fd(), ids.as_fd(), false).is_ok())
    })
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
    fn numbers_outside_of_the_mapping_are_refused() {
        let rows = ranges(&[mapping(0, 1000, 10)]);
        let pod = UserNamespace { path: PathBuf::new(), uids: rows.clone(), gids: rows };
        assert_eq!(pod.on_host(0, 9).unwrap(), (1000, 1009));
        assert!(pod.on_host(10, 0).is_err() && pod.on_host(0, 10).is_err());
    }
}
