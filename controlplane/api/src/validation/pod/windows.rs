//! What a pod may say of Windows, and what it may not say when it is for Windows, or for Linux.
//!
//! Such pods never run here; who writes one is told what is wrong with it all the same.

use serde_json::Value;

use super::super::fields::Fields;
use super::super::report::Report;
use super::{Whole, containers};
use crate::field::Path;

const FOR_LINUX: &str = "windows options cannot be set for a linux pod";
const FOR_WINDOWS: &str = "cannot be set for a windows pod";
const CREDENTIAL_SPEC_MAX_BYTES: usize = 64 << 10;
const DOMAIN_MAX: usize = 256;
const USER_MAX: usize = 104;
const NET_BIOS_MAX: usize = 15;
const LABEL_MAX: usize = 63;
/// Parts of a pod's security context that Windows has not.
const OF_PODS: &[&str] = &["appArmorProfile", "seLinuxOptions"];
const OF_PODS_MORE: &[&str] =
    &["runAsUser", "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy", "seLinuxChangePolicy"];
const OF_CONTAINERS: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// A pod for Linux says nothing about Windows.
pub(super) fn none(report: &mut Report, spec: &Value, path: &Path) {
    let pod = (path.clone(), spec);
    for (path, holder) in std::iter::once(pod).chain(containers(spec, path)) {
        if holder["securityContext"].part("windowsOptions").is_some() {
            report.forbidden(&path.child("securityContext").child("windowsOptions"), FOR_LINUX);
        }
    }
}

/// A pod for Windows says nothing that only Linux has.
pub(super) fn only(report: &mut Report, spec: &Value, path: &Path) {
    let context_path = path.child("securityContext");
    let context = &spec["securityContext"];
    let mut refuse = |set: bool, path: Path| {
        if set {
            report.forbidden(&path, FOR_WINDOWS);
        }
    };
    let has = |name: &str| context.part(name).is_some();
    OF_PODS.iter().for_each(|name| refuse(has(name), context_path.child(name)));
    refuse(spec.part("hostUsers").is_some(), path.child("hostUsers"));
    refuse(spec.flag("hostPID"), path.child("hostPID"));
    refuse(spec.flag("hostIPC"), path.child("hostIPC"));
    for name in ["seccompProfile", "fsGroup", "fsGroupChangePolicy"] {
        refuse(has(name), context_path.child(name));
    }
    refuse(!context.list("sysctls").is_empty(), context_path.child("sysctls"));
    refuse(spec.part("shareProcessNamespace").is_some(), path.child("shareProcessNamespace"));
    OF_PODS_MORE.iter().for_each(|name| refuse(has(name), context_path.child(name)));
    for (path, container) in containers(spec, path) {
        let path = path.child("securityContext");
        for name in OF_CONTAINERS {
            refuse(container["securityContext"].part(name).is_some(), path.child(name));
        }
    }
}

/// Either every container is a process of the host, in its network, or none is.
pub(super) fn host_processes(report: &mut Report, whole: &Whole<'_>, path: &Path) {
    let host = |holder: &Value| {
        holder["securityContext"]["windowsOptions"].get("hostProcess").and_then(Value::as_bool)
    };
    let of_pod = host(whole.spec);
    let (mut all, mut on_host) = (0, 0);
    for (path, container) in containers(whole.spec, path) {
        let own = host(container);
        all += 1;
        on_host += usize::from(own.or(of_pod) == Some(true));
        if let (Some(pod), Some(own)) = (of_pod, own)
            && pod != own
        {
            let path = path.child("securityContext").child("windowsOptions").child("hostProcess");
            let why = format!("pod hostProcess value must be identical if both are specified, was {pod}");
            report.invalid(&path, own, why);
        }
    }
    if on_host > 0 && on_host != all {
        let why =
            "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        report.invalid(path, "", why);
    }
    if on_host > 0 && !whole.spec.flag("hostNetwork") {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        report.invalid(&path.child("hostNetwork"), false, why);
    }
}

/// `windowsOptions` of a security context.
pub(super) fn options(report: &mut Report, context: &Value, path: &Path) {
    let Some(options) = context.part("windowsOptions") else { return };
    let path = path.child("windowsOptions");
    if options.part("gmsaCredentialSpecName").is_some() {
        let name = options.text("gmsaCredentialSpecName");
        report.dns_subdomain(&path.child("gmsaCredentialSpecName"), name);
    }
    if options.part("gmsaCredentialSpec").is_some() {
        let (spec, path) = (options.text("gmsaCredentialSpec"), path.child("gmsaCredentialSpec"));
        if spec.is_empty() {
            report.invalid(&path, spec, "gmsaCredentialSpec cannot be an empty string");
        } else if spec.len() > CREDENTIAL_SPEC_MAX_BYTES {
            report.invalid(&path, spec, "gmsaCredentialSpec size must be under 64 KiB");
        }
    }
    if options.part("runAsUserName").is_some() {
        let (name, path) = (options.text("runAsUserName"), path.child("runAsUserName"));
        for why in user_complaints(name) {
            report.invalid(&path, name, format!("runAsUserName{why}"));
        }
    }
}

/// What is wrong with `DOMAIN\USER`.
fn user_complaints(name: &str) -> Vec<&'static str> {
    if name.is_empty() {
        return vec![" cannot be an empty string"];
    }
    if name.bytes().any(|byte| byte.is_ascii_control()) {
        return vec![" cannot contain control characters"];
    }
    if name.matches('\\').count() > 1 {
        return vec![" cannot contain more than one backslash"];
    }
    let (domain, user) = match name.split_once('\\') {
        Some((domain, user)) => (Some(domain), user),
        None => (None, name),
    };
    let mut out = Vec::new();
    if domain.is_some_and(|domain| domain.len() >= DOMAIN_MAX) {
        out.push("'s Domain length must be under 256 characters");
    }
    if domain.is_some_and(|domain| !is_net_bios(domain) && !is_domain(domain)) {
        out.push("'s Domain doesn't match the NetBios nor the DNS format");
    }
    if user.is_empty() {
        out.push("'s User cannot be empty");
    } else if user.len() > USER_MAX {
        out.push("'s User length must not be longer than 104 characters");
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        out.push("'s User cannot contain only periods or spaces");
    }
    if user.contains(|c| "\"/\\:;|=,+*?<>@[]".contains(c)) {
        out.push("'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]");
    }
    out
}

fn is_net_bios(domain: &str) -> bool {
    !domain.is_empty()
        && !domain.starts_with('.')
        && domain.chars().count() <= NET_BIOS_MAX
        && !domain.contains(|c| "\\/:*?\"<>|".contains(c))
}

fn is_domain(domain: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    domain.split('.').all(|label| {
        let bytes = label.as_bytes();
        bytes.len() <= LABEL_MAX
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    })
}
