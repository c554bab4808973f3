//! What the child can do: a closed list, each step a few system calls on plain data.
//!
//! The order in a plan is the order of execution. Paths named `target` are inside the container's root
//! and are only ever resolved through its descriptor; paths named `source` or `path` are the host's.
//!
//! **Invariants.** No step parses anything that an image or a container could have written, except
//! [`Step::Home`], which reads one bounded file. A step never decides.

mod words;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{IdMaps, Namespaces, Rootfs};
use crate::seccomp;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Writes itself into a version 1 `cgroup.procs`.
    JoinCgroup {
        procs: PathBuf,
    },
    /// Sets oom_score_adj; a lower value than the right to set it allows is left where it is.
    OomScore {
        adjust: i32,
    },
    /// Becomes leader of a session of its own.
    NewSession,
    /// Sets the execution domain.
    Personality {
        domain: u32,
    },
    /// Joins one namespace by path.
    Join {
        kind: Namespaces,
        path: PathBuf,
    },
    /// Joins several namespaces of the target process at once (exec).
    EnterTarget {
        kinds: Namespaces,
    },
    /// Leaves the given namespaces for new ones.
    Unshare {
        kinds: Namespaces,
    },
    /// Writes the offsets of the new time namespace and enters it.
    TimeOffsets {
        offsets: String,
    },
    /// Asks the parent to write the maps of the new user namespace, and waits.
    MapIds,
    /// Becomes uid 0 and gid 0 of the user namespace.
    BecomeRoot,
    Hostname {
        name: String,
    },
    Domainname {
        name: String,
    },
    /// Changes the propagation (`MS_*`) of the whole tree of the new mount namespace.
    Propagation {
        flags: u32,
    },
    /// Makes one host mount private in the new mount namespace, so that the root can be attached below it.
    MakePrivate {
        path: PathBuf,
    },
    /// Brings up the root filesystem and holds a descriptor of it.
    Root {
        rootfs: Rootfs,
    },
    /// The parent runs its hooks (prestart, createRuntime) while the child waits.
    RuntimeHooks,
    /// Runs createContainer or startContainer hooks; `state` is JSON that lacks only `status` and the PID.
    Hooks {
        hooks: Vec<Hook>,
        state: String,
        status: HookStatus,
    },
    Mount(Mount),
    /// Makes a directory inside the root.
    Directory {
        target: PathBuf,
        mode: u32,
    },
    Device(DeviceNode),
    /// Makes a symbolic link inside the root; one that exists is left.
    Symlink {
        target: PathBuf,
        to: PathBuf,
    },
    /// Writes a kernel parameter below /proc/sys, through the host's procfs.
    Sysctl {
        path: PathBuf,
        value: String,
    },
    /// Hides a path of the root. One that does not exist is fine.
    Mask {
        target: PathBuf,
    },
    /// Makes a path of the root read-only. One that does not exist is fine.
    ReadOnly {
        target: PathBuf,
    },
    /// Makes a mount of the root read-only now that everything below it is in place.
    Seal {
        target: PathBuf,
    },
    /// Opens a pseudo-terminal in the container's devpts, sends its master over the console socket and takes
    /// the other end for the three standard descriptors.
    Console(Console),
    /// Makes the root filesystem's own mount read-only.
    RootReadOnly,
    /// The root becomes `/` by pivot_root; the host's tree is detached.
    Pivot,
    /// The root becomes `/` by moving its mount over `/`: for an initial ramdisk.
    MoveRoot,
    /// Sets the propagation (`MS_*`) of the container's `/`.
    RootPropagation {
        flags: u32,
    },
    /// Joins a new session keyring of that name.
    Keyring {
        name: String,
    },
    Rlimit {
        resource: Resource,
        soft: u64,
        hard: u64,
    },
    /// Sets HOME from the container's passwd when the environment lacks it.
    Home {
        uid: u32,
    },
    /// Installs a seccomp filter; a listener's descriptor goes to the parent.
    Seccomp {
        filter: seccomp::Filter,
    },
    NoNewPrivileges,
    Scheduler(SchedulerPolicy),
    IoPriority {
        value: u32,
    },
    AppArmor {
        profile: String,
    },
    /// Drops what is not in the bounding set.
    BoundingSet(CapabilitySets),
    /// Groups, gid and uid, keeping permitted capabilities over the change.
    Identity {
        uid: u32,
        gid: u32,
        groups: Option<Vec<u32>>,
    },
    /// The final capability sets.
    Capabilities(CapabilitySets),
    Umask {
        mask: u32,
    },
    /// Runs on these CPUs only.
    CpuAffinity {
        cpus: Vec<u32>,
    },
    /// Changes to the working directory and refuses one outside the root. A first attempt may fail for lack of
    /// rights: the user's own may be better than root's (a network filesystem).
    WorkingDirectory {
        path: PathBuf,
        last: bool,
    },
    /// Finds the program before the gate, so that `create` can say that it is missing.
    FindProgram {
        name: String,
        directories: Vec<PathBuf>,
    },
    /// Says so to the parent and waits for a byte; the gate's end is a failure.
    Gate,
    /// Becomes the program.
    Exec {
        arguments: Vec<String>,
        environment: Vec<String>,
    },
}

