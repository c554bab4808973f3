//! `update`: change limits of a running container.

use std::path::PathBuf;

use clap::Args;
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};
use sys::cgroup::{Cgroup, Layout};

use crate::container::{ContainerError, Store};
use crate::{cgroup, systemd};

#[derive(Debug, Args)]
pub(super) struct Update {
    /// JSON of `linux.resources`; `-` is standard input
    #[arg(long, short)]
    resources: Option<PathBuf>,
    #[arg(long)]
    blkio_weight: Option<u16>,
    #[arg(long)]
    cpu_period: Option<u64>,
    #[arg(long, allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    #[arg(long)]
    cpu_burst: Option<u64>,
    #[arg(long, alias = "cpu-shares")]
    cpu_share: Option<u64>,
    #[arg(long)]
    cpu_rt_period: Option<u64>,
    #[arg(long, allow_hyphen_values = true)]
    cpu_rt_runtime: Option<i64>,
    #[arg(long)]
    cpuset_cpus: Option<String>,
    #[arg(long)]
    cpuset_mems: Option<String>,
    #[arg(long)]
    cpu_idle: Option<i64>,
    /// Bytes, or with K, M, G; -1 is no limit
    #[arg(long, allow_hyphen_values = true)]
    memory: Option<String>,
    #[arg(long, allow_hyphen_values = true)]
    memory_reservation: Option<String>,
    /// Memory and swap together
    #[arg(long, allow_hyphen_values = true)]
    memory_swap: Option<String>,
    #[arg(long, allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Not supported: Intel RDT
    #[arg(long)]
    l3_cache_schema: Option<String>,
    /// Not supported: Intel RDT
    #[arg(long)]
    mem_bw_schema: Option<String>,
    /// Accepted for runc's sake: Linux has no such limit any more
    #[arg(long, hide = true, allow_hyphen_values = true)]
    kernel_memory: Option<String>,
    #[arg(long, hide = true, allow_hyphen_values = true)]
    kernel_memory_tcp: Option<String>,
    id: String,
}

impl Update {
    pub(super) fn run(self, store: &Store) -> Result<u8, ContainerError> {
        let record = store.load(&self.id)?;
        if self.l3_cache_schema.is_some() || self.mem_bw_schema.is_some() {
            return Err(ContainerError::Usage("Intel RDT is not supported by this runtime".into()));
        }
        let resources = match &self.resources {
            Some(path) => read(path)?,
            None => self.flags()?,
        };
        let container = Cgroup::open(&Layout::detect()?, &record.cgroup)?;
        if let Some(unit) = &record.unit {
            systemd::set(unit, &cgroup::planned(&container, &resources)?).map_err(ContainerError::from)?;
        }
        cgroup::update(&container, &resources)?;
        Ok(0)
    }

    fn flags(&self) -> Result<LinuxResources, ContainerError> {
        let mut cpu = LinuxCpu::default();
        cpu.set_period(self.cpu_period)
            .set_quota(self.cpu_quota)
            .set_burst(self.cpu_burst)
            .set_shares(self.cpu_share)
            .set_realtime_period(self.cpu_rt_period)
            .set_realtime_runtime(self.cpu_rt_runtime)
            .set_cpus(self.cpuset_cpus.clone())
            .set_mems(self.cpuset_mems.clone())
            .set_idle(self.cpu_idle);
        let mut memory = LinuxMemory::default();
        memory
            .set_limit(bytes(self.memory.as_deref())?)
            .set_reservation(bytes(self.memory_reservation.as_deref())?)
            .set_swap(bytes(self.memory_swap.as_deref())?);
        let mut resources = LinuxResources::default();
        resources.set_devices(None).set_cpu(Some(cpu)).set_memory(Some(memory));
        if let Some(limit) = self.pids_limit {
            let mut pids = LinuxPids::default();
            pids.set_limit(limit);
            resources.set_pids(Some(pids));
        }
        if let Some(weight) = self.blkio_weight {
            let mut block = LinuxBlockIo::default();
            block.set_weight(Some(weight));
            resources.set_block_io(Some(block));
        }
        Ok(resources)
    }
}

fn read(path: &std::path::Path) -> Result<LinuxResources, ContainerError> {
    let bytes = if path.as_os_str() == "-" {
        use std::io::Read as _;
        /// Far more than any set of limits.
        const INPUT_BYTES_MAX: u64 = 1 << 20;
        let mut bytes = Vec::new();
        std::io::stdin()
            .take(INPUT_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(ContainerError::file("read", "standard input"))?;
        bytes
    } else {
        std::fs::read(path).map_err(ContainerError::file("read", path))?
    };
    serde_json::from_slice(&bytes).map_err(|source| ContainerError::Json { file: path.to_owned(), source })
}

/// `64M` in bytes; `-1` stays.
fn bytes(text: Option<&str>) -> Result<Option<i64>, ContainerError> {
    let Some(text) = text else { return Ok(None) };
    let bad = || ContainerError::Usage(format!("`{text}` is not a size: use bytes, or K, M, G"));
    let upper = text.to_ascii_uppercase();
    let plain = upper.trim_end_matches('B').trim_end_matches('I');
    let (number, shift) = match plain.chars().last() {
        Some('K') => (&plain[..plain.len() - 1], 10),
        Some('M') => (&plain[..plain.len() - 1], 20),
        Some('G') => (&plain[..plain.len() - 1], 30),
        Some('T') => (&plain[..plain.len() - 1], 40),
        _ => (plain, 0),
    };
    let number: i64 = number.parse().map_err(|_| bad())?;
    number.checked_mul(1 << shift).map(Some).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expect) in [
            ("1024", Some(1024)),
            ("64M", Some(64 << 20)),
            ("64MiB", Some(64 << 20)),
            ("1g", Some(1 << 30)),
            ("-1", Some(-1)),
            ("x", None),
            ("9223372036854775807K", None),
        ] {
            assert_eq!(bytes(Some(text)).ok().flatten(), expect, "{text}");
        }
    }
}
