//! What goes with what: cascades of all three kinds, namespaces, Services and their slices.

use serde_json::{Value, json};

use super::{Cluster, kubectl_or_skip};

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

#[test]
fn deletions_cascade_as_asked() {
    if !kubectl_or_skip("deletions_cascade_as_asked") {
        return;
    }
    let cluster = Cluster::start();
    for (cascade, left) in [("background", 0), ("foreground", 0), ("orphan", 2)] {
        cluster.kubectl("create deployment web --image=v1 --replicas=2");
        cluster.until("two pods", || cluster.pods().len() == 2);
        cluster.kubectl(&format!("delete deployment web --cascade={cascade} --timeout=60s"));
        cluster.until(cascade, || cluster.pods().len() == left && cluster.sets().len() == left.min(1));
    }
    let sets = || cluster.items("/apis/apps/v1/namespaces/default/replicasets");
    cluster
        .until("no owner", || sets()[0]["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty));
    // A Deployment that comes back takes its orphan again.
    let uid = sets()[0]["metadata"]["uid"].clone();
    cluster.kubectl("create deployment web --image=v1 --replicas=2");
    cluster.until("adopted", || {
        let sets = sets();
        sets.len() == 1
            && sets[0]["metadata"]["uid"] == uid
            && !sets[0]["metadata"]["ownerReferences"].is_null()
    });
}

#[test]
fn objects_of_later_definitions_go_with_their_owners() {
    if !kubectl_or_skip("objects_of_later_definitions_go_with_their_owners") {
        return;
    }
    let cluster = Cluster::start();
    let admin = &cluster.admin;
    let definition = json!({"metadata": {"name": "boats.sea.example.com"}, "spec": {"group": "sea.example.com", "scope": "Namespaced",
        "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    admin.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).expect(201);
    let boats = "/apis/sea.example.com/v1/namespaces/default/boats";
    cluster.until("boats are served", || admin.get(boats).code == 200);
    let maps = "/api/v1/namespaces/default/configmaps";
    let boat = |name: &str, owners: &[Value]| {
        let boat = json!({"apiVersion": "sea.example.com/v1", "kind": "Boat", "metadata": {"name": name, "ownerReferences": owners}});
        admin.post(boats, &boat).expect(201)
    };
    let of = |kind: &str, version: &str, owner: &Value| json!({"apiVersion": version, "kind": kind, "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]});
    let harbour = admin.post(maps, &json!({"metadata": {"name": "harbour"}})).expect(201);
    let boat_of_harbour = boat("owned", &[of("ConfigMap", "v1", &harbour)]);
    // And the other way: what a boat owns goes with the boat.
    let cargo = json!({"metadata": {"name": "cargo", "ownerReferences": [of("Boat", "sea.example.com/v1", &boat_of_harbour)]}});
    admin.post(maps, &cargo).expect(201);
    boat("free", &[]);
    admin.delete(&format!("{maps}/harbour")).expect(200);
    cluster.until("the boat and its cargo are gone", || {
        admin.get(&format!("{boats}/owned")).code == 404 && admin.get(&format!("{maps}/cargo")).code == 404
    });
    admin.get(&format!("{boats}/free")).expect(200);
}

#[test]
fn a_namespace_takes_all_with_it() {
    if !kubectl_or_skip("a_namespace_takes_all_with_it") {
        return;
    }
    let cluster = Cluster::start();
    cluster.kubectl("create namespace t");
    cluster.until("its root CA", || {
        cluster.admin.get("/api/v1/namespaces/t/configmaps/kube-root-ca.crt").code == 200
    });
    cluster.kubectl("create -n t deployment web --image=v1 --replicas=3");
    cluster.kubectl("create -n t secret generic s --from-literal=a=b");
    cluster.until("three pods", || cluster.items("/api/v1/namespaces/t/pods").len() == 3);
    cluster.kubectl("delete namespace t --timeout=60s");
    assert_eq!(cluster.admin.get("/api/v1/namespaces/t").code, 404);
    for path in [
        "/api/v1/namespaces/t/secrets",
        "/api/v1/namespaces/t/pods",
        "/apis/apps/v1/namespaces/t/replicasets",
    ] {
        assert_eq!(cluster.items(path).len(), 0, "{path}");
    }
}

#[test]
fn a_service_has_slices_of_its_pods() {
    if !kubectl_or_skip("a_service_has_slices_of_its_pods") {
        return;
    }
    let cluster = Cluster::start();
    cluster.kubectl("create deployment web --image=v1 --replicas=2");
    cluster.kubectl("expose deployment web --port=80 --target-port=8080");
    let ready = || {
        let slices: Vec<_> = cluster
            .items(SLICES)
            .into_iter()
            .filter(|s| s["metadata"]["labels"]["kubernetes.io/service-name"] == "web")
            .collect();
        let endpoints =
            slices.iter().flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
        (slices.len(), endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true).count())
    };
    cluster.until("a slice", || ready() == (1, 0));
    cluster.until_rolled_out("v1", 2);
    cluster.until("two ready endpoints", || ready() == (1, 2));
    cluster.kubectl("scale deployment web --replicas=1");
    cluster.until("one ready endpoint", || ready() == (1, 1));
    cluster.kubectl("delete service web");
    cluster.until("no slice", || ready().0 == 0);
}
