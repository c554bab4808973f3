//! Services and their endpoints, indexed by what is asked for: a name, or an address.
//!
//! Fed by the caches' changes, one object at a time; asked by every query. It knows nothing of DNS messages.
//!
//! **Invariants**
//! - Every address in an index leads to an object that has it: both are changed together.
//! - Slices may come before their Service, and stay after it.

mod object;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use client::{Change, Key};

pub(crate) use object::{Endpoint, Kind, Port, Service, Slice, undashed};

/// The label by which a slice says whose it is.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// All that can be asked for.
#[derive(Debug, Default)]
pub(crate) struct Records {
    services: BTreeMap<Key, Service>,
    /// By Service, then by the slice's own name.
    slices: HashMap<Key, BTreeMap<String, Slice>>,
    cluster_addresses: HashMap<IpAddr, BTreeSet<Key>>,
    /// Slices that have the address: Service and the slice's own name.
    endpoint_addresses: HashMap<IpAddr, BTreeSet<(Key, String)>>,
    /// Counts changes; the zone's serial number.
    changes: u32,
}

/// One ready endpoint's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    pub label: String,
    pub address: IpAddr,
    pub ports: &'a [Port],
}

impl Records {
    /// A Service came, changed or went.
    pub(crate) fn service_changed(&mut self, change: Change<'_>) {
        self.set_service(change.key, change.after.and_then(|object| Service::read(object.value())));
    }

    /// A slice came, changed or went; it may have changed hands.
    pub(crate) fn slice_changed(&mut self, change: Change<'_>) {
        let owner = |object: &client::Object| {
            object.meta().label(SERVICE_NAME).map(|name| Key::new(change.key.namespace.as_str(), name))
        };
        let (before, after) = (change.before.and_then(|o| owner(o)), change.after.and_then(|o| owner(o)));
        if let Some(before) = before.filter(|before| Some(before) != after.as_ref()) {
            self.set_slice(before, &change.key.name, None);
        }
        if let (Some(after), Some(object)) = (after, change.after) {
            self.set_slice(after, &change.key.name, Some(Slice::read(object.value())));
        }
    }

    pub(crate) fn set_service(&mut self, key: &Key, service: Option<Service>) {
        self.changes = self.changes.wrapping_add(1);
        if let Some(Service { kind: Kind::Cluster(addresses), .. }) = self.services.remove(key) {
            for address in addresses {
                remove(&mut self.cluster_addresses, &address, key);
            }
        }
        let Some(service) = service else { return };
        if let Kind::Cluster(addresses) = &service.kind {
            for address in addresses {
                self.cluster_addresses.entry(*address).or_default().insert(key.clone());
            }
        }
        self.services.insert(key.clone(), service);
    }

    pub(crate) fn set_slice(&mut self, service: Key, name: &str, slice: Option<Slice>) {
        self.changes = self.changes.wrapping_add(1);
        let own = (service.clone(), name.to_owned());
        let slices = self.slices.entry(service).or_default();
        let old = slices.remove(name);
        for address in addresses(old.as_ref()) {
            remove(&mut self.endpoint_addresses, &address, &own);
        }
        for address in addresses(slice.as_ref()) {
            self.endpoint_addresses.entry(address).or_default().insert(own.clone());
        }
        if let Some(slice) = slice {
            slices.insert(own.1, slice);
        } else if slices.is_empty() {
            self.slices.remove(&own.0);
        }
    }

    pub(crate) fn service(&self, key: &Key) -> Option<&Service> {
        self.services.get(key)
    }

    /// Whether any Service lives in the namespace.
    pub(crate) fn has_namespace(&self, namespace: &str) -> bool {
        let first = self.services.range(Key::new(namespace, "")..).next();
        first.is_some_and(|(key, _)| key.namespace == namespace)
    }

    /// The endpoints that answer for a Service now, each address once.
    pub(crate) fn places(&self, key: &Key, service: &Service) -> Vec<Place<'_>> {
        let mut places: Vec<Place<'_>> = Vec::new();
        let slices = self.slices.get(key).into_iter().flat_map(BTreeMap::values);
        for slice in slices {
            for endpoint in slice.endpoints.iter().filter(|e| e.ready || service.publish_not_ready) {
                for address in &endpoint.addresses {
                    places.push(Place {
                        label: endpoint.label(address),
                        address: *address,
                        ports: &slice.ports,
                    });
                }
            }
        }
        places
    }

    /// The Services that have the address as their own.
    pub(crate) fn services_at(&self, address: &IpAddr) -> impl Iterator<Item = &Key> {
        self.cluster_addresses.get(address).into_iter().flatten()
    }

    /// The endpoints that have the address: their Service, and their label below its name. Those that have a name of
    /// their own, or else those of headless Services.
    pub(crate) fn endpoints_at(&self, address: &IpAddr) -> Vec<(&Key, String)> {
        let (mut own, mut made) = (Vec::new(), Vec::new());
        for (key, name) in self.endpoint_addresses.get(address).into_iter().flatten() {
            let Some(service) = self.services.get(key) else { continue };
            let Some(slice) = self.slices.get(key).and_then(|slices| slices.get(name)) else { continue };
            let counts = |endpoint: &&Endpoint| {
                endpoint.addresses.contains(address) && (endpoint.ready || service.publish_not_ready)
            };
            for endpoint in slice.endpoints.iter().filter(counts) {
                let label = endpoint.label(address);
                if !endpoint.hostname.is_empty() {
                    own.push((key, label));
                } else if service.kind == Kind::Headless {
                    made.push((key, label));
                }
            }
        }
        let mut found = if own.is_empty() { made } else { own };
        found.dedup();
        found
    }

    pub(crate) fn changes(&self) -> u32 {
        self.changes
    }
}

fn addresses(slice: Option<&Slice>) -> BTreeSet<IpAddr> {
    let endpoints = slice.into_iter().flat_map(|slice| &slice.endpoints);
    endpoints.flat_map(|endpoint| endpoint.addresses.iter().copied()).collect()
}

fn remove<K: Ord>(index: &mut HashMap<IpAddr, BTreeSet<K>>, address: &IpAddr, key: &K) {
    if let Some(keys) = index.get_mut(address) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_is_left_behind() {
        let key = Key::new("n", "s");
        let mut records = Records::default();
        let service = |address: &str| Service::read(&json!({"spec": {"clusterIP": address}}));
        let slice =
            |address: &str| Some(Slice::read(&json!({"endpoints": [{"addresses": [address]}], "ports": []})));
        records.set_service(&key, service("10.0.0.1"));
        records.set_slice(key.clone(), "a", slice("10.1.0.1"));
        records.set_service(&key, service("10.0.0.2"));
        records.set_slice(key.clone(), "a", slice("10.1.0.2"));
        assert_eq!(records.services_at(&"10.0.0.1".parse().unwrap()).count(), 0);
        assert_eq!(records.services_at(&"10.0.0.2".parse().unwrap()).count(), 1);
        assert!(records.has_namespace("n") && !records.has_namespace("m"));
        records.set_service(&key, None);
        records.set_slice(key, "a", None);
        assert!(records.services.is_empty() && records.slices.is_empty());
        assert!(records.cluster_addresses.is_empty() && records.endpoint_addresses.is_empty());
    }
}
