//! cpu: shares, bandwidth, burst, idle, and real-time bandwidth on v1.

use super::ResourceError;
use super::plan::{Writes, given, refuse};
use oci_spec::runtime::LinuxCpu;
use sys::cgroup::Version;

/// What the kernel uses when nobody says, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;
/// The kernel's bounds for shares; it brings others to the nearer one.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

pub(super) fn plan(cpu: &LinuxCpu, writes: &mut Writes<'_>) -> Result<(), ResourceError> {
    let shares = cpu.shares().filter(|shares| *shares != 0);
    let quota = given(cpu.quota());
    let period = cpu.period().filter(|period| *period != 0);
    let real_time =
        cpu.realtime_period().filter(|p| *p != 0).is_some() || given(cpu.realtime_runtime()).is_some();
    if shares.or(period).or(cpu.burst()).is_none() && quota.or(cpu.idle()).is_none() && !real_time {
        return Ok(());
    }
    let version = writes.version("cpu")?;
    plan_idle(cpu.idle(), writes);
    // The weight of an idle cgroup is fixed; the kernel refuses another.
    if let Some(shares) = shares.filter(|_| cpu.idle() != Some(1)) {
        match version {
            Version::V1 => writes.push("cpu", "cpu.shares", shares.clamp(*SHARES.start(), *SHARES.end())),
            Version::V2 => writes.push("cpu", "cpu.weight", weight(shares)),
        }
    }
    plan_bandwidth(version, quota, period, cpu.burst(), writes);
    plan_real_time(version, cpu, writes)
}

/// v2's weight for v1's shares: through (2, 1), (1024, 100) and (262144, 10000), so the default stays the
/// default. As runc since 1.4 and crun since 1.24; the straight line used before made 1024 shares a weight of 39.
pub(super) fn weight(shares: u64) -> u64 {
    if shares <= *SHARES.start() {
        return 1;
    }
    if shares >= *SHARES.end() {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    10_f64.powf(exponent).ceil() as u64
}

fn plan_idle(idle: Option<i64>, writes: &mut Writes<'_>) {
    match idle {
        // Since Linux 5.15; not idle is what an older kernel gives anyway.
        Some(0) => writes.push_if_present("cpu", "cpu.idle", 0),
        Some(idle) => writes.push("cpu", "cpu.idle", idle),
        None => {}
    }
}

fn plan_bandwidth(
    version: Version,
    quota: Option<i64>,
    period: Option<u64>,
    burst: Option<u64>,
    writes: &mut Writes<'_>,
) {
    let file = if version == Version::V2 { "cpu.max.burst" } else { "cpu.cfs_burst_us" };
    let push_burst = |writes: &mut Writes<'_>| match burst {
        Some(0) => writes.push_if_present("cpu", file, 0),
        Some(burst) => writes.push("cpu", file, burst),
        None => {}
    };
    // The kernel keeps burst at or below quota, so a falling burst goes ahead of a falling quota.
    let falls = burst.is_some_and(|burst| burst < writes.observed.cpu_burst);
    if falls {
        push_burst(writes);
    }
    match version {
        Version::V1 => plan_v1_bandwidth(quota, period, writes),
        Version::V2 => plan_v2_bandwidth(quota, period, writes),
    }
    if !falls {
        push_burst(writes);
    }
}

/// One file for both, so what is not given has to be said again.
fn plan_v2_bandwidth(quota: Option<i64>, period: Option<u64>, writes: &mut Writes<'_>) {
    if quota.is_none() && period.is_none() {
        return;
    }
    let observed = writes.observed;
    let quota = quota.or(observed.cpu_quota).filter(|quota| *quota > 0);
    let period =
        period.unwrap_or(if observed.cpu_period == 0 { DEFAULT_PERIOD } else { observed.cpu_period });
    let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
    writes.push("cpu", "cpu.max", format!("{quota} {period}"));
}

/// Two files, and the kernel refuses a share of a CPU above the parent's at every moment. Of the two orders
/// one goes through a share no larger than both the old and the new one; that is the order taken.
fn plan_v1_bandwidth(quota: Option<i64>, period: Option<u64>, writes: &mut Writes<'_>) {
    let observed = writes.observed;
    let (Some(new_quota), Some(new_period)) = (quota, period) else {
        if let Some(period) = period {
            writes.push("cpu", "cpu.cfs_period_us", period);
        }
        if let Some(quota) = quota {
            writes.push("cpu", "cpu.cfs_quota_us", quota.max(-1));
        }
        return;
    };
    let share = |quota: Option<i64>, period: u64| match quota {
        // No limit is always allowed.
        None | Some(..0) => 0.0,
        Some(quota) => quota as f64 / period.max(1) as f64,
    };
    let period_first = share(observed.cpu_quota, new_period) <= share(Some(new_quota), observed.cpu_period);
    let period = ("cpu.cfs_period_us", new_period.to_string());
    let quota = ("cpu.cfs_quota_us", new_quota.max(-1).to_string());
    for (file, value) in if period_first { [period, quota] } else { [quota, period] } {
        writes.push("cpu", file, value);
    }
}

fn plan_real_time(version: Version, cpu: &LinuxCpu, writes: &mut Writes<'_>) -> Result<(), ResourceError> {
    let period = cpu.realtime_period().filter(|period| *period != 0);
    let runtime = given(cpu.realtime_runtime());
    if version == Version::V2 && (period.is_some() || runtime.is_some()) {
        let value = period.map(|p| p.to_string()).or(runtime.map(|r| r.to_string())).unwrap_or_default();
        return Err(refuse(
            "cpu.realtimePeriod/realtimeRuntime",
            value,
            "cgroup2 has no real-time bandwidth",
        ));
    }
    if let Some(period) = period {
        writes.push("cpu", "cpu.rt_period_us", period);
    }
    if let Some(runtime) = runtime {
        writes.push("cpu", "cpu.rt_runtime_us", runtime);
    }
    Ok(())
}
