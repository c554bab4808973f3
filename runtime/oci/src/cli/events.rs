//! `events`: resource statistics in runc's JSON, once or at an interval until the container ends.

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec};
use sys::cgroup::{Cgroup, Layout};
use sys::{Errno, process};

use crate::cgroup::{self, Disk, Stats};
use crate::container::{ContainerError, Record, Status, Store, status};

#[derive(Debug, Args)]
pub(super) struct Events {
    /// Print once and leave
    #[arg(long)]
    stats: bool,
    /// Seconds between prints
    #[arg(long, default_value = "5s", value_parser = seconds)]
    interval: u64,
    id: String,
}

impl Events {
    pub(super) fn run(self, store: &Store) -> Result<u8, ContainerError> {
        let record = store.load(&self.id)?;
        if status(store, &record)? == Status::Stopped {
            return Err(ContainerError::Usage(format!("container with id {} is not running", self.id)));
        }
        let container = Cgroup::open(&Layout::detect()?, &record.cgroup)?;
        loop {
            println!("{}", line(&self.id, &cgroup::stats(&container)?));
            if self.stats || ended_within(&record, self.interval)? {
                return Ok(0);
            }
        }
    }
}

/// Waits for the next print, or for the container's end.
fn ended_within(record: &Record, seconds: u64) -> Result<bool, ContainerError> {
    let pidfd = match process::open(record.pid) {
        Err(Errno::SRCH) => return Ok(true),
        result => result.map_err(ContainerError::system("open the container's process"))?,
    };
    let timeout = Timespec { tv_sec: seconds as i64, tv_nsec: 0 };
    match rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
        Ok(0) | Err(Errno::INTR) => Ok(false),
        Ok(_) => Ok(true),
        Err(errno) => Err(ContainerError::System { action: "wait for the container", errno }),
    }
}

fn seconds(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix('s').unwrap_or(text).parse::<u64>().map_err(|error| error.to_string())?;
    if number == 0 { Err("must be more than zero".into()) } else { Ok(number) }
}

fn line(id: &str, stats: &Stats) -> serde_json::Value {
    serde_json::json!({ "type": "stats", "id": id, "data": data(stats) })
}

/// runc's shape; zero stands for what the host's cgroups do not tell.
fn data(stats: &Stats) -> serde_json::Value {
    let memory = &stats.memory;
    let usage = serde_json::json!({
        "limit": memory.limit.unwrap_or(0),
        "usage": memory.usage,
        "max": memory.peak.unwrap_or(0),
        "failcnt": memory.limit_hits,
    });
    serde_json::json!({
        "cpu": {
            "usage": {
                "total": stats.cpu.usage_ns,
                "kernel": stats.cpu.system_ns,
                "user": stats.cpu.user_ns,
            },
            "throttling": {
                "periods": stats.cpu.periods,
                "throttledPeriods": stats.cpu.throttled_periods,
                "throttledTime": stats.cpu.throttled_ns,
            },
        },
        "memory": {
            "cache": memory.cache,
            "usage": usage,
            "kernel": { "limit": 0, "usage": memory.kernel, "max": 0, "failcnt": 0 },
            "swap": { "limit": memory.swap_limit.unwrap_or(0), "usage": memory.swap, "max": 0, "failcnt": 0 },
            "raw": {
                "rss": memory.rss,
                "working_set": memory.working_set,
                "pgfault": memory.page_faults,
                "pgmajfault": memory.major_page_faults,
                "oom_kill": memory.oom_kills,
            },
        },
        "pids": { "current": stats.pids.current, "limit": stats.pids.limit.unwrap_or(0) },
        "blkio": {
            "ioServiceBytesRecursive": each(&stats.io.disks, |disk| [disk.read_bytes, disk.write_bytes]),
            "ioServicedRecursive": each(&stats.io.disks, |disk| [disk.read_operations, disk.write_operations]),
        },
    })
}

/// One entry for what was read from each disk, and one for what was written.
fn each(disks: &[Disk], of: fn(&Disk) -> [u64; 2]) -> Vec<serde_json::Value> {
    let entries = |disk: &Disk| {
        let of_disk = ["Read", "Write"].into_iter().zip(of(disk));
        let (major, minor) = (disk.major, disk.minor);
        of_disk.map(move |(op, value)| {
            serde_json::json!({ "major": major, "minor": minor, "op": op, "value": value })
        })
    };
    disks.iter().flat_map(entries).collect()
}
