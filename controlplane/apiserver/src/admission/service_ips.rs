//! Cluster IPs and node ports: each given to one Service at a time.
//!
//! What is taken is read off the Services themselves, each version of one once, and off the IPAddresses, which an address
//! gets before its Service (`addresses`); a reservation holds it between choosing it and the cache showing who has it.
//! Ports have no second record.
//!
//! The ranges are the server's own and those of all ServiceCIDRs that are ready.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::field::FieldError;
use api::status::Status;
use ipnet::IpNet;
use serde_json::{Value, json};
use store::Revision;

use super::{Attributes, Operation, name_of, service_families};
use crate::cache::KindCache;
use crate::object::Object;
use crate::server::Server;

pub(crate) mod addresses;

/// Ports that may be given or asked for.
const NODE_PORTS: std::ops::RangeInclusive<u64> = 30_000..=32_767;
/// How long a reservation outlives the request that made it.
const RESERVED: Duration = Duration::from_secs(10);
/// Addresses beyond so many bits of a range are never given.
const LARGEST_RANGE_BITS: u32 = 20;
/// Random draws before the range is searched in order.
const DRAWS: usize = 16;
/// Rounds after addresses that another server gave at the same time.
const ROUNDS: usize = 8;

/// The ranges of cluster IPs, and what was given a moment ago.
#[derive(Debug)]
pub struct Allocator {
    ranges: Vec<Range>,
    /// The same, as they were written.
    texts: Vec<String>,
    given: Mutex<Given>,
}

/// Who has what, as the cache of Services last showed it, and what it does not show yet.
#[derive(Debug, Default)]
struct Given {
    reserved: BTreeMap<String, Reservation>,
    seen: HashMap<Arc<str>, (Revision, Vec<String>)>,
    holders: HashMap<String, Vec<Arc<str>>>,
}

/// One range, of one family.
#[derive(Clone, Copy, Debug)]
struct Range {
    network: IpAddr,
    size: u32,
}

/// Who was given an address or port, and when.
#[derive(Debug)]
struct Reservation {
    owner: String,
    since: jiff::Timestamp,
}

impl Allocator {
    /// At most one range of each family, the cluster's own family first.
    pub fn new(ranges: &[IpNet]) -> Allocator {
        Allocator {
            ranges: ranges.iter().map(Range::of).collect(),
            texts: ranges.iter().map(|range| range.trunc().to_string()).collect(),
            given: Mutex::default(),
        }
    }

    /// The first address: the API's own Service.
    pub fn first(&self) -> IpAddr {
        self.ranges.first().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |range| range.at(1))
    }

    /// Its own ranges as text.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// `IPv4`, `IPv6`, in the cluster's order.
    fn families(&self) -> Vec<&'static str> {
        self.ranges.iter().map(|range| family(range.network)).collect()
    }

    /// Its own ranges, then those of the ServiceCIDRs that are ready.
    fn ranges(&self, server: &Server) -> Result<Vec<Range>, Status> {
        let kind = addresses::row(server, "servicecidrs")?;
        let mut ranges = self.ranges.clone();
        for object in server.cache(kind)?.list("").0 {
            let value = object.value();
            let goes = value["metadata"]["deletionTimestamp"].is_string();
            if *object.key == *addresses::DEFAULT_RANGE {
                // What is to go gives nothing more.
                if goes {
                    ranges.drain(..self.ranges.len());
                }
            } else if !goes && addresses::is_ready(&value) {
                let texts = value["spec"]["cidrs"].as_array().into_iter().flatten().filter_map(Value::as_str);
                ranges.extend(texts.filter_map(|text| text.parse().ok()).map(|net: IpNet| Range::of(&net)));
            }
        }
        Ok(ranges)
    }
}

impl Range {
    fn of(range: &IpNet) -> Range {
        let host_bits = u32::from(range.max_prefix_len() - range.prefix_len());
        Range { network: range.network(), size: 1 << host_bits.clamp(2, LARGEST_RANGE_BITS) }
    }

