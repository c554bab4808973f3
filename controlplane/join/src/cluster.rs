//! What a node must know of its cluster: ranges and names. Told by the server, kept for starts without it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::JoinError;

/// Where the server tells it.
pub(crate) const CONFIG_MAP: &str = "keelson-cluster";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Ranges of pods' addresses, at most one per family.
    pub pods: Vec<IpNet>,
    /// Ranges of Services' addresses, at most one per family.
    pub services: Vec<IpNet>,
    /// Domain of cluster names.
    pub domain: String,
    /// Addresses of the DNS Service.
    pub dns: Vec<IpAddr>,
}

impl Cluster {
    /// As the ConfigMap has it.
    pub fn facts(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("cluster-cidr".to_owned(), joined(&self.pods)),
            ("service-cidr".to_owned(), joined(&self.services)),
            ("cluster-domain".to_owned(), self.domain.clone()),
            ("cluster-dns".to_owned(), joined(&self.dns)),
        ])
    }

    /// From the data of the ConfigMap.
    pub(crate) fn read(data: &Value) -> Result<Cluster, JoinError> {
        let text = |name: &str| {
            let found = data[name].as_str().filter(|text| !text.is_empty());
            found.ok_or_else(|| {
                JoinError::Facts(format!(
                    "ConfigMap kube-system/{CONFIG_MAP} has no {name}: is the server older?"
                ))
            })
        };
        Ok(Cluster {
            pods: parsed("cluster-cidr", text("cluster-cidr")?)?,
            services: parsed("service-cidr", text("service-cidr")?)?,
            domain: text("cluster-domain")?.to_owned(),
            dns: parsed("cluster-dns", text("cluster-dns")?)?,
        })
    }
}

fn joined<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

fn parsed<T: std::str::FromStr>(name: &str, text: &str) -> Result<Vec<T>, JoinError> {
    let wrong =
        |part: &str| JoinError::Facts(format!("ConfigMap kube-system/{CONFIG_MAP}: {name}: {part:?}"));
    text.split(',').map(|part| part.trim().parse().map_err(|_| wrong(part))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_told_is_read_back() {
        let cluster = Cluster {
            pods: vec!["10.244.0.0/16".parse().unwrap(), "fd00:10:244::/56".parse().unwrap()],
            services: vec!["10.96.0.0/16".parse().unwrap()],
            domain: "cluster.local".into(),
            dns: vec!["10.96.0.10".parse().unwrap()],
        };
        assert_eq!(Cluster::read(&json!(cluster.facts())).unwrap(), cluster);
        let mut facts = cluster.facts();
        facts.insert("cluster-dns".into(), "x".into());
        assert!(Cluster::read(&json!(facts)).unwrap_err().to_string().ends_with("cluster-dns: \"x\""));
        facts.remove("cluster-dns");
        assert!(Cluster::read(&json!(facts)).unwrap_err().to_string().contains("has no cluster-dns"));
    }
}
