//! `keelson demo`: it tells its whole story, and leaves nothing, however it ends.

use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;

use crate::demo_node::{DemoNode, KEELSON, LOOK, PATIENCE};

#[test]
fn killed_and_run_again_it_leaves_nothing() {
    const TEST: &str = "killed_and_run_again_it_leaves_nothing";
    if !harness::root_or_skip(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let node = DemoNode::start(1);
    let init = node.init;
    node.end(Signal::KILL);
    let began = Instant::now();
    while std::path::Path::new(&format!("/proc/{init}/ns/pid")).exists() {
        assert!(began.elapsed() < PATIENCE, "the node outlives a demonstration that was killed");
        std::thread::sleep(LOOK);
    }
    let output = Command::new(KEELSON).arg("demo").stdin(Stdio::null()).output().expect("keelson runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for line in [
        "removed what 1 killed demonstration(s) had left",
        "the node is Ready",
        "deployment web: 3/3 pods run and are available",
        "all of it is gone",
    ] {
        assert!(said.contains(line), "{line:?} is missing in:\n{said}");
    }
    for way in [
        "pod → web.default.svc.cluster.local: ",
        "node → ClusterIP 10.96.",
        "192.0.2.2 → NodePort 192.0.2.1:3",
    ] {
        let told = said.lines().find(|line| line.contains(way));
        assert!(told.is_some_and(|told| told.ends_with(" by 3 pods")), "{way:?} in:\n{said}");
    }
    guard.finish();
}

/// A root directory that is no mount point, below mounts that are shared: what the cage mounts must stay in the cage.
const CHROOT: &str = r#"
set -e
mkdir -p "$1/proc" "$1/dev" "$1/sys" "$1/tmp"
cp "$2" "$1/keelson"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount --rbind /sys "$1/sys"
mount --make-rshared /
cut -d' ' -f3- /proc/self/mountinfo >"$1/before"
chroot "$1" /keelson demo
cut -d' ' -f3- /proc/self/mountinfo >"$1/after"
diff "$1/before" "$1/after"
"#;

#[test]
fn in_a_chroot_it_runs_and_mounts_nothing_outside() {
    const TEST: &str = "in_a_chroot_it_runs_and_mounts_nothing_outside";
    if !harness::root_or_skip(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let root = tempfile::tempdir().expect("a directory");
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", CHROOT, "sh"])
        .arg(root.path())
        .arg(KEELSON)
        .stdin(Stdio::null())
        .output()
        .expect("unshare runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("all of it is gone"), "{said}");
    drop(root);
    guard.finish();
}

#[test]
fn interrupted_it_leaves_nothing() {
    const TEST: &str = "interrupted_it_leaves_nothing";
    if !harness::root_or_skip(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let node = DemoNode::start(1);
    assert!(node.said.iter().any(|line| line.contains("the node is Ready")), "{:#?}", node.said);
    assert_eq!(node.end(Signal::INT), Some(0));
    guard.finish();
}

#[test]
fn wrong_arguments_are_refused() {
    let code = |arguments: &[&str]| {
        let output =
            Command::new(KEELSON).args(arguments).stdin(Stdio::null()).output().expect("keelson runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (arguments, said) in [
        (&["demo", "--replicas", "0"][..], "--replicas"),
        (&["server", "--service-cidr", "10.0.0.0/30"], "--service-cidr"),
        (&["server", "--node-name", "Not_A_Name", "--node-ip", "192.0.2.1"], "--node-name"),
        (&["server", "--unknown"], "--unknown"),
        (&["status", "--kubeconfig", "/nowhere"], "/nowhere"),
        (&["check", "-o", "xml"], "--output"),
    ] {
        let (exit, stderr) = code(arguments);
        assert_eq!(exit, Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
}

#[test]
fn an_old_kernel_is_refused_before_anything_is_done() {
    // The kernel tells this personality an old release.
    let old = |arguments: &[&str]| {
        let output = Command::new("setarch")
            .args(["--uname-2.6", KEELSON])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("setarch runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    const TEST: &str = "an_old_kernel_is_refused_before_anything_is_done";
    if !harness::root_or_skip(TEST) {
        return;
    }
    let folder = tempfile::tempdir().expect("a directory");
    let data = format!("--data-dir={}", folder.path().join("data").display());
    let agent = ["agent", "--server=https://192.0.2.1:6443", "--node-name=a", "--node-ip=192.0.2.1", &data];
    for arguments in [&["demo"][..], &["server", "--node-name=a", "--node-ip=192.0.2.1", &data], &agent] {
        let (exit, stderr) = old(arguments);
        assert_eq!(exit, Some(4), "{arguments:?}: {stderr}");
        for said in ["this kernel is 2.6.", "install Linux 6.1 or newer"] {
            assert!(stderr.contains(said), "{arguments:?}: {stderr}");
        }
    }
    assert!(!folder.path().join("data").exists());
}
