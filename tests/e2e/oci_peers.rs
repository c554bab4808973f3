//! `keelson oci` as the runtime of Debian's podman and of Debian's containerd: what those two ask of a runtime, in their
//! own way, with their own exit codes.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use harness::host::Guard;

const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");

/// The most that a peer's daemon may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with the runtime under its own name, an image, and a cgroup that is taken away at the end.
struct Stage {
    guard: Guard,
    folder: harness::TempDir,
}

impl Stage {
    /// None, and said so, where the test cannot run.
    fn set(test: &str, programs: &[&str]) -> Option<Stage> {
        let installed = |program: &&&str| {
            ["/usr/bin", "/usr/sbin", "/bin"].iter().any(|folder| Path::new(folder).join(program).exists())
        };
        if let Some(missing) = programs.iter().find(|program| !installed(program)) {
            harness::skip(test, &format!("no {missing}"));
            return None;
        }
        let Some(image) = harness::image::busybox() else {
            harness::skip(test, "no busybox (package busybox-static)");
            return None;
        };
        if !harness::root_or_skip(test) {
            return None;
        }
        let stage =
            Stage { guard: harness::host::exclusive(test), folder: harness::tempdir().expect("a folder") };
        symlink(KEELSON, stage.path("keelson-oci")).expect("a link");
        let image = image.command(&["/bin/sh"]).build();
        std::fs::write(stage.path("image.tar"), image.archive("localhost/box:1")).expect("an image");
        Some(stage)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn cgroup(&self) -> String {
        format!("peer{}", self.guard.tag())
    }

    fn finish(self) {
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten();
        for hierarchy in hierarchies.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]) {
            remove_cgroups(&hierarchy.join(self.cgroup()));
        }
        let Stage { guard, folder } = self;
        drop(folder);
        guard.finish();
    }
}

