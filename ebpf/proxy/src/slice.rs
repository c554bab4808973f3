//! What the proxy needs of an EndpointSlice, and the slices of every Service.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use client::{Change, Key, Object};
use datapath::Transport;
use serde_json::Value;

use crate::service::{is_ours, list, number};

/// The label by which a slice says whose it is.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// One slice: all its endpoints have all its ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slice {
    pub ports: Vec<SlicePort>,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlicePort {
    pub name: String,
    pub transport: Transport,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Of the several that a slice may name, the first: they are the same pod.
    pub address: IpAddr,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
    /// Empty where it is unknown.
    pub node: String,
    /// Zones and nodes that it is meant for.
    pub zones: Vec<String>,
    pub nodes: Vec<String>,
}

impl Slice {
    pub(crate) fn read(slice: &Value) -> Slice {
        let port = |port: &Value| {
            let transport = match port["protocol"].as_str().unwrap_or("TCP") {
                "TCP" => Transport::Tcp,
                "UDP" => Transport::Udp,
                _ => return None,
            };
            let name = port["name"].as_str().unwrap_or_default().to_owned();
            Some(SlicePort { name, transport, port: number(&port["port"])? })
        };
        Slice {
            ports: list(&slice["ports"]).iter().filter_map(port).collect(),
            endpoints: list(&slice["endpoints"]).iter().filter_map(endpoint).collect(),
        }
    }
}

fn endpoint(endpoint: &Value) -> Option<Endpoint> {
    let conditions = &endpoint["conditions"];
    // Unknown readiness means ready, unknown serving means as ready.
    let ready = conditions["ready"].as_bool().unwrap_or(true);
    let names = |list: &Value| -> Vec<String> {
        crate::service::list(list)
            .iter()
            .filter_map(|hint| hint["name"].as_str().map(str::to_owned))
            .collect()
    };
    Some(Endpoint {
        address: list(&endpoint["addresses"]).first()?.as_str()?.parse().ok()?,
        ready,
        serving: conditions["serving"].as_bool().unwrap_or(ready),
        terminating: conditions["terminating"].as_bool().unwrap_or(false),
        node: endpoint["nodeName"].as_str().unwrap_or_default().to_owned(),
        zones: names(&endpoint["hints"]["forZones"]),
        nodes: names(&endpoint["hints"]["forNodes"]),
    })
}

/// The slices by Service, then by their own names.
#[derive(Debug, Default)]
pub(crate) struct Slices {
    by_service: HashMap<Key, BTreeMap<String, Slice>>,
}

impl Slices {
    /// A slice came, changed or went: the Services to be looked at again.
    pub(crate) fn changed(&mut self, change: Change<'_>) -> Vec<Key> {
        let owner = |object: &Object| {
            let name = object.meta().label(SERVICE_NAME).filter(|_| is_ours(object.value()))?;
            Some(Key::new(change.key.namespace.as_str(), name))
        };
        let before = change.before.and_then(|object| owner(object));
        let after = change.after.and_then(|object| owner(object));
        if let Some(before) = before.as_ref().filter(|before| Some(*before) != after.as_ref()) {
            self.set(before, &change.key.name, None);
        }
        if let (Some(after), Some(object)) = (&after, change.after) {
            self.set(after, &change.key.name, Some(Slice::read(object.value())));
        }
        let mut touched: Vec<Key> = before.into_iter().chain(after).collect();
        touched.dedup();
        touched
    }

    pub(crate) fn set(&mut self, service: &Key, name: &str, slice: Option<Slice>) {
        let slices = self.by_service.entry(service.clone()).or_default();
        match slice {
            Some(slice) => drop(slices.insert(name.to_owned(), slice)),
            None => drop(slices.remove(name)),
        }
        if slices.is_empty() {
            self.by_service.remove(service);
        }
    }

    pub(crate) fn of(&self, service: &Key) -> impl Iterator<Item = &Slice> {
        self.by_service.get(service).into_iter().flat_map(BTreeMap::values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::Resource;
    use serde_json::json;
    use std::sync::Arc;

    #[test]
    fn conditions_that_are_not_said() {
        let slice =
            Slice::read(&json!({"ports": [{"port": 80}, {"port": 1, "protocol": "SCTP"}, {"name": "no"}],
            "endpoints": [{"addresses": ["10.0.0.1", "10.0.0.9"]}, {"addresses": ["10.0.0.2"], "conditions":
            {"ready": false, "terminating": true}}, {"addresses": ["a.b.c"]}]}));
        let shown: Vec<_> = slice.endpoints.iter().map(|e| (e.ready, e.serving, e.terminating)).collect();
        assert_eq!(shown, [(true, true, false), (false, false, true)]);
        assert_eq!(slice.ports, [SlicePort { name: String::new(), transport: Transport::Tcp, port: 80 }]);
    }

    #[test]
    fn a_slice_changes_hands() {
        let of = |service: &str| {
            Arc::new(Object::of(
                &Resource::ENDPOINT_SLICES,
                json!({"metadata": {"namespace": "n", "name": "s", "labels": {SERVICE_NAME: service}}}),
            ))
        };
        let (a, b, key) = (of("a"), of("b"), Key::new("n", "s"));
        let mut slices = Slices::default();
        let mut tell = |before: Option<&Arc<Object>>, after: Option<&Arc<Object>>| {
            slices
                .changed(Change { key: &key, before, after })
                .iter()
                .map(|k| k.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(tell(None, Some(&a)), ["a"]);
        assert_eq!(tell(Some(&a), Some(&b)), ["a", "b"]);
        assert_eq!(tell(Some(&b), None), ["b"]);
        assert!(slices.by_service.is_empty());
    }
}
