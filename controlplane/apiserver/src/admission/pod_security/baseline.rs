//! The level `baseline`: nothing that is a known way out of a container.

use serde_json::Value;

use super::containers::{against, all, named, quoted};
use super::{Minor, Violation};

const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Harmless settings, and the version since which they count as such.
const SYSCTLS: &[(&str, Minor)] = &[
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.tcp_wmem", 32),
];
/// The last one since version 31.
const SELINUX_TYPES: &[&str] =
    &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// What the level has against a pod; `more` leaves out what `restricted` says more strictly, from the version on in which it does.
pub(super) fn check(metadata: &Value, spec: &Value, more: bool, minor: Minor) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut add = |reason: &'static str, detail: Option<String>| {
        found.extend(detail.map(|detail| Violation { reason, detail }));
    };
    add("forbidden AppArmor profile", app_armor(metadata, spec));
    if !more || minor < 22 {
        add("non-default capabilities", capabilities(spec));
    }
    add("host namespaces", namespaces(spec));
    if !more {
        add("hostPath volumes", host_paths(spec));
    }
    add("hostPort", host_ports(spec));
    if minor >= 34 {
        add("probe or lifecycle host", probe_hosts(spec));
    }
    add("privileged", privileged(spec));
    add("procMount", proc_mount(spec, minor));
    add("seLinuxOptions", selinux(spec, minor));
    // Before 19 it was an annotation, which nothing reads any more.
    if !more && minor >= 19 {
        add("seccompProfile", seccomp(spec));
    }
    add("forbidden sysctls", sysctls(spec, minor));
    add("hostProcess", host_process(spec));
    found
}

/// `securityContext` of a pod or container.
pub(super) fn context<'a>(of: &'a Value, field: &str) -> &'a Value {
    &of["securityContext"][field]
}

fn app_armor(metadata: &Value, spec: &Value) -> Option<String> {
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
    let mut bad = Vec::new();
    if context(spec, "appArmorProfile")["type"] == "Unconfined" {
        bad.push("pod must not set AppArmor profile type to \"Unconfined\"".to_owned());
    }
    let names = against(spec, |container| context(container, "appArmorProfile")["type"] == "Unconfined");
    if !names.is_empty() {
        bad.push(format!(
            "{} must not set AppArmor profile type to \"Unconfined\"",
            named("container", &names)
        ));
    }
    let annotations = metadata["annotations"].as_object().into_iter().flatten();
    for (name, value) in annotations.filter(|(name, _)| name.starts_with(ANNOTATION)) {
        let profile = value.as_str().unwrap_or_default();
        if !matches!(profile, "" | "runtime/default") && !profile.starts_with("localhost/") {
            bad.push(format!("{name}={profile:?}"));
        }
    }
    (!bad.is_empty()).then(|| bad.join(", "))
}

fn capabilities(spec: &Value) -> Option<String> {
    let added = |container: &Value| -> Vec<String> {
        let list = context(container, "capabilities")["add"].as_array().into_iter().flatten();
        let names = list.filter_map(|name| name.as_str());
        names.filter(|name| !CAPABILITIES.contains(name)).map(str::to_owned).collect()
    };
    let names = against(spec, |container| !added(container).is_empty());
    let mut extra: Vec<String> = all(spec).flat_map(added).collect();
    extra.sort_unstable();
    extra.dedup();
    (!names.is_empty()).then(|| {
        format!(
            "{} must not include {} in securityContext.capabilities.add",
            named("container", &names),
            quoted(&extra)
        )
    })
}

