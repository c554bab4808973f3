//! io (v2) and blkio (v1): weights, and rates for each disk.

use super::ResourceError;
use super::plan::{Writes, refuse};
use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};
use sys::cgroup::Version;

/// The specification's weights are v1's.
const WEIGHTS: std::ops::RangeInclusive<u16> = 10..=1000;

pub(super) fn plan(block: &LinuxBlockIo, writes: &mut Writes<'_>) -> Result<(), ResourceError> {
    let leaf = block.leaf_weight().filter(|weight| *weight != 0);
    let leaf =
        leaf.or_else(|| block.weight_device().iter().flatten().find_map(|device| device.leaf_weight()));
    if let Some(weight) = leaf.filter(|weight| *weight != 0) {
        return Err(refuse("blockIO.leafWeight", weight, "Linux has had no leaf weights since 5.0"));
    }
    let weight = block.weight().filter(|weight| *weight != 0);
    let weight_devices = block.weight_device().as_deref().unwrap_or_default();
    let rates = rates(block);
    if weight.is_none() && weight_devices.is_empty() && rates.iter().all(|(_, _, devices)| devices.is_empty())
    {
        return Ok(());
    }
    let version = writes.version("io")?;
    if let Some(weight) = weight {
        check_weight(weight)?;
        plan_weight(version, weight, writes);
    }
    for device in weight_devices {
        let Some(weight) = device.weight().filter(|weight| *weight != 0) else { continue };
        check_weight(weight)?;
        let name = format!("{}:{}", device.major(), device.minor());
        match version {
            Version::V1 => {
                let bfq = writes.observed.has("blkio.bfq.weight_device");
                let file = if bfq { "blkio.bfq.weight_device" } else { "blkio.weight_device" };
                writes.push("io", file, format!("{name} {weight}"));
            }
            Version::V2 if writes.observed.has("io.bfq.weight") => {
                writes.push("io", "io.bfq.weight", format!("{name} {weight}"));
            }
            Version::V2 => writes.push("io", "io.weight", format!("{name} {}", v2_weight(weight))),
        }
    }
    for (v1_file, v2_key, devices) in rates {
        for device in devices {
            let name = format!("{}:{}", device.major(), device.minor());
            match version {
                Version::V1 => writes.push("io", v1_file, format!("{name} {}", device.rate())),
                // v1 lifts a limit with 0, where v2 wants the word.
                Version::V2 if device.rate() == 0 => {
                    writes.push("io", "io.max", format!("{name} {v2_key}=max"))
                }
                Version::V2 => writes.push("io", "io.max", format!("{name} {v2_key}={}", device.rate())),
            }
        }
    }
    Ok(())
}

/// BFQ's own files where BFQ is there: it takes v1's numbers on both.
fn plan_weight(version: Version, weight: u16, writes: &mut Writes<'_>) {
    let has = |file| writes.observed.has(file);
    match version {
        Version::V1 if has("blkio.bfq.weight") => writes.push("io", "blkio.bfq.weight", weight),
        Version::V1 => writes.push("io", "blkio.weight", weight),
        Version::V2 if has("io.bfq.weight") => writes.push("io", "io.bfq.weight", weight),
        Version::V2 => writes.push("io", "io.weight", format!("default {}", v2_weight(weight))),
    }
}

/// [10, 1000] to [1, 10000], as runc maps them.
fn v2_weight(weight: u16) -> u32 {
    1 + (u32::from(weight) - 10) * 9999 / 990
}

fn check_weight(weight: u16) -> Result<(), ResourceError> {
    if WEIGHTS.contains(&weight) {
        return Ok(());
    }
    Err(refuse("blockIO.weight", weight, "weights are from 10 to 1000"))
}

fn rates(block: &LinuxBlockIo) -> [(&'static str, &'static str, &[LinuxThrottleDevice]); 4] {
    fn list(devices: &Option<Vec<LinuxThrottleDevice>>) -> &[LinuxThrottleDevice] {
        devices.as_deref().unwrap_or_default()
    }
    [
        ("blkio.throttle.read_bps_device", "rbps", list(block.throttle_read_bps_device())),
        ("blkio.throttle.write_bps_device", "wbps", list(block.throttle_write_bps_device())),
        ("blkio.throttle.read_iops_device", "riops", list(block.throttle_read_iops_device())),
        ("blkio.throttle.write_iops_device", "wiops", list(block.throttle_write_iops_device())),
    ]
}
