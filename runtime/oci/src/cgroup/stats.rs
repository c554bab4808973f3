//! What a cgroup has used, in one meaning on v1 and v2.
//!
//! A reader keeps its files open, reads each with one call into one buffer, and parses in place: a node with
//! a hundred pods is asked every ten seconds. Values of v1 count children too, as v2's always do; the one that
//! cannot is v1's count of OOM kills.

mod parse;

use super::ResourceError;
use parse::{disks_v1, disks_v2, field, limit, number, pressure};
use std::os::fd::OwnedFd;
use sys::cgroup::{Cgroup, CgroupError, Version};

/// The largest file is io.stat, some 100 bytes a disk; what is beyond is not counted.
const BUFFER: usize = 64 * 1024;
const NANOSECONDS_IN_MICROSECOND: u64 = 1000;

/// One reading. Counters count from the cgroup's creation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    pub cpu: Cpu,
    pub memory: Memory,
    pub pids: Pids,
    pub io: Io,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cpu {
    pub usage_ns: u64,
    pub user_ns: u64,
    pub system_ns: u64,
    /// Bandwidth periods that have passed, of those throttled, and how long.
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_ns: u64,
    pub pressure: Option<Pressure>,
}

/// Bytes and counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    pub usage: u64,
    /// Usage without the page cache that can go at once, as the kubelet computes it.
    pub working_set: u64,
    /// Anonymous memory.
    pub rss: u64,
    /// Page cache, and what of it is mapped by somebody.
    pub cache: u64,
    pub mapped_file: u64,
    /// The kernel's own, where it is counted (v2: Linux 5.18).
    pub kernel: u64,
    /// The most that was in use, where the kernel keeps it (v2: Linux 5.19).
    pub peak: Option<u64>,
    /// How often usage met the limit.
    pub limit_hits: u64,
    pub page_faults: u64,
    pub major_page_faults: u64,
    /// None without a limit.
    pub limit: Option<u64>,
    /// Limit minus working set.
    pub available: Option<u64>,
    pub swap: u64,
    /// How much swap may be used; None without a limit.
    pub swap_limit: Option<u64>,
    pub oom_kills: u64,
    pub pressure: Option<Pressure>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pids {
    pub current: u64,
    /// None without a limit.
    pub limit: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Io {
    pub disks: Vec<Disk>,
    pub pressure: Option<Pressure>,
}

/// What was done with one disk.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Disk {
    pub major: u32,
    pub minor: u32,
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub read_operations: u64,
    pub write_operations: u64,
}

/// Pressure stall information: microseconds in which some, or all, processes stood still, and averages in per cent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    pub some: Stall,
    pub full: Stall,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stall {
    pub average_10: f64,
    pub average_60: f64,
    pub average_300: f64,
    pub total_us: u64,
}

/// Reads the same cgroup again and again from descriptors it keeps.
#[derive(Debug)]
pub struct StatsReader {
    cpu: CpuFiles,
    memory: MemoryFiles,
    pids: [File; 2],
    io: IoFiles,
    /// cpu, memory, io.
    pressure: [File; 3],
    buffer: Vec<u8>,
}

/// A control file, where there is one.
#[derive(Debug)]
struct File {
    name: &'static str,
    opened: Option<OwnedFd>,
}

#[derive(Debug)]
enum CpuFiles {
    V1 { usage: File, user: File, system: File, bandwidth: File },
    V2 { stat: File },
}

#[derive(Debug)]
enum MemoryFiles {
    V1 {
        usage: File,
        peak: File,
        kernel: File,
        both: File,
        both_limit: File,
        limit: File,
        hits: File,
        stat: File,
        oom: File,
    },
    V2 {
        usage: File,
        peak: File,
        swap: File,
        swap_limit: File,
        limit: File,
        stat: File,
        events: File,
    },
}

#[derive(Debug)]
enum IoFiles {
    V1 { bytes: File, operations: File },
    V2 { stat: File },
}

/// One reading without keeping anything.
pub fn stats(cgroup: &Cgroup) -> Result<Stats, ResourceError> {
    StatsReader::open(cgroup)?.read()
}

