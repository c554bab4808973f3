//! What every cluster has from its start: as valid, and as complete, as what people write.

use harness::api::{Client, Server};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
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

#[test]
fn what_every_cluster_has_passes_its_own_validation_unchanged() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let mut seen = Vec::new();
    for kind in api::kind::Registry::builtin().kinds() {
        use api::kind::Verb::{Create, List, Update};
        if kind.storage.is_none() || ![Create, List, Update].into_iter().all(|verb| kind.serves(verb)) {
            continue;
        }
        let list = admin.get(&collection(kind)).expect(200);
        for object in list["items"].as_array().into_iter().flatten() {
            sound(&admin, kind, object.clone());
            seen.push(kind.kind);
        }
    }
    for (kind, least) in [
        ("Namespace", 4),
        ("FlowSchema", 13),
        ("PriorityLevelConfiguration", 8),
        ("ClusterRole", 60),
        ("ClusterRoleBinding", 40),
        ("Role", 5),
        ("RoleBinding", 5),
        ("PriorityClass", 2),
        ("Service", 1),
        ("Endpoints", 1),
        ("EndpointSlice", 1),
        ("ServiceCIDR", 1),
        ("ConfigMap", 3),
        ("Lease", 1),
        ("APIService", 20),
    ] {
        let found = seen.iter().filter(|one| **one == kind).count();
        assert!(found >= least, "{found} of {kind}, of {seen:?}");
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
