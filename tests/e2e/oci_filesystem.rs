//! What a container sees of filesystems and devices, and that no image talks its way out of its root.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::oci_bundle::{Bundle, ready};

#[test]
fn masked_and_read_only_paths() {
    if !ready("masked_and_read_only_paths") {
        return;
    }
    let guard = harness::host::exclusive("masked_and_read_only_paths");
    let mut bundle = Bundle::new(guard.tag());
    std::fs::create_dir(bundle.rootfs().join("secret")).expect("a directory");
    std::fs::write(bundle.rootfs().join("secret/file"), "s").expect("a file");
    std::fs::write(bundle.rootfs().join("token"), "t").expect("a file");
    bundle.edit(|spec| {
        spec["root"]["readonly"] = json!(false);
        let masked = spec["linux"]["maskedPaths"].as_array_mut().expect("a list");
        masked.extend([json!("/secret"), json!("/token"), json!("/absent")]);
        spec["linux"]["readonlyPaths"].as_array_mut().expect("a list").push(json!("/tmp"));
    });
    for (line, expect) in [
        ("ls /secret; cat /token; cat /proc/keys | wc -c", "0"),
        ("touch /secret/x 2>/dev/null || echo no", "no"),
        ("touch /tmp/x 2>/dev/null || echo no", "no"),
        ("echo 1 2>/dev/null > /proc/sys/kernel/panic || echo no", "no"),
        ("touch /ok && echo yes", "yes"),
    ] {
        let (_, said) = bundle.run(line);
        assert_eq!(said.lines().last().unwrap_or_default(), expect, "{line}: {said}");
    }
    bundle.edit(|spec| spec["root"]["readonly"] = json!(true));
    assert_ne!(bundle.run("touch /no").0, 0);
    guard.finish();
}

