//! What the runtime is told to make a pod's sandbox with. Pure.
//!
//! Reference: CRI PodSandboxConfig.

#[cfg(test)]
mod tests;

use cri_api::v1;
use cri_api::v1::security_profile::ProfileType;
use serde_json::Value;

use crate::container_config::{namespaces, resources, security};
use crate::dns_config;
use crate::facts::NodeFacts;
use crate::labels;
use crate::paths::Paths;
use crate::pod::{Pod, Role};

/// Everything a sandbox's configuration is made of.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    pub pod: &'a Pod,
    pub attempt: u32,
    pub node: &'a NodeFacts,
    pub paths: &'a Paths,
    /// The node's own resolv.conf.
    pub resolv_conf: &'a str,
    /// The pod's own ids.
    pub user: Option<&'a v1::UserNamespace>,
    /// The pod's cgroup: a path, or a slice's name with the systemd driver.
    pub cgroup_parent: &'a str,
}

/// Something the pod's owner should hear of: reason and message of a Warning event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub reason: &'static str,
    pub message: String,
}

/// Why there is no configuration: `FailedCreatePodSandBox` with this message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct SandboxConfigError(pub String);

/// The configuration, and what had to be left out of it.
pub fn of(inputs: &Inputs<'_>) -> Result<(v1::PodSandboxConfig, Vec<Warning>), SandboxConfigError> {
    let (pod, node) = (inputs.pod, inputs.node);
    let (dns, warnings) = dns_config::with_warnings(pod, node, inputs.resolv_conf);
    let hostname = if pod.host_network {
        String::new()
    } else {
        dns_config::hostname(pod, node).map_err(SandboxConfigError)?
    };
    let config = v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: pod.key.name.clone(),
            uid: pod.uid.to_string(),
            namespace: pod.key.namespace.clone(),
            attempt: inputs.attempt,
        }),
        hostname,
        log_directory: inputs.paths.log_directory(pod).to_string_lossy().into_owned(),
        dns_config: Some(dns),
        port_mappings: ports(pod),
        labels: labels::of_sandbox(pod),
        annotations: labels::sandbox_annotations(pod),
        linux: Some(linux(inputs)?),
        ..Default::default()
    };
    Ok((config, warnings))
}

fn linux(inputs: &Inputs<'_>) -> Result<v1::LinuxPodSandboxConfig, SandboxConfigError> {
    let pod = inputs.pod;
    let context = &pod.spec()["securityContext"];
    let id = |field: &str| context[field].as_i64().map(|value| v1::Int64Value { value });
    let run_as_user = id("runAsUser");
    let sysctls = context["sysctls"].as_array().into_iter().flatten().filter_map(|sysctl| {
        Some((sysctl["name"].as_str()?.to_owned(), sysctl["value"].as_str().unwrap_or_default().to_owned()))
    });
    let security = v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces::of(pod, inputs.user)),
        selinux_options: security::selinux(&context["seLinuxOptions"]),
        // A group alone is refused by runtimes: the sandbox runs nothing, so nothing is lost without.
        run_as_group: if run_as_user.is_some() { id("runAsGroup") } else { None },
        run_as_user,
        supplemental_groups: security::supplemental_groups(pod),
        supplemental_groups_policy: security::groups_policy(pod).into(),
        privileged: pod
            .containers()
            .any(|container| container.value["securityContext"]["privileged"] == true),
        // Containers choose for themselves; whatever holds the namespaces open needs no more.
        seccomp: Some(v1::SecurityProfile {
            profile_type: ProfileType::RuntimeDefault.into(),
            localhost_ref: String::new(),
        }),
        ..Default::default()
    };
    Ok(v1::LinuxPodSandboxConfig {
        cgroup_parent: inputs.cgroup_parent.to_owned(),
        security_context: Some(security),
        sysctls: sysctls.collect(),
        overhead: Some(resources::overhead(pod)),
        resources: Some(resources::of_pod(pod)),
    })
}

/// Every port that a container names; those without a host port map nothing.
fn ports(pod: &Pod) -> Vec<v1::PortMapping> {
    if pod.host_network {
        return Vec::new();
    }
    let holders = pod.containers().filter(|container| matches!(container.role, Role::Main | Role::Sidecar));
    let ports = holders.flat_map(|container| container.value["ports"].as_array().into_iter().flatten());
    let number =
        |value: &Value| value.as_i64().and_then(|value| i32::try_from(value).ok()).unwrap_or_default();
    ports
        .map(|port| v1::PortMapping {
            protocol: match port["protocol"].as_str() {
                Some("UDP") => v1::Protocol::Udp,
                Some("SCTP") => v1::Protocol::Sctp,
                _ => v1::Protocol::Tcp,
            }
            .into(),
            container_port: number(&port["containerPort"]),
            host_port: number(&port["hostPort"]),
            host_ip: port["hostIP"].as_str().unwrap_or_default().to_owned(),
        })
        .collect()
}
