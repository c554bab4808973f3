//! The level `restricted`: what hardened pods do.

use serde_json::Value;

use super::baseline::context;
use super::containers::{against, all, named, quoted};
use super::{Minor, Violation};

const VOLUMES: &[&str] = &[
    "name",
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// What the level has against a pod, beyond `baseline`.
pub(super) fn check(spec: &Value, minor: Minor) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut add = |reason: &'static str, detail: Option<String>| {
        found.extend(detail.map(|detail| Violation { reason, detail }));
    };
    let windows = spec["os"]["name"] == "windows" && minor >= 25;
    if !windows && minor >= 8 {
        add("allowPrivilegeEscalation != false", escalation(spec));
    }
    if !windows && minor >= 22 {
        add("unrestricted capabilities", capabilities(spec));
    }
    add("restricted volume types", volumes(spec));
    // In a user namespace of its own root is nobody.
    if spec["hostUsers"] != false || minor < 35 {
        add("runAsNonRoot != true", non_root(spec));
        if minor >= 23 {
            add("runAsUser=0", root_user(spec));
        }
    }
    if !windows && minor >= 19 {
        add("seccompProfile", seccomp(spec));
    }
    found
}

fn escalation(spec: &Value) -> Option<String> {
    let names = against(spec, |container| context(container, "allowPrivilegeEscalation") != false);
    (!names.is_empty()).then(|| {
        format!("{} must set securityContext.allowPrivilegeEscalation=false", named("container", &names))
    })
}

fn capabilities(spec: &Value) -> Option<String> {
    let list = |container: &Value, field: &str| -> Vec<String> {
        let names = context(container, "capabilities")[field].as_array().into_iter().flatten();
        names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    let undropped = against(spec, |container| !list(container, "drop").iter().any(|name| name == "ALL"));
    let extra = |container: &Value| -> Vec<String> {
        list(container, "add").into_iter().filter(|name| name != "NET_BIND_SERVICE").collect()
    };
    let adding = against(spec, |container| !extra(container).is_empty());
    let mut added: Vec<String> = all(spec).flat_map(extra).collect();
    added.sort_unstable();
    added.dedup();
    let mut bad = Vec::new();
    if !undropped.is_empty() {
        bad.push(format!(
            "{} must set securityContext.capabilities.drop=[\"ALL\"]",
            named("container", &undropped)
        ));
    }
    if !adding.is_empty() {
        bad.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            named("container", &adding),
            quoted(&added)
        ));
    }
    (!bad.is_empty()).then(|| bad.join("; "))
}

fn volumes(spec: &Value) -> Option<String> {
    let mut names = Vec::new();
    let mut kinds: Vec<&str> = Vec::new();
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        let sources = volume.as_object().into_iter().flatten().map(|(source, _)| source.as_str());
        if let Some(bad) = sources.into_iter().find(|source| !VOLUMES.contains(source)) {
            names.push(volume["name"].as_str().unwrap_or_default());
            kinds.push(bad);
        }
    }
    kinds.sort_unstable();
    kinds.dedup();
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let noun = if kinds.len() == 1 { "type" } else { "types" };
    (!names.is_empty())
        .then(|| format!("{} {verb} restricted volume {noun} {}", named("volume", &names), quoted(&kinds)))
}

fn non_root(spec: &Value) -> Option<String> {
    let of_pod = context(spec, "runAsNonRoot").as_bool();
    let refusing = against(spec, |container| context(container, "runAsNonRoot") == false);
    if !refusing.is_empty() {
        return Some(format!(
            "{} must not set securityContext.runAsNonRoot=false",
            named("container", &refusing)
        ));
    }
    let silent = against(spec, |container| context(container, "runAsNonRoot").is_null());
    match of_pod {
        Some(true) => None,
        // Whatever the pod says, each container says otherwise.
        _ if silent.is_empty() => None,
        Some(false) => Some("pod must not set securityContext.runAsNonRoot=false".into()),
        None => {
            Some(format!("pod or {} must set securityContext.runAsNonRoot=true", named("container", &silent)))
        }
    }
}

fn root_user(spec: &Value) -> Option<String> {
    let mut setters = Vec::new();
    if context(spec, "runAsUser") == 0 {
        setters.push("pod".to_owned());
    }
    let names = against(spec, |container| context(container, "runAsUser") == 0);
    if !names.is_empty() {
        setters.push(named("container", &names));
    }
    (!setters.is_empty()).then(|| format!("{} must not set runAsUser=0", setters.join(" and ")))
}

fn seccomp(spec: &Value) -> Option<String> {
    const WANTED: &[&str] = &["RuntimeDefault", "Localhost"];
    let kind = |of: &Value| context(of, "seccompProfile")["type"].as_str().map(str::to_owned);
    let is_bad = |of: &Value| kind(of).is_some_and(|kind| !WANTED.contains(&kind.as_str()));
    let bad = against(spec, is_bad);
    let mut setters = Vec::new();
    if is_bad(spec) {
        setters.push("pod".to_owned());
    }
    if !bad.is_empty() {
        setters.push(named("container", &bad));
    }
    if !setters.is_empty() {
        let mut kinds: Vec<String> =
            std::iter::once(spec).chain(all(spec)).filter(|of| is_bad(of)).filter_map(kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let setters = setters.join(" and ");
        return Some(format!(
            "{setters} must not set securityContext.seccompProfile.type to {}",
            quoted(&kinds)
        ));
    }
    let silent = against(spec, |container| kind(container).is_none());
    (kind(spec).is_none() && !silent.is_empty()).then(|| {
        format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            named("container", &silent)
        )
    })
}
