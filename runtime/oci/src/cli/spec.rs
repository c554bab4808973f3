//! `spec`: a specification to begin with.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use oci_spec::runtime::{LinuxIdMappingBuilder, Spec};

use crate::container::ContainerError;

#[derive(Debug, Args)]
pub(super) struct NewSpec {
    /// Directory to write config.json to
    #[arg(long, short, default_value = ".")]
    bundle: PathBuf,
    /// For a caller without root's rights: a user namespace that maps the caller to root
    #[arg(long)]
    rootless: bool,
}

impl NewSpec {
    pub(super) fn run(self) -> Result<u8, ContainerError> {
        let path = self.bundle.join("config.json");
        let mut spec = Spec::default();
        if let Some(process) = spec.process_mut() {
            process.set_terminal(Some(true));
        }
        if self.rootless {
            rootless(&mut spec);
        }
        let text = serde_json::to_string_pretty(&spec)
            .map_err(|source| ContainerError::Json { file: path.clone(), source })?;
        // Never over one that somebody has edited.
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(ContainerError::file("make", &path))?;
        file.write_all(text.as_bytes()).map_err(ContainerError::file("write", path))?;
        Ok(0)
    }
}

/// As the specification's generator for rootless use: the host's network and sysfs, one mapped id, no limits.
fn rootless(spec: &mut Spec) {
    use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType as Kind, Mount};
    let map = |id: u32| {
        let row = LinuxIdMappingBuilder::default().container_id(0_u32).host_id(id).size(1_u32);
        row.build().ok().map(|row| vec![row])
    };
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if let Some(linux) = spec.linux_mut() {
        let mut namespaces = linux.namespaces().clone().unwrap_or_default();
        namespaces.retain(|entry| entry.typ() != Kind::Network);
        let mut user = LinuxNamespace::default();
        user.set_typ(Kind::User);
        namespaces.push(user);
        linux.set_namespaces(Some(namespaces)).set_resources(None);
        linux.set_uid_mappings(map(uid)).set_gid_mappings(map(gid));
    }
    let mut mounts: Vec<Mount> = spec.mounts().clone().unwrap_or_default();
    for mount in &mut mounts {
        // The caller has no group of terminals to give away.
        let options = mount.options().clone().unwrap_or_default();
        mount.set_options(Some(options.into_iter().filter(|option| !option.starts_with("gid=")).collect()));
        if mount.destination() == std::path::Path::new("/sys") {
            mount.set_typ(Some("none".into())).set_source(Some("/sys".into()));
            let options = ["rbind", "nosuid", "noexec", "nodev", "ro"];
            mount.set_options(Some(options.map(str::to_owned).to_vec()));
        }
    }
    spec.set_mounts(Some(mounts));
}
