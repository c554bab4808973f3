//! What this runtime does not do, and what contradicts itself: refused with the field's name, never left out silently.
//!
//! Reference: OCI runtime-spec `config.md`, "a runtime MUST generate an error" for what it cannot honour.

use oci_spec::runtime::{Linux, Spec};

use super::namespaces::Wanted;
use super::{Namespaces, PlanError};

/// The clocks that a time namespace can shift.
const CLOCKS: [&str; 2] = ["monotonic", "boottime"];

const NANOSECONDS_PER_SECOND: u32 = 1_000_000_000;

pub(super) fn check(spec: &Spec, linux: &Linux, wanted: &Wanted) -> Result<(), PlanError> {
    version(spec.version())?;
    sections(linux)?;
    time_offsets(linux, wanted)?;
    if !wanted.create.has(Namespaces::MOUNT) {
        return Err(PlanError::Unsupported("a container without a mount namespace of its own".into()));
    }
    let maps = [("linux.uidMappings", linux.uid_mappings()), ("linux.gidMappings", linux.gid_mappings())];
    for (name, rows) in maps {
        let listed = rows.as_ref().is_some_and(|rows| !rows.is_empty());
        if wanted.create.has(Namespaces::USER) && !listed {
            return Err(PlanError::invalid(name, "the new user namespace needs it"));
        }
        if listed && !wanted.private(Namespaces::USER) {
            return Err(PlanError::invalid(name, "needs a user namespace of the container's own"));
        }
    }
    Ok(())
}

/// Versions are semantic: a later minor one may hold fields that this build does not know and would leave out.
fn version(version: &str) -> Result<(), PlanError> {
    let wrong = || PlanError::OciVersion(version.to_owned());
    let mut parts = version.split(['.', '-', '+']).map(str::parse::<u32>);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(Ok(1)), Some(Ok(_)), Some(Ok(_))) => Ok(()),
        _ => Err(wrong()),
    }
}

fn sections(linux: &Linux) -> Result<(), PlanError> {
    let flags = linux.personality().as_ref().and_then(|personality| personality.flags().as_ref());
    let named = [
        ("linux.mountLabel (SELinux)", linux.mount_label().as_ref().is_some_and(|label| !label.is_empty())),
        ("linux.intelRdt", linux.intel_rdt().is_some()),
        ("linux.memoryPolicy", linux.memory_policy().is_some()),
        ("linux.netDevices", linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty())),
        ("linux.personality.flags", flags.is_some_and(|flags| !flags.is_empty())),
    ];
    match named.into_iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(PlanError::Unsupported(name.into())),
        None => Ok(()),
    }
}

fn time_offsets(linux: &Linux, wanted: &Wanted) -> Result<(), PlanError> {
    let field = "linux.timeOffsets";
    for (clock, offset) in linux.time_offsets().iter().flatten() {
        if !wanted.create.has(Namespaces::TIME) {
            return Err(PlanError::invalid(field, "needs a new time namespace"));
        }
        if !CLOCKS.contains(&clock.as_str()) {
            return Err(PlanError::invalid(field, format!("`{clock}` is not one of {}", CLOCKS.join(", "))));
        }
        if offset.nanosecs().unwrap_or(0) >= NANOSECONDS_PER_SECOND {
            return Err(PlanError::invalid(field, format!("nanosecs of `{clock}` make a second or more")));
        }
    }
    Ok(())
}