    fn at(&self, offset: u32) -> IpAddr {
        match self.network {
            IpAddr::V4(network) => Ipv4Addr::from(u32::from(network) + offset).into(),
            IpAddr::V6(network) => Ipv6Addr::from(u128::from(network) + u128::from(offset)).into(),
        }
    }

    fn holds(&self, address: IpAddr) -> bool {
        let offset = match (address, self.network) {
            (IpAddr::V4(address), IpAddr::V4(network)) => {
                u128::from(u32::from(address).wrapping_sub(u32::from(network)))
            }
            (IpAddr::V6(address), IpAddr::V6(network)) => {
                u128::from(address).wrapping_sub(u128::from(network))
            }
            _ => return false,
        };
        (1..u128::from(self.size - 1)).contains(&offset)
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

pub(super) async fn admit(
    server: &Server,
    attributes: &Attributes<'_>,
    service: &mut Value,
) -> Result<(), Status> {
    if attributes.operation == Operation::Delete {
        return Ok(());
    }
    let spec = &service["spec"];
    let mut asked = spec["clusterIPs"].as_array().cloned().unwrap_or_default();
    asked.extend(spec.get("clusterIP").cloned());
    if attributes.operation == Operation::Create
        && asked.iter().any(|address| !matches!(address.as_str(), None | Some("" | "None")))
    {
        // What was given back before this request is free for it.
        server.fresh(None).await?;
    }
    for _ in 0..ROUNDS {
        let mut settled = service.clone();
        let given = choose(server, attributes, &mut settled)?;
        if attributes.dry_run {
            *service = settled;
            return Ok(());
        }
        let own = (attributes.request.info.namespace.as_str(), name_of(service));
        let Some(taken) = addresses::record(server, own, &given).await? else {
            *service = settled;
            return Ok(());
        };
        if asked.contains(&json!(taken)) {
            let why = format!("failed to allocate IP {taken}: provided IP is already allocated");
            let error = FieldError::invalid("spec.clusterIPs", json!([taken]), why);
            return Err(Status::invalid(attributes.kind.qualified_kind(), own.1, &[error]));
        }
    }
    Err(Status::internal("failed to allocate a serviceIP: others were faster every time"))
}

/// Settles addresses and ports; the addresses that are given new.
fn choose(server: &Server, attributes: &Attributes<'_>, service: &mut Value) -> Result<Vec<String>, Status> {
    let mut errors = Vec::new();
    let own = (attributes.request.info.namespace.as_str(), name_of(service).to_owned());
    let allocator = &server.allocator;
    let mut known = allocator.given.lock().unwrap_or_else(PoisonError::into_inner);
    let now = server.now();
    let owner = format!("{}/{}", own.0, own.1);
    let longest = jiff::SignedDuration::try_from(RESERVED).unwrap_or_default();
    known.reserved.retain(|_, reservation| now.duration_since(reservation.since) < longest);
    let services = server.registry.by_resource("", "v1", "services").ok_or_else(Status::no_such_path)?;
    known.look_at(&server.cache(services)?.list("").0);
    let addresses = server.cache(addresses::row(server, "ipaddresses")?)?;
    let mut taken = Taken { known: &known, addresses, owner: &owner, now_given: BTreeSet::new() };
    let kind = service["spec"]["type"].as_str().unwrap_or("ClusterIP").to_owned();
    let (mut new_addresses, mut given) = (Vec::new(), Vec::new());
    if kind == "ExternalName" {
        if let Some(spec) = service["spec"].as_object_mut() {
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                spec.shift_remove(field);
            }
        }
    } else {
        let ranges = allocator.ranges(server)?;
        new_addresses = cluster_ips(server, (&ranges, &taken), service, attributes.old, &mut errors);
        given.extend(new_addresses.iter().cloned());
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        given.extend(node_ports(server, &mut taken, service, &mut errors));
    }
    if !errors.is_empty() {
        return Err(Status::invalid(attributes.kind.qualified_kind(), &own.1, &errors));
    }
    if !attributes.dry_run {
        let reservation = |what| (what, Reservation { owner: owner.clone(), since: now });
        known.reserved.extend(given.into_iter().map(reservation));
    }
    Ok(new_addresses)
}

impl Given {
    /// These are all Services there are. A reservation ends where its Service is seen to have what it was given: from
    /// then on the Service says it.
    fn look_at(&mut self, services: &[Arc<Object>]) {
        for service in services {
            if self.seen.get(&service.key).is_some_and(|(revision, _)| *revision == service.revision) {
                continue;
            }
            self.forget(&service.key);
            let held = held(&service.value());
            for what in &held {
                if self.reserved.get(what).is_some_and(|reservation| *reservation.owner == *service.key) {
                    self.reserved.remove(what);
                }
                self.holders.entry(what.clone()).or_default().push(service.key.clone());
            }
            self.seen.insert(service.key.clone(), (service.revision, held));
        }
        if self.seen.len() > services.len() {
            let there: HashSet<&str> = services.iter().map(|service| &*service.key).collect();
            let gone = self.seen.keys().filter(|key| !there.contains(&***key));
            let gone: Vec<Arc<str>> = gone.cloned().collect();
            gone.iter().for_each(|key| self.forget(key));
        }
    }

