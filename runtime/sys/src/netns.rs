//! Namespaces that live without a process: pinned by bind mounts, made for a sandbox, entered by path.
//!
//! A sandbox has no pause process. Its network, IPC and UTS namespaces are held by a mount each:
//!
//! ```text
//! <folder>/                 a private mount of itself (private_folder): pins do not propagate
//!     <sandbox>/net         an empty file, mode 0444, under a bind mount of the namespace
//!     <sandbox>/ipc
//!     <sandbox>/uts
//! ```
//!
//! A sandbox with ids of its own has a user namespace beside them (`user`), which owns the other three. PID and
//! mount namespaces are not pinned here: PID namespaces need an init, mount namespaces belong to containers.
//!
//! **Invariants.** A thread that has changed its namespaces serves nothing else and ends: every function
//! here that enters one does so on a thread of its own. `create` leaves everything or nothing. `delete`
//! is idempotent, and tells a pin from a plain file that an interrupted `create` left.
//!
//! Reference: namespaces(7), mount_namespaces(7), network_namespaces(7).

mod user;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;

pub use user::{IdRange, User, id_map};

/// HOST_NAME_MAX of the kernel.
const HOSTNAME_BYTES_MAX: usize = 64;

/// More mounts than this are never stacked on one pin; bounds the loop in [`delete`].
const STACKED_PINS_MAX: usize = 16;

/// Which namespaces a sandbox gets of its own, and how they are set up. A namespace without a path is
/// the caller's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    pub net: Option<PathBuf>,
    pub ipc: Option<PathBuf>,
    pub uts: Option<PathBuf>,
    /// Owns those above.
    pub user: Option<User>,
    /// Needs `uts`.
    pub hostname: Option<String>,
    /// Names with dots or slashes, such as `net.ipv4.ping_group_range`, and their values. Only those that
    /// belong to one of the namespaces above.
    pub sysctls: Vec<(String, String)>,
}

#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    #[error("{step} for namespaces of a sandbox")]
    Step { step: String, source: io::Error },
    #[error("hostname {name:?} {problem}")]
    Hostname { name: String, problem: &'static str },
    #[error("sysctl {name} does not belong to a namespace of this sandbox")]
    Sysctl { name: String },
    #[error("{} is not a pinned namespace", path.display())]
    NotANamespace { path: PathBuf },
    #[error("opening the namespace {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("removing the namespace {}", path.display())]
    Delete { path: PathBuf, source: io::Error },
    #[error("entering a network namespace")]
    Enter { source: io::Error },
}

/// Makes the desired namespaces and pins them. Loopback is up in a new network namespace.
pub fn create(desired: &Desired) -> Result<(), NetnsError> {
    create_with(desired, &|_| Ok(()))
}

/// The namespace that is pinned at `path`.
pub fn open(path: &Path) -> Result<OwnedFd, NetnsError> {
    let failed = |source| NetnsError::Open { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    if !is_namespace(file.as_fd()).map_err(failed)? {
        return Err(NetnsError::NotANamespace { path: path.to_owned() });
    }
    Ok(file.into())
}

/// Whether `path` holds a pinned namespace now.
#[must_use]
pub fn is_pinned(path: &Path) -> bool {
    open(path).is_ok()
}

/// Runs a closure inside a network namespace, on a thread that ends with it. Sockets it opens stay in
/// that namespace.
pub fn run_in<T: Send>(namespace: BorrowedFd<'_>, act: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
    let enter = move || {
        nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET)?;
        Ok::<T, Errno>(act())
    };
    on_a_thread("netns", enter)
        .map_err(|source| NetnsError::Enter { source })?
        .map_err(|errno| NetnsError::Enter { source: errno.into() })
}

/// The number by which eBPF programs know a network namespace (SO_NETNS_COOKIE, Linux 5.14). None: the
/// caller's own.
pub fn cookie(namespace: Option<BorrowedFd<'_>>) -> Result<u64, NetnsError> {
    let asked = match namespace {
        Some(namespace) => run_in(namespace, own_cookie)?,
        None => own_cookie(),
    };
    asked.map_err(|source| NetnsError::Enter { source })
}

