//! A network namespace that plays a machine, so that tests never touch the root namespace.
//!
//! Built with `nsenter` and `ip`: an implementation that is not ours checks the one that is. The
//! namespace is pinned as /run/netns/NAME, so `ip -n NAME` works while a test is being debugged, but
//! without the shared mount over /run/netns that `ip netns add` leaves behind.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;

const FOLDER: &str = "/run/netns";

/// A port on which nobody listens in a fresh namespace.
const DISCARD: u16 = 9;
const REACH: Duration = Duration::from_secs(10);

/// One pretended machine; deleted on drop.
pub struct TestHost {
    name: String,
    path: PathBuf,
}

impl TestHost {
    /// A fresh network namespace named `kt-TAG-NAME` with loopback up. `tag` is the guard's.
    ///
    /// # Panics
    /// When the kernel refuses; the test needs root.
    #[must_use]
    pub fn create(tag: &str, name: &str) -> TestHost {
        let name = format!("kt-{tag}-{name}");
        fs::DirBuilder::new().recursive(true).mode(0o755).create(FOLDER).expect("the folder for namespaces");
        let path = Path::new(FOLDER).join(&name);
        fs::File::create_new(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let pin = path.clone();
        // A thread of its own: it ends in the new namespace, so it must not serve anything else.
        let pinned = std::thread::spawn(move || {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET)?;
            let mine = format!("/proc/self/task/{}/ns/net", nix::unistd::gettid());
            nix::mount::mount(Some(mine.as_str()), &pin, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        });
        let host = TestHost { name, path };
        pinned
            .join()
            .expect("the thread ends")
            .unwrap_or_else(|e| panic!("a namespace for {}: {e}", host.name));
        host.ip(&["link", "set", "lo", "up"]);
        host
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pinned namespace, as CNI_NETNS wants it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command that will run inside. Mounts, processes and cgroups stay those of the real host.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path.display())).arg("--").arg(program);
        command
    }

    /// Runs a command inside, whatever it exits with.
    #[must_use]
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        self.command(program)
            .args(arguments)
            .output()
            .unwrap_or_else(|e| panic!("{program} in {}: {e}", self.name))
    }

    /// Runs a command inside that must succeed, and gives its output.
    pub fn must(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.run(program, arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{}: {program} {arguments:?}: {}\n{}{}",
            self.name,
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// `ip ARGUMENTS` inside.
    pub fn ip(&self, arguments: &[&str]) -> String {
        self.must("ip", arguments)
    }

    /// Sets a sysctl inside, by its path below /proc/sys/net.
    pub fn sysctl(&self, name: &str, value: &str) {
        self.must("sh", &["-c", &format!("echo '{value}' > /proc/sys/net/{name}")]);
    }

    /// A cable: `device` here, `other_device` there, both up.
    pub fn connect(&self, device: &str, other: &TestHost, other_device: &str) {
        let there = other.path.display().to_string();
        self.ip(&["link", "add", device, "type", "veth", "peer", "name", other_device, "netns", &there]);
        self.ip(&["link", "set", device, "up"]);
        other.ip(&["link", "set", other_device, "up"]);
    }

    /// Adds an address with its prefix length; IPv6 without waiting for duplicate address detection.
    pub fn address(&self, device: &str, address: &str) {
        let mut arguments = vec!["addr", "add", address, "dev", device];
        if address.contains(':') {
            arguments.push("nodad");
        }
        self.ip(&arguments);
    }

    /// Runs a closure on a thread inside, for sockets of the test's own.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let namespace = fs::File::open(&self.path).unwrap_or_else(|e| panic!("{}: {e}", self.path.display()));
        within(&namespace, act)
    }

    /// Whether packets get to `address` and back: the machine there refuses a connection to a port on
    /// which nobody listens.
    #[must_use]
    pub fn reaches(&self, address: &str) -> bool {
        let address: IpAddr = address.parse().unwrap_or_else(|e| panic!("{address}: {e}"));
        let outcome = self.inside(|| TcpStream::connect_timeout(&SocketAddr::new(address, DISCARD), REACH));
        match outcome {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::ConnectionRefused,
        }
    }
}

/// Runs a closure on a thread inside of any network namespace. Sockets made there stay of it.
pub fn within<T: Send>(namespace: &fs::File, act: impl FnOnce() -> T + Send) -> T {
    let enter = move || {
        nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET).expect("entering a namespace");
        act()
    };
    std::thread::scope(|scope| scope.spawn(enter).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Drop for TestHost {
    fn drop(&mut self) {
        // Errors are left to the guard, which sees what stays behind.
        let _ = nix::mount::umount2(&self.path, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir(FOLDER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hosts_on_one_cable() {
        if !crate::root_or_skip("two_hosts_on_one_cable") {
            return;
        }
        let guard = crate::host::exclusive("two_hosts_on_one_cable");
        let left = TestHost::create(guard.tag(), "left");
        let right = TestHost::create(guard.tag(), "right");
        left.connect("cable", &right, "cable");
        left.address("cable", "192.0.2.1/24");
        right.address("cable", "192.0.2.2/24");
        left.address("cable", "2001:db8::1/64");
        right.address("cable", "2001:db8::2/64");
        assert!(left.reaches("192.0.2.2"));
        assert!(right.reaches("2001:db8::1"));
        assert!(!left.reaches("192.0.2.3"));
        drop((left, right));
        guard.finish();
    }
}