    fn forget(&mut self, service: &str) {
        for what in self.seen.remove(service).into_iter().flat_map(|(_, held)| held) {
            let Some(holders) = self.holders.get_mut(&what) else { continue };
            holders.retain(|holder| **holder != *service);
            if holders.is_empty() {
                self.holders.remove(&what);
            }
        }
    }
}

/// Addresses and ports that a Service may not have: what others have, and what it was just given.
struct Taken<'a> {
    known: &'a Given,
    /// IPAddresses, whoever they belong to.
    addresses: Arc<KindCache>,
    owner: &'a str,
    now_given: BTreeSet<String>,
}

impl Taken<'_> {
    fn contains(&self, what: &str) -> bool {
        // What a Service was given itself is not in its way when it changes.
        let holders = self.known.holders.get(what).into_iter().flatten();
        let reserved = self.known.reserved.get(what).map(|reservation| reservation.owner.as_str());
        holders.map(|holder| &**holder).chain(reserved).any(|other| other != self.owner)
            || self.now_given.contains(what)
            || self.addresses.get(what).is_some_and(|object| !addresses::is_of(&object.value(), self.owner))
    }
}

/// What a Service has.
fn held(service: &Value) -> Vec<String> {
    let spec = &service["spec"];
    let addresses = spec["clusterIPs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let ports = spec["ports"].as_array().into_iter().flatten();
    let ports = ports.filter_map(|port| {
        port["nodePort"].as_u64().filter(|number| *number > 0).map(|number| port_key(port, number))
    });
    addresses.map(str::to_owned).chain(ports).collect()
}

/// A node port is taken per protocol.
fn port_key(port: &Value, number: u64) -> String {
    format!("{}/{number}", port["protocol"].as_str().unwrap_or("TCP"))
}

/// One address of each family that the Service has; what it was given new.
fn cluster_ips(
    server: &Server,
    (ranges, taken): (&[Range], &Taken<'_>),
    service: &mut Value,
    old: Option<&Value>,
    errors: &mut Vec<FieldError>,
) -> Vec<String> {
    let allocator = &server.allocator;
    let spec = &mut service["spec"];
    if let Err(error) = service_families::settle(spec, old, &allocator.families()) {
        errors.push(*error);
        return Vec::new();
    }
    if spec["clusterIPs"][0] == "None" {
        spec["clusterIP"] = "None".into();
        return Vec::new();
    }
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let before = old.map(|old| texts(&old["spec"]["clusterIPs"])).unwrap_or_default();
    let asked = texts(&spec["clusterIPs"]);
    let mut addresses = Vec::new();
    let mut given = Vec::new();
    for (index, wanted) in texts(&spec["ipFamilies"]).iter().enumerate() {
        let own = || ranges.iter().filter(|range| family(range.network) == wanted);
        if own().next().is_none() {
            continue;
        }
        match asked.get(index) {
            Some(asked) if before.contains(asked) => addresses.push(asked.clone()),
            Some(asked) => match refuse(own(), taken, asked) {
                None => {
                    given.push(asked.clone());
                    addresses.push(asked.clone());
                }
                Some(why) => {
                    let why = format!("failed to allocate IP {asked}: {why}");
                    errors.push(FieldError::invalid("spec.clusterIPs", spec["clusterIPs"].clone(), why));
                    return Vec::new();
                }
            },
            None => match own().find_map(|range| free_address(server, range, taken)) {
                Some(address) => {
                    given.push(address.to_string());
                    addresses.push(address.to_string());
                }
                None => {
                    let why = "failed to allocate a serviceIP: range is full";
                    errors.push(FieldError::internal("spec.clusterIPs", why));
                    return Vec::new();
                }
            },
        }
    }
    spec["clusterIP"] = addresses.first().cloned().unwrap_or_default().into();
    spec["clusterIPs"] = json!(addresses);
    given
}

/// Why an address that was asked for is not given.
fn refuse<'a>(
    mut ranges: impl Iterator<Item = &'a Range>,
    taken: &Taken<'_>,
    asked: &str,
) -> Option<&'static str> {
    if !asked.parse::<IpAddr>().is_ok_and(|address| ranges.any(|range| range.holds(address))) {
        return Some("the provided network does not match the current range");
    }
    taken.contains(asked).then_some("provided IP is already allocated")
}

