//! What the proxy needs of an EndpointSlice, and the slices of every Service.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use client::{Change, Key};
use datapath::Transport;
use serde::{Deserialize, Deserializer};

use crate::service::{Metadata, Port, number, transport};

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

/// An EndpointSlice as it comes.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    metadata: Metadata,
    ports: Option<Vec<Port>>,
    endpoints: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    addresses: Option<Vec<String>>,
    conditions: Option<Conditions>,
    node_name: Option<String>,
    hints: Option<Hints>,
}

#[derive(Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hints {
    for_zones: Option<Vec<Hint>>,
    for_nodes: Option<Vec<Hint>>,
}

#[derive(Deserialize)]
struct Hint {
    name: String,
}

impl Slice {
    /// Reads a slice, and the name of the Service whose it is; `None` where that is not ours, or nobody's.
    pub(crate) fn read<'de, D: Deserializer<'de>>(slice: D) -> Result<(Slice, Option<String>), D::Error> {
        let Document { metadata, ports, endpoints } = Document::deserialize(slice)?;
        let port = |port: Port| {
            let transport = transport(port.protocol.as_deref().unwrap_or("TCP"))?;
            let name = port.name.unwrap_or_default();
            Some(SlicePort { name, transport, port: number(port.port)? })
        };
        let slice = Slice {
            ports: ports.into_iter().flatten().filter_map(port).collect(),
            endpoints: endpoints.into_iter().flatten().filter_map(endpoint).collect(),
        };
        let owner = metadata.label(SERVICE_NAME).filter(|_| metadata.is_ours());
        Ok((slice, owner.map(str::to_owned)))
    }
}

fn endpoint(entry: Entry) -> Option<Endpoint> {
    let Conditions { ready, serving, terminating } = entry.conditions.unwrap_or_default();
    let Hints { for_zones, for_nodes } = entry.hints.unwrap_or_default();
    // Unknown readiness means ready, unknown serving means as ready.
    let ready = ready.unwrap_or(true);
    let names = |hints: Option<Vec<Hint>>| hints.into_iter().flatten().map(|hint| hint.name).collect();
    Some(Endpoint {
        address: entry.addresses?.first()?.parse().ok()?,
        ready,
        serving: serving.unwrap_or(ready),
        terminating: terminating.unwrap_or(false),
        node: entry.node_name.unwrap_or_default(),
        zones: names(for_zones),
        nodes: names(for_nodes),
    })
}

/// The slices by Service, then by their own names.
#[derive(Debug, Default)]
pub(crate) struct Slices {
    by_service: HashMap<Key, BTreeMap<String, Slice>>,
    /// Services by the slices that they have.
    owners: HashMap<Key, Key>,
}

impl Slices {
    /// A slice came, changed or went: the Services to be looked at again.
    pub(crate) fn changed(&mut self, change: Change<'_>) -> Vec<Key> {
        let read = |raw: &str| {
            let read = Slice::read(&mut serde_json::Deserializer::from_str(raw));
            let (slice, owner) = read
                .inspect_err(|error| tracing::warn!(slice = %change.key, %error, "not understood"))
                .ok()?;
            Some((slice, Key::new(change.key.namespace.as_str(), owner?)))
        };
        let after = change.after.and_then(|object| read(object.raw()));
        let before = self.owners.remove(change.key);
        if let Some(before) =
            before.as_ref().filter(|before| after.as_ref().is_none_or(|(_, after)| after != *before))
        {
            self.set(before, &change.key.name, None);
        }
        let mut touched: Vec<Key> = before.into_iter().collect();
        if let Some((slice, owner)) = after {
            self.set(&owner, &change.key.name, Some(slice));
            self.owners.insert(change.key.clone(), owner.clone());
            touched.push(owner);
        }
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
    use client::{Object, Resource};
    use serde_json::json;
    use std::sync::Arc;

    #[test]
    fn conditions_that_are_not_said() {
        let (slice, _) =
            Slice::read(&json!({"ports": [{"port": 80}, {"port": 1, "protocol": "SCTP"}, {"name": "no"}],
            "endpoints": [{"addresses": ["10.0.0.1", "10.0.0.9"]}, {"addresses": ["10.0.0.2"], "conditions":
            {"ready": false, "terminating": true}}, {"addresses": ["a.b.c"]}]}))
            .expect("a slice");
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
        assert!(slices.by_service.is_empty() && slices.owners.is_empty());
    }
}
