//! Ways out of a container, one guard each. The tests were seen to fail with their guards taken out (mount targets have
//! two: lookups that stay below the root, and a walk that follows no link).
//!
//! Not here: the runtime's own file (`runtime_file`), links in images and leaked descriptors as working directory (`oci_filesystem`), what the API lets a pod ask
//! for (`kubelet_security`).

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::oci_bundle::{Bundle, ready, text};

/// CVE-2024-21626. A descriptor of the host that reaches the child is no way to the host's tree.
#[test]
fn descriptors_are_no_way_out() {
    const TEST: &str = "descriptors_are_no_way_out";
    if !ready(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let mut bundle = Bundle::new(guard.tag());
    // What the caller forgot to close does not get in at all.
    let leaky = |bundle: &Bundle, arguments: &[&str]| {
        let mut command = Command::new("/bin/sh");
        command.args([
            "-c",
            "exec 3</ 7</etc; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_keelson"),
            "oci",
            "--root",
        ]);
        command.arg(bundle.path().join("state")).args(arguments).current_dir(bundle.path());
        command.stdin(Stdio::null()).output().expect("it runs")
    };
    bundle.shell("for n in 3 4 5 6 7 8 9; do readlink /proc/self/fd/$n; done; test ! -e /proc/self/fd/7 && echo closed");
    let said = text(&leaky(&bundle, &["run", &bundle.id]));
    assert!(said.ends_with("closed\n") && !said.contains("/etc"), "{said}");
    // One that is passed on by intent is no working directory: nothing there has a path inside.
    bundle.shell("pwd; ls").edit(|spec| spec["process"]["cwd"] = json!("/proc/self/fd/3"));
    let output = leaky(&bundle, &["run", "--preserve-fds", "1", &bundle.id]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("directory `/proc/self/fd/3`"), "{}", text(&output));

    bundle.shell("sleep 1000").edit(|spec| spec["process"]["cwd"] = json!("/"));
    bundle.create();
    bundle.must(&["start", &bundle.id]);
    let exec = ["exec", "--preserve-fds", "1", "--cwd", "/proc/self/fd/3", &bundle.id, "pwd"];
    let output = leaky(&bundle, &exec);
    assert_eq!(output.status.code(), Some(255), "{}", text(&output));
    assert!(text(&output).contains("outside the container"), "{}", text(&output));
    // Nor does exec find a program through one that was only forgotten.
    let output = leaky(&bundle, &["exec", &bundle.id, "/proc/self/fd/3/bin/true"]);
    assert_eq!(output.status.code(), Some(255), "{}", text(&output));
    bundle.must(&["delete", "--force", &bundle.id]);
    guard.finish();
}

/// CVE-2025-31133 and CVE-2025-52565. What hides a path and what becomes the console come from the host and from the
/// terminal, never from a name that the image or a racing container decides about.
#[test]
fn masks_and_consoles_come_from_the_host() {
    const TEST: &str = "masks_and_consoles_come_from_the_host";
    if !ready(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let mut bundle = Bundle::new(guard.tag());
    let root = bundle.rootfs();
    std::fs::write(root.join("token"), "secret").expect("a file");
    std::fs::write(root.join("dev/null"), "the image's null device").expect("a file");
    bundle.edit(|spec| {
        // The image's own /dev, as an image with its own ideas would have it.
        spec["mounts"]
            .as_array_mut()
            .expect("a list")
            .retain(|m| !m["destination"].as_str().is_some_and(|d| d.starts_with("/dev")));
        spec["linux"]["maskedPaths"].as_array_mut().expect("a list").push(json!("/token"));
    });
    let (code, said) = bundle.run("cat /token; stat -c %t:%T /token");
    assert_eq!((code, said.as_str()), (0, "1:3\n"));

    // A host whose null device is something else hides nothing with it.
    bundle.shell("cat /token");
    let swapped = format!(
        "mount --bind {} /dev/null && exec {} oci --root {} run {}",
        root.join("token").display(),
        env!("CARGO_BIN_EXE_keelson"),
        bundle.path().join("state").display(),
        bundle.id
    );
    let output =
        Command::new("unshare").args(["-m", "sh", "-c", &swapped]).current_dir(bundle.path()).output();
    let output = output.expect("unshare runs");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("not the null device"), "{}", text(&output));

    // The console is mounted on no link, and the terminal comes from nothing but a devpts.
    let console = |bundle: &mut Bundle| {
        bundle.shell("true").edit(|spec| spec["process"]["terminal"] = json!(true));
        text(&bundle.oci(&["run", &bundle.id]))
    };
    std::fs::create_dir(root.join("dev/pts")).expect("a directory");
    std::fs::write(root.join("dev/pts/ptmx"), "").expect("a file");
    assert!(console(&mut bundle).contains("no devpts"), "a file is no terminal");
    symlink("/etc/victim", root.join("dev/console")).expect("a link");
    std::fs::write(root.join("etc/victim"), "").expect("a file");
    bundle.edit(|spec| {
        let pts = json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"] });
        spec["mounts"].as_array_mut().expect("a list").push(pts);
    });
    let said = console(&mut bundle);
    assert!(said.contains("set up the terminal"), "{said}");
    guard.finish();
}

