//! The mounts of a container: the kernel's own, the sandbox's files, and what the request binds.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path, PathBuf};

use cri_api::v1;
use cri_api::v1::{MountPropagation, NamespaceMode};
use oci_spec::runtime::Mount;
use sys::netns::IdRange;

use super::{Context, Inputs};
use crate::container::image_volume;
use crate::fault::{Doing as _, Fault, Outcome};
use crate::sandbox::UserNamespace;
use crate::sandbox::user::ranges;

/// Mode of a folder that is made because a mount's source does not exist, as containerd makes it.
pub const FOLDER_FOR_MISSING: u32 = 0o755;
/// POSIX message queues.
const QUEUES: &str = "/dev/mqueue";

/// In the order in which they are mounted: parents before children.
pub fn build(inputs: &Inputs<'_>, context: &Context<'_>) -> Outcome<Vec<Mount>> {
    let mut asked = Vec::new();
    for (position, mount) in inputs.config.mounts.iter().enumerate() {
        check(mount)?;
        refuse_foreign_ids(mount, inputs)?;
        asked.push(match image_volume::name(mount) {
            Some(_) => image(mount, position),
            None => bind(mount)?,
        });
    }
    let taken = |path: &str| asked.iter().any(|mount: &Mount| mount.destination() == Path::new(path));
    let mut mounts: Vec<Mount> =
        kernel(context).into_iter().filter(|mount| !taken(&mount.destination().to_string_lossy())).collect();
    for (target, source) in &inputs.sandbox.files {
        if !taken(target) {
            // Read-only like the root they lie in; /dev/shm is for writing always.
            let readonly = context.security.readonly_rootfs && *target != "/dev/shm";
            let access = if readonly { "ro" } else { "rw" };
            let mut options = vec!["rbind", "rprivate", access];
            if inputs.sandbox.user.is_some() {
                options.push("idmap");
            }
            if *target == "/dev/shm" {
                options.extend(["nosuid", "noexec", "nodev"]);
            }
            mounts.push(mount(target, "bind", source, &options));
        }
    }
    asked.sort_by_key(|mount| mount.destination().components().count());
    mounts.extend(asked);
    Ok(mounts)
}

fn kernel(context: &Context<'_>) -> Vec<Mount> {
    let privileged = context.privileged;
    let access = if privileged { "rw" } else { "ro" };
    let sys: &[&str] = &["nosuid", "noexec", "nodev", access];
    let cgroup: &[&str] = &["nosuid", "noexec", "nodev", "relatime", access];
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount(QUEUES, "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ];
    // sysfs shows a network namespace: only in the container's own can it be mounted anew without showing the host's.
    mounts.push(mount("/sys", "sysfs", "sysfs", sys));
    mounts.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", cgroup));
    // The host's queues are those mounted on the host; where there are none, there is nothing to share.
    if context.namespaces.ipc() == NamespaceMode::Node {
        mounts.retain(|mount| mount.destination() != Path::new(QUEUES));
        if Path::new(QUEUES).is_dir() {
            mounts.push(mount(QUEUES, "bind", QUEUES, &["rbind", "nosuid", "noexec", "nodev"]));
        }
    }
    mounts
}

/// An image is for reading: nobody gets the rights of another by it, no device of it is opened. Its programs may run (KEP-4639).
fn image(asked: &v1::Mount, position: usize) -> Mount {
    let options = ["bind", "rprivate", "ro", "nosuid", "nodev"];
    mount(&asked.container_path, "bind", image_volume::source(position), &options)
}

fn bind(asked: &v1::Mount) -> Outcome<Mount> {
    let mut options = vec!["rbind"];
    options.push(match asked.propagation() {
        MountPropagation::PropagationPrivate => "rprivate",
        MountPropagation::PropagationHostToContainer => "rslave",
        MountPropagation::PropagationBidirectional => "rshared",
    });
    options.push(match (asked.readonly, asked.recursive_read_only) {
        (true, true) => "rro",
        (true, false) => "ro",
        (false, _) => "rw",
    });
    if !asked.uid_mappings.is_empty() {
        options.push("idmap");
    }
    let source = fs::canonicalize(&asked.host_path)
        .doing(|| format!("failed to resolve symlink {:?}", asked.host_path))?;
    Ok(mount(&asked.container_path, "bind", source, &options))
}

fn check(asked: &v1::Mount) -> Outcome<()> {
    let refuse = |why: &str| {
        Err(Fault::invalid(format!("mount {:?} -> {:?}: {why}", asked.host_path, asked.container_path)))
    };
    let clean = |path: &str| {
        path.starts_with('/') && !Path::new(path).components().any(|part| part == Component::ParentDir)
    };
    if !clean(&asked.container_path) || asked.container_path == "/" {
        return refuse("container_path must be absolute, without `..`, and not the root");
    }
    let why = image_volume::name(asked).and_then(|_| image_volume::refusal(asked));
    if let Some(why) = why {
        return refuse(why);
    }
    if image_volume::name(asked).is_none() && !asked.host_path.starts_with('/') {
        return refuse("host_path must be absolute");
    }
    if asked.recursive_read_only && !asked.readonly {
        return refuse("recursive_read_only requires readonly");
    }
    if asked.recursive_read_only && asked.propagation() != MountPropagation::PropagationPrivate {
        return refuse("recursive_read_only requires private propagation");
    }
    Ok(())
}

/// A mount shows the pod's own ids or those on disk: other ids would be somebody else's.
fn refuse_foreign_ids(asked: &v1::Mount, inputs: &Inputs<'_>) -> Outcome<()> {
    let user = inputs.sandbox.user.as_ref();
    let fits = |rows: &[v1::IdMapping], own: fn(&UserNamespace) -> &Vec<IdRange>| {
        rows.is_empty() || user.is_some_and(|user| ranges(rows) == *own(user))
    };
    let both = asked.uid_mappings.is_empty() == asked.gid_mappings.is_empty();
    if both && fits(&asked.uid_mappings, |user| &user.uids) && fits(&asked.gid_mappings, |user| &user.gids) {
        return Ok(());
    }
    Err(Fault::invalid(format!(
        "mount {:?} -> {:?}: uid_mappings and gid_mappings must be those of the pod's user namespace, or none",
        asked.host_path, asked.container_path
    )))
}

/// Makes the folders of sources that do not exist. Part of creating a container, before its specification.
pub fn prepare_sources(mounts: &[v1::Mount]) -> Outcome<()> {
    for asked in mounts {
        check(asked)?;
        if image_volume::name(asked).is_some() {
            continue;
        }
        let source = Path::new(&asked.host_path);
        if fs::symlink_metadata(source).is_err() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(FOLDER_FOR_MISSING)
                .create(source)
                .doing(|| format!("failed to mkdir {:?}", asked.host_path))?;
        }
        check_propagation(asked)?;
    }
    Ok(())
}