fn own_cookie() -> io::Result<u64> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `cookie`, and keeps neither pointer.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// Unpins the namespace at `path` and removes the file. The kernel ends the namespace when its last
/// process and descriptor are gone. Nothing there is success.
pub fn delete(path: &Path) -> Result<(), NetnsError> {
    let failed = |source: io::Error| NetnsError::Delete { path: path.to_owned(), source };
    for _ in 0..STACKED_PINS_MAX {
        match nix::mount::umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            // EINVAL: not a mount point (any more).
            Err(Errno::EINVAL | Errno::ENOENT) => break,
            Err(errno) => return Err(failed(errno.into())),
        }
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Makes `folder` a private mount of itself, so that pins below it are not copied into other mount
/// namespaces, where they would keep namespaces alive. Idempotent.
pub fn private_folder(folder: &Path) -> Result<(), NetnsError> {
    let step = |what: &str, source: io::Error| NetnsError::Step {
        step: format!("{what} {}", folder.display()),
        source,
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(folder)
        .map_err(|e| step("creating the folder", e))?;
    let none = None::<&str>;
    let make_private = || nix::mount::mount(none, folder, none, MsFlags::MS_PRIVATE, none);
    match make_private() {
        Ok(()) => return Ok(()),
        // Not a mount point yet.
        Err(Errno::EINVAL) => {}
        Err(errno) => return Err(step("making private", errno.into())),
    }
    nix::mount::mount(Some(folder), folder, none, MsFlags::MS_BIND, none)
        .map_err(|errno| step("mounting on itself", errno.into()))?;
    make_private().map_err(|errno| step("making private", errno.into()))
}

/// Undoes [`private_folder`] and removes the folder if it is empty. Idempotent.
pub fn remove_folder(folder: &Path) -> Result<(), NetnsError> {
    let failed = |source: io::Error| NetnsError::Delete { path: folder.to_owned(), source };
    match nix::mount::umount2(folder, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(errno) => return Err(failed(errno.into())),
    }
    match fs::remove_dir(folder) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            Err(failed(error))
        }
        _ => Ok(()),
    }
}

// === plan ===

/// One thing that is done on the thread that will be in the new namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Folder(PathBuf),
    PinFile(PathBuf),
    Unshare(CloneFlags),
    /// With the sysctls that the user namespace's root writes.
    UnshareOwned {
        user: User,
        flags: CloneFlags,
        sysctls: Vec<(PathBuf, String)>,
    },
    LoopbackUp,
    Hostname(String),
    Sysctl {
        path: PathBuf,
        value: String,
    },
    Pin {
        kind: &'static str,
        path: PathBuf,
    },
}

fn plan(desired: &Desired) -> Result<Vec<Step>, NetnsError> {
    let kinds = [
        ("net", CloneFlags::CLONE_NEWNET, &desired.net),
        ("ipc", CloneFlags::CLONE_NEWIPC, &desired.ipc),
        ("uts", CloneFlags::CLONE_NEWUTS, &desired.uts),
    ];
    let wanted: Vec<_> =
        kinds.into_iter().filter_map(|(kind, flag, path)| Some((kind, flag, path.clone()?))).collect();
    let mut steps = Vec::new();
    let user_path = desired.user.iter().map(|user| &user.path);
    for path in wanted.iter().map(|(_, _, path)| path).chain(user_path) {
        if let Some(folder) = path.parent() {
            steps.push(Step::Folder(folder.to_owned()));
        }
        steps.push(Step::PinFile(path.clone()));
    }
    let flags = wanted.iter().fold(CloneFlags::empty(), |all, (_, flag, _)| all | *flag);
    let unshare = steps.len();
    let mut owned = Vec::new();
    steps.push(Step::Unshare(flags));
    if desired.net.is_some() {
        steps.push(Step::LoopbackUp);
    }
    if let Some(name) = &desired.hostname {
        let problem = |problem| NetnsError::Hostname { name: name.clone(), problem };
        if desired.uts.is_none() {
            return Err(problem("needs a UTS namespace of its own"));
        }
        if name.is_empty() || name.len() > HOSTNAME_BYTES_MAX || name.contains('\0') {
            return Err(problem("must have 1 to 64 bytes"));
        }
        steps.push(Step::Hostname(name.clone()));
    }
    for (name, value) in &desired.sysctls {
        let path = sysctl_path(desired, name)?;
        // The one of UTS namespaces belongs to the host's root always.
        if desired.user.is_some() && path != Path::new("/proc/sys/kernel/domainname") {
            owned.push((path, value.clone()));
        } else {
            steps.push(Step::Sysctl { path, value: value.clone() });
        }
    }
    steps[unshare] = match &desired.user {
        Some(user) => Step::UnshareOwned { user: user.clone(), flags, sysctls: owned },
        None => Step::Unshare(flags),
    };
    steps.extend(wanted.into_iter().map(|(kind, _, path)| Step::Pin { kind, path }));
    Ok(steps)
}

