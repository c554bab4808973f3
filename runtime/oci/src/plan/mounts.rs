//! The specification's mounts as steps, in its order.
//!
//! What may be mounted where is decided here by the written path; the child checks again by descriptor, because
//! the image's links may lead elsewhere.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Mount as SpecMount;
use sys::mount::attribute;

use super::mount_options::{self, Options};
use super::namespaces::Wanted;
use super::{
    IdMapSource, ImageVolume, Mount, MountIdMap, MountKind, PlanError, PlanOptions, Step, TargetRule,
    cgroup_mounts,
};

/// Files of procfs that a container may have replaced, as lxcfs does. Everything else there is the kernel's.
const ON_PROC: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Steps that mount, and steps that make mounts read-only after everything below them is in place.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    pub(super) steps: Vec<Step>,
    pub(super) seals: Vec<Step>,
    /// /dev comes from the host: nothing is made in it.
    pub(super) host_dev: bool,
}

pub(super) fn plan(
    mounts: &[SpecMount],
    wanted: &Wanted,
    own_ids: Option<IdMapSource>,
    options: &PlanOptions,
) -> Result<Mounts, PlanError> {
    let mut planned = Mounts::default();
    for mount in mounts {
        let target = normal(mount.destination())?;
        let parsed = mount_options::parse(mount.options().as_deref().unwrap_or_default())?;
        let kind = mount.typ().as_deref().unwrap_or("none");
        if kind == "cgroup" || kind == "cgroup2" {
            cgroup_mounts::plan(&target, kind, &parsed, wanted, options, &mut planned)?;
            continue;
        }
        let is_bind = kind == "bind" || parsed.bind.is_some();
        planned.host_dev |= is_bind && target == Path::new("/dev");
        let id_map = id_map(mount, &target, &parsed, own_ids.as_ref())?;
        let step = if is_bind {
            Mount { id_map, ..bind(mount, target, parsed, options)? }
        } else {
            if id_map.is_some() {
                return Err(PlanError::MountTarget {
                    target,
                    reason: "only a bind mount can have ids mapped",
                });
            }
            filesystem(mount, kind, target, parsed, &mut planned.seals)?
        };
        planned.steps.push(Step::Mount(step));
    }
    Ok(planned)
}

/// The mount's own maps, or those of the container's user namespace when an option asks for maps without naming any.
fn id_map(
    mount: &SpecMount,
    target: &Path,
    parsed: &Options,
    own_ids: Option<&IdMapSource>,
) -> Result<Option<MountIdMap>, PlanError> {
    let uid = super::id_map_rows(mount.uid_mappings());
    let gid = super::id_map_rows(mount.gid_mappings());
    let listed = match (uid.is_empty(), gid.is_empty()) {
        (true, true) => None,
        (false, false) => Some(IdMapSource::Maps(super::IdMaps { uid, gid })),
        _ => {
            let reason = "both uidMappings and gidMappings are needed";
            return Err(PlanError::MountTarget { target: target.to_owned(), reason });
        }
    };
    let recursive = parsed.id_map.unwrap_or(false);
    match listed.or_else(|| parsed.id_map.and(own_ids.cloned())) {
        Some(source) => Ok(Some(MountIdMap { source, recursive })),
        None if parsed.id_map.is_some() => Err(PlanError::MountTarget {
            target: target.to_owned(),
            reason: "idmap without uidMappings and gidMappings needs a user namespace of the container's own",
        }),
        None => Ok(None),
    }
}

fn bind(
    mount: &SpecMount,
    target: PathBuf,
    parsed: Options,
    options: &PlanOptions,
) -> Result<Mount, PlanError> {
    let source = mount
        .source()
        .as_ref()
        .filter(|source| !source.as_os_str().is_empty())
        .ok_or(PlanError::Missing("mounts.source of a bind mount"))?;
    let rule = if target == Path::new("/proc") && source == Path::new("/proc") {
        TargetRule::Strict
    } else {
        rule_for(&target)?
    };
    // A bind mount without either word is one that a type of `bind` asked for: the whole tree, as mount(8) does.
    let recursive = parsed.bind.unwrap_or(true);
    let kind = match options.image_volumes.get(source) {
        Some(ImageVolume { lower, sub_path }) => {
            MountKind::Layers { lower: lower.clone(), sub_path: sub_path.clone() }
        }
        None => MountKind::Bind { source: options.bundle.join(source), recursive },
    };
    Ok(assemble(kind, target, rule, parsed))
}

fn filesystem(
    mount: &SpecMount,
    name: &str,
    target: PathBuf,
    mut parsed: Options,
    seals: &mut Vec<Step>,
) -> Result<Mount, PlanError> {
    let own_instance = matches!(name, "proc" | "sysfs" | "mqueue" | "devpts");
    let rule = if own_instance { TargetRule::Strict } else { rule_for(&target)? };
    if target.starts_with("/proc") && name != "proc" && rule != TargetRule::OnProc {
        return Err(on_proc(target));
    }
    if name == "tmpfs" && parsed.attributes.set & attribute::READ_ONLY != 0 {
        // Other mounts may still need directories made in it.
        parsed.attributes.set &= !attribute::READ_ONLY;
        seals.push(Step::Seal { target: target.clone() });
    }
    let source = mount.source().as_ref().map_or(name.into(), |source| source.to_string_lossy().into_owned());
    let kind =
        MountKind::Filesystem { name: name.to_owned(), source, options: std::mem::take(&mut parsed.data) };
    Ok(assemble(kind, target, rule, parsed))
}

pub(super) fn assemble(kind: MountKind, target: PathBuf, rule: TargetRule, options: Options) -> Mount {
    Mount {
        kind,
        target,
        rule,
        attributes: options.attributes,
        recursive: options.recursive,
        propagation: options.propagation,
        id_map: None,
        copy_up: options.copy_up,
    }
}

fn rule_for(target: &Path) -> Result<TargetRule, PlanError> {
    if ON_PROC.iter().any(|allowed| target == Path::new(allowed)) {
        return Ok(TargetRule::OnProc);
    }
    if target.starts_with("/proc") && target != Path::new("/proc") {
        return Err(on_proc(target.to_owned()));
    }
    let strict = ["/proc", "/sys", "/dev"].iter().any(|place| target.starts_with(place));
    Ok(if strict { TargetRule::Strict } else { TargetRule::Follow })
}

fn on_proc(target: PathBuf) -> PlanError {
    PlanError::MountTarget { target, reason: "inside /proc, which a container may not cover" }
}

/// The path with `.` and `..` worked out; relative ones start at the root, as older specifications allow.
fn normal(path: &Path) -> Result<PathBuf, PlanError> {
    let mut target = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => target.push(name),
            Component::ParentDir => {
                target.pop();
            }
            _ => {}
        }
    }
    if target == Path::new("/") {
        return Err(PlanError::MountTarget { target, reason: "the root cannot be mounted over" });
    }
    Ok(target)
}
