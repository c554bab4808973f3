//! The ids of pods with `hostUsers: false`: each has 65536 of its own, which no other pod of the node has.
//!
//! ```text
//! <root>/pods/<uid>/userns   {"uidMappings":[{"hostId":131072,"containerId":0,"length":65536}],"gidMappings":[...]}
//! ```
//!
//! The file is the authority: what it names is taken while the pod's folder is there, so that a kubelet that was killed
//! gives no ids twice and gives a pod the ids that it had. Ids come from `/etc/subuid` and `/etc/subgid`, where those
//! name the user `kubelet`; else the first range is 65536 on.
//!
//! Reference: KEP-127; the file and its place are upstream's.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cri_api::v1;
use serde_json::{Value, json};

use crate::paths::Paths;
use crate::pod::{Pod, PodUid};

/// Ids of one pod.
pub const LENGTH: u32 = 65_536;
/// The user whose ids pods have.
const OWNER: &str = "kubelet";
const FILE: &str = "userns";
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Which ids this node may give away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// A multiple of [`LENGTH`].
    pub first: u32,
    /// In pods.
    pub pods: u32,
}

/// Gives ids away. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct UserNamespaces {
    paths: Paths,
    /// Why pods cannot have ids of their own here.
    range: Result<Range, String>,
    /// One at a time: between looking and writing nobody else takes the same.
    turn: Arc<Mutex<()>>,
}

// === impl UserNamespaces ===

impl UserNamespaces {
    /// With what the runtime says about itself, and how many pods there may be.
    pub fn new(paths: Paths, is_supported: bool, pods_max: i64) -> UserNamespaces {
        let pods_max = u32::try_from(pods_max).unwrap_or(u32::MAX);
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let range = match is_supported {
            true => range(&read("/etc/subuid"), &read("/etc/subgid"), pods_max),
            false => {
                Err("can't set `spec.hostUsers: false`, runtime does not support user namespaces".into())
            }
        };
        UserNamespaces { paths, range, turn: Arc::default() }
    }

    /// The pod's ids, given to it now if it has none; none for a pod with the host's users.
    pub fn of(&self, pod: &Pod) -> Result<Option<v1::UserNamespace>, String> {
        if pod.spec()["hostUsers"] != false {
            return Ok(None);
        }
        let range = self.range.clone()?;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.file(&pod.uid);
        let first = match first_id(&path)? {
            Some(first) => first,
            None => {
                let first = free(range, &self.taken()?)
                    .ok_or("could not find an empty slot to allocate a user namespace")?;
                write(&path, first).map_err(|error| format!("writing {}: {error}", path.display()))?;
                first
            }
        };
        let rows = vec![v1::IdMapping { container_id: 0, host_id: first, length: LENGTH }];
        Ok(Some(v1::UserNamespace { mode: v1::NamespaceMode::Pod.into(), uids: rows.clone(), gids: rows }))
    }

    fn file(&self, uid: &PodUid) -> PathBuf {
        self.paths.pod(uid).join(FILE)
    }

    /// First ids of all pods whose folders are there. One that cannot be told stops us: it may be anybody's.
    fn taken(&self) -> Result<BTreeSet<u32>, String> {
        let folders = crate::orphans::folders(&self.paths);
        folders.iter().filter_map(|uid| first_id(&self.file(uid)).transpose()).collect()
    }
}

/// The lowest that nobody has.
fn free(range: Range, taken: &BTreeSet<u32>) -> Option<u32> {
    (0..range.pods).map(|pod| range.first + pod * LENGTH).find(|first| !taken.contains(first))
}

/// What is given away: the owner's rows, which must be one and the same, or the default. Pure.
fn range(uids: &str, gids: &str, pods_max: u32) -> Result<Range, String> {
    let rows = |text: &str| -> Vec<(u32, u32)> {
        let fields = |line: &str| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let numbers = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            (owner == OWNER).then_some(numbers)
        };
        text.lines().filter_map(fields).collect()
    };
    let wrong =
        |why: &str| Err(format!("the ids of pods (/etc/subuid and /etc/subgid, user {OWNER:?}): {why}"));
    match (rows(uids).as_slice(), rows(gids).as_slice()) {
        ([], []) => {
            let most = u32::MAX / LENGTH - 1;
            Ok(Range { first: LENGTH, pods: pods_max.min(most) })
        }
        ([uid], [gid]) if uid == gid => {
            let (first, count) = *uid;
            if first < LENGTH
                || first % LENGTH != 0
                || count % LENGTH != 0
                || first.checked_add(count).is_none()
            {
                return wrong("first id and count must be multiples of 65536, and the first not 0");
            }
            if count / LENGTH < pods_max {
                return wrong(&format!("{count} ids are too few for {pods_max} pods of 65536 each"));
            }
            Ok(Range { first, pods: count / LENGTH })
        }
        _ => wrong("expected one row in each, and the same in both"),
    }
}

