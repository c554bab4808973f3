//! The tree of pods' cgroups: what a class, and what a pod as a whole, may have.
//!
//! ```text
//! /kubepods                    everything
//!   pod<uid>                   guaranteed: its requests, its limits
//!   burstable/                 as much CPU weight as all burstable pods ask for
//!     pod<uid>
//!   besteffort/                the least there is
//!     pod<uid>
//! ```
//!
//! The runtime makes and removes a pod's cgroup with its sandbox; values are written once it is there. Where the
//! runtime names cgroups in another way (systemd), there is nothing here to write to, and the classes stay unbalanced.
//!
//! Reference: upstream's `cm/helpers_linux.go` (ResourceConfigForPod) and `cm/qos_container_manager_linux.go`.

use sys::cgroup::{Cgroup, CgroupError, Layout, Version};

use crate::admission;
use crate::pod::{Pod, Role};
use crate::qos::{self, QosClass};
use crate::resources::Amounts;

const LEAST_SHARES: u64 = 2;
const MOST_SHARES: u64 = 262_144;
const SHARES_PER_CPU: u64 = 1024;
const PERIOD_MICROS: i64 = 100_000;
const LEAST_QUOTA_MICROS: i64 = 1000;

/// What a cgroup shall have. None: as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values {
    pub shares: u64,
    /// Microseconds of each [`PERIOD_MICROS`].
    pub quota: Option<i64>,
    /// Bytes.
    pub memory: Option<i64>,
}

/// The tree below one root.
pub struct Cgroups {
    layout: Option<Layout>,
    root: String,
}

impl Cgroups {
    /// Makes the classes' cgroups. A host without hierarchies runs pods without them.
    pub fn open(root: &str) -> Cgroups {
        let root = root.trim_end_matches('/').to_owned();
        let made = Layout::detect().and_then(|layout| {
            Cgroup::create(&layout, &format!("{root}/burstable"))?;
            let least = Cgroup::create(&layout, &format!("{root}/besteffort"))?;
            write_shares(&layout, &least, LEAST_SHARES)?;
            Ok(layout)
        });
        if let Err(error) = &made {
            tracing::warn!(root, %error, "pods' cgroups have no classes");
        }
        Cgroups { layout: made.ok(), root }
    }

    /// Writes a pod's values into the cgroup that its sandbox has.
    pub fn apply(&self, pod: &Pod) {
        let Some(layout) = &self.layout else { return };
        let written = Cgroup::open(layout, &qos::cgroup_parent(pod, &self.root))
            .and_then(|cgroup| write(layout, &cgroup, &values(pod)));
        if let Err(error) = written {
            tracing::debug!(pod = %pod.key.name, ns = %pod.key.namespace, %error, "a pod's cgroup has no values of its own");
        }
    }

    /// The same, but no value becomes less: for the time in which containers change one after the other.
    pub fn raise(&self, pod: &Pod) -> Result<(), CgroupError> {
        self.resize(pod, |layout, cgroup, wanted| Values {
            shares: wanted.shares.max(shares_of(layout, cgroup).unwrap_or(0)),
            quota: wanted.quota.zip(quota_of(layout, cgroup)).map(|(wanted, has)| wanted.max(has)),
            memory: wanted.memory.zip(memory_of(layout, cgroup)).map(|(wanted, has)| wanted.max(has)),
        })
    }

    /// Writes a pod's values, and says where it cannot.
    pub fn settle(&self, pod: &Pod) -> Result<(), CgroupError> {
        self.resize(pod, |_, _, wanted| wanted)
    }

    fn resize(&self, pod: &Pod, of: impl Fn(&Layout, &Cgroup, Values) -> Values) -> Result<(), CgroupError> {
        let Some(layout) = &self.layout else { return Ok(()) };
        let cgroup = Cgroup::open(layout, &qos::cgroup_parent(pod, &self.root))?;
        write(layout, &cgroup, &of(layout, &cgroup, values(pod)))
    }

