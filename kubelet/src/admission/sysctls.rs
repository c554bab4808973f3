//! Which kernel parameters a pod may set: the safe ones, which cannot hurt other pods, and those that the node's owner
//! allows. Where the pod shares the namespace that a parameter belongs to with the host, none.
//!
//! Reference: upstream's `kubelet/sysctl`, whose list and messages these are.

use crate::pod::Pod;

use super::Refusal;

const REASON: &str = "SysctlForbidden";
const SAFE: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// The namespace of a parameter; none where it is the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Network,
    Ipc,
}

/// What a pattern of the node's owner may be: a name, or the start of one with a `*`, in a namespace of the pod.
pub fn pattern(text: &str) -> Result<String, String> {
    let name = dotted(text);
    let start = name.strip_suffix('*').unwrap_or(&name);
    let is_plain = !start.is_empty() && !start.contains('*') && start.split('.').all(|part| part != "..");
    match (is_plain, owner(start)) {
        (true, Some(_)) => Ok(name),
        (true, None) => Err(format!("{text:?} is no parameter of a pod's own namespaces")),
        (false, _) => Err(format!("{text:?} is neither a parameter nor the start of one and a `*`")),
    }
}

pub fn check(pod: &Pod, allowed: &[String]) -> Result<(), Refusal> {
    let sysctls = pod.spec()["securityContext"]["sysctls"].as_array().into_iter().flatten();
    for sysctl in sysctls {
        let given = sysctl["name"].as_str().unwrap_or_default();
        let name = dotted(given);
        let listed = SAFE.contains(&name.as_str())
            || allowed.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == *pattern,
            });
        let why = match owner(&name) {
            _ if !listed => format!("{given:?} not allowlisted"),
            None => format!("{given:?} not allowlisted"),
            Some(Owner::Network) if pod.host_network => {
                format!("{given:?} not allowed with host net enabled")
            }
            Some(Owner::Ipc) if pod.spec()["hostIPC"] == true => {
                format!("{given:?} not allowed with host ipc enabled")
            }
            Some(_) => continue,
        };
        let message = format!("forbidden sysctl: {why}");
        return Err(Refusal { reason: REASON.to_owned(), message });
    }
    Ok(())
}

/// Slashes separate, too; then dots belong to names.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(first) if name.as_bytes()[first] == b'/' => {
            let swap = |letter| match letter {
                '/' => '.',
                '.' => '/',
                other => other,
            };
            name.chars().map(swap).collect()
        }
        _ => name.to_owned(),
    }
}

fn owner(name: &str) -> Option<Owner> {
    let is_ipc = name.starts_with("kernel.shm")
        || name.starts_with("kernel.msg")
        || name == "kernel.sem"
        || name.starts_with("fs.mqueue.");
    if name.starts_with("net.") {
        Some(Owner::Network)
    } else if is_ipc {
        Some(Owner::Ipc)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn said(name: &str, more: Value, allowed: &[&str]) -> Option<String> {
        let mut spec = json!({"securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        let allowed: Vec<String> = allowed.iter().map(|text| pattern(text).unwrap()).collect();
        check(&Pod::of(json!({"metadata": {"name": "p"}, "spec": spec})), &allowed).err().map(|no| no.message)
    }

    #[test]
    fn only_what_is_safe_or_allowed_passes() {
        let none = || json!({});
        let refused = |name: &str| Some(format!("forbidden sysctl: {name:?} not allowlisted"));
        assert_eq!(said("net.ipv4.tcp_syncookies", none(), &[]), None);
        assert_eq!(said("net/ipv4/tcp_syncookies", none(), &[]), None);
        assert_eq!(said("kernel.shm_rmid_forced", none(), &[]), None);
        assert_eq!(said("kernel.msgmax", none(), &[]), refused("kernel.msgmax"));
        assert_eq!(said("net.core.somaxconn", none(), &[]), refused("net.core.somaxconn"));
        assert_eq!(said("net.core.somaxconn", none(), &["net.core.*"]), None);
        assert_eq!(said("net/ipv4/conf/eth0.1/forwarding", none(), &["net.ipv4.conf.*"]), None);
        assert_eq!(said("kernel.msgmax", none(), &["kernel.msg*"]), None);
        assert_eq!(said("kernel.core_pattern", none(), &["kernel.msg*"]), refused("kernel.core_pattern"));
        assert_eq!(
            said("net.ipv4.tcp_syncookies", json!({"hostNetwork": true}), &[]).unwrap(),
            "forbidden sysctl: \"net.ipv4.tcp_syncookies\" not allowed with host net enabled"
        );
        assert_eq!(
            said("kernel.shm_rmid_forced", json!({"hostIPC": true}), &[]).unwrap(),
            "forbidden sysctl: \"kernel.shm_rmid_forced\" not allowed with host ipc enabled"
        );
    }

    #[test]
    fn patterns_are_of_a_pods_own_namespaces() {
        for text in ["kernel.core_pattern", "vm.*", "*", "", "net.*.x", "kernel.*"] {
            assert!(pattern(text).is_err(), "{text}");
        }
    }
}