/// The file of a sysctl, if it belongs to a namespace of this sandbox.
fn sysctl_path(desired: &Desired, name: &str) -> Result<PathBuf, NetnsError> {
    const IPC: &[&str] = &["kernel/msg", "kernel/sem", "kernel/shm", "fs/mqueue/"];
    const UTS: &[&str] = &["kernel/domainname"];
    // Dots separate, unless the name is written with slashes, in which dots are part of a device's name.
    let relative = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    let below = |roots: &[&str]| roots.iter().any(|root| relative.starts_with(root));
    let ours = (desired.net.is_some() && below(&["net/"]))
        || (desired.ipc.is_some() && below(IPC))
        || (desired.uts.is_some() && below(UTS));
    let clean = relative.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if !ours || !clean {
        return Err(NetnsError::Sysctl { name: name.to_owned() });
    }
    Ok(Path::new("/proc/sys").join(relative))
}

/// `before(k)` runs before step k; a test makes it fail.
fn create_with(
    desired: &Desired,
    before: &(dyn Fn(usize) -> io::Result<()> + Sync),
) -> Result<(), NetnsError> {
    let steps = plan(desired)?;
    let run = || {
        for (k, step) in steps.iter().enumerate() {
            before(k).and_then(|()| execute(step)).map_err(|source| (k, source))?;
        }
        Ok(())
    };
    let outcome = on_a_thread("sandbox-ns", run)
        .map_err(|source| NetnsError::Step { step: "starting a thread".to_owned(), source })?;
    outcome.map_err(|(failed, source)| {
        // The first error is the one to tell; what cannot be undone now is found by `delete` later.
        steps[..failed].iter().rev().for_each(undo);
        NetnsError::Step { step: describe(&steps[failed]), source }
    })
}

/// Takes back a step that was done. Namespaces that nobody pins end with the thread.
fn undo(step: &Step) {
    match step {
        Step::PinFile(path) => drop(delete(path)),
        // Only if it is empty: another namespace of the sandbox may live there.
        Step::Folder(path) => drop(fs::remove_dir(path)),
        // The pin of a user namespace goes with its file.
        Step::Unshare(_)
        | Step::UnshareOwned { .. }
        | Step::LoopbackUp
        | Step::Hostname(_)
        | Step::Sysctl { .. }
        | Step::Pin { .. } => {}
    }
}

fn execute(step: &Step) -> io::Result<()> {
    match step {
        Step::Folder(path) => fs::DirBuilder::new().recursive(true).mode(0o711).create(path),
        Step::PinFile(path) => {
            // A pin of the same name, left by an interrupted run, is not ours to reuse.
            OpenOptions::new().write(true).create_new(true).mode(0o444).open(path).map(drop)
        }
        Step::Unshare(flags) => Ok(nix::sched::unshare(*flags)?),
        Step::UnshareOwned { user, flags, sysctls } => user::unshare(user, *flags, sysctls),
        Step::LoopbackUp => loopback_up(),
        Step::Hostname(name) => Ok(nix::unistd::sethostname(name)?),
        Step::Sysctl { path, value } => fs::write(path, value),
        Step::Pin { kind, path } => {
            let source = format!("/proc/thread-self/ns/{kind}");
            let none = None::<&str>;
            Ok(nix::mount::mount(Some(source.as_str()), path, none, MsFlags::MS_BIND, none)?)
        }
    }
}