    /// Bytes that the pod as a whole uses; none where nothing says.
    pub fn memory_used(&self, pod: &Pod) -> Option<i64> {
        let layout = self.layout.as_ref()?;
        let cgroup = Cgroup::open(layout, &qos::cgroup_parent(pod, &self.root)).ok()?;
        let file = match layout.version("memory")? {
            Version::V1 => "memory.usage_in_bytes",
            Version::V2 => "memory.current",
        };
        cgroup.read("memory", file).ok()?.trim().parse().ok()
    }

    /// Gives burstable pods together what they ask for.
    pub fn balance(&self, burstable_millis: i64) {
        let Some(layout) = &self.layout else { return };
        let written = Cgroup::open(layout, &format!("{}/burstable", self.root))
            .and_then(|cgroup| write_shares(layout, &cgroup, shares(burstable_millis)));
        if let Err(error) = written {
            tracing::debug!(%error, "burstable pods keep their weight");
        }
    }
}

/// What a pod as a whole may have: what it says itself, else limits only where every container has one.
pub fn values(pod: &Pod) -> Values {
    let stated = Amounts::read(&pod.spec()["resources"]["limits"]);
    let amount =
        |amounts: &Amounts, name: &str| if name == "cpu" { amounts.cpu_millis } else { amounts.memory };
    let limit = |name: &str| -> Option<i64> {
        if amount(&stated, name) > 0 {
            return Some(amount(&stated, name));
        }
        let of = |container: &crate::pod::Container| {
            let amounts = Amounts::read(&container.value["resources"]["limits"]);
            let amount = amount(&amounts, name);
            (amount > 0).then_some(amount)
        };
        let lasting = pod.main.iter().chain(pod.init.iter().filter(|init| init.role == Role::Sidecar));
        let sum = lasting.map(of).try_fold(0_i64, |sum, amount| Some(sum.saturating_add(amount?)))?;
        let starting = pod.init.iter().filter(|init| init.role == Role::Init).map(of);
        starting.into_iter().try_fold(sum, |most, amount| Some(most.max(amount?)))
    };
    let requests = admission::requests(pod);
    if qos::class(pod) == QosClass::BestEffort {
        return Values { shares: LEAST_SHARES, quota: None, memory: None };
    }
    let quota = limit("cpu").map(|millis| (millis * PERIOD_MICROS / 1000).max(LEAST_QUOTA_MICROS));
    Values { shares: shares(requests.cpu_millis), quota, memory: limit("memory") }
}

fn shares(millis: i64) -> u64 {
    let millis = u64::try_from(millis).unwrap_or(0);
    (millis * SHARES_PER_CPU / 1000).clamp(LEAST_SHARES, MOST_SHARES)
}

/// The weight of cgroup2 for shares of v1, as everywhere.
fn weight(shares: u64) -> u64 {
    1 + (shares - LEAST_SHARES) * 9999 / (MOST_SHARES - LEAST_SHARES)
}

fn write(layout: &Layout, cgroup: &Cgroup, values: &Values) -> Result<(), CgroupError> {
    write_shares(layout, cgroup, values.shares)?;
    if let Some(quota) = values.quota {
        match layout.version("cpu") {
            Some(Version::V1) => {
                cgroup.write("cpu", "cpu.cfs_period_us", &PERIOD_MICROS.to_string())?;
                cgroup.write("cpu", "cpu.cfs_quota_us", &quota.to_string())?;
            }
            Some(Version::V2) => cgroup.write("cpu", "cpu.max", &format!("{quota} {PERIOD_MICROS}"))?,
            None => {}
        }
    }
    if let Some(bytes) = values.memory {
        match layout.version("memory") {
            Some(Version::V1) => cgroup.write("memory", "memory.limit_in_bytes", &bytes.to_string())?,
            Some(Version::V2) => cgroup.write("memory", "memory.max", &bytes.to_string())?,
            None => {}
        }
    }
    Ok(())
}

