//! Who the program will be: limits, groups, ids, capabilities, filters.

use std::ffi::CString;

use sys::Errno;

use super::Failure;
use crate::plan::{CapabilitySets, SchedulerPolicy};

/// Setting a lower score needs CAP_SYS_RESOURCE: without it the inherited one stays, as the nearest that is allowed.
pub(super) fn oom_score(adjust: i32) -> Result<(), Failure> {
    match sys::procfs::write("self/oom_score_adj", adjust.to_string().as_bytes()) {
        Err(Errno::ACCESS | Errno::PERM) => Ok(()),
        result => Ok(result?),
    }
}

pub(super) fn become_root() -> Result<(), Failure> {
    sys::identity::set_gid(0)?;
    sys::identity::set_uid(0)?;
    sys::identity::set_groups(&[])?;
    Ok(())
}

/// Keyrings are a kernel option and have a quota per user; a container runs well without one of its own.
pub(super) fn keyring(name: &str) -> Result<(), Failure> {
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    match sys::identity::join_session_keyring(&name) {
        Ok(()) | Err(Errno::NOSYS | Errno::DQUOT | Errno::PERM) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

pub(super) fn scheduler(policy: &SchedulerPolicy) -> Result<(), Failure> {
    Ok(sys::process::set_scheduler(sys::process::SchedulerAttributes {
        size: 0,
        policy: policy.policy,
        flags: policy.flags,
        nice: policy.nice,
        priority: policy.priority,
        runtime: policy.runtime,
        deadline: policy.deadline,
        period: policy.period,
    })?)
}

/// The profile applies at the next exec.
pub(super) fn app_armor(profile: &str) -> Result<(), Failure> {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if !enabled.is_ok_and(|text| text.starts_with('Y')) {
        return Err(Failure::new(Errno::OPNOTSUPP, "apparmor: config provided but apparmor not supported"));
    }
    let text = format!("exec {profile}");
    sys::procfs::write("self/attr/apparmor/exec", text.as_bytes())
        .or_else(|_| sys::procfs::write("self/attr/exec", text.as_bytes()))?;
    Ok(())
}

pub(super) fn run_on(cpus: &[u32]) -> Result<(), Failure> {
    let mut set = rustix::thread::CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu as usize));
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

pub(super) fn bounding_set(sets: &CapabilitySets) -> Result<(), Failure> {
    kernel_sets(sets).drop_bounding().map_err(|error| failed(&error))
}

/// To setresuid(2) and setresgid(2) this says "leave as it is": the process would stay root.
const NOBODY_AT_ALL: u32 = u32::MAX;

pub(super) fn become_user(uid: u32, gid: u32, groups: Option<&[u32]>) -> Result<(), Failure> {
    if uid == NOBODY_AT_ALL || gid == NOBODY_AT_ALL {
        return Err(Failure::new(Errno::INVAL, format!("{NOBODY_AT_ALL} is not an id")));
    }
    own_streams(uid)?;
    sys::identity::keep_capabilities(true)?;
    if let Some(groups) = groups {
        sys::identity::set_groups(groups)?;
    }
    sys::identity::set_gid(gid)?;
    Ok(sys::identity::set_uid(uid)?)
}

/// Pipes and terminals that are the program's streams become its user's, so that it may open `/dev/stdout` by name.
/// Files and devices stay whose they are: they were there before the container.
fn own_streams(uid: u32) -> Result<(), Failure> {
    for number in 0..3 {
        let stream = sys::descriptors::standard(number);
        let Ok(found) = rustix::fs::fstat(stream) else { continue };
        let kind = rustix::fs::FileType::from_raw_mode(found.st_mode);
        if found.st_uid == uid || !(kind.is_fifo() || rustix::termios::isatty(stream)) {
            continue;
        }
        match rustix::fs::fchown(stream, Some(rustix::fs::Uid::from_raw(uid)), None) {
            // In a user namespace the stream's owner may be nobody that can be changed.
            Ok(()) | Err(Errno::PERM | Errno::INVAL | Errno::ROFS) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Sets the final sets, less what this process does not have itself and so cannot give.
pub(super) fn capabilities(sets: &CapabilitySets) -> Result<(), Failure> {
    let own = rustix::thread::capabilities(None)?;
    let mut given = kernel_sets(sets);
    given.permitted &= own.permitted.bits();
    given.effective &= given.permitted;
    given.inheritable &= own.permitted.bits() | own.inheritable.bits();
    given.ambient &= given.permitted & given.inheritable;
    given.apply().map_err(|error| failed(&error))
}

fn kernel_sets(sets: &CapabilitySets) -> sys::capability::CapabilitySets {
    sys::capability::CapabilitySets {
        bounding: sets.bounding,
        effective: sets.effective,
        permitted: sets.permitted,
        inheritable: sets.inheritable,
        ambient: sets.ambient,
    }
}

/// The errno at the end of an error's chain, with the words of its beginning.
pub(super) fn failed(error: &(dyn std::error::Error + 'static)) -> Failure {
    let errno = std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<std::io::Error>())
        .find_map(Errno::from_io_error);
    let errno = errno.unwrap_or(Errno::INVAL);
    Failure::new(errno, format!("{error}: {errno}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_that_keeps_root_is_refused() {
        // Refused before anything changes: these ids are the test's own otherwise.
        for (uid, gid) in [(u32::MAX, 0), (0, u32::MAX)] {
            assert_eq!(become_user(uid, gid, None).unwrap_err().errno, Errno::INVAL);
        }
    }
}
