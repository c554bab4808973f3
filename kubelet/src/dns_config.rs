//! The pod's resolv.conf and hostname, from dnsPolicy, dnsConfig and the node. Pure.
//!
//! Reference: core/v1 PodSpec dnsPolicy, dnsConfig, hostname, subdomain, setHostnameAsFQDN; resolv.conf(5).

mod hostname;

use cri_api::v1;
use serde_json::Value;

use crate::facts::NodeFacts;
use crate::pod::Pod;
use crate::sandbox_config::Warning;

pub use hostname::{hostname, names};

/// As many servers as the C library asks.
const SERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
/// Characters of the search line.
const SEARCH_LINE_MAX: usize = 2048;
/// The longest name that DNS has.
const SEARCH_MAX: usize = 253;
/// Names with fewer dots are looked for in the search domains first.
const CLUSTER_OPTIONS: &str = "ndots:5";

/// What resolv.conf says; `host` is the node's own file.
pub fn of(pod: &Pod, node: &NodeFacts, host: &str) -> v1::DnsConfig {
    with_warnings(pod, node, host).0
}

/// The same, with what had to be left out.
pub fn with_warnings(pod: &Pod, node: &NodeFacts, host: &str) -> (v1::DnsConfig, Vec<Warning>) {
    let mut warnings = Vec::new();
    let mut config = match Base::of(pod) {
        Base::Empty => v1::DnsConfig::default(),
        Base::Host => parse(host),
        Base::Cluster if node.cluster_dns.is_empty() => {
            warnings.push(Warning {
                reason: "MissingClusterDNS",
                message: format!(
                    "pod: {:?}. kubelet does not have ClusterDNS IP configured and cannot create Pod using \"ClusterFirst\" policy. Falling back to \"Default\" policy.",
                    format!("{}_{}({})", pod.key.name, pod.key.namespace, pod.uid)
                ),
            });
            parse(host)
        }
        Base::Cluster => cluster(pod, node, host),
    };
    append(&mut config, &pod.spec()["dnsConfig"]);
    limit(&mut config, &mut warnings);
    (config, warnings)
}

/// What the pod's own settings are laid over.
enum Base {
    Empty,
    Host,
    Cluster,
}

impl Base {
    fn of(pod: &Pod) -> Base {
        match pod.spec()["dnsPolicy"].as_str() {
            Some("None") => Base::Empty,
            Some("Default") => Base::Host,
            Some("ClusterFirstWithHostNet") => Base::Cluster,
            _ if pod.host_network => Base::Host,
            _ => Base::Cluster,
        }
    }
}

fn cluster(pod: &Pod, node: &NodeFacts, host: &str) -> v1::DnsConfig {
    let domain = &node.cluster_domain;
    let mut searches = Vec::new();
    if !domain.is_empty() {
        searches.push(format!("{}.svc.{domain}", pod.key.namespace));
        searches.push(format!("svc.{domain}"));
        searches.push(domain.clone());
    }
    searches.extend(parse(host).searches);
    v1::DnsConfig {
        servers: node.cluster_dns.iter().map(ToString::to_string).collect(),
        searches: without_repeats(searches),
        options: vec![CLUSTER_OPTIONS.to_owned()],
    }
}

/// Reads a resolv.conf: all servers, the last search line, all options.
fn parse(text: &str) -> v1::DnsConfig {
    let mut config = v1::DnsConfig::default();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            Some("search") => {
                let plain = |word: &str| match word {
                    "." => word.to_owned(),
                    word => word.strip_suffix('.').unwrap_or(word).to_owned(),
                };
                config.searches = words.map(plain).collect();
            }
            Some("options") => config.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    config
}

