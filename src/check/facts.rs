//! What this host is and has. Asked of the kernel by trying, where trying leaves nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use netlink::{Batch, Kind, NewLink, Peer, Socket};
use nix::sched::CloneFlags;
use sys::cgroup::{Layout, Version};

/// Synced writes that are timed.
const WRITES: usize = 50;
const WRITE_BYTES: usize = 4096;

/// Everything that is judged.
#[derive(Clone, Debug)]
pub struct Facts {
    pub root: bool,
    /// `6.1.0-28-amd64`
    pub release: String,
    pub architecture: String,
    pub btf: bool,
    /// The kernel refuses to let programs read its memory.
    pub lockdown: String,
    /// Version of the hierarchy of each controller; absent: not there.
    pub controllers: BTreeMap<&'static str, u8>,
    /// Where cgroup2 is mounted, if it is.
    pub cgroup2: Option<String>,
    pub bpffs: bool,
    pub overlay: bool,
    /// Why no veth pair could be made.
    pub veth: Result<(), String>,
    pub user_namespaces: u64,
    pub inotify_instances: u64,
    pub open_files: u64,
    pub swap_bytes: u64,
    /// CNI configurations of somebody else.
    pub foreign_cni: Vec<String>,
    /// Ports that somebody has.
    pub taken_ports: Vec<(u16, &'static str)>,
    /// Milliseconds that the slowest of a hundred synced writes took, or why none was made.
    pub sync_p99: Result<f64, String>,
    pub free_bytes: u64,
}

/// Controllers that pods' resources need.
pub const CONTROLLERS: &[&str] = &["cpu", "cpuset", "memory", "pids", "hugetlb"];
/// Ports of a server, and whose they are.
pub const PORTS: &[(u16, &str)] =
    &[(6443, "the API"), (10_250, "the kubelet"), (10_053, "DNS"), (10_248, "the kubelet's health")];

/// Looks at this host; `data` is where a server would keep its store, `cni` where configurations are.
pub fn gather(data: &Path, cni: &Path) -> Facts {
    let uname = rustix::system::uname();
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has = |name: &str| filesystems.lines().any(|line| line.split_whitespace().last() == Some(name));
    let layout = Layout::detect().ok();
    let existing = data.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    Facts {
        root: rustix::process::geteuid().is_root(),
        release: uname.release().to_string_lossy().into_owned(),
        architecture: uname.machine().to_string_lossy().into_owned(),
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        lockdown: lockdown(&fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default()),
        controllers: layout.as_ref().map(controllers).unwrap_or_default(),
        cgroup2: layout
            .as_ref()
            .and_then(|layout| layout.unified())
            .map(|unified| unified.mount.display().to_string()),
        bpffs: has("bpf"),
        overlay: has("overlay") || module("overlay", &uname.release().to_string_lossy()),
        veth: try_veth(),
        user_namespaces: number("/proc/sys/user/max_user_namespaces"),
        inotify_instances: number("/proc/sys/fs/inotify/max_user_instances"),
        open_files: rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX),
        swap_bytes: swap(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
        foreign_cni: foreign_cni(cni),
        taken_ports: PORTS.iter().copied().filter(|(port, _)| taken(*port)).collect(),
        sync_p99: sync_p99(existing).map_err(|error| format!("{}: {error}", existing.display())),
        free_bytes: rustix::fs::statvfs(existing).map(|found| found.f_bavail * found.f_frsize).unwrap_or(0),
    }
}

fn controllers(layout: &Layout) -> BTreeMap<&'static str, u8> {
    let version = |name: &&'static str| {
        layout.version(name).map(|version| (*name, if version == Version::V2 { 2 } else { 1 }))
    };
    CONTROLLERS.iter().filter_map(version).collect()
}

/// `none [integrity] confidentiality` -> `integrity`
fn lockdown(text: &str) -> String {
    text.split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or("none", |(mode, _)| mode)
        .to_owned()
}

/// Whether a module of that name can be loaded.
fn module(name: &str, release: &str) -> bool {
    let wanted = format!("/{name}.ko");
    fs::read_to_string(format!("/lib/modules/{release}/modules.dep")).is_ok_and(|text| {
        text.lines().any(|line| line.split(':').next().is_some_and(|path| path.contains(&wanted)))
    })
}

/// A pair of links in a network namespace that ends with the thread.
fn try_veth() -> Result<(), String> {
    let attempt = || -> Result<(), String> {
        sys::namespace::unshare(CloneFlags::CLONE_NEWNET.bits().cast_unsigned())
            .map_err(|error| format!("a network namespace: {error}"))?;
        let mut batch = Batch::new();
        let peer = Peer { name: "b", mac: None, mtu: None, namespace: None };
        batch.add_link(&NewLink { name: "a", mac: None, mtu: None, up: false, kind: Kind::Veth(peer) });
        let mut socket = Socket::open().map_err(|error| error.to_string())?;
        socket.run(&batch).map_err(|error| format!("a pair of links: {error}"))
    };
    std::thread::spawn(attempt).join().unwrap_or_else(|_| Err("the attempt broke".into()))
}

fn number(path: &str) -> u64 {
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn swap(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("SwapTotal:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn foreign_cni(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| [".conf", ".conflist", ".json"].iter().any(|end| name.ends_with(end)))
        .filter(|name| name != "10-keelson.conflist")
        .collect();
    names.sort();
    names
}

fn taken(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let in_use = |error: std::io::Error| error.kind() == std::io::ErrorKind::AddrInUse;
    TcpListener::bind(address).is_err_and(in_use) || UdpSocket::bind(address).is_err_and(in_use)
}

/// The 99th percentile of small writes that are on disk when they are done, in milliseconds.
fn sync_p99(folder: &Path) -> std::io::Result<f64> {
    let mut file = tempfile::tempfile_in(folder)?;
    let mut times = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let began = Instant::now();
        file.write_all(&[0; WRITE_BYTES])?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    times.sort();
    let at = (WRITES * 99).div_ceil(100) - 1;
    Ok(times.get(at).copied().unwrap_or(Duration::ZERO).as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        for (text, expect) in [
            ("none [integrity] confidentiality\n", "integrity"),
            ("[none] integrity confidentiality\n", "none"),
            ("", "none"),
        ] {
            assert_eq!(lockdown(text), expect);
        }
        assert_eq!(swap("MemTotal: 1 kB\nSwapTotal:       1024 kB\n"), 1 << 20);
        assert_eq!(swap(""), 0);
    }

    #[test]
    fn configurations_of_others_are_found() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["10-keelson.conflist", "05-other.conf", "readme.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(foreign_cni(folder.path()), ["05-other.conf"]);
        assert!(foreign_cni(Path::new("/nowhere")).is_empty());
    }

    #[test]
    fn a_taken_port_is_seen() {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(taken(port));
    }
}
