//! Launching without the command line, as the keeper does: overlay roots, gates, pipes, namespaces joined by
//! path. A program of its own without the test harness, because a launching process must have one thread.

use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keelson_oci as oci;
use oci::launch::{self, LaunchError, LaunchFds, Pending, Progress};
use oci::{ExecTarget, Namespaces, Plan, PlanOptions, Rootfs};
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

/// How long a step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    if !harness::root_or_skip("launch") {
        return;
    }
    if !Path::new("/bin/busybox").exists() {
        harness::skip("launch", "no /bin/busybox (package busybox-static)");
        return;
    }
    type Test = (&'static str, fn(&mut World));
    let tests: [Test; 6] = [
        ("an overlay of layers is the root", overlay),
        ("many layers are one root", many_layers),
        ("the gate holds the program back", gate),
        ("a failed step says which", failed_step),
        ("a PID namespace is shared by path", shared_pid),
        ("a user namespace is joined by path", joined_user),
    ];
    for (name, test) in tests {
        let guard = harness::host::exclusive(name);
        let mut world = World::new();
        test(&mut world);
        drop(world);
        guard.finish();
        println!("ok: {name}");
    }
}

struct World {
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let world = World { directory };
        let base = world.path("base");
        for name in ["bin", "proc", "dev", "sys", "tmp"] {
            std::fs::create_dir_all(base.join(name)).unwrap();
        }
        std::fs::copy("/bin/busybox", base.join("bin/busybox")).unwrap();
        for name in ["sh", "cat", "sleep", "echo", "readlink", "ls", "id"] {
            std::os::unix::fs::symlink("busybox", base.join("bin").join(name)).unwrap();
        }
        for name in ["upper", "work"] {
            std::fs::create_dir(world.path(name)).unwrap();
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn overlay(&self, lower: Vec<PathBuf>) -> Rootfs {
        Rootfs::Overlay { lower, upper: self.path("upper"), work: self.path("work") }
    }
}

fn spec(line: &str, namespaces: Value) -> Spec {
    serde_json::from_value(json!({
        "ociVersion": "1.2.0",
        "process": { "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": ["sh", "-c", line], "env": ["PATH=/bin"] },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"] },
        ],
        "linux": { "namespaces": namespaces },
    }))
    .unwrap()
}

fn own() -> Value {
    json!([{ "type": "mount" }, { "type": "pid" }])
}

fn plan(line: &str, namespaces: Value, rootfs: Rootfs, gate: bool) -> Plan {
    let options = PlanOptions { rootfs: Some(rootfs), gate, ..PlanOptions::default() };
    let plan = Plan::from_spec(&spec(line, namespaces), &options).unwrap();
    // As it travels to the keeper.
    Plan::decode(&plan.encode().unwrap()).unwrap()
}

/// Starts with standard output in a pipe.
fn start(plan: Plan, gate: Option<OwnedFd>) -> (Pending, std::fs::File) {
    let (read, write) = pipe();
    let null = || OwnedFd::from(std::fs::File::options().read(true).write(true).open("/dev/null").unwrap());
    let fds =
        LaunchFds { stdio: Some([null(), write.try_clone().unwrap(), write]), gate, ..LaunchFds::default() };
    (launch::start(plan, fds).unwrap(), std::fs::File::from(read))
}

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
}

fn output(plan: Plan) -> (i32, String) {
    let (mut pending, mut out) = start(plan, None);
    assert_eq!(pending.wait().unwrap(), Progress::Running);
    let mut said = String::new();
    out.read_to_string(&mut said).unwrap();
    (sys::process::reap(pending.pidfd.as_fd()).unwrap().code(), said)
}

fn overlay(world: &mut World) {
    let middle = world.path("middle");
    std::fs::create_dir(&middle).unwrap();
    std::fs::write(middle.join("layer"), "from the middle").unwrap();
    let root = world.overlay(vec![middle.clone(), world.path("base")]);
    let (code, said) = output(plan("cat /layer; echo new > /layer; exit 5", own(), root, false));
    assert_eq!((code, said.as_str()), (5, "from the middle"));
    assert_eq!(std::fs::read_to_string(middle.join("layer")).unwrap(), "from the middle");
    assert_eq!(std::fs::read_to_string(world.path("upper").join("layer")).unwrap(), "new\n");
}

fn many_layers(world: &mut World) {
    let mut lower: Vec<PathBuf> = Vec::new();
    for number in 0..40 {
        let layer = world.path(&format!("layer:with,marks-{number}"));
        std::fs::create_dir(&layer).unwrap();
        std::fs::write(layer.join(format!("file{number}")), "x").unwrap();
        lower.push(layer);
    }
    lower.push(world.path("base"));
    let root = world.overlay(lower);
    let (code, said) = output(plan("cat /file*", own(), root, false));
    assert_eq!((code, said), (0, "x".repeat(40)));
}

