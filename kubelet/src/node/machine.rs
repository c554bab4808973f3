//! What the machine is and has: read from /proc, /sys, /etc and the file system.
//!
//! Nothing here fails: what cannot be read is zero or empty, and shows as such.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::resources::Amounts;

/// What stays the same while the machine runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel: String,
    pub os_image: String,
    /// `amd64`, as Go names it.
    pub architecture: String,
}

/// When the node is under pressure. Zero: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thresholds {
    pub memory_bytes: i64,
    pub disk_percent: u8,
    pub inodes_percent: u8,
}

/// What is under pressure now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    pub memory: bool,
    pub disk: bool,
    pub pids: bool,
}

impl Machine {
    pub fn read() -> Machine {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let kernel = nix::sys::utsname::uname().map(|uname| lossy(uname.release())).unwrap_or_default();
        let machine_id = text("/etc/machine-id");
        let uuid = text("/sys/class/dmi/id/product_uuid");
        let release = text("/etc/os-release");
        let os_image = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        Machine {
            system_uuid: if uuid.is_empty() { machine_id.clone() } else { uuid },
            machine_id,
            boot_id: text("/proc/sys/kernel/random/boot_id"),
            kernel,
            os_image: os_image.unwrap_or("Linux").trim_matches('"').to_owned(),
            architecture: architecture().to_owned(),
        }
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn lossy(text: &OsStr) -> String {
    text.to_string_lossy().into_owned()
}

/// The name that the node has where none is given: the host's, in lower case.
pub fn host_name() -> String {
    nix::unistd::gethostname().map(|name| lossy(&name).trim().to_ascii_lowercase()).unwrap_or_default()
}

/// Everything that the machine has; `root` tells the file system of pods.
pub fn capacity(root: &Path, pods: i64) -> Amounts {
    let mut amounts = Amounts {
        cpu_millis: 1000 * processors(),
        memory: memory("MemTotal:"),
        ephemeral_storage: file_system(root).map_or(0, |(size, _)| size),
        pods,
        others: Default::default(),
    };
    for (name, bytes) in huge_pages() {
        amounts.others.insert(name, bytes);
    }
    amounts
}

fn processors() -> i64 {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let counted = text.lines().filter(|line| line.starts_with("processor")).count();
    i64::try_from(counted.max(1)).unwrap_or(1)
}

/// A line of /proc/meminfo in bytes.
fn memory(line: &str) -> i64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let found = text.lines().find_map(|candidate| candidate.strip_prefix(line));
    let kib = found.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<i64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// Size and what is free of it, in bytes.
fn file_system(path: &Path) -> Option<(i64, i64)> {
    let stat = statvfs(existing(path)).ok()?;
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.fragment_size())).unwrap_or(i64::MAX);
    Some((bytes(stat.blocks()), bytes(stat.blocks_available())))
}

/// The nearest folder that is there.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"))
}

/// `hugepages-2Mi` and the bytes set aside for them.
fn huge_pages() -> Vec<(String, i64)> {
    let entries = std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let mut pages: Vec<(String, i64)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let kib: i64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let count = std::fs::read_to_string(entry.path().join("nr_hugepages")).ok()?;
            let bytes = count.trim().parse::<i64>().ok()?.saturating_mul(kib).saturating_mul(1024);
            let size = if kib >= 1 << 20 { format!("{}Gi", kib >> 20) } else { format!("{}Mi", kib >> 10) };
            Some((format!("hugepages-{size}"), bytes))
        })
        .collect();
    pages.sort();
    pages
}

/// Compares what is free with the thresholds.
pub fn pressure(root: &Path, thresholds: &Thresholds) -> Pressure {
    let stat = statvfs(existing(root)).ok();
    let below = |free: u64, all: u64, percent: u8| {
        all > 0 && u128::from(free) * 100 < u128::from(all) * u128::from(percent)
    };
    let disk = stat.is_some_and(|stat| {
        below(stat.blocks_available(), stat.blocks(), thresholds.disk_percent)
            || below(stat.files_available(), stat.files(), thresholds.inodes_percent)
    });
    Pressure { memory: memory("MemAvailable:") < thresholds.memory_bytes, disk, pids: false }
}

/// The address that the default route would use; else any that is not loopback; else loopback.
pub fn address() -> IpAddr {
    // Addresses, not texts: those would bring the resolver of the C library along.
    let routed = |bind: IpAddr, to: IpAddr| {
        let socket = UdpSocket::bind(SocketAddr::new(bind, 0)).ok()?;
        // No packet is sent: connecting asks for the route.
        socket.connect(SocketAddr::new(to, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified() && !ip.is_loopback())
    };
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    routed(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into())
        .or_else(|| routed(Ipv6Addr::UNSPECIFIED.into(), v6.into()))
        .or_else(any_address)
        .unwrap_or(IpAddr::from([127, 0, 0, 1]))
}

fn any_address() -> Option<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().ok()?;
    let found = interfaces.filter_map(|interface| {
        let address = interface.address?;
        Some(IpAddr::V4(address.as_sockaddr_in()?.ip()))
    });
    found.into_iter().find(|ip| !ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_tells() {
        let machine = Machine::read();
        assert!(!machine.kernel.is_empty() && !machine.boot_id.is_empty(), "{machine:?}");
        let capacity = capacity(Path::new("/no/such/folder"), 110);
        assert!(capacity.cpu_millis >= 1000 && capacity.memory > 0 && capacity.ephemeral_storage > 0);
        let pressure = pressure(Path::new("/"), &Thresholds::default());
        assert_eq!(pressure, Pressure::default());
        let everything = Thresholds { memory_bytes: i64::MAX, disk_percent: 101, inodes_percent: 0 };
        assert!(super::pressure(Path::new("/"), &everything).memory);
        assert!(!address().is_unspecified());
    }
}