/// A free address: drawn, then searched. The lower part of the range is left to those who ask (KEP-3070).
fn free_address(server: &Server, range: &Range, taken: &Taken<'_>) -> Option<IpAddr> {
    let asked_for = (range.size / 16).clamp(16, 256).min(range.size / 2);
    let upper = range.size - 1 - asked_for;
    let drawn = (0..DRAWS).map(|_| asked_for + server.random(u64::from(upper)) as u32);
    let searched = (asked_for..range.size - 1).chain(1..asked_for);
    drawn.chain(searched).map(|offset| range.at(offset)).find(|address| !taken.contains(&address.to_string()))
}

fn node_ports(
    server: &Server,
    taken: &mut Taken<'_>,
    service: &mut Value,
    errors: &mut Vec<FieldError>,
) -> Vec<String> {
    let mut given = Vec::new();
    let ports = service["spec"].get_mut("ports").and_then(Value::as_array_mut);
    let count = NODE_PORTS.end() - NODE_PORTS.start() + 1;
    for (index, port) in ports.into_iter().flatten().enumerate() {
        let field = format!("spec.ports[{index}].nodePort");
        let number = match port["nodePort"].as_u64().unwrap_or(0) {
            0 => {
                let drawn = (0..DRAWS).map(|_| NODE_PORTS.start() + server.random(count));
                match drawn.chain(NODE_PORTS).find(|number| !taken.contains(&port_key(port, *number))) {
                    Some(number) => number,
                    None => {
                        errors.push(FieldError::internal(
                            field,
                            "failed to allocate a nodePort: range is full",
                        ));
                        continue;
                    }
                }
            }
            asked if !NODE_PORTS.contains(&asked) => {
                let why = "provided port is not in the valid range. The range of valid ports is 30000-32767";
                errors.push(FieldError::invalid(field, asked, why));
                continue;
            }
            asked if taken.contains(&port_key(port, asked)) => {
                errors.push(FieldError::invalid(field, asked, "provided port is already allocated"));
                continue;
            }
            asked => asked,
        };
        port["nodePort"] = number.into();
        taken.now_given.insert(port_key(port, number));
        given.push(port_key(port, number));
    }
    given
}
