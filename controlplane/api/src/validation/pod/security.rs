//! Security contexts of pods and containers.
//!
//! Whether something is *allowed* is admission's business (pod security); here is what makes sense at all.
//! Options of Windows are in `windows`.

use std::collections::HashSet;

use serde_json::Value;

use super::super::fields::{Fields, items};
use super::super::report::Report;
use super::{Whole, containers, volume, windows};
use crate::field::Path;

pub(super) const ID_MAX: i64 = 0xffff_ffff;
const SYSCTL_MAX: usize = 253;
const APPARMOR_MAX: usize = 4095;
const SYSCTL_SENTENCE: &str = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
const PROFILE_TYPES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
/// Namespaced sysctls of the network namespace and of the IPC namespace.
const NET_SYSCTLS: &[&str] = &["net."];
const IPC_SYSCTLS: &[&str] = &["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];

/// `securityContext` of a PodSpec.
pub(super) fn of_pod(report: &mut Report, spec: &Value, path: &Path) {
    let path = path.child("securityContext");
    let Some(context) = spec.part("securityContext") else { return };
    for name in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(report, context, name, &path);
    }
    let groups = path.child("supplementalGroups");
    for (index, group) in context.list("supplementalGroups").iter().enumerate() {
        report.in_range(&groups.index(index), group.as_i64().unwrap_or_default(), 0, ID_MAX);
    }
    if spec.flag("shareProcessNamespace") && spec.flag("hostPID") {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        report.invalid(&path.child("shareProcessNamespace"), true, why);
    }
    sysctls(report, spec, context, &path);
    for (name, known) in [
        ("fsGroupChangePolicy", ["Always", "OnRootMismatch"]),
        ("supplementalGroupsPolicy", ["Merge", "Strict"]),
        ("seLinuxChangePolicy", ["MountOption", "Recursive"]),
    ] {
        if context.part(name).is_some() && !known.contains(&context.text(name)) {
            report.not_supported(&path.child(name), context.text(name), &known);
        }
    }
    seccomp(report, context, &path);
    windows::options(report, context, &path);
    apparmor(report, context, &path);
}

/// `securityContext` of a container.
pub(super) fn of_container(report: &mut Report, whole: &Whole<'_>, context: &Value, path: &Path) {
    id(report, context, "runAsUser", path);
    id(report, context, "runAsGroup", path);
    if context.part("procMount").is_some() {
        let (mount, path) = (context.text("procMount"), path.child("procMount"));
        if !matches!(mount, "Default" | "Unmasked") {
            report.not_supported(&path, mount, &["Default", "Unmasked"]);
        }
        if whole.host_users() && mount == "Unmasked" {
            report.invalid(&path, mount, "`hostUsers` must be false to use `Unmasked`");
        }
    }
    seccomp(report, context, path);
    if context.get("allowPrivilegeEscalation") == Some(&Value::Bool(false)) {
        if context.flag("privileged") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            report.invalid(path, context.clone(), why);
        }
        if context["capabilities"].texts("add").any(|name| name == "CAP_SYS_ADMIN") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            report.invalid(path, context.clone(), why);
        }
    }
    windows::options(report, context, path);
    apparmor(report, context, path);
}

/// A pod with users of its own shares no other namespace with the host.
pub(super) fn host_users(report: &mut Report, whole: &Whole<'_>, path: &Path) {
    if whole.host_users() {
        return;
    }
    const WHY: &str = "when `hostUsers` is false";
    // The capital letters are upstream's.
    for (name, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if whole.spec.flag(name) {
            report.forbidden(&path.child(shown), WHY);
        }
    }
    for (path, container) in containers(whole.spec, path) {
        if !container.list("volumeDevices").is_empty() {
            report.forbidden(&path.child("volumeDevices"), WHY);
        }
    }
}

fn id(report: &mut Report, context: &Value, name: &str, path: &Path) {
    if let Some(id) = context.number(name) {
        report.in_range(&path.child(name), id, 0, ID_MAX);
    }
}

fn sysctls(report: &mut Report, spec: &Value, context: &Value, path: &Path) {
    let mut seen = HashSet::new();
    for (path, sysctl) in items(context, "sysctls", path) {
        let (name, path) = (sysctl.text("name"), path.child("name"));
        if name.is_empty() {
            report.required(&path, "");
        } else if !is_sysctl(name) {
            report.invalid(&path, name, SYSCTL_SENTENCE);
        } else if seen.contains(name) {
            report.duplicate(&path, name);
        }
        let dotted = name.replace('/', ".");
        let one_of = |known: &[&str]| known.iter().any(|prefix| dotted.starts_with(prefix));
        if spec.flag("hostNetwork") && one_of(NET_SYSCTLS) {
            report.invalid(&path, name, "may not be specified when 'hostNetwork' is true");
        } else if spec.flag("hostIPC") && one_of(IPC_SYSCTLS) {
            report.invalid(&path, name, "may not be specified when 'hostIPC' is true");
        }
        seen.insert(name);
    }
}

fn is_sysctl(name: &str) -> bool {
    let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let segment = |segment: &str| {
        let bytes = segment.as_bytes();
        bytes.first().is_some_and(edge)
            && bytes.last().is_some_and(edge)
            && bytes.iter().all(|byte| edge(byte) || matches!(byte, b'-' | b'_'))
    };
    name.len() <= SYSCTL_MAX && name.split(['.', '/']).all(segment)
}

fn seccomp(report: &mut Report, context: &Value, path: &Path) {
    let Some(profile) = context.part("seccompProfile") else { return };
    let path = path.child("seccompProfile");
    let (kind, file_path) = (profile.text("type"), path.child("localhostProfile"));
    if kind.is_empty() {
        report.required(&path.child("type"), "type is required when seccompProfile is set");
    } else if !PROFILE_TYPES.contains(&kind) {
        report.not_supported(&path.child("type"), kind, PROFILE_TYPES);
    }
    match (kind, profile.part("localhostProfile")) {
        ("Localhost", None) => {
            report.required(&file_path, "must be set when seccomp type is Localhost");
        }
        ("Localhost", Some(_)) => {
            volume::descending_path(report, &file_path, profile.text("localhostProfile"));
        }
        (_, Some(_)) => {
            report.invalid(&file_path, profile.clone(), "can only be set when seccomp type is Localhost");
        }
        (_, None) => {}
    }
}

fn apparmor(report: &mut Report, context: &Value, path: &Path) {
    const MUST: &str = "must be set when AppArmor type is Localhost";
    let Some(profile) = context.part("appArmorProfile") else { return };
    let path = path.child("appArmorProfile");
    let (file, file_path) = (profile.part("localhostProfile"), path.child("localhostProfile"));
    match profile.text("type") {
        "" => report.required(&path.child("type"), "type is required when appArmorProfile is set"),
        "Localhost" => {
            let Some(file) = file.and_then(Value::as_str) else {
                report.required(&file_path, MUST);
                return;
            };
            if file.trim() != file {
                report.invalid(&file_path, file, "must not be padded with whitespace");
            } else if file.is_empty() {
                report.required(&file_path, MUST);
            }
            if file.len() > APPARMOR_MAX {
                report.too_long(&file_path, APPARMOR_MAX);
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if let Some(file) = file {
                let why = "can only be set when AppArmor type is Localhost";
                report.invalid(&file_path, file.clone(), why);
            }
        }
        other => report.not_supported(&path.child("type"), other, PROFILE_TYPES),
    }
}