/// What the state says to a hook inside the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookStatus {
    Creating,
    Created,
}

impl HookStatus {
    pub fn name(self) -> &'static str {
        match self {
            HookStatus::Creating => "creating",
            HookStatus::Created => "created",
        }
    }
}

/// A process that a hook starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    pub path: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<String>,
    pub timeout_seconds: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub kind: MountKind,
    /// Inside the root.
    pub target: PathBuf,
    pub rule: TargetRule,
    pub attributes: Attributes,
    /// On this mount and on all below it.
    pub recursive: Attributes,
    /// `MS_*` propagation changes, one call each.
    pub propagation: Vec<u32>,
    /// Given ids by the parent, which hands the tree over: the container's own rights do not suffice.
    pub id_map: Option<MountIdMap>,
    /// Copies what the target held into the new tmpfs.
    pub copy_up: bool,
}

/// Which ids a mount shows instead of those on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountIdMap {
    pub source: IdMapSource,
    /// The whole tree below it too.
    pub recursive: bool,
}

/// Where the ids come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdMapSource {
    Maps(IdMaps),
    /// A user namespace by path.
    Namespace(PathBuf),
}

/// `MOUNT_ATTR_*` bits to set and to clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    pub set: u64,
    pub clear: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    Bind {
        source: PathBuf,
        recursive: bool,
    },
    /// An image's layers, read-only, the topmost first; the parent stacks them and hands the tree over.
    Layers {
        lower: Vec<PathBuf>,
        /// What of the image is shown, resolved inside it; empty for all of it.
        sub_path: PathBuf,
    },
    /// A new instance of a filesystem: options are passed one by one, without a value as flags.
    Filesystem {
        name: String,
        source: String,
        options: Vec<(String, Option<String>)>,
    },
}

/// What a mount target may be, checked through its descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetRule {
    /// Symbolic links are followed inside the root; what lies on procfs is refused.
    Follow,
    /// No component may be a symbolic link: /proc, /sys, /dev and what replaces parts of them.
    Strict,
    /// As `Follow`, and may lie on procfs: the few files of it that may be replaced.
    OnProc,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// Inside the root.
    pub target: PathBuf,
    /// Type bits (`S_IFCHR`, `S_IFBLK`, `S_IFIFO`) and permissions.
    pub mode: u32,
    pub major: u32,
    pub minor: u32,
    pub uid: u32,
    pub gid: u32,
    pub access: Access,
}

/// How a device comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Made by mknod; bound from the host where that is not permitted.
    Make,
    /// Bound from the host's path of the same name: user namespaces may not make nodes.
    Bind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Console {
    pub columns: u16,
    pub rows: u16,
    /// Who owns the terminal.
    pub uid: u32,
    /// The terminal is also mounted on /dev/console.
    pub mount: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySets {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

/// What sched_setattr(2) takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedulerPolicy {
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// A resource limit by the kernel's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource(pub u32);

impl Step {
    /// What the step does and to what, for an error: `mount proc at /proc`.
    pub fn describe(&self) -> String {
        words::describe(self)
    }
}
