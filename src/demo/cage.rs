//! Namespaces that hold a whole node: its network, its mounts, its processes.
//!
//! ```text
//! demo ─► demo-cage   leaves its namespaces for new ones; waits
//!            └─► demo-init   process 1 in there: mounts, links, the node; reaps
//!                   └─► keelson server ...
//! ```
//!
//! **Invariants.** Whoever dies takes those below along: `demo-cage` is killed with `demo`, `demo-init` with it, and
//! with process 1 the kernel kills all of the namespace. Mounts, links, programs and maps go with the last of them.

mod root;

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};
use ipnet::{IpNet, Ipv4Net};
use netlink::{Address, Batch, Kind, LinkChange, NewLink, Peer, Route, Socket};
use nix::sched::CloneFlags;

/// The node's address: from a range that no real host has (RFC 5737).
pub const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// A host outside the cluster.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const PREFIX: u8 = 24;
const UPLINK: &str = "uplink";
const READY: &str = "the cage is built";

/// A running cage. Dropping it does not open it: [`Cage::tear_down`] does.
pub struct Cage {
    process: Child,
    /// Process 1 in there, as we see it.
    init: i32,
    folder: PathBuf,
}

impl Cage {
    /// Builds a cage whose node keeps its files in `folder`.
    pub fn build(folder: &Path, server: &[String]) -> anyhow::Result<Cage> {
        let log = std::fs::File::create(folder.join("node.log"))?;
        let mut process = Command::new("/proc/self/exe")
            .arg0("keelson")
            .arg("demo-cage")
            .arg(folder)
            .args(server)
            // Ctrl-C is for the demo alone.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("starting the node's namespaces")?;
        let mut said = String::new();
        let output = process.stdout.take().context("the cage's output")?;
        BufReader::new(output).read_line(&mut said)?;
        if said.trim() != READY {
            let _ended = process.wait();
            bail!("the node's namespaces: {}", last_lines(folder));
        }
        let children = format!("/proc/{0}/task/{0}/children", process.id());
        let init = std::fs::read_to_string(&children).with_context(|| format!("reading {children}"))?;
        let init =
            init.split_whitespace().next().and_then(|pid| pid.parse().ok()).context("the cage is empty")?;
        Ok(Cage { process, init, folder: folder.to_owned() })
    }

    /// Moves this process's thread into the node's network; threads started later are there too.
    pub fn enter_network(&self) -> anyhow::Result<()> {
        let path = self.network_path();
        sys::namespace::join_path(Path::new(&path), CloneFlags::CLONE_NEWNET.bits().cast_unsigned())
            .with_context(|| format!("entering {path}"))
    }

    /// The node's network namespace, for nsenter.
    pub fn network_path(&self) -> String {
        format!("/proc/{}/ns/net", self.init)
    }

    /// The network of the host outside the cluster.
    pub fn outside(&self) -> anyhow::Result<OwnedFd> {
        let inside = outside_path(&self.folder);
        let path = PathBuf::from(format!("/proc/{}/root{}", self.init, inside.display()));
        Ok(sys::netns::open(&path)?)
    }

    /// Kills all that is in there, and waits for it.
    pub fn tear_down(mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.init) {
            // It may have ended by itself.
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _ended = self.process.wait();
    }
}

/// The end of the node's log, for errors.
pub fn last_lines(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join("node.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

fn outside_path(folder: &Path) -> PathBuf {
    folder.join("ns/outside")
}

/// `keelson demo-cage FOLDER FLAGS`.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    told(cage(&arguments))
}

/// `keelson demo-init FOLDER EXECUTABLE FLAGS`.
pub fn init_main(arguments: Vec<OsString>) -> ExitCode {
    told(init(&arguments))
}

fn told(done: anyhow::Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::FAILURE
    })
}

