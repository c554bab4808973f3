//! `runtimeConfig`: what the runtime adds per call, for plugins that declare the capability.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::field::Maybe as _;
use crate::{Dns, Field, Misfit};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeConfig {
    pub port_mappings: Vec<PortMapping>,
    pub bandwidth: Option<Bandwidth>,
    /// One inner list per address family wanted.
    pub ip_ranges: Vec<Vec<AddressRange>>,
    pub mac: Option<String>,
    /// Addresses that the pod must get, with or without prefix length.
    pub ips: Vec<String>,
    pub dns: Option<Dns>,
    pub cgroup_path: Option<String>,
    pub aliases: Vec<String>,
    /// Members that this library does not know, kept as they came.
    pub other: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    pub host_port: u16,
    pub container_port: u16,
    /// "tcp", "udp" or "sctp".
    pub protocol: String,
    pub host_ip: Option<IpAddr>,
}

/// Bits per second, and bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    pub ingress_rate: u64,
    pub ingress_burst: u64,
    pub egress_rate: u64,
    pub egress_burst: u64,
}

/// Addresses to choose from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRange {
    pub subnet: IpNet,
    pub start: Option<IpAddr>,
    pub end: Option<IpAddr>,
    pub gateway: Option<IpAddr>,
}

const NETWORK: &str = "a network such as 10.244.0.0/22";
pub(crate) const ADDRESS: &str = "an IP address";

impl RuntimeConfig {
    const KNOWN: [&'static str; 8] =
        ["portMappings", "bandwidth", "ipRanges", "mac", "ips", "dns", "cgroupPath", "aliases"];

    pub(crate) fn read(field: &Field<'_>) -> Result<RuntimeConfig, Misfit> {
        let text = |name: &str| field.get(name).and_read(|f| f.text().map(str::to_owned));
        let texts = |name: &str| field.get(name).and_read(Field::texts).map(Option::unwrap_or_default);
        let list = |name: &str| field.get(name).and_read(Field::list).map(Option::unwrap_or_default);
        let object = field.object()?;
        let unknown = object.iter().filter(|(name, _)| !Self::KNOWN.contains(&name.as_str()));
        Ok(RuntimeConfig {
            port_mappings: list("portMappings")?.iter().map(PortMapping::read).collect::<Result<_, _>>()?,
            bandwidth: field.get("bandwidth").and_read(Bandwidth::read)?,
            ip_ranges: AddressRange::read_sets(&list("ipRanges")?)?,
            mac: text("mac")?,
            ips: texts("ips")?,
            dns: field.get("dns").and_read(Dns::read)?,
            cgroup_path: text("cgroupPath")?,
            aliases: texts("aliases")?,
            other: unknown.map(|(name, value)| (name.clone(), value.clone())).collect(),
        })
    }

    /// The members that are set, by capability name.
    #[must_use]
    pub fn to_json(&self) -> Map<String, Value> {
        let mut all = self.other.clone();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                all.insert(name.to_owned(), value);
            }
        };
        let some = |list: Vec<Value>| (!list.is_empty()).then_some(Value::Array(list));
        put("portMappings", some(self.port_mappings.iter().map(PortMapping::to_json).collect()));
        put("bandwidth", self.bandwidth.map(Bandwidth::to_json));
        let set = |set: &Vec<AddressRange>| set.iter().map(AddressRange::to_json).collect::<Value>();
        put("ipRanges", some(self.ip_ranges.iter().map(set).collect()));
        put("mac", self.mac.as_ref().map(|mac| json!(mac)));
        put("ips", some(self.ips.iter().map(|ip| json!(ip)).collect()));
        put("dns", self.dns.as_ref().map(Dns::to_capability));
        put("cgroupPath", self.cgroup_path.as_ref().map(|path| json!(path)));
        put("aliases", some(self.aliases.iter().map(|alias| json!(alias)).collect()));
        all
    }
}

impl PortMapping {
    fn read(field: &Field<'_>) -> Result<PortMapping, Misfit> {
        Ok(PortMapping {
            host_port: field.need("hostPort", "a port")?.number()?,
            container_port: field.need("containerPort", "a port")?.number()?,
            protocol: field.get("protocol").and_read(Field::text)?.unwrap_or("tcp").to_ascii_lowercase(),
            host_ip: field.get("hostIP").filter(|f| f.value() != "").and_read(|f| f.parse(ADDRESS))?,
        })
    }

    fn to_json(&self) -> Value {
        let mut object = json!({"hostPort": self.host_port, "containerPort": self.container_port, "protocol": self.protocol});
        if let Some(ip) = self.host_ip {
            object["hostIP"] = json!(ip.to_string());
        }
        object
    }
}

impl Bandwidth {
    fn read(field: &Field<'_>) -> Result<Bandwidth, Misfit> {
        let rate = |name: &str| field.get(name).and_read(Field::number).map(Option::unwrap_or_default);
        Ok(Bandwidth {
            ingress_rate: rate("ingressRate")?,
            ingress_burst: rate("ingressBurst")?,
            egress_rate: rate("egressRate")?,
            egress_burst: rate("egressBurst")?,
        })
    }

    fn to_json(self) -> Value {
        json!({
            "ingressRate": self.ingress_rate, "ingressBurst": self.ingress_burst,
            "egressRate": self.egress_rate, "egressBurst": self.egress_burst,
        })
    }
}

impl AddressRange {
    pub fn read(field: &Field<'_>) -> Result<AddressRange, Misfit> {
        let address = |name: &str| field.get(name).filter(|f| f.value() != "").and_read(|f| f.parse(ADDRESS));
        let subnet = field.need("subnet", NETWORK)?;
        Ok(AddressRange {
            subnet: subnet.parse(NETWORK)?,
            start: address("rangeStart")?,
            end: address("rangeEnd")?,
            gateway: address("gateway")?,
        })
    }

    /// A list of lists: the pod gets one address out of each inner list.
    pub fn read_sets(sets: &[Field<'_>]) -> Result<Vec<Vec<AddressRange>>, Misfit> {
        sets.iter().map(|set| set.list()?.iter().map(AddressRange::read).collect()).collect()
    }

    fn to_json(&self) -> Value {
        let mut object = json!({"subnet": self.subnet.to_string()});
        for (name, address) in [("rangeStart", self.start), ("rangeEnd", self.end), ("gateway", self.gateway)]
        {
            if let Some(address) = address {
                object[name] = json!(address.to_string());
            }
        }
        object
    }
}