fn first_id(path: &Path) -> Result<Option<u32>, String> {
    let wrong = |why: String| format!("{}: {why}", path.display());
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error.to_string())),
        Ok(found) if !found.is_file() || found.len() > FILE_BYTES_MAX => {
            return Err(wrong("not a file of mappings".into()));
        }
        Ok(_) => {}
    }
    let text = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let found: Value = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    let first = found["uidMappings"][0]["hostId"].as_u64().and_then(|id| u32::try_from(id).ok());
    match first {
        Some(first) if mappings(first) == found => Ok(Some(first)),
        _ => Err(wrong("expected one mapping of 65536 ids from 0 on, the same for users and groups".into())),
    }
}

/// The file's content, as upstream writes it.
fn mappings(first: u32) -> Value {
    let rows = json!([{"hostId": first, "containerId": 0, "length": LENGTH}]);
    json!({"uidMappings": rows, "gidMappings": rows})
}

/// Whole or not at all.
fn write(path: &Path, first: u32) -> std::io::Result<()> {
    let text = serde_json::to_vec(&mappings(first))?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let next = path.with_extension("next");
    fs::write(&next, text)?;
    fs::rename(next, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_from_the_owners_rows_or_the_default() {
        let check =
            |uids: &str, gids: &str, expect: Result<(u32, u32), &str>| match (range(uids, gids, 110), expect)
            {
                (Ok(found), Ok((first, pods))) => assert_eq!(found, Range { first, pods }),
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                (found, _) => panic!("{uids} {gids}: {found:?}"),
            };
        check("", "", Ok((65_536, 110)));
        check("root:1:2\nkubelet:junk", "web:65536:65536", Ok((65_536, 110)));
        check("kubelet:131072:13107200", "a:1:1\nkubelet:131072:13107200\n", Ok((131_072, 200)));
        check("kubelet:131072:13107200", "", Err("one row in each"));
        check("kubelet:131072:65536", "kubelet:131072:65536", Err("too few for 110"));
        check("kubelet:5:13107200", "kubelet:5:13107200", Err("multiples"));
        check("kubelet:0:13107200", "kubelet:0:13107200", Err("multiples"));
    }

    fn pod(uid: &str) -> Pod {
        Pod::of(json!({"metadata": {"name": uid, "uid": uid}, "spec": {"hostUsers": false}}))
    }

    fn first(given: Result<Option<v1::UserNamespace>, String>) -> u32 {
        given.unwrap().unwrap().uids[0].host_id
    }

    #[test]
    fn no_two_pods_have_the_same_ids_and_each_keeps_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths {
            root: folder.path().to_owned(),
            pod_logs: folder.path().join("logs"),
            container_logs: folder.path().join("links"),
        };
        let make = || UserNamespaces {
            paths: paths.clone(),
            range: Ok(Range { first: LENGTH, pods: 2 }),
            turn: Arc::default(),
        };
        let ids = make();
        let plain = Pod::of(json!({"metadata": {"name": "p", "uid": "p"}, "spec": {}}));
        assert_eq!(ids.of(&plain), Ok(None));
        assert_eq!((first(ids.of(&pod("a"))), first(ids.of(&pod("b")))), (LENGTH, 2 * LENGTH));
        assert!(ids.of(&pod("c")).unwrap_err().contains("could not find an empty slot"));
        let text = fs::read(paths.pod(&PodUid::new("b")).join(FILE)).unwrap();
        let row = json!([{"hostId": 131072, "containerId": 0, "length": 65536}]);
        let expect = json!({"uidMappings": row, "gidMappings": row});
        assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), expect);
        // Another kubelet over the same folders.
        let again = make();
        assert_eq!(first(again.of(&pod("b"))), 2 * LENGTH);
        fs::remove_dir_all(paths.pod(&PodUid::new("a"))).unwrap();
        assert_eq!(first(again.of(&pod("c"))), LENGTH);
        fs::write(paths.pod(&PodUid::new("b")).join(FILE), "{}").unwrap();
        assert!(again.of(&pod("b")).is_err() && again.of(&pod("d")).is_err(), "nobody's ids are guessed");
        let unable = UserNamespaces::new(paths, false, 110);
        assert!(unable.of(&pod("e")).unwrap_err().contains("runtime does not support user namespaces"));
    }
}
