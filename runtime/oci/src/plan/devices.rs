//! Devices of a container: those every program expects, and those the specification lists.
//!
//! Reference: OCI runtime-spec `config-linux.md` "Default Devices".

use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType};

use super::{Access, DeviceNode, PlanError, Step};

const CHARACTER: u32 = 0o020_000;
const BLOCK: u32 = 0o060_000;
const FIFO: u32 = 0o010_000;

/// Name, major, minor.
const DEFAULTS: &[(&str, u32, u32)] = &[
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: &[(&str, &str)] = &[
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
    ("/dev/ptmx", "pts/ptmx"),
];

pub(super) fn plan(listed: &[LinuxDevice], access: Access) -> Result<Vec<Step>, PlanError> {
    let mut steps = Vec::new();
    for (target, major, minor) in DEFAULTS {
        if listed.iter().any(|device| device.path() == Path::new(target)) {
            continue;
        }
        steps.push(Step::Device(DeviceNode {
            target: target.into(),
            mode: CHARACTER | 0o666,
            major: *major,
            minor: *minor,
            uid: 0,
            gid: 0,
            access,
        }));
    }
    for device in listed {
        steps.push(Step::Device(node(device, access)?));
    }
    steps.extend(LINKS.iter().map(|(target, to)| Step::Symlink { target: target.into(), to: to.into() }));
    Ok(steps)
}

fn node(device: &LinuxDevice, access: Access) -> Result<DeviceNode, PlanError> {
    let number = |value: i64, what: &str| {
        u32::try_from(value).map_err(|_| {
            PlanError::invalid("linux.devices", format!("{what} {value} of `{}`", device.path().display()))
        })
    };
    if !device.path().is_absolute() {
        return Err(PlanError::invalid(
            "linux.devices",
            format!("`{}` is not absolute", device.path().display()),
        ));
    }
    let kind = match device.typ() {
        LinuxDeviceType::B => BLOCK,
        LinuxDeviceType::C | LinuxDeviceType::U => CHARACTER,
        LinuxDeviceType::P => FIFO,
        LinuxDeviceType::A => {
            return Err(PlanError::invalid("linux.devices", "type `a` is for rules, not for devices"));
        }
    };
    Ok(DeviceNode {
        target: device.path().clone(),
        mode: kind | device.file_mode().unwrap_or(0o666) & 0o7777,
        major: number(device.major(), "major number")?,
        minor: number(device.minor(), "minor number")?,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        access,
    })
}

/// Cgroup rules that every container needs besides its own: the default devices, its terminals, and mknod,
/// which without a rule for opening is harmless.
pub fn default_rules() -> Vec<LinuxDeviceCgroup> {
    /// Unix98 terminals and their multiplexer.
    const PTS_MAJOR: i64 = 136;
    const PTMX: (i64, i64) = (5, 2);
    let rule = |typ, major: Option<i64>, minor: Option<i64>, access: &str| {
        let mut rule = LinuxDeviceCgroupBuilder::default().allow(true).typ(typ).access(access);
        if let Some(major) = major {
            rule = rule.major(major);
        }
        if let Some(minor) = minor {
            rule = rule.minor(minor);
        }
        rule.build().ok()
    };
    let defaults = DEFAULTS
        .iter()
        .map(|(_, major, minor)| (i64::from(*major), i64::from(*minor)))
        .chain([PTMX])
        .map(|(major, minor)| rule(LinuxDeviceType::C, Some(major), Some(minor), "rwm"));
    [
        rule(LinuxDeviceType::C, None, None, "m"),
        rule(LinuxDeviceType::B, None, None, "m"),
        rule(LinuxDeviceType::C, Some(PTS_MAJOR), None, "rwm"),
    ]
    .into_iter()
    .chain(defaults)
    .flatten()
    .collect()
}