/// The same with somebody who changes what is masked, and what masks, while containers are made.
#[test]
fn a_race_against_the_masks_hides_or_fails() {
    const TEST: &str = "a_race_against_the_masks_hides_or_fails";
    if !ready(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let mut bundle = Bundle::new(guard.tag());
    let root = bundle.rootfs();
    let outside = tempfile::tempdir().expect("a directory");
    let victim = outside.path().join("victim");
    std::fs::write(&victim, "of the host").expect("a file");
    std::fs::create_dir_all(root.join("dev/pts")).expect("a directory");
    for name in ["token", "dev/null", "dev/console", "dev/ptmx"] {
        std::fs::write(root.join(name), "the image's").expect("a file");
    }
    bundle.shell("cat /token; stat -c %t:%T /token").edit(|spec| {
        spec["process"]["terminal"] = json!(true);
        let mounts = spec["mounts"].as_array_mut().expect("a list");
        mounts.retain(|m| !m["destination"].as_str().is_some_and(|d| d.starts_with("/dev")));
        mounts.push(json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"] }));
        spec["linux"]["maskedPaths"].as_array_mut().expect("a list").push(json!("/token"));
    });
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut hidden, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let pairs = ["token", "dev/null", "dev/console"].map(|name| {
                let (own, link) = (root.join(name), root.join(format!("{name}.link")));
                symlink(&victim, &link).expect("a link");
                (own, link)
            });
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for (own, link) in &pairs {
                    let flags = rustix::fs::RenameFlags::EXCHANGE;
                    let _busy = rustix::fs::renameat_with(rustix::fs::CWD, own, rustix::fs::CWD, link, flags);
                }
            }
        });
        for _ in 0..20 {
            let output = bundle.oci(&["run", &bundle.id]);
            let said = text(&output);
            // Where it ran, the mask is the host's device: on the path, or on what the link led to inside.
            assert!(!said.contains("of the host"), "{said}");
            if output.status.success() { hidden += 1 } else { refused += 1 }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    println!("{hidden} ran, {refused} were refused");
    assert_eq!(std::fs::read_to_string(&victim).expect("as it was"), "of the host");
    guard.finish();
}

/// CVE-2021-30465. Somebody changes the image's directories into links and back while containers are made from it.
#[test]
fn a_race_against_the_mounts_never_leaves_the_root() {
    const TEST: &str = "a_race_against_the_mounts_never_leaves_the_root";
    if !ready(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let mut bundle = Bundle::new(guard.tag());
    let outside = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(outside.path().join("made")).expect("a directory");
    let root = bundle.rootfs();
    std::fs::create_dir_all(root.join("target/made")).expect("a directory");
    bundle.shell("true").edit(|spec| {
        let deep = json!({ "destination": "/target/made/new/deep", "type": "tmpfs" });
        spec["mounts"].as_array_mut().expect("a list").push(deep);
    });
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (directory, link) = (root.join("target"), root.join("link"));
            let _made = symlink(outside.path(), &link);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                let _busy =
                    rustix::fs::renameat_with(rustix::fs::CWD, &directory, rustix::fs::CWD, &link, flags);
            }
        });
        for _ in 0..20 {
            let _either = bundle.oci(&["run", &bundle.id]);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(
        std::fs::read_dir(outside.path().join("made")).expect("outside").next().is_none(),
        "the host was written to"
    );
    guard.finish();
}

