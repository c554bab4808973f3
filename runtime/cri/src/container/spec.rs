//! From a CRI container request to an OCI runtime specification.
//!
//! ```text
//! ContainerConfig ─┐
//! image config ────┼─ build(Inputs) ─> oci_spec::runtime::Spec ─> oci::Plan
//! sandbox ─────────┤
//! host facts ──────┘
//! ```
//!
//! What comes out follows containerd's CRI plugin wherever a pod could tell the difference. The build is
//! pure but for looks at the host that the request asks for: device nodes, seccomp files, mount sources.
//!
//! **Invariants.** Every text of a request that becomes a path inside the container is absolute and clean
//! of `..`; nothing of the container's root file system is read here (users are resolved before).
//!
//! Reference: OCI runtime-spec 1.2, CRI `LinuxContainerConfig`.

mod apparmor;
mod devices;
mod environment;
mod mounts;
mod namespaces;
mod process;
mod resources;
mod security;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use cri_api::v1;
use image::ImageConfig;
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxIdMappingBuilder, Root, Spec};
use sys::cgroup::Mode;

use super::user::ResolvedUser;
use crate::fault::{Doing as _, Outcome};
use crate::options::UnsetSeccomp;
use crate::sandbox::UserNamespace;
use crate::sandbox::user::Obstacle;

pub use mounts::{FOLDER_FOR_MISSING, prepare_sources};
pub use resources::{merge_update, translate as translate_resources};
pub use security::{Seccomp, refuse_unenforced};

/// Everything the specification depends on.
pub struct Inputs<'a> {
    pub config: &'a v1::ContainerConfig,
    pub sandbox: SandboxFacts<'a>,
    pub image: &'a ImageConfig,
    pub user: &'a ResolvedUser,
    pub host: &'a HostFacts,
    /// Below each hierarchy's mount, with a leading slash.
    pub cgroup: &'a str,
}

/// What a container takes from its sandbox.
pub struct SandboxFacts<'a> {
    pub id: &'a str,
    pub config: &'a v1::PodSandboxConfig,
    pub hostname: &'a str,
    /// Pinned namespaces by path; none is the host's.
    pub net: Option<PathBuf>,
    pub ipc: Option<PathBuf>,
    pub uts: Option<PathBuf>,
    /// The PID namespace to join: the pod's or the target container's. None: one of its own.
    pub pid: Option<PathBuf>,
    pub user: Option<UserNamespace>,
    /// Files to mount at /etc/hostname, /etc/hosts and /etc/resolv.conf, and the folder of /dev/shm.
    pub files: BTreeMap<&'static str, PathBuf>,
}

/// What the host allows.
#[derive(Clone, Copy, Debug)]
pub struct HostFacts {
    pub cgroups: Mode,
    /// Lowest oom_score_adj a child may get; without CAP_SYS_RESOURCE that is our own.
    pub oom_score_floor: i32,
    /// Hard limit of open files.
    pub open_files: u64,
    /// Highest capability that the kernel knows.
    pub last_capability: u8,
    /// Whether pods can have ids of their own.
    pub user_namespaces: Result<(), Obstacle>,
    /// What a request without a seccomp profile gets.
    pub unset_seccomp: UnsetSeccomp,
    /// The kernel can confine by profile.
    pub apparmor: bool,
    /// The kernel decides by labels.
    pub selinux: bool,
}

/// Builds the specification.
pub fn build(inputs: &Inputs<'_>) -> Outcome<Spec> {
    let context = inputs.context();
    let mut linux = Linux::default();
    let (devices, mut rules) = devices::translate(&inputs.config.devices, context.privileged)?;
    let resources = resources::translate(&context.resources, &mut rules)?;
    linux
        .set_namespaces(Some(namespaces::of(inputs, &context)))
        .set_devices(Some(devices))
        .set_resources(Some(resources))
        .set_cgroups_path(Some(PathBuf::from(inputs.cgroup)))
        .set_masked_paths(Some(context.masked_paths()))
        .set_readonly_paths(Some(context.readonly_paths()))
        .set_seccomp(security::seccomp(&context)?.into_profile(&context)?)
        .set_rootfs_propagation(mounts::rootfs_propagation(&inputs.config.mounts))
        .set_sysctl(None);
    if let Some(user) = &inputs.sandbox.user {
        linux.set_uid_mappings(Some(mappings(&user.uids)?)).set_gid_mappings(Some(mappings(&user.gids)?));
    }
    let mut root = Root::default();
    root.set_path(Path::new("rootfs").to_owned()).set_readonly(Some(context.security.readonly_rootfs));
    let mut spec = Spec::default();
    spec.set_version("1.2.0".to_owned())
        .set_root(Some(root))
        .set_hostname(None)
        .set_process(Some(process::build(inputs, &context)?))
        .set_mounts(Some(mounts::build(inputs, &context)?))
        .set_annotations(Some(annotations(inputs)))
        .set_linux(Some(linux));
    Ok(spec)
}

