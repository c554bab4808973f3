//! A pod's name for itself and its domain.

use crate::facts::NodeFacts;
use crate::pod::Pod;

/// A DNS label.
const HOSTNAME_MAX: usize = 63;
/// What the kernel keeps.
const NODENAME_MAX: usize = 64;

/// The sandbox's hostname: `hostname`, subdomain and setHostnameAsFQDN; at most 63 bytes.
pub fn hostname(pod: &Pod, node: &NodeFacts) -> Result<String, String> {
    let (hostname, domain) = names(pod, node);
    if domain.is_empty() || pod.spec()["setHostnameAsFQDN"] != true {
        return Ok(hostname);
    }
    let whole = format!("{hostname}.{domain}");
    if whole.len() > NODENAME_MAX {
        return Err(format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {whole} is too long ({NODENAME_MAX} characters is the max, {} characters requested)",
            whole.len()
        ));
    }
    Ok(whole)
}

/// Hostname and domain; the domain is empty without a subdomain.
pub fn names(pod: &Pod, node: &NodeFacts) -> (String, String) {
    let text = |field: &str| pod.spec()[field].as_str().filter(|text| !text.is_empty());
    if let Some(whole) = text("hostnameOverride") {
        return (whole.to_owned(), String::new());
    }
    let hostname = shortened(text("hostname").unwrap_or(&pod.key.name));
    let domain = text("subdomain").map_or(String::new(), |subdomain| {
        format!("{subdomain}.{}.svc.{}", pod.key.namespace, node.cluster_domain)
    });
    (hostname, domain)
}

fn shortened(name: &str) -> String {
    let end = (0..=HOSTNAME_MAX.min(name.len())).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    if end == name.len() { name.to_owned() } else { name[..end].trim_end_matches(['-', '.']).to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn hostnames() {
        let node = NodeFacts { cluster_domain: "cluster.local".into(), ..Default::default() };
        let long = format!("{}.{}", "a".repeat(62), "b".repeat(10));
        let check = |name: &str, spec: Value, expect: Result<&str, &str>| {
            let pod = Pod::of(json!({"metadata": {"namespace": "shop", "name": name}, "spec": spec}));
            let found = hostname(&pod, &node);
            match expect {
                Ok(expect) => assert_eq!(found.as_deref(), Ok(expect), "{name} {spec}"),
                Err(part) => assert!(found.unwrap_err().contains(part), "{name} {spec}"),
            }
        };
        check("web", json!({}), Ok("web"));
        check("web", json!({"hostname": "front"}), Ok("front"));
        check("web", json!({"subdomain": "s"}), Ok("web"));
        check(
            "web",
            json!({"subdomain": "s", "setHostnameAsFQDN": true}),
            Ok("web.s.shop.svc.cluster.local"),
        );
        check("web", json!({"setHostnameAsFQDN": true}), Ok("web"));
        check(
            "web",
            json!({"hostnameOverride": "other", "subdomain": "s", "setHostnameAsFQDN": true}),
            Ok("other"),
        );
        check(&long, json!({}), Ok(&"a".repeat(62)));
        check(
            &"w".repeat(50),
            json!({"subdomain": "s", "setHostnameAsFQDN": true}),
            Err("is too long (64 characters is the max, 75 characters requested)"),
        );
    }
}