/// CVE-2025-52881. A setting that is written to /proc goes to procfs or nowhere.
#[test]
fn settings_are_written_to_procfs_only() {
    const TEST: &str = "settings_are_written_to_procfs_only";
    if !ready(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let mut bundle = Bundle::new(guard.tag());
    bundle.shell("true").edit(|spec| {
        spec["linux"]["sysctl"] = json!({ "kernel.shmmax": "123456" });
        spec["process"]["oomScoreAdj"] = json!(500);
    });
    for place in ["/proc/sys/kernel", "/proc/sys"] {
        let line = format!(
            "mount -t tmpfs tmpfs {place} && mkdir -p /proc/sys/kernel && touch /proc/sys/kernel/shmmax; exec {} oci --root {} run {}",
            env!("CARGO_BIN_EXE_keelson"),
            bundle.path().join("state").display(),
            bundle.id
        );
        let output =
            Command::new("unshare").args(["-m", "sh", "-c", &line]).current_dir(bundle.path()).output();
        let output = output.expect("unshare runs");
        assert_eq!(output.status.code(), Some(1), "{place}: {}", text(&output));
        assert!(text(&output).contains("mounted over procfs"), "{place}: {}", text(&output));
    }
    guard.finish();
}

/// A child of the runtime in a container's PID namespace shows nothing of itself to the container's root.
#[test]
fn children_cannot_be_looked_into() {
    const TEST: &str = "children_cannot_be_looked_into";
    if !ready(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let mut bundle = Bundle::new(guard.tag());
    bundle.shell("sleep 1000");
    bundle.create();
    bundle.start("sleep 1000");
    let mut second = Bundle::new(&format!("{}b", guard.tag()));
    let namespace = format!("/proc/{}/ns/pid", bundle.pid());
    second.shell("sleep 1000").edit(|spec| {
        for entry in spec["linux"]["namespaces"].as_array_mut().expect("a list") {
            if entry["type"] == "pid" {
                entry["path"] = json!(namespace);
            }
        }
    });
    // It waits at its gate: still the runtime, with the container's own capabilities.
    second.create();
    let line = "for p in $(ls /proc | grep '^[0-9]*$'); do \
                grep -q keelson /proc/$p/stat 2>/dev/null || continue; echo child; \
                for f in exe cwd root; do readlink /proc/$p/$f 2>/dev/null; done; \
                for f in environ maps auxv mem fd/0; do head -c 1 /proc/$p/$f 2>/dev/null | wc -c; done; \
                for f in /proc/$p/fd/* /proc/$p/ns/*; do readlink $f; done; done; true";
    let said = bundle.must(&["exec", &bundle.id, "sh", "-c", line]);
    assert_eq!(said, "child\n0\n0\n0\n0\n0\n", "the container sees that it is there, and nothing of it");
    second.must(&["delete", "--force", &second.id]);
    bundle.must(&["delete", "--force", &bundle.id]);
    guard.finish();
}

/// An exec has the container's capabilities and no more, its filter, its cgroup and its namespaces.
#[test]
fn exec_stays_inside() {
    const TEST: &str = "exec_stays_inside";
    if !ready(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let mut bundle = Bundle::new(guard.tag());
    bundle.shell("sleep 1000").edit(|spec| {
        spec["process"]["capabilities"] =
            json!({ "bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"] });
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }],
        });
    });
    bundle.create();
    bundle.must(&["start", &bundle.id]);
    let status = "grep -hE '^(CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status";
    let expect = "CapPrm:\t0000000000000001\nCapEff:\t0000000000000001\nCapBnd:\t0000000000000001\n\
                  CapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";
    assert_eq!(bundle.must(&["exec", &bundle.id, "sh", "-c", status]), expect);
    // A process of its own that lists no capabilities has none; the filter is the container's all the same.
    let process = bundle.path().join("process.json");
    let lines = format!(
        "{status}; mkdir /tmp/x; cat /proc/self/cgroup; for n in mnt pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done"
    );
    let file = json!({ "args": ["sh", "-c", lines], "cwd": "/", "user": { "uid": 0, "gid": 0 }, "env": ["PATH=/bin"] });
    std::fs::write(&process, file.to_string()).expect("process.json");
    let output = bundle.oci(&["exec", "--process", &process.display().to_string(), &bundle.id]);
    let said = text(&output);
    let none = "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\n";
    assert!(
        said.starts_with(none) && said.contains("Seccomp:\t2") && said.contains("not implemented"),
        "{said}"
    );
    let pid = bundle.pid();
    for name in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let namespace = std::fs::read_link(format!("/proc/{pid}/ns/{name}")).expect("a namespace");
        assert!(said.contains(&namespace.display().to_string()), "{name}: {said}");
    }
    // Its own view of the cgroups has no way up, in any hierarchy.
    assert!(!said.contains("/.."), "{said}");
    bundle.must(&["delete", "--force", &bundle.id]);
    guard.finish();
}