fn describe(step: &Step) -> String {
    match step {
        Step::Folder(path) => format!("creating {}", path.display()),
        Step::PinFile(path) => format!("creating {}", path.display()),
        Step::Unshare(_) => "leaving the host's namespaces".to_owned(),
        Step::UnshareOwned { user, .. } => format!("making the user namespace {}", user.path.display()),
        Step::LoopbackUp => "setting lo up".to_owned(),
        Step::Hostname(name) => format!("setting the hostname {name:?}"),
        Step::Sysctl { path, value } => format!("writing {value:?} to {}", path.display()),
        Step::Pin { kind, path } => format!("pinning {kind} at {}", path.display()),
    }
}

// === system calls ===

fn on_a_thread<T: Send>(name: &str, act: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, act)?;
        thread.join().map_err(|_| io::Error::other(format!("the thread {name} panicked")))
    })
}

fn is_namespace(fd: BorrowedFd<'_>) -> io::Result<bool> {
    const NSFS_MAGIC: i64 = 0x6e73_6673;
    let found = rustix::fs::fstatfs(fd)?;
    Ok(found.f_type == NSFS_MAGIC)
}

fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: ifreq is plain data for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    let up = libc::IFF_UP | libc::IFF_RUNNING | libc::IFF_LOOPBACK;
    request.ifr_ifru.ifru_flags = i16::try_from(up).unwrap_or(i16::MAX);
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives until the call returns.
    let code = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(folder: &Path) -> Desired {
        Desired {
            net: Some(folder.join("s1/net")),
            ipc: Some(folder.join("s1/ipc")),
            uts: Some(folder.join("s1/uts")),
            user: None,
            hostname: Some("pod-1".to_owned()),
            sysctls: vec![
                ("net.ipv4.ping_group_range".to_owned(), "0 100".to_owned()),
                ("kernel.shmmni".to_owned(), "1234".to_owned()),
            ],
        }
    }

    #[test]
    fn sysctls_stay_in_their_namespaces() {
        let all = desired(Path::new("/x"));
        let check = |name: &str, expect: Option<&str>| {
            assert_eq!(sysctl_path(&all, name).ok(), expect.map(PathBuf::from), "{name}");
        };
        check("net.ipv4.ip_forward", Some("/proc/sys/net/ipv4/ip_forward"));
        check("net/ipv4/conf/eth0.1/forwarding", Some("/proc/sys/net/ipv4/conf/eth0.1/forwarding"));
        check("fs.mqueue.msg_max", Some("/proc/sys/fs/mqueue/msg_max"));
        check("kernel.domainname", Some("/proc/sys/kernel/domainname"));
        check("kernel.panic", None);
        check("vm.overcommit_memory", None);
        check("net/../kernel/panic", None);
        let host_network = Desired { net: None, ..all.clone() };
        assert!(sysctl_path(&host_network, "net.ipv4.ip_forward").is_err());
    }

    #[test]
    fn a_hostname_needs_a_namespace_and_a_length() {
        let without = Desired { hostname: Some("a".to_owned()), ..Desired::default() };
        assert!(matches!(plan(&without), Err(NetnsError::Hostname { .. })));
        let long = Desired { hostname: Some("a".repeat(65)), ..desired(Path::new("/x")) };
        assert!(matches!(plan(&long), Err(NetnsError::Hostname { .. })));
    }

    #[test]
    fn pins_hold_what_was_set_and_go_without_a_trace() {
        if !harness::root_or_skip("pins_hold_what_was_set_and_go_without_a_trace") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let guard = harness::host::exclusive("sys::netns");
        let ns = folder.path().join("ns");
        private_folder(&ns).unwrap();
        private_folder(&ns).unwrap();
        let desired = desired(&ns);
        create(&desired).unwrap();
        assert!(create(&desired).is_err(), "a second sandbox of the same name is refused");
        let net = desired.net.clone().unwrap();
        assert!(is_pinned(&net), "and leaves the first alone");
        let fd = open(&net).unwrap();
        let inside = run_in(fd.as_fd(), || {
            let lo = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            std::net::TcpStream::connect(lo.local_addr().unwrap()).unwrap();
            fs::read_to_string("/proc/sys/net/ipv4/ping_group_range").unwrap()
        });
        assert_eq!(inside.unwrap().split_whitespace().collect::<Vec<_>>(), ["0", "100"]);
        let uts = open(desired.uts.as_ref().unwrap()).unwrap();
        let name = std::thread::spawn(move || {
            nix::sched::setns(uts, CloneFlags::CLONE_NEWUTS).unwrap();
            fs::read_to_string("/proc/sys/kernel/hostname").unwrap()
        });
        assert_eq!(name.join().unwrap().trim(), "pod-1");
        assert!(matches!(open(Path::new("/etc/hostname")), Err(NetnsError::NotANamespace { .. })));
        drop(fd);
        for path in [&desired.net, &desired.ipc, &desired.uts].into_iter().flatten() {
            delete(path).unwrap();
            delete(path).unwrap();
        }
        fs::remove_dir(ns.join("s1")).unwrap();
        remove_folder(&ns).unwrap();
        remove_folder(&ns).unwrap();
        assert!(!ns.exists());
        guard.finish();
    }

    #[test]
    fn a_user_namespace_owns_the_others() {
        if !harness::root_or_skip("a_user_namespace_owns_the_others") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let guard = harness::host::exclusive("sys::netns user");
        let ns = folder.path().join("ns");
        private_folder(&ns).unwrap();
        let row = [IdRange { inside: 0, outside: 300_000, count: 1000 }];
        let user = User { path: ns.join("s1/user"), uids: row.to_vec(), gids: row.to_vec() };
        let desired = Desired { user: Some(user.clone()), ..desired(&ns) };
        create(&desired).unwrap();
        let own = open(&user.path).unwrap();
        let number = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).unwrap().st_ino;
        for path in [&desired.net, &desired.ipc, &desired.uts].into_iter().flatten() {
            let owner = owner(open(path).unwrap().as_fd());
            assert_eq!(number(owner.as_fd()), number(own.as_fd()), "{}", path.display());
        }
        let net = open(desired.net.as_ref().unwrap()).unwrap();
        let range =
            run_in(net.as_fd(), || fs::read_to_string("/proc/sys/net/ipv4/ping_group_range").unwrap());
        // Told in ids of the reader: those of the namespace are 300000 higher.
        assert!(range.unwrap().contains("300100"), "the sysctl was written");
        drop((own, net));
        for path in [&desired.net, &desired.ipc, &desired.uts].into_iter().flatten().chain([&user.path]) {
            delete(path).unwrap();
        }
        fs::remove_dir(ns.join("s1")).unwrap();
        remove_folder(&ns).unwrap();
        guard.finish();
    }

    /// NS_GET_USERNS.
    fn owner(namespace: BorrowedFd<'_>) -> OwnedFd {
        use std::os::fd::FromRawFd as _;
        // SAFETY: the request takes no argument; the answer is a new descriptor that nobody else owns.
        unsafe {
            let raw = libc::ioctl(namespace.as_raw_fd(), 0xb701);
            assert!(raw >= 0, "{}", io::Error::last_os_error());
            OwnedFd::from_raw_fd(raw)
        }
    }

    #[test]
    fn an_error_at_any_step_leaves_nothing() {
        if !harness::root_or_skip("an_error_at_any_step_leaves_nothing") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut guard = harness::host::exclusive("sys::netns errors");
        guard.list(folder.path());
        let row = vec![IdRange { inside: 0, outside: 300_000, count: 1000 }];
        let user = User { path: folder.path().join("s1/user"), uids: row.clone(), gids: row };
        let desired = Desired { user: Some(user), ..desired(folder.path()) };
        let steps = plan(&desired).unwrap().len();
        for at in 0..steps {
            let fail = |k: usize| if k == at { Err(io::Error::other("injected")) } else { Ok(()) };
            assert!(create_with(&desired, &fail).is_err(), "step {at}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        guard.finish();
    }
}
