//! Steps in words, for errors: what was to be done, and to what.

use super::{MountKind, Step};
use crate::plan::Rootfs;

pub(super) fn describe(step: &Step) -> String {
    match step {
        Step::JoinCgroup { procs } => format!("join cgroup `{}`", procs.display()),
        Step::OomScore { adjust } => format!("set oom_score_adj to {adjust}"),
        Step::NewSession => "start a session".into(),
        Step::Personality { domain } => format!("set personality {domain:#x}"),
        Step::Join { kind, path } => format!("join {} namespace `{}`", kind.name(), path.display()),
        Step::EnterTarget { .. } => "join the container's namespaces".into(),
        Step::Unshare { kinds } => format!("unshare {} namespace", kinds.name()),
        Step::TimeOffsets { .. } => "enter the time namespace".into(),
        Step::MapIds => "map user and group ids".into(),
        Step::BecomeRoot => "become root of the user namespace".into(),
        Step::Hostname { name } => format!("set hostname `{name}`"),
        Step::Domainname { name } => format!("set domainname `{name}`"),
        Step::Propagation { .. } => "set the propagation of `/`".into(),
        Step::MakePrivate { path } => format!("make mount `{}` private", path.display()),
        Step::Root { rootfs: Rootfs::Directory(path) } => {
            format!("bring up root filesystem `{}`", path.display())
        }
        Step::Root { rootfs: Rootfs::Overlay { upper, .. } } => {
            format!("bring up overlay root filesystem over `{}`", upper.display())
        }
        Step::RuntimeHooks => "wait for the runtime's hooks".into(),
        Step::Hooks { .. } => "run hooks".into(),
        Step::Mount(mount) => match &mount.kind {
            MountKind::Bind { source, .. } => {
                format!("mount `{}` at `{}`", source.display(), mount.target.display())
            }
            MountKind::Layers { sub_path, .. } => {
                format!("mount image path `{}` at `{}`", sub_path.display(), mount.target.display())
            }
            MountKind::Filesystem { name, .. } => format!("mount {name} at `{}`", mount.target.display()),
        },
        Step::Directory { target, .. } => format!("make directory `{}`", target.display()),
        Step::Device(device) => format!("make device `{}`", device.target.display()),
        Step::Symlink { target, .. } => format!("make link `{}`", target.display()),
        Step::Sysctl { path, value } => format!("write `{value}` to `{}`", path.display()),
        Step::Mask { target } => format!("mask `{}`", target.display()),
        Step::ReadOnly { target } => format!("make `{}` read-only", target.display()),
        Step::Seal { target } => format!("make mount `{}` read-only", target.display()),
        step => describe_process(step),
    }
}

fn describe_process(step: &Step) -> String {
    match step {
        Step::Console(_) => "set up the terminal".into(),
        Step::RootReadOnly => "make the root filesystem read-only".into(),
        Step::Pivot => "pivot to the root filesystem".into(),
        Step::MoveRoot => "move the root filesystem to `/`".into(),
        Step::RootPropagation { .. } => "set the propagation of the container's `/`".into(),
        Step::Keyring { name } => format!("join session keyring `{name}`"),
        Step::Rlimit { resource, soft, hard } => {
            format!("set resource limit {} to {soft}:{hard}", resource.0)
        }
        Step::Home { uid } => format!("find the home of user {uid}"),
        Step::Seccomp { .. } => "install the seccomp filter".into(),
        Step::NoNewPrivileges => "set no_new_privs".into(),
        Step::Scheduler(_) => "set the scheduler policy".into(),
        Step::IoPriority { .. } => "set the IO priority".into(),
        Step::AppArmor { profile } => format!("set AppArmor profile `{profile}`"),
        Step::BoundingSet(_) => "drop capabilities from the bounding set".into(),
        Step::Identity { uid, gid, .. } => format!("become user {uid}:{gid}"),
        Step::Capabilities(_) => "set capabilities".into(),
        Step::CpuAffinity { cpus } => format!("run on CPUs {cpus:?}"),
        Step::Umask { mask } => format!("set umask {mask:o}"),
        Step::WorkingDirectory { path, .. } => format!("change to working directory `{}`", path.display()),
        // The same words as everywhere: people search for them, and other programs match them.
        Step::FindProgram { name, .. } => format!("exec: \"{name}\""),
        Step::Gate => "wait at the gate".into(),
        Step::Exec { arguments, .. } => {
            format!("exec: \"{}\"", arguments.first().map_or("", String::as_str))
        }
        _ => "step".into(),
    }
}