/// Root inside is nobody outside, and cgroups are to be looked at only.
#[test]
fn user_namespaces_and_cgroup_mounts_hold() {
    const TEST: &str = "user_namespaces_and_cgroup_mounts_hold";
    if !ready(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let mut bundle = Bundle::new(guard.tag());
    let everything: Vec<String> =
        ["SYS_ADMIN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "CHOWN", "FOWNER", "MKNOD", "SETUID"]
            .iter()
            .map(|name| format!("CAP_{name}"))
            .collect();
    let secret = bundle.path().join("secret");
    std::fs::write(&secret, "the host's").expect("a file");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    std::fs::set_permissions(bundle.path(), std::fs::Permissions::from_mode(0o755)).expect("a mode");
    bundle.edit(|spec| {
        spec["process"]["capabilities"] =
            json!({ "bounding": everything, "permitted": everything, "effective": everything });
        spec["mounts"]
            .as_array_mut()
            .expect("a list")
            .push(json!({ "destination": "/secret", "source": secret, "options": ["bind"] }));
    });
    std::fs::write(bundle.rootfs().join("secret"), "").expect("a mount point");
    // A container with these capabilities could remount if it tried; what it is given is read-only.
    let (code, said) = bundle.run(
        "for d in /sys/fs/cgroup /sys/fs/cgroup/*; do \
         mkdir $d/x 2>/dev/null && echo made in $d; \
         for f in cgroup.procs tasks release_agent notify_on_release; do \
         test -e $d/$f && (echo 0 > $d/$f) 2>/dev/null && echo wrote $d/$f; done; done; true",
    );
    assert_eq!((code, said.as_str()), (0, ""));

    let maps = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    bundle.edit(|spec| {
        spec["linux"]["uidMappings"] = maps.clone();
        spec["linux"]["gidMappings"] = maps;
        spec["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({ "type": "user" }));
    });
    let (code, said) = bundle.run(
        "cat /proc/self/uid_map | tr -s ' '; stat -c %u /secret; cat /secret; chown 0 /secret; chmod 666 /secret; \
         mknod /tmp/disk b 8 0",
    );
    assert_ne!(code, 0);
    assert!(
        said.contains("0 100000 65536") && said.contains("65534") && !said.contains("the host's"),
        "{said}"
    );
    let mode = std::fs::metadata(&secret).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    guard.finish();
}

/// Only parameters of the container's own namespaces are set, only listed devices are opened.
#[test]
fn parameters_and_devices_are_those_allowed() {
    const TEST: &str = "parameters_and_devices_are_those_allowed";
    if !ready(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    for (key, words) in [
        ("kernel.core_pattern", "not in a namespace"),
        ("kernel/core_pattern", "not in a namespace"),
        ("vm.overcommit_memory", "not in a namespace"),
        ("net/../kernel/core_pattern", "not a parameter"),
        ("kernel.hostname", "set `hostname` instead"),
    ] {
        let mut bundle = Bundle::new(guard.tag());
        bundle.edit(|spec| spec["linux"]["sysctl"] = json!({ key: "1" }));
        let (code, said) = bundle.run("true");
        assert_eq!(code, 1, "{key}: {said}");
        assert!(said.contains(words), "{key}: {said}");
    }
    // Only devices that the host itself can open show anything: the rules, not their absence, must be in the way.
    let there = openable();
    assert!(!there.is_empty(), "this host can open none of {DEVICES:?}");
    let mut bundle = Bundle::new(guard.tag());
    bundle.edit(|spec| {
        let all = json!([
            "CAP_MKNOD",
            "CAP_DAC_OVERRIDE",
            "CAP_SYS_RAWIO",
            "CAP_SYS_ADMIN",
            "CAP_SYSLOG",
            "CAP_NET_ADMIN"
        ]);
        spec["process"]["capabilities"] = json!({ "bounding": all, "permitted": all, "effective": all });
        spec["linux"]["resources"] = json!({});
        let tmp = json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["dev"] });
        spec["mounts"].as_array_mut().expect("a list").push(tmp);
    });
    let (_, said) = bundle.run(&try_devices(&there));
    assert_eq!(said, "opened null\n");
    guard.finish();
}

/// Character devices that no container is given: the kernel's log, tunnels, other file systems, loops, machines, noise.
const DEVICES: &[(&str, u32, u32)] = &[
    ("kmsg", 1, 11),
    ("mem", 1, 1),
    ("tun", 10, 200),
    ("fuse", 10, 229),
    ("loop-control", 10, 237),
    ("kvm", 10, 232),
    ("hwrng", 10, 183),
];

/// Those of [`DEVICES`] that root of this host can open.
pub fn openable() -> Vec<(&'static str, u32, u32)> {
    let folder = tempfile::tempdir().expect("a directory");
    let opens = |(name, major, minor): &&(&'static str, u32, u32)| {
        let path = folder.path().join(name);
        let device = rustix::fs::makedev(*major, *minor);
        let kind = rustix::fs::FileType::CharacterDevice;
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, device).expect("a node");
        std::fs::File::open(path).is_ok()
    };
    DEVICES.iter().filter(opens).copied().collect()
}

/// A script that says which of the devices it could open, and the null device, which it may.
pub fn try_devices(devices: &[(&str, u32, u32)]) -> String {
    let tries = devices.iter().chain([&("null", 1, 3)]).map(|(name, major, minor)| {
        format!("mknod {name} c {major} {minor}; (: < {name}) 2>/dev/null && echo opened {name}; ")
    });
    format!("cd /tmp; {}true", tries.collect::<String>())
}

/// A container that takes what it can get takes what it was given.
#[test]
fn bombs_stay_in_their_cgroup() {
    const TEST: &str = "bombs_stay_in_their_cgroup";
    if !ready(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let mut bundle = Bundle::new(guard.tag());
    let limits = json!({ "pids": { "limit": 20 }, "memory": { "limit": 32 << 20, "swap": 32 << 20 } });
    bundle.edit(|spec| spec["linux"]["resources"] = limits);
    // Both stop by themselves at what the machine bears, should nothing else stop them.
    let (code, said) = bundle
        .run("(i=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i+1)); done); set -- /proc/[0-9]*; echo $#");
    assert_eq!(code, 0, "{said}");
    let processes: usize = said.lines().find_map(|line| line.parse().ok()).expect("a number");
    assert!((10..=20).contains(&processes) && said.contains("can't fork"), "{said}");

    // Only the hog asks for memory: whatever else asks while the hog is dying may meet the killer too.
    let hog = "dd if=/dev/zero of=/dev/null bs=128M count=1";
    let (code, said) = bundle.run(&format!("{hog}; echo \"dd ended with $?\""));
    assert!(code == 0 && said.contains("dd ended with 137\n"), "the hog alone is killed: {code} {said}");
    let (code, said) = bundle.run(&format!("exec {hog}"));
    assert_eq!(code, 137, "as a container of its own, it goes with it: {said}");
    assert!(!Path::new("/sys/fs/cgroup/memory").join(&bundle.id).exists());
    guard.finish();
}
