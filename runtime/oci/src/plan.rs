//! The plan of one container process: every decision taken, every name resolved.
//!
//! ```text
//! config.json --from_spec--> Plan (create) --+
//!                                            +--encode--> memfd --decode--> launch::start --> steps
//! process.json ---exec-----> Plan (exec) ----+
//! ```
//!
//! A plan says how to clone ([`Plan::clone_flags`] and what to join around the clone), then lists the
//! steps the child executes. It holds no descriptors; those travel beside it in `LaunchFds`.
//!
//! **Invariants.** Making a plan changes nothing; it reads the host's mount table at most. A plan never holds a secret that the
//! program's own environment does not hold. The encoding starts with [`VERSION`]; a reader refuses a
//! version it does not know, because a step it would misread runs as root.
//!
//! Reference: OCI runtime-spec 1.2 `config.md`, `config-linux.md`.

mod affinity;
mod cgroup_mounts;
mod create;
mod devices;
mod exec;
mod mount_options;
mod mounts;
mod namespaces;
mod process;
mod refused;
mod step;
mod sysctl;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use create::{hooks, id_map_rows};
pub use devices::default_rules as default_device_rules;
pub use exec::ExecTarget;
pub(crate) use mount_options::known_names as known_mount_options;
pub use namespaces::Namespaces;
pub use step::{
    Access, Attributes, CapabilitySets, Console, DeviceNode, Hook, HookStatus, IdMapSource, Mount,
    MountIdMap, MountKind, Resource, SchedulerPolicy, Step, TargetRule,
};

/// What a daemon and its keeper compare: builds that differ in it cannot be sure that they launch for one another.
pub fn build() -> String {
    format!("{}, plans of version {VERSION}", env!("CARGO_PKG_VERSION"))
}

/// The version of the encoding. Raised with every change of a step's shape.
pub const VERSION: u16 = 3;

/// The largest encoded plan that is read: a specification's environment is the only large part of it.
pub const ENCODED_BYTES_MAX: usize = 16 << 20;

/// Everything a child needs to become the program, as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Namespaces made by clone3 itself. The cgroup and time namespaces are left to a step.
    pub clone_flags: Namespaces,
    /// A PID namespace to join, by path. Joined around the clone: only children enter it.
    pub join_pid: Option<PathBuf>,
    /// Namespaces to join before the clone, in an intermediate child; not empty only when a user namespace is
    /// joined or made together with others, whose owner decides what the child may do.
    pub join_first: Vec<(Namespaces, PathBuf)>,
    /// The container whose namespaces an exec joins.
    pub target: Option<Target>,
    /// Maps of the new user namespace, written by the parent.
    pub id_maps: Option<IdMaps>,
    /// Who answers for the seccomp filter's notifications.
    pub listener: Option<Listener>,
    /// What the child executes, in order; the last step is the program.
    pub steps: Vec<Step>,
}

/// The process that gets a seccomp filter's listener, through a unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    pub path: PathBuf,
    pub metadata: String,
    /// The container's state as JSON without `status`, `pid` and the closing brace.
    pub state: String,
    pub status: HookStatus,
}

/// A running process to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its PID as the parent sees it.
    pub pid: i32,
    /// Field 22 of /proc/pid/stat, so that a recycled PID is refused.
    pub start_ticks: Option<u64>,
    /// Its PID namespace is joined too.
    pub pid_namespace: bool,
}

/// Identity maps of a new user namespace, as /proc/pid/uid_map and gid_map take them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMaps {
    pub uid: Vec<IdMap>,
    pub gid: Vec<IdMap>,
}

/// One row of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    pub container: u32,
    pub host: u32,
    pub size: u32,
}

/// The root filesystem of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// A directory that holds it.
    Directory(PathBuf),
    /// Directories that overlayfs stacks, the topmost lower first. The child mounts it in its own mount
    /// namespace, so the host never sees it.
    Overlay { lower: Vec<PathBuf>, upper: PathBuf, work: PathBuf },
}

/// An image that is mounted into a container besides its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageVolume {
    /// Topmost first.
    pub lower: Vec<PathBuf>,
    /// Inside the image; empty for all of it.
    pub sub_path: PathBuf,
}

