//! Cluster IPs and node ports: each given to one Service at a time.
//!
//! What is taken is read off the Services themselves, each version of one once, and off the IPAddresses, which an address
//! gets before its Service (`addresses`); a reservation holds it between choosing it and the cache showing who has it.
//! What another server chose at the same moment is seen when the Service is written (`registry::node_ports`).
//!
//! The ranges are the server's own and those of all ServiceCIDRs that are ready.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::field::FieldError;
use api::ip_address::{addresses_of, canonical};
use api::status::Status;
use ipnet::IpNet;
use serde_json::{Value, json};
use store::Revision;

use super::{Attributes, Operation, name_of, service_families};
use crate::cache::KindCache;
use crate::object::Object;
use crate::request::Mark;
use crate::server::Server;
use crate::strategy::{has_health_port, has_node_ports};

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

/// One range, of one family: `size` addresses, of which the first and the last are never given.
#[derive(Clone, Copy, Debug)]
struct Range {
    network: IpAddr,
    size: u32,
}

/// Who was given an address or port, and when.
#[derive(Debug)]
struct Reservation {
    owner: String,
    /// Two about one Service may be on their way.
    request: Mark,
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
        Range { network: range.network(), size: 1 << host_bits.min(LARGEST_RANGE_BITS) }
    }

    /// Never beyond the range.
    fn at(&self, offset: u32) -> IpAddr {
        let offset = offset.min(self.size - 1);
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
        self.size > 2 && (1..u128::from(self.size - 1)).contains(&offset)
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
    let asks = asked.iter().any(|address| !matches!(address.as_str(), None | Some("" | "None")))
        && attributes.old.is_none();
    if asks || held(service) != attributes.old.map(held).unwrap_or_default() {
        // What was given back before this request is free for it, and what it gives back is known to have been its own.
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
        if asked.iter().filter_map(Value::as_str).any(|asked| canonical(asked) == taken) {
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
    let taken = Taken { known: &known, addresses, owner: &owner };
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
        let is_taken = |port: &str| taken.contains(port);
        given.extend(node_ports(service, &is_taken, &|below| server.random(below), &mut errors));
    }
    if !errors.is_empty() {
        return Err(Status::invalid(attributes.kind.qualified_kind(), &own.1, &errors));
    }
    if !attributes.dry_run {
        let request = &attributes.request.mark;
        let reservation =
            |what| (what, Reservation { owner: owner.clone(), request: request.clone(), since: now });
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

/// Addresses and ports that a Service may not have: what others have.
struct Taken<'a> {
    known: &'a Given,
    /// IPAddresses, whoever they belong to.
    addresses: Arc<KindCache>,
    owner: &'a str,
}

impl Taken<'_> {
    fn contains(&self, what: &str) -> bool {
        // What a Service was given itself is not in its way when it changes.
        let holders = self.known.holders.get(what).into_iter().flatten();
        let reserved = self.known.reserved.get(what).map(|reservation| reservation.owner.as_str());
        holders.map(|holder| &**holder).chain(reserved).any(|other| other != self.owner)
            || self.addresses.get(what).is_some_and(|object| !addresses::is_of(&object.value(), self.owner))
    }
}

/// What a Service has.
fn held(service: &Value) -> Vec<String> {
    addresses_of(service).chain(node_ports_of(service)).collect()
}

/// The node ports that a Service has, each as `TCP/30080`.
pub(crate) fn node_ports_of(service: &Value) -> impl Iterator<Item = String> + '_ {
    let spec = &service["spec"];
    let ports = spec["ports"].as_array().into_iter().flatten();
    let ports = ports.filter_map(|port| {
        let number = port["nodePort"].as_u64().filter(|number| *number > 0)?;
        Some(port_key(port["protocol"].as_str().unwrap_or("TCP"), number))
    });
    let health = spec["healthCheckNodePort"].as_u64().filter(|number| *number > 0);
    ports.chain(health.map(|number| port_key("TCP", number)))
}

/// A node port is taken per protocol.
fn port_key(protocol: &str, number: u64) -> String {
    format!("{protocol}/{number}")
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
    let (families, is_taken) = (texts(&spec["ipFamilies"]), |address: &str| taken.contains(address));
    let random = |below| server.random(below);
    match choose_addresses(ranges, &families, (&asked, &before), &is_taken, &random) {
        Ok((addresses, given)) => {
            spec["clusterIP"] = addresses.first().cloned().unwrap_or_default().into();
            spec["clusterIPs"] = json!(addresses);
            given
        }
        Err(Refusal::Asked(why)) => {
            errors.push(FieldError::invalid("spec.clusterIPs", spec["clusterIPs"].clone(), why));
            Vec::new()
        }
        Err(Refusal::Full) => {
            let why = "failed to allocate a serviceIP: range is full";
            errors.push(FieldError::internal("spec.clusterIPs", why));
            Vec::new()
        }
    }
}

/// Why a Service gets no addresses.
#[derive(Debug)]
enum Refusal {
    /// Not the one it asks for.
    Asked(String),
    Full,
}

