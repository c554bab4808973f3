//! IPAddresses: each cluster address of a Service has one, and none is left of a Service that is gone.
//!
//! The server writes them as it gives addresses; this makes what was lost and takes away what leaked.
//!
//! Reference: upstream's pkg/registry/core/service/ipallocator/controller (repairip), KEP-1880.

use std::sync::Arc;
use std::time::Duration;

use api::ip_address::{self, addresses_of, family};
use client::{
    Cache, Client, ClientError, EventKind, EventRecorder, Key, Object, Outcome, Reference, Resource,
    WorkQueue, work,
};
use jiff::Timestamp;
use serde_json::Value;

use crate::context::Context;
use crate::service_cidr::ADDRESSES;

const NAME: &str = "ip-address-repair";

struct Controller {
    client: Client,
    events: EventRecorder,
    services: Cache,
    addresses: Cache,
}

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Subject {
    Service(Key),
    Address(Key),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Subject::Service(key) => write!(f, "service {key}"),
            Subject::Address(key) => write!(f, "address {}", key.name),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    /// Its Service may still come.
    Later(Duration),
    /// What the event says.
    Goes(String),
}

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let client = context.client_of(NAME)?;
    let controller = Arc::new(Controller {
        events: EventRecorder::start(client.clone(), NAME, ""),
        client,
        services: context.caches.of(&Resource::SERVICES),
        addresses: context.caches.of(&ADDRESSES),
    });
    controller.services.synced().await;
    controller.addresses.synced().await;
    let queue = WorkQueue::new();
    let adding = queue.clone();
    controller.services.subscribe(move |change| {
        adding.add(Subject::Service(change.key.clone()));
        for service in [change.before, change.after].into_iter().flatten() {
            for address in addresses_of(service.value()) {
                adding.add(Subject::Address(Key::new("", address)));
            }
        }
    });
    let adding = queue.clone();
    controller.addresses.subscribe(move |change| {
        adding.add(Subject::Address(change.key.clone()));
        // One that was taken away may still be needed.
        if let Some(parent) =
            change.before.filter(|_| change.after.is_none()).and_then(|gone| parent(gone.value()))
        {
            adding.add(Subject::Service(parent));
        }
    });
    work(NAME, queue, 1, move |subject| {
        let controller = controller.clone();
        async move { controller.reconcile(&subject).await }
    })
    .await;
    Ok(())
}

/// The Service that an address is of.
fn parent(address: &Value) -> Option<Key> {
    ip_address::parent(address).map(|(namespace, name)| Key::new(namespace, name))
}

/// What becomes of an address. Pure.
fn fate(address: &Object, service: Option<&Object>, now: Timestamp) -> Fate {
    let (value, name) = (address.value(), &address.key.name);
    if !ip_address::is_managed(value) {
        return Fate::Stays;
    }
    let Some(parent) = parent(value) else {
        let reference = &value["spec"]["parentRef"];
        return Fate::Goes(format!(
            "IPAddress {name} appears to have been modified, not referencing a Service {reference}: cleaning up"
        ));
    };
    if service.is_some_and(|service| addresses_of(service.value()).any(|known| known == *name)) {
        return Fate::Stays;
    }
    if let Some(left) = ip_address::may_be_born_within(value, now) {
        return Fate::Later(left.unsigned_abs() + Duration::from_secs(1));
    }
    Fate::Goes(format!("IPAddress: {name} for Service {parent} appears to have leaked: cleaning up"))
}

impl Controller {
    async fn reconcile(&self, subject: &Subject) -> Result<Outcome, ClientError> {
        match subject {
            Subject::Service(key) => self.repair(key).await,
            Subject::Address(key) => self.clean(key).await,
        }
    }

