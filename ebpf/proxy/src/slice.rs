//! What the proxy needs of an EndpointSlice, and the slices of every Service.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use client::{Change, Key, Object};
use datapath::Transport;
use serde::{Deserialize, Deserializer};

use crate::service::{Metadata, Port, number, transport};

/// The label by which a slice says whose it is.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// One slice: all its endpoints have all its ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slice {
    pub ports: Box<[SlicePort]>,
    pub endpoints: Box<[Endpoint]>,
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
    pub node: Box<str>,
    /// Zones and nodes that it is meant for.
    pub zones: Box<[String]>,
    pub nodes: Box<[String]>,
}

/// What the cache keeps of an EndpointSlice.
struct Extract {
    slice: Slice,
    /// The name of the Service whose it is, where it is anybody's.
    owner: Option<String>,
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
        node: entry.node_name.unwrap_or_default().into(),
        zones: names(for_zones),
        nodes: names(for_nodes),
    })
}

/// Keeps of a slice what [`Slices`] reads.
pub(crate) fn reduce(object: Object) -> Object {
    let read = Slice::read(&mut serde_json::Deserializer::from_str(object.raw()));
    let (slice, owner) = read
        .inspect_err(|error| tracing::warn!(slice = %object.key, %error, "not understood"))
        .unwrap_or_default();
    object.reduced_to(Extract { slice, owner })
}

/// The slices by Service.
#[derive(Debug, Default)]
pub(crate) struct Slices {
    /// In the order of their names.
    by_service: HashMap<Key, Vec<Arc<Object>>>,
}

impl Slices {
    /// A slice came, changed or went: the Services to be looked at again.
    pub(crate) fn changed(&mut self, change: Change<'_>) -> Vec<Key> {
        let owner = |object: &Arc<Object>| {
            let owner = extract(object)?.owner.as_deref()?;
            Some(Key::new(object.key.namespace.as_str(), owner))
        };
        let (before, after) = (change.before.and_then(owner), change.after.and_then(owner));
        if let Some(before) = before.as_ref().filter(|before| after.as_ref() != Some(before)) {
            self.set(before, &change.key.name, None);
        }
        if let Some(after) = &after {
            self.set(after, &change.key.name, change.after.cloned());
        }
        let mut touched: Vec<Key> = before.into_iter().chain(after).collect();
        touched.dedup();
        touched
    }

    fn set(&mut self, service: &Key, name: &str, slice: Option<Arc<Object>>) {
        let Some(slices) = self.by_service.get_mut(service) else {
            if let Some(slice) = slice {
                self.by_service.insert(service.clone(), vec![slice]);
            }
            return;
        };
        match (slices.binary_search_by(|there| there.key.name.as_str().cmp(name)), slice) {
            (Ok(at), Some(slice)) => slices[at] = slice,
            (Err(at), Some(slice)) => slices.insert(at, slice),
            (Ok(at), None) => drop(slices.remove(at)),
            (Err(_), None) => {}
        }
        if slices.is_empty() {
            self.by_service.remove(service);
        }
    }

    pub(crate) fn of(&self, service: &Key) -> impl Iterator<Item = &Slice> {
        let objects = self.by_service.get(service).into_iter().flatten();
        objects.filter_map(|object| Some(&extract(object)?.slice))
    }
}

fn extract(object: &Object) -> Option<&Extract> {
    object.extract()
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::Resource;
    use serde_json::json;

    #[test]
    fn conditions_that_are_not_said() {
        let (slice, _) =
            Slice::read(&json!({"ports": [{"port": 80}, {"port": 1, "protocol": "SCTP"}, {"name": "no"}],
            "endpoints": [{"addresses": ["10.0.0.1", "10.0.0.9"]}, {"addresses": ["10.0.0.2"], "conditions":
            {"ready": false, "terminating": true}}, {"addresses": ["a.b.c"]}]}))
            .expect("a slice");
        let shown: Vec<_> = slice.endpoints.iter().map(|e| (e.ready, e.serving, e.terminating)).collect();
        assert_eq!(shown, [(true, true, false), (false, false, true)]);
        assert_eq!(*slice.ports, [SlicePort { name: String::new(), transport: Transport::Tcp, port: 80 }]);
    }

    #[test]
    fn a_slice_changes_hands() {
        let of = |service: &str| {
            Arc::new(reduce(Object::of(
                &Resource::ENDPOINT_SLICES,
                json!({"metadata": {"namespace": "n", "name": "s", "labels": {SERVICE_NAME: service}}}),
            )))
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
