//! Mounts of containers, sizes; and real folders, mounts and sub-paths in a temporary place.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use serde_json::json;

use super::*;

#[test]
fn mounts_follow_the_request() {
    let place = |read_only| Place { path: "/k/v".into(), read_only, is_image: false };
    let check = |own: Value, read_only: bool, runtime: bool, expect: Result<(&str, bool, bool), &str>| {
        let found = mount(&own, &place(read_only), runtime);
        let found = found
            .as_ref()
            .map(|mount| (mount.container_path.as_str(), mount.readonly, mount.recursive_read_only));
        assert_eq!(found.map_err(String::as_str), expect, "{own}");
    };
    check(json!({"mountPath": "/data"}), false, false, Ok(("/data", false, false)));
    check(json!({"mountPath": "data", "readOnly": true}), false, false, Ok(("/data", true, false)));
    check(json!({"mountPath": "/data"}), true, false, Ok(("/data", true, false)));
    let recursive = json!({"name": "v", "mountPath": "/d", "readOnly": true, "recursiveReadOnly": "Enabled"});
    check(recursive.clone(), false, true, Ok(("/d", true, true)));
    check(
        recursive,
        false,
        false,
        Err("volume \"v\" requested recursive read-only mode, but it is not supported by the runtime"),
    );
    let possible = json!({"mountPath": "/d", "readOnly": true, "recursiveReadOnly": "IfPossible"});
    check(possible.clone(), false, true, Ok(("/d", true, true)));
    check(possible, false, false, Ok(("/d", true, false)));
    check(
        json!({"mountPath": "/d", "mountPropagation": "Odd"}),
        false,
        false,
        Err("invalid MountPropagation mode: \"Odd\""),
    );
    let both = mount(&json!({"mountPath": "/d", "mountPropagation": "Bidirectional"}), &place(false), false)
        .unwrap();
    assert_eq!(both.propagation(), v1::MountPropagation::PropagationBidirectional);
}

#[test]
fn sub_paths_are_expanded() {
    let environment = [("POD".to_owned(), "web".to_owned()), ("EMPTY".to_owned(), String::new())];
    let check = |own: Value, expect: Result<&str, &str>| {
        let found = sub_path_of(&own, &environment);
        assert_eq!(found.as_deref().map_err(String::as_str), expect, "{own}");
    };
    check(json!({}), Ok(""));
    check(json!({"subPath": "a/$(POD)"}), Ok("a/$(POD)"));
    check(json!({"subPathExpr": "a/$(POD)"}), Ok("a/web"));
    check(json!({"subPathExpr": "$(NONE)/$(EMPTY)"}), Err("missing value for EMPTY, NONE"));
}

