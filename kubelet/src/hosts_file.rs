//! The pod's own /etc/hosts. Pure.
//!
//! Reference: core/v1 PodSpec hostAliases; hosts(5).

use serde_json::Value;

use crate::dns_config;
use crate::facts::NodeFacts;
use crate::pod::{Addresses, Container, Pod};

/// Where it is mounted.
pub const PLACE: &str = "/etc/hosts";

const FIXED: &str = "127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
";

/// The content; none while the pod has no address. With the node's network, `host`, the node's own file, comes first.
pub fn content(pod: &Pod, addresses: &Addresses, node: &NodeFacts, host: &str) -> Option<String> {
    if addresses.is_empty() {
        return None;
    }
    let mut text;
    if pod.host_network {
        text = format!("# Kubernetes-managed hosts file (host network).\n{host}");
    } else {
        text = format!("# Kubernetes-managed hosts file.\n{FIXED}");
        let (hostname, domain) = dns_config::names(pod, node);
        for address in addresses {
            if domain.is_empty() {
                text.push_str(&format!("{address}\t{hostname}\n"));
            } else {
                text.push_str(&format!("{address}\t{hostname}.{domain}\t{hostname}\n"));
            }
        }
    }
    text.push_str(&aliases(pod));
    Some(text)
}

fn aliases(pod: &Pod) -> String {
    let list = pod.spec()["hostAliases"].as_array().filter(|list| !list.is_empty());
    let Some(list) = list else { return String::new() };
    let mut text = "\n# Entries added by HostAliases.\n".to_owned();
    for alias in list {
        let names = alias["hostnames"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let names = names.collect::<Vec<_>>().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias["ip"].as_str().unwrap_or_default()));
    }
    text
}

/// Whether the container brings an /etc/hosts of its own, which then stays.
pub fn is_own(container: &Container) -> bool {
    let mounts = container.value["volumeMounts"].as_array().into_iter().flatten();
    mounts.filter_map(|mount| mount["mountPath"].as_str()).any(|path| path.trim_end_matches('/') == PLACE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(spec: Value, addresses: &[&str], expect: Option<&str>) {
        let node = NodeFacts { cluster_domain: "cluster.local".into(), ..Default::default() };
        let pod = Pod::of(json!({"metadata": {"namespace": "shop", "name": "web"}, "spec": spec}));
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let found = content(&pod, &addresses, &node, "192.0.2.1\tmachine\n");
        assert_eq!(found.as_deref(), expect, "{spec}");
    }

    #[test]
    fn contents() {
        let head = format!("# Kubernetes-managed hosts file.\n{FIXED}");
        check(json!({}), &[], None);
        check(json!({}), &["10.0.0.2", "fd00::2"], Some(&format!("{head}10.0.0.2\tweb\nfd00::2\tweb\n")));
        check(
            json!({"hostname": "h", "subdomain": "s", "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]}),
            &["10.0.0.2"],
            Some(&format!(
                "{head}10.0.0.2\th.s.shop.svc.cluster.local\th\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"
            )),
        );
        check(
            json!({"hostNetwork": true}),
            &["192.0.2.1"],
            Some("# Kubernetes-managed hosts file (host network).\n192.0.2.1\tmachine\n"),
        );
    }

    #[test]
    fn a_container_may_bring_its_own() {
        let pod = Pod::of(json!({"metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "a", "volumeMounts": [{"mountPath": "/etc/hosts", "name": "v"}]},
            {"name": "b", "volumeMounts": [{"mountPath": "/etc", "name": "v"}]}]}}));
        assert_eq!((is_own(&pod.main[0]), is_own(&pod.main[1])), (true, false));
    }
}