fn write_shares(layout: &Layout, cgroup: &Cgroup, shares: u64) -> Result<(), CgroupError> {
    match layout.version("cpu") {
        Some(Version::V1) => cgroup.write("cpu", "cpu.shares", &shares.to_string()),
        Some(Version::V2) => cgroup.write("cpu", "cpu.weight", &weight(shares).to_string()),
        None => Ok(()),
    }
}

// === what a cgroup has ===

fn shares_of(layout: &Layout, cgroup: &Cgroup) -> Option<u64> {
    match layout.version("cpu")? {
        Version::V1 => cgroup.read("cpu", "cpu.shares").ok()?.trim().parse().ok(),
        Version::V2 => cgroup.read("cpu", "cpu.weight").ok()?.trim().parse().ok().map(from_weight),
    }
}

/// Shares that have this weight.
fn from_weight(weight: u64) -> u64 {
    LEAST_SHARES + (weight.max(1) - 1) * (MOST_SHARES - LEAST_SHARES) / 9999
}

/// In each [`PERIOD_MICROS`]; none where there is no limit, or none to be read: then there is nothing to keep room for.
fn quota_of(layout: &Layout, cgroup: &Cgroup) -> Option<i64> {
    let (quota, period): (i64, i64) = match layout.version("cpu")? {
        Version::V1 => (
            cgroup.read("cpu", "cpu.cfs_quota_us").ok()?.trim().parse().ok()?,
            cgroup.read("cpu", "cpu.cfs_period_us").ok()?.trim().parse().ok()?,
        ),
        Version::V2 => {
            let text = cgroup.read("cpu", "cpu.max").ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            (quota.parse().ok()?, period.parse().ok()?)
        }
    };
    (quota > 0 && period > 0).then(|| quota * PERIOD_MICROS / period)
}

fn memory_of(layout: &Layout, cgroup: &Cgroup) -> Option<i64> {
    let file = match layout.version("memory")? {
        Version::V1 => "memory.limit_in_bytes",
        Version::V2 => "memory.max",
    };
    cgroup.read("memory", file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(containers: Value, expected: Values) {
        let pod = Pod::of(json!({"metadata": {"uid": "u"}, "spec": {"containers": containers}}));
        assert_eq!(values(&pod), expected, "{containers}");
    }

    #[test]
    fn pods_as_a_whole() {
        let with =
            |requests: Value, limits: Value| json!({"resources": {"requests": requests, "limits": limits}});
        check(json!([{}]), Values { shares: 2, quota: None, memory: None });
        check(
            json!([
                with(json!({"cpu": "250m"}), json!({"cpu": "1"})),
                with(json!({"cpu": "250m"}), json!({"cpu": "500m"}))
            ]),
            Values { shares: 512, quota: Some(150_000), memory: None },
        );
        // One without a limit can use everything, and so can the pod.
        check(
            json!([with(json!({"cpu": "1", "memory": "1k"}), json!({"memory": "1k"})), {}]),
            Values { shares: 1024, quota: None, memory: None },
        );
        check(
            json!([with(json!({"memory": "1k"}), json!({"memory": "1k"}))]),
            Values { shares: 2, quota: None, memory: Some(1000) },
        );
        let spec =
            json!({"resources": {"requests": {"cpu": "2"}, "limits": {"memory": "4k"}}, "containers": [{}]});
        let whole = Pod::of(json!({"metadata": {"uid": "u"}, "spec": spec}));
        assert_eq!(values(&whole), Values { shares: 2048, quota: None, memory: Some(4000) });
        assert_eq!((from_weight(weight(2)), from_weight(weight(MOST_SHARES))), (2, MOST_SHARES));
        assert_eq!((weight(2), weight(1024), weight(MOST_SHARES)), (1, 39, 10_000));
    }
}