#[test]
fn memory_is_bounded() {
    let pod = |limits: Value| {
        Pod::of(json!({"metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "a", "resources": {"limits": limits}}, {"name": "b", "resources": {"limits": {"memory": "1Mi"}}}]}}))
    };
    let node =
        NodeFacts { allocatable: Amounts { memory: 100 << 20, ..Default::default() }, ..Default::default() };
    assert_eq!(memory_size(&pod(json!({})), &node, 0), 100 << 20);
    assert_eq!(memory_size(&pod(json!({"memory": "2Mi"})), &node, 0), 3 << 20);
    assert_eq!(memory_size(&pod(json!({"memory": "2Mi"})), &node, 1 << 20), 1 << 20);
    assert_eq!(memory_size(&pod(json!({})), &NodeFacts::default(), 0), 0);
}

/// A pod's folder as the kubelet makes it, below a temporary one.
fn pod_folder() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let pod = root.path().canonicalize().unwrap().join("pods/u");
    fs::create_dir_all(&pod).unwrap();
    (root, pod)
}

#[test]
fn memory_folders_are_made_once_and_taken_away() {
    if !harness::root_or_skip("memory_folders_are_made_once_and_taken_away") {
        return;
    }
    let guard = harness::host::exclusive("memory_folders_are_made_once_and_taken_away");
    let (_root, pod) = pod_folder();
    let path = pod.join("volumes/kubernetes.io~empty-dir/v");
    let folder = Folder {
        path: path.clone(),
        backing: Backing::Memory { size: 1 << 20, secret: true },
        mode: 0o777,
        group: Some(4321),
    };
    folder.make().unwrap();
    fs::write(path.join("kept"), "x").unwrap();
    folder.make().unwrap();
    assert_eq!(fs::read_to_string(path.join("kept")).unwrap(), "x");
    let found = fs::metadata(&path).unwrap();
    assert_eq!((found.gid(), found.mode() & 0o7777), (4321, 0o2777));
    assert!(fs::write(path.join("large"), vec![0; 2 << 20]).is_err(), "the size is a limit");
    let disk =
        Folder { path: pod.join("volumes/kubernetes.io~empty-dir/d"), backing: Backing::Disk, ..folder };
    disk.make().unwrap();
    fs::set_permissions(&disk.path, fs::Permissions::from_mode(0o700)).unwrap();
    disk.make().unwrap();
    assert_eq!(fs::metadata(&disk.path).unwrap().mode() & 0o7777, 0o700, "what a container did stays");
    teardown::teardown(&pod).unwrap();
    assert_eq!(fs::read_dir(&pod).unwrap().count(), 0);
    teardown::teardown(&pod).unwrap();
    guard.finish();
}

#[test]
fn nothing_is_removed_through_a_foreign_mount() {
    if !harness::root_or_skip("nothing_is_removed_through_a_foreign_mount") {
        return;
    }
    let guard = harness::host::exclusive("nothing_is_removed_through_a_foreign_mount");
    let (root, pod) = pod_folder();
    let precious = root.path().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "x").unwrap();
    let place = pod.join("volumes/kubernetes.io~empty-dir/v/inside");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.parent().unwrap().join("own"), "x").unwrap();
    symlink(&precious, place.parent().unwrap().join("link")).unwrap();
    rustix::mount::mount_bind(&precious, &place).unwrap();
    let said = teardown::teardown(&pod).unwrap_err().to_string();
    assert!(said.contains("did not make"), "{said}");
    assert!(precious.join("file").exists() && place.exists());
    assert!(!place.parent().unwrap().join("own").exists(), "the rest goes");
    rustix::mount::unmount(&place, rustix::mount::UnmountFlags::empty()).unwrap();
    teardown::teardown(&pod).unwrap();
    assert!(precious.join("file").exists() && !pod.join("volumes").exists());
    guard.finish();
}

/// A container nests folders without end and names files as it likes; its pod must go all the same.
#[test]
fn whatever_a_container_wrote_is_removed() {
    use std::os::unix::ffi::OsStrExt as _;
    let (_root, pod) = pod_folder();
    let volume = pod.join("volumes/kubernetes.io~empty-dir/v");
    fs::create_dir_all(volume.join("a/".repeat(300))).unwrap();
    fs::write(volume.join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
    teardown::teardown(&pod).unwrap();
    assert!(!pod.join("volumes").exists());
}

#[test]
fn sub_paths_stay_in_their_volume() {
    if !harness::root_or_skip("sub_paths_stay_in_their_volume") {
        return;
    }
    let guard = harness::host::exclusive("sub_paths_stay_in_their_volume");
    let (root, pod) = pod_folder();
    let volume = pod.join("volumes/kubernetes.io~empty-dir/v");
    let outside = root.path().join("outside");
    for folder in [&volume, &outside] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(outside.join("secret"), "host").unwrap();
    fs::write(volume.join("file"), "inside").unwrap();
    symlink(&outside, volume.join("absolute")).unwrap();
    symlink("../../../../../outside", volume.join("relative")).unwrap();
    let target = pod.join("volume-subpaths/v/c/0");
    let bind = |path: &str| sub_path::bind(&volume, Path::new(path), &target);
    bind("file").unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "inside");
    // Again, with another kind of place: a restarted container.
    bind("deep/new").unwrap();
    fs::write(target.join("made"), "x").unwrap();
    assert!(volume.join("deep/new/made").exists());
    for path in ["absolute", "relative", "absolute/secret", "relative/secret"] {
        if bind(path).is_ok() {
            assert!(!target.join("secret").exists(), "{path} leads out");
            assert_ne!(fs::read_to_string(&target).ok().as_deref(), Some("host"), "{path} leads out");
        }
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "nothing is made outside");
    teardown::teardown(&pod).unwrap();
    assert_eq!(fs::read_dir(&pod).unwrap().count(), 0);
    guard.finish();
}