/// The addresses in the order of the families, and those of them that are new. What a Service has it keeps, as it was
/// written, whatever becomes of the range. Pure but for `random`.
fn choose_addresses(
    ranges: &[Range],
    families: &[String],
    (asked, before): (&[String], &[String]),
    is_taken: &dyn Fn(&str) -> bool,
    random: &dyn Fn(u64) -> u64,
) -> Result<(Vec<String>, Vec<String>), Refusal> {
    let (mut addresses, mut given) = (Vec::new(), Vec::new());
    for (index, wanted) in families.iter().enumerate() {
        // Another word is no family: validation says so.
        if !matches!(wanted.as_str(), "IPv4" | "IPv6") {
            continue;
        }
        let mut own = ranges.iter().filter(|range| family(range.network) == wanted);
        let address = match asked.get(index) {
            Some(asked) => {
                // One address has many texts.
                let address = canonical(asked);
                if let Some(kept) = before.iter().find(|known| canonical(known) == address) {
                    addresses.push(kept.clone());
                    continue;
                }
                if let Some(why) = refuse(own, is_taken, &address) {
                    return Err(Refusal::Asked(format!("failed to allocate IP {asked}: {why}")));
                }
                address
            }
            None => {
                let free = own.find_map(|range| free_address(range, is_taken, random));
                free.ok_or(Refusal::Full)?.to_string()
            }
        };
        given.push(address.clone());
        addresses.push(address);
    }
    Ok((addresses, given))
}

/// Why an address that was asked for is not given.
fn refuse<'a>(
    mut ranges: impl Iterator<Item = &'a Range>,
    is_taken: &dyn Fn(&str) -> bool,
    asked: &str,
) -> Option<&'static str> {
    if !asked.parse::<IpAddr>().is_ok_and(|address| ranges.any(|range| range.holds(address))) {
        return Some("the provided network does not match the current range");
    }
    is_taken(asked).then_some("provided IP is already allocated")
}

/// A free address: drawn, then searched. The lower part of the range is left to those who ask (KEP-3070).
fn free_address(
    range: &Range,
    is_taken: &dyn Fn(&str) -> bool,
    random: &dyn Fn(u64) -> u64,
) -> Option<IpAddr> {
    if range.size < 4 {
        return None;
    }
    let asked_for = (range.size / 16).clamp(16, 256).min(range.size / 2);
    let upper = range.size - 1 - asked_for;
    let drawn = (0..DRAWS).map(|_| asked_for + random(u64::from(upper)) as u32);
    let searched = (asked_for..range.size - 1).chain(1..asked_for);
    drawn.chain(searched).map(|offset| range.at(offset)).find(|address| !is_taken(&address.to_string()))
}

/// Settles the ports of the nodes; what the Service has of them. Pure but for `random`.
fn node_ports(
    service: &mut Value,
    is_taken: &dyn Fn(&str) -> bool,
    random: &dyn Fn(u64) -> u64,
    errors: &mut Vec<FieldError>,
) -> BTreeSet<String> {
    // None of these is drawn, whichever port of the Service it stands in.
    let asked = held(service).into_iter().collect();
    let mut ports = NodePorts { is_taken, random, asked, given: BTreeSet::new() };
    let spec = &mut service["spec"];
    let (all, health) = (has_node_ports(spec), has_health_port(spec));
    let listed = spec.get_mut("ports").and_then(Value::as_array_mut);
    for (index, port) in listed.into_iter().flatten().enumerate() {
        // A load balancer that needs none has those that are asked for.
        if !all && port["nodePort"].as_u64().unwrap_or(0) == 0 {
            continue;
        }
        let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
        let field = format!("spec.ports[{index}].nodePort");
        errors.extend(ports.settle(&mut port["nodePort"], &protocol, &field).err().map(|error| *error));
    }
    if health {
        let port = &mut spec["healthCheckNodePort"];
        errors.extend(ports.settle(port, "TCP", "spec.healthCheckNodePort").err().map(|error| *error));
    }
    ports.given
}

/// Ports of the nodes, of one Service.
struct NodePorts<'a> {
    is_taken: &'a dyn Fn(&str) -> bool,
    random: &'a dyn Fn(u64) -> u64,
    asked: BTreeSet<String>,
    given: BTreeSet<String>,
}