/// A mount of the host's, gone with this.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn new(place: PathBuf) -> Tmpfs {
        let done =
            Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&place).status().expect("mount runs");
        assert!(done.success());
        Tmpfs(place)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _said_by_the_harness = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn mounts_take_their_options() {
    if !ready("mounts_take_their_options") {
        return;
    }
    let guard = harness::host::exclusive("mounts_take_their_options");
    let mut bundle = Bundle::new(guard.tag());
    let volume = bundle.path().join("volume");
    std::fs::create_dir_all(volume.join("inner")).expect("a directory");
    std::fs::write(volume.join("file"), "content").expect("a file");
    std::fs::create_dir(bundle.rootfs().join("full")).expect("a directory");
    std::fs::write(bundle.rootfs().join("full/was"), "here").expect("a file");
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    // A tree with a mount inside: what begins with an r is for all of it.
    let tree = bundle.path().join("tree");
    std::fs::create_dir_all(tree.join("below")).expect("a directory");
    let below = Tmpfs::new(tree.join("below"));
    bundle.edit(|spec| {
        spec["root"]["readonly"] = json!(false);
        let mounts = spec["mounts"].as_array_mut().expect("a list");
        mounts.extend([
            json!({ "destination": "/volume", "type": "bind", "source": text(&volume), "options": ["rbind", "ro"] }),
            json!({ "destination": "/deep/made", "source": text(&volume), "options": ["bind", "nosuid", "nodev", "noexec", "noatime"] }),
            json!({ "destination": "/one/file", "source": text(&volume.join("file")), "options": ["bind"] }),
            json!({ "destination": "/whole", "source": text(&volume), "options": ["rbind", "rro"] }),
            json!({ "destination": "/tree/ro", "source": text(&tree), "options": ["rbind", "ro"] }),
            json!({ "destination": "/tree/rro", "source": text(&tree), "options": ["rbind", "rro", "rnosuid", "rnodev", "rnoexec"] }),
            json!({ "destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "mode=700", "noexec"] }),
            json!({ "destination": "/full", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"] }),
            json!({ "destination": "/closed", "type": "tmpfs", "source": "tmpfs", "options": ["ro"] }),
            json!({ "destination": "/closed/open", "type": "tmpfs", "source": "tmpfs" }),
        ]);
    });
    for (line, expect) in [
        ("cat /volume/file; touch /volume/x 2>/dev/null || echo no", "contentno"),
        ("touch /deep/made/y && echo yes", "yes"),
        ("cat /one/file", "content"),
        ("touch /whole/inner/x 2>/dev/null || echo no", "no"),
        ("touch /tree/ro/x 2>/dev/null || echo no; touch /tree/ro/below/x && echo yes", "no\nyes"),
        (
            "touch /tree/rro/x 2>/dev/null || echo no; touch /tree/rro/below/x 2>/dev/null || echo no",
            "no\nno",
        ),
        ("grep -cE ' /tree/rro(/below)? .*ro,nosuid,nodev,noexec' /proc/self/mounts", "2"),
        ("grep -cE ' /tree/ro(/below)? .*nosuid' /proc/self/mounts", "0"),
        ("stat -c %a /scratch", "700"),
        ("cat /full/was; touch /full/new && echo yes", "hereyes"),
        ("touch /closed/x 2>/dev/null || echo no; touch /closed/open/x && echo yes", "no\nyes"),
        ("grep -c ' /deep/made .*nosuid,nodev,noexec,noatime' /proc/self/mounts", "1"),
    ] {
        let (_, said) = bundle.run(line);
        assert_eq!(said.trim(), expect, "{line}");
    }
    assert!(volume.join("y").exists());
    drop(below);
    guard.finish();
}

#[test]
fn devices_are_the_default_ones_and_the_listed() {
    if !ready("devices_are_the_default_ones_and_the_listed") {
        return;
    }
    let guard = harness::host::exclusive("devices_are_the_default_ones_and_the_listed");
    let mut bundle = Bundle::new(guard.tag());
    bundle.edit(|spec| {
        let capabilities = json!(["CAP_MKNOD", "CAP_CHOWN"]);
        for set in ["bounding", "permitted", "effective"] {
            spec["process"]["capabilities"][set] = capabilities.clone();
        }
        for set in ["inheritable", "ambient"] {
            spec["process"]["capabilities"][set] = json!([]);
        }
        spec["linux"]["devices"] =
            json!([{ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 1, "gid": 2 }]);
        spec["linux"]["resources"]["devices"] =
            json!([{ "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm" }]);
    });
    for (line, expect) in [
        ("echo x > /dev/null && head -c 3 /dev/zero | wc -c", "3"),
        ("head -c 4 /dev/urandom | wc -c", "4"),
        ("stat -c '%a %u %g %t %T' /dev/fuse", "640 1 2 a e5"),
        ("for n in ptmx fd stdout; do readlink /dev/$n; done", "pts/ptmx\n/proc/self/fd\n/proc/self/fd/1"),
        // Made, but not to be opened: the kernel's memory is nobody's.
        ("mknod /dev/mymem c 1 1 && head -c 1 /dev/mymem 2>&1 | grep -o 'not permitted'", "not permitted"),
    ] {
        let (_, said) = bundle.run(line);
        assert_eq!(said.trim(), expect, "{line}");
    }
    guard.finish();
}

#[test]
fn links_in_the_image_do_not_lead_out() {
    if !ready("links_in_the_image_do_not_lead_out") {
        return;
    }
    let guard = harness::host::exclusive("links_in_the_image_do_not_lead_out");
    let mut bundle = Bundle::new(guard.tag());
    let outside = tempfile::tempdir().expect("a directory");
    let root = bundle.rootfs();
    std::fs::create_dir(bundle.path().join("volume")).expect("a directory");
    std::fs::write(bundle.path().join("volume/file"), "v").expect("a file");
    symlink(outside.path(), root.join("absolute")).expect("a link");
    symlink("../../../../../../../..", root.join("up")).expect("a link");
    let tail = outside.path().strip_prefix("/").expect("absolute").to_owned();
    symlink("/proc/self/root", root.join("magic")).expect("a link");
    let volume = bundle.path().join("volume").display().to_string();
    let targets = [
        "/absolute/a".to_owned(),
        format!("/up/{}/b", tail.display()),
        format!("/../../{}/c", outside.path().display()),
        "/etc/../../../../d".to_owned(),
    ];
    bundle.edit(|spec| {
        spec["root"]["readonly"] = json!(false);
        let mounts = spec["mounts"].as_array_mut().expect("a list");
        for target in &targets {
            mounts.push(json!({ "destination": target, "source": volume, "options": ["bind"] }));
        }
    });
    let inside = outside.path().display();
    let (code, said) = bundle.run(&format!("cat {inside}/a/file {inside}/b/file {inside}/c/file /d/file"));
    assert_eq!((code, said.as_str()), (0, "vvvv"));
    assert_eq!(std::fs::read_dir(outside.path()).expect("outside").count(), 0, "the host was written to");
    guard.finish();
}

#[test]
fn hostile_roots_are_refused() {
    if !ready("hostile_roots_are_refused") {
        return;
    }
    let guard = harness::host::exclusive("hostile_roots_are_refused");
    let bind = |bundle: &Bundle, target: &str| json!({ "destination": target, "source": bundle.path().display().to_string(), "options": ["bind"] });
    type Case = (&'static str, fn(&Path), Option<&'static str>, &'static str);
    let cases: [Case; 6] = [
        ("/proc is a link", |root| relink(root, "proc", "/tmp"), None, "symbolic link"),
        ("/dev is a link", |root| relink(root, "dev", "tmp"), None, "symbolic link"),
        ("/sys is a link", |root| relink(root, "sys", "../../.."), None, "symbolic link"),
        ("a target inside /proc", |_| {}, Some("/proc/self/attr"), "inside /proc"),
        (
            "a link onto procfs",
            |root| symlink("/proc/sys", root.join("x")).expect("a link"),
            Some("/x"),
            "procfs",
        ),
        ("the root itself", |_| {}, Some("/etc/.."), "root cannot be mounted over"),
    ];
    for (name, prepare, target, words) in cases {
        let mut bundle = Bundle::new(guard.tag());
        prepare(&bundle.rootfs());
        let mount = target.map(|target| bind(&bundle, target));
        bundle.edit(|spec| spec["mounts"].as_array_mut().expect("a list").extend(mount));
        let (code, said) = bundle.run("echo ran");
        assert_eq!(code, 1, "{name}: {said}");
        assert!(said.contains(words), "{name}: {said}");
    }
    guard.finish();
}

fn relink(root: &Path, name: &str, to: &str) {
    std::fs::remove_dir(root.join(name)).expect("an empty directory");
    symlink(to, root.join(name)).expect("a link");
}

#[test]
fn leaked_descriptors_and_the_host_binary_are_out_of_reach() {
    if !ready("leaked_descriptors_and_the_host_binary_are_out_of_reach") {
        return;
    }
    let guard = harness::host::exclusive("leaked_descriptors_and_the_host_binary_are_out_of_reach");
    let mut bundle = Bundle::new(guard.tag());
    // A working directory that goes through a descriptor of the host (CVE-2024-21626).
    for number in 3..12 {
        bundle.edit(|spec| spec["process"]["cwd"] = json!(format!("/proc/self/fd/{number}/../../..")));
        let (code, said) = bundle.run("cat etc/hostname; pwd");
        assert_ne!(code, 0, "{number}: {said}");
    }
    bundle.edit(|spec| spec["process"]["cwd"] = json!("/"));
    // The runtime as the container's own program (CVE-2019-5736): it runs, but its file cannot be written.
    bundle.edit(|spec| {
        spec["process"]["args"] = json!(["/proc/self/exe", "oci", "features"]);
    });
    let output = bundle.oci(&["run", &bundle.id]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("ociVersionMax"), "{output:?}");
    bundle.shell("sleep 1000");
    let id = bundle.id.clone();
    bundle.create();
    let state: Value = serde_json::from_str(&bundle.must(&["state", &id])).expect("JSON");
    let exe = format!("/proc/{}/exe", state["pid"]);
    // Even the host's root cannot open it for writing by way of the child: its mount is read-only.
    let refused = std::fs::OpenOptions::new().write(true).open(&exe).expect_err("read-only");
    assert!(
        matches!(refused.raw_os_error(), Some(libc_erofs) if libc_erofs == rustix::io::Errno::ROFS.raw_os_error()
            || libc_erofs == rustix::io::Errno::TXTBSY.raw_os_error()),
        "{refused}"
    );
    bundle.must(&["delete", "--force", &id]);
    guard.finish();
}
