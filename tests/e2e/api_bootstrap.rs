//! What every cluster has from its start: as valid, and as complete, as what people write.
//!
//! Not here: the endpoints of the API itself, which a server on loopback has none of (`apiserver`, `kubernetes_service`).

use std::time::{Duration, Instant};

use harness::api::{Client, Server};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
const PATIENCE: Duration = Duration::from_secs(120);
/// What there is at the least, so that nothing is passed over unseen.
const LEAST: &[(&str, usize)] = &[
    ("Namespace", 4),
    ("FlowSchema", 13),
    ("PriorityLevelConfiguration", 8),
    ("ClusterRole", 60),
    ("ClusterRoleBinding", 40),
    ("Role", 5),
    ("RoleBinding", 5),
    ("PriorityClass", 2),
    ("Service", 1),
    ("ServiceCIDR", 1),
    ("ConfigMap", 3),
    ("APIService", 20),
];
const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";

/// Where the objects of a kind are listed.
fn collection(kind: &api::kind::Kind) -> String {
    let api_version = kind.api_version();
    let root = if kind.group.is_empty() { "api" } else { "apis" };
    format!("/{root}/{api_version}/{}", kind.resource)
}

/// Where an object is, and where its like is made.
fn places(kind: &api::kind::Kind, object: &Value) -> (String, String) {
    let collection = collection(kind);
    let within = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => collection
            .replace(&format!("/{}", kind.resource), &format!("/namespaces/{namespace}/{}", kind.resource)),
        None => collection,
    };
    let name = object["metadata"]["name"].as_str().expect("a name");
    (format!("{within}/{name}"), within)
}

/// Nothing is missing: written as it is, an object stays as it is, and its like would be taken too.
fn sound(admin: &Client, kind: &api::kind::Kind, mut object: Value) {
    object["kind"] = kind.kind.into();
    object["apiVersion"] = kind.api_version().into();
    let (place, within) = places(kind, &object);
    let written = admin.put(&format!("{place}?fieldValidation=Strict"), &object);
    assert_eq!(written.code, 200, "{place}: {}", written.text());
    assert_eq!(written.json(), object, "{place}: defaults or pruning change it");
    let mut like = object.clone();
    let metadata = like["metadata"].as_object_mut().expect("metadata");
    for name in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
        metadata.shift_remove(name);
    }
    // That there is one already is found when all else is well.
    let again = admin.post(&format!("{within}?dryRun=All&fieldValidation=Strict"), &like);
    assert_eq!(again.code, 409, "{place}: {}", again.text());
}

/// Waits until there are so many of a kind: some are written behind the start.
fn objects(admin: &Client, kind: &api::kind::Kind, least: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let list = admin.get(&collection(kind)).expect(200);
        let items = list["items"].as_array().cloned().unwrap_or_default();
        if items.len() >= least {
            return items;
        }
        assert!(begun.elapsed() < PATIENCE, "{} of {}: {least} are wanted", items.len(), kind.kind);
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_every_cluster_has_passes_its_own_validation_unchanged() {
    use api::kind::Verb::{Create, List, Update};
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    for kind in api::kind::Registry::builtin().kinds() {
        if kind.storage.is_none() || ![Create, List, Update].into_iter().all(|verb| kind.serves(verb)) {
            continue;
        }
        let least = LEAST.iter().find(|(name, _)| *name == kind.kind).map_or(0, |(_, least)| *least);
        for object in objects(&admin, kind, least) {
            sound(&admin, kind, object);
        }
    }
}

#[test]
fn the_priority_classes_of_the_system_stay() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    for (name, value) in [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)]
    {
        let path = format!("{CLASSES}/{name}");
        let class = admin.get(&path).expect(200);
        assert_eq!(
            (&class["value"], &class["preemptionPolicy"]),
            (&json!(value), &json!("PreemptLowerPriority"))
        );
        let why = "this is a system priority class and cannot be deleted";
        admin.delete(&path).refused(403, "Forbidden", why);
    }
}
