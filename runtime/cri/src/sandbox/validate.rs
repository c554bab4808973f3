//! What a sandbox request must be, before anything is made.

use cri_api::v1;
use cri_api::v1::NamespaceMode;

use crate::fault::{Fault, Outcome};

/// HOST_NAME_MAX of the kernel.
const HOSTNAME_BYTES_MAX: usize = 64;

/// The handlers we have; empty is the default one.
pub const HANDLERS: &[&str] = &["", "keelson"];

/// Refuses what cannot be served, by field.
pub fn config(config: &v1::PodSandboxConfig, handler: &str) -> Outcome<()> {
    let metadata =
        config.metadata.as_ref().ok_or_else(|| Fault::invalid("sandbox config must include metadata"))?;
    for (field, value) in
        [("name", &metadata.name), ("namespace", &metadata.namespace), ("uid", &metadata.uid)]
    {
        if value.is_empty() {
            return Err(Fault::invalid(format!("sandbox config: metadata.{field} is empty")));
        }
    }
    if !HANDLERS.contains(&handler) {
        return Err(Fault::invalid(format!("no runtime for {handler:?} is configured")));
    }
    if config.hostname.len() > HOSTNAME_BYTES_MAX {
        return Err(Fault::invalid(format!(
            "hostname {:?} is longer than the {HOSTNAME_BYTES_MAX} bytes of the kernel",
            config.hostname
        )));
    }
    if !config.log_directory.is_empty() && !config.log_directory.starts_with('/') {
        return Err(Fault::invalid(format!("log_directory {:?} is not absolute", config.log_directory)));
    }
    for mapping in &config.port_mappings {
        let port = |value: i32| (0..=65_535).contains(&value);
        if !port(mapping.container_port) || !port(mapping.host_port) || mapping.container_port == 0 {
            return Err(Fault::invalid(format!(
                "port mapping {} -> {}: not port numbers",
                mapping.host_port, mapping.container_port
            )));
        }
    }
    config.linux.as_ref().map_or(Ok(()), linux)
}

fn linux(linux: &v1::LinuxPodSandboxConfig) -> Outcome<()> {
    if linux.cgroup_parent.split('/').any(|part| part == "..") {
        return Err(Fault::invalid(format!("cgroup_parent {:?} leaves the tree", linux.cgroup_parent)));
    }
    // Made below it by hand they would be in systemd's way, and it in theirs.
    if linux.cgroup_parent.trim_end_matches('/').ends_with(".slice") {
        return Err(Fault::invalid(format!(
            "cgroup_parent {:?} is a slice of systemd's, and this runtime makes its cgroups itself, as RuntimeConfig says: \
             set `cgroupDriver: cgroupfs` in the kubelet's configuration",
            linux.cgroup_parent
        )));
    }
    let security = linux.security_context.clone().unwrap_or_default();
    namespaces(&security.namespace_options.unwrap_or_default())
}

/// Modes that exist for a sandbox and for a container.
pub fn namespaces(options: &v1::NamespaceOption) -> Outcome<()> {
    super::user::wanted(options)?;
    for (kind, mode) in [("network", options.network()), ("ipc", options.ipc())] {
        if !matches!(mode, NamespaceMode::Pod | NamespaceMode::Node) {
            return Err(Fault::invalid(format!(
                "namespace_options.{kind} is {}: expected POD or NODE",
                mode.as_str_name()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> v1::PodSandboxConfig {
        v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: "web".into(),
                uid: "u".into(),
                namespace: "default".into(),
                attempt: 0,
            }),
            ..Default::default()
        }
    }

    #[test]
    fn wrong_requests_name_the_field() {
        assert!(config(&valid(), "").is_ok());
        assert!(config(&valid(), "runsc").is_err());
        let check = |change: fn(&mut v1::PodSandboxConfig), part: &str| {
            let mut changed = valid();
            change(&mut changed);
            let said = config(&changed, "").unwrap_err().to_string();
            assert!(said.contains(part), "{said}");
        };
        check(|c| c.metadata = None, "metadata");
        check(|c| c.metadata.as_mut().unwrap().name.clear(), "metadata.name");
        check(|c| c.hostname = "h".repeat(65), "hostname");
        check(|c| c.log_directory = "logs".into(), "log_directory");
        check(
            |c| c.port_mappings = vec![v1::PortMapping { container_port: 70_000, ..Default::default() }],
            "port mapping",
        );
        for (parent, part) in [
            ("/a/../..", "leaves the tree"),
            ("/kubepods.slice/kubepods-pod1.slice", "cgroupDriver: cgroupfs"),
            ("kubepods-pod1.slice/", "cgroupDriver: cgroupfs"),
        ] {
            let mut changed = valid();
            let parent = parent.to_owned();
            changed.linux = Some(v1::LinuxPodSandboxConfig { cgroup_parent: parent, ..Default::default() });
            let said = config(&changed, "").unwrap_err().to_string();
            assert!(said.contains("cgroup_parent") && said.contains(part), "{said}");
        }
    }
}