fn namespaces(spec: &Value) -> Option<String> {
    let set: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| spec[*field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    (!set.is_empty()).then(|| set.join(", "))
}

fn host_paths(spec: &Value) -> Option<String> {
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    let names: Vec<&str> = volumes
        .filter(|volume| volume["hostPath"].is_object())
        .filter_map(|volume| volume["name"].as_str())
        .collect();
    (!names.is_empty()).then(|| named("volume", &names))
}

fn host_ports(spec: &Value) -> Option<String> {
    let ports = |container: &Value| -> Vec<i64> {
        let list = container["ports"].as_array().into_iter().flatten();
        list.filter_map(|port| port["hostPort"].as_i64()).filter(|port| *port != 0).collect()
    };
    let names = against(spec, |container| !ports(container).is_empty());
    let mut numbers: Vec<i64> = all(spec).flat_map(ports).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let shown: Vec<String> = numbers.iter().map(i64::to_string).collect();
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let noun = if numbers.len() == 1 { "hostPort" } else { "hostPorts" };
    (!names.is_empty()).then(|| format!("{} {verb} {noun} {}", named("container", &names), shown.join(", ")))
}

fn probe_hosts(spec: &Value) -> Option<String> {
    let hosts = |container: &Value| -> Vec<String> {
        let probes =
            ["livenessProbe", "readinessProbe", "startupProbe"].into_iter().map(|probe| &container[probe]);
        let hooks = ["postStart", "preStop"].into_iter().map(|hook| &container["lifecycle"][hook]);
        let actions = probes.chain(hooks).flat_map(|at| [&at["httpGet"]["host"], &at["tcpSocket"]["host"]]);
        actions.filter_map(Value::as_str).filter(|host| !host.is_empty()).map(str::to_owned).collect()
    };
    let names = against(spec, |container| !hosts(container).is_empty());
    let mut used: Vec<String> = all(spec).flat_map(hosts).collect();
    used.sort_unstable();
    used.dedup();
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let noun = if used.len() == 1 { "host" } else { "hosts" };
    (!names.is_empty())
        .then(|| format!("{} {verb} probe or lifecycle {noun} {}", named("container", &names), quoted(&used)))
}

fn privileged(spec: &Value) -> Option<String> {
    let names = against(spec, |container| context(container, "privileged") == true);
    (!names.is_empty())
        .then(|| format!("{} must not set securityContext.privileged=true", named("container", &names)))
}

fn proc_mount(spec: &Value, minor: Minor) -> Option<String> {
    // In a user namespace of its own a pod may see all of its /proc.
    if spec["hostUsers"] == false && minor >= 35 {
        return None;
    }
    let bad =
        |container: &Value| context(container, "procMount").as_str().is_some_and(|mount| mount != "Default");
    let names = against(spec, bad);
    let mut mounts: Vec<&str> =
        all(spec).filter(|c| bad(c)).filter_map(|c| context(c, "procMount").as_str()).collect();
    mounts.sort_unstable();
    mounts.dedup();
    (!names.is_empty()).then(|| {
        format!(
            "{} must not set securityContext.procMount to {}",
            named("container", &names),
            quoted(&mounts)
        )
    })
}

fn selinux(spec: &Value, minor: Minor) -> Option<String> {
    let allowed = if minor >= 31 { SELINUX_TYPES } else { &SELINUX_TYPES[..SELINUX_TYPES.len() - 1] };
    let text = |options: &Value, field: &str| options[field].as_str().unwrap_or_default().to_owned();
    let is_bad = |of: &Value| {
        let options = context(of, "seLinuxOptions");
        !allowed.contains(&text(options, "type").as_str())
            || !text(options, "user").is_empty()
            || !text(options, "role").is_empty()
    };
    let names = against(spec, is_bad);
    let mut setters = Vec::new();
    if is_bad(spec) {
        setters.push("pod".to_owned());
    }
    if !names.is_empty() {
        setters.push(named("container", &names));
    }
    if setters.is_empty() {
        return None;
    }
    let everywhere: Vec<&Value> = std::iter::once(spec).chain(all(spec)).collect();
    let mut types: Vec<String> =
        everywhere.iter().map(|of| text(context(of, "seLinuxOptions"), "type")).collect();
    types.retain(|kind| !allowed.contains(&kind.as_str()));
    types.sort_unstable();
    types.dedup();
    let mut bad = Vec::new();
    if !types.is_empty() {
        let noun = if types.len() == 1 { "type" } else { "types" };
        bad.push(format!("{noun} {}", quoted(&types)));
    }
    for field in ["user", "role"] {
        if everywhere.iter().any(|of| !text(context(of, "seLinuxOptions"), field).is_empty()) {
            bad.push(format!("{field} may not be set"));
        }
    }
    Some(format!(
        "{} set forbidden securityContext.seLinuxOptions: {}",
        setters.join(" and "),
        bad.join("; ")
    ))
}

fn seccomp(spec: &Value) -> Option<String> {
    let is_bad = |of: &Value| context(of, "seccompProfile")["type"] == "Unconfined";
    let names = against(spec, is_bad);
    let mut setters = Vec::new();
    if is_bad(spec) {
        setters.push("pod".to_owned());
    }
    if !names.is_empty() {
        setters.push(named("container", &names));
    }
    (!setters.is_empty()).then(|| {
        format!(
            "{} must not set securityContext.seccompProfile.type to \"Unconfined\"",
            setters.join(" and ")
        )
    })
}

fn sysctls(spec: &Value, minor: Minor) -> Option<String> {
    let harmless = |name: &str| SYSCTLS.iter().any(|(known, since)| *known == name && *since <= minor);
    let list = context(spec, "sysctls").as_array().into_iter().flatten();
    let names: Vec<&str> =
        list.filter_map(|sysctl| sysctl["name"].as_str()).filter(|name| !harmless(name)).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn host_process(spec: &Value) -> Option<String> {
    let is_bad = |of: &Value| context(of, "windowsOptions")["hostProcess"] == true;
    let names = against(spec, is_bad);
    let mut setters = Vec::new();
    if is_bad(spec) {
        setters.push("pod".to_owned());
    }
    if !names.is_empty() {
        setters.push(named("container", &names));
    }
    (!setters.is_empty()).then(|| {
        format!("{} must not set securityContext.windowsOptions.hostProcess=true", setters.join(" and "))
    })
}
