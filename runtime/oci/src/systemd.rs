//! Cgroups that systemd makes: a container is a transient unit, whose cgroup systemd delegates to it (`--systemd-cgroup`).
//!
//! ```text
//! create: stand-in process ─► StartTransientUnit(PIDs=[stand-in]) ─► job done ─► the cgroup is where the stand-in is
//!         limits: SetUnitProperties, then the control files ─► the container is cloned into the cgroup ─► stand-in ends
//! update: SetUnitProperties, then the control files
//! delete: processes killed ─► StopUnit ─► job done, cgroup and unit are gone ─► ResetFailedUnit
//! ```
//!
//! A scope cannot be made without a process, and the container's own is born in its cgroup: so a stand-in holds the place
//! until then. Limits are told to systemd too, because it writes those it knows again whenever it reloads.
//!
//! It speaks to the system bus by itself, with messages of `zbus` (`bus`): zbus's own connection starts threads, and
//! this process must have one only when it clones. cgroup2 alone: on a host whose device controller is v1, a reload of
//! systemd would allow every device.
//!
//! **Invariants.** Every wait is bounded. Nobody but systemd removes a unit's cgroup while the unit lives.
//!
//! Reference: org.freedesktop.systemd1(5), systemd's "Control Group APIs and Delegation"; names and properties as runc's.

mod annotation;
mod bus;
mod properties;
mod unit;

use std::os::fd::AsFd as _;

use sys::cgroup::{Layout, Version};
use sys::process::{self, CloneRequest, Cloned};

use crate::cgroup::Write;
pub use annotation::AnnotationError;
use bus::Bus;
pub use bus::BusError;
pub use unit::{Unit, UnitError};

/// Why systemd did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    #[error(transparent)]
    Unit(#[from] UnitError),
    #[error(transparent)]
    Annotation(#[from] AnnotationError),
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("systemd's job for unit `{unit}` ended with `{result}`; see: systemctl status {unit}")]
    Job { unit: String, result: String },
    #[error(
        "--systemd-cgroup needs cgroup2 alone: this host's device controller is version 1, whose rules systemd overwrites; use the cgroupfs driver"
    )]
    NotUnified,
    #[error("the process that stands in for the container in unit `{unit}`: {action}")]
    StandIn {
        unit: String,
        action: &'static str,
        #[source]
        errno: sys::Errno,
    },
}

/// What a new unit is made with besides its place.
pub(crate) struct Wanted<'a> {
    pub(crate) id: &'a str,
    pub(crate) annotations: &'a [(String, String)],
}

/// A unit that runs, with the process that stands in for the container until [`Started::leave`].
#[derive(Debug)]
pub(crate) struct Started {
    /// Below the cgroup2 mount.
    pub(crate) cgroup: String,
    stand_in: Option<StandIn>,
}

impl Started {
    /// The container's own process is in the cgroup now.
    pub(crate) fn leave(&mut self) {
        self.stand_in = None;
    }
}

/// Makes the unit and waits until systemd has made its cgroup.
pub(crate) fn start(unit: &Unit, layout: &Layout, wanted: &Wanted<'_>) -> Result<Started, SystemdError> {
    let extra = annotation::properties(wanted.annotations)?;
    let mut bus = Bus::connect()?;
    if layout.version("devices") == Some(Version::V1) || layout.unified().is_none() {
        return Err(SystemdError::NotUnified);
    }
    bus.subscribe()?;
    let stand_in = if unit.is_slice() { None } else { Some(StandIn::start(unit)?) };
    let pid = stand_in.as_ref().map(|stand_in| stand_in.0.pid as u32);
    let own = properties::of_unit(unit, wanted.id, pid).into_iter();
    let all: Vec<_> = own.map(|(name, value)| (name.to_owned(), value)).chain(extra).collect();
    let job = match bus.start_unit(unit.name(), &all) {
        // What an earlier container of this name left when it failed.
        Err(BusError::Refused { error, .. }) if error == bus::UNIT_EXISTS => {
            bus.reset_failed(unit.name());
            bus.start_unit(unit.name(), &all)
        }
        result => result,
    }?;
    let ended = bus.wait_for_job(&job, unit.name());
    if let Ok(result) = &ended
        && result == "done"
    {
        let cgroup = match &stand_in {
            Some(stand_in) => stand_in.cgroup(unit)?,
            None => unit.cgroup(),
        };
        return Ok(Started { cgroup, stand_in });
    }
    drop(stand_in);
    bus.reset_failed(unit.name());
    Err(SystemdError::Job { unit: unit.name().to_owned(), result: ended? })
}

/// Tells systemd the limits that are about to be written, those of them that it knows.
pub(crate) fn set(unit: &str, writes: &[Write]) -> Result<(), SystemdError> {
    let known = properties::of_writes(writes);
    if known.is_empty() {
        return Ok(());
    }
    Ok(Bus::connect()?.set_properties(unit, &known)?)
}

/// Ends the unit, waits until systemd has let go of it, and forgets its failure. One that is gone is fine.
pub(crate) fn stop(unit: &str) -> Result<(), SystemdError> {
    let mut bus = Bus::connect()?;
    bus.subscribe()?;
    match bus.stop_unit(unit) {
        Ok(job) => {
            let result = bus.wait_for_job(&job, unit)?;
            if result != "done" {
                return Err(SystemdError::Job { unit: unit.to_owned(), result });
            }
        }
        Err(BusError::Refused { error, .. }) if error == bus::NO_SUCH_UNIT => {}
        Err(error) => return Err(error.into()),
    }
    bus.reset_failed(unit);
    Ok(())
}

/// A child that does nothing, killed when dropped.
#[derive(Debug)]
struct StandIn(Cloned);

impl StandIn {
    fn start(unit: &Unit) -> Result<StandIn, SystemdError> {
        let failed =
            |errno| SystemdError::StandIn { unit: unit.name().to_owned(), action: "clone it", errno };
        // It is in the container's cgroup, where its memory would be looked into last of all; nobody may look at all.
        process::set_undumpable().map_err(failed)?;
        let child = process::clone_process(&CloneRequest::default(), || {
            let _orphan = process::die_with_parent();
            loop {
                let _interrupted = rustix::event::poll(&mut [], None);
            }
        });
        child.map(StandIn).map_err(failed)
    }

    /// Where systemd has put it.
    fn cgroup(&self, unit: &Unit) -> Result<String, SystemdError> {
        let text = std::fs::read_to_string(format!("/proc/{}/cgroup", self.0.pid)).unwrap_or_default();
        let path = text.lines().find_map(|line| line.strip_prefix("0::/")).map(str::to_owned);
        path.filter(|path| path.ends_with(unit.name())).ok_or_else(|| SystemdError::StandIn {
            unit: unit.name().to_owned(),
            action: "systemd did not move it into the unit's cgroup",
            errno: sys::Errno::NOENT,
        })
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _gone = process::signal(self.0.pidfd.as_fd(), rustix::process::Signal::KILL.as_raw());
        let _reaped = process::reap(self.0.pidfd.as_fd());
    }
}