impl StatsReader {
    pub fn open(cgroup: &Cgroup) -> Result<StatsReader, ResourceError> {
        let version = |name| cgroup.layout().version(name);
        let file = |controller: &str, name: &'static str| -> Result<File, ResourceError> {
            Ok(File { name, opened: cgroup.file(controller, name)? })
        };
        let unified = |name: &'static str| -> Result<File, ResourceError> {
            Ok(File { name, opened: cgroup.unified_file(name)? })
        };
        let cpu = match version("cpuacct") {
            Some(Version::V1) => CpuFiles::V1 {
                usage: file("cpuacct", "cpuacct.usage")?,
                user: file("cpuacct", "cpuacct.usage_user")?,
                system: file("cpuacct", "cpuacct.usage_sys")?,
                bandwidth: file("cpu", "cpu.stat")?,
            },
            // The base figures are in every cgroup2 directory, with the controller or without.
            _ => CpuFiles::V2 { stat: unified("cpu.stat")? },
        };
        let memory = match version("memory") {
            Some(Version::V1) => MemoryFiles::V1 {
                usage: file("memory", "memory.usage_in_bytes")?,
                peak: file("memory", "memory.max_usage_in_bytes")?,
                kernel: file("memory", "memory.kmem.usage_in_bytes")?,
                hits: file("memory", "memory.failcnt")?,
                both: file("memory", "memory.memsw.usage_in_bytes")?,
                both_limit: file("memory", "memory.memsw.limit_in_bytes")?,
                limit: file("memory", "memory.limit_in_bytes")?,
                stat: file("memory", "memory.stat")?,
                oom: file("memory", "memory.oom_control")?,
            },
            _ => MemoryFiles::V2 {
                usage: file("memory", "memory.current")?,
                peak: file("memory", "memory.peak")?,
                swap: file("memory", "memory.swap.current")?,
                swap_limit: file("memory", "memory.swap.max")?,
                limit: file("memory", "memory.max")?,
                stat: file("memory", "memory.stat")?,
                events: file("memory", "memory.events")?,
            },
        };
        let io = match version("io") {
            Some(Version::V1) => IoFiles::V1 {
                bytes: file("io", "blkio.throttle.io_service_bytes_recursive")?,
                operations: file("io", "blkio.throttle.io_serviced_recursive")?,
            },
            _ => IoFiles::V2 { stat: file("io", "io.stat")? },
        };
        Ok(StatsReader {
            cpu,
            memory,
            pids: [file("pids", "pids.current")?, file("pids", "pids.max")?],
            io,
            pressure: [unified("cpu.pressure")?, unified("memory.pressure")?, unified("io.pressure")?],
            buffer: vec![0; BUFFER],
        })
    }

    /// A removed cgroup is an error.
    pub fn read(&mut self) -> Result<Stats, ResourceError> {
        let buffer = &mut self.buffer;
        let mut stats = Stats {
            cpu: self.cpu.read(buffer)?,
            memory: self.memory.read(buffer)?,
            pids: Pids {
                current: number(self.pids[0].read(buffer)?),
                limit: limit(self.pids[1].read(buffer)?),
            },
            io: self.io.read(buffer)?,
        };
        stats.cpu.pressure = pressure(self.pressure[0].read(buffer)?);
        stats.memory.pressure = pressure(self.pressure[1].read(buffer)?);
        stats.io.pressure = pressure(self.pressure[2].read(buffer)?);
        Ok(stats)
    }
}

impl File {
    /// The content; empty where there is no such file.
    fn read<'a>(&self, buffer: &'a mut [u8]) -> Result<&'a str, ResourceError> {
        let Some(opened) = &self.opened else { return Ok("") };
        let failed = |source: std::io::Error| CgroupError::Read {
            path: "(open)".into(),
            file: self.name.to_owned(),
            source,
        };
        let length = rustix::io::retry_on_intr(|| rustix::io::pread(opened, &mut *buffer, 0));
        let length = match length {
            // Pressure stall information is switched off at run time.
            Err(rustix::io::Errno::OPNOTSUPP) => 0,
            other => other.map_err(|errno| failed(errno.into()))?,
        };
        let invalid = |error| failed(std::io::Error::new(std::io::ErrorKind::InvalidData, error));
        Ok(std::str::from_utf8(&buffer[..length]).map_err(invalid)?)
    }
}

