//! What a plugin prints when ADD succeeded, kept in the newest shape and written in any.
//!
//! 0.3.0 to 0.4.0 name the family of each address; 1.1.0 added `mtu`, `socketPath` and `pciID` of
//! interfaces and `mtu`, `advmss`, `priority`, `table` and `scope` of routes. Older shapes lose those.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::field::{self, Maybe as _};
use crate::runtime_config::ADDRESS;
use crate::{Field, Misfit, Version};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Success {
    pub interfaces: Vec<Interface>,
    pub ips: Vec<Ip>,
    pub routes: Vec<Route>,
    pub dns: Dns,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub mac: Option<String>,
    pub mtu: Option<u32>,
    /// Path of the network namespace; none for an interface of the host.
    pub sandbox: Option<String>,
    pub socket_path: Option<String>,
    pub pci_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ip {
    /// The address itself, with the length of its network.
    pub address: IpNet,
    pub gateway: Option<IpAddr>,
    /// Index into `interfaces`.
    pub interface: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub dst: IpNet,
    pub gw: Option<IpAddr>,
    pub mtu: Option<u32>,
    pub advmss: Option<u32>,
    pub priority: Option<u32>,
    pub table: Option<u32>,
    pub scope: Option<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    pub nameservers: Vec<String>,
    pub domain: Option<String>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

const NETWORK: &str = "an IP address with a prefix length, such as 10.244.0.5/32";

// === impl Success ===

impl Success {
    /// Reads what a plugin printed: the result, and the version it is in.
    pub fn parse(output: &[u8]) -> Result<(Success, Version), Misfit> {
        let value = field::document(output)?;
        let root = Field::root(&value);
        let version = root.need("cniVersion", "a version of the specification")?;
        let known = version.text()?.parse().map_err(|_| version.wrong("a version from 0.3.0 to 1.1.0"))?;
        Ok((Success::read(&root)?, known))
    }

    pub fn read(field: &Field<'_>) -> Result<Success, Misfit> {
        let list = |name: &str| field.get(name).and_read(Field::list).map(Option::unwrap_or_default);
        let interfaces: Vec<Interface> =
            list("interfaces")?.iter().map(Interface::read).collect::<Result<_, _>>()?;
        let ips: Vec<Ip> =
            list("ips")?.iter().map(|ip| Ip::read(ip, interfaces.len())).collect::<Result<_, _>>()?;
        Ok(Success {
            ips,
            interfaces,
            routes: list("routes")?.iter().map(Route::read).collect::<Result<_, _>>()?,
            dns: field.get("dns").and_read(Dns::read)?.unwrap_or_default(),
        })
    }

    /// The object for stdout, or for `prevResult`.
    #[must_use]
    pub fn to_json(&self, version: Version) -> Value {
        let mut object = json!({"cniVersion": version.as_str()});
        if !self.interfaces.is_empty() {
            object["interfaces"] = self.interfaces.iter().map(|i| i.to_json(version)).collect();
        }
        if !self.ips.is_empty() {
            object["ips"] = self.ips.iter().map(|ip| ip.to_json(version)).collect();
        }
        if !self.routes.is_empty() {
            object["routes"] = self.routes.iter().map(|route| route.to_json(version)).collect();
        }
        if self.dns != Dns::default() {
            object["dns"] = self.dns.to_json();
        }
        object
    }
}

impl Interface {
    fn read(field: &Field<'_>) -> Result<Interface, Misfit> {
        let text = |name: &str| {
            let text = field.get(name).and_read(|f| f.text().map(str::to_owned));
            text.map(|text| text.filter(|text| !text.is_empty()))
        };
        Ok(Interface {
            name: field.need("name", "the name of a link")?.text()?.to_owned(),
            mac: text("mac")?,
            mtu: field.get("mtu").and_read(Field::number)?,
            sandbox: text("sandbox")?,
            socket_path: text("socketPath")?,
            pci_id: text("pciID")?,
        })
    }

    fn to_json(&self, version: Version) -> Value {
        let mut object = Map::new();
        put(&mut object, "name", Some(&self.name));
        put(&mut object, "mac", self.mac.as_ref());
        put(&mut object, "sandbox", self.sandbox.as_ref());
        if version >= Version::V1_1_0 {
            put(&mut object, "mtu", self.mtu);
            put(&mut object, "socketPath", self.socket_path.as_ref());
            put(&mut object, "pciID", self.pci_id.as_ref());
        }
        Value::Object(object)
    }
}

impl Ip {
    fn read(field: &Field<'_>, interfaces: usize) -> Result<Ip, Misfit> {
        let interface = field.get("interface");
        let index = interface.clone().and_read(Field::number::<usize>)?;
        if let (Some(at), Some(index)) = (&interface, index)
            && index >= interfaces
        {
            return Err(at.wrong(format!("an index into {interfaces} interfaces")));
        }
        Ok(Ip {
            address: field.need("address", NETWORK)?.parse(NETWORK)?,
            gateway: field.get("gateway").filter(|f| f.value() != "").and_read(|f| f.parse(ADDRESS))?,
            interface: index,
        })
    }

    fn to_json(&self, version: Version) -> Value {
        let mut object = Map::new();
        if version.has_family_in_ips() {
            put(&mut object, "version", Some(if self.address.addr().is_ipv4() { "4" } else { "6" }));
        }
        put(&mut object, "address", Some(self.address.to_string()));
        put(&mut object, "gateway", self.gateway.map(|gateway| gateway.to_string()));
        put(&mut object, "interface", self.interface);
        Value::Object(object)
    }
}

impl Route {
    /// A route that needs no more than this.
    #[must_use]
    pub fn new(dst: IpNet, gw: Option<IpAddr>) -> Route {
        Route { dst, gw, mtu: None, advmss: None, priority: None, table: None, scope: None }
    }

    pub fn read(field: &Field<'_>) -> Result<Route, Misfit> {
        let number = |name: &str| field.get(name).and_read(Field::number::<u32>);
        Ok(Route {
            dst: field.need("dst", NETWORK)?.parse(NETWORK)?,
            gw: field.get("gw").filter(|f| f.value() != "").and_read(|f| f.parse(ADDRESS))?,
            mtu: number("mtu")?,
            advmss: number("advmss")?,
            priority: number("priority")?,
            table: number("table")?,
            scope: field.get("scope").and_read(Field::number)?,
        })
    }

    fn to_json(&self, version: Version) -> Value {
        let mut object = Map::new();
        put(&mut object, "dst", Some(self.dst.to_string()));
        put(&mut object, "gw", self.gw.map(|gw| gw.to_string()));
        if version >= Version::V1_1_0 {
            put(&mut object, "mtu", self.mtu);
            put(&mut object, "advmss", self.advmss);
            put(&mut object, "priority", self.priority);
            put(&mut object, "table", self.table);
            put(&mut object, "scope", self.scope);
        }
        Value::Object(object)
    }
}

impl Dns {
    pub fn read(field: &Field<'_>) -> Result<Dns, Misfit> {
        // The result says nameservers/search; runtimeConfig says servers/searches.
        let texts = |name: &str, other: &str| {
            let member = field.get(name).or_else(|| field.get(other));
            member.and_read(Field::texts).map(Option::unwrap_or_default)
        };
        Ok(Dns {
            nameservers: texts("nameservers", "servers")?,
            domain: field.get("domain").and_read(|f| f.text().map(str::to_owned))?,
            search: texts("search", "searches")?,
            options: texts("options", "options")?,
        })
    }

    /// As results and configurations have it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.named("nameservers", "search")
    }

    /// As `runtimeConfig` has it, for plugins with the capability `dns`.
    #[must_use]
    pub fn to_capability(&self) -> Value {
        self.named("servers", "searches")
    }

    fn named(&self, servers: &str, searches: &str) -> Value {
        let mut object = Map::new();
        let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        put(&mut object, servers, some(&self.nameservers));
        put(&mut object, "domain", self.domain.as_ref());
        put(&mut object, searches, some(&self.search));
        put(&mut object, "options", some(&self.options));
        Value::Object(object)
    }
}

fn put(object: &mut Map<String, Value>, name: &str, value: Option<impl serde::Serialize>) {
    if let Some(value) = value {
        object.insert(name.to_owned(), json!(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Success {
        Success {
            interfaces: vec![
                Interface {
                    name: "kn0".into(),
                    mac: Some("02:00:00:00:00:01".into()),
                    ..Interface::default()
                },
                Interface {
                    name: "eth0".into(),
                    mtu: Some(1450),
                    sandbox: Some("/run/netns/a".into()),
                    ..Interface::default()
                },
            ],
            ips: vec![
                Ip {
                    address: "10.1.2.3/32".parse().unwrap(),
                    gateway: Some("169.254.1.1".parse().unwrap()),
                    interface: Some(1),
                },
                Ip { address: "fd00::5/128".parse().unwrap(), gateway: None, interface: Some(1) },
            ],
            routes: vec![Route { mtu: Some(1400), ..Route::new("0.0.0.0/0".parse().unwrap(), None) }],
            dns: Dns { nameservers: vec!["10.96.0.10".into()], ..Dns::default() },
        }
    }

    #[test]
    fn the_newest_shape_keeps_everything() {
        let printed = full().to_json(Version::V1_1_0);
        assert_eq!(Success::parse(printed.to_string().as_bytes()).unwrap(), (full(), Version::V1_1_0));
        assert!(printed["ips"][0].get("version").is_none());
        assert_eq!(printed["ips"][0]["address"], "10.1.2.3/32");
    }

    #[test]
    fn older_shapes_name_families_and_lose_what_is_new() {
        for version in Version::ALL.into_iter().filter(|version| version.has_family_in_ips()) {
            let printed = full().to_json(version);
            assert_eq!(printed["ips"][0]["version"], "4");
            assert_eq!(printed["ips"][1]["version"], "6");
            assert!(printed["interfaces"][1].get("mtu").is_none());
            assert!(printed["routes"][0].get("mtu").is_none());
            let (read, of) = Success::parse(printed.to_string().as_bytes()).unwrap();
            assert_eq!(of, version);
            assert_eq!(read.ips, full().ips);
        }
    }

    #[test]
    fn an_index_past_the_interfaces_is_named() {
        let text = br#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.1/24","interface":2}]}"#;
        let error = Success::parse(text).unwrap_err().to_string();
        assert_eq!(error, "ips[0].interface is 2: expected an index into 0 interfaces");
    }
}
