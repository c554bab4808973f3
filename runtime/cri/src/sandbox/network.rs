//! What a sandbox asks of the network: capability arguments and pod names for the plugins.

use cni_api::{Bandwidth, Dns, PortMapping, RuntimeConfig};
use serde_json::json;

use super::SandboxRecord;
use crate::cni::Pod;
use crate::fault::{Fault, Outcome};

const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
const EGRESS: &str = "kubernetes.io/egress-bandwidth";
/// Bits of burst that the bandwidth plugin is given: its own default.
const BURST_BITS: u64 = (1 << 31) - 1;

/// The pod as plugins know it.
pub fn pod(record: &SandboxRecord) -> Outcome<Pod> {
    let metadata = record.metadata();
    let args = [
        ("IgnoreUnknown", "1".to_owned()),
        ("K8S_POD_NAMESPACE", metadata.namespace),
        ("K8S_POD_NAME", metadata.name),
        ("K8S_POD_INFRA_CONTAINER_ID", record.id.to_string()),
        ("K8S_POD_UID", metadata.uid),
    ];
    Ok(Pod {
        id: record.id.to_string(),
        netns: record.net.clone().unwrap_or_default(),
        args: args.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        config: runtime_config(record)?,
    })
}

fn runtime_config(record: &SandboxRecord) -> Outcome<RuntimeConfig> {
    let config = &record.config;
    let mut asked = RuntimeConfig {
        port_mappings: port_mappings(record)?,
        bandwidth: bandwidth(record)?,
        cgroup_path: Some(record.cgroup_parent.clone()),
        ..RuntimeConfig::default()
    };
    if let Some(dns) = &config.dns_config {
        asked.dns = Some(Dns {
            nameservers: dns.servers.clone(),
            domain: None,
            search: dns.searches.clone(),
            options: dns.options.clone(),
        });
    }
    asked.other.insert("io.kubernetes.cri.pod-annotations".to_owned(), json!(config.annotations));
    Ok(asked)
}

/// Only ports that the host shall open.
fn port_mappings(record: &SandboxRecord) -> Outcome<Vec<PortMapping>> {
    let wanted = record.config.port_mappings.iter().filter(|mapping| mapping.host_port > 0);
    wanted
        .map(|mapping| {
            let port = |value: i32| {
                u16::try_from(value).map_err(|_| Fault::invalid(format!("port {value} is no port number")))
            };
            let host_ip = match mapping.host_ip.as_str() {
                "" => None,
                text => Some(
                    text.parse().map_err(|_| Fault::invalid(format!("host_ip {text:?} is no IP address")))?,
                ),
            };
            Ok(PortMapping {
                host_port: port(mapping.host_port)?,
                container_port: port(mapping.container_port)?,
                protocol: mapping.protocol().as_str_name().to_ascii_lowercase(),
                host_ip,
            })
        })
        .collect()
}

fn bandwidth(record: &SandboxRecord) -> Outcome<Option<Bandwidth>> {
    let rate = |key: &str| record.config.annotations.get(key).map(|text| bits(key, text)).transpose();
    let (ingress, egress) = (rate(INGRESS)?, rate(EGRESS)?);
    if ingress.is_none() && egress.is_none() {
        return Ok(None);
    }
    let burst = |rate: Option<u64>| if rate.is_some() { BURST_BITS } else { 0 };
    Ok(Some(Bandwidth {
        ingress_rate: ingress.unwrap_or(0),
        ingress_burst: burst(ingress),
        egress_rate: egress.unwrap_or(0),
        egress_burst: burst(egress),
    }))
}

/// A Kubernetes quantity of bits per second, such as `10M`: whole numbers with an SI or binary suffix.
fn bits(key: &str, text: &str) -> Outcome<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, suffix) = text.split_at(split);
    let factor: Option<u64> = match suffix {
        "" => Some(1),
        "k" => Some(1000),
        "M" => Some(1_000_000),
        "G" => Some(1_000_000_000),
        "Ki" => Some(1 << 10),
        "Mi" => Some(1 << 20),
        "Gi" => Some(1 << 30),
        _ => None,
    };
    let rate = digits.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    rate.ok_or_else(|| Fault::invalid(format!("annotation {key}: {text:?} is no rate such as 10M")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        for (text, rate) in [("10M", 10_000_000), ("1", 1), ("2Ki", 2048)] {
            assert_eq!(bits("k", text).unwrap(), rate);
        }
        for text in ["", "M", "1.5M", "9999999999999999999G", "-1"] {
            assert!(bits("k", text).is_err(), "{text}");
        }
    }
}