/// Lays the pod's `dnsConfig` over what is there: more servers and searches, options by name.
fn append(config: &mut v1::DnsConfig, own: &Value) {
    let words = |field: &str| {
        let items = own[field].as_array().into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    config.servers.extend(words("nameservers"));
    config.searches.extend(words("searches"));
    config.servers = without_repeats(std::mem::take(&mut config.servers));
    config.searches = without_repeats(std::mem::take(&mut config.searches));
    for option in own["options"].as_array().into_iter().flatten() {
        let name = option["name"].as_str().unwrap_or_default();
        let text = match option["value"].as_str() {
            None | Some("") => name.to_owned(),
            Some(value) => format!("{name}:{value}"),
        };
        let same =
            |known: &&mut String| known.split_once(':').map_or(known.as_str(), |(name, _)| name) == name;
        match config.options.iter_mut().find(same) {
            Some(known) => *known = text,
            None => config.options.push(text),
        }
    }
}

/// Leaves out what the C library would not look at.
fn limit(config: &mut v1::DnsConfig, warnings: &mut Vec<Warning>) {
    let warn = |message: String| Warning { reason: "DNSConfigForming", message };
    if config.servers.len() > SERVERS_MAX {
        config.servers.truncate(SERVERS_MAX);
        warnings.push(warn(format!(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
            config.servers.join(" ")
        )));
    }
    let asked = config.searches.len();
    config.searches.retain(|search| search.len() <= SEARCH_MAX);
    config.searches.truncate(SEARCHES_MAX);
    while config.searches.join(" ").len() > SEARCH_LINE_MAX {
        config.searches.pop();
    }
    if config.searches.len() < asked {
        warnings.push(warn(format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
            config.searches.join(" ")
        )));
    }
}

fn without_repeats(words: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    words.into_iter().filter(|word| seen.insert(word.clone())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOST: &str = "# by hand\nnameserver 192.0.2.53\nnameserver 192.0.2.54\nsearch old.example\nsearch example.org. .\noptions rotate ndots:2\n";

    fn node() -> NodeFacts {
        NodeFacts {
            cluster_dns: vec!["10.96.0.10".parse().unwrap()],
            cluster_domain: "cluster.local".into(),
            ..Default::default()
        }
    }

    fn pod(spec: Value) -> Pod {
        Pod::of(json!({"metadata": {"namespace": "shop", "name": "web", "uid": "u"}, "spec": spec}))
    }

    fn check(spec: Value, servers: &str, searches: &str, options: &str) {
        let (config, warnings) = with_warnings(&pod(spec.clone()), &node(), HOST);
        let found = (config.servers.join(" "), config.searches.join(" "), config.options.join(" "));
        assert_eq!(found, (servers.into(), searches.into(), options.into()), "{spec}");
        assert_eq!(warnings, [], "{spec}");
    }

    #[test]
    fn policies() {
        let cluster = "shop.svc.cluster.local svc.cluster.local cluster.local example.org .";
        check(json!({}), "10.96.0.10", cluster, "ndots:5");
        check(json!({"dnsPolicy": "ClusterFirst"}), "10.96.0.10", cluster, "ndots:5");
        let host = ("192.0.2.53 192.0.2.54", "example.org .", "rotate ndots:2");
        check(json!({"dnsPolicy": "Default"}), host.0, host.1, host.2);
        check(json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true}), host.0, host.1, host.2);
        check(
            json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}),
            "10.96.0.10",
            cluster,
            "ndots:5",
        );
        let own = json!({"nameservers": ["1.1.1.1"], "searches": ["a.b"], "options": [{"name": "ndots", "value": "1"}, {"name": "edns0"}]});
        check(json!({"dnsPolicy": "None", "dnsConfig": own}), "1.1.1.1", "a.b", "ndots:1 edns0");
        check(
            json!({"dnsPolicy": "Default", "dnsConfig": own}),
            "192.0.2.53 192.0.2.54 1.1.1.1",
            "example.org . a.b",
            "rotate ndots:1 edns0",
        );
    }

    #[test]
    fn what_is_left_out_is_told() {
        let own = json!({"nameservers": ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.1", "1.1.1.4"],
            "searches": (0..40).map(|n| format!("d{n}.example")).collect::<Vec<_>>()});
        let (config, warnings) =
            with_warnings(&pod(json!({"dnsPolicy": "None", "dnsConfig": own})), &node(), "");
        assert_eq!((config.servers.len(), config.searches.len(), warnings.len()), (3, 32, 2));
        assert!(warnings[0].message.ends_with("the applied nameserver line is: 1.1.1.1 1.1.1.2 1.1.1.3"));
        let long = json!({"searches": [format!("{}.example", "l".repeat(260)), "ok.example"]});
        let (config, warnings) =
            with_warnings(&pod(json!({"dnsPolicy": "None", "dnsConfig": long})), &node(), "");
        assert_eq!((config.searches.as_slice(), warnings.len()), (&["ok.example".to_owned()][..], 1));
    }

    #[test]
    fn without_a_cluster_dns_the_host_serves() {
        let nowhere = NodeFacts::default();
        let (config, warnings) = with_warnings(&pod(json!({})), &nowhere, HOST);
        assert_eq!(config.servers, ["192.0.2.53", "192.0.2.54"]);
        assert_eq!(warnings[0].reason, "MissingClusterDNS");
    }
}
