//! What DNS needs of Services and EndpointSlices, read from their JSON.

use std::net::IpAddr;

use serde_json::Value;

/// A Service as names see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub kind: Kind,
    pub ports: Vec<Port>,
    /// Endpoints count whether they are ready or not.
    pub publish_not_ready: bool,
}

/// What stands behind a Service's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its own addresses, one per family.
    Cluster(Vec<IpAddr>),
    /// Its endpoints themselves.
    Headless,
    /// Another name.
    External(String),
}

/// A port; both words in lower case, the name may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub name: String,
    pub protocol: String,
    pub number: u16,
}

/// One EndpointSlice: all its endpoints have all its ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slice {
    pub ports: Vec<Port>,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub addresses: Vec<IpAddr>,
    /// In lower case; empty where the endpoint has none of its own.
    pub hostname: String,
    pub ready: bool,
}

impl Service {
    /// Reads a Service; one that has no address yet is read as none.
    pub(crate) fn read(service: &Value) -> Option<Service> {
        let spec = &service["spec"];
        let kind = if spec["type"] == "ExternalName" {
            Kind::External(spec["externalName"].as_str().filter(|name| !name.is_empty())?.to_owned())
        } else {
            let mut texts: Vec<&str> = list(&spec["clusterIPs"]).iter().filter_map(Value::as_str).collect();
            if texts.is_empty() {
                texts.extend(spec["clusterIP"].as_str());
            }
            if texts.contains(&"None") {
                Kind::Headless
            } else {
                let addresses: Vec<IpAddr> = texts.iter().filter_map(|text| text.parse().ok()).collect();
                if addresses.is_empty() {
                    return None;
                }
                Kind::Cluster(addresses)
            }
        };
        let publish_not_ready = spec["publishNotReadyAddresses"] == true;
        Some(Service { kind, ports: ports(&spec["ports"]), publish_not_ready })
    }
}

impl Slice {
    pub(crate) fn read(slice: &Value) -> Slice {
        let endpoints = list(&slice["endpoints"]).iter().map(|endpoint| Endpoint {
            addresses: list(&endpoint["addresses"])
                .iter()
                .filter_map(|address| address.as_str()?.parse().ok())
                .collect(),
            hostname: endpoint["hostname"].as_str().unwrap_or_default().to_ascii_lowercase(),
            // Unknown means ready.
            ready: endpoint["conditions"]["ready"] != false,
        });
        Slice { ports: ports(&slice["ports"]), endpoints: endpoints.collect() }
    }
}

impl Endpoint {
    /// The label below the Service's name: the endpoint's own, or one made from the address.
    pub(crate) fn label(&self, address: &IpAddr) -> String {
        if self.hostname.is_empty() { dashed(address) } else { self.hostname.clone() }
    }
}

/// `10-0-0-1`, `fd00--1`.
fn dashed(address: &IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

/// The address that a dashed label stands for.
pub(crate) fn undashed(label: &str) -> Option<IpAddr> {
    let dotted = label.replace('-', ".").parse().ok().map(IpAddr::V4);
    dotted.or_else(|| label.replace('-', ":").parse().ok().map(IpAddr::V6))
}

fn ports(ports: &Value) -> Vec<Port> {
    let read = |port: &Value| {
        Some(Port {
            name: port["name"].as_str().unwrap_or_default().to_ascii_lowercase(),
            protocol: port["protocol"].as_str().unwrap_or("TCP").to_ascii_lowercase(),
            number: u16::try_from(port["port"].as_u64()?).ok()?,
        })
    };
    list(ports).iter().filter_map(read).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn services() {
        let check = |spec: Value, expect: Option<Kind>| {
            assert_eq!(Service::read(&json!({"spec": spec})).map(|service| service.kind), expect);
        };
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        check(json!({"clusterIP": "10.0.0.1"}), Some(Kind::Cluster(vec![address("10.0.0.1")])));
        check(
            json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"]}),
            Some(Kind::Cluster(vec![address("10.0.0.1"), address("fd00::1")])),
        );
        check(json!({"clusterIP": "None", "clusterIPs": ["None"]}), Some(Kind::Headless));
        check(json!({"type": "ExternalName", "externalName": "a.b"}), Some(Kind::External("a.b".to_owned())));
        check(json!({"type": "ClusterIP"}), None);
    }

    #[test]
    fn labels_and_addresses() {
        for (label, address) in [("10-0-0-1", "10.0.0.1"), ("fd00--1", "fd00::1"), ("--1", "::1")] {
            assert_eq!(undashed(label), Some(address.parse().unwrap()), "{label}");
            assert_eq!(dashed(&address.parse().unwrap()), label);
        }
        assert_eq!(undashed("10-0-0"), None);
        assert_eq!(undashed("10-0-0-256"), None);
    }
}
