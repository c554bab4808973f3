//! The part of a container's resources that a resize changes: CPU and memory.
//!
//! A container carries the sizes that it was made with as an annotation, so that whoever looks later knows whether a
//! change of what asks for a restart has happened since.

use cri_api::v1;
use serde_json::{Value, json};

use super::resources;
use crate::observed::ObservedContainer;
use crate::pod::{Container, Pod};

/// The sizes that a container was made with.
pub const MADE_WITH: &str = "keelson.dev/container.sizes";

/// In CRI's words; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    pub cpu_shares: i64,
    pub cpu_quota: i64,
    pub cpu_period: i64,
    /// Bytes.
    pub memory: i64,
}

impl Sizes {
    /// What the pod asks for.
    pub fn of(pod: &Pod, container: &Container) -> Sizes {
        Sizes::read(&resources::sized(pod, container))
    }

    /// What the runtime says that a container has; none from runtimes that do not.
    pub fn observed(container: &ObservedContainer) -> Option<Sizes> {
        container.status.resources.as_ref()?.linux.as_ref().map(Sizes::read)
    }

    /// What the container was made with; none where a kubelet made it that did not say so.
    pub fn made_with(container: &ObservedContainer) -> Option<Sizes> {
        let text = container.status.annotations.get(MADE_WITH)?;
        let value: Value = serde_json::from_str(text).ok()?;
        let number = |index: usize| value[index].as_i64();
        Some(Sizes {
            cpu_shares: number(0)?,
            cpu_quota: number(1)?,
            cpu_period: number(2)?,
            memory: number(3)?,
        })
    }

    pub fn annotation(&self) -> String {
        json!([self.cpu_shares, self.cpu_quota, self.cpu_period, self.memory]).to_string()
    }

    pub fn to_cri(self) -> v1::LinuxContainerResources {
        v1::LinuxContainerResources {
            cpu_shares: self.cpu_shares,
            cpu_quota: self.cpu_quota,
            cpu_period: self.cpu_period,
            memory_limit_in_bytes: self.memory,
            ..Default::default()
        }
    }

    /// CPU weight and bandwidth.
    pub fn same_cpu(&self, other: &Sizes) -> bool {
        (self.cpu_shares, self.cpu_quota) == (other.cpu_shares, other.cpu_quota)
    }

    /// As the API shows them: `limits` and `requests` of CPU, `limits` of memory.
    pub fn shown(&self) -> (Option<i64>, Option<i64>, i64) {
        let period = if self.cpu_period > 0 { self.cpu_period } else { resources::QUOTA_PERIOD };
        let limit = (self.cpu_quota > 0).then(|| (self.cpu_quota * 1000 + period - 1) / period);
        let request = (self.cpu_shares > resources::SHARES_MIN)
            .then(|| (self.cpu_shares * 1000 + resources::SHARES_PER_CPU - 1) / resources::SHARES_PER_CPU);
        (limit, request, self.memory)
    }

    fn read(from: &v1::LinuxContainerResources) -> Sizes {
        Sizes {
            cpu_shares: from.cpu_shares,
            cpu_quota: from.cpu_quota.max(0),
            cpu_period: if from.cpu_quota > 0 { from.cpu_period } else { 0 },
            memory: from.memory_limit_in_bytes.max(0),
        }
    }
}
