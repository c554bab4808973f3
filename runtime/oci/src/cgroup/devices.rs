//! devices: which device nodes a container may make, read and write.
//!
//! Rules are read as the kernel's v1 controller reads writes to devices.allow and devices.deny, one after the
//! other, from "nothing is allowed"; after those of the specification come the devices that every container
//! has. On v1 that list of exceptions is what gets written; on v2 a program answers each question from the
//! same rules, last one first.
//!
//! The v1 controller wins where it is mounted: its answer would count in any case.

mod program;
mod whitelist;

use super::ResourceError;
use super::plan::refuse;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use sys::bpf::{self, Program};
use sys::cgroup::{Cgroup, CgroupError, Version};
use whitelist::Whitelist;

/// Under which the program shows in `bpftool cgroup show`.
const PROGRAM_NAME: &str = "keelson_device";

pub(super) const MKNOD: u8 = 1;
pub(super) const READ: u8 = 2;
pub(super) const WRITE: u8 = 4;
pub(super) const EVERY_ACCESS: u8 = MKNOD | READ | WRITE;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Block,
    Character,
}

/// One rule; None stands for every kind or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub allow: bool,
    pub kind: Option<Kind>,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    /// Of MKNOD, READ, WRITE.
    pub access: u8,
}

pub(super) fn apply(cgroup: &Cgroup, given: &[LinuxDeviceCgroup]) -> Result<(), ResourceError> {
    let all = rules(given)?;
    match cgroup.controller("devices") {
        Some((Version::V1, _)) => apply_v1(cgroup, &all),
        _ => apply_v2(cgroup, &all),
    }
}

/// The specification's rules, and after them what every container may use.
pub(super) fn rules(given: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>, ResourceError> {
    let given = given.iter().map(rule);
    given.chain(defaults().map(Ok)).collect()
}

/// Writes the difference only, so that a running container never loses a device for a moment.
fn apply_v1(cgroup: &Cgroup, rules: &[Rule]) -> Result<(), ResourceError> {
    let present = Whitelist::parse(&cgroup.read("devices", "devices.list")?);
    let wanted = Whitelist::from_rules(rules)?;
    for (file, value) in present.writes_to(&wanted) {
        cgroup.write("devices", file, &value)?;
    }
    Ok(())
}

pub(super) fn apply_v2(cgroup: &Cgroup, rules: &[Rule]) -> Result<(), ResourceError> {
    let Some(directory) = cgroup.unified() else {
        let why = "neither the v1 controller nor a cgroup2 hierarchy is mounted".to_owned();
        return Err(CgroupError::Controller { controller: "devices".to_owned(), why }.into());
    };
    let program = Program::load_device(PROGRAM_NAME, &program::instructions(rules))?;
    let attached = bpf::attached_device(directory)?;
    let old = attached.iter().rev().find(|one| one.name == PROGRAM_NAME);
    let old = old.map(|one| Program::by_id(one.id)).transpose()?;
    Ok(program.attach_device(directory, old.as_ref())?)
}

/// What every container may use: making any node (mknod alone opens nothing), the specification's default
/// devices, /dev/console and pseudo-terminals.
fn defaults() -> impl Iterator<Item = Rule> {
    let any = |kind| Rule { allow: true, kind: Some(kind), major: None, minor: None, access: MKNOD };
    let one = |(major, minor)| Rule {
        allow: true,
        kind: Some(Kind::Character),
        major: Some(major),
        minor,
        access: EVERY_ACCESS,
    };
    let devices = [
        (1, Some(3)), // null
        (1, Some(5)), // zero
        (1, Some(7)), // full
        (1, Some(8)), // random
        (1, Some(9)), // urandom
        (5, Some(0)), // tty
        (5, Some(1)), // console
        (5, Some(2)), // ptmx
        (136, None),  // pts/*
    ];
    [any(Kind::Character), any(Kind::Block)].into_iter().chain(devices.map(one))
}

fn rule(rule: &LinuxDeviceCgroup) -> Result<Rule, ResourceError> {
    let kind = match rule.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::B) => Some(Kind::Block),
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(Kind::Character),
        Some(LinuxDeviceType::P) => {
            return Err(refuse("devices.type", rule, "a FIFO is no device"));
        }
    };
    let number = |value: Option<i64>| match value {
        None | Some(-1) => Ok(None),
        Some(number) => {
            let number = u32::try_from(number);
            number.map(Some).map_err(|_| refuse("devices.major/minor", rule, "numbers are 32 bits"))
        }
    };
    let mut access = 0;
    for letter in rule.access().as_deref().unwrap_or("rwm").chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            _ => return Err(refuse("devices.access", rule, "it is made of the letters r, w and m")),
        };
    }
    // An empty access means all of it, as an absent one does.
    let access = if access == 0 { EVERY_ACCESS } else { access };
    Ok(Rule { allow: rule.allow(), kind, major: number(rule.major())?, minor: number(rule.minor())?, access })
}
