//! The runtime's own file stays as it is, whatever a container does with the process that becomes its program.
//!
//! A hostile image lets whoever is executed in it run the runtime once more (a program that is a link to /proc/self/exe, a
//! script whose interpreter is that), and its other processes open what they see in /proc/PID/exe and write. Each test was seen
//! to fail with the read-only clone of the file's mount taken out (`oci::shield`, `sys::early`, the keeper's start).
//!
//! Reference: CVE-2019-5736.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cri_api::v1::ExecSyncRequest;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use crate::cri_node::{stage, write_network};
use crate::oci_bundle::{Bundle, ready};

/// A link to whoever executes it: the runtime once more, inside.
const AGAIN: &str = "/bin/again";
/// Makes that stay until somebody writes to the pipe: it wants to read a configuration there.
const STAYS: &[&str] = &[AGAIN, "status", "--kubeconfig", "/tmp/pipe"];
/// A script whose interpreter is whoever executes it; that ends at once.
const SCRIPT: &str = "/bin/script";
/// How often the script is raced.
const RUNS: usize = 10;
/// For the attacker to say what became of it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Opens what any process runs that is not the image's own program, lets that process end, and writes. `>` truncates: the kernel looks
/// at the mount first, and only then whether the file is being executed.
const ATTACKER: &str = "echo begun > /tmp/seen; while :; do for p in /proc/[0-9]*; do \
    exe=$(readlink $p/exe); case $exe in ''|*/busybox) continue;; esac; \
    (exec 9< $p/exe; echo opened $exe >> /tmp/seen; (echo > /tmp/pipe) & \
    while [ -e $p ]; do :; done; echo x > /proc/self/fd/9 && echo wrote >> /tmp/seen; echo done >> /tmp/seen) 2>> /tmp/said; \
    done; done";

/// A copy of the executable: it is what would be overwritten.
struct Victim {
    path: PathBuf,
    before: Vec<u8>,
}

impl Victim {
    fn new(folder: &Path) -> Victim {
        let path = folder.join("keelson-oci");
        std::fs::copy(env!("CARGO_BIN_EXE_keelson"), &path).expect("a copy");
        let before = std::fs::read(&path).expect("the copy");
        Victim { path, before }
    }

    fn is_as_it_was(&self) -> bool {
        std::fs::read(&self.path).expect("the copy") == self.before
    }

    fn run(&self, bundle: &Bundle, arguments: &[&str]) -> bool {
        let mut command = Command::new(&self.path);
        command.arg("--root").arg(bundle.path().join("state")).args(arguments).current_dir(bundle.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().expect("it runs").success()
    }
}

/// What /proc/PID/exe of a process is, opened, can be written by nobody once the process has ended.
fn nobody_writes(seen: &std::fs::File) {
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(seen));
    let refused = std::fs::OpenOptions::new().write(true).open(again).expect_err("it is read-only");
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{refused}");
}

/// CVE-2019-5736. A process of the container keeps what /proc/PID/exe showed it, waits until the runtime has ended, and
/// writes: what it kept is a read-only mount of the file, for ever.
#[test]
fn the_runtimes_file_cannot_be_overwritten() {
    const TEST: &str = "the_runtimes_file_cannot_be_overwritten";
    if !ready(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let mut bundle = Bundle::new(guard.tag());
    let victim = Victim::new(bundle.path());
    bundle.shell("sleep 1000");
    assert!(victim.run(&bundle, &["create", &bundle.id]));
    let seen = std::fs::File::open(format!("/proc/{}/exe", bundle.pid())).expect("what runs");
    assert!(victim.run(&bundle, &["delete", "--force", &bundle.id]));
    nobody_writes(&seen);
    assert!(victim.is_as_it_was());
    guard.finish();
}

/// The same by `exec` into a container whose program is hostile.
#[test]
fn exec_gives_no_way_to_the_runtimes_file() {
    const TEST: &str = "exec_gives_no_way_to_the_runtimes_file";
    if !ready(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let mut bundle = Bundle::new(guard.tag());
    let victim = Victim::new(bundle.path());
    let root = bundle.rootfs();
    symlink("/proc/self/exe", root.join(&AGAIN[1..])).expect("a link");
    std::fs::write(root.join(&SCRIPT[1..]), "#!/proc/self/exe status\n").expect("a script");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(root.join(&SCRIPT[1..]), mode).expect("a mode");
    mknodat(CWD, root.join("tmp/pipe"), FileType::Fifo, Mode::from_raw_mode(0o666), 0).expect("a pipe");
    bundle.shell(ATTACKER).edit(|spec| spec["root"]["readonly"] = json!(false));
    assert!(victim.run(&bundle, &["create", &bundle.id]));
    assert!(victim.run(&bundle, &["start", &bundle.id]));
    let read = |name: &str| std::fs::read_to_string(root.join("tmp").join(name)).unwrap_or_default();
    let until = |word: &str| {
        let began = Instant::now();
        while !read("seen").contains(word) {
            assert!(began.elapsed() < PATIENCE, "{} {}", read("seen"), read("said"));
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    until("begun");
    let exec: Vec<&str> = ["exec", &bundle.id].into_iter().chain(STAYS.iter().copied()).collect();
    // Its own code: there is no such configuration.
    assert!(!victim.run(&bundle, &exec));
    until("done");
    assert!(read("seen").contains("opened"), "the attacker saw the runtime: {}", read("seen"));
    assert!(read("said").contains("Read-only file system"), "{} {}", read("seen"), read("said"));
    for _ in 0..RUNS {
        assert!(!victim.run(&bundle, &["exec", &bundle.id, SCRIPT]));
    }
    assert!(victim.run(&bundle, &["delete", "--force", &bundle.id]));
    let (seen, said) = (read("seen"), read("said"));
    assert!(!seen.contains("wrote") && !said.contains("busy") && victim.is_as_it_was(), "{seen} {said}");
    guard.finish();
}

/// The same by CRI: what becomes the program was the keeper.
#[test]
fn an_exec_by_cri_gives_no_way_to_the_file() {
    stage("an_exec_by_cri_gives_no_way_to_the_file", async |_, mut client| {
        write_network(&mut client, "10.213.14.0/24").await;
        let pod = client.pod("hostile");
        let sandbox = client.run(&pod).await.expect("a sandbox");
        let prepare = format!("ln -s /proc/self/exe {AGAIN}; mkdir -p /tmp; mknod /tmp/pipe p; {ATTACKER}");
        let config = client.container("c", &prepare);
        let container = client.create(&sandbox, &pod, config).await.expect("created");
        client.start(&container).await.expect("started");
        let wait = |word: &str| {
            format!(
                "i=0; until grep -q {word} /tmp/seen 2>/dev/null || [ $i = 1000 ]; do sleep 0.01; i=$((i+1)); done"
            )
        };
        client.output(&container, &wait("begun")).await;
        let command: Vec<String> = STAYS.iter().map(|word| (*word).to_owned()).collect();
        let request = ExecSyncRequest { container_id: container.clone(), cmd: command, timeout: 60 };
        let answer = client.runtime.exec_sync(request).await.expect("it ran").into_inner();
        assert_ne!(answer.exit_code, 0, "there is no such configuration");
        client.output(&container, &wait("done")).await;
        let found = client.output(&container, "cat /tmp/seen /tmp/said").await;
        assert!(found.contains("opened") && found.contains("Read-only file system"), "{found}");
        assert!(!found.contains("wrote") && !found.contains("busy"), "{found}");
        client.end(&sandbox).await.expect("removed");
    });
}