/// Empty directories that a peer left in its own parent cgroup.
fn remove_cgroups(path: &Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroups(&entry.path());
        }
    }
    let _absent = std::fs::remove_dir(path);
}

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn podman_runs_on_it() {
    const TEST: &str = "podman_runs_on_it";
    let Some(stage) = Stage::set(TEST, &["podman", "conmon"]) else { return };
    let podman = |arguments: &[&str]| -> Output {
        let mut command = Command::new("podman");
        for (flag, name) in
            [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp"), ("--network-config-dir", "net")]
        {
            command.arg(flag).arg(stage.path(name));
        }
        command.args(["--cgroup-manager=cgroupfs", "--storage-driver=vfs", "--events-backend=file"]);
        command.arg("--runtime").arg(stage.path("runtime"));
        command.args(arguments).stdin(Stdio::null()).output().expect("podman starts")
    };
    // podman forgets a runtime's own flags when it cleans up, so the state's folder is named by a script.
    let script =
        format!("#!/bin/sh\nexec {} --root {} \"$@\"\n", stage.text("keelson-oci"), stage.text("state"));
    std::fs::write(stage.path("runtime"), script).expect("a script");
    std::fs::set_permissions(stage.path("runtime"), std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let check = |arguments: &[&str], code: i32, words: &str| {
        let output = podman(arguments);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: no {words:?} in {text}");
    };
    let parent = format!("--cgroup-parent=/{}", stage.cgroup());
    // Higher limits than this process may have are podman's default; no runtime could set them here.
    let own = [&parent, "--network=none", "--ulimit=nofile=1000:1000", "--ulimit=nproc=4000:4000"];
    let run = |flags: &[&str], line: &str, code: i32, words: &str| {
        let all = [&["run"], &own[..], flags, &["localhost/box:1", "sh", "-c", line]].concat();
        check(&all, code, words);
    };
    check(&["load", "-q", "-i", &stage.text("image.tar")], 0, "localhost/box:1");

    run(&["--rm"], "echo hello; exit 3", 3, "hello");
    run(&["--rm", "--user", "7:8", "--workdir", "/bin"], "id -u; id -g; pwd", 0, "7\n8\n/bin");
    run(&["--rm", "--read-only"], "touch /x", 1, "Read-only file system");
    run(
        &["--rm", "--hostname", "box", "--env", "A=b"],
        "cat /proc/sys/kernel/hostname; echo $A",
        0,
        "box\nb",
    );
    run(&["--rm", "--pids-limit=20"], "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max", 1, "20");
    run(&["--rm", "--tty"], "tty", 0, "/dev/pts/0");
    run(
        &["--rm", "--uidmap=0:100000:65536", "--gidmap=0:100000:65536"],
        "cat /proc/self/uid_map",
        0,
        "100000",
    );
    check(&[&["run", "--rm"], &own[..], &["localhost/box:1", "nosuch"]].concat(), 127, "not found");

    run(&["--detach", "--name=c"], "echo started; exec sleep 1000", 0, "");
    check(&["exec", "c", "sh", "-c", "echo inside; exit 4"], 4, "inside");
    check(&["exec", "c", "nosuch"], 127, "not found");
    check(&["exec", "--tty", "c", "tty"], 0, "/dev/pts/0");
    check(&["logs", "c"], 0, "started");
    check(&["top", "c"], 0, "sleep 1000");
    check(&["stats", "--no-stream", "--format", "{{.PIDs}}", "c"], 0, "1");
    check(&["pause", "c"], 0, "");
    check(&["ps", "--all", "--format", "{{.Status}}"], 0, "Paused");
    check(&["unpause", "c"], 0, "");
    check(&["kill", "--signal=KILL", "c"], 0, "");
    check(&["wait", "c"], 0, "137");
    check(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "c"], 0, "exited 137");
    check(&["rm", "c"], 0, "");
    let left = std::fs::read_dir(stage.path("state/v1")).map(|entries| entries.count());
    assert!(left.is_ok_and(|count| count == 0), "the runtime's state is empty");
    stage.finish();
}

/// containerd with nothing but what `ctr` needs.
struct Containerd {
    process: Child,
}

impl Containerd {
    fn start(stage: &Stage) -> Containerd {
        let configuration = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n[plugins.\"io.containerd.internal.v1.opt\"]\npath = {:?}\n",
            stage.path("root"),
            stage.path("state"),
            stage.path("sock"),
            stage.path("ttrpc"),
            stage.path("opt"),
        );
        std::fs::write(stage.path("containerd.toml"), configuration).expect("a file");
        let process = Command::new("containerd")
            .arg("--config")
            .arg(stage.path("containerd.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Containerd { process: process.expect("containerd starts") }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ended = self.process.wait();
    }
}

#[test]
fn containerd_runs_on_it() {
    const TEST: &str = "containerd_runs_on_it";
    let Some(stage) = Stage::set(TEST, &["containerd", "ctr", "containerd-shim-runc-v2"]) else { return };
    let daemon = Containerd::start(&stage);
    let space = stage.cgroup();
    let ctr = |arguments: &[&str]| -> Output {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(stage.path("sock")).args(["--namespace", &space]);
        command.args(arguments).stdin(Stdio::null()).output().expect("ctr starts")
    };
    let check = |arguments: &[&str], code: i32, words: &str| {
        let output = ctr(arguments);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: no {words:?} in {text}");
    };
    let began = std::time::Instant::now();
    while !ctr(&["version"]).status.success() {
        assert!(began.elapsed() < PATIENCE, "containerd does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
    let (binary, root) = (stage.text("keelson-oci"), stage.text("runtime"));
    let own = ["--runc-binary", &binary, "--runc-root", &root, "--snapshotter", "native"];
    let run = |flags: &[&str], program: &[&str], code: i32, words: &str| {
        check(&[&["run"], flags, &own[..], &["localhost/box:1", "c"], program].concat(), code, words);
    };
    check(&["image", "import", "--snapshotter", "native", &stage.text("image.tar")], 0, "");

    run(&["--rm"], &["/bin/sh", "-c", "echo hello; exit 5"], 5, "hello");
    let status = ["/bin/cat", "/proc/self/status"];
    run(&["--rm", "--seccomp", "--cap-drop", "CAP_CHOWN"], &status, 0, "Seccomp:\t2");
    run(&["--rm", "--memory-limit", "50000000"], &["/bin/cat", "/proc/self/cgroup"], 0, &space);
    run(&["--rm"], &["/bin/nosuch"], 1, "no such file or directory");

    run(&["--detach"], &["/bin/sleep", "1000"], 0, "");
    check(&["task", "ls"], 0, "RUNNING");
    check(&["task", "exec", "--exec-id", "e", "c", "/bin/sh", "-c", "echo inside; exit 4"], 4, "inside");
    check(&["task", "pause", "c"], 0, "");
    check(&["task", "ls"], 0, "PAUSED");
    check(&["task", "resume", "c"], 0, "");
    check(&["task", "metrics", "c"], 0, "pids.current");
    check(&["task", "ps", "c"], 0, "PID");
    check(&["task", "kill", "--signal", "KILL", "c"], 0, "");
    let began = std::time::Instant::now();
    while !said(&ctr(&["task", "ls"])).contains("STOPPED") {
        assert!(began.elapsed() < PATIENCE, "SIGKILL does not end it");
        std::thread::sleep(Duration::from_millis(20));
    }
    check(&["task", "delete", "c"], 0, "code 137");
    check(&["container", "rm", "c"], 0, "");
    drop(daemon);
    stage.finish();
}

/// Calls that containerd 1.6 allows and this filter does not, or does not always.
const NOT_OURS: [(&str, &str); 4] = [
    (
        "io_uring_setup",
        "a second way to make system calls, which no filter sees; newer containerds leave it out too",
    ),
    ("io_uring_enter", "as above"),
    ("io_uring_register", "as above"),
    ("socket", "allowed but for AF_ALG and AF_VSOCK, as in newer containerds"),
];

/// Calls that are younger than containerd 1.6, or that it allows for some only; newer ones allow them to all.
const NOT_THEIRS: [&str; 18] = [
    "cachestat",
    "fchmodat2",
    "futex_requeue",
    "futex_wait",
    "futex_wake",
    "getxattrat",
    "listmount",
    "listxattrat",
    "map_shadow_stack",
    "mseal",
    "name_to_handle_at",
    "process_vm_readv",
    "process_vm_writev",
    "removexattrat",
    "riscv_hwprobe",
    "setxattrat",
    "statmount",
    "uretprobe",
];

#[test]
fn the_default_filter_is_containerds() {
    use std::collections::BTreeSet;
    const TEST: &str = "the_default_filter_is_containerds";
    let Some(stage) = Stage::set(TEST, &["containerd", "ctr"]) else { return };
    let daemon = Containerd::start(&stage);
    let ctr = |arguments: &[&str]| -> Output {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(stage.path("sock"));
        command.args(arguments).stdin(Stdio::null()).output().expect("ctr starts")
    };
    let began = std::time::Instant::now();
    while !ctr(&["version"]).status.success() {
        assert!(began.elapsed() < PATIENCE, "containerd does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
    let image = ["image", "import", "--snapshotter", "native", &stage.text("image.tar")];
    assert!(ctr(&image).status.success());
    let create =
        ["container", "create", "--seccomp", "--snapshotter", "native", "localhost/box:1", "c", "/bin/true"];
    let made = ctr(&create);
    assert!(made.status.success(), "{}", said(&made));
    let info: serde_json::Value =
        serde_json::from_slice(&ctr(&["container", "info", "c"]).stdout).expect("JSON");
    drop(daemon);

    /// Allowed whatever the arguments, and the rules that look at some.
    fn parts(profile: &serde_json::Value) -> (BTreeSet<String>, BTreeSet<String>) {
        let (mut always, mut rules) = (BTreeSet::new(), BTreeSet::new());
        for rule in profile["syscalls"].as_array().expect("rules") {
            let conditions = rule["args"].as_array().map_or(0, Vec::len);
            for name in rule["names"].as_array().expect("names").iter().filter_map(|name| name.as_str()) {
                match (rule["action"].as_str(), conditions) {
                    (Some("SCMP_ACT_ALLOW"), 0) => drop(always.insert(name.to_owned())),
                    _ => drop(rules.insert(format!(
                        "{name} {} {} {}",
                        rule["action"],
                        rule["errnoRet"],
                        condition(rule)
                    ))),
                }
            }
        }
        (always, rules)
    }
    fn condition(rule: &serde_json::Value) -> String {
        let first = &rule["args"][0];
        // A second value of zero may be left out.
        format!("{} {} {}", first["op"], first["value"], first["valueTwo"].as_u64().unwrap_or(0))
    }
    let spec = &info["Spec"];
    let bounding = spec["process"]["capabilities"]["bounding"].as_array().expect("capabilities");
    let bounding =
        sys::capability::parse(bounding.iter().filter_map(|name| name.as_str())).expect("known names");
    let ours = serde_json::to_value(oci::seccomp::runtime_default(bounding)).expect("JSON");
    let theirs = &spec["linux"]["seccomp"];
    assert_eq!(ours["defaultAction"], theirs["defaultAction"]);
    assert_eq!(ours["architectures"], theirs["architectures"]);
    let ((our_calls, our_rules), (their_calls, their_rules)) = (parts(&ours), parts(theirs));
    let less: Vec<_> = their_calls.difference(&our_calls).cloned().collect();
    let mut known: Vec<_> = NOT_OURS.iter().map(|(name, _)| (*name).to_owned()).collect();
    known.sort();
    assert_eq!(less, known, "allowed there and not here");
    let more: Vec<_> = our_calls.difference(&their_calls).cloned().collect();
    assert_eq!(more, NOT_THEIRS, "allowed here and not there");
    let missing: Vec<_> = their_rules.difference(&our_rules).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let more: Vec<_> =
        our_rules.difference(&their_rules).filter(|rule| !rule.starts_with("socket ")).collect();
    assert!(more.is_empty(), "{more:?}");
    stage.finish();
}
