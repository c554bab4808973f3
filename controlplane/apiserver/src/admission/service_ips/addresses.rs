//! IPAddress objects: an address is a Service's from the moment that its IPAddress is in the store.
//!
//! ```text
//!   chosen ─► IPAddress written ─► Service written      whoever writes first has it, on whichever server
//!   Service deleted ─► IPAddress deleted
//! ```
//!
//! One whose Service never came is taken over, or taken away by the controller that repairs them.
//!
//! Reference: KEP-1880.

use std::net::IpAddr;
use std::sync::PoisonError;

use api::ip_address::{self, addresses_of, parent};
use api::kind::Kind;
use api::status::Status;
use serde_json::Value;
use store::Revision;

use super::Reservation;
use crate::registry::{self, Change};
use crate::request::Mark;
use crate::server::Server;

const GROUP: &str = "networking.k8s.io";
/// The ServiceCIDR of the server's own ranges.
pub(crate) const DEFAULT_RANGE: &str = "kubernetes";
/// Turns against writers of the same address.
const TURNS: usize = 8;

pub(super) fn row(server: &Server, resource: &str) -> Result<&'static Kind, Status> {
    server.registry.by_resource(GROUP, "v1", resource).ok_or_else(Status::no_such_path)
}

/// A ServiceCIDR that addresses may be taken from.
pub(super) fn is_ready(range: &Value) -> bool {
    let mut conditions = range["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// The IPAddress belongs to the Service `namespace/name`.
pub(super) fn is_of(object: &Value, service: &str) -> bool {
    parent(object).zip(service.split_once('/')).is_some_and(|(parent, service)| parent == service)
}

/// Writes the addresses of a Service. An address that somebody else has ends it: those before it are given back.
pub(super) async fn record(
    server: &Server,
    (namespace, name): (&str, &str),
    addresses: &[String],
) -> Result<Option<String>, Status> {
    for (index, address) in addresses.iter().enumerate() {
        if !record_one(server, namespace, name, address).await? {
            let service = format!("{namespace}/{name}");
            for given in &addresses[..index] {
                remove(server, &service, given).await?;
            }
            return Ok(Some(address.clone()));
        }
    }
    Ok(None)
}

/// Whether the address is the Service's now.
async fn record_one(server: &Server, namespace: &str, name: &str, address: &str) -> Result<bool, Status> {
    let kind = row(server, "ipaddresses")?;
    let service = format!("{namespace}/{name}");
    let mut object = ip_address::of_service(address, namespace, name);
    let metadata = registry::meta::of_mut(&mut object)?;
    metadata.insert("uid".into(), server.uid().into());
    metadata.insert("creationTimestamp".into(), registry::meta::time(server.now()));
    let mut expected = Revision(0);
    for _ in 0..TURNS {
        if registry::write(server, kind, address, expected, &Change::Put(object.clone())).await?.is_ok() {
            return Ok(true);
        }
        let (revision, found) = registry::read(server, kind, address)?;
        match found {
            None => expected = Revision(0),
            // Written anew also where it is of this Service: whoever still takes away the old one must miss it.
            Some(found) if is_of(&found, &service) || is_left_over(server, &found, address)? => {
                expected = revision;
            }
            Some(_) => return Ok(false),
        }
    }
    Ok(false)
}

/// Its Service never came, or has another address by now.
fn is_left_over(server: &Server, object: &Value, address: &str) -> Result<bool, Status> {
    let Some((namespace, name)) = parent(object) else { return Ok(false) };
    let services = server.registry.by_resource("", "v1", "services").ok_or_else(Status::no_such_path)?;
    let (_, service) = registry::read(server, services, &format!("{namespace}/{name}"))?;
    if service.is_some_and(|service| addresses_of(&service).any(|known| known == address)) {
        return Ok(false);
    }
    Ok(ip_address::may_be_born_within(object, server.now()).is_none())
}

/// Gives back the addresses of a Service that is gone. What cannot be given back now is repaired later.
pub(crate) async fn release(server: &Server, kind: &Kind, object: &Value) {
    if (kind.group, kind.resource) != ("", "services") {
        return;
    }
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
    let service = format!("{}/{}", text("namespace"), text("name"));
    {
        let mut given = server.allocator.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.reserved.retain(|_, reservation| reservation.owner != service);
    }
    for address in addresses_of(object) {
        if let Err(error) = remove(server, &service, &address).await {
            tracing::warn!(service, address, error = %error.message, "an address of a deleted Service was not given back");
        }
    }
}

/// Gives back what a request was given for a Service and then did not write, unless the Service has it by now.
pub(crate) async fn give_back(server: &Server, kind: &Kind, service: &str, request: &Mark) {
    if (kind.group, kind.resource) != ("", "services") {
        return;
    }
    let given = {
        let mut given = server.allocator.given.lock().unwrap_or_else(PoisonError::into_inner);
        let its = |_: &String, reservation: &mut Reservation| {
            reservation.owner == service && reservation.request == *request
        };
        let its: Vec<String> = given.reserved.extract_if(.., its).map(|(what, _)| what).collect();
        its.into_iter().filter(|what| what.parse::<IpAddr>().is_ok()).collect::<Vec<_>>()
    };
    for address in given {
        if let Err(error) = remove_unless_held(server, kind, service, &address).await {
            tracing::warn!(service, address, error = %error.message, "an address of a refused Service was not given back");
        }
    }
}

/// In this order: another request reserves an address, writes it and then the Service.
async fn remove_unless_held(
    server: &Server,
    kind: &Kind,
    service: &str,
    address: &str,
) -> Result<(), Status> {
    let addresses = row(server, "ipaddresses")?;
    let (revision, found) = registry::read(server, addresses, address)?;
    let is_reserved = {
        let given = server.allocator.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.reserved.contains_key(address)
    };
    let (_, there) = registry::read(server, kind, service)?;
    let is_held = there.is_some_and(|there| addresses_of(&there).any(|known| known == address));
    if !is_reserved && !is_held && found.is_some_and(|found| is_of(&found, service)) {
        // Changed meanwhile: it is somebody else's.
        let _ = registry::write(server, addresses, address, revision, &Change::Delete).await?;
    }
    Ok(())
}

async fn remove(server: &Server, service: &str, address: &str) -> Result<(), Status> {
    let kind = row(server, "ipaddresses")?;
    let (revision, found) = registry::read(server, kind, address)?;
    if found.is_some_and(|found| is_of(&found, service)) {
        // Changed meanwhile: it is somebody else's.
        let _ = registry::write(server, kind, address, revision, &Change::Delete).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use api::path::{Query, RequestInfo};
    use serde_json::json;
    use store::{SingleOptions, Store};

    use super::*;
    use crate::answer::Form;
    use crate::request::{Request, Warnings};

    async fn server(folder: &std::path::Path) -> Arc<Server> {
        let store = Store::open_single(folder, SingleOptions::default()).unwrap();
        let server = server_of(store).await;
        let namespaces = server.registry.by_resource("", "v1", "namespaces").unwrap();
        let namespace =
            Change::Put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}));
        registry::write(&server, namespaces, "n", Revision(0), &namespace).await.unwrap().unwrap();
        server
    }

    /// One of those that serve a store. All of them draw the same numbers.
    async fn server_of(store: Store) -> Arc<Server> {
        let drawn = AtomicU64::new(1);
        let random = Arc::new(move |below: u64| drawn.fetch_add(1, Ordering::Relaxed) % below);
        let clock = Arc::new(|| jiff::Timestamp::UNIX_EPOCH);
        let ranges = ["10.1.0.0/24".parse().unwrap()];
        let often = Duration::from_secs(3600);
        let made = Server::new(store, &ranges, Arc::default(), clock, random, often, Default::default());
        made.await.unwrap()
    }

    fn request(server: &Server, method: &str, path: &str) -> Request {
        Request {
            info: RequestInfo::parse(method, path, &Query::default()).unwrap(),
            query: Query::default(),
            headers: Default::default(),
            user: Default::default(),
            form: Form::JSON,
            now: server.now(),
            warnings: Warnings::default(),
            trail: Default::default(),
            mark: Mark::default(),
        }
    }

    /// The code of the answer.
    async fn write(server: &Server, method: &str, spec: Value) -> u16 {
        write_named(server, method, "s", spec).await
    }

    async fn write_named(server: &Server, method: &str, name: &str, spec: Value) -> u16 {
        let services = server.registry.by_resource("", "v1", "services").unwrap();
        let body = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
        let (path, body) = ("/api/v1/namespaces/n/services", body.to_string().into());
        let answer = if method == "POST" {
            registry::create(server, &request(server, method, path), services, body).await
        } else {
            registry::update(server, &request(server, method, &format!("{path}/{name}")), services, body)
                .await
        };
        answer.map_or_else(|status| status.code, |_| if method == "POST" { 201 } else { 200 })
    }

    async fn create(server: &Server, port: u64) -> u16 {
        write(server, "POST", json!({"clusterIP": "10.1.0.7", "ports": [{"port": port}]})).await
    }

    #[tokio::test]
    async fn a_refused_service_leaves_no_address_and_one_that_is_there_keeps_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let server = server(folder.path()).await;
        let is_given =
            || registry::read(&server, row(&server, "ipaddresses").unwrap(), "10.1.0.7").unwrap().1.is_some();
        assert_eq!(create(&server, 99_999).await, 422);
        assert!(!is_given());
        assert!(server.allocator.given.lock().unwrap().reserved.is_empty());
        assert_eq!(create(&server, 80).await, 201);
        assert_eq!(create(&server, 80).await, 409);
        assert!(is_given());
    }

    #[tokio::test]
    async fn a_refused_update_leaves_no_address_and_takes_none() {
        let folder = tempfile::tempdir().unwrap();
        let server = server(folder.path()).await;
        let addresses = row(&server, "ipaddresses").unwrap();
        let is_given = |address: &str| registry::read(&server, addresses, address).unwrap().1.is_some();
        let reserved = || server.allocator.given.lock().unwrap().reserved.len();
        let external = json!({"type": "ExternalName", "externalName": "a.example"});
        assert_eq!(write(&server, "POST", external).await, 201);
        let spec = |port: u64| json!({"type": "NodePort", "clusterIP": "10.1.0.7", "ports": [{"port": port, "nodePort": 30_007}]});
        assert_eq!(write(&server, "PUT", spec(99_999)).await, 422);
        assert!(!is_given("10.1.0.7"));
        assert_eq!(reserved(), 0);
        assert_eq!(write(&server, "PUT", spec(80)).await, 200);
        assert!(is_given("10.1.0.7"));
        assert_eq!(write(&server, "PUT", spec(99_999)).await, 422);
        assert!(is_given("10.1.0.7"));
        // Nor is what another request is about to write.
        let services = server.registry.by_resource("", "v1", "services").unwrap();
        let other = Mark::default();
        let reservation = Reservation { owner: "n/s".into(), request: other.clone(), since: server.now() };
        server.allocator.given.lock().unwrap().reserved.insert("10.1.0.8".into(), reservation);
        assert_eq!(record(&server, ("n", "s"), &["10.1.0.8".into()]).await.unwrap(), None);
        give_back(&server, services, "n/s", &Mark::default()).await;
        assert!(is_given("10.1.0.8"));
        give_back(&server, services, "n/s", &other).await;
        assert!(!is_given("10.1.0.8"));
    }

    #[tokio::test]
    async fn a_port_that_was_given_back_is_free_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let server = server(folder.path()).await;
        let on_nodes = |port: u64| json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
        let inside = json!({"ports": [{"port": 80}]});
        assert_eq!(write_named(&server, "POST", "t", inside.clone()).await, 201);
        assert_eq!(write_named(&server, "POST", "s", on_nodes(30_001)).await, 201);
        for port in 30_001..30_010 {
            assert_eq!(write_named(&server, "PUT", "s", on_nodes(port + 1)).await, 200);
            assert_eq!(write_named(&server, "PUT", "t", on_nodes(port)).await, 200, "{port}");
        }
        assert_eq!(write_named(&server, "PUT", "s", inside).await, 200);
        assert_eq!(write_named(&server, "PUT", "t", on_nodes(30_010)).await, 200);
    }

    /// What the store says of node ports: port and Service.
    fn recorded(server: &Server) -> Vec<(String, String)> {
        let range = store::KeyRange::prefix("/registry/ranges/servicenodeports/");
        let asked = store::RangeRequest { range, revision: None, limit: 100 };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let port = |key: &[u8]| text(key).rsplit_once('/').unwrap().1.to_owned();
        let page = server.store.state().range(&asked).unwrap();
        page.records.iter().map(|record| (port(&record.key), text(&record.value))).collect()
    }

    #[tokio::test]
    async fn two_servers_at_once_give_a_port_to_one_service() {
        let folder = tempfile::tempdir().unwrap();
        let one = server(folder.path()).await;
        let other = server_of(one.store.clone()).await;
        let on_nodes = |port: u64| json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
        for round in 0..5 {
            let (spec, names) = (on_nodes(30_001 + round), [format!("a{round}"), format!("b{round}")]);
            let codes = tokio::join!(
                write_named(&one, "POST", &names[0], spec.clone()),
                write_named(&other, "POST", &names[1], spec.clone())
            );
            assert!(matches!(codes, (201, 422) | (422, 201)), "{codes:?}");
            // And so where Services that are there ask for it.
            let (spec, inside) = (on_nodes(30_101 + round), json!({"ports": [{"port": 80}]}));
            let late = if codes.0 == 201 { &names[1] } else { &names[0] };
            assert_eq!(write_named(&one, "POST", late, inside).await, 201);
            other.fresh(None).await.unwrap();
            let codes = tokio::join!(
                write_named(&one, "PUT", &names[0], spec.clone()),
                write_named(&other, "PUT", &names[1], spec.clone())
            );
            assert!(matches!(codes, (200, 422) | (422, 200)), "{codes:?}");
        }
        // Ports that are drawn are drawn again.
        let any = json!({"type": "NodePort", "ports": [{"name": "t", "port": 80}, {"name": "u", "port": 80, "protocol": "UDP"}]});
        let codes = tokio::join!(
            write_named(&one, "POST", "c", any.clone()),
            write_named(&other, "POST", "d", any.clone())
        );
        assert_eq!(codes, (201, 201));
        let drawn = recorded(&one).into_iter().filter(|(_, service)| matches!(&**service, "n/c" | "n/d"));
        assert_eq!(drawn.count(), 4);
    }

    #[tokio::test]
    async fn records_of_ports_are_of_services_that_have_them() {
        let folder = tempfile::tempdir().unwrap();
        let server = server(folder.path()).await;
        let services = server.registry.by_resource("", "v1", "services").unwrap();
        let ports = json!([{"name": "a", "port": 80, "nodePort": 30_001}, {"name": "b", "port": 81, "nodePort": 30_002}]);
        let of = |port: &str, service: &str| (port.to_owned(), format!("n/{service}"));
        assert_eq!(write(&server, "POST", json!({"type": "NodePort", "ports": ports})).await, 201);
        assert_eq!(recorded(&server), [of("30001", "s"), of("30002", "s")]);
        let fewer = json!([{"name": "b", "port": 81, "nodePort": 30_002}, {"name": "c", "port": 82, "nodePort": 30_003}]);
        assert_eq!(write(&server, "PUT", json!({"type": "NodePort", "ports": fewer})).await, 200);
        assert_eq!(recorded(&server), [of("30002", "s"), of("30003", "s")]);
        // A refused one leaves none.
        let refused = json!({"type": "NodePort", "ports": [{"port": 99_999, "nodePort": 30_004}]});
        assert_eq!(write_named(&server, "POST", "t", refused).await, 422);
        assert_eq!(recorded(&server).len(), 2);
        assert_eq!(write(&server, "PUT", json!({"ports": [{"port": 80}]})).await, 200);
        assert_eq!(recorded(&server), []);
        // A record whose Service has not the port is in nobody's way.
        let key = b"/registry/ranges/servicenodeports/TCP/30001".to_vec();
        for owner in ["n/s", "n/gone"] {
            let left = store::Operation::Put { key: key.clone(), value: owner.into(), lease: 0 };
            let left = store::Transaction { success: vec![left], ..Default::default() };
            server.store.transact(left, store::Urgency::Now).await.unwrap();
            let on_nodes = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30_001}]});
            assert_eq!(write_named(&server, "POST", "t", on_nodes).await, 201);
            assert_eq!(recorded(&server), [of("30001", "t")]);
            registry::expel(&server, services, "n/t").await.unwrap();
            assert_eq!(recorded(&server), []);
            server.fresh(None).await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_address_that_is_there_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let server = server(folder.path()).await;
        let kind = row(&server, "ipaddresses").unwrap();
        let given = ["10.1.0.9".to_owned()];
        assert_eq!(record(&server, ("n", "s"), &given).await.unwrap(), None);
        let (before, old) = registry::read(&server, kind, "10.1.0.9").unwrap();
        assert_eq!(record(&server, ("n", "s"), &given).await.unwrap(), None);
        let (_, new) = registry::read(&server, kind, "10.1.0.9").unwrap();
        assert_ne!(old.unwrap()["metadata"]["uid"], new.unwrap()["metadata"]["uid"]);
        // Whoever read the old one.
        let late = registry::write(&server, kind, "10.1.0.9", before, &Change::Delete).await.unwrap();
        assert!(late.is_err());
        assert_eq!(record(&server, ("n", "t"), &given).await.unwrap().as_deref(), Some("10.1.0.9"));
    }
}
