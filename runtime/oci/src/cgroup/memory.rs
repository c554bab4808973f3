//! memory: limit, reservation, swap, OOM killer.
//!
//! The specification's `swap` is memory and swap together, as on v1; v2 limits swap alone.

use super::ResourceError;
use super::plan::{Writes, given, or_max, refuse};
use oci_spec::runtime::LinuxMemory;
use sys::cgroup::Version;

const LIMIT: &str = "memory.limit_in_bytes";
const LIMIT_AND_SWAP: &str = "memory.memsw.limit_in_bytes";
const SWAP_MAX: &str = "memory.swap.max";
const MAX_SWAPPINESS: u64 = 100;

pub(super) fn plan(memory: &LinuxMemory, writes: &mut Writes<'_>) -> Result<(), ResourceError> {
    let limit = given(memory.limit());
    let swap = given(memory.swap());
    let reservation = given(memory.reservation());
    let kernel_tcp = given(memory.kernel_tcp());
    let disable_killer = memory.disable_oom_killer() == Some(true);
    let asked = limit.or(swap).or(reservation).or(kernel_tcp).is_some() || disable_killer;
    if !asked && memory.swappiness().is_none() {
        return Ok(());
    }
    let version = writes.version("memory")?;
    if let Some(limit) = limit
        && memory.check_before_update() == Some(true)
        && (0..writes.observed.memory_usage).contains(&limit)
    {
        let why = format!("{} bytes are in use, and checkBeforeUpdate is set", writes.observed.memory_usage);
        return Err(refuse("memory.limit", limit, why));
    }
    match version {
        Version::V1 => {
            plan_v1_limits(limit, swap, writes)?;
            if let Some(reservation) = reservation {
                writes.push("memory", "memory.soft_limit_in_bytes", reservation);
            }
            if let Some(limit) = kernel_tcp {
                writes.push("memory", "memory.kmem.tcp.limit_in_bytes", limit);
            }
            if disable_killer {
                writes.push("memory", "memory.oom_control", 1);
            }
            plan_swappiness(memory.swappiness(), writes)
        }
        // Swappiness, kernel memory and a switch for the OOM killer do not exist on v2; like runc we let them pass.
        Version::V2 => {
            plan_v2_limits(limit, swap, writes)?;
            if let Some(reservation) = reservation {
                writes.push("memory", "memory.low", or_max(reservation));
            }
            Ok(())
        }
    }
}

/// The kernel keeps limit <= limit-and-swap at every moment, so a rising pair starts with the outer one and a
/// falling pair with the inner one.
fn plan_v1_limits(
    limit: Option<i64>,
    swap: Option<i64>,
    writes: &mut Writes<'_>,
) -> Result<(), ResourceError> {
    let observed = writes.observed;
    // Without a limit on memory, one on memory and swap would be the limit on memory.
    let swap = if limit == Some(-1) { swap.or(Some(-1)) } else { swap };
    if let (Some(limit), Some(swap)) = (limit, swap)
        && swap >= 0
        && (limit < 0 || swap < limit)
    {
        return Err(refuse("memory.swap", swap, format!("it includes the memory limit, which is {limit}")));
    }
    let accounted = observed.has(LIMIT_AND_SWAP);
    let outer = match swap {
        Some(swap) if accounted => Some(swap),
        // Without swap accounting these ask for what cannot be told from not asking.
        Some(swap) if swap < 0 || limit == Some(swap) => None,
        Some(swap) => {
            return Err(refuse("memory.swap", swap, "this kernel was started without swap accounting"));
        }
        None => None,
    };
    if let (Some(limit), None, Some(both)) = (limit, outer, observed.memory_and_swap_limit)
        && limit > both
    {
        let why = format!("memory and swap together are limited to {both}; raise memory.swap with it");
        return Err(refuse("memory.limit", limit, why));
    }
    let rises = match (outer, observed.memory_limit) {
        (Some(..0), _) => true,
        (Some(outer), Some(current)) => current < outer,
        _ => false,
    };
    let limit = limit.map(|limit| (LIMIT, limit));
    let outer = outer.map(|outer| (LIMIT_AND_SWAP, outer));
    for (file, value) in if rises { [outer, limit] } else { [limit, outer] }.into_iter().flatten() {
        writes.push("memory", file, value);
    }
    Ok(())
}

fn plan_v2_limits(
    limit: Option<i64>,
    swap: Option<i64>,
    writes: &mut Writes<'_>,
) -> Result<(), ResourceError> {
    if let Some(alone) = swap_alone(limit, swap)? {
        // A kernel without swap accounting has no file, and lets a cgroup have all of the swap or none.
        match alone {
            0 | ..0 => writes.push_if_present("memory", SWAP_MAX, or_max(alone)),
            _ => writes.push("memory", SWAP_MAX, alone),
        }
    }
    if let Some(limit) = limit {
        writes.push("memory", "memory.max", or_max(limit));
    }
    Ok(())
}

/// v2's limit on swap, from the specification's on both.
fn swap_alone(limit: Option<i64>, swap: Option<i64>) -> Result<Option<i64>, ResourceError> {
    match (limit, swap) {
        (Some(-1), None) => Ok(Some(-1)),
        (_, None) => Ok(None),
        (_, Some(..0)) => Ok(Some(-1)),
        (None | Some(..0), Some(swap)) => Err(refuse(
            "memory.swap",
            swap,
            "it includes the memory limit, so memory.limit has to be given too",
        )),
        (Some(limit), Some(swap)) if swap < limit => {
            Err(refuse("memory.swap", swap, format!("it includes the memory limit, which is {limit}")))
        }
        (Some(limit), Some(swap)) => Ok(Some(swap - limit)),
    }
}

fn plan_swappiness(swappiness: Option<u64>, writes: &mut Writes<'_>) -> Result<(), ResourceError> {
    match swappiness {
        // What -1 ("leave it") becomes in an unsigned field.
        None | Some(u64::MAX) => Ok(()),
        Some(value) if value > MAX_SWAPPINESS => {
            Err(refuse("memory.swappiness", value, "it is a percentage from 0 to 100"))
        }
        Some(value) => {
            writes.push("memory", "memory.swappiness", value);
            Ok(())
        }
    }
}