impl CpuFiles {
    fn read(&self, buffer: &mut [u8]) -> Result<Cpu, ResourceError> {
        Ok(match self {
            CpuFiles::V1 { usage, user, system, bandwidth } => {
                let usage_ns = number(usage.read(buffer)?);
                let user_ns = number(user.read(buffer)?);
                let system_ns = number(system.read(buffer)?);
                let text = bandwidth.read(buffer)?;
                let throttled_ns = field(text, "throttled_time");
                Cpu { usage_ns, user_ns, system_ns, throttled_ns, ..periods(text) }
            }
            CpuFiles::V2 { stat } => {
                let text = stat.read(buffer)?;
                let time = |key| field(text, key).saturating_mul(NANOSECONDS_IN_MICROSECOND);
                Cpu {
                    usage_ns: time("usage_usec"),
                    user_ns: time("user_usec"),
                    system_ns: time("system_usec"),
                    throttled_ns: time("throttled_usec"),
                    ..periods(text)
                }
            }
        })
    }
}

fn periods(text: &str) -> Cpu {
    Cpu {
        periods: field(text, "nr_periods"),
        throttled_periods: field(text, "nr_throttled"),
        ..Cpu::default()
    }
}

impl MemoryFiles {
    fn read(&self, buffer: &mut [u8]) -> Result<Memory, ResourceError> {
        let mut memory = Memory::default();
        let inactive_file;
        match self {
            MemoryFiles::V1 { usage, peak, kernel, both, both_limit, limit: own_limit, hits, stat, oom } => {
                memory.usage = number(usage.read(buffer)?);
                memory.swap = number(both.read(buffer)?).saturating_sub(memory.usage);
                memory.limit = limit(own_limit.read(buffer)?);
                let both_limit = limit(both_limit.read(buffer)?);
                memory.swap_limit = both_limit.zip(memory.limit).map(|(both, own)| both.saturating_sub(own));
                memory.oom_kills = field(oom.read(buffer)?, "oom_kill");
                memory.peak = limit(peak.read(buffer)?);
                memory.kernel = number(kernel.read(buffer)?);
                memory.limit_hits = number(hits.read(buffer)?);
                let text = stat.read(buffer)?;
                inactive_file = field(text, "total_inactive_file");
                memory.rss = field(text, "total_rss");
                memory.cache = field(text, "total_cache");
                memory.mapped_file = field(text, "total_mapped_file");
                memory.page_faults = field(text, "total_pgfault");
                memory.major_page_faults = field(text, "total_pgmajfault");
            }
            MemoryFiles::V2 { usage, peak, swap, swap_limit, limit: own_limit, stat, events } => {
                memory.usage = number(usage.read(buffer)?);
                memory.swap = number(swap.read(buffer)?);
                memory.limit = limit(own_limit.read(buffer)?);
                memory.swap_limit = limit(swap_limit.read(buffer)?);
                memory.peak = limit(peak.read(buffer)?);
                let text = events.read(buffer)?;
                (memory.oom_kills, memory.limit_hits) = (field(text, "oom_kill"), field(text, "max"));
                let text = stat.read(buffer)?;
                inactive_file = field(text, "inactive_file");
                memory.rss = field(text, "anon");
                memory.cache = field(text, "file");
                memory.mapped_file = field(text, "file_mapped");
                memory.kernel = field(text, "kernel");
                memory.page_faults = field(text, "pgfault");
                memory.major_page_faults = field(text, "pgmajfault");
            }
        }
        memory.working_set = memory.usage.saturating_sub(inactive_file);
        memory.available = memory.limit.map(|limit| limit.saturating_sub(memory.working_set));
        Ok(memory)
    }
}

impl IoFiles {
    fn read(&self, buffer: &mut [u8]) -> Result<Io, ResourceError> {
        let mut disks = Vec::new();
        match self {
            IoFiles::V1 { bytes, operations } => {
                disks_v1(bytes.read(buffer)?, &mut disks, |disk| {
                    (&mut disk.read_bytes, &mut disk.write_bytes)
                });
                disks_v1(operations.read(buffer)?, &mut disks, |disk| {
                    (&mut disk.read_operations, &mut disk.write_operations)
                });
            }
            IoFiles::V2 { stat } => disks_v2(stat.read(buffer)?, &mut disks),
        }
        Ok(Io { disks, pressure: None })
    }
}

// === impl Io ===

impl Io {
    /// Over all disks.
    pub fn sum(&self, of: impl Fn(&Disk) -> u64) -> u64 {
        self.disks.iter().map(of).fold(0, u64::saturating_add)
    }
}