fn gate(world: &mut World) {
    let (read, write) = pipe();
    let plan = plan("echo ran", own(), Rootfs::Directory(world.path("base")), true);
    let (mut pending, mut out) = start(plan, Some(read));
    assert_eq!(pending.wait().unwrap(), Progress::AtGate);
    assert_eq!(pending.advance().unwrap(), Progress::Waiting);
    rustix::io::write(&write, &[0]).unwrap();
    assert_eq!(pending.wait().unwrap(), Progress::Running);
    let mut said = String::new();
    out.read_to_string(&mut said).unwrap();
    assert_eq!(said, "ran\n");
    sys::process::reap(pending.pidfd.as_fd()).unwrap();
    let (read, write) = pipe();
    let (mut orphan, _out) =
        start(self::plan("echo ran", own(), Rootfs::Directory(world.path("base")), true), Some(read));
    assert_eq!(orphan.wait().unwrap(), Progress::AtGate);
    drop(write);
    assert!(matches!(orphan.wait(), Err(LaunchError::Step { errno: sys::Errno::PIPE, .. })));
    orphan.abandon();
}

fn failed_step(world: &mut World) {
    let mut broken = plan("echo ran", own(), Rootfs::Directory(world.path("base")), false);
    // Every step in turn is replaced by one that cannot succeed: the child says which, and leaves nothing.
    let steps = broken.steps.clone();
    for index in 0..steps.len() {
        broken.steps = steps.clone();
        broken.steps[index] =
            oci::Step::Sysctl { path: "/proc/sys/nowhere/at/all".into(), value: "1".into() };
        let (mut pending, _out) = start(broken.clone(), None);
        match pending.wait() {
            Err(LaunchError::Step { index: said, errno, .. }) => {
                assert_eq!((said, errno), (index, sys::Errno::NOENT));
            }
            other => panic!("step {index}: {other:?}"),
        }
        assert_eq!(sys::process::reap(pending.pidfd.as_fd()).unwrap().code(), 1);
    }
}

fn shared_pid(world: &mut World) {
    let base = Rootfs::Directory(world.path("base"));
    let (mut first, _out) = start(plan("sleep 1000", own(), base.clone(), false), None);
    assert_eq!(first.wait().unwrap(), Progress::Running);
    // The shell runs; it becomes what it was told to in its own time.
    let begun = Instant::now();
    while std::fs::read(format!("/proc/{}/cmdline", first.pid)).unwrap() != b"sleep\x001000\x00" {
        assert!(begun.elapsed() < PATIENCE, "it does not sleep");
        std::thread::sleep(Duration::from_millis(1));
    }
    let path = format!("/proc/{}/ns/pid", first.pid);
    let namespaces = json!([{ "type": "mount" }, { "type": "pid", "path": path }]);
    let (code, said) = output(plan("echo $$; cat /proc/1/cmdline", namespaces, base, false));
    assert_eq!((code, said.as_str()), (0, "2\nsleep\u{0}1000\u{0}"));

    let spec = spec("echo $$; readlink /proc/1/exe", own());
    let target = ExecTarget {
        pid: first.pid,
        start_ticks: sys::process::stat(first.pid).map(|(_, start)| start),
        namespaces: Namespaces::MOUNT.with(Namespaces::PID),
        ..ExecTarget::default()
    };
    let (code, said) = output(Plan::exec(spec.process().as_ref().unwrap(), &target).unwrap());
    assert_eq!((code, said.contains("busybox")), (0, true), "{said}");
    let recycled = ExecTarget { start_ticks: Some(1), ..target };
    let exec = Plan::exec(spec.process().as_ref().unwrap(), &recycled).unwrap();
    assert!(matches!(launch::start(exec, LaunchFds::default()), Err(LaunchError::TargetGone(_))));
    first.abandon();
}

fn joined_user(world: &mut World) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(world.directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let base = Rootfs::Directory(world.path("base"));
    let options = PlanOptions { rootfs: Some(base.clone()), ..PlanOptions::default() };
    let mut first_spec = serde_json::to_value(spec("sleep 1000", own())).unwrap();
    first_spec["linux"]["namespaces"] =
        json!([{ "type": "mount" }, { "type": "pid" }, { "type": "user" }, { "type": "network" }]);
    for field in ["uidMappings", "gidMappings"] {
        first_spec["linux"][field] = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    }
    let first_spec: Spec = serde_json::from_value(first_spec).unwrap();
    let (mut first, _out) = start(Plan::from_spec(&first_spec, &options).unwrap(), None);
    assert_eq!(first.wait().unwrap(), Progress::Running);
    let of = |kind: &str| format!("/proc/{}/ns/{kind}", first.pid);
    let namespaces = json!([
        { "type": "mount" }, { "type": "pid" },
        { "type": "user", "path": of("user") }, { "type": "network", "path": of("net") },
    ]);
    let (code, said) = output(plan("id -u; echo $$; cat /proc/self/uid_map", namespaces, base, false));
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!((code, words), (0, vec!["0", "1", "0", "100000", "65536"]));
    first.abandon();
}
