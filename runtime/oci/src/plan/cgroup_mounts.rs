//! The container's view of its cgroup: one mount on version 2, a tmpfs with one mount per hierarchy on
//! version 1 and on hybrid hosts.
//!
//! With a cgroup namespace each is a new mount of the hierarchy, which shows the container's cgroup as the
//! root; without one the container's directory of the host's mount is bound.

use std::path::Path;

use sys::cgroup::{Hierarchy, Layout, Mode, Version};

use super::mount_options::Options;
use super::mounts::{Mounts, assemble};
use super::namespaces::Wanted;
use super::{MountKind, Namespaces, PlanError, PlanOptions, Step, TargetRule};

pub(super) fn plan(
    target: &Path,
    kind: &str,
    parsed: &Options,
    wanted: &Wanted,
    options: &PlanOptions,
    planned: &mut Mounts,
) -> Result<(), PlanError> {
    let detected;
    let layout = match &options.layout {
        Some(layout) => layout,
        None => {
            detected = Layout::detect()?;
            &detected
        }
    };
    let own_view = wanted.private(Namespaces::CGROUP);
    if kind == "cgroup2" || layout.mode == Mode::Unified {
        let Some(unified) = layout.unified() else {
            return Err(PlanError::Unsupported("cgroup2 mount: the host has no cgroup2 mounted".into()));
        };
        planned.steps.push(mount_of(unified, target, parsed, own_view, options));
        return Ok(());
    }
    directory(target, planned);
    for hierarchy in &layout.hierarchies {
        let Some(name) = hierarchy.mount.file_name() else { continue };
        planned.steps.push(mount_of(hierarchy, &target.join(name), parsed, own_view, options));
        links(hierarchy, target, name.as_ref(), planned);
    }
    if parsed.attributes.set & sys::mount::attribute::READ_ONLY != 0 {
        planned.seals.push(Step::Seal { target: target.to_owned() });
    }
    Ok(())
}

/// The tmpfs that holds the hierarchies' directories.
fn directory(target: &Path, planned: &mut Mounts) {
    use sys::mount::attribute as a;
    let kind = MountKind::Filesystem {
        name: "tmpfs".into(),
        source: "tmpfs".into(),
        options: vec![("mode".into(), Some("755".into()))],
    };
    let mut mount = assemble(kind, target.to_owned(), TargetRule::Strict, Options::default());
    mount.attributes.set = a::NO_SUID | a::NO_DEV | a::NO_EXEC;
    planned.steps.push(Step::Mount(mount));
}

fn mount_of(
    hierarchy: &Hierarchy,
    target: &Path,
    parsed: &Options,
    own_view: bool,
    options: &PlanOptions,
) -> Step {
    let kind = if own_view {
        let (name, data) = match hierarchy.version {
            Version::V2 => ("cgroup2", Vec::new()),
            Version::V1 => ("cgroup", hierarchy.controllers.iter().map(|c| option(c)).collect()),
        };
        MountKind::Filesystem { name: name.into(), source: "cgroup".into(), options: data }
    } else {
        let path = options.cgroup_path.trim_start_matches('/');
        MountKind::Bind { source: hierarchy.mount.join(path), recursive: true }
    };
    let options = Options { data: Vec::new(), ..parsed.clone() };
    Step::Mount(assemble(kind, target.to_owned(), TargetRule::Strict, options))
}

/// `name=systemd` is an option with a value, a controller is a flag.
fn option(controller: &str) -> (String, Option<String>) {
    match controller.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (controller.to_owned(), None),
    }
}

/// `cpu -> cpu,cpuacct`: programs look for each controller under its own name.
fn links(hierarchy: &Hierarchy, target: &Path, name: &Path, planned: &mut Mounts) {
    if hierarchy.version == Version::V2 || hierarchy.controllers.len() < 2 {
        return;
    }
    for controller in &hierarchy.controllers {
        if Path::new(controller) != name && !controller.contains('=') {
            planned.steps.push(Step::Symlink { target: target.join(controller), to: name.to_owned() });
        }
    }
}