/// The security context with everything optional filled in.
pub struct Context<'a> {
    pub security: v1::LinuxContainerSecurityContext,
    pub namespaces: v1::NamespaceOption,
    pub resources: v1::LinuxContainerResources,
    pub privileged: bool,
    pub has_own_ids: bool,
    pub host: &'a HostFacts,
}

impl Inputs<'_> {
    fn context(&self) -> Context<'_> {
        let linux = self.config.linux.clone().unwrap_or_default();
        let security = linux.security_context.unwrap_or_default();
        Context {
            namespaces: security.namespace_options.clone().unwrap_or_default(),
            privileged: security.privileged,
            has_own_ids: self.sandbox.user.is_some(),
            resources: linux.resources.unwrap_or_default(),
            security,
            host: self.host,
        }
    }
}

impl Context<'_> {
    /// Paths of the kernel that tell or change too much. A request that names its own decides alone.
    fn masked_paths(&self) -> Vec<String> {
        self.paths(&self.security.masked_paths, oci_spec::runtime::get_default_maskedpaths)
    }

    fn readonly_paths(&self) -> Vec<String> {
        self.paths(&self.security.readonly_paths, oci_spec::runtime::get_default_readonly_paths)
    }

    /// Nothing in either list means "not said": a request without lists gets the defaults. But in a user namespace it
    /// means what it says, `procMount: Unmasked`: there the kernel itself guards what the paths show.
    fn paths(&self, asked: &[String], defaults: fn() -> Vec<String>) -> Vec<String> {
        let said = !self.security.masked_paths.is_empty() || !self.security.readonly_paths.is_empty();
        match (self.privileged, said || self.has_own_ids) {
            (true, _) => Vec::new(),
            (false, true) => asked.to_vec(),
            (false, false) => defaults(),
        }
    }
}

fn mappings(rows: &[sys::netns::IdRange]) -> Outcome<Vec<LinuxIdMapping>> {
    let one = |row: &sys::netns::IdRange| {
        let built = LinuxIdMappingBuilder::default();
        let built = built.container_id(row.inside).host_id(row.outside).size(row.count).build();
        built.doing(|| "mapping ids".into())
    };
    rows.iter().map(one).collect()
}

/// The annotations by which tools find a container's place; containerd's names.
fn annotations(inputs: &Inputs<'_>) -> HashMap<String, String> {
    let pod = inputs.sandbox.config.metadata.clone().unwrap_or_default();
    let name = inputs.config.metadata.clone().unwrap_or_default().name;
    let image = inputs.config.image.clone().unwrap_or_default();
    let image = if image.user_specified_image.is_empty() { image.image } else { image.user_specified_image };
    [
        ("io.kubernetes.cri.container-type", "container".to_owned()),
        ("io.kubernetes.cri.sandbox-id", inputs.sandbox.id.to_owned()),
        ("io.kubernetes.cri.sandbox-name", pod.name),
        ("io.kubernetes.cri.sandbox-namespace", pod.namespace),
        ("io.kubernetes.cri.sandbox-uid", pod.uid),
        ("io.kubernetes.cri.container-name", name),
        ("io.kubernetes.cri.image-name", image),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// Reads what the host allows.
pub fn host_facts(cgroups: Mode, unset_seccomp: UnsetSeccomp) -> Outcome<HostFacts> {
    let capabilities = sys::capability::CapabilitySets::current().doing(|| "reading capabilities".into())?;
    let resource = sys::capability::number("CAP_SYS_RESOURCE").unwrap_or(24);
    let may_lower = capabilities.effective >> resource & 1 == 1;
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
        .doing(|| "reading the limit of open files".into())?;
    Ok(HostFacts {
        cgroups,
        oom_score_floor: if may_lower { -1000 } else { own.trim().parse().unwrap_or(0) },
        open_files: hard,
        last_capability: sys::capability::last().doing(|| "reading the last capability".into())?,
        // Known once the folders are there.
        user_namespaces: Err(Obstacle::Folders),
        unset_seccomp,
        apparmor: apparmor::on_this_host(),
        selinux: security::selinux_on_this_host(),
    })
}

#[cfg(test)]
mod tests;
