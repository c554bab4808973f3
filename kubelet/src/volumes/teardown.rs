//! Taking away a pod's volumes: first our mounts, then their folders, never through somebody else's mount.
//!
//! ```text
//! mounts below the pod's folder ─plan─> unmount, deepest first ─> remove, staying on one mount
//!                                   └─> refuse: a mount that no volume of ours explains
//! ```
//!
//! **Invariants**
//! - No file is removed below a mount: a folder that lies on another mount than the pod's folder is left, and told.
//! - A step that fails does not keep the others from being done; the next attempt begins anew.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

/// What belongs to volumes, below a pod's folder.
const FOLDERS: [&str; 2] = ["volume-subpaths", "volumes"];
/// So many faults are told in one sentence.
const FAULTS_TOLD: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Unmount(PathBuf),
    /// A mount that nobody here made.
    Refuse(PathBuf),
    Remove(PathBuf),
}

/// Everything that went wrong.
#[derive(Debug, Default, thiserror::Error)]
#[error("{}", told(.0))]
pub struct TeardownError(Vec<String>);

fn told(faults: &[String]) -> String {
    let more = faults.len().saturating_sub(FAULTS_TOLD);
    let mut text = faults.iter().take(FAULTS_TOLD).cloned().collect::<Vec<_>>().join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    text
}

/// From all mounts, in the order in which they were made; later ones may lie on earlier ones, so they go first.
pub fn plan(pod: &Path, mounts: &[PathBuf]) -> Vec<Step> {
    let mut steps = Vec::new();
    let below: Vec<&PathBuf> = mounts.iter().filter(|mount| mount.starts_with(pod)).collect();
    let (ours, theirs): (Vec<&PathBuf>, Vec<&PathBuf>) =
        below.iter().rev().partition(|mount| is_ours(pod, mount));
    steps.extend(theirs.iter().map(|mount| Step::Refuse((*mount).clone())));
    // A lazy unmount would take what lies on it along.
    let free = ours.into_iter().filter(|mount| !theirs.iter().any(|their| their.starts_with(mount)));
    steps.extend(free.cloned().map(Step::Unmount));
    steps.extend(FOLDERS.iter().map(|folder| Step::Remove(pod.join(folder))));
    steps
}

/// `volumes/kubernetes.io~*/<name>` and `volume-subpaths/<volume>/<container>/<index>`, exactly.
fn is_ours(pod: &Path, mount: &Path) -> bool {
    let Ok(rest) = mount.strip_prefix(pod) else { return false };
    let parts: Vec<&str> = rest.iter().filter_map(|part| part.to_str()).collect();
    match parts.as_slice() {
        ["volumes", plugin, _] => plugin.starts_with("kubernetes.io~"),
        ["volume-subpaths", _, _, index] => index.parse::<u32>().is_ok(),
        _ => false,
    }
}

/// Does all that can be done.
pub fn execute(steps: &[Step]) -> Result<(), TeardownError> {
    let mut faults = Vec::new();
    for step in steps {
        match step {
            Step::Unmount(path) => {
                if let Err(errno) = unmount(path) {
                    faults.push(format!("unmounting {}: {errno}", path.display()));
                }
            }
            Step::Refuse(path) => faults.push(format!(
                "{} is a mount that this kubelet did not make: nothing below it is removed; unmount it",
                path.display()
            )),
            Step::Remove(path) => remove(path, &mut faults),
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(TeardownError(faults)) }
}

/// Plans over what is mounted now, and does it. Blocks.
pub fn teardown(pod: &Path) -> Result<(), TeardownError> {
    if !pod.exists() {
        return Ok(());
    }
    let whole = fs::canonicalize(pod);
    let pod = whole.map_err(|error| TeardownError(vec![format!("{}: {error}", pod.display())]))?;
    let mounts = mounts().map_err(|error| TeardownError(vec![format!("reading mountinfo: {error}")]))?;
    execute(&plan(&pod, &mounts))
}

/// Mount points of our namespace, oldest first.
pub fn mounts() -> std::io::Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    Ok(points.map(|point| PathBuf::from(unescaped(point))).collect())
}

fn unescaped(text: &str) -> String {
    let pairs = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// A process of the host that stands in a volume must not keep the pod: then the mount goes when it leaves.
fn unmount(path: &Path) -> Result<(), Errno> {
    match rustix::mount::unmount(path, UnmountFlags::NOFOLLOW) {
        Err(Errno::BUSY) => rustix::mount::unmount(path, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH),
        Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        result => result,
    }
}

/// What containers left may be nested without end and have any names.
fn remove(path: &Path, faults: &mut Vec<String>) {
    match sys::tree::remove(path) {
        Err(error) if error.errno == Errno::XDEV => faults
            .push(format!("{} lies on another mount: nothing below it is removed", error.path.display())),
        Err(error) if error.errno != Errno::NOENT => faults.push(format!("removing {error}")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_mounts_are_unmounted() {
        let mounts: Vec<PathBuf> = [
            "/",
            "/k/pods/u/volumes/kubernetes.io~secret/s",
            "/k/pods/u/volume-subpaths/v/c/0",
            "/k/pods/u/volumes/kubernetes.io~empty-dir/v/theirs",
            "/k/pods/u2/volumes/kubernetes.io~secret/s",
        ]
        .iter()
        .map(PathBuf::from)
        .collect();
        let expect = [
            Step::Refuse("/k/pods/u/volumes/kubernetes.io~empty-dir/v/theirs".into()),
            Step::Unmount("/k/pods/u/volume-subpaths/v/c/0".into()),
            Step::Unmount("/k/pods/u/volumes/kubernetes.io~secret/s".into()),
            Step::Remove("/k/pods/u/volume-subpaths".into()),
            Step::Remove("/k/pods/u/volumes".into()),
        ];
        assert_eq!(plan(Path::new("/k/pods/u"), &mounts), expect);
    }

    #[test]
    fn faults_are_told_briefly() {
        let faults = (0..6).map(|n| format!("f{n}")).collect::<Vec<_>>();
        assert_eq!(TeardownError(faults).to_string(), "f0; f1; f2; f3; and 2 more");
    }
}
