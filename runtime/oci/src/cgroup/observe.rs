//! What is in force in a cgroup before its limits change, as far as the order of writes depends on it.
//!
//! The one module that uses cgroups-rs: its CPU, PID and huge page controllers read v1 and v2 alike and pass
//! errors on. They get /proc/self/fd paths, so they look where our descriptor points. Its memory reading
//! turns every error into 0 (which would pass for a limit), so those few numbers are read here.

use super::ResourceError;
use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::hugetlb::HugeTlbController;
use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::PathBuf;
use sys::cgroup::{Cgroup, Version};

/// Files whose presence changes a plan: they depend on kernel version or configuration.
const OPTIONAL: [(&str, &str); 7] = [
    ("memory", "memory.memsw.limit_in_bytes"),
    ("memory", "memory.swap.max"),
    ("io", "blkio.bfq.weight"),
    ("io", "blkio.bfq.weight_device"),
    ("io", "io.bfq.weight"),
    ("io", "io.weight"),
    ("cpu", "cpu.idle"),
];

const CONTROLLERS: [&str; 11] =
    ["cpu", "cpuacct", "cpuset", "memory", "pids", "io", "hugetlb", "net_cls", "net_prio", "rdma", "devices"];

/// The facts a plan needs. Tests fill it by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Controllers that this cgroup has, and where.
    pub versions: Vec<(&'static str, Version)>,
    /// What to say about one it has not.
    pub missing: Vec<(&'static str, String)>,
    /// Of the files that not every kernel has, those that are there.
    pub files: BTreeSet<String>,
    /// Bytes; None for no limit. The limit on memory and swap together is v1's alone.
    pub memory_limit: Option<i64>,
    pub memory_and_swap_limit: Option<i64>,
    pub memory_usage: i64,
    /// Microseconds; None for no limit.
    pub cpu_quota: Option<i64>,
    pub cpu_period: u64,
    pub cpu_burst: u64,
    /// As control files spell them: 2MB, 1GB.
    pub huge_pages: Vec<String>,
    /// Whether huge pages can be limited when reserved, not only when touched (Linux 5.7).
    pub huge_page_reservations: bool,
}

impl Observed {
    pub fn read(cgroup: &Cgroup) -> Result<Observed, ResourceError> {
        let mut observed = Observed::default();
        for name in CONTROLLERS {
            match cgroup.controller(name) {
                Some((version, _)) => observed.versions.push((name, version)),
                None => observed.missing.push((name, cgroup.layout().why_missing(name))),
            }
        }
        let present = OPTIONAL.iter().filter(|(controller, file)| cgroup.has(controller, file));
        observed.files = present.map(|(_, file)| (*file).to_owned()).collect();
        observed.read_memory(cgroup)?;
        observed.read_cpu(cgroup)?;
        observed.read_huge_pages(cgroup);
        Ok(observed)
    }

    pub fn version(&self, controller: &str) -> Option<Version> {
        self.versions.iter().find(|(name, _)| *name == controller).map(|(_, version)| *version)
    }

    pub fn has(&self, file: &str) -> bool {
        self.files.contains(file)
    }

    pub(super) fn why_missing(&self, controller: &str) -> String {
        let known = self.missing.iter().find(|(name, _)| *name == controller);
        known.map_or_else(|| "this cgroup does not have it".to_owned(), |(_, why)| why.clone())
    }

    fn read_memory(&mut self, cgroup: &Cgroup) -> Result<(), ResourceError> {
        let number = |file: &str| -> Result<i64, ResourceError> {
            // "max" and v1's nearly-2^63 both fail or exceed what a limit can be.
            Ok(cgroup.read("memory", file)?.trim().parse().unwrap_or(i64::MAX))
        };
        let limit =
            |file: &str| Ok::<_, ResourceError>(Some(number(file)?).filter(|bytes| *bytes < i64::MAX >> 1));
        match self.version("memory") {
            Some(Version::V1) => {
                self.memory_limit = limit("memory.limit_in_bytes")?;
                self.memory_usage = number("memory.usage_in_bytes")?;
                if self.has("memory.memsw.limit_in_bytes") {
                    self.memory_and_swap_limit = limit("memory.memsw.limit_in_bytes")?;
                }
            }
            Some(Version::V2) => {
                self.memory_limit = limit("memory.max")?;
                self.memory_usage = number("memory.current")?;
            }
            None => {}
        }
        Ok(())
    }

    fn read_cpu(&mut self, cgroup: &Cgroup) -> Result<(), ResourceError> {
        let Some((version, directory)) = cgroup.controller("cpu") else { return Ok(()) };
        let path = through_descriptor(directory);
        let cpu = CpuController::new(path.clone(), path, version == Version::V2);
        let failed = |error: cgroups_rs::fs::error::Error| ResourceError::Observe {
            controller: "cpu",
            why: error.to_string(),
        };
        self.cpu_period = cpu.cfs_period().map_err(failed)?;
        // cgroups-rs gives v2's "max" as i64::MAX and v1's as -1.
        self.cpu_quota = Some(cpu.cfs_quota().map_err(failed)?).filter(|quota| (0..i64::MAX).contains(quota));
        let burst = if version == Version::V2 { "cpu.max.burst" } else { "cpu.cfs_burst_us" };
        // Since Linux 5.14; without the file there is no burst.
        self.cpu_burst =
            cgroup.read("cpu", burst).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        Ok(())
    }

    fn read_huge_pages(&mut self, cgroup: &Cgroup) {
        let Some((version, directory)) = cgroup.controller("hugetlb") else { return };
        let path = through_descriptor(directory);
        self.huge_pages = HugeTlbController::new(path.clone(), path, version == Version::V2).get_sizes();
        self.huge_page_reservations = self.huge_pages.first().is_some_and(|size| {
            let suffix = if version == Version::V2 { "rsvd.max" } else { "rsvd.limit_in_bytes" };
            cgroup.has("hugetlb", &format!("hugetlb.{size}.{suffix}"))
        });
    }
}

fn through_descriptor(directory: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}
