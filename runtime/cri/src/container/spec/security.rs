//! Capabilities, seccomp, and the security module we do not drive.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use cri_api::v1;
use cri_api::v1::security_profile::ProfileType;
use oci_spec::runtime::{Capability, LinuxCapabilities, LinuxSeccomp};

use super::{Context, HostFacts, apparmor};
use crate::fault::{Doing as _, Fault, Outcome};
use crate::options::UnsetSeccomp;

/// What a container may do unless told otherwise: the set Docker and containerd users know.
const DEFAULT_CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The largest seccomp profile that is read.
const PROFILE_BYTES_MAX: u64 = 4 << 20;

/// Which system calls a container may make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seccomp {
    RuntimeDefault,
    Unconfined,
    /// A profile in a file of the host.
    Localhost(PathBuf),
}

/// What the request chooses. A privileged container is unconfined; a request that says nothing gets what the
/// command line chose.
pub fn seccomp(context: &Context<'_>) -> Outcome<Seccomp> {
    let security = &context.security;
    if context.privileged {
        return Ok(Seccomp::Unconfined);
    }
    let Some(profile) = &security.seccomp else {
        return match (legacy_path(security), context.host.unset_seccomp) {
            ("", UnsetSeccomp::Unconfined) => Ok(Seccomp::Unconfined),
            (path, _) => legacy_seccomp(path),
        };
    };
    match ProfileType::try_from(profile.profile_type) {
        Ok(ProfileType::RuntimeDefault) => Ok(Seccomp::RuntimeDefault),
        Ok(ProfileType::Unconfined) => Ok(Seccomp::Unconfined),
        Ok(ProfileType::Localhost) => localhost(&profile.localhost_ref),
        Err(_) => Err(Fault::invalid(format!("unknown seccomp profile type {}", profile.profile_type))),
    }
}

#[allow(deprecated)]
fn legacy_path(security: &v1::LinuxContainerSecurityContext) -> &str {
    &security.seccomp_profile_path
}

fn legacy_seccomp(path: &str) -> Outcome<Seccomp> {
    match path {
        "" | "runtime/default" | "docker/default" => Ok(Seccomp::RuntimeDefault),
        "unconfined" => Ok(Seccomp::Unconfined),
        other => localhost(other),
    }
}

fn localhost(reference: &str) -> Outcome<Seccomp> {
    let path = Path::new(reference.strip_prefix("localhost/").unwrap_or(reference));
    if !path.is_absolute() {
        return Err(Fault::invalid(format!("seccomp profile {reference:?} is not an absolute path")));
    }
    Ok(Seccomp::Localhost(path.to_owned()))
}

impl Seccomp {
    /// The profile for the specification.
    pub fn into_profile(self, context: &Context<'_>) -> Outcome<Option<LinuxSeccomp>> {
        match self {
            Seccomp::Unconfined => Ok(None),
            Seccomp::RuntimeDefault => Ok(Some(oci::seccomp::runtime_default(bounding(context)?))),
            Seccomp::Localhost(path) => {
                let failed = || format!("failed to load seccomp profile {}", path.display());
                let text = read_profile(&path).doing(failed)?;
                Ok(Some(serde_json::from_slice(&text).doing(failed)?))
            }
        }
    }
}

/// A regular file of a size that profiles have: a device would be read for ever, a pipe waited for.
fn read_profile(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::{Error, Read as _};
    use std::os::unix::fs::OpenOptionsExt as _;
    let careful = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits() as i32;
    let file = std::fs::File::options().read(true).custom_flags(careful).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::other("not a regular file"));
    }
    let mut text = Vec::new();
    file.take(PROFILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > PROFILE_BYTES_MAX {
        return Err(Error::other(format!("more than {PROFILE_BYTES_MAX} bytes are no profile")));
    }
    Ok(text)
}

/// The five sets. Inheritable stays empty, so that a file's capabilities decide after a change of user.
pub fn capabilities(context: &Context<'_>) -> Outcome<LinuxCapabilities> {
    let set = to_oci(bounding(context)?)?;
    let asked = context.security.capabilities.clone().unwrap_or_default();
    let ambient = to_oci(parse(&asked.add_ambient_capabilities, context)?)?;
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(set.clone()))
        .set_effective(Some(set.clone()))
        .set_permitted(Some(set))
        .set_inheritable(Some(ambient.clone()))
        .set_ambient(Some(ambient));
    Ok(sets)
}

/// Default, then ALL as asked, then single additions, then single removals: a dropped one stays dropped.
fn bounding(context: &Context<'_>) -> Outcome<u64> {
    let all = sys::capability::all_up_to(context.host.last_capability);
    if context.privileged {
        return Ok(all);
    }
    let asked = context.security.capabilities.clone().unwrap_or_default();
    let has_all = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case("ALL"));
    let single = |names: &[String]| -> Vec<String> {
        names.iter().filter(|name| !name.eq_ignore_ascii_case("ALL")).cloned().collect()
    };
    let defaults: Vec<String> = DEFAULT_CAPABILITIES.iter().map(|name| (*name).to_owned()).collect();
    let mut set = parse(&defaults, context)?;
    if has_all(&asked.add_capabilities) {
        set = all;
    }
    if has_all(&asked.drop_capabilities) {
        set = 0;
    }
    set |= parse(&single(&asked.add_capabilities), context)?;
    set |= parse(&asked.add_ambient_capabilities, context)?;
    set &= !parse(&single(&asked.drop_capabilities), context)?;
    Ok(set)
}

/// `NET_ADMIN` and `CAP_NET_ADMIN`, in any case.
fn parse(names: &[String], context: &Context<'_>) -> Outcome<u64> {
    let mut set = 0u64;
    for name in names {
        let upper = name.to_ascii_uppercase();
        let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        let number = sys::capability::number(&full)
            .ok_or_else(|| Fault::invalid(format!("unknown capability {name:?}")))?;
        if number <= context.host.last_capability {
            set |= 1 << number;
        }
    }
    Ok(set)
}

fn to_oci(set: u64) -> Outcome<HashSet<Capability>> {
    let read = |name: &'static str| {
        let full = if name.starts_with("CAP_") { name.to_owned() } else { format!("CAP_{name}") };
        serde_json::from_value(serde_json::Value::String(full)).doing(|| format!("naming capability {name}"))
    };
    sys::capability::names(set).map(read).collect()
}

/// Refuses what we cannot enforce, so that nobody believes it is in force. SELinux labels mean nothing to a host that
/// has SELinux off, where everybody ignores them; where it is on, we would have to set them.
pub fn refuse_unenforced(security: &v1::LinuxContainerSecurityContext, host: &HostFacts) -> Outcome<()> {
    apparmor::apparmor(security, host.apparmor)?;
    match &security.selinux_options {
        Some(label) if host.selinux && *label != v1::SeLinuxOption::default() => {
            Err(Fault::invalid(format!(
                "selinux_options {}:{}:{}:{} cannot be enforced: this host has SELinux on, and this runtime does not set labels",
                label.user, label.role, label.r#type, label.level
            )))
        }
        _ => Ok(()),
    }
}

/// Whether policy is loaded: only then is the file system of its settings mounted.
pub fn selinux_on_this_host() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}