fn cage(arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    sys::process::die_with_parent()?;
    // Told now: from another mount namespace the kernel tells it by the mount's root, not by ours.
    let executable = std::fs::read_link("/proc/self/exe")?;
    let kinds = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    sys::namespace::unshare(kinds.bits().cast_unsigned()).context("new namespaces")?;
    let mut init = Command::new("/proc/self/exe");
    let (folder, flags) = arguments.get(1..).and_then(<[_]>::split_first).context("a folder is wanted")?;
    init.arg0("keelson").arg("demo-init").arg(folder).arg(executable).args(flags);
    let ended = init.spawn().context("starting process 1")?.wait()?;
    Ok(ExitCode::from(ended.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

fn init(arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    sys::process::die_with_parent()?;
    let [_, folder, executable, flags @ ..] = arguments else {
        bail!("a folder and an executable are wanted")
    };
    let folder = PathBuf::from(folder);
    mounts(&folder)?;
    links(&folder)?;
    let mut server = Command::new(own_executable(Path::new(executable))?);
    server.arg0("keelson").arg("server").args(flags);
    let server = server.stdout(Stdio::null()).spawn().context("starting the node")?;
    println!("{READY}");
    std::io::stdout().flush()?;
    reap_until(server.id())
}

/// This executable by its name in this mount namespace, so that the node knows a name that it can use.
fn own_executable(path: &Path) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    let ourselves = Path::new("/proc/self/exe");
    let file = |path: &Path| std::fs::metadata(path).map(|file| (file.dev(), file.ino()));
    let running = file(ourselves).context("this executable")?;
    // Otherwise it was replaced while it ran.
    let same = file(path).is_ok_and(|named| named == running);
    Ok(if same { path } else { ourselves }.to_owned())
}

/// What every process 1 does. Ends when `server` does.
fn reap_until(server: u32) -> anyhow::Result<ExitCode> {
    loop {
        match nix::sys::wait::wait() {
            Ok(ended) if ended.pid().is_some_and(|pid| pid.as_raw().cast_unsigned() == server) => {
                bail!("the node ended: {ended:?}");
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => bail!("waiting for the node: {error}"),
        }
    }
}

fn mounts(folder: &Path) -> anyhow::Result<()> {
    use nix::mount::{MsFlags, mount};
    let none = None::<&str>;
    root::make_private(folder)?;
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), quiet, none).context("mounting /proc")?;
    let bpf = folder.join("bpf");
    std::fs::create_dir_all(&bpf)?;
    mount(Some("bpf"), &bpf, Some("bpf"), quiet, none).context("mounting a BPF filesystem")?;
    sys::netns::private_folder(&folder.join("ns"))?;
    Ok(())
}

/// Loopback, and a cable to a host outside the cluster, whose network is pinned in the folder.
fn links(folder: &Path) -> anyhow::Result<()> {
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    let outside = outside_path(folder);
    sys::netns::create(&sys::netns::Desired { net: Some(outside.clone()), ..Default::default() })?;
    let outside = sys::netns::open(&outside)?;
    let mut here = Socket::open()?;
    let mut there = Socket::open_in(outside.as_fd())?;
    let loopback = here.link_named("lo")?.context("there is no loopback")?.index;
    let mut batch = Batch::new();
    batch.change_link(loopback, &up);
    let peer = Peer { name: UPLINK, mac: None, mtu: None, namespace: Some(outside.as_fd()) };
    batch.add_link(&NewLink { name: UPLINK, mac: None, mtu: None, up: false, kind: Kind::Veth(peer) });
    here.run(&batch)?;
    let range = |address: Ipv4Addr| -> anyhow::Result<IpNet> { Ok(Ipv4Net::new(address, PREFIX)?.into()) };
    for (socket, address, gateway) in
        [(&mut here, NODE, Some(OUTSIDE)), (&mut there, OUTSIDE, None::<Ipv4Addr>)]
    {
        let link = socket.link_named(UPLINK)?.context("the cable is gone")?.index;
        let mut batch = Batch::new();
        batch.change_link(link, &up);
        batch.add_address(&Address::new(link, range(address)?));
        if let Some(gateway) = gateway {
            let anywhere = IpNet::V4(Ipv4Net::new(Ipv4Addr::UNSPECIFIED, 0)?);
            batch.add_route(&Route::new(anywhere, Some(IpAddr::V4(gateway)), link));
        }
        socket.run(&batch)?;
    }
    Ok(())
}
