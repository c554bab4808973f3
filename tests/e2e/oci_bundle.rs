//! A bundle on disk around Debian's static busybox, and `keelson oci` called on it.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const BUSYBOX: &str = "/bin/busybox";

const APPLETS: &[&str] = &[
    "cat", "chmod", "cut", "dd", "echo", "env", "false", "grep", "head", "hostname", "id", "ionice", "kill",
    "ln", "ls", "mkdir", "mknod", "mount", "mv", "nc", "ps", "pwd", "readlink", "rm", "sed", "seq", "sh",
    "sleep", "sort", "stat", "stty", "tail", "test", "touch", "tr", "true", "tty", "umask", "umount",
    "uname", "unshare", "wc", "yes",
];

/// True when the test can run here; says so when not.
pub fn ready(test: &str) -> bool {
    if !Path::new(BUSYBOX).exists() {
        harness::skip(test, "no /bin/busybox (package busybox-static)");
        return false;
    }
    harness::root_or_skip(test)
}

pub struct Bundle {
    directory: tempfile::TempDir,
    /// The container's id, of this test alone.
    pub id: String,
    spec: Value,
}

impl Bundle {
    /// A root filesystem with a shell, and the specification that `spec` writes, without a terminal.
    pub fn new(tag: &str) -> Bundle {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path().join("rootfs");
        for name in ["bin", "etc", "dev", "proc", "sys", "tmp"] {
            std::fs::create_dir_all(root.join(name)).expect("a directory of the root");
        }
        std::fs::copy(BUSYBOX, root.join("bin/busybox")).expect("busybox");
        for applet in APPLETS {
            symlink("busybox", root.join("bin").join(applet)).expect("an applet");
        }
        let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:web:/home/web:/bin/sh\n";
        std::fs::write(root.join("etc/passwd"), passwd).expect("passwd");
        let mut bundle = Bundle { directory, id: format!("oci-{tag}"), spec: Value::Null };
        let path = bundle.path().to_owned();
        let made = bundle.oci(&["spec", "--bundle", path.to_str().expect("a UTF-8 path")]);
        assert!(made.status.success(), "{made:?}");
        let text = std::fs::read(path.join("config.json")).expect("config.json");
        bundle.spec = serde_json::from_slice(&text).expect("JSON");
        bundle.spec["process"]["terminal"] = json!(false);
        bundle.spec["linux"]["cgroupsPath"] = json!(format!("/{}", bundle.id));
        bundle
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// Changes the specification.
    pub fn edit(&mut self, change: impl FnOnce(&mut Value)) -> &mut Bundle {
        change(&mut self.spec);
        let text = serde_json::to_vec_pretty(&self.spec).expect("JSON");
        std::fs::write(self.path().join("config.json"), text).expect("config.json");
        self
    }

    /// The program is a line of shell.
    pub fn shell(&mut self, line: &str) -> &mut Bundle {
        self.edit(|spec| spec["process"]["args"] = json!(["sh", "-c", line]))
    }

    /// The command with its own state directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keelson"));
        command.arg("oci").arg("--root").arg(self.path().join("state")).args(arguments);
        command.current_dir(self.path()).stdin(Stdio::null());
        command
    }

    pub fn oci(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("keelson oci starts")
    }

    /// `oci`, whose success is expected.
    pub fn must(&self, arguments: &[&str]) -> String {
        let output = self.oci(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `create`, whose standard streams the container would otherwise keep open.
    pub fn create(&self) {
        let status = self
            .command(&["create", &self.id])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("keelson oci starts");
        assert!(status.success(), "create: {status}");
    }

    /// `start`, until the program is the container's first process: the call itself only lets it go.
    pub fn start(&self, program: &str) {
        self.must(&["start", &self.id]);
        let path = format!("/proc/{}/cmdline", self.pid());
        let begun = Instant::now();
        loop {
            let line = std::fs::read_to_string(&path).expect("its command line").replace('\0', " ");
            if line.trim_end() == program {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "it is still {line:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Runs a line of shell in a container of its own: code, and both outputs.
    pub fn run(&mut self, line: &str) -> (i32, String) {
        self.shell(line);
        let output = self.oci(&["run", &self.id]);
        (output.status.code().unwrap_or(-1), text(&output))
    }

    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap_or_default().to_owned()
    }

    /// The first process, as the host numbers it.
    pub fn pid(&self) -> i32 {
        self.state()["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a PID")
    }

    fn state(&self) -> Value {
        serde_json::from_str(&self.must(&["state", &self.id])).expect("JSON")
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _gone = self.oci(&["delete", "--force", &self.id]);
    }
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