impl NodePorts<'_> {
    /// The port that is asked for, or a free one.
    fn settle(&mut self, port: &mut Value, protocol: &str, field: &str) -> Result<(), Box<FieldError>> {
        let is_taken = |number: u64| {
            let key = port_key(protocol, number);
            self.given.contains(&key) || (self.is_taken)(&key)
        };
        let number = match port.as_u64().unwrap_or(0) {
            0 => {
                let count = NODE_PORTS.end() - NODE_PORTS.start() + 1;
                let drawn = (0..DRAWS).map(|_| NODE_PORTS.start() + (self.random)(count));
                let is_free =
                    |number: &u64| !is_taken(*number) && !self.asked.contains(&port_key(protocol, *number));
                let full =
                    || Box::new(FieldError::internal(field, "failed to allocate a nodePort: range is full"));
                drawn.chain(NODE_PORTS).find(is_free).ok_or_else(full)?
            }
            asked if !NODE_PORTS.contains(&asked) => {
                let why = "provided port is not in the valid range. The range of valid ports is 30000-32767";
                return Err(Box::new(FieldError::invalid(field, asked, why)));
            }
            asked if is_taken(asked) => {
                let why = "provided port is already allocated";
                return Err(Box::new(FieldError::invalid(field, asked, why)));
            }
            asked => asked,
        };
        *port = number.into();
        self.given.insert(port_key(protocol, number));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The addresses, `+` before new ones, or why there are none. Taken is 10.1.0.2 and fd00::1.
    fn check(ranges: &[&str], families: &[&str], asked: &[&str], before: &[&str], expect: &str) {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let ranges: Vec<Range> = ranges.iter().map(|text| Range::of(&text.parse().unwrap())).collect();
        let (families, asked, before) = (owned(families), owned(asked), owned(before));
        let is_taken = |address: &str| matches!(address, "10.1.0.2" | "fd00::1");
        let chosen = choose_addresses(&ranges, &families, (&asked, &before), &is_taken, &|_| 0);
        let shown = match chosen {
            Ok((addresses, given)) => {
                let sign = |address: &String| if given.contains(address) { "+" } else { "" };
                let shown = addresses.iter().map(|address| format!("{}{address}", sign(address)));
                shown.collect::<Vec<_>>().join(" ")
            }
            Err(Refusal::Asked(why)) => why.trim_start_matches("failed to allocate IP ").to_owned(),
            Err(Refusal::Full) => "full".to_owned(),
        };
        assert_eq!(shown, expect, "{ranges:?} {asked:?} {before:?}");
    }

    #[test]
    fn a_range_that_goes_takes_no_address_along() {
        let (both, two) = (&["IPv4", "IPv6"], &["10.1.0.2", "fd00::1"]);
        check(&[], both, two, two, "10.1.0.2 fd00::1");
        check(&["fd00::/112"], both, two, two, "10.1.0.2 fd00::1");
        check(&[], &["IPv4"], &[], &[], "full");
        let elsewhere = "10.1.0.3: the provided network does not match the current range";
        check(&[], &["IPv4"], &["10.1.0.3"], &[], elsewhere);
        check(&[], &["IPv5"], &[], &[], "");
    }

    #[test]
    fn an_address_has_one_text() {
        let range = &["fd00::/112"];
        for other in ["fd00:0::1", "FD00::1"] {
            check(range, &["IPv6"], &[other], &[], &format!("{other}: provided IP is already allocated"));
            check(range, &["IPv6"], &[other], &["fd00::1"], "fd00::1");
            check(range, &["IPv6"], &["fd00::1"], &[other], other);
        }
        check(range, &["IPv6"], &["FD00:0::5"], &[], "+fd00::5");
    }

    #[test]
    fn small_ranges_give_what_is_in_them() {
        for none in ["10.1.0.0/31", "10.1.0.4/32", "255.255.255.255/32"] {
            check(&[none], &["IPv4"], &[], &[], "full");
            let range = Range::of(&none.parse().unwrap());
            let net: IpNet = none.parse().unwrap();
            assert!(net.contains(&range.at(1)) && !range.holds(range.at(1)));
        }
        for none in ["fd00::/127", "fd00::4/128"] {
            check(&[none], &["IPv6"], &[], &[], "full");
        }
        check(&["10.1.0.0/30"], &["IPv4"], &[], &[], "+10.1.0.1");
        check(
            &["10.1.0.0/31"],
            &["IPv4"],
            &["10.1.0.1"],
            &[],
            "10.1.0.1: the provided network does not match the current range",
        );
        check(&["10.1.0.4/30"], &["IPv4"], &[], &[], "+10.1.0.6");
    }

    #[test]
    fn no_port_is_drawn_that_the_service_asks_for() {
        let mut service = json!({"spec": {
            "type": "LoadBalancer",
            "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 30_000,
            "ports": [
                {"port": 80},
                {"port": 80, "protocol": "UDP"},
                {"port": 81, "nodePort": 30_001},
                {"port": 82},
            ],
        }});
        let mut errors = Vec::new();
        let given = node_ports(&mut service, &|port| port == "TCP/30002", &|_| 0, &mut errors);
        assert!(errors.is_empty(), "{errors:?}");
        let all = ["TCP/30000", "TCP/30001", "TCP/30003", "TCP/30004", "UDP/30000"];
        assert_eq!(given.iter().map(String::as_str).collect::<Vec<_>>(), all, "{service}");
        let ports = service["spec"]["ports"].as_array().unwrap().iter().map(|port| &port["nodePort"]);
        assert_eq!(ports.collect::<Vec<_>>(), [30_003, 30_000, 30_001, 30_004]);
        // Asked for twice it is an error.
        service["spec"]["ports"][0]["nodePort"] = 30_001.into();
        node_ports(&mut service, &|_| false, &|_| 0, &mut errors);
        assert_eq!(errors.len(), 1, "{errors:?}");
    }
}
