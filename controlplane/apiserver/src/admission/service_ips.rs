//! Cluster IPs and node ports: each given to one Service at a time.
//!
//! What is taken is read off the Services themselves, so there is no second record to repair; a reservation holds
//! an address between choosing it and the cache showing the Service that has it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use api::field::FieldError;
use api::status::Status;
use serde_json::{Value, json};

use super::{Attributes, Operation, name_of};
use crate::server::Server;

/// Ports that may be given or asked for.
const NODE_PORTS: std::ops::RangeInclusive<u64> = 30_000..=32_767;
/// How long a reservation outlives the request that made it.
const RESERVED: Duration = Duration::from_secs(10);
/// Random draws before the range is searched in order.
const DRAWS: usize = 16;

/// The range of cluster IPs, and what was given a moment ago.
#[derive(Debug)]
pub struct Allocator {
    network: Ipv4Addr,
    size: u32,
    reserved: Mutex<BTreeMap<String, Reservation>>,
}

/// Who was given an address or port, and when.
#[derive(Debug)]
struct Reservation {
    owner: String,
    since: jiff::Timestamp,
}

impl Allocator {
    /// A range of `prefix` bits.
    pub fn new(network: Ipv4Addr, prefix: u8) -> Allocator {
        let size = 1u32.checked_shl(32 - u32::from(prefix.clamp(8, 30))).unwrap_or(1 << 16);
        Allocator { network, size, reserved: Mutex::default() }
    }

    /// The first address: the API's own Service.
    pub fn first(&self) -> Ipv4Addr {
        self.at(1)
    }

    fn at(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) + offset)
    }

    fn holds(&self, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).wrapping_sub(u32::from(self.network));
        (1..self.size - 1).contains(&offset)
    }
}

pub(super) fn admit(server: &Server, attributes: &Attributes<'_>, service: &mut Value) -> Result<(), Status> {
    if attributes.operation == Operation::Delete {
        return Ok(());
    }
    let mut errors = Vec::new();
    let own = (attributes.request.info.namespace.as_str(), name_of(service).to_owned());
    let allocator = &server.allocator;
    let mut reserved = allocator.reserved.lock().unwrap_or_else(PoisonError::into_inner);
    let now = server.now();
    let owner = format!("{}/{}", own.0, own.1);
    let longest = jiff::SignedDuration::try_from(RESERVED).unwrap_or_default();
    reserved.retain(|_, reservation| now.duration_since(reservation.since) < longest);
    let mut taken = taken(server, &owner, &mut reserved)?;
    // What a Service was given itself is not in its way when it changes.
    let others = reserved.iter().filter(|(_, reservation)| reservation.owner != owner);
    taken.extend(others.map(|(what, _)| what.clone()));
    let kind = service["spec"]["type"].as_str().unwrap_or("ClusterIP").to_owned();
    let mut given = Vec::new();
    if kind == "ExternalName" {
        if let Some(spec) = service["spec"].as_object_mut() {
            spec.shift_remove("clusterIP");
            spec.shift_remove("clusterIPs");
        }
    } else {
        given.extend(cluster_ip(server, &taken, service, attributes.old, &mut errors));
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        given.extend(node_ports(server, &mut taken, service, &mut errors));
    }
    if !errors.is_empty() {
        return Err(Status::invalid(attributes.kind.qualified_kind(), &own.1, &errors));
    }
    if !attributes.dry_run {
        let reservation = |what| (what, Reservation { owner: owner.clone(), since: now });
        reserved.extend(given.into_iter().map(reservation));
    }
    Ok(())
}

/// Addresses and ports of all other Services. A reservation ends where its Service is seen to have what it was given:
/// from then on the Service says it.
fn taken(
    server: &Server,
    owner: &str,
    reserved: &mut BTreeMap<String, Reservation>,
) -> Result<BTreeSet<String>, Status> {
    let kind = server.registry.by_resource("", "v1", "services").ok_or_else(Status::no_such_path)?;
    let mut taken = BTreeSet::new();
    for object in server.cache(kind)?.list("").0 {
        for what in held(&object.value()) {
            if reserved.get(&what).is_some_and(|reservation| *reservation.owner == *object.key) {
                reserved.remove(&what);
            }
            if *object.key != *owner {
                taken.insert(what);
            }
        }
    }
    Ok(taken)
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

fn cluster_ip(
    server: &Server,
    taken: &BTreeSet<String>,
    service: &mut Value,
    old: Option<&Value>,
    errors: &mut Vec<FieldError>,
) -> Option<String> {
    let allocator = &server.allocator;
    let spec = &mut service["spec"];
    let before = old.and_then(|old| old["spec"]["clusterIP"].as_str()).unwrap_or_default();
    let asked = match spec["clusterIP"].as_str().unwrap_or_default() {
        "" => spec["clusterIPs"][0].as_str().unwrap_or(before).to_owned(),
        asked => asked.to_owned(),
    };
    let address = match asked.as_str() {
        "" => match free_address(server, taken) {
            Some(address) => address.to_string(),
            None => {
                errors.push(FieldError::internal(
                    "spec.clusterIPs",
                    "failed to allocate a serviceIP: range is full",
                ));
                return None;
            }
        },
        "None" => asked,
        _ if asked == before => asked,
        _ => {
            let shown = json!([asked]);
            let inside = asked.parse::<Ipv4Addr>().is_ok_and(|address| allocator.holds(address));
            if !inside {
                let why = format!(
                    "failed to allocate IP {asked}: the provided network does not match the current range"
                );
                errors.push(FieldError::invalid("spec.clusterIPs", shown, why));
                return None;
            }
            if taken.contains(&asked) {
                let why = format!("failed to allocate IP {asked}: provided IP is already allocated");
                errors.push(FieldError::invalid("spec.clusterIPs", shown, why));
                return None;
            }
            asked
        }
    };
    spec["clusterIP"] = address.clone().into();
    spec["clusterIPs"] = json!([address]);
    spec["ipFamilies"] = json!(["IPv4"]);
    if !spec["ipFamilyPolicy"].is_string() {
        spec["ipFamilyPolicy"] = "SingleStack".into();
    }
    (address != "None").then_some(address)
}

/// A free address: drawn, then searched. The lower part of the range is left to those who ask (KEP-3070).
fn free_address(server: &Server, taken: &BTreeSet<String>) -> Option<Ipv4Addr> {
    let allocator = &server.allocator;
    let asked_for = (allocator.size / 16).clamp(16, 256).min(allocator.size / 2);
    let upper = allocator.size - 1 - asked_for;
    let drawn = (0..DRAWS).map(|_| asked_for + server.random(u64::from(upper)) as u32);
    let searched = (asked_for..allocator.size - 1).chain(1..asked_for);
    drawn
        .chain(searched)
        .map(|offset| allocator.at(offset))
        .find(|address| !taken.contains(&address.to_string()))
}

fn node_ports(
    server: &Server,
    taken: &mut BTreeSet<String>,
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
        taken.insert(port_key(port, number));
        given.push(port_key(port, number));
    }
    given
}
