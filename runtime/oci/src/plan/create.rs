//! The plan of a new container: namespaces, root filesystem, mounts, then the program.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxIdMapping, Process, Spec};

use super::mount_options::{self, MS_REC, MS_SHARED, MS_SLAVE};
use super::namespaces::Wanted;
use super::process::{self, Around};
use super::{
    Access, Hook, HookStatus, IdMap, IdMapSource, IdMaps, Namespaces, Plan, PlanError, PlanOptions, Rootfs,
    Step, devices, mounts, refused, sysctl,
};

/// The time namespace is not among them: its offsets are written before the child enters it. Nor is the cgroup
/// namespace: its root is the cgroup at the time it is made, so the child is moved first.
const AFTER_CLONE: Namespaces = Namespaces::CGROUP.with(Namespaces::TIME);

pub(super) fn plan(spec: &Spec, options: &PlanOptions) -> Result<Plan, PlanError> {
    let process = spec.process().as_ref().ok_or(PlanError::Missing("process"))?;
    let linux = spec.linux().as_ref().ok_or(PlanError::Missing("linux"))?;
    let wanted = Wanted::of(linux.namespaces().as_deref().unwrap_or_default())?;
    refused::check(spec, linux, &wanted)?;

    let mut steps = isolation(spec, process, linux, &wanted, options)?;
    steps.extend(filesystem(spec, process, linux, &wanted, options)?);
    let around = Around {
        seccomp: linux.seccomp().as_ref(),
        gate: options.gate,
        start_hooks: hooks(spec.hooks().as_ref().and_then(|hooks| hooks.start_container().as_ref()))?,
        state: options.state.clone().unwrap_or_else(|| "{".into()),
        status: HookStatus::Creating,
    };
    let listener = around.listener()?;
    steps.extend(process::into_program(process, around)?);
    let join_first = join_first(&wanted);
    let join_pid = wanted.join.iter().find(|(kind, _)| *kind == Namespaces::PID);
    Ok(Plan {
        clone_flags: wanted.create.without(AFTER_CLONE),
        join_pid: join_pid.filter(|_| join_first.is_empty()).map(|(_, path)| path.clone()),
        join_first,
        target: None,
        id_maps: wanted.create.has(Namespaces::USER).then(|| id_maps(linux)),
        listener,
        steps,
    })
}

/// Joined before the clone: everything, when a user namespace decides who owns the rest.
fn join_first(wanted: &Wanted) -> Vec<(Namespaces, PathBuf)> {
    let owner_joined = wanted.joins(Namespaces::USER) && !wanted.create.is_empty();
    let owner_made = wanted.create.has(Namespaces::USER) && !wanted.join.is_empty();
    if owner_joined || owner_made { wanted.join.clone() } else { Vec::new() }
}

fn id_maps(linux: &Linux) -> IdMaps {
    IdMaps { uid: id_map_rows(linux.uid_mappings()), gid: id_map_rows(linux.gid_mappings()) }
}

/// A list of the specification as rows of a map.
pub(crate) fn id_map_rows(list: &Option<Vec<LinuxIdMapping>>) -> Vec<IdMap> {
    list.iter()
        .flatten()
        .map(|row| IdMap { container: row.container_id(), host: row.host_id(), size: row.size() })
        .collect()
}

/// Ids of the container's own user namespace, for mounts that ask for them.
fn own_ids(linux: &Linux, wanted: &Wanted) -> Option<IdMapSource> {
    if wanted.create.has(Namespaces::USER) {
        return Some(IdMapSource::Maps(id_maps(linux)));
    }
    let joined = wanted.join.iter().find(|(kind, _)| *kind == Namespaces::USER);
    joined.map(|(_, path)| IdMapSource::Namespace(path.clone()))
}

fn isolation(
    spec: &Spec,
    process: &Process,
    linux: &Linux,
    wanted: &Wanted,
    options: &PlanOptions,
) -> Result<Vec<Step>, PlanError> {
    let mut steps = vec![Step::NewSession];
    steps.extend(options.cgroup_procs.iter().map(|procs| Step::JoinCgroup { procs: procs.clone() }));
    if let Some(adjust) = process.oom_score_adj() {
        steps.push(Step::OomScore { adjust });
    }
    if join_first(wanted).is_empty() {
        let joins = wanted.join.iter().filter(|(kind, _)| *kind != Namespaces::PID);
        steps.extend(joins.map(|(kind, path)| Step::Join { kind: *kind, path: path.clone() }));
    }
    if wanted.create.has(Namespaces::USER) {
        steps.push(Step::MapIds);
    }
    if wanted.private(Namespaces::USER) {
        steps.push(Step::BecomeRoot);
    }
    if wanted.create.has(Namespaces::CGROUP) {
        steps.push(Step::Unshare { kinds: Namespaces::CGROUP });
    }
    if wanted.create.has(Namespaces::TIME) {
        steps.push(Step::Unshare { kinds: Namespaces::TIME });
        steps.push(Step::TimeOffsets { offsets: time_offsets(linux) });
    }
    for (name, field, step) in [
        (spec.hostname(), "hostname", (|name| Step::Hostname { name }) as fn(String) -> Step),
        (spec.domainname(), "domainname", |name| Step::Domainname { name }),
    ] {
        let Some(name) = name.clone().filter(|name| !name.is_empty()) else { continue };
        if !wanted.private(Namespaces::UTS) {
            return Err(PlanError::invalid(field, "needs a uts namespace of the container's own"));
        }
        steps.push(step(name));
    }
    if let Some(name) = &options.keyring {
        steps.push(Step::Keyring { name: name.clone() });
    }
    Ok(steps)
}

