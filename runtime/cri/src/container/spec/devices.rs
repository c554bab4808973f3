//! Device nodes of a container and the rules that allow them.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use cri_api::v1;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use crate::fault::{Fault, Outcome};

/// Folders below /dev that are no devices of the host: terminals, shared memory, links to our own files.
const NOT_DEVICES: &[&str] = &["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];
/// Devices that a privileged container, or a folder of devices, may bring.
const DEVICES_MAX: usize = 4096;

/// Open to every container: null, zero, full, random, urandom, tty, console, ptmx, terminals.
const ALWAYS: &[(i64, Option<i64>)] = &[
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

/// Nodes to make and rules to apply.
pub fn translate(
    asked: &[v1::Device],
    privileged: bool,
) -> Outcome<(Vec<LinuxDevice>, Vec<LinuxDeviceCgroup>)> {
    let mut nodes = Vec::new();
    if privileged {
        collect(Path::new("/dev"), Path::new("/dev"), &mut nodes);
        return Ok((nodes, vec![rule(true, LinuxDeviceType::A, None, None, "rwm")]));
    }
    let mut rules = vec![rule(false, LinuxDeviceType::A, None, None, "rwm")];
    // Making a node is harmless without the right to open it.
    rules.push(rule(true, LinuxDeviceType::C, None, None, "m"));
    rules.push(rule(true, LinuxDeviceType::B, None, None, "m"));
    rules.extend(
        ALWAYS.iter().map(|(major, minor)| rule(true, LinuxDeviceType::C, Some(*major), *minor, "rwm")),
    );
    for device in asked {
        check(device)?;
        let target =
            if device.container_path.is_empty() { &device.host_path } else { &device.container_path };
        let mut found = Vec::new();
        let source = fs::canonicalize(&device.host_path)
            .map_err(|error| Fault::invalid(format!("device {}: {error}", device.host_path)))?;
        if source.is_dir() {
            collect(&source, Path::new(target), &mut found);
        } else {
            found.extend(node(&source, Path::new(target)));
        }
        if found.is_empty() {
            return Err(Fault::invalid(format!("device {} is not a device node", device.host_path)));
        }
        for node in found {
            rules.push(rule(true, node.typ(), Some(node.major()), Some(node.minor()), &device.permissions));
            nodes.push(node);
        }
    }
    Ok((nodes, rules))
}

fn check(device: &v1::Device) -> Outcome<()> {
    let permissions = &device.permissions;
    if permissions.is_empty() || !permissions.chars().all(|c| "rwm".contains(c)) {
        return Err(Fault::invalid(format!(
            "device {}: permissions {permissions:?}: expected some of r, w, m",
            device.host_path
        )));
    }
    for path in [&device.host_path, &device.container_path] {
        if !path.is_empty() && (!path.starts_with('/') || path.split('/').any(|part| part == "..")) {
            return Err(Fault::invalid(format!("device path {path:?} is not absolute and clean")));
        }
    }
    Ok(())
}

/// Every device below a folder. What vanishes meanwhile is left out.
fn collect(source: &Path, target: &Path, nodes: &mut Vec<LinuxDevice>) {
    let Ok(entries) = fs::read_dir(source) else { return };
    for entry in entries.flatten() {
        if nodes.len() >= DEVICES_MAX {
            return;
        }
        let name = entry.file_name();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && !NOT_DEVICES.iter().any(|skip| name == *skip) {
            collect(&entry.path(), &target.join(&name), nodes);
        } else if name != "console" {
            nodes.extend(node(&entry.path(), &target.join(&name)));
        }
    }
}

fn node(source: &Path, target: &Path) -> Option<LinuxDevice> {
    let found = fs::symlink_metadata(source).ok()?;
    let kind = found.file_type();
    let kind = if kind.is_char_device() {
        LinuxDeviceType::C
    } else if kind.is_block_device() {
        LinuxDeviceType::B
    } else {
        return None;
    };
    let mut device = LinuxDevice::default();
    device
        .set_path(PathBuf::from(target))
        .set_typ(kind)
        .set_major(i64::from(rustix::fs::major(found.rdev())))
        .set_minor(i64::from(rustix::fs::minor(found.rdev())))
        .set_file_mode(Some(found.mode() & 0o7777))
        .set_uid(Some(found.uid()))
        .set_gid(Some(found.gid()));
    Some(device)
}

fn rule(
    allow: bool,
    kind: LinuxDeviceType,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow)
        .set_typ(Some(kind))
        .set_major(major)
        .set_minor(minor)
        .set_access(Some(access.to_owned()));
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_gets_a_node_and_a_rule() {
        let asked = v1::Device {
            container_path: "/dev/kein".into(),
            host_path: "/dev/null".into(),
            permissions: "r".into(),
        };
        let (nodes, rules) = translate(&[asked], false).unwrap();
        assert_eq!(
            (nodes[0].path().as_path(), nodes[0].major(), nodes[0].minor()),
            (Path::new("/dev/kein"), 1, 3)
        );
        let last = rules.last().unwrap();
        assert_eq!((last.allow(), last.access().as_deref()), (true, Some("r")));
        assert!(!rules[0].allow(), "everything is denied first");
    }

    #[test]
    fn what_is_no_device_is_refused() {
        let check = |host_path: &str, permissions: &str| {
            let asked = v1::Device {
                container_path: String::new(),
                host_path: host_path.into(),
                permissions: permissions.into(),
            };
            assert!(translate(&[asked], false).is_err(), "{host_path} {permissions}");
        };
        check("/etc/hostname", "rwm");
        check("/dev/keelson-none", "rwm");
        check("/dev/null", "x");
        check("/dev/null", "");
        check("dev/null", "r");
        check("/dev/../etc", "r");
    }
}