    /// Whether the server says that a Service has an address: the end of the address is often heard of before that of its
    /// Service, and what were made anew then would keep the address from everybody.
    async fn still_has(&self, key: &Key, address: &str) -> Result<bool, ClientError> {
        match self.client.get(&Resource::SERVICES, &key.namespace, &key.name).await {
            Ok(service) => Ok(addresses_of(&service).any(|known| known == address)),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes the addresses that a Service has and that have no object.
    async fn repair(&self, key: &Key) -> Result<Outcome, ClientError> {
        let Some(service) = self.services.get(key) else { return Ok(Outcome::Done) };
        for address in addresses_of(service.value()) {
            let Some(known) = self.addresses.get(&Key::new("", address.as_str())) else {
                if !self.still_has(key, &address).await? {
                    continue;
                }
                let made = ip_address::of_service(&address, &key.namespace, &key.name);
                match self.client.create(&ADDRESSES, "", &made).await {
                    Err(error) if error.already_exists() => {}
                    made => drop(made?),
                }
                continue;
            };
            if parent(known.value()).as_ref() != Some(key) {
                let message = format!(
                    "Cluster IP [{}]:{address} was assigned to multiple services; please recreate service",
                    family(&address)
                );
                let reason = "ClusterIPAlreadyAllocated";
                self.events.record(Reference::to(&service), EventKind::Warning, reason, message);
            }
        }
        Ok(Outcome::Done)
    }

    async fn clean(&self, key: &Key) -> Result<Outcome, ClientError> {
        let Some(address) = self.addresses.get(key) else { return Ok(Outcome::Done) };
        let service = parent(address.value()).and_then(|parent| self.services.get(&parent));
        match fate(&address, service.as_deref(), (self.client.surroundings().now)()) {
            Fate::Stays => Ok(Outcome::Done),
            Fate::Later(wait) => Ok(Outcome::After(wait)),
            Fate::Goes(message) => {
                let reason = "IPAddressNotAllocated";
                self.events.record(Reference::to(&address), EventKind::Warning, reason, message);
                match self.client.delete(&ADDRESSES, "", &key.name, Some(&address.uid), None).await {
                    Err(error) if error.is_not_found() || error.is_conflict() => Ok(Outcome::Done),
                    answer => answer.map(|_| Outcome::Done),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(addresses: &[&str]) -> Object {
        let service = json!({"metadata": {"name": "s", "namespace": "n"}, "spec": {"clusterIPs": addresses}});
        Object::of(&Resource::SERVICES, service)
    }

    #[test]
    fn an_address_lives_as_long_as_its_service() {
        let of = |created: &str, change: fn(&mut Value)| {
            let mut address = ip_address::of_service("10.1.0.1", "n", "s");
            address["metadata"]["creationTimestamp"] = created.into();
            change(&mut address);
            Object::of(&ADDRESSES, address)
        };
        let (now, old, young) =
            ("2026-01-01T00:02:00Z".parse().unwrap(), "2026-01-01T00:00:00Z", "2026-01-01T00:01:50Z");
        let has = service(&["10.1.0.1"]);
        let leaked =
            Fate::Goes("IPAddress: 10.1.0.1 for Service n/s appears to have leaked: cleaning up".into());
        assert_eq!(fate(&of(old, |_| ()), Some(&has), now), Fate::Stays);
        assert_eq!(fate(&of(old, |_| ()), None, now), leaked);
        // A Service may name it otherwise.
        let renamed = of(old, |address| address["metadata"]["name"] = "fd00::1".into());
        assert_eq!(fate(&renamed, Some(&service(&["FD00:0::1"])), now), Fate::Stays);
        assert_eq!(fate(&of(old, |_| ()), Some(&service(&["10.1.0.2"])), now), leaked);
        assert_eq!(fate(&of(young, |_| ()), None, now), Fate::Later(Duration::from_secs(51)));
        let others = of(old, |address| address["metadata"]["labels"] = json!({}));
        assert_eq!(fate(&others, None, now), Fate::Stays);
        let moved = of(old, |address| address["spec"]["parentRef"]["resource"] = "gateways".into());
        assert!(
            matches!(fate(&moved, None, now), Fate::Goes(why) if why.contains("appears to have been modified"))
        );
    }
}