fn time_offsets(linux: &Linux) -> String {
    let mut rows: Vec<String> = linux
        .time_offsets()
        .iter()
        .flatten()
        .map(|(clock, offset)| {
            format!("{clock} {} {}\n", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0))
        })
        .collect();
    rows.sort();
    rows.concat()
}

fn filesystem(
    spec: &Spec,
    process: &Process,
    linux: &Linux,
    wanted: &Wanted,
    options: &PlanOptions,
) -> Result<Vec<Step>, PlanError> {
    let rootfs = rootfs(spec, options)?;
    let mut steps = propagation(linux, &rootfs)?;
    steps.push(Step::Root { rootfs });
    let spec_hooks = spec.hooks().as_ref();
    let runtime_hooks = spec_hooks.is_some_and(|hooks| {
        #[allow(deprecated)]
        let prestart = hooks.prestart().as_ref().is_some_and(|list| !list.is_empty());
        prestart || hooks.create_runtime().as_ref().is_some_and(|list| !list.is_empty())
    });
    let container_hooks = hooks(spec_hooks.and_then(|hooks| hooks.create_container().as_ref()))?;
    // Also for those that the child runs: the parent answers when the cgroup is as it shall be.
    if runtime_hooks || !container_hooks.is_empty() {
        steps.push(Step::RuntimeHooks);
    }
    let planned =
        mounts::plan(spec.mounts().as_deref().unwrap_or_default(), wanted, own_ids(linux, wanted), options)?;
    steps.extend(planned.steps);
    if !planned.host_dev {
        let access = if wanted.private(Namespaces::USER) { Access::Bind } else { Access::Make };
        steps.extend(devices::plan(linux.devices().as_deref().unwrap_or_default(), access)?);
    }
    if !container_hooks.is_empty() {
        let state = options.state.clone().unwrap_or_else(|| "{".into());
        steps.push(Step::Hooks { hooks: container_hooks, state, status: HookStatus::Creating });
    }
    steps.extend(sysctl::plan(linux.sysctl().iter().flatten(), wanted)?);
    if process.cwd() != Path::new("/") {
        steps.push(Step::Directory { target: process.cwd().clone(), mode: 0o755 });
    }
    steps.extend(process::before_pivot(process, true)?);
    steps.extend(process::app_armor(process));
    let paths = |list: &Option<Vec<String>>| list.iter().flatten().map(PathBuf::from).collect::<Vec<_>>();
    steps.extend(paths(linux.readonly_paths()).into_iter().map(|target| Step::ReadOnly { target }));
    steps.extend(paths(linux.masked_paths()).into_iter().map(|target| Step::Mask { target }));
    steps.extend(planned.seals);
    if spec.root().as_ref().is_some_and(|root| root.readonly() == Some(true)) {
        steps.push(Step::RootReadOnly);
    }
    if let Some(personality) = linux.personality() {
        use oci_spec::runtime::LinuxPersonalityDomain as Domain;
        let domain = match personality.domain() {
            Domain::PerLinux => 0,
            Domain::PerLinux32 => 8,
        };
        steps.push(Step::Personality { domain });
    }
    steps.push(if options.no_pivot { Step::MoveRoot } else { Step::Pivot });
    if let Some(flags) = root_propagation(linux)? {
        steps.push(Step::RootPropagation { flags });
    }
    Ok(steps)
}

fn rootfs(spec: &Spec, options: &PlanOptions) -> Result<Rootfs, PlanError> {
    if let Some(rootfs) = &options.rootfs {
        return Ok(rootfs.clone());
    }
    let root = spec.root().as_ref().ok_or(PlanError::Missing("root"))?;
    Ok(Rootfs::Directory(options.bundle.join(root.path())))
}

fn root_propagation(linux: &Linux) -> Result<Option<u32>, PlanError> {
    let Some(name) = linux.rootfs_propagation().as_ref().filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    mount_options::propagation(name).map(Some).ok_or_else(|| {
        PlanError::invalid("linux.rootfsPropagation", format!("`{name}` is not a propagation"))
    })
}

/// Cuts the new mount namespace off the host: what is mounted in it never reaches the host, unless the
/// specification shares it; then only the mount that the root is attached to is cut off.
fn propagation(linux: &Linux, rootfs: &Rootfs) -> Result<Vec<Step>, PlanError> {
    let flags = root_propagation(linux)?.unwrap_or(MS_SLAVE | MS_REC) | MS_REC;
    let mut steps = vec![Step::Propagation { flags }];
    if flags & MS_SHARED != 0 {
        let place = match rootfs {
            Rootfs::Directory(path) => path,
            Rootfs::Overlay { upper, .. } => upper,
        };
        if let Some(path) = sys::mount::mount_point_of(place) {
            steps.push(Step::MakePrivate { path });
        }
    }
    Ok(steps)
}

/// The specification's hooks as the plan has them.
pub(crate) fn hooks(list: Option<&Vec<oci_spec::runtime::Hook>>) -> Result<Vec<Hook>, PlanError> {
    list.into_iter().flatten().map(hook).collect()
}

fn hook(hook: &oci_spec::runtime::Hook) -> Result<Hook, PlanError> {
    if !hook.path().is_absolute() {
        return Err(PlanError::invalid("hooks.path", format!("`{}` is not absolute", hook.path().display())));
    }
    let timeout_seconds = match hook.timeout() {
        None => None,
        Some(seconds @ 1..) => Some(u32::try_from(seconds).unwrap_or(u32::MAX)),
        Some(seconds) => {
            let why = format!("{seconds} of hook `{}` is not above zero", hook.path().display());
            return Err(PlanError::invalid("hooks.timeout", why));
        }
    };
    Ok(Hook {
        path: hook.path().clone(),
        arguments: hook.args().clone().unwrap_or_default(),
        environment: hook.env().clone().unwrap_or_default(),
        timeout_seconds,
    })
}
