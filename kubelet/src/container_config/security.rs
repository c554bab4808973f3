//! Users, capabilities and profiles: the container's securityContext laid over the pod's.
//!
//! Without a word on seccomp a container gets the runtime's default profile.
//!
//! Reference: core/v1 SecurityContext, PodSecurityContext; CRI LinuxContainerSecurityContext.

use cri_api::v1;
use cri_api::v1::security_profile::ProfileType;
use cri_api::v1::{NamespaceMode, SupplementalGroupsPolicy};
use serde_json::Value;

use super::{ImageFacts, Inputs, namespaces};
use crate::facts::NodeFacts;
use crate::pod::{Container, Pod};

/// Hidden unless `procMount: Unmasked`.
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The container's context.
pub fn of(inputs: &Inputs<'_>) -> Result<v1::LinuxContainerSecurityContext, String> {
    let (pod, container) = (inputs.pod, inputs.container);
    verify_not_root(pod, container, inputs.image)?;
    let own = &container.value["securityContext"];
    let id = |field: &str| effective(pod, container, field).as_i64().map(|value| v1::Int64Value { value });
    let (run_as_user, run_as_username) = match id("runAsUser") {
        Some(user) => (Some(user), String::new()),
        None => image_user(inputs.image),
    };
    let unmasked = own["procMount"] == "Unmasked";
    let paths = |list: &[&str]| -> Vec<String> {
        if unmasked { Vec::new() } else { list.iter().map(|path| (*path).to_owned()).collect() }
    };
    let mut namespace_options = namespaces::of(pod, inputs.user);
    if let Some(target) = &inputs.target
        && namespace_options.pid() == NamespaceMode::Container
    {
        namespace_options.pid = NamespaceMode::Target.into();
        namespace_options.target_id.clone_from(target);
    }
    Ok(v1::LinuxContainerSecurityContext {
        capabilities: capabilities(&own["capabilities"]),
        privileged: own["privileged"] == true,
        namespace_options: Some(namespace_options),
        selinux_options: selinux(effective(pod, container, "seLinuxOptions")),
        run_as_user,
        run_as_username,
        run_as_group: id("runAsGroup"),
        readonly_rootfs: own["readOnlyRootFilesystem"] == true,
        supplemental_groups: supplemental_groups(pod),
        supplemental_groups_policy: groups_policy(pod).into(),
        no_new_privs: own["allowPrivilegeEscalation"] == false,
        masked_paths: paths(MASKED),
        readonly_paths: paths(READ_ONLY),
        seccomp: Some(seccomp(effective(pod, container, "seccompProfile"), inputs.node)?),
        apparmor: apparmor(pod, container),
        ..Default::default()
    })
}

/// The container's field, else the pod's.
pub fn effective<'a>(pod: &'a Pod, container: &'a Container, field: &str) -> &'a Value {
    match &container.value["securityContext"][field] {
        Value::Null => &pod.spec()["securityContext"][field],
        own => own,
    }
}

/// An image that names nobody runs as root.
fn image_user(image: &ImageFacts) -> (Option<v1::Int64Value>, String) {
    match (image.uid, image.username.as_str()) {
        (Some(value), _) => (Some(v1::Int64Value { value }), String::new()),
        (None, "") => (Some(v1::Int64Value { value: 0 }), String::new()),
        (None, name) => (None, name.to_owned()),
    }
}

fn verify_not_root(pod: &Pod, container: &Container, image: &ImageFacts) -> Result<(), String> {
    if effective(pod, container, "runAsNonRoot") != true {
        return Ok(());
    }
    let who = format!(
        "(pod: \"{}_{}({})\", container: {})",
        pod.key.name, pod.key.namespace, pod.uid, container.name
    );
    match (effective(pod, container, "runAsUser").as_i64(), image.uid, image.username.as_str()) {
        (Some(0), ..) => Err(format!("container's runAsUser breaks non-root policy {who}")),
        (Some(_), ..) => Ok(()),
        (None, Some(0), _) | (None, None, "") => {
            Err(format!("container has runAsNonRoot and image will run as root {who}"))
        }
        (None, None, name) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root {who}"
        )),
        (None, Some(_), _) => Ok(()),
    }
}

fn capabilities(own: &Value) -> Option<v1::Capability> {
    let names = |list: &str| -> Vec<String> {
        let items = own[list].as_array().into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    own.is_object().then(|| v1::Capability {
        add_capabilities: names("add"),
        drop_capabilities: names("drop"),
        add_ambient_capabilities: Vec::new(),
    })
}

/// fsGroup first.
pub fn supplemental_groups(pod: &Pod) -> Vec<i64> {
    let context = &pod.spec()["securityContext"];
    let more = context["supplementalGroups"].as_array().into_iter().flatten();
    context["fsGroup"].as_i64().into_iter().chain(more.filter_map(Value::as_i64)).collect()
}

pub fn groups_policy(pod: &Pod) -> SupplementalGroupsPolicy {
    match pod.spec()["securityContext"]["supplementalGroupsPolicy"].as_str() {
        Some("Strict") => SupplementalGroupsPolicy::Strict,
        _ => SupplementalGroupsPolicy::Merge,
    }
}

pub fn selinux(options: &Value) -> Option<v1::SeLinuxOption> {
    let text = |field: &str| options[field].as_str().unwrap_or_default().to_owned();
    options.is_object().then(|| v1::SeLinuxOption {
        user: text("user"),
        role: text("role"),
        r#type: text("type"),
        level: text("level"),
    })
}

fn seccomp(profile: &Value, node: &NodeFacts) -> Result<v1::SecurityProfile, String> {
    let of = |kind: ProfileType, reference: String| v1::SecurityProfile {
        profile_type: kind.into(),
        localhost_ref: reference,
    };
    match profile["type"].as_str() {
        None | Some("" | "RuntimeDefault") => Ok(of(ProfileType::RuntimeDefault, String::new())),
        Some("Unconfined") => Ok(of(ProfileType::Unconfined, String::new())),
        Some("Localhost") => match profile["localhostProfile"].as_str() {
            None | Some("") => {
                Err("localhostProfile must be set if seccompProfile type is Localhost.".to_owned())
            }
            Some(name) => {
                let path = node.seccomp_profiles.join(name);
                Ok(of(ProfileType::Localhost, path.to_string_lossy().into_owned()))
            }
        },
        Some(other) => Err(format!("unknown seccompProfile type {other:?}")),
    }
}

/// None where nothing is said: the runtime decides.
fn apparmor(pod: &Pod, container: &Container) -> Option<v1::SecurityProfile> {
    let annotation = format!("container.apparmor.security.beta.kubernetes.io/{}", container.name);
    let own = &container.value["securityContext"]["appArmorProfile"];
    let (kind, name) = match (own.is_object(), pod.meta().annotation(&annotation)) {
        (false, Some("runtime/default")) => ("RuntimeDefault", ""),
        (false, Some("unconfined")) => ("Unconfined", ""),
        (false, Some(text)) if text.starts_with("localhost/") => ("Localhost", &text["localhost/".len()..]),
        _ => {
            let profile = effective(pod, container, "appArmorProfile");
            (profile["type"].as_str()?, profile["localhostProfile"].as_str().unwrap_or_default())
        }
    };
    let kind = match kind {
        "RuntimeDefault" => ProfileType::RuntimeDefault,
        "Unconfined" => ProfileType::Unconfined,
        _ => ProfileType::Localhost,
    };
    Some(v1::SecurityProfile { profile_type: kind.into(), localhost_ref: name.to_owned() })
}