/// What the specification does not say.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// The directory of config.json: relative root and mount paths start here.
    pub bundle: PathBuf,
    /// Used instead of `root.path`.
    pub rootfs: Option<Rootfs>,
    /// Sources of bind mounts that stand for images.
    pub image_volumes: BTreeMap<PathBuf, ImageVolume>,
    /// `cgroup.procs` files of version 1 hierarchies, which the child writes itself into.
    pub cgroup_procs: Vec<PathBuf>,
    /// The container's cgroup below each hierarchy's root: cgroup mounts without a cgroup namespace bind it.
    pub cgroup_path: String,
    /// The host's hierarchies, when the caller knows them already.
    pub layout: Option<sys::cgroup::Layout>,
    /// Move the root instead of pivoting: needed on an initial ramdisk.
    pub no_pivot: bool,
    /// A name for the session keyring; none keeps the caller's.
    pub keyring: Option<String>,
    /// The child waits at the gate before it becomes the program.
    pub gate: bool,
    /// The container's state for hooks, as JSON without `pid` and `status`.
    pub state: Option<String>,
}

/// Why a specification cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("the specification has no `{0}`")]
    Missing(&'static str),
    #[error("`{field}`: {reason}")]
    Invalid { field: String, reason: String },
    #[error("sysctl `{key}` would change the host: give the container its own {namespace} namespace")]
    SysctlOfHost { key: String, namespace: &'static str },
    #[error("mount target `{target}`: {reason}")]
    MountTarget { target: PathBuf, reason: &'static str },
    #[error("seccomp profile")]
    Seccomp(#[from] crate::seccomp::CompileError),
    #[error("not supported: {0}")]
    Unsupported(String),
    #[error("ociVersion `{0}`: this runtime reads 1.0 to 1.2")]
    OciVersion(String),
    #[error("plan of version {0}, this build reads {VERSION}")]
    Version(u16),
    #[error("read the host's cgroup hierarchies")]
    Cgroups(#[from] sys::cgroup::CgroupError),
    #[error("encoded plan")]
    Encoding(#[source] postcard::Error),
    #[error("encoded plan of {0} bytes is larger than {ENCODED_BYTES_MAX}")]
    TooLarge(usize),
}

impl PlanError {
    pub(crate) fn invalid(field: impl Into<String>, reason: impl Into<String>) -> PlanError {
        PlanError::Invalid { field: field.into(), reason: reason.into() }
    }
}

impl Plan {
    /// Plans a new container.
    pub fn from_spec(spec: &oci_spec::runtime::Spec, options: &PlanOptions) -> Result<Plan, PlanError> {
        create::plan(spec, options)
    }

    /// Plans one more process in a running container.
    pub fn exec(process: &oci_spec::runtime::Process, target: &ExecTarget) -> Result<Plan, PlanError> {
        exec::plan(process, target)
    }

    /// The ids of the user namespace that the container is in, if it is not the host's.
    pub(crate) fn own_ids(&self) -> Option<IdMapSource> {
        let joined = self.join_first.iter().find(|(kind, _)| *kind == Namespaces::USER);
        let joined = joined.map(|(_, path)| IdMapSource::Namespace(path.clone()));
        joined.or_else(|| self.id_maps.clone().map(IdMapSource::Maps))
    }

    /// The plan as bytes, version first.
    pub fn encode(&self) -> Result<Vec<u8>, PlanError> {
        postcard::to_extend(self, VERSION.to_le_bytes().to_vec()).map_err(PlanError::Encoding)
    }

    /// Reads what [`Plan::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Plan, PlanError> {
        if bytes.len() > ENCODED_BYTES_MAX {
            return Err(PlanError::TooLarge(bytes.len()));
        }
        let Some((version, rest)) = bytes.split_first_chunk::<2>() else {
            return Err(PlanError::Encoding(postcard::Error::DeserializeUnexpectedEnd));
        };
        let version = u16::from_le_bytes(*version);
        if version != VERSION {
            return Err(PlanError::Version(version));
        }
        postcard::from_bytes(rest).map_err(PlanError::Encoding)
    }
}

#[cfg(test)]
mod tests;