/// Propagation needs a source mount that has it; without, the container would wait for mounts for ever.
fn check_propagation(asked: &v1::Mount) -> Outcome<()> {
    let wanted: &[&str] = match asked.propagation() {
        MountPropagation::PropagationPrivate => return Ok(()),
        MountPropagation::PropagationHostToContainer => &["shared:", "master:"],
        MountPropagation::PropagationBidirectional => &["shared:"],
    };
    let source = fs::canonicalize(&asked.host_path)
        .doing(|| format!("failed to resolve symlink {:?}", asked.host_path))?;
    let table = fs::read_to_string("/proc/self/mountinfo").doing(|| "reading mountinfo".into())?;
    let holder = table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let optional =
                fields.iter().skip(6).take_while(|field| **field != "-").copied().collect::<Vec<_>>();
            Some((PathBuf::from(fields.get(4)?), optional))
        })
        .filter(|(point, _)| source.starts_with(point))
        .max_by_key(|(point, _)| point.components().count());
    let Some((point, tags)) = holder else { return Ok(()) };
    if tags.iter().any(|tag| wanted.iter().any(|prefix| tag.starts_with(prefix))) {
        return Ok(());
    }
    let kind = if wanted.len() == 1 { "shared" } else { "shared or slave" };
    Err(Fault::invalid(format!(
        "path {:?} is mounted on {:?} but it is not a {kind} mount",
        asked.host_path,
        point.display().to_string()
    )))
}

/// The root must not be more private than the most public mount below it.
pub fn rootfs_propagation(mounts: &[v1::Mount]) -> Option<String> {
    let has = |kind| mounts.iter().any(|mount| mount.propagation() == kind);
    if has(MountPropagation::PropagationBidirectional) {
        Some("rshared".to_owned())
    } else if has(MountPropagation::PropagationHostToContainer) {
        Some("rslave".to_owned())
    } else {
        None
    }
}

fn mount(target: &str, kind: &str, source: impl Into<PathBuf>, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(target))
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source.into()))
        .set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(host_path: &str, container_path: &str) -> v1::Mount {
        v1::Mount { host_path: host_path.into(), container_path: container_path.into(), ..Default::default() }
    }

    #[test]
    fn options_follow_the_request() {
        let options = |mount: &v1::Mount| bind(mount).unwrap().options().clone().unwrap().join(",");
        let mut mount = asked("/etc", "/data");
        assert_eq!(options(&mount), "rbind,rprivate,rw");
        mount.readonly = true;
        mount.recursive_read_only = true;
        assert_eq!(options(&mount), "rbind,rprivate,rro");
        mount.recursive_read_only = false;
        mount.propagation = MountPropagation::PropagationHostToContainer.into();
        assert_eq!(options(&mount), "rbind,rslave,ro");
        assert_eq!(rootfs_propagation(&[mount]).as_deref(), Some("rslave"));
    }

    #[test]
    fn an_image_is_mounted_to_be_read() {
        let mount = image(&asked("", "/models"), 3);
        assert_eq!(mount.options().clone().unwrap().join(","), "bind,rprivate,ro,nosuid,nodev");
        assert_eq!(mount.source().clone().unwrap(), Path::new("image-volumes/3"));
    }

    #[test]
    fn wrong_mounts_are_refused() {
        let mut recursive = asked("/etc", "/data");
        recursive.recursive_read_only = true;
        for mount in [
            asked("/etc", "data"),
            asked("etc", "/data"),
            asked("/etc", "/a/../b"),
            asked("/etc", "/"),
            recursive,
        ] {
            assert!(check(&mount).is_err(), "{mount:?}");
        }
    }

    #[test]
    fn a_missing_source_becomes_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("a/b");
        prepare_sources(&[asked(source.to_str().unwrap(), "/data")]).unwrap();
        assert!(source.is_dir());
    }
}
