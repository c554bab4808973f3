//! What a unit is made with, and the limits that systemd knows by names of its own.
//!
//! Limits come from the planned writes to control files, so both say the same. What systemd has no property for (bursts,
//! per-device limits, huge pages) it never touches, because the cgroup is delegated.
//!
//! Reference: systemd.resource-control(5); types as org.freedesktop.systemd1 has them.

use zbus::zvariant::Value;

use super::unit::Unit;
use crate::cgroup::Write;

pub(super) type Property = (&'static str, Value<'static>);

/// systemd's "infinity".
const NO_LIMIT: u64 = u64::MAX;
const MICROSECONDS: u64 = 1_000_000;
/// systemd keeps CPU time per second in steps of this many microseconds.
const QUOTA_STEP: u64 = 10_000;
/// The highest CPU or memory node number that is taken: the kernel's own NR_CPUS is smaller.
const INDEX_MAX: usize = 8191;

pub(super) fn of_unit(unit: &Unit, id: &str, pid: Option<u32>) -> Vec<Property> {
    let mut list: Vec<Property> = vec![("Description", format!("keelson container {id}").into())];
    if unit.is_slice() {
        list.push(("Wants", vec![unit.slice().to_owned()].into()));
    } else {
        list.push(("Slice", unit.slice().to_owned().into()));
        list.push(("Delegate", true.into()));
    }
    if let Some(pid) = pid {
        list.push(("PIDs", vec![pid].into()));
    }
    for accounting in ["MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting"] {
        list.push((accounting, true.into()));
    }
    // Else systemd would end it at shutdown only after, and start it only with, what it has no part in.
    list.push(("DefaultDependencies", false.into()));
    list
}

/// Those of the writes that systemd would write again by itself.
pub(super) fn of_writes(writes: &[Write]) -> Vec<Property> {
    writes.iter().flat_map(|write| of_write(&write.file, write.value.trim())).collect()
}

fn of_write(file: &str, value: &str) -> Vec<Property> {
    let number = |name| limit(value).map(|limit| (name, Value::from(limit)));
    let one = match file {
        "memory.max" => number("MemoryMax"),
        "memory.high" => number("MemoryHigh"),
        "memory.low" => number("MemoryLow"),
        "memory.min" => number("MemoryMin"),
        "memory.swap.max" => number("MemorySwapMax"),
        "pids.max" => number("TasksMax"),
        "cpu.weight" => number("CPUWeight"),
        // systemd's word `idle`.
        "cpu.idle" if value == "1" => Some(("CPUWeight", 0_u64.into())),
        "io.weight" => {
            let all = value.strip_prefix("default ").unwrap_or(value);
            all.parse::<u64>().ok().map(|weight| ("IOWeight", weight.into()))
        }
        "cpuset.cpus" => bits(value).map(|bits| ("AllowedCPUs", bits.into())),
        "cpuset.mems" => bits(value).map(|bits| ("AllowedMemoryNodes", bits.into())),
        "cpu.max" => return bandwidth(value),
        _ => None,
    };
    one.into_iter().collect()
}

fn limit(value: &str) -> Option<u64> {
    if value == "max" { Some(NO_LIMIT) } else { value.parse().ok() }
}

/// `quota period` as time per second, rounded up.
fn bandwidth(value: &str) -> Vec<Property> {
    let mut words = value.split_whitespace();
    let quota = words.next().and_then(limit);
    let period = words.next().map_or(Some(100_000), |word| word.parse::<u64>().ok());
    let (Some(quota), Some(period)) = (quota, period.filter(|period| *period != 0)) else {
        return Vec::new();
    };
    let per_second = match quota {
        NO_LIMIT => NO_LIMIT,
        quota => {
            let exact = u128::from(quota) * u128::from(MICROSECONDS) / u128::from(period);
            u64::try_from(exact).unwrap_or(NO_LIMIT - QUOTA_STEP).next_multiple_of(QUOTA_STEP)
        }
    };
    vec![("CPUQuotaPerSecUSec", per_second.into()), ("CPUQuotaPeriodUSec", period.into())]
}

/// A list of numbers and ranges as a mask, lowest byte first.
fn bits(list: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last > INDEX_MAX {
            return None;
        }
        for index in first..=last {
            if bytes.len() <= index / 8 {
                bytes.resize(index / 8 + 1, 0);
            }
            bytes[index / 8] |= 1 << (index % 8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_systemds_names() {
        let check = |file: &str, value: &str, expect: &[(&str, Value<'static>)]| {
            assert_eq!(of_write(file, value), expect, "{file} {value}");
        };
        check("memory.max", "1048576", &[("MemoryMax", 1_048_576_u64.into())]);
        check("memory.max", "max", &[("MemoryMax", u64::MAX.into())]);
        check("memory.low", "4096", &[("MemoryLow", 4096_u64.into())]);
        check("memory.swap.max", "0", &[("MemorySwapMax", 0_u64.into())]);
        check("pids.max", "7", &[("TasksMax", 7_u64.into())]);
        check("cpu.weight", "79", &[("CPUWeight", 79_u64.into())]);
        check("cpu.idle", "1", &[("CPUWeight", 0_u64.into())]);
        check("cpu.idle", "0", &[]);
        check("io.weight", "default 50", &[("IOWeight", 50_u64.into())]);
        check("io.weight", "8:0 50", &[]);
        check("cpuset.cpus", "0-2,9", &[("AllowedCPUs", vec![7_u8, 2].into())]);
        check("cpuset.mems", "0", &[("AllowedMemoryNodes", vec![1_u8].into())]);
        check("cpuset.cpus", "0-9999999", &[]);
        check("cpu.max.burst", "5", &[]);
        check("hugetlb.2MB.max", "5", &[]);
        let quota = |per_second: u64, period: u64| {
            [("CPUQuotaPerSecUSec", per_second.into()), ("CPUQuotaPeriodUSec", period.into())]
        };
        check("cpu.max", "50000 100000", &quota(500_000, 100_000));
        check("cpu.max", "12345 100000", &quota(130_000, 100_000));
        check("cpu.max", "max 50000", &quota(u64::MAX, 50_000));
        check("cpu.max", "18446744073709551614 1", &quota(u64::MAX / QUOTA_STEP * QUOTA_STEP, 1));
        check("cpu.max", "1 0", &[]);
    }

    #[test]
    fn a_scope_is_delegated_and_a_slice_is_not() {
        let names = |path: &str, pid| {
            let unit = Unit::of_container(path, "id").expect("a unit");
            of_unit(&unit, "id", pid).iter().map(|(name, _)| *name).collect::<Vec<_>>()
        };
        let scope = names("machine.slice:libpod:x", Some(7));
        assert!(["Slice", "Delegate", "PIDs"].iter().all(|name| scope.contains(name)), "{scope:?}");
        let slice = names("machine.slice:libpod:machine-x.slice", None);
        assert!(slice.contains(&"Wants") && !slice.contains(&"Delegate"), "{slice:?}");
    }
}
